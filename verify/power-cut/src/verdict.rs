//! The judgement after a cut: messages that must be there, and those that may.

use crate::message::{kind, message};
use slipring::{GroupSettings, Observer, Ring, RingOptions, Start};
use slipring_journal::{Description, History, Home, NAME, Restored};
use std::path::{Path, PathBuf};
use std::time::Duration;

const CAPACITY: usize = 1024;
const BLOCK: usize = 112;
/// Journals of earlier rings that are kept.
const KEPT: usize = 4;

/// Records of which message was sent in which ring, and how far the disk was said to have them.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    directory: PathBuf,
    /// The first position that was sent in each ring; the present ring comes last.
    rings: Vec<u64>,
    noted: u64,
    cuts: u64,
    checked: u64,
    /// Cuts that hit a commit: it reached the disk, and was not said to be there yet.
    beyond: u64,
    again: u64,
}

impl Ledger {
    pub(crate) const HEAD: &'static str = "filesystem, cuts, messages on the disk, of them looked at, cuts with a commit beyond what was said, \
         messages that readers may get again per cut, seconds";

    /// The first ring.
    pub(crate) fn begin(path: PathBuf, directory: PathBuf) -> Result<Ledger, String> {
        let options = RingOptions::new(BLOCK, CAPACITY)
            .durable(NAME)
            .durable("audit")
            .group("sms", GroupSettings::new().ack_wait(Duration::from_secs(600)));
        options.create(&path).map_err(|error| error.to_string())?;
        let rings = vec![0];
        Ok(Ledger { path, directory, rings, noted: 0, cuts: 0, checked: 0, beyond: 0, again: 0 })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
    /// The number of the present ring.
    pub(crate) fn number(&self) -> u64 {
        self.rings.len() as u64
    }
    /// The highest position below which all was said to be on the disk.
    pub(crate) fn noted(&self) -> u64 {
        self.noted
    }

    /// The message at a position, and its kind.
    fn sent(&self, position: u64) -> (u32, Vec<u8>) {
        let ring = self.rings.partition_point(|first| *first <= position);
        (kind(position), message(position, ring as u64))
    }

    /// The power is back, and the ring is lost: makes it anew, and looks at everything.
    pub(crate) fn judge(&mut self, noted: u64) -> Result<(), String> {
        self.cuts += 1;
        self.noted = self.noted.max(noted);
        let before = Ring::open(&self.path).map_err(|error| error.to_string())?;
        self.lose()?;
        let restored = match slipring_journal::restore(&self.directory, None, &self.path) {
            Ok(restored) => restored,
            // The first journal was cut before it had a name.
            Err(_) if self.noted == 0 => return self.begin_again(),
            Err(error) => {
                let (noted, homes) = (self.noted, self.survey());
                return Err(format!("{noted} were said to be on the disk, and: {error}\n{homes}"));
            }
        };
        let watermark = restored.watermark;
        if watermark < self.noted {
            let (noted, homes) = (self.noted, self.survey());
            return Err(format!("{noted} were said to be on the disk, and {watermark} are\n{homes}"));
        }
        if watermark > before.head() {
            return Err(format!("{watermark} are on the disk, and only {} were sent", before.head()));
        }
        self.beyond += u64::from(watermark > self.noted);
        self.check_members(&before, &restored)?;
        self.check_ring(&restored)?;
        self.check_history(&restored)?;
        self.forget(&restored.ring)?;
        self.noted = watermark;
        self.rings.push(watermark);
        Ok(())
    }

    /// The journals on the disk, for people.
    fn survey(&self) -> String {
        let mut lines = String::new();
        for home in Home::all(&self.directory).unwrap_or_default() {
            let end = History::open_ring(&self.directory, home.ring()).and_then(|history| history.end());
            let described =
                Description::load(&home).map(|it| (it.first_position, it.ancestors.first().copied()));
            let (path, segments) = (home.path().display(), home.segments());
            lines += &format!("{path}: segments {segments:?}, ends at {end:?}, described as {described:?}\n");
        }
        lines
    }

    fn lose(&self) -> Result<(), String> {
        let dead = self.path.with_extension("dead");
        for path in [&self.path, &dead] {
            std::fs::remove_file(path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }

    fn begin_again(&mut self) -> Result<(), String> {
        let Ledger { path, directory, cuts, .. } = self;
        let cuts = *cuts;
        *self = Ledger { cuts, ..Ledger::begin(std::mem::take(path), std::mem::take(directory))? };
        Ok(())
    }

    /// No reader goes on behind a message that it had not released.
    fn check_members(&mut self, before: &Ring, restored: &Restored) -> Result<(), String> {
        let watermark = restored.watermark;
        for member in &restored.members {
            let name = &member.name;
            let had = match member.is_group {
                true => before.group(name).map(|group| group.ack_floor),
                false => before.consumers().into_iter().find(|it| it.name == *name).and_then(|it| it.tail),
            };
            let had = had.ok_or_else(|| format!("{name} is no reader of the lost ring"))?;
            if member.begins_at > had {
                return Err(format!("{name} had come to {had}, and goes on at {}", member.begins_at));
            }
            self.again += had.min(watermark) - member.begins_at;
        }
        if restored.members.len() != 2 {
            return Err(format!("of two readers the ring has {:?}", restored.members));
        }
        Ok(())
    }

    /// The new ring has what its first position and the watermark enclose.
    fn check_ring(&mut self, restored: &Restored) -> Result<(), String> {
        let violations = restored.ring.check();
        if !violations.is_empty() {
            return Err(format!("the restored ring is damaged: {violations:?}"));
        }
        let mut observer = Observer::<[u8]>::attach(&restored.ring, Start::At(restored.first_position))
            .map_err(|error| error.to_string())?;
        for position in restored.first_position..restored.watermark {
            let found = observer.try_recv().map_err(|error| format!("position {position}: {error}"))?;
            if (found.position(), (found.kind(), found.to_vec())) != (position, self.sent(position)) {
                return Err(format!("the ring has another message at position {position}"));
            }
        }
        Ok(())
    }

    /// So has every journal that is still there, without a hole.
    fn check_history(&mut self, restored: &Restored) -> Result<(), String> {
        let mut covered = 0;
        for home in Home::all(&self.directory).map_err(|error| error.to_string())? {
            if home.segments().is_ok_and(|segments| segments.is_empty()) {
                continue;
            }
            let mut history =
                History::open_ring(&self.directory, home.ring()).map_err(|error| error.to_string())?;
            while let Some(found) = history.next().map_err(|error| error.to_string())? {
                let position = found.position;
                if position < restored.watermark && (found.kind, found.bytes.to_vec()) != self.sent(position)
                {
                    return Err(format!("{}: another message at position {position}", home.path().display()));
                }
                self.checked += 1;
                covered = covered.max(position + 1);
            }
        }
        if covered < restored.watermark {
            return Err(format!("the journals end at {covered}, and {} were restored", restored.watermark));
        }
        Ok(())
    }

    /// Removes the journals of rings that no later one needs.
    fn forget(&self, ring: &Ring) -> Result<(), String> {
        let line: Vec<_> = ring.ancestors().into_iter().take(KEPT).map(|ancestor| ancestor.ring).collect();
        for home in Home::all(&self.directory).map_err(|error| error.to_string())? {
            if !line.contains(&home.ring()) {
                std::fs::remove_dir_all(home.path()).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// The results.
    pub(crate) fn line(&self, filesystem: &str, took: Duration) -> String {
        let Ledger { cuts, checked, beyond, again, noted, .. } = self;
        let again = again / (*cuts).max(1);
        format!("{filesystem}, {cuts}, {noted}, {checked}, {beyond}, {again}, {:.1}", took.as_secs_f64())
    }
}
