//! The messages of a batch: sealed as they are filled, and published by the head alone.

use crate::format::{Meta, Sequence, Slot, Slots};
use crate::memory::Word;

/// Seals the messages of a batch, which [`Publisher::begin_batch`](super::publish::Publisher::begin_batch) has begun.
///
/// Of a *bare* message, one that fills its block and is of kind 0, nothing is written but its bytes: whoever finds the head
/// beyond a position, and nothing about it in its slot, knows what is there. So a batch of them costs the lines that
/// their bytes fill. Any other message is described in its slot.
///
/// The slot of a bare message may say anything but that it holds the message at this very position. Seals that were given
/// up do say so until the head has passed them, so up to where there may be such, bare messages are sealed, too. So is the
/// first of a batch: who waits for it looks there.
///
/// The stores are relaxed: a seal says nothing of its message, but sends readers to the head.
///
/// # Invariants
///
/// Positions from `first` up to `next` are filled, and sealed where they must be.
#[derive(Debug)]
pub struct Sealer {
    slots: Slots,
    first: u64,
    next: u64,
    /// Blocks of positions below may hold anything.
    leftover_until: u64,
    /// The same of those that this batch was about to fill.
    scribbled_until: u64,
    /// Slots of positions below may hold seals that were given up before.
    seals_until: u64,
    /// One past the last that is not bare; else `first`.
    described_until: u64,
}

impl Sealer {
    pub fn new(slots: Slots, first: u64, leftover_until: u64, seals_until: u64) -> Sealer {
        Sealer {
            slots,
            first,
            next: first,
            leftover_until,
            seals_until,
            scribbled_until: first,
            described_until: first,
        }
    }

    /// The next position.
    #[inline(always)]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// One past the last message that is not bare; if all are, the first.
    #[inline(always)]
    pub fn described_until(&self) -> u64 {
        self.described_until
    }

    /// Blocks of positions below may hold what nobody published.
    #[inline(always)]
    pub fn leftover_until(&self) -> u64 {
        self.leftover_until.max(self.scribbled_until)
    }

    /// Slots of positions below may hold seals that nobody published.
    #[inline(always)]
    pub fn seals_until(&self) -> u64 {
        self.seals_until
    }

    /// The blocks of the next `n` positions are about to be filled, and may be left in any state.
    #[inline(always)]
    pub fn may_leave(&mut self, n: u64) {
        self.scribbled_until = self.scribbled_until.max(self.next + n);
    }

    /// Adds the next position, whose block is filled, and whose slot is known.
    #[inline(always)]
    pub fn add(&mut self, slot: Slot, meta: Meta, relaxed_store: impl Fn(Word, u64)) {
        debug_assert!(slot == self.slots.at(self.next));
        if meta == self.slots.full() {
            return self.add_bare(1, relaxed_store);
        }
        seal(slot, self.next, meta, relaxed_store);
        self.next += 1;
        self.described_until = self.next;
    }

    /// Adds the next `n` positions, whose blocks are filled: bare ones.
    #[inline(always)]
    pub fn add_bare(&mut self, n: u64, relaxed_store: impl Fn(Word, u64)) {
        let end = self.next + n;
        let sealed_until = end.min(self.seals_until.max(self.first + 1));
        while self.next < sealed_until {
            seal(self.slots.at(self.next), self.next, self.slots.full(), &relaxed_store);
            self.next += 1;
        }
        self.next = end;
    }
}

#[inline(always)]
fn seal(slot: Slot, position: u64, meta: Meta, relaxed_store: impl Fn(Word, u64)) {
    relaxed_store(slot.meta(), meta.0);
    relaxed_store(slot.sequence(), Sequence::sealed(position).0);
}
