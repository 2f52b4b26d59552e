//! The state that all processes share besides the rings: counters, journals and a map of fates. It
//! survives the processes.

use crate::message::Stream;
use memmap2::MmapRaw;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

pub(crate) const SEATS: u64 = 32;
const SEAT_WORDS: u64 = 32;
const GLOBALS: u64 = 16;
/// First, published and intended position of each publisher, and what is said of each file.
const TERM_WORDS: u64 = 3;
/// Bits for each message to the groups: two fates in each of two groups, and what became of its
/// letter.
const MAPS: u64 = 7;
/// The board remembers the acknowledged messages of so many files, and so many of each.
const FILES: u64 = 16;
pub(crate) const FILE_MESSAGES: u64 = 1 << 16;

/// How large the board is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Publishers of a stream, at most.
    pub(crate) publishers: u64,
    /// Messages to groups, at most.
    pub(crate) messages: u64,
    /// Files of the ring that does not last, at most.
    pub(crate) files: u64,
}

/// Words of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Global {
    /// Publishers close their streams.
    Stop,
    /// The groups' workers are through.
    WorkDone,
    /// Messages that the groups' publisher may publish so far.
    Quota,
    /// Last publisher of the broadcast stream, and of the groups'.
    Publisher,
    PublisherOfGroups,
    /// Number of the last file of the ring that does not last.
    File,
}

/// Counters and state of a role's place, over all its processes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry {
    /// The last incarnation that is at work.
    Arrived,
    Joins,
    Messages,
    Redelivered,
    LeasesLost,
    Evictions,
    Missed,
    DeadLetters,
    Handed,
    /// A durable reader released everything below.
    Released,
    /// It is about to release everything below.
    Releasing,
    /// A worker is about to acknowledge this position, plus one.
    Acknowledging,
    /// Where a reader stood when the stream was closed and drained.
    Drained,
    /// The last file of the ring that does not last at which it is at work.
    AtFile,
    /// Files that were removed, replaced or cut short under it, as it was told.
    Ends,
    /// Messages published again.
    Redriven,
    /// Dead-letter rings moved away.
    Shelved,
    /// Changes of settings.
    Changes,
    /// Lives with a shifted clock.
    Shifted,
    /// Files that it may not open, and could not.
    Refused,
}

/// A group of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Team {
    /// Delivers without end.
    Steady,
    /// Gives up after a few attempts.
    Frail,
}

/// The fate of a message in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Acknowledged,
    Buried,
}

/// The further way of a message that was given up, besides its [`Fate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trace {
    /// Its letter was redriven, at least once.
    Redriven,
    /// Its letter was redriven, and no worker has finished it since.
    Owed,
    /// At this position lies a redriven message, which the other group gets to see by no delivery.
    IsCopy,
}

/// The end of a file of the ring that does not last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Removed = 1,
    Renamed,
    /// Another ring takes its name.
    Replaced,
    CutShort,
}

pub(crate) const DEEDS: [Deed; 4] = [Deed::Removed, Deed::Renamed, Deed::Replaced, Deed::CutShort];

/// How far a publisher got.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Term {
    /// Its first position, plus one.
    First,
    /// Everything below is published.
    Published,
    /// Nothing from here on is.
    Intended,
}

#[derive(Debug)]
pub(crate) struct Board {
    map: MmapRaw,
    plan: Plan,
}

impl Board {
    pub(crate) fn open(path: &Path, plan: Plan) -> io::Result<Board> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let words = Board::maps_of(plan) + MAPS * plan.messages.div_ceil(64);
        file.set_len(words * 8)?;
        Ok(Board { map: MmapRaw::map_raw(&file)?, plan })
    }

    /// First of the words of files: those that each has, then a map of what was acknowledged.
    fn files_of(plan: Plan) -> u64 {
        GLOBALS + SEATS * SEAT_WORDS + 2 * TERM_WORDS * plan.publishers
    }

    fn maps_of(plan: Plan) -> u64 {
        Board::files_of(plan) + 2 * plan.files + FILES * FILE_MESSAGES / 64
    }

    fn word(&self, at: u64) -> &AtomicU64 {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        assert!(at < self.map.len() / 8, "the board has no word {at}");
        let words = self.map.as_mut_ptr().cast::<u64>();
        // SAFETY: the word lies in the mapping, as was just looked at.
        let word = unsafe { words.add(at) };
        // SAFETY: a mapping begins at a page, so words are aligned. It lives as long as `self`, and
        // every process uses it by atomics only.
        unsafe { AtomicU64::from_ptr(word) }
    }

    pub(crate) fn global(&self, global: Global) -> &AtomicU64 {
        self.word(global as u64)
    }

    pub(crate) fn is_set(&self, global: Global) -> bool {
        self.global(global).load(SeqCst) != 0
    }

    pub(crate) fn seat(&self, seat: u64, entry: Entry) -> &AtomicU64 {
        assert!(seat < SEATS, "no seat {seat}");
        self.word(GLOBALS + seat * SEAT_WORDS + entry as u64)
    }

    /// The number of the last publisher of a stream; 0 before the first.
    pub(crate) fn publisher(&self, stream: Stream) -> &AtomicU64 {
        self.global(match stream {
            Stream::Broadcast => Global::Publisher,
            Stream::Groups => Global::PublisherOfGroups,
            Stream::Fleeting => Global::File,
        })
    }

    pub(crate) fn term(&self, stream: Stream, publisher: u64, term: Term) -> &AtomicU64 {
        assert!(
            publisher < self.plan.publishers && stream != Stream::Fleeting,
            "the board has no room for publisher {publisher}"
        );
        let terms = GLOBALS + SEATS * SEAT_WORDS + stream as u64 * TERM_WORDS * self.plan.publishers;
        self.word(terms + publisher * TERM_WORDS + term as u64)
    }

    /// The first position of a publisher, if it has begun.
    pub(crate) fn first_of(&self, stream: Stream, publisher: u64) -> Option<u64> {
        self.term(stream, publisher, Term::First).load(SeqCst).checked_sub(1)
    }

    fn bit(&self, map: u64, nth: u64) -> (&AtomicU64, u64) {
        assert!(nth < self.plan.messages, "the board has no room for message {nth}");
        let at = Board::maps_of(self.plan) + map * self.plan.messages.div_ceil(64);
        (self.word(at + nth / 64), 1 << (nth % 64))
    }

    fn fates(&self, team: Team, fate: Fate, nth: u64) -> (&AtomicU64, u64) {
        self.bit(2 * team as u64 + fate as u64, nth)
    }

    pub(crate) fn met(&self, team: Team, fate: Fate, nth: u64) -> bool {
        let (word, bit) = self.fates(team, fate, nth);
        word.load(SeqCst) & bit != 0
    }

    /// False if it had met this fate before.
    pub(crate) fn meets(&self, team: Team, fate: Fate, nth: u64) -> bool {
        let (word, bit) = self.fates(team, fate, nth);
        word.fetch_or(bit, SeqCst) & bit == 0
    }

    pub(crate) fn has(&self, trace: Trace, nth: u64) -> bool {
        let (word, bit) = self.bit(4 + trace as u64, nth);
        word.load(SeqCst) & bit != 0
    }

    pub(crate) fn mark(&self, trace: Trace, nth: u64) {
        let (word, bit) = self.bit(4 + trace as u64, nth);
        word.fetch_or(bit, SeqCst);
    }

    pub(crate) fn clear(&self, trace: Trace, nth: u64) {
        let (word, bit) = self.bit(4 + trace as u64, nth);
        word.fetch_and(!bit, SeqCst);
    }

    fn of_file(&self, file: u64) -> u64 {
        assert!(file < self.plan.files, "the board has no room for file {file}");
        Board::files_of(self.plan) + 2 * file
    }

    /// The end that this file has met, or is about to meet; none: it is whole.
    pub(crate) fn deed(&self, file: u64) -> Option<Deed> {
        let stored = self.word(self.of_file(file)).load(SeqCst);
        DEEDS.into_iter().find(|deed| *deed as u64 == stored)
    }

    /// Says so before it happens.
    pub(crate) fn announce(&self, file: u64, deed: Deed) {
        self.word(self.of_file(file)).store(deed as u64, SeqCst);
    }

    /// Everything below was published in this file.
    pub(crate) fn published_in(&self, file: u64) -> &AtomicU64 {
        self.word(self.of_file(file) + 1)
    }

    fn acknowledged_in(&self, file: u64) -> u64 {
        Board::files_of(self.plan) + 2 * self.plan.files + file % FILES * (FILE_MESSAGES / 64)
    }

    /// Before its ring is made: forgets the messages of a file that is long gone.
    pub(crate) fn begin_file(&self, file: u64) {
        let map = self.acknowledged_in(file);
        (map..map + FILE_MESSAGES / 64).for_each(|at| self.word(at).store(0, SeqCst));
        self.global(Global::File).store(file, SeqCst);
    }

    /// False if the message of this file had been acknowledged before.
    pub(crate) fn acknowledges(&self, file: u64, nth: u64) -> bool {
        let word = self.word(self.acknowledged_in(file) + nth % FILE_MESSAGES / 64);
        word.fetch_or(1 << (nth % 64), SeqCst) & 1 << (nth % 64) == 0
    }
}
