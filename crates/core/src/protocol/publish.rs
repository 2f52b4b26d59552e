//! The producer: claiming, the scan for room, closing, and taking over from a dead one. A message
//! that is sent by itself is published in [`single`](super::single), a batch in
//! [`batch`](super::batch).

use super::tenure::used_entries;
use super::{Damage, group, park};
use crate::format::producer_page::{
    ALL_HAVE_HEADERS, CLAIMED, CLOSED, EPOCH, EVICTED_COUNT, FULL_COUNT, HEAD, HEADERS_UNTIL, IS_CLOSED,
    LIMIT, OPENED_MS, PID, WAS_LEFT,
};
use crate::format::readers_page::{USED_CONSUMERS, USED_GROUPS, USED_WORKERS};
use crate::format::{Geometry, POSITION_MAX, Sequence, Tail};
use crate::memory::{Futex, Memory};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// A party that gates the producer by a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A consumer: its entry, and its tail as the scan found it.
    Consumer(u32, Tail),
    /// A group, by number: it has not settled the message.
    Group(u32),
    /// A worker, by its entry: it may still be reading the message although its lease is over.
    Worker(u32),
}

/// The party that holds the producer back: the one with the lowest position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// The party.
    pub who: Who,
    /// The party's position, no larger than the head.
    pub position: u64,
}

/// Result of a scan of the tails, floors and pins.
#[derive(Clone, Copy, Debug)]
pub struct Scan {
    /// Number of tails and groups that gate.
    pub gates: u32,
    /// The lowest gate, if any.
    pub lowest: Option<Gate>,
}

impl Scan {
    #[inline(always)]
    fn note(&mut self, who: Who, position: u64) {
        if self.lowest.is_none_or(|gate| position < gate.position) {
            self.lowest = Some(Gate { who, position });
        }
    }
}

/// The producer's half of the protocol. Holds the producer's right for as long as it lives.
///
/// # Invariants
///
/// `head <= claimed <= LIMIT` as stored, `head <= cached_limit <= LIMIT`, and every gating tail is
/// at least `limit - capacity`, except tails that their owners have not finished choosing
/// ([`table::join`](super::table::join)).
///
/// Example, capacity 4, the slowest tail at 2: `cached_limit` and `LIMIT` are at most 6. With
/// `head` 4 and `claimed` 5, the producer may be writing position 4, and may claim position 5 as
/// well.
#[derive(Debug)]
pub struct Producer<M> {
    memory: M,
    geometry: Geometry,
    /// Positions that one announcement claims.
    claim_ahead: u64,
    head: u64,
    claimed: u64,
    cached_limit: u64,
    /// Blocks of positions from the head up to this one may hold bytes that no producer published.
    pub(super) dirty_until: u64,
    /// Positions by which `dirty_until` advances at once.
    dirty_ahead: u64,
    /// Slots of positions from the head up to this one may hold batched headers of aborted batches.
    pub(super) stale_headers_until: u64,
    /// True while [`ALL_HAVE_HEADERS`] is stored.
    pub(super) all_have_headers: bool,
}

/// Most positions that are claimed ahead of their use. Claiming 16 at once saves two stores per
/// message: 0.85 of the time for 48 B on one thread; more than 16 gain nothing.
const CLAIM_AHEAD_MAX: u64 = 16;

// Every store waits in the processor's store buffer until the cache line of the oldest waiting
// store arrives, which is the line that a reader read last. A message of seven stores instead of
// nine lets more messages be under way at once. Measured between two distant cores, singly, against
// a ring without any protocol: 48 B took 1.7 times as long with nine stores, 1.3 with seven; 64 B
// 1.9 times, and 0.6.

impl<M: Memory> Producer<M> {
    /// Becomes the producer of a ring whose last producer closed the ring or died, or of a new
    /// ring.
    ///
    /// The caller holds [`Right::Producer`](crate::memory::Right::Producer); taking it made
    /// everything that the predecessor wrote visible here. Messages that the predecessor published
    /// but did not live to count are counted; messages of a batch that the head has not passed are
    /// not. A producer that is killed in here leaves a ring from which the next takeover reaches
    /// the same state.
    ///
    /// Example, the predecessor died at `HEAD` 5, `CLAIMED` 8, with these sequence words:
    ///
    /// | position | sequence word | taken over as |
    /// |---|---|---|
    /// | 5 | 6 | published: `head` becomes 6 |
    /// | 6 | 7, batched | not published: counting stops here |
    /// | 7 | 8 | cleared to 0: it stands behind a gap |
    pub fn take_over(memory: M, geometry: Geometry) -> Result<Producer<M>, Damage> {
        let stored = Damage::bound("head", memory.load(HEAD, Relaxed), 0, POSITION_MAX)?;
        let claimed_max = stored + geometry.capacity();
        let claimed = Damage::bound("claimed", memory.load(CLAIMED, Relaxed), stored, claimed_max)?;
        let mut head = stored;
        while head < claimed
            && memory.load(geometry.slot(head).sequence(), Relaxed) == Sequence::published(head).0
        {
            head += 1;
        }
        for position in head..claimed {
            let sequence = geometry.slot(position).sequence();
            if memory.load(sequence, Relaxed) == Sequence::published(position).0 {
                memory.store(sequence, 0, Relaxed);
            }
        }
        // None of the messages that are counted now is headerless: each was found by its slot.
        if head > stored {
            memory.store(HEADERS_UNTIL, head, Relaxed);
        }
        let all_have_headers = memory.load(HEADERS_UNTIL, Relaxed) == ALL_HAVE_HEADERS;
        memory.store(HEAD, head, Release); // HEAD
        // What the predecessor was granted and did not claim is no reader's loss.
        memory.store(LIMIT, claimed, Relaxed);
        memory.store(EPOCH, memory.load(EPOCH, Relaxed).wrapping_add(1), Relaxed);
        memory.store(CLOSED, 0, Relaxed);
        // Observers lose the claimed positions, so the claim takes little of the ring.
        let claim_ahead = (geometry.capacity() / 64).clamp(1, CLAIM_AHEAD_MAX);
        // Nothing is granted before a scan, not even the predecessor's claim: a policy may require
        // readers, and none may be there. The scan's fence also shows the claim to observers before
        // this producer writes.
        let (dirty_until, stale_headers_until, cached_limit) = (claimed, claimed, head);
        // A longer claim_ahead makes short messages cost as much as whole blocks; only small blocks
        // bear that.
        let dirty_ahead = if geometry.slots().has_one_place() { 1 } else { claim_ahead };
        Ok(Producer {
            memory,
            geometry,
            claim_ahead,
            head,
            claimed,
            cached_limit,
            dirty_until,
            dirty_ahead,
            stale_headers_until,
            all_have_headers,
        })
    }

    /// The same, claiming so many positions at once, for the small rings of a model checker.
    #[doc(hidden)]
    pub fn claiming_ahead(mut self, claim_ahead: u64) -> Producer<M> {
        self.claim_ahead = claim_ahead;
        self
    }

    /// Shows in the ring's control page which process the producer is, and since when.
    pub fn introduce(&self, pid: u64, unix_ms: u64) {
        self.memory.store(PID, pid, Relaxed);
        self.memory.store(OPENED_MS, unix_ms, Relaxed);
    }

    /// Counts one time that the ring was full.
    pub fn count_full(&self) {
        let count = self.memory.load(FULL_COUNT, Relaxed).wrapping_add(1);
        self.memory.store(FULL_COUNT, count, Relaxed);
    }

    /// The memory that this producer writes.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// The ring's geometry.
    #[inline(always)]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The next position to publish.
    #[inline(always)]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// One past the highest position that was ever claimed. Blocks of positions from the head up to
    /// this one may hold anything.
    pub fn claimed(&self) -> u64 {
        self.claimed
    }

    /// Number of positions that may be claimed without a scan.
    #[inline(always)]
    pub fn room(&self) -> u64 {
        self.cached_limit - self.head
    }

    /// Gives up room that was granted beyond so many positions: the next look at the tails grants
    /// it again.
    #[cold]
    pub fn keep_room(&mut self, at_most: u64) {
        self.cached_limit = self.cached_limit.min(self.head + at_most);
    }

    /// Announces that this producer is about to write the next `n` positions, at most
    /// [`room`](Self::room).
    ///
    /// `claimed` never falls, not even when a claim is aborted: an observer must never take the
    /// bytes of an aborted claim for a whole message. The announcement covers some positions more
    /// than necessary, so that most claims find their positions claimed already.
    #[inline(always)]
    pub fn claim(&mut self, n: u64) {
        self.claim_run(self.head, n);
    }

    /// The same for `n` positions from `first` on, up to which all are claimed.
    #[inline(always)]
    pub(super) fn claim_run(&mut self, first: u64, n: u64) {
        debug_assert!(self.head <= first && first + n <= self.cached_limit);
        let end = first + n;
        if end > self.claimed {
            let end = end.max(first + self.claim_ahead).min(self.cached_limit);
            self.claimed = end;
            self.memory.store(CLAIMED, end, Relaxed);
            self.memory.fence(Release); // CLAIM
        }
    }

    /// Blocks of positions from the head up to this one may hold anything.
    #[inline(always)]
    pub fn dirty_until(&self) -> u64 {
        self.dirty_until
    }

    /// Notes that the caller may leave the block of a claimed position in any state.
    #[inline(always)]
    pub(super) fn mark_dirty(&mut self, position: u64) {
        if position >= self.dirty_until {
            self.dirty_until = position + self.dirty_ahead;
        }
    }

    /// Counts the messages below `head` as published.
    #[inline(always)]
    pub(super) fn count(&mut self, head: u64) {
        debug_assert!(self.head <= head && head <= self.claimed);
        self.head = head;
        self.memory.store(HEAD, head, Release); // HEAD
    }

    /// Wakes the readers, if any reader may be asleep.
    #[inline(always)]
    pub fn wake_readers(&self)
    where
        M: Futex,
    {
        park::Side::Readers.wake_if_asleep(&self.memory);
    }

    /// Scans every tail that was ever stored, every floor and every pin, and moves the limit as far
    /// as they allow. Costs one cache miss per reader that released a message since the last scan,
    /// so the producer calls this only at the limit.
    ///
    /// Without any gate, the producer takes an eighth of the ring at a time, so that a reader that
    /// joins at the earliest position still finds most of the last lap. With fewer than `required`
    /// gates, the scan grants nothing.
    ///
    /// Example, capacity 8, `head` and `cached_limit` 8, one tail at 3:
    ///
    /// 1. The first look finds 3, so the candidate is 3 + 8 = 11; `LIMIT` becomes 11.
    /// 2. The fence. A reader that joins from now on sees `LIMIT` 11, and begins at 3 or above.
    /// 3. The second look finds 3 again: the grant is 11. If the look also finds the first tail of
    ///    a joiner, 0, the grant stays 8.
    #[cold]
    pub fn rescan(&mut self, required: u32) -> Scan {
        let (scan, candidate) = self.look_at_tails(required);
        if candidate <= self.cached_limit {
            return scan;
        }
        // The limit is stored before the look that grants it. A joiner that this look misses then
        // reads a limit no smaller than the producer will use. The limit must not fall below a
        // predecessor's claim either: the predecessor may have written there.
        let announced = candidate.max(self.claimed);
        self.memory.store(LIMIT, announced, Relaxed);
        // The fence also acquires every tail and floor of the first look. The grant is at most what
        // that look allowed, so for tails and floors the second look needs no order of its own.
        self.memory.fence(SeqCst); // JOIN, FREE, LEAVE, EVICT, PIN, FLOOR
        let (scan, granted) = self.look_at_tails(required);
        // For pins it does: the first look may precede a pin, and the second follow its removal.
        self.memory.fence(Acquire); // UNPIN
        let limit = granted.clamp(self.cached_limit, candidate);
        if limit < announced {
            self.memory.store(LIMIT, limit.max(self.claimed), Relaxed);
        }
        self.cached_limit = limit;
        scan
    }

    /// Floors before pins. If another worker settled a message, its last reader is found by the
    /// pin; the fence between the two looks shows that pin to the second look (see
    /// [`lease`](super::lease)).
    fn look_at_tails(&self, required: u32) -> (Scan, u64) {
        let mut scan = Scan { gates: 0, lowest: None };
        let used = |word, entries| used_entries(&self.memory, word, entries);
        for entry in used(USED_CONSUMERS, self.geometry.consumer_entries()) {
            let tail = Tail(self.memory.load(self.geometry.tail(entry), Relaxed));
            let Some(position) = tail.position() else { continue };
            scan.gates += 1;
            // Another process wrote the tail: beyond the head it would grant room that is not
            // there.
            scan.note(Who::Consumer(entry, tail), position.min(self.head));
        }
        for number in used(USED_GROUPS, self.geometry.group_entries()) {
            let Some(position) = group::gate(&self.memory, &self.geometry, number, self.head) else {
                continue;
            };
            scan.gates += 1;
            scan.note(Who::Group(number), position);
        }
        for entry in used(USED_WORKERS, self.geometry.worker_entries()) {
            if let Some(position) = group::pin(&self.memory, &self.geometry, entry) {
                scan.note(Who::Worker(entry), position.min(self.head));
            }
        }
        let capacity = self.geometry.capacity();
        let limit = match scan.lowest {
            _ if scan.gates < required => self.cached_limit,
            Some(gate) => gate.position + capacity,
            None => self.head + (capacity / 8).max(1),
        };
        (scan, limit.min(POSITION_MAX))
    }

    /// Takes away the tail of an evictable consumer. False if the tail moved meanwhile, or is not
    /// evictable.
    ///
    /// The reader advances the same word by compare-exchange after it has copied, so exactly one of
    /// the two parties wins: either the copy was whole, or the reader learns of its eviction.
    /// Relaxed: only the following scan grants room, and its fence acquires the word that was read
    /// here.
    pub fn evict(&mut self, gate: Gate) -> bool {
        let Who::Consumer(entry, found) = gate.who else { return false };
        if !found.is_evictable() {
            return false;
        }
        let tail = self.geometry.tail(entry);
        let won = self.memory.compare_exchange(tail, found.0, Tail::EVICTED.0, Relaxed, Relaxed).is_ok();
        if won {
            let count = self.memory.load(EVICTED_COUNT, Relaxed).wrapping_add(1);
            self.memory.store(EVICTED_COUNT, count, Relaxed);
        }
        won
    }

    /// Says that this producer leaves in good order, and that the stream stays open: its successor
    /// did not take over from the dead. Readers see no difference.
    pub fn leave(&mut self) {
        self.memory.store(CLOSED, WAS_LEFT, Relaxed);
    }

    /// Says that this producer publishes no more. Readers drain the ring, and then learn of it.
    pub fn close(&mut self)
    where
        M: Futex,
    {
        self.memory.store(CLOSED, IS_CLOSED, Release); // CLOSE
        park::Side::Readers.wake(&self.memory);
    }
}
