//! The messages of a batch: sealed as they are filled, and published by the head alone.

use super::publish::Publisher;
use super::single::meta;
use crate::format::producer_page::DESCRIBED;
use crate::format::{Meta, Sequence, Slot, Slots};
use crate::memory::{BlockWriter, Memory};
use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

/// A batch that is being filled, which [`Publisher::begin_batch`] has begun.
///
/// Of a *bare* message, one that fills its block and is of kind 0, nothing is written but its
/// bytes: whoever finds the head beyond a position, and nothing about it in its slot, knows what is
/// there. So a batch of them costs the lines that their bytes fill. Any other message is described
/// in its slot.
///
/// The slot of a bare message may say anything but that it holds the message at this very position.
/// Seals that were given up do say so until the head has passed them, so up to where there may be
/// such, bare messages are sealed, too. So is the first of a batch: who waits for it looks there.
///
/// The stores are relaxed: a seal says nothing of its message, but sends readers to the head.
///
/// # Invariants
///
/// Positions from `first` up to `end` are claimed by the publisher that began this batch, and lie
/// below its limit. Those up to `next` are filled, and sealed where they must be.
#[derive(Debug)]
pub struct Batch<B> {
    slots: Slots,
    blocks: B,
    first: u64,
    next: u64,
    end: u64,
    /// Blocks of positions below may hold anything.
    leftover_until: u64,
    /// The same of those that this batch was about to fill.
    scribbled_until: u64,
    /// Slots of positions below may hold seals that were given up before.
    seals_until: u64,
    /// One past the last that is not bare; else `first`.
    described_until: u64,
}

impl<B: BlockWriter> Batch<B> {
    #[inline(always)]
    fn new(
        (slots, blocks): (Slots, B),
        claimed: Range<u64>,
        leftover_until: u64,
        seals_until: u64,
    ) -> Batch<B> {
        let Range { start: first, end } = claimed;
        Batch {
            slots,
            blocks,
            first,
            next: first,
            end,
            leftover_until,
            seals_until,
            scribbled_until: first,
            described_until: first,
        }
    }

    /// The ring's slots.
    #[inline(always)]
    pub fn slots(&self) -> Slots {
        self.slots
    }

    /// The ring's blocks.
    #[inline(always)]
    pub fn blocks(&self) -> &B {
        &self.blocks
    }

    /// The next position.
    #[inline(always)]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The positions that are filled.
    #[inline(always)]
    pub fn filled(&self) -> Range<u64> {
        self.first..self.next
    }

    /// How many more messages there is room for.
    #[inline(always)]
    pub fn remaining(&self) -> u64 {
        self.end - self.next
    }

    /// The slot of the next position; none if the batch has no room left.
    #[inline(always)]
    pub fn next_slot(&self) -> Option<Slot> {
        (self.next != self.end).then(|| self.slots.at(self.next))
    }

    /// Blocks of positions below may hold what nobody published.
    #[inline(always)]
    fn leftover_until(&self) -> u64 {
        self.leftover_until.max(self.scribbled_until)
    }

    /// The blocks of the next `n` positions are about to be written by the caller, who may leave
    /// them in any state.
    #[inline(always)]
    pub fn scribble(&mut self, n: u64) {
        debug_assert!(n <= self.remaining());
        self.scribbled_until = self.scribbled_until.max(self.next + n);
    }

    /// Copies a message into the next position, whose slot this is, and adds it.
    ///
    /// # Panics
    ///
    /// If it is longer than a block.
    #[inline(always)]
    pub fn push<M: Memory<Blocks = B>>(
        &mut self,
        publisher: &Publisher<M>,
        slot: Slot,
        kind: u32,
        message: &[u8],
    ) {
        // SAFETY: the position is claimed, below the limit, and the caller is its producer, by the
        // invariants of `Batch`.
        unsafe { self.blocks.write(self.slots.packed(slot), message) };
        self.seal(publisher, slot, kind, message.len());
    }

    /// Adds the next position, whose slot this is, and whose block holds a message, at most a block
    /// long. Clears what is behind it.
    #[inline(always)]
    pub fn seal<M: Memory<Blocks = B>>(
        &mut self,
        publisher: &Publisher<M>,
        slot: Slot,
        kind: u32,
        len: usize,
    ) {
        // Behind a full block is nothing, and to know it takes no look at the publisher.
        if len < self.blocks.block_size() {
            let used = publisher.used_len(slot, self.next, true, self.leftover_until());
            if used > len {
                // SAFETY: as in `push`.
                unsafe { self.blocks.zero(self.slots.packed(slot), len..used) };
            }
        }
        self.add(slot, meta(len, kind));
    }

    #[inline(always)]
    fn add(&mut self, slot: Slot, meta: Meta) {
        debug_assert!(self.next < self.end && slot == self.slots.at(self.next));
        if meta == self.slots.full() {
            return self.add_bare(1);
        }
        seal(&self.blocks, slot, self.next, meta);
        self.next += 1;
        self.described_until = self.next;
    }

    /// Adds the next `n` positions, whose blocks are filled: bare ones.
    #[inline(always)]
    pub fn add_bare(&mut self, n: u64) {
        debug_assert!(n <= self.remaining());
        let end = self.next + n;
        let sealed_until = end.min(self.seals_until.max(self.first + 1));
        if self.next < sealed_until {
            self.seal_bare(sealed_until);
        }
        self.next = end;
    }

    /// Never inlined: in line, this kept the words of every message of a batch from staying in
    /// registers.
    #[inline(never)]
    fn seal_bare(&self, until: u64) {
        for position in self.next..until {
            seal(&self.blocks, self.slots.at(position), position, self.slots.full());
        }
    }
}

impl<M: Memory> Publisher<M> {
    /// Begins a batch at the head, of at most `n` claimed positions. Until it is published, all of
    /// them count as given up.
    #[inline(always)]
    pub fn begin_batch(&mut self, n: u64) -> Batch<M::Blocks> {
        let (first, end) = (self.head(), self.head() + n);
        debug_assert!(end <= self.claimed());
        let places = (self.geometry().slots(), self.memory().blocks());
        let batch = Batch::new(places, first..end, self.leftover_until, self.seals_until);
        self.leftover_until = self.leftover_until.max(end);
        self.seals_until = self.seals_until.max(end);
        batch
    }

    /// Ends a batch. Of those that were claimed for it, positions that it did not fill are as they
    /// were.
    #[inline(always)]
    pub fn end_batch(&mut self, batch: &Batch<M::Blocks>) {
        self.leftover_until = batch.leftover_until();
        self.seals_until = batch.seals_until;
    }

    /// Publishes a batch: one store, so that it is seen whole or not at all.
    #[inline(always)]
    pub fn publish_batch(&mut self, batch: &Batch<M::Blocks>) {
        self.end_batch(batch);
        // Who finds this beside an older head finds all before it described.
        if self.all_described || batch.described_until > self.head() {
            self.all_described = false;
            self.memory().store(DESCRIBED, batch.described_until, Relaxed);
        }
        self.count(batch.next);
    }
}

#[inline(always)]
fn seal(blocks: &impl BlockWriter, slot: Slot, position: u64, meta: Meta) {
    // SAFETY: the slot is that of a position of a batch, claimed by the producer.
    unsafe { blocks.store_relaxed(slot.meta(), meta.0) };
    // SAFETY: as above.
    unsafe { blocks.store_relaxed(slot.sequence(), Sequence::sealed(position).0) };
}
