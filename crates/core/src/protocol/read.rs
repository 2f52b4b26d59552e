//! Consumers: the gating consumer reads in place, the evictable one copies.

use super::follow::{Followed, Readable, Upstream, Upstreams};
use super::message::{find, is_published, is_within_a_lap, message, words};
use super::{Damage, park};
use crate::format::producer_page::{CLOSED, HEAD, HEADERS_UNTIL, IS_CLOSED};
use crate::format::{GatingEntry, Geometry, Message, Meta, Run, Sequence, Slot, Slots, Tail};
use crate::memory::{Futex, Memory};
use alloc::boxed::Box;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Messages at a consumer's tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// So many messages, at least 1, may be read.
    Messages(u64),
    /// No message yet.
    Empty,
}

/// A gating consumer's half of the protocol. Holds the right to its entry for as long as it lives.
///
/// # Invariants
///
/// The stored tail equals `tail`, and `slot` is its slot. Positions `tail..cached_head` are
/// published, were acquired, and stay untouched until the tail passes them. The message at
/// `cached_head` will be sent by itself or be the first of a batch: the slot will announce it.
/// (Exception: `began_ahead`.) A follower's `cached_head` is at most its bound.
#[derive(Debug)]
pub struct Consumer<M> {
    pub(super) memory: M,
    pub(super) slots: Slots,
    pub(super) capacity: u64,
    /// The words of the consumer's entry.
    entry: GatingEntry,
    pub(super) tail: u64,
    /// The slot at the tail.
    slot: Slot,
    pub(super) cached_head: u64,
    /// Messages in `cached_headers_until..cached_head` are headerless.
    pub(super) cached_headers_until: u64,
    /// The head that this consumer saw when it began lay below its tail.
    began_ahead: bool,
    /// The parties that this consumer follows. It reads no slot to find out whether there is a
    /// message: they have read it.
    upstreams: Option<Box<Upstreams<M>>>,
}

impl<M: Memory> Consumer<M> {
    /// A consumer at `tail`, which [`table::join`](super::table::join) or
    /// [`table::resume`](super::table::resume) has just stored in `entry`.
    pub fn new(memory: M, geometry: Geometry, entry: u32, tail: u64) -> Consumer<M> {
        let (slots, capacity) = (geometry.slots(), geometry.capacity());
        let (entry, slot) = (geometry.consumer_entry(entry), slots.at(tail));
        // The tail may lie in the middle of a batch, where no slot announces a message.
        let head = memory.load(HEAD, Relaxed);
        memory.fence(Acquire); // HEAD
        let (cached_head, cached_headers_until) = if is_within_a_lap(head, tail, capacity) {
            (head, memory.load(HEADERS_UNTIL, Relaxed))
        } else {
            (tail, tail)
        };
        let began_ahead = head < tail;
        Consumer {
            memory,
            slots,
            capacity,
            entry,
            tail,
            slot,
            cached_head,
            cached_headers_until,
            began_ahead,
            upstreams: None,
        }
    }

    /// The same consumer, after the parties of this list: it reads what all of them have released.
    #[must_use]
    pub fn following(self, geometry: &Geometry, after: &[Followed]) -> Consumer<M>
    where
        M: Clone,
    {
        let Some(upstreams) = Upstreams::new(&self.memory, geometry, after) else { return self };
        // Nothing is known to be readable by the head alone.
        let (cached_head, cached_headers_until) = (self.tail, self.tail);
        Consumer { cached_head, cached_headers_until, upstreams: Some(Box::new(upstreams)), ..self }
    }

    /// The upstream that held this consumer up at its last look for a message; none if it follows
    /// no party.
    pub fn behind(&self) -> Option<&Upstream<M>> {
        self.upstreams.as_ref().map(|upstreams| upstreams.last())
    }

    /// The upstream without which no message will come: it is gone, and all that it released was
    /// read. As of the last look for a message.
    pub fn lost(&self) -> Option<&Upstream<M>> {
        self.behind().filter(|upstream| upstream.is_gone() && upstream.passed() <= self.tail)
    }

    /// The parties that this consumer follows.
    pub fn upstreams(&self) -> &[Upstream<M>] {
        self.upstreams.as_ref().map_or(&[], |upstreams| upstreams.all())
    }

    /// True if this consumer has read all that is published, also of what its upstreams hold back.
    pub fn is_at_end(&self) -> bool {
        !is_published(&self.memory, self.slots, self.tail)
    }

    /// The memory that this consumer reads.
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
        self.entry.number()
    }

    /// Number of messages from the tail on that are known to be published.
    #[inline(always)]
    pub fn known(&self) -> u64 {
        self.cached_head - self.tail
    }

    /// Messages that may be read at the tail.
    ///
    /// The sequence word lies on the cache line of the data and says that the message is there: one
    /// miss for both. The line of the head, which the producer writes at every message, is left
    /// alone unless the slot is marked batched.
    #[inline(always)]
    pub fn poll(&mut self) -> Result<Ready, Damage> {
        if self.known() > 0 {
            return Ok(Ready::Messages(self.known()));
        }
        if self.upstreams.is_some() {
            return self.poll_upstreams();
        }
        let tail = self.tail;
        let sequence = self.memory.load(self.slot.sequence(), Relaxed);
        if sequence == tail + 1 {
            self.memory.fence(Acquire); // PUB
            self.cached_head = tail + 1;
            self.cached_headers_until = tail + 1;
            return Ok(Ready::Messages(1));
        }
        if sequence > tail {
            return self.look_closer(Sequence(sequence));
        }
        // This look fetched the first line of the slot; a longer message ends on the second.
        if let Some(line) = self.slots.second_line(self.slot) {
            self.memory.prefetch(line);
        }
        Ok(Ready::Empty)
    }

    /// Decides by a sequence word at the tail that is batched, or impossible.
    ///
    /// Never inlined. With this code in the loop of a waiting reader, sending 8 B singly between
    /// two cores took 2.0 times as long as a ring without any protocol; with a call, 0.4 times.
    #[inline(never)]
    fn look_closer(&mut self, sequence: Sequence) -> Result<Ready, Damage> {
        let tail = self.tail;
        if sequence == Sequence::batched(tail) {
            return self.poll_head();
        }
        self.not_beyond(sequence)?;
        Ok(Ready::Empty)
    }

    /// Messages that may be read from the tail on, by the head alone: one miss for all of them, and
    /// the line of the slot is left alone. A single message that a dead producer did not live to
    /// count is found by [`poll`](Self::poll).
    #[inline(always)]
    pub fn poll_head(&mut self) -> Result<Ready, Damage> {
        if self.known() == 0 {
            self.look_at_head()?;
        }
        Ok(if self.known() == 0 { Ready::Empty } else { Ready::Messages(self.known()) })
    }

    /// Re-reads the head, even if messages are known.
    #[inline(always)]
    pub fn look_at_head(&mut self) -> Result<(), Damage> {
        if self.upstreams.is_some() {
            return self.look_at_upstreams();
        }
        let tail = self.tail;
        let head = self.memory.load(HEAD, Relaxed);
        if !is_within_a_lap(head, tail, self.capacity) {
            // This consumer gates: no honest head lies further.
            return Damage::bound("head", head, 0, tail + self.capacity).map(drop);
        }
        self.memory.fence(Acquire); // HEAD
        // In a sound ring the head is not below the known messages: they came from an older head,
        // or from the slot at the tail.
        self.cached_head = head;
        self.cached_headers_until = self.memory.load(HEADERS_UNTIL, Relaxed);
        Ok(())
    }

    /// As [`poll`](Self::poll), for a follower. Never inlined, so that the loop of a plain reader
    /// has a call here and nothing else.
    #[inline(never)]
    fn poll_upstreams(&mut self) -> Result<Ready, Damage> {
        self.poll_head()
    }

    /// Learns what may be read of what the upstreams have released. Never more than the producer
    /// published, whatever the upstreams' entries say.
    ///
    /// The bound needs one line per upstream. The head is read only if it was last seen below the
    /// bound: it tells which of the messages are headerless. Far ahead of a chain, one look at the
    /// head serves many batches.
    ///
    /// Example: the follower is at 4, its upstreams at 9 and 7, and the head was 20 at its last
    /// look: messages 4 to 6 may be read, and the head is left alone.
    #[inline(never)]
    fn look_at_upstreams(&mut self) -> Result<(), Damage> {
        if let Some(readable) = self.readable_from(self.tail)? {
            (self.cached_head, self.cached_headers_until) = (readable.end, readable.headers_until);
        }
        Ok(())
    }

    /// The messages that a follower may read from `from` on, which is not below its tail; none if
    /// an upstream is not beyond.
    pub(super) fn readable_from(&mut self, from: u64) -> Result<Option<Readable>, Damage> {
        let Some(upstreams) = &mut self.upstreams else { return Ok(None) };
        let bound = upstreams.look(&self.memory);
        if bound <= from {
            return Ok(None);
        }
        let most = self.tail + self.capacity;
        Damage::bound("tail of an upstream", bound, 0, most)?;
        if upstreams.seen.end < bound {
            let head = Damage::bound("head", self.memory.load(HEAD, Relaxed), 0, most)?;
            self.memory.fence(Acquire); // HEAD
            let headers_until = self.memory.load(HEADERS_UNTIL, Relaxed);
            upstreams.seen = Readable { end: head, headers_until };
        }
        let Readable { end: head, headers_until } = upstreams.seen;
        if head >= bound {
            return Ok(Some(Readable { end: bound, headers_until }));
        }
        let (behind_head, end) = (head.max(from), self.uncounted_until(head.max(from), bound));
        // Those that nobody counted have headers, and may lie behind headerless ones.
        let headers_until = if end > behind_head { end } else { headers_until };
        Ok((end > from).then_some(Readable { end, headers_until }))
    }

    /// The end of the messages from the head on, below `bound`, that a producer did not live to
    /// count. Each was sent by itself, and its slot says so.
    #[cold]
    fn uncounted_until(&self, head: u64, bound: u64) -> u64 {
        let says = |position: u64| self.memory.load(self.slots.at(position).sequence(), Relaxed);
        let end = (head..bound).find(|&it| says(it) != Sequence::published(it).0).unwrap_or(bound);
        self.memory.fence(Acquire); // PUB
        end
    }

    /// True if this consumer comes after others.
    pub(super) fn is_follower(&self) -> bool {
        self.upstreams.is_some()
    }

    /// Re-reads the head for a reader that began above the head that it saw. Such a reader may
    /// stand inside a batch, where no slot announces a message: the head that it saw may have been
    /// older than the limit by which it began. On success the next [`poll`](Self::poll) returns the
    /// messages. A waiting reader calls this now and then.
    ///
    /// Example: a batch of positions 4 to 9 is published, `HEAD` is 10 and `LIMIT` is 14 at
    /// capacity 8. A joiner loads `LIMIT` 14, so it begins at 6, but still loads `HEAD` 4. Slot 6
    /// is headerless.
    #[inline(always)]
    pub fn look_within_batch(&mut self) -> Result<(), Damage> {
        if self.began_ahead && self.poll_head()? != Ready::Empty {
            self.began_ahead = false;
        }
        Ok(())
    }

    /// Polls by the head, and then by the slot: finds every published message.
    #[inline(always)]
    pub fn poll_many(&mut self) -> Result<Ready, Damage> {
        match self.poll_head()? {
            Ready::Empty => self.poll(),
            ready => Ok(ready),
        }
    }

    /// True if the position `ahead` of the tail is filled, too. Acquires nothing.
    #[inline(always)]
    pub fn is_filled_ahead(&self, ahead: u64) -> bool {
        let sequence = Sequence(self.memory.load(self.slots.at(self.tail + ahead).sequence(), Relaxed));
        sequence.number() > self.tail + ahead
    }

    /// The message at the tail, which [`poll`](Self::poll) announced, if it was sent by itself;
    /// else use [`next_of_batch`](Self::next_of_batch).
    #[inline(always)]
    pub fn next_single(&self) -> Option<Message> {
        if self.memory.load(self.slot.sequence(), Relaxed) != Sequence::published(self.tail).0 {
            return None;
        }
        let meta = Meta(self.memory.load(self.slot.meta(), Relaxed));
        Some(Message { meta, block: self.slots.single(self.slot) })
    }

    /// The message at the tail, which [`poll`](Self::poll) announced, however it was sent.
    pub fn next_of_batch(&self) -> Result<Message, Damage> {
        let (sequence, meta) = words(&self.memory, self.slot);
        self.not_beyond(sequence)?;
        Ok(message(self.slots, self.slot, self.tail, (sequence, meta)))
    }

    /// A slot that describes a later message was overwritten although this consumer gates: damage.
    fn not_beyond(&self, sequence: Sequence) -> Result<(), Damage> {
        Damage::bound("sequence word", sequence.number(), 0, self.tail + 1).map(drop)
    }

    /// The message `ahead` positions after the tail, which [`poll`](Self::poll) announced.
    #[inline(always)]
    pub fn message(&self, ahead: u64) -> Message {
        let position = self.tail + ahead;
        let slot = self.slots.at(position);
        message(self.slots, slot, position, words(&self.memory, slot))
    }

    /// Messages from the tail on whose slots must be looked at, at most. Those behind are
    /// headerless.
    #[inline(always)]
    pub fn headers_ahead(&self) -> u64 {
        self.cached_headers_until.saturating_sub(self.tail)
    }

    /// The blocks of up to `max` headerless messages from `ahead` positions after the tail on that
    /// adjoin each other.
    #[inline(always)]
    pub fn headerless_run(&self, ahead: u64, max: u64) -> Run {
        self.slots.packed_run(self.tail + ahead, max)
    }

    /// As [`message`](Self::message), for a headerless message.
    #[inline(always)]
    pub fn headerless_message(&self, ahead: u64) -> Message {
        Message { meta: self.slots.full(), block: self.slots.packed(self.slots.at(self.tail + ahead)) }
    }

    /// Gives the next `n` messages back to the producer; `n` is at most what [`poll`](Self::poll)
    /// announced.
    #[inline(always)]
    pub fn release(&mut self, n: u64) {
        let tail = self.tail + n;
        debug_assert!(tail <= self.cached_head);
        self.tail = tail;
        self.slot = self.slots.at(tail);
        self.memory.store(self.entry.tail(), tail, Release); // FREE, FOLLOW
    }

    /// Wakes the parties that may be asleep until this consumer releases messages: the producer for
    /// want of room, and followers.
    #[inline(always)]
    pub fn wake_behind(&self)
    where
        M: Futex,
    {
        if park::Side::is_any_behind_asleep(&self.memory, self.entry) {
            self.wake_each_behind();
        }
    }

    #[cold]
    fn wake_each_behind(&self)
    where
        M: Futex,
    {
        park::Side::wake_each_behind(&self.memory, self.entry);
    }

    /// True if there is a message, or none will come. A reader that goes to sleep asks after its
    /// announcement.
    #[cold]
    pub fn has_news(&mut self) -> Result<bool, Damage> {
        Ok(self.poll_many()? != Ready::Empty || self.is_drained()?)
    }

    /// True if the stream is closed and no message is left to read. Looks at `CLOSED` before the
    /// slot, so that the look at the slot finds every message that was published before the
    /// closing.
    ///
    /// Example, the other way round: the consumer looks at slot 7 and finds nothing, the producer
    /// publishes 7 and closes, the consumer finds `CLOSED`. It would call the stream drained, and
    /// message 7 would be lost.
    #[cold]
    pub fn is_drained(&mut self) -> Result<bool, Damage> {
        if !is_closed(&self.memory) {
            return Ok(false);
        }
        // A follower's stream ends where the producer's does, not where its upstreams are.
        let is_end = self.upstreams.is_none() || self.is_at_end();
        Ok(self.poll_many()? == Ready::Empty && is_end)
    }
}

/// True once the producer has closed the stream; its messages are then visible.
pub fn is_closed<M: Memory>(memory: &M) -> bool {
    let closed = memory.load(CLOSED, Relaxed);
    memory.fence(Acquire); // CLOSE
    closed == IS_CLOSED
}

/// Result of [`EvictableConsumer::take`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// The whole message at this position was copied.
    Message {
        /// Position of the message.
        position: u64,
        /// Length (bounded by the block size) and kind.
        meta: Meta,
    },
    /// No message yet.
    Empty,
    /// The producer took the tail away. The consumer has to join again.
    Evicted,
}

/// An evictable consumer: gates while it keeps up, and never holds a reference.
#[derive(Debug)]
pub struct EvictableConsumer<M> {
    memory: M,
    geometry: Geometry,
    entry: u32,
    tail: u64,
    /// The parties that this consumer follows.
    upstreams: Option<Box<Upstreams<M>>>,
}

impl<M: Memory> EvictableConsumer<M> {
    /// A consumer at `tail`, which [`table::join`](super::table::join) has just stored in `entry`.
    pub fn new(memory: M, geometry: Geometry, entry: u32, tail: u64) -> EvictableConsumer<M> {
        EvictableConsumer { memory, geometry, entry, tail, upstreams: None }
    }

    /// As [`Consumer::following`].
    #[must_use]
    pub fn following(self, after: &[Followed]) -> EvictableConsumer<M>
    where
        M: Clone,
    {
        let upstreams = Upstreams::new(&self.memory, &self.geometry, after).map(Box::new);
        EvictableConsumer { upstreams, ..self }
    }

    /// As [`Consumer::behind`].
    pub fn behind(&self) -> Option<&Upstream<M>> {
        self.upstreams.as_ref().map(|upstreams| upstreams.last())
    }

    /// As [`Consumer::lost`].
    pub fn lost(&self) -> Option<&Upstream<M>> {
        self.behind().filter(|upstream| upstream.is_gone() && upstream.passed() <= self.tail)
    }

    /// As [`Consumer::is_at_end`].
    pub fn is_at_end(&self) -> bool {
        !is_published(&self.memory, self.geometry.slots(), self.tail)
    }

    /// As [`Consumer::upstreams`].
    pub fn upstreams(&self) -> &[Upstream<M>] {
        self.upstreams.as_ref().map_or(&[], |upstreams| upstreams.all())
    }

    /// True if every upstream has released the message at the tail.
    fn may_read(&mut self) -> bool {
        let Some(upstreams) = &mut self.upstreams else { return true };
        self.tail < upstreams.bound() || self.tail < upstreams.look(&self.memory)
    }
    /// The memory that this consumer reads.
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
    /// Continues at `tail`, which [`table::join`](super::table::join) has just stored.
    pub fn rejoined(&mut self, tail: u64) {
        self.tail = tail;
    }

    /// Copies the next message into `buffer`, which is as long as a block.
    ///
    /// The compare-exchange that releases the message also validates the copy: it succeeds only if
    /// the producer has not evicted this consumer, and before an eviction nothing writes to the
    /// slot.
    pub fn take(&mut self, buffer: &mut [u8]) -> Copied {
        let tail = self.geometry.tail(self.entry);
        let may_read = self.may_read();
        let found = || find(&self.memory, self.geometry.slots(), self.tail);
        let Some(message) = may_read.then(found).flatten() else {
            let evicted = Tail(self.memory.load(tail, Relaxed)) == Tail::EVICTED;
            return if evicted { Copied::Evicted } else { Copied::Empty };
        };
        let meta = copy_out(&self.memory, message, buffer);
        let (from, to) = (Tail::at(self.tail, true).0, Tail::at(self.tail + 1, true).0);
        match self.memory.compare_exchange(tail, from, to, Release, Relaxed) // EVICT, FOLLOW
        {
            Ok(_) => {
                let position = self.tail;
                self.tail += 1;
                Copied::Message { position, meta }
            }
            Err(_) => Copied::Evicted,
        }
    }

    /// As [`Consumer::wake_behind`].
    #[inline(always)]
    pub fn wake_behind(&self)
    where
        M: Futex,
    {
        let entry = self.geometry.consumer_entry(self.entry);
        if park::Side::is_any_behind_asleep(&self.memory, entry) {
            park::Side::wake_each_behind(&self.memory, entry);
        }
    }

    /// True if the stream is closed and no message is left to read.
    ///
    /// This needs no look at the tail. The producer takes the tail away only for a message below
    /// its head, and the closing shows that head. A consumer that was evicted while it joined at
    /// the head has nothing to read, either.
    #[cold]
    pub fn is_drained(&self) -> bool {
        is_closed(&self.memory) && self.is_at_end()
    }
}

/// Copies a message, possibly torn. Its length is bounded by the buffer, which is as long as a
/// block.
pub fn copy_out<M: Memory>(memory: &M, message: Message, buffer: &mut [u8]) -> Meta {
    let len = message.meta.len().min(buffer.len());
    // SAFETY: the block is this geometry's, and `len` is at most the buffer's length, a block.
    unsafe { memory.copy_block(message.block, &mut buffer[..len]) };
    #[expect(clippy::cast_possible_truncation, reason = "at most a block")]
    Meta::new(len as u32, message.meta.kind())
}
