//! Consumers: the gating one, which reads in place, and the evictable one, which copies.

use super::message::{find, is_published, is_within_a_lap, message, words};
use super::{Damage, park};
use crate::format::producer_page::{CLOSED, DESCRIBED, HEAD};
use crate::format::{Geometry, Message, Meta, Run, Sequence, Slot, Slots, Tail};
use crate::memory::{Futex, Memory, Word};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// What a consumer finds at its tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// So many messages, at least one, may be read.
    Messages(u64),
    /// Nothing yet.
    Empty,
}

/// A gating consumer's half of the protocol. Holds the right to its entry for as long as it lives.
///
/// # Invariants
///
/// The stored tail equals `tail`, whose slot is `slot`; positions `tail..cached_head` are published, were acquired, and stay
/// untouched until the tail passes them. The next message to be published after them is a single one, or the first of
/// a batch: its slot will say so.
#[derive(Debug)]
pub struct Reader<M> {
    memory: M,
    slots: Slots,
    capacity: u64,
    entry: u32,
    /// Where the entry's tail is, in the readers' segment.
    tail_at: u64,
    tail: u64,
    /// The slot at the tail.
    slot: Slot,
    cached_head: u64,
    /// Of those before `cached_head`, the messages from here on are bare.
    cached_described: u64,
    /// The head was last seen below where this began.
    began_ahead: bool,
}

impl<M: Memory> Reader<M> {
    /// A consumer at `tail`, which [`table::join`](super::table::join) or
    /// [`table::resume`](super::table::resume) has just stored in `entry`.
    pub fn new(memory: M, geometry: Geometry, entry: u32, tail: u64) -> Reader<M> {
        let (slots, capacity) = (geometry.slots(), geometry.capacity());
        let (tail_at, slot) = (geometry.tail(entry).offset, slots.at(tail));
        // It may begin in the middle of a batch, where no slot says that there is a message.
        let head = memory.load(HEAD, Relaxed);
        memory.fence(Acquire); // HEAD
        let (cached_head, cached_described) = if is_within_a_lap(head, tail, capacity) {
            (head, memory.load(DESCRIBED, Relaxed))
        } else {
            (tail, tail)
        };
        let began_ahead = head < tail;
        Reader {
            memory,
            slots,
            capacity,
            entry,
            tail_at,
            tail,
            slot,
            cached_head,
            cached_described,
            began_ahead,
        }
    }

    /// The memory this consumer reads.
    pub fn memory(&self) -> &M {
        &self.memory
    }
    /// The next position to read.
    #[inline(always)]
    pub fn tail(&self) -> u64 {
        self.tail
    }
    /// Number of this consumer's entry.
    pub fn entry(&self) -> u32 {
        self.entry
    }

    /// How many messages from the tail on are known to be published.
    #[inline(always)]
    pub fn known(&self) -> u64 {
        self.cached_head - self.tail
    }

    /// Whether a message may be read at the tail.
    ///
    /// The sequence word in the slot says "it is there" on the cache line that carries the data: one miss for
    /// both. The head, whose line is the producer's at every message, is left alone unless the message is sealed.
    #[inline(always)]
    pub fn poll(&mut self) -> Result<Ready, Damage> {
        if self.known() > 0 {
            return Ok(Ready::Messages(self.known()));
        }
        let tail = self.tail;
        let sequence = self.memory.load(self.slot.sequence(), Relaxed);
        if sequence <= tail {
            return Ok(Ready::Empty);
        }
        if sequence != tail + 1 {
            return self.look_closer(Sequence(sequence));
        }
        self.memory.fence(Acquire); // PUB
        self.cached_head = tail + 1;
        self.cached_described = tail + 1;
        Ok(Ready::Messages(1))
    }

    /// What the sequence word at the tail says if it is sealed, or wrong.
    ///
    /// Never inlined: with this in the loop of who waits, 8 B singly took 2.0 times as long as a bare ring, between two
    /// cores, and with a call there 0.4 times.
    #[inline(never)]
    fn look_closer(&mut self, sequence: Sequence) -> Result<Ready, Damage> {
        let tail = self.tail;
        if sequence == Sequence::sealed(tail) {
            return self.poll_head();
        }
        self.not_beyond(sequence)?;
        Ok(Ready::Empty)
    }

    /// How many messages may be read from the tail on, by the head alone: one miss for all of them, and the line that the
    /// producer writes before it is left alone. A single message that a dead producer did not live to count is
    /// [`poll`](Self::poll)'s to find.
    #[inline(always)]
    pub fn poll_head(&mut self) -> Result<Ready, Damage> {
        if self.known() == 0 {
            self.look_at_head()?;
        }
        Ok(if self.known() == 0 { Ready::Empty } else { Ready::Messages(self.known()) })
    }

    /// Learns what the head counts by now, even if messages are known.
    #[inline(always)]
    pub fn look_at_head(&mut self) -> Result<(), Damage> {
        let tail = self.tail;
        let head = self.memory.load(HEAD, Relaxed);
        if !is_within_a_lap(head, tail, self.capacity) {
            // This consumer gates: no honest head is further.
            return Damage::bound("head", head, 0, tail + self.capacity).map(drop);
        }
        self.memory.fence(Acquire); // HEAD
        // In a sound ring not below what is known, which came from an older head, or is the one message that the slot at the
        // tail told of.
        self.cached_head = head;
        self.cached_described = self.memory.load(DESCRIBED, Relaxed);
        Ok(())
    }

    /// Looks at the head for who began above the one it saw: perhaps in the middle of a batch, since that head may have been
    /// older than the limit that it began by. What this finds, the next poll finds, too. Who waits asks now and then.
    #[inline(always)]
    pub fn look_within_batch(&mut self) -> Result<(), Damage> {
        if self.began_ahead && self.poll_head()? != Ready::Empty {
            self.began_ahead = false;
        }
        Ok(())
    }

    /// By the head, and then by the slot: finds all that is there.
    #[inline(always)]
    pub fn poll_many(&mut self) -> Result<Ready, Damage> {
        match self.poll_head()? {
            Ready::Empty => self.poll(),
            ready => Ok(ready),
        }
    }

    /// Whether the position `ahead` of the tail is filled, too. Nothing is acquired.
    #[inline(always)]
    pub fn is_filled_ahead(&self, ahead: u64) -> bool {
        let sequence = Sequence(self.memory.load(self.slots.at(self.tail + ahead).sequence(), Relaxed));
        sequence.number() > self.tail + ahead
    }

    /// The message at the tail, which [`poll`](Self::poll) said may be read, if it was sent by itself; else
    /// [`next_of_batch`](Self::next_of_batch) has it.
    #[inline(always)]
    pub fn next_single(&self) -> Option<Message> {
        if self.memory.load(self.slot.sequence(), Relaxed) != Sequence::published(self.tail).0 {
            return None;
        }
        let meta = Meta(self.memory.load(self.slot.meta(), Relaxed));
        Some(Message { meta, block: self.slots.single(self.slot) })
    }

    /// The message at the tail, which [`poll`](Self::poll) said may be read, however it was sent.
    pub fn next_of_batch(&self) -> Result<Message, Damage> {
        let (sequence, meta) = words(&self.memory, self.slot);
        self.not_beyond(sequence)?;
        Ok(message(self.slots, self.slot, self.tail, (sequence, meta)))
    }

    /// A slot that this consumer gates was overwritten if it speaks of a later message: somebody broke the protocol.
    fn not_beyond(&self, sequence: Sequence) -> Result<(), Damage> {
        Damage::bound("sequence word", sequence.number(), 0, self.tail + 1).map(drop)
    }

    /// The message `ahead` positions after the tail, which [`poll`](Self::poll) said may be read.
    #[inline(always)]
    pub fn message(&self, ahead: u64) -> Message {
        let position = self.tail + ahead;
        let slot = self.slots.at(position);
        message(self.slots, slot, position, words(&self.memory, slot))
    }

    /// How far ahead of the tail the last message is, at most, whose slot must be looked at; those behind it are bare.
    #[inline(always)]
    pub fn described(&self) -> u64 {
        self.cached_described.saturating_sub(self.tail)
    }

    /// The blocks of up to `max` bare messages from `ahead` positions after the tail on, as far as they lie behind each other.
    #[inline(always)]
    pub fn bare_run(&self, ahead: u64, max: u64) -> Run {
        self.slots.packed_run(self.tail + ahead, max)
    }

    /// As [`message`](Self::message), of a bare one.
    #[inline(always)]
    pub fn bare_message(&self, ahead: u64) -> Message {
        Message { meta: self.slots.full(), block: self.slots.packed(self.slots.at(self.tail + ahead)) }
    }

    /// Gives the next `n` messages back to the producer; `n` is at most what [`poll`](Self::poll) said.
    #[inline(always)]
    pub fn release(&mut self, n: u64) {
        let tail = self.tail + n;
        debug_assert!(tail <= self.cached_head);
        self.tail = tail;
        self.slot = self.slots.at(tail);
        self.memory.store(Word::readers(self.tail_at), tail, Release); // FREE
    }

    /// Wakes the producer, if it may be asleep for want of room.
    #[inline(always)]
    pub fn wake_producer(&self)
    where
        M: Futex,
    {
        park::Side::Producer.wake_if_asleep(&self.memory);
    }

    /// True when there is a message, or none will come: a reader that goes to sleep asks after its announcement.
    #[cold]
    pub fn has_news(&mut self) -> Result<bool, Damage> {
        Ok(self.poll_many()? != Ready::Empty || self.is_drained()?)
    }

    /// True when the stream is closed and nothing is left to read. Looks at the closing before the slot:
    /// everything published before the closing is then found.
    #[cold]
    pub fn is_drained(&mut self) -> Result<bool, Damage> {
        if !is_closed(&self.memory) {
            return Ok(false);
        }
        Ok(self.poll_many()? == Ready::Empty)
    }
}

/// True once the producer has said that nothing more will come; what it published before is then visible.
pub fn is_closed<M: Memory>(memory: &M) -> bool {
    let closed = memory.load(CLOSED, Relaxed);
    memory.fence(Acquire); // CLOSE
    closed != 0
}

/// What an evictable consumer got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// The message at this position was copied, whole.
    Message {
        /// Its position.
        position: u64,
        /// Its length (bounded by the block size) and kind.
        meta: Meta,
    },
    /// Nothing yet.
    Empty,
    /// The producer took the tail away. Join again.
    Evicted,
}

/// An evictable consumer: gates while it keeps up, and never holds a reference.
#[derive(Debug)]
pub struct CopyingReader<M> {
    memory: M,
    geometry: Geometry,
    entry: u32,
    tail: u64,
}

impl<M: Memory> CopyingReader<M> {
    /// A consumer at `tail`, which [`table::join`](super::table::join) has just stored in `entry`.
    pub fn new(memory: M, geometry: Geometry, entry: u32, tail: u64) -> CopyingReader<M> {
        CopyingReader { memory, geometry, entry, tail }
    }
    /// The memory this consumer reads.
    pub fn memory(&self) -> &M {
        &self.memory
    }
    /// The next position to read.
    pub fn tail(&self) -> u64 {
        self.tail
    }
    /// The ring's geometry.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }
    /// Number of this consumer's entry.
    pub fn entry(&self) -> u32 {
        self.entry
    }
    /// Goes on at `tail`, which [`table::join`](super::table::join) has just stored.
    pub fn rejoined(&mut self, tail: u64) {
        self.tail = tail;
    }

    /// Copies the next message into `buffer`, which holds a block.
    ///
    /// The compare-exchange that releases the message also validates the copy: it succeeds only while the
    /// producer has not evicted this consumer, and until then the slot was not touched.
    pub fn take(&mut self, buffer: &mut [u8]) -> Copied {
        let tail = self.geometry.tail(self.entry);
        let Some(message) = find(&self.memory, self.geometry.slots(), self.tail) else {
            let evicted = Tail(self.memory.load(tail, Relaxed)) == Tail::EVICTED;
            return if evicted { Copied::Evicted } else { Copied::Empty };
        };
        let meta = copy_out(&self.memory, message, buffer);
        let (from, to) = (Tail::at(self.tail, true).0, Tail::at(self.tail + 1, true).0);
        match self.memory.compare_exchange(tail, from, to, Release, Relaxed) // EVICT
        {
            Ok(_) => {
                let position = self.tail;
                self.tail += 1;
                Copied::Message { position, meta }
            }
            Err(_) => Copied::Evicted,
        }
    }

    /// As [`Reader::wake_producer`].
    #[inline(always)]
    pub fn wake_producer(&self)
    where
        M: Futex,
    {
        park::Side::Producer.wake_if_asleep(&self.memory);
    }

    /// True when the stream is closed and nothing is left to read.
    #[cold]
    pub fn is_drained(&self) -> bool {
        is_closed(&self.memory)
            && !is_published(&self.memory, self.geometry.slots(), self.tail)
            && self.memory.load(self.geometry.tail(self.entry), Relaxed) != Tail::EVICTED.0
    }
}

/// Copies a message, possibly torn; its length is bounded by the buffer, which is as long as a block.
pub fn copy_out<M: Memory>(memory: &M, message: Message, buffer: &mut [u8]) -> Meta {
    let len = message.meta.len().min(buffer.len());
    // SAFETY: the block is this geometry's, and `len` is at most the buffer's length, a block.
    unsafe { memory.copy_block(message.block, &mut buffer[..len]) };
    #[expect(clippy::cast_possible_truncation, reason = "at most a block")]
    Meta::new(len as u32, message.meta.kind())
}
