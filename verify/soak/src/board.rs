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
/// First, published and intended position of each publisher.
const TERM_WORDS: u64 = 3;

/// How large the board is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Publishers of a stream, at most.
    pub(crate) publishers: u64,
    /// Messages to groups, at most.
    pub(crate) messages: u64,
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
        let maps = 4 * plan.messages.div_ceil(64);
        let words = GLOBALS + SEATS * SEAT_WORDS + 2 * TERM_WORDS * plan.publishers + maps;
        file.set_len(words * 8)?;
        Ok(Board { map: MmapRaw::map_raw(&file)?, plan })
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
        })
    }

    pub(crate) fn term(&self, stream: Stream, publisher: u64, term: Term) -> &AtomicU64 {
        assert!(publisher < self.plan.publishers, "the board has no room for publisher {publisher}");
        let terms = GLOBALS + SEATS * SEAT_WORDS + stream as u64 * TERM_WORDS * self.plan.publishers;
        self.word(terms + publisher * TERM_WORDS + term as u64)
    }

    /// The first position of a publisher, if it has begun.
    pub(crate) fn first_of(&self, stream: Stream, publisher: u64) -> Option<u64> {
        self.term(stream, publisher, Term::First).load(SeqCst).checked_sub(1)
    }

    fn fates(&self, team: Team, fate: Fate, nth: u64) -> (&AtomicU64, u64) {
        assert!(nth < self.plan.messages, "the board has no room for message {nth}");
        let maps = GLOBALS + SEATS * SEAT_WORDS + 2 * TERM_WORDS * self.plan.publishers;
        let map = 2 * team as u64 + fate as u64;
        (self.word(maps + map * self.plan.messages.div_ceil(64) + nth / 64), 1 << (nth % 64))
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
}
