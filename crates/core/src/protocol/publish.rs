//! The producer: claim, publish, scan for room, close, and taking over from a dead one.

use super::tenure::used_entries;
use super::{Damage, group, park};
use crate::format::producer_page::{
    ALL_DESCRIBED, CLAIMED, CLOSED, DESCRIBED, EPOCH, EVICTED_COUNT, FULL_COUNT, HEAD, LIMIT, OPENED_MS, PID,
};
use crate::format::readers_page::{USED_CONSUMERS, USED_GROUPS, USED_WORKERS};
use crate::format::{Geometry, POSITION_MAX, Sequence, Tail};
use crate::memory::{Futex, Memory};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// Whose word gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A consumer, by its entry: its tail, as it was found.
    Consumer(u32, Tail),
    /// A group: a message that it has not settled.
    Group(u32),
    /// A worker, by its entry: a message that it may still be reading though its lease is over.
    Worker(u32),
}

/// Who keeps the producer from going on: the one with the lowest position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Who it is.
    pub who: Who,
    /// The position, no larger than the head.
    pub position: u64,
}

/// What a look at the tails found.
#[derive(Clone, Copy, Debug)]
pub struct Scan {
    /// How many tails and groups gate.
    pub gates: u32,
    /// The lowest of them.
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
/// `head <= claimed <= LIMIT` as stored, `head <= cached_limit <= LIMIT`, and every gating tail is at least `limit - capacity`,
/// except tails that their owners have not finished choosing ([`table::join`](super::table::join)).
#[derive(Debug)]
pub struct Publisher<M> {
    memory: M,
    geometry: Geometry,
    /// How many positions are claimed at once.
    stretch: u64,
    head: u64,
    claimed: u64,
    cached_limit: u64,
    /// Blocks of positions from the head up to here may hold what nobody published.
    pub(super) leftover_until: u64,
    /// For how many positions at once that is said.
    leftover_stretch: u64,
    /// Slots of positions from the head up to here may hold seals that nobody published.
    pub(super) seals_until: u64,
    /// [`ALL_DESCRIBED`] is stored.
    pub(super) all_described: bool,
}

/// Most positions that are claimed before they are asked for. Two stores less per message: measured on one thread,
/// 48 B, 0.85 of the time with 16, and no less with more.
const STRETCH_MAX: u64 = 16;

// A message that is sent by itself is written with as few stores as can be: all of them, this process's own words too, wait in
// one queue behind those whose lines are still the readers', and how many messages fit the queue is how many lines are under
// way at once. Measured between two cores that are far apart, singly, against a bare ring: 48 B took 1.7 times as long with
// nine stores, 1.3 with seven; 64 B 1.9 times, and 0.6.

impl<M: Memory> Publisher<M> {
    /// Becomes the producer of a ring whose last producer closed it, died, or never was.
    ///
    /// The caller holds [`Right::Producer`](crate::memory::Right::Producer); taking it made everything
    /// that the predecessor wrote visible here. Whatever the predecessor published but did not live to
    /// count is counted; of a batch that the head has not passed nothing is. Being killed in here
    /// leaves a ring from which the next takeover reaches the same state.
    pub fn take_over(memory: M, geometry: Geometry) -> Result<Publisher<M>, Damage> {
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
        // None of those that are counted now is bare. Who found one by its slot knows that already.
        if head > stored {
            memory.store(DESCRIBED, head, Relaxed);
        }
        let all_described = memory.load(DESCRIBED, Relaxed) == ALL_DESCRIBED;
        memory.store(HEAD, head, Release); // HEAD
        memory.store(EPOCH, memory.load(EPOCH, Relaxed).wrapping_add(1), Relaxed);
        memory.store(CLOSED, 0, Relaxed);
        // What is claimed is lost to observers, so it is little of the ring.
        let stretch = (geometry.capacity() / 64).clamp(1, STRETCH_MAX);
        // Nothing is granted before a scan, not even what the predecessor had claimed: readers may be required, and none
        // be there; and the scan's fence shows an observer that claim before anything is written.
        let (leftover_until, seals_until, cached_limit) = (claimed, claimed, head);
        // It makes short messages cost as much as whole blocks, which only small blocks can bear.
        let leftover_stretch = if geometry.slots().has_one_place() { 1 } else { stretch };
        Ok(Publisher {
            memory,
            geometry,
            stretch,
            head,
            claimed,
            cached_limit,
            leftover_until,
            leftover_stretch,
            seals_until,
            all_described,
        })
    }

    /// The same, claiming so many positions at once: for rings as small as a model checker needs them.
    #[doc(hidden)]
    pub fn stretching(mut self, stretch: u64) -> Publisher<M> {
        self.stretch = stretch;
        self
    }

    /// Shows people which process the producer is, and since when.
    pub fn introduce(&self, pid: u64, unix_ms: u64) {
        self.memory.store(PID, pid, Relaxed);
        self.memory.store(OPENED_MS, unix_ms, Relaxed);
    }

    /// Counts that the ring was found full.
    pub fn count_full(&self) {
        let count = self.memory.load(FULL_COUNT, Relaxed).wrapping_add(1);
        self.memory.store(FULL_COUNT, count, Relaxed);
    }

    /// The memory this producer writes.
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

    /// One past the highest position that was ever claimed. Blocks of positions from the head up to it may
    /// hold anything.
    pub fn claimed(&self) -> u64 {
        self.claimed
    }

    /// How many positions may be claimed without looking at the tails.
    #[inline(always)]
    pub fn room(&self) -> u64 {
        self.cached_limit - self.head
    }

    /// Announces that the next `n` positions are about to be written. `n` is at most [`room`](Self::room).
    ///
    /// `claimed` never falls, not even when a claim is dropped: what an abandoned claim scribbled over
    /// must never look whole to an observer. It goes some positions further than it must, so that most claims find
    /// their positions claimed already.
    #[inline(always)]
    pub fn claim(&mut self, n: u64) {
        debug_assert!(n <= self.room());
        let end = self.head + n;
        if end > self.claimed {
            let end = end.max(self.head + self.stretch).min(self.cached_limit);
            self.claimed = end;
            self.memory.store(CLAIMED, end, Relaxed);
            self.memory.fence(Release); // CLAIM
        }
    }

    /// Blocks of positions from the head up to here may hold anything.
    #[inline(always)]
    pub fn leftover_until(&self) -> u64 {
        self.leftover_until
    }

    /// The block of a claimed position may be left in any state.
    #[inline(always)]
    pub(super) fn may_leave(&mut self, position: u64) {
        if position >= self.leftover_until {
            self.leftover_until = position + self.leftover_stretch;
        }
    }

    /// Counts what was published up to here.
    #[inline(always)]
    pub(super) fn count(&mut self, head: u64) {
        debug_assert!(self.head <= head && head <= self.claimed);
        self.head = head;
        self.memory.store(HEAD, head, Release); // HEAD
    }

    /// Wakes the readers, if any may be asleep.
    #[inline(always)]
    pub fn wake_readers(&self)
    where
        M: Futex,
    {
        park::Side::Readers.wake_if_asleep(&self.memory);
    }

    /// Looks at every tail that was ever stored and moves the limit as far as they allow. Costs one
    /// cache miss per reader that released something since the last look, so it is called only when
    /// the limit is reached.
    ///
    /// With nobody gating, the right to overwrite is taken an eighth of the ring at a time, so that a
    /// reader who joins at the earliest position still finds most of the last lap. With fewer than `required`
    /// tails gating, nothing is granted.
    #[cold]
    pub fn rescan(&mut self, required: u32) -> Scan {
        let (scan, candidate) = self.look_at_tails(required);
        if candidate <= self.cached_limit {
            return scan;
        }
        // The limit is stored before the look that grants it: a joiner whom that look misses then reads a
        // limit no smaller than the one the producer will use.
        // Nor may it fall below what a predecessor had claimed, and may have written.
        let announced = candidate.max(self.claimed);
        self.memory.store(LIMIT, announced, Relaxed);
        // The fence also acquires every tail and floor of the first look, and no more than that look allowed is
        // granted: for them the second one needs no order of its own.
        self.memory.fence(SeqCst); // JOIN, FREE, LEAVE, EVICT, PIN, FLOOR
        let (scan, granted) = self.look_at_tails(required);
        // For pins it does: the first look may have come before a pin, and the second after it was taken away.
        self.memory.fence(Acquire); // UNPIN
        let limit = granted.clamp(self.cached_limit, candidate);
        if limit < announced {
            self.memory.store(LIMIT, limit.max(self.claimed), Relaxed);
        }
        self.cached_limit = limit;
        scan
    }

    /// Floors before pins: a worker whose message was settled by another is found by its pin, which the fence
    /// between two looks shows to the second (see [`lease`](super::lease)).
    fn look_at_tails(&self, required: u32) -> (Scan, u64) {
        let mut scan = Scan { gates: 0, lowest: None };
        let used = |word, entries| used_entries(&self.memory, word, entries);
        for entry in used(USED_CONSUMERS, self.geometry.consumer_entries()) {
            let tail = Tail(self.memory.load(self.geometry.tail(entry), Relaxed));
            let Some(position) = tail.position() else { continue };
            scan.gates += 1;
            // Another process wrote it: a tail beyond the head would grant room that is not there.
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

    /// Takes the tail of an evictable consumer away. False when it moved meanwhile, or is not evictable.
    ///
    /// The reader advances the same word by compare-exchange after it has copied, so exactly one of the
    /// two wins: either the copy was whole, or the reader learns that it was evicted. Relaxed: room is only
    /// ever granted by the scan that follows, and its fence acquires what was read here.
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

    /// Says that nothing more will come from this producer. Readers drain, then learn it.
    pub fn close(&mut self)
    where
        M: Futex,
    {
        self.memory.store(CLOSED, 1, Release); // CLOSE
        park::Side::Readers.wake(&self.memory);
    }
}
