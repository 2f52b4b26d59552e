//! The messages of a batch: their slots are marked *batched*, and the head alone publishes them.

use super::publish::Producer;
use super::single::meta;
use crate::format::producer_page::HEADERS_UNTIL;
use crate::format::{Meta, Sequence, Slot, Slots};
use crate::memory::{BlockWriter, Memory};
use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

/// A batch that is being filled, begun by [`Producer::begin_batch`].
///
/// A message that fills its block and is of kind 0 is *headerless*: the producer writes its bytes
/// and nothing in its slot. A reader that finds the head beyond a position, and no header for it in
/// the slot, knows length and kind. So a batch of headerless messages costs the lines that their
/// bytes fill. Any other message has a header in its slot.
///
/// Rule: the slot of a headerless message at position *p* must not hold the batched header of *p*.
/// An aborted batch may have left exactly that. So headers are written anyway for positions below
/// `stale_headers_until`, and for the first position of each batch, because a reader that waits for
/// the batch looks at that slot.
///
/// Example, blocks of 48 bytes, head 1, no aborted batch before:
///
/// 1. `claim_batch(3)`; push 48 bytes: the first, so slot 1 gets (2, batched) and length 48.
/// 2. Push 10 bytes: slot 2 gets (3, batched) and length 10.
/// 3. Push 48 bytes: slot 3 is left alone; the message is headerless.
/// 4. Aborted instead of published: slots 1 and 2 keep their headers. So until the head has passed
///    4, every batched message gets a header, and no old header describes a new message.
///
/// The stores are relaxed: a batched header publishes nothing, but sends readers to the head.
///
/// # Invariants
///
/// Positions from `first` up to `end` lie below the limit of the producer that began this batch,
/// and those below `claimed` are claimed by it. Positions up to `next` are filled, and have headers
/// where they need them.
///
/// A batch claims as it is filled, a few positions at a time or as many as one call fills: an
/// observer loses what is claimed, and a batch may have room for far more than it will hold.
#[derive(Debug)]
pub struct Batch<B> {
    slots: Slots,
    blocks: B,
    first: u64,
    next: u64,
    claimed: u64,
    end: u64,
    /// Blocks of positions below may hold anything.
    dirty_until: u64,
    /// The same for positions that the user of this batch may have written.
    dirtied_until: u64,
    /// Slots of positions below may hold batched headers of aborted batches.
    stale_headers_until: u64,
    /// One past the last message that is not headerless; else `first`.
    headers_until: u64,
}

impl<B: BlockWriter> Batch<B> {
    #[inline(always)]
    fn new(
        (slots, blocks): (Slots, B),
        room: Range<u64>,
        dirty_until: u64,
        stale_headers_until: u64,
    ) -> Batch<B> {
        let Range { start: first, end } = room;
        Batch {
            slots,
            blocks,
            first,
            next: first,
            claimed: first,
            end,
            dirty_until,
            stale_headers_until,
            dirtied_until: first,
            headers_until: first,
        }
    }

    /// The places of the ring's slots and blocks.
    #[inline(always)]
    pub fn slots(&self) -> Slots {
        self.slots
    }

    /// The writer of the ring's blocks.
    #[inline(always)]
    pub fn blocks(&self) -> &B {
        &self.blocks
    }

    /// The position that the next message will have.
    #[inline(always)]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The positions that are filled.
    #[inline(always)]
    pub fn filled(&self) -> Range<u64> {
        self.first..self.next
    }

    /// Number of messages that still fit.
    #[inline(always)]
    pub fn remaining(&self) -> u64 {
        self.end - self.next
    }

    /// Claims the next position; returns its slot, `None` if the batch is full.
    #[inline(always)]
    pub fn next_slot<M: Memory<Blocks = B>>(&mut self, producer: &mut Producer<M>) -> Option<Slot> {
        if self.next == self.claimed {
            if self.next == self.end {
                return None;
            }
            self.claim(producer, 1);
        }
        Some(self.slots.at(self.next))
    }

    /// Claims the next `n` positions, at most [`remaining`](Self::remaining).
    #[inline(always)]
    pub fn claim<M: Memory<Blocks = B>>(&mut self, producer: &mut Producer<M>, n: u64) {
        if self.next + n > self.claimed {
            self.claimed = producer.claim_in_batch(self.next, n).min(self.end);
        }
    }

    /// Blocks of positions below may hold bytes that no producer published.
    #[inline(always)]
    fn dirty_until(&self) -> u64 {
        self.dirty_until.max(self.dirtied_until)
    }

    /// Notes that the caller is about to write the blocks of the next `n` positions, and may leave
    /// them in any state.
    #[inline(always)]
    pub fn mark_dirty(&mut self, n: u64) {
        debug_assert!(self.next + n <= self.claimed);
        self.dirtied_until = self.dirtied_until.max(self.next + n);
    }

    /// Copies a message into the next position, and adds it. `slot` is the slot of that position.
    ///
    /// # Panics
    ///
    /// If the message is longer than a block.
    #[inline(always)]
    pub fn push<M: Memory<Blocks = B>>(
        &mut self,
        producer: &Producer<M>,
        slot: Slot,
        kind: u32,
        message: &[u8],
    ) {
        // SAFETY: the position is claimed, below the limit, and the caller is its producer, by the
        // invariants of `Batch`.
        unsafe { self.blocks.write(self.slots.packed(slot), message) };
        self.add(producer, slot, kind, message.len());
    }

    /// Adds the next position: its block holds a message of `len` bytes, at most a block. `slot`
    /// is the slot of that position. Clears the bytes behind the message.
    #[inline(always)]
    pub fn add<M: Memory<Blocks = B>>(&mut self, producer: &Producer<M>, slot: Slot, kind: u32, len: usize) {
        // A full block leaves no bytes behind it: no need to look at the producer's words.
        if len < self.blocks.block_size() {
            let used = producer.used_len(slot, self.next, true, self.dirty_until());
            if used > len {
                // SAFETY: as in `push`.
                unsafe { self.blocks.zero(self.slots.packed(slot), len..used) };
            }
        }
        self.describe(slot, meta(len, kind));
    }

    #[inline(always)]
    fn describe(&mut self, slot: Slot, meta: Meta) {
        debug_assert!(self.next < self.claimed && slot == self.slots.at(self.next));
        if meta == self.slots.full() {
            return self.add_headerless(1);
        }
        write_header(&self.blocks, slot, self.next, meta);
        self.next += 1;
        self.headers_until = self.next;
    }

    /// Adds the next `n` positions, which are claimed: their blocks hold headerless messages.
    #[inline(always)]
    pub fn add_headerless(&mut self, n: u64) {
        debug_assert!(self.next + n <= self.claimed);
        let end = self.next + n;
        let with_headers = end.min(self.stale_headers_until.max(self.first + 1));
        if self.next < with_headers {
            self.write_headers(with_headers);
        }
        self.next = end;
    }

    /// Never inlined: in line, this loop kept the words of every message out of registers.
    #[inline(never)]
    fn write_headers(&self, until: u64) {
        for position in self.next..until {
            write_header(&self.blocks, self.slots.at(position), position, self.slots.full());
        }
    }
}

impl<M: Memory> Producer<M> {
    /// Begins a batch at the head, with room for `n` messages, at most [`room`](Producer::room),
    /// and claims the first. Until the batch is published, all of them count as aborted.
    #[inline(always)]
    pub fn begin_batch(&mut self, n: u64) -> Batch<M::Blocks> {
        self.claim(n.min(1));
        let (first, end) = (self.head(), self.head() + n);
        let places = (self.geometry().slots(), self.memory().blocks());
        let mut batch = Batch::new(places, first..end, self.dirty_until, self.stale_headers_until);
        batch.claimed = self.claimed().min(end);
        self.dirty_until = self.dirty_until.max(end);
        self.stale_headers_until = self.stale_headers_until.max(end);
        batch
    }

    /// Claims `n` positions of a batch from `first` on; returns one past the last claimed one.
    ///
    /// Never inlined, and given no reference to the batch: else the words of the batch would be in
    /// no register while it is filled.
    #[cold]
    #[inline(never)]
    fn claim_in_batch(&mut self, first: u64, n: u64) -> u64 {
        self.claim_run(first, n);
        self.claimed()
    }

    /// Ends a batch. Positions that it claimed but did not fill count again as before the batch.
    #[inline(always)]
    pub fn end_batch(&mut self, batch: &Batch<M::Blocks>) {
        self.dirty_until = batch.dirty_until();
        self.stale_headers_until = batch.stale_headers_until;
    }

    /// Publishes a batch: one store, so that a reader sees the whole batch or none of it.
    #[inline(always)]
    pub fn publish_batch(&mut self, batch: &Batch<M::Blocks>) {
        self.end_batch(batch);
        // A reader that loads this value with an older head looks into all slots below that head.
        if self.all_have_headers || batch.headers_until > self.head() {
            self.all_have_headers = false;
            self.memory().store(HEADERS_UNTIL, batch.headers_until, Relaxed);
        }
        self.count(batch.next);
    }
}

#[inline(always)]
fn write_header(blocks: &impl BlockWriter, slot: Slot, position: u64, meta: Meta) {
    // SAFETY: the slot is that of a position of a batch, claimed by the producer.
    unsafe { blocks.store_relaxed(slot.meta(), meta.0) };
    // SAFETY: as above.
    unsafe { blocks.store_relaxed(slot.sequence(), Sequence::batched(position).0) };
}
