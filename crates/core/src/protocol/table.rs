//! The start of a reader: the race of a joining reader with the producer, and the checks on the
//! position of a durable consumer that comes back.
//!
//! The caller holds the right to the entry. The life of the entry around these steps is
//! [`membership`](super::membership).

use super::Damage;
use super::message::is_published;
use super::tenure::count_entry;
use crate::format::producer_page::{CLAIMED, HEAD, LIMIT};
use crate::format::readers_page::USED_CONSUMERS;
use crate::format::{GatingEntry, Geometry, POSITION_MAX, Tail};
use crate::memory::Memory;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// The position at which a new reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Start {
    /// The oldest message that is certainly still there. While no producer lives: all that is
    /// retained. Beside a producer, if no reader gates it for a lap: at least seven eighths of the
    /// last lap; else, the oldest that the slowest reader had not released when the producer last
    /// looked for room. The default of every reader, so that no reader skips a message unasked.
    #[default]
    Earliest,
    /// The first message published after the attach.
    Latest,
    /// This position.
    At(u64),
    /// So many messages before the first that is published after the attach; fewer if fewer are
    /// certainly still there, as [`Earliest`](Start::Earliest) says. `Last(0)` is
    /// [`Latest`](Start::Latest), `Last(u64::MAX)` all that is there. Never fails for want of
    /// messages, unlike a position that is counted from an earlier look at the head: a producer may
    /// have overwritten it meanwhile.
    Last(u64),
}

impl Start {
    /// The position for [`Last`](Start::Last), of messages from `earliest` up to `head`. A head
    /// that was read before `earliest` may be the lower of the two: it is then the start, as it is
    /// that of [`Latest`](Start::Latest).
    ///
    /// Example, earliest 16, head 20: the last 3 begin at 17, the last 9 at 16.
    pub fn last(n: u64, earliest: u64, head: u64) -> u64 {
        head.saturating_sub(n).max(earliest.min(head))
    }
}

/// Whether the producer may take a reader's tail away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// No: the reader reads in place.
    Refused,
    /// Yes: the reader copies, and learns that it was evicted when it reads.
    Agreed,
}

/// Why a reader cannot begin at the start it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The position was overwritten, may be overwritten at any moment, or lies before the ring's
    /// first.
    #[error(
        "position {requested} is before the earliest message that is there; attach at {earliest}, or with `Start::Earliest`"
    )]
    BeforeEarliest {
        /// The position that was asked for.
        requested: u64,
        /// The earliest position that can be had.
        earliest: u64,
    },
    /// The position was not published yet, nor is it the next one.
    #[error(
        "position {requested} lies beyond the head, {head}; attach at or below the head, or with `Start::Latest`"
    )]
    Ahead {
        /// The position that was asked for.
        requested: u64,
        /// The next position to be published.
        head: u64,
    },
    /// The position was saved of a ring that this ring continues, and lies beyond what was saved of
    /// that ring: from the watermark on, this ring's messages are its own.
    #[error(
        "position {requested} is of a ring that was lost, and this ring continues that one from {watermark} on; what the reader saw from there on is undone: attach at {watermark}, for the messages that took its place"
    )]
    Rewound {
        /// The position that was asked for.
        requested: u64,
        /// The first position of which the two rings have different messages.
        watermark: u64,
    },
    /// The ring's words contradict each other.
    #[error(transparent)]
    Damaged(#[from] Damage),
}

/// Makes `entry` gate the producer from a safe position, and returns the position.
///
/// Before that the entry is counted as used, since the scan looks at no other entries: the
/// statements about the tail below hold for the count and the tail together.
///
/// The classic race of a store and a load on either side. Proof by cases over the `SeqCst` fences,
/// for any scan of the producer that grants a limit L:
///
/// 1. The joiner's fence precedes the scan's: the scan sees the joiner's first tail, or a later
///    one, and L is at most that tail + capacity. Raising the tail afterwards only releases
///    messages that the joiner never meant to read.
/// 2. The scan's fence precedes the joiner's: the joiner sees the limit that the scan stored before
///    its fence, at least L, and starts no lower than that limit - capacity. So L overwrites
///    nothing from the start on.
///
/// The limit is of interest as long as its producer lives. If no party holds the producer's right
/// after the joiner has stored its first tail, then the earlier producers wrote below `claimed`,
/// and a later one, which takes the right afterwards, finds the tail. So the joiner may start at
/// `claimed` - capacity: a producer that went takes no part of the past with it, however much room
/// it was granted.
///
/// Example, capacity 8, head 20, the scan wants L = 26. Case 1: the scan finds the first tail, 0,
/// and grants nothing. Case 2: the joiner loads `LIMIT` 26, and starts at 18 or above; L overwrites
/// positions below 18 only.
///
/// The first tail is the lowest position of the ring. It holds the producer up until the second
/// store, and has no other effect, since the producer never takes back a limit that it was granted.
/// A better guess would gain nothing, and a guess that turned out too high would have to be
/// lowered, which no proof allows: the limit itself falls, from the value that a scan hoped for to
/// the one it granted.
pub fn join<M: Memory>(
    memory: &M,
    geometry: &Geometry,
    entry: u32,
    start: Start,
    eviction: Eviction,
    producer_lives: impl FnOnce() -> bool,
) -> Result<u64, StartError> {
    join_at(memory, geometry, geometry.consumer_entry(entry), start, eviction, producer_lives)
}

/// As [`join`], for any entry that gates: a group's floor gates as a consumer's tail does.
pub fn join_at<M: Memory>(
    memory: &M,
    geometry: &Geometry,
    entry: GatingEntry,
    start: Start,
    eviction: Eviction,
    producer_lives: impl FnOnce() -> bool,
) -> Result<u64, StartError> {
    let (tail, evictable) = (entry.tail(), eviction == Eviction::Agreed);
    let lowest = Tail::at(geometry.first_position(), evictable);
    count_entry(memory, entry.used(), entry.number());
    // Relaxed, here and below: the lowest tail grants nothing, and the fence releases everything
    // after it. (A predecessor's leaving, which its lock showed to this party, is carried on that
    // way.)
    memory.store(tail, lowest.0, Relaxed);
    memory.fence(SeqCst); // JOIN
    let overwritable = if producer_lives() { LIMIT } else { CLAIMED };
    let earliest = geometry.earliest(memory.load(overwritable, Relaxed));
    let head = memory.load(HEAD, Relaxed);
    let chosen = choose(memory, geometry, start, earliest, head);
    match chosen {
        // The producer may have taken an evictable tail away already. The tail must not be brought
        // back: the producer relies on what it took. The reader learns of it at its next read.
        Ok(position) => {
            let to = Tail::at(position, evictable).0;
            let _ = memory.compare_exchange(tail, lowest.0, to, Relaxed, Relaxed);
        }
        Err(_) => memory.store(tail, Tail::NONE.0, Relaxed),
    }
    chosen
}

fn choose<M: Memory>(
    memory: &M,
    geometry: &Geometry,
    start: Start,
    earliest: u64,
    head: u64,
) -> Result<u64, StartError> {
    Damage::bound("limit - capacity", earliest, 0, POSITION_MAX)?;
    Damage::bound("head", head, 0, POSITION_MAX)?;
    match start {
        Start::Earliest => Ok(earliest),
        // `head` may be older than the scan behind `earliest`, and so the lower of the two. It is
        // safe all the same: a scan grants at most its head + capacity, and a joiner that a scan
        // misses sees that head (case 2 of `join`).
        Start::Latest => Ok(head),
        Start::At(requested) if requested < earliest => {
            Err(StartError::BeforeEarliest { requested, earliest })
        }
        Start::At(requested) if !is_reached(memory, geometry, requested, head) => {
            Err(StartError::Ahead { requested, head })
        }
        Start::At(requested) => Ok(requested),
        Start::Last(n) => Ok(Start::last(n, earliest, head)),
    }
}

/// True if every position below `position` is published. A dead producer may not have counted its
/// last message. So if the head does not decide, the sequence word of the position before does; it
/// may be a lap further already.
fn is_reached<M: Memory>(memory: &M, geometry: &Geometry, position: u64, head: u64) -> bool {
    position <= head || position <= POSITION_MAX && is_published(memory, geometry.slots(), position - 1)
}

/// The tail of a durable consumer that comes back. It never stopped gating, so it needs no race.
pub fn resume<M: Memory>(memory: &M, geometry: &Geometry, entry: u32) -> Result<u64, Damage> {
    // A tail that the producer does not look at gated nothing.
    let used = memory.load(USED_CONSUMERS, Relaxed);
    Damage::bound("used consumer entries", used, u64::from(entry) + 1, u64::MAX)?;
    let stored = Tail(memory.load(geometry.tail(entry), Relaxed));
    // A durable reader reads in place: its tail can never be evictable.
    let tail = stored.position().filter(|_| !stored.is_evictable()).unwrap_or(stored.0);
    let head = Damage::bound("head", memory.load(HEAD, Relaxed), 0, POSITION_MAX)?;
    let earliest = geometry.earliest(head);
    if is_reached(memory, geometry, tail, head) {
        return Damage::bound("durable tail", tail, earliest, tail.max(earliest));
    }
    Err(Damage { what: "durable tail", found: tail, low: earliest, high: head })
}
