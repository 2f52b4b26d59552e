//! Verifies the invariants of a ring, read-only, while other processes use it.

use crate::error::{AtPath, OpenError, counted};
use crate::region::{Access, Region};
use crate::ring::Ring;
use crate::ring::attach::Attachment;
use crate::ring::{birth, boot_tag};
use slipring_core::format::{
    CAPACITY_MAX, DeliveryWord, EntryFlags, Meta, POSITION_MAX, Sequence, State, Tail, group as group_entry,
    group_flags, producer_page, readers_page, worker,
};
use slipring_core::memory::{Liveness, Memory, Right, Word};
use slipring_core::protocol::clear::{self, Cleared, used_tables};
use slipring_core::protocol::group::{Group, TAKEN_AWAY, table};
use slipring_core::protocol::tenure::{self, Tenure};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

/// How many looks must see a violation: a word that another process is changing at the moment is
/// not damaged.
const LOOKS: usize = 3;

/// A word in a ring with a value that slipring never writes, or an entry that no living process
/// will finish.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Violation {
    /// The part of the ring, such as `producer`, `slot`, `consumer 3`, `group "sms"`.
    pub place: String,
    /// The position of the message, if the violation concerns one.
    pub position: Option<u64>,
    /// The violation, with the values.
    pub what: String,
    /// True if [`Ring::repair`] can mend it.
    pub repairable: bool,
    /// True if it is no damage: the entry of a party that is dead, which the next one that needs
    /// the entry, or its room, clears. Every kill may leave one.
    pub to_be_cleared: bool,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)?;
        if let Some(position) = self.position {
            write!(f, ", position {position}")?;
        }
        write!(f, ": {}{}", self.what, if self.repairable { " (can be repaired)" } else { "" })
    }
}

/// The producer looks only at the entries that were ever used.
const UNCOUNTED: &str =
    "is in use, and the count of used entries leaves it out: the producer does not see it";

/// The highest limit: a lap above the last position.
const LIMIT_MAX: u64 = POSITION_MAX + CAPACITY_MAX;

/// The violations of one look.
#[derive(Default)]
struct Findings(BTreeSet<Violation>);

impl Findings {
    fn note(&mut self, place: &str, position: Option<u64>, what: String, repairable: bool) {
        self.0.insert(Violation {
            place: place.to_owned(),
            position,
            what,
            repairable,
            to_be_cleared: false,
        });
    }

    fn note_leftover(&mut self, place: &str, what: String) {
        self.0.insert(Violation {
            place: place.to_owned(),
            position: None,
            what,
            repairable: true,
            to_be_cleared: true,
        });
    }

    fn bound(&mut self, place: &str, name: &str, found: u64, low: u64, high: u64, repairable: bool) {
        if !(low..=high).contains(&found) {
            self.note(
                place,
                None,
                format!("{name} is {found}, but only {low}..={high} can be true"),
                repairable,
            );
        }
    }
}

impl Ring {
    /// Verifies the ring's invariants and returns every violation that three looks in a row see.
    /// Reads only; the ring may be in use. A sound ring has none.
    ///
    /// The header was verified when the ring was opened.
    ///
    /// ```
    /// use slipring::{Producer, RingOptions};
    ///
    /// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
    /// Producer::<u64>::open(&ring)?.send(&7)?;
    /// assert_eq!(ring.check(), []);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    pub fn check(&self) -> Vec<Violation> {
        let mut lasting = self.look_once().0;
        for _ in 1..LOOKS {
            if lasting.is_empty() {
                break;
            }
            std::thread::yield_now();
            let again = self.look_once().0;
            lasting.retain(|violation| again.contains(violation));
        }
        lasting.into_iter().collect()
    }

    fn look_once(&self) -> Findings {
        let mut findings = Findings::default();
        if let Some(fault) = &self.attachment.lock_fault {
            findings.note("locks", None, fault.clone(), false);
        }
        let window = self.check_producer(&mut findings);
        self.check_slots(&mut findings, &window);
        self.check_counts(&mut findings);
        self.check_consumers(&mut findings, &window);
        for group in Group::all(&self.attachment.region, self.attachment.geometry()) {
            self.check_group(&mut findings, &window, &group);
        }
        self.check_workers(&mut findings, &window);
        findings
    }

    fn load(&self, word: Word) -> u64 {
        self.attachment.region.load(word, Relaxed)
    }

    /// `head`, read after every word that was read before.
    fn counted(&self) -> u64 {
        self.attachment.region.fence(Acquire);
        self.load(producer_page::HEAD)
    }

    /// The words of the producer's page, each read before those that it cannot exceed.
    fn check_producer(&self, findings: &mut Findings) -> Snapshot {
        let geometry = self.attachment.geometry();
        let (capacity, first) = (geometry.capacity(), geometry.first_position());
        let head = self.load(producer_page::HEAD);
        let claimed = self.load(producer_page::CLAIMED);
        let limit = self.load(producer_page::LIMIT);
        let later_head = self.load(producer_page::HEAD);
        let place = "producer";
        let mut is_sound = true;
        for (name, found) in [("head", head), ("claimed", claimed), ("limit", limit)] {
            is_sound &= (first..=LIMIT_MAX).contains(&found);
            findings.bound(place, name, found, first, LIMIT_MAX, false);
        }
        // Which of them is wrong is not known.
        let ends = later_head.saturating_add(capacity);
        let is_ordered = head <= claimed && claimed <= ends && claimed.min(head) <= limit && limit <= ends;
        if is_sound && !is_ordered {
            let what = format!(
                "head is {head}, claimed {claimed} and limit {limit}, which cannot be together: \
                 head <= claimed <= limit <= head + {capacity}"
            );
            findings.note(place, None, what, false);
        }
        findings.bound(place, "closed", self.load(producer_page::CLOSED), 0, 2, false);
        Snapshot { head, later_head, claimed, overwritten: limit.saturating_sub(capacity).max(first) }
    }

    fn check_slots(&self, findings: &mut Findings, window: &Snapshot) {
        let geometry = self.attachment.geometry();
        let capacity = geometry.capacity();
        // One past the highest position that any producer may have written.
        let end = self.load(producer_page::CLAIMED).saturating_add(capacity);
        for index in 0..capacity {
            let slot = geometry.slot(index);
            let sequence = Sequence(self.load(slot.sequence()));
            if sequence == Sequence::NONE {
                continue;
            }
            // A single message is published before `head` counts it; `head` publishes a batched
            // message.
            let end = if sequence.is_batched() { end } else { self.counted().saturating_add(1) };
            let position = sequence.number().wrapping_sub(1);
            if geometry.index(position) != index || position >= end {
                let what = format!("slot {index} has the sequence word {:#x}", sequence.0);
                findings.note("slot", Some(position), what, false);
                continue;
            }
            let meta = Meta(self.load(slot.meta()));
            if meta.len() as u64 > geometry.block_size() {
                let what = format!("has a length of {}, a block has {}", meta.len(), geometry.block_size());
                findings.note("slot", Some(position), what, false);
            } else if let Some(what) = self.is_no_value(position, meta, window) {
                findings.note("slot", Some(position), what, false);
            }
        }
        let oldest = window.claimed.saturating_sub(capacity).max(geometry.first_position());
        for position in oldest..window.head.min(oldest.saturating_add(capacity)) {
            let sequence = Sequence(self.load(geometry.slot(position).sequence()));
            let claimed_since = self.load(producer_page::CLAIMED).saturating_sub(capacity) > position;
            // The slot of a headerless message keeps an older sequence word.
            if sequence.number() > position + 1 && !claimed_since {
                let what = format!("lies below the head, but its sequence word is {:#x}", sequence.0);
                findings.note("slot", Some(position), what, false);
            }
        }
    }

    /// What is wrong with the length of a message that readers of a typed ring may come to.
    fn is_no_value(&self, position: u64, meta: Meta, window: &Snapshot) -> Option<String> {
        let (value, is_there) = (self.block_size(), (window.overwritten..window.head).contains(&position));
        let schema = self.schema().filter(|_| is_there && meta.len() != value)?;
        Some(format!(
            "has {} bytes, and a value of {schema} has {value}: a program that ignores the ring's type wrote it; \
             readers of the type skip it, and say so",
            meta.len()
        ))
    }

    fn check_consumers(&self, findings: &mut Findings, window: &Snapshot) {
        let geometry = self.attachment.geometry();
        for n in geometry.consumer_entries() {
            let place = format!("consumer {n}");
            let tenure = tenure::look_at(&self.attachment.region, geometry.consumer_entry(n));
            let (tail, flags) = (tenure.tail, EntryFlags(self.load(geometry.flags(n))));
            let held = self.attachment.locks.is_held(Right::Consumer(n));
            if flags.0 >= 8 || (flags.is_durable() && flags.is_evictable()) {
                findings.note(&place, None, format!("has the flags {:#x}", flags.0), false);
            }
            if !held && !flags.is_kept() && (flags.is_taken() || tail != Tail::NONE) {
                findings.note_leftover(&place, "its owner is dead, and no party cleared it".to_owned());
            }
            if held || flags.is_kept() {
                self.check_tenure(findings, &place, &tenure);
            }
            // A joining consumer gates from the first position until it has chosen its own, also if
            // it died in between.
            let joining = !flags.is_durable() && tail.position() == Some(geometry.first_position());
            if let (Some(position), false) = (tail.position(), joining) {
                // A consumer that read a message before `head` counted it is one ahead.
                let reached = self.counted().saturating_add(1);
                findings.bound(&place, "tail", position, window.overwritten, reached, false);
            }
        }
    }

    /// Checks the count of used entries of each table.
    fn check_counts(&self, findings: &mut Findings) {
        for (table, word, entries) in used_tables(self.attachment.geometry()) {
            findings.bound("readers", &format!("used {table}"), self.load(word), 0, entries, true);
        }
    }

    /// Checks the words of an entry that describe its owner.
    fn check_tenure(&self, findings: &mut Findings, place: &str, tenure: &Tenure) {
        let gates = tenure.tail.position().is_some();
        if gates && !tenure.is_counted {
            findings.note(place, None, UNCOUNTED.to_owned(), true);
        }
        if gates && tenure.generation == 0 {
            findings.note(place, None, "gates, and was never taken".to_owned(), false);
        }
        if let Some(left_at) = tenure.left_at {
            // A reader that read a message before `head` counted it is one ahead.
            let reached = self.counted().saturating_add(1);
            let first = self.attachment.geometry().first_position();
            findings.bound(place, "left at", left_at, first, reached, false);
        }
    }

    fn check_group(&self, findings: &mut Findings, window: &Snapshot, group: &Group<Region>) {
        let geometry = self.attachment.geometry();
        let flags = group.load(group_entry::FLAGS);
        if flags == group_flags::FREE && group.stored_floor().is_none() {
            return;
        }
        let name = group.name();
        let place = format!("group {name:?}");
        if flags != group_flags::TAKEN {
            if !self.attachment.locks.is_held(Right::Table) {
                let what = format!("was never finished (flags {flags}): its creator is dead");
                findings.note_leftover(&place, what);
            }
            return;
        }
        let tenure = tenure::look_at(&self.attachment.region, geometry.group_entry(group.number));
        self.check_tenure(findings, &place, &tenure);
        let Some(floor) = group.floor() else {
            findings.note(&place, None, "has no floor".to_owned(), false);
            return;
        };
        let reached = self.load(producer_page::CLAIMED).max(window.later_head);
        // The stored floor may lie below the overwritten positions: the producer looks past the
        // settled ones above it.
        findings.bound(&place, "ack floor", floor, geometry.first_position(), reached, false);
        self.check_deadlines(findings, &place, group, floor);
        if let Some(position) = group.falsely_settled(floor) {
            let what = "is not settled, and a run of settled messages covers it".to_owned();
            findings.note(&place, Some(position), what, false);
        }
        for snapshot in group.window(floor).word_by_word() {
            let DeliveryWord(word) = snapshot.word;
            let state = word >> 49 & 7;
            let leased_by_nobody = state == 1 && u64::from(snapshot.word.owner()) >= geometry.workers();
            if state > 5 || leased_by_nobody {
                findings.note(
                    &place,
                    Some(snapshot.position),
                    format!("has the delivery word {word:#018x}"),
                    false,
                );
            }
        }
    }

    /// After a reboot the clock of the deadlines began anew: no worker waits for them, and the
    /// next one makes the messages due.
    fn check_deadlines(&self, findings: &mut Findings, place: &str, group: &Group<Region>, floor: u64) {
        if !table::has_old_deadlines(group, &self.attachment.locks, boot_tag()) {
            return;
        }
        let states = [State::Leased, State::Delayed, State::DeadPending];
        let waiting = group.window(floor).filter(|snapshot| states.contains(&snapshot.word.state())).count();
        if waiting > 0 {
            let messages = counted(waiting as u64, "message");
            let what =
                format!("{messages} with deadlines of an earlier boot: the next worker makes them due");
            findings.note_leftover(place, what);
        }
    }

    fn check_workers(&self, findings: &mut Findings, window: &Snapshot) {
        let geometry = self.attachment.geometry();
        for n in geometry.worker_entries() {
            let place = format!("worker {n}");
            let of = self.load(geometry.worker_word(n, worker::GROUP));
            let pin = self.load(geometry.worker_word(n, worker::PIN));
            findings.bound(&place, "group", of, 0, geometry.groups(), true);
            let held = self.attachment.locks.is_held(Right::Worker(n));
            if !held && (of != 0 || pin < TAKEN_AWAY) {
                findings.note_leftover(&place, "its owner is dead, and no party cleared it".to_owned());
            } else if pin < TAKEN_AWAY {
                // A pin that is stored before a claim may be older than the floor.
                findings.bound(&place, "pin", pin, 0, window.later_head.max(window.claimed), false);
                self.attachment.region.fence(Acquire); // USED
                if self.load(readers_page::USED_WORKERS) <= n.into() {
                    findings.note(&place, None, UNCOUNTED.to_owned(), true);
                }
            }
        }
    }

    /// Clears the entries of dead consumers, dead workers and unfinished groups, and returns each
    /// repair in words. All other processes go on meanwhile. [`check`](Self::check) still names the
    /// violations that cannot be repaired without guessing. Needs write permission.
    ///
    /// A ring does not need it: producers and workers clear the same entries when these stand in
    /// their way.
    ///
    /// # Errors
    ///
    /// [`OpenError::TableBusy`]; the others of [`Ring::open`].
    pub fn repair(&self) -> Result<Vec<String>, AtPath<OpenError>> {
        let attachment = Attachment::open(self.place(), Access::Readers)?;
        let Attachment { region, locks, .. } = &attachment;
        let birth = birth();
        let (cleared, made_due) = attachment.with_table(|| {
            let cleared = clear::clear_dead(region, attachment.geometry(), locks);
            let groups = Group::all(region, attachment.geometry()).filter(Group::is_taken);
            let made_due = groups.map(|group| (table::after_reboot(&group, locks, birth), group.name()));
            Ok::<_, OpenError>((cleared, made_due.filter(|(count, _)| *count > 0).collect::<Vec<_>>()))
        })?;
        let tell = |cleared| match cleared {
            Cleared::Group(n) => format!("cleared group entry {n}, which was never finished"),
            Cleared::Consumer(n) => format!("cleared consumer entry {n}, whose owner is dead"),
            Cleared::Worker(n) => format!("returned the leases of worker entry {n}, whose owner is dead"),
            Cleared::Count(table) => format!("counted the used entries of the table of {table}"),
        };
        let told_due = made_due.iter().map(|(count, name)| {
            format!(
                "made {} of group {name:?} due: the clock of its deadlines began anew",
                counted(*count, "message")
            )
        });
        Ok(cleared.into_iter().map(tell).chain(told_due).collect())
    }
}

/// The producer's words at one moment; `later_head` was read last.
struct Snapshot {
    head: u64,
    later_head: u64,
    claimed: u64,
    /// Positions below this one may be overwritten.
    overwritten: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Consumer, GroupSettings, Producer, RingOptions, Start, Worker};
    use slipring_core::format::GatingEntry;

    fn damaged(damage: impl FnOnce(&Region, &slipring_core::format::Geometry)) -> Vec<Violation> {
        let ring =
            RingOptions::new(16, 4).consumers(2).group("g", GroupSettings::new()).create_in_memory().unwrap();
        let mut producer = Producer::<[u8]>::open(&ring).unwrap();
        let _consumer = Consumer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
        let _worker = Worker::<[u8]>::join(&ring, "g").unwrap();
        for _ in 0..3 {
            producer.send(b"sound").unwrap();
        }
        assert_eq!(ring.check(), []);
        damage(&ring.attachment.region, ring.attachment.geometry());
        ring.check()
    }

    #[test]
    fn every_kind_of_damage_is_named_with_its_place() {
        let place = |violations: Vec<Violation>| {
            assert!(!violations.is_empty());
            violations[0].place.clone()
        };
        let store = |word, value| damaged(|region, _| region.store(word, value, Relaxed));
        assert_eq!(place(store(producer_page::HEAD, 99)), "producer");
        assert_eq!(place(store(producer_page::CLOSED, 3)), "producer");
        assert_eq!(place(damaged(|r, g| r.store(g.slot(1).sequence(), 7, Relaxed))), "slot");
        assert_eq!(place(damaged(|r, g| r.store(g.slot(1).meta(), 17, Relaxed))), "slot");
        assert_eq!(place(damaged(|r, g| r.store(g.tail(0), 50, Relaxed))), "consumer 0");
        assert_eq!(place(damaged(|r, g| r.store(g.flags(0), 8, Relaxed))), "consumer 0");
        let dead = damaged(|r, g| r.store(g.tail(1), 2, Relaxed));
        assert!(dead[0].place == "consumer 1" && dead[0].to_be_cleared);
        let floor =
            |r: &Region, g: &slipring_core::format::Geometry| r.store(g.group_word(0, 0), 60, Relaxed);
        assert_eq!(place(damaged(floor)), "group \"g\"");
        assert_eq!(place(damaged(|r, g| r.store(g.delivery(0, 0), 7 << 49, Relaxed))), "group \"g\"");
        let counts = [readers_page::USED_CONSUMERS, readers_page::USED_GROUPS, readers_page::USED_WORKERS];
        for (word, uncounted) in counts.into_iter().zip(["consumer 0", "group \"g\"", "worker 0"]) {
            assert_eq!(place(store(word, 99)), "readers");
            let pinned = damaged(|r, g| {
                r.store(g.worker_word(0, 0), 1, Relaxed);
                r.store(word, 0, Relaxed);
            });
            assert_eq!((pinned.len(), &*pinned[0].place), (1, uncounted));
            assert!(pinned[0].repairable);
        }
        let consumer = |word: fn(GatingEntry) -> Word, value| {
            place(damaged(|r, g| r.store(word(g.consumer_entry(0)), value, Relaxed)))
        };
        let group = |word: fn(GatingEntry) -> Word, value| {
            place(damaged(|r, g| r.store(word(g.group_entry(0)), value, Relaxed)))
        };
        for (word, value) in [(GatingEntry::generation as fn(_) -> _, 0), (GatingEntry::left_at, 50)] {
            assert_eq!([consumer(word, value), group(word, value)], ["consumer 0", "group \"g\""]);
        }
        let pin = |r: &Region, g: &slipring_core::format::Geometry| r.store(g.worker_word(0, 0), 60, Relaxed);
        assert_eq!(place(damaged(pin)), "worker 0");
    }
}
