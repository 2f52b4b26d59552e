//! What the words of an entry tell of its owners, one after the other: generation, where an owner
//! left, and how many entries of a table were ever used, as `docs/format.md` promises.

use super::World;
use kit::raw::{Gating, Raw, Table, dead_path};
use std::path::PathBuf;

const TABLES: [Table; 3] = [Table::Consumers, Table::Groups, Table::Workers];

/// The words of one ring at a moment.
#[derive(Clone, Debug)]
pub(super) struct Words {
    path: PathBuf,
    entries: Vec<(Table, usize, Gating)>,
    used: [u64; 3],
    head: u64,
}

impl Words {
    /// Looks at a ring while no other party changes its tables. Each entry tells nothing but what
    /// is so, whichever party was killed over whichever step.
    fn look(path: PathBuf) -> Option<Words> {
        let raw = Raw::open(&path).ok()?;
        let numbers = |table| (0..raw.entries(table)).map(move |number| (table, number));
        let entries = numbers(Table::Consumers).chain(numbers(Table::Groups));
        let entries: Vec<_> =
            entries.map(|(table, number)| (table, number, raw.gating(table, number))).collect();
        let used = TABLES.map(|table| raw.used(table));
        for (table, used) in TABLES.into_iter().zip(used) {
            assert!(used <= raw.entries(table) as u64, "{used} entries of {table:?} are used");
        }
        let pins = (0..raw.entries(Table::Workers)).filter_map(|number| Some((number, raw.pin(number)?)));
        for (number, pin) in pins {
            assert!((number as u64) < used[2], "worker {number} pins {pin}, and is not counted");
        }
        let words = Words { path, entries, used, head: raw.head() };
        words.entries.iter().for_each(|&(table, number, entry)| words.is_sound(table, number, entry));
        Some(words)
    }

    fn is_sound(&self, table: Table, number: usize, entry: Gating) {
        let Gating { generation, left_at, asleep, .. } = entry;
        let used = self.used[usize::from(table == Table::Groups)];
        assert!(asleep <= 1, "{table:?} {number}: followers asleep {asleep}");
        if let Some(position) = entry.position() {
            assert!((number as u64) < used, "{table:?} {number} gates, and is not counted: {entry:?}");
            assert!(generation > 0, "{table:?} {number} gates without an owner: {entry:?}");
            let is_true = [Gating::NOT_LEFT, position].contains(&left_at);
            assert!(is_true, "{table:?} {number} gates, and left elsewhere: {entry:?}");
        }
        assert!(generation > 0 || left_at == Gating::NOT_LEFT, "{table:?} {number} was left by no owner");
    }

    fn never_go_back(&self, before: &Words) {
        for (now, then) in self.used.iter().zip(before.used) {
            assert!(*now >= then, "fewer used entries than before: {:?}, {:?}", self.used, before.used);
        }
        for ((table, number, now), (_, _, then)) in self.entries.iter().zip(&before.entries) {
            assert!(now.generation >= then.generation, "{table:?} {number}: {then:?}, then {now:?}");
        }
    }

    /// One party, and it alone, went on since `before`: each entry has at most one new owner.
    /// `killed`: inside its operation, in which no consumer both moves its tail and leaves.
    fn follow(&self, before: &Words, killed: bool) {
        self.never_go_back(before);
        for (&(table, number, now), &(_, _, then)) in self.entries.iter().zip(&before.entries) {
            let story = format!("{table:?} {number}: {then:?}, then {now:?}");
            assert!(now.generation - then.generation <= 1, "two owners at once: {story}");
            if now.generation > then.generation {
                continue;
            }
            match (then.position(), now.position()) {
                (None, Some(_)) => {
                    assert!(then.tail == Gating::EVICTED, "a new owner in the old generation: {story}");
                }
                (Some(position), None) if now.tail == Gating::NONE => {
                    let most = if killed { position } else { self.head };
                    let may_be = position..=most.max(position);
                    assert!(may_be.contains(&now.left_at), "left elsewhere: {story}");
                }
                (Some(from), Some(to)) => assert!(from <= to, "it goes back: {story}"),
                (_, None) => assert_eq!(now.left_at, then.left_at, "another left: {story}"),
            }
        }
    }
}

impl World {
    /// Of the ring and of its dead-letter ring, as far as they are there.
    fn words(&self) -> Vec<Words> {
        [self.path.clone(), dead_path(&self.path)].into_iter().filter_map(Words::look).collect()
    }

    pub(crate) fn note_words(&mut self) {
        self.words = self.words();
    }

    /// The victim alone has gone on since they were noted.
    pub(crate) fn words_follow(&mut self, killed: bool) {
        self.compare_words(|now, then| now.follow(then, killed));
    }

    /// Others have gone on, too.
    pub(crate) fn words_never_go_back(&mut self) {
        self.compare_words(Words::never_go_back);
    }

    fn compare_words(&mut self, compare: impl Fn(&Words, &Words)) {
        let now = self.words();
        for then in &self.words {
            if let Some(now) = now.iter().find(|now| now.path == then.path) {
                compare(now, then);
            }
        }
        self.words = now;
    }
}
