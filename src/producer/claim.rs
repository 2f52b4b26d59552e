//! What a producer has claimed: one block, or several.

use crate::error::SendError;
use crate::producer::{Place, Producer, meta};
use crate::region::Blocks;
use slipring_core::format::{Block, Slot, Slots};
use slipring_core::memory::Memory;
use slipring_core::protocol::batch::Sealer;

/// One claimed block, to be filled in place. Dereferences to all of its bytes, which hold an older
/// message's until written over. Dropping it is an abort: nothing was visible.
#[derive(Debug)]
pub struct Claim<'a> {
    producer: &'a mut Producer,
    place: Place,
}

impl<'a> Claim<'a> {
    /// What the producer has claimed.
    #[inline(always)]
    pub(crate) fn new(producer: &'a mut Producer, place: Place) -> Claim<'a> {
        Claim { producer, place }
    }
}

impl Claim<'_> {
    /// The position the message will have.
    pub fn position(&self) -> u64 {
        self.place.position
    }

    /// Gives the claim up, as dropping it does.
    pub fn abort(self) {}

    /// Publishes the first `len` bytes as a message of kind 0, and returns its position.
    ///
    /// # Errors
    ///
    /// [`SendError::TooLarge`] if `len` is more than a block; the claim is given up.
    #[inline(always)]
    pub fn publish(self, len: usize) -> Result<u64, SendError> {
        self.publish_kind(0, len)
    }

    /// As [`publish`](Self::publish), with a kind.
    #[inline(always)]
    pub fn publish_kind(self, kind: u32, len: usize) -> Result<u64, SendError> {
        self.producer.check_len(len)?;
        self.producer.describe(self.place, kind, len);
        self.producer.publish(self.place);
        Ok(self.place.position)
    }
}

impl std::ops::Deref for Claim<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the position is claimed: nobody else writes it.
        let block = unsafe { self.producer.publisher.memory().read_block(self.producer.single(self.place)) };
        // SAFETY: as above; the reference borrows the claim, so that no `&mut` to the block is about.
        unsafe { block.bytes(self.producer.block_size()) }
    }
}

impl std::ops::DerefMut for Claim<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.producer.scribble(self.place)
    }
}

/// How many bytes ahead of the block that is filled a batch asks for cache lines: they are the readers', who read them
/// a lap ago. Measured between two cores in batches of 32: 64 B take 0.9 of the time without.
const PREFETCH: usize = 512;
/// The longest block, in bytes, for which a batch does that. The lines of larger ones the hardware fetches when it sees
/// the first, and is better left alone: 1 KiB takes 0.95 of the time without.
const PREFETCH_BLOCK_MAX: u64 = 256;
/// It does so once for all that share a line.
const PREFETCH_LINE: u64 = 64;
/// For how many bytes it does so at a time. More lines than that cannot be on their way at once.
const PREFETCH_RUN_MAX: u64 = 2048;

/// Several claimed blocks, filled one after another and published together: readers see all of them or none, also if
/// the process is killed in the middle. Dropping it aborts all.
///
/// Messages that fill their blocks, of kind 0, are the cheapest: they lie one behind the other, and nothing is written of them.
#[derive(Debug)]
pub struct BatchClaim<'a> {
    producer: &'a mut Producer,
    /// Copies of what `producer` knows, see [`Blocks`].
    slots: Slots,
    blocks: Blocks,
    sealer: Sealer,
    /// One past the last claimed position.
    end: u64,
}

impl<'a> BatchClaim<'a> {
    /// The next `room` positions, which the producer has claimed.
    #[inline(always)]
    pub(crate) fn new(producer: &'a mut Producer, room: u64) -> BatchClaim<'a> {
        let sealer = producer.publisher.begin_batch(room);
        let publisher = &producer.publisher;
        let (slots, blocks) = (publisher.geometry().slots(), publisher.memory().blocks());
        let end = publisher.head() + room;
        // The batch after this one seals its first message there.
        blocks.prefetch_word(slots.at(end).sequence());
        BatchClaim { producer, slots, blocks, sealer, end }
    }
}

impl BatchClaim<'_> {
    /// How many more messages fit.
    pub fn remaining(&self) -> usize {
        count(self.end - self.sealer.next())
    }
    /// How many messages were pushed.
    pub fn len(&self) -> usize {
        count(self.sealer.next() - self.producer.head())
    }
    /// True before the first push.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a message by copy. True if it was added, false if the batch has no room left.
    ///
    /// # Errors
    ///
    /// [`SendError::TooLarge`]; the batch stays as it was.
    #[inline]
    pub fn push(&mut self, kind: u32, message: &[u8]) -> Result<bool, SendError> {
        self.check_len(message.len())?;
        if self.sealer.next() == self.end {
            return Ok(false);
        }
        let slot = self.next_slot();
        self.block(slot)[..message.len()].copy_from_slice(message);
        self.seal(slot, kind, message.len());
        Ok(true)
    }

    /// Adds a message in place: `fill` gets the block, which holds an older message's bytes, and returns
    /// the length of the new one. True if it was added, false if the batch has no room left.
    ///
    /// # Errors
    ///
    /// [`SendError::TooLarge`] if `fill` returns more than a block; the message is not added.
    #[inline]
    pub fn push_with(&mut self, kind: u32, fill: impl FnOnce(&mut [u8]) -> usize) -> Result<bool, SendError> {
        if self.sealer.next() == self.end {
            return Ok(false);
        }
        self.sealer.may_leave(1);
        let slot = self.next_slot();
        let len = fill(self.block(slot));
        self.check_len(len)?;
        self.seal(slot, kind, len);
        Ok(true)
    }

    /// Adds up to `max` messages in place, each a whole block of kind 0: `fill` gets their blocks one after another, which
    /// hold older messages' bytes. Returns how many were added: as many as there was room for.
    ///
    /// The cheapest way to send: nothing is worked out or written per message but what `fill` writes. What it leaves alone is
    /// sent as it is: an older message's bytes, or those of a claim that was given up. If it panics, the messages from where
    /// the ring last began again are not added.
    #[inline]
    pub fn push_blocks(&mut self, max: usize, mut fill: impl FnMut(&mut [u8])) -> usize {
        let block_size = self.blocks.len();
        self.push_runs(max, |mut run| {
            // As `chunks_exact_mut`, which divides.
            while let Some((block, rest)) = run.split_at_mut_checked(block_size) {
                fill(block);
                run = rest;
            }
        })
    }

    /// Adds up to `max` whole blocks by copy, one after another in `blocks`. Returns how many were added.
    #[inline]
    pub(crate) fn push_copies(&mut self, max: usize, blocks: &[u8]) -> usize {
        let mut rest = blocks;
        self.push_runs(max, |run| {
            let (now, later) = rest.split_at(run.len());
            run.copy_from_slice(now);
            rest = later;
        })
    }

    /// As [`push_blocks`](Self::push_blocks), but `fill` gets several blocks at once, as far as they lie behind each other without a gap.
    #[inline(always)]
    pub(crate) fn push_runs(&mut self, max: usize, mut fill: impl FnMut(&mut [u8])) -> usize {
        let count = max.min(self.remaining());
        let mut left = count as u64;
        while left > 0 {
            let run = self.slots.packed_run(self.sealer.next(), left);
            self.sealer.may_leave(run.blocks());
            self.prefetch_after(run.first(), run.blocks() * self.slots.packed_stride());
            // SAFETY: as in `block`.
            fill(unsafe { self.blocks.write_run(run) });
            // SAFETY: as in `seal`.
            self.sealer.add_bare(run.blocks(), unsafe { self.blocks.storing() });
            left -= run.blocks();
        }
        count
    }

    /// Gives the batch up, as dropping it does: nothing of it is ever seen.
    pub fn abort(self) {}

    /// Publishes what was pushed and returns the positions.
    #[inline(always)]
    pub fn publish(self) -> std::ops::Range<u64> {
        let (start, end) = (self.producer.head(), self.sealer.next());
        if end > start {
            self.producer.publish_batch(&self.sealer);
        } else {
            self.producer.publisher.end_batch(&self.sealer);
        }
        start..end
    }

    #[inline(always)]
    fn check_len(&self, len: usize) -> Result<(), SendError> {
        if len > self.blocks.len() { self.producer.check_len(len) } else { Ok(()) }
    }

    /// The slot of the next position.
    #[inline(always)]
    fn next_slot(&self) -> Slot {
        let slot = self.slots.at(self.sealer.next());
        self.prefetch_after(self.slots.packed(slot), self.slots.packed_stride());
        slot
    }

    /// What is written a little later than these bytes is on its way from then on: once for every line that begins there. Where
    /// the ring begins again, this asks for nothing of use: some messages a lap.
    #[inline(always)]
    fn prefetch_after(&self, first: Block, bytes: u64) {
        if self.slots.packed_stride() <= PREFETCH_BLOCK_MAX {
            let to_a_line = first.offset().wrapping_neg() % PREFETCH_LINE;
            for ahead in (to_a_line..bytes.min(PREFETCH_RUN_MAX)).step_by(count(PREFETCH_LINE)) {
                self.blocks.prefetch(first, PREFETCH + count(ahead));
            }
        }
    }

    /// The block of a slot of the batch.
    #[inline(always)]
    fn block(&mut self, slot: Slot) -> &mut [u8] {
        // SAFETY: the position was claimed below the limit, so that no reader holds it; the producer, which is borrowed
        // for as long as the batch lives, has the region, and is the only one who writes.
        unsafe { self.blocks.write(self.slots.packed(slot)) }
    }

    /// Describes and seals the filled block of the next position, and goes on to the one after.
    #[inline(always)]
    fn seal(&mut self, slot: Slot, kind: u32, len: usize) {
        // Behind a full block is nothing, and to know it takes no look at the producer.
        if len < self.blocks.len() {
            let (position, leftover_until) = (self.sealer.next(), self.sealer.leftover_until());
            let used = self.producer.publisher.used_len(slot, position, true, leftover_until);
            if used > len {
                self.block(slot)[len..used].fill(0);
            }
        }
        // SAFETY: the sealer has the slots of the producer's ring; it has the region, mapped for writing.
        self.sealer.add(slot, meta(len, kind), unsafe { self.blocks.storing() });
    }
}

#[inline(always)]
fn count(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
