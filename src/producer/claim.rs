//! What a producer has claimed: one block, or several.

use crate::error::SendError;
use crate::message::{Message, Outgoing, Value};
use crate::producer::raw::RawProducer;
use crate::region::Blocks;
use slipring_core::format::{Block, Slot};
use slipring_core::memory::{BlockWriter, Memory};
use slipring_core::protocol::batch::Batch;
use slipring_core::protocol::single::ClaimedSlot;
use std::marker::PhantomData;
use zerocopy::{FromBytes, IntoBytes};

/// One claimed block, to be filled in place. Dereferences to all of its bytes, or to the value,
/// which hold an older message until they are written over. Dropping it is an abort: nothing was
/// visible.
///
/// ```
/// use slipring::{Producer, RingOptions};
///
/// let ring = RingOptions::new(48, 64).create_in_memory()?;
/// let mut producer = Producer::<[u8]>::open(&ring)?;
/// let mut block = producer.claim()?;
/// block[..5].copy_from_slice(b"hello");
/// block.publish(5)?; // its first five bytes; `(3, 5)`: with kind 3
///
/// let ring = RingOptions::of::<[f64; 2]>(64).create_in_memory()?;
/// let mut producer = Producer::<[f64; 2]>::open(&ring)?;
/// let mut value = producer.claim()?;
/// value[0] = 0.5;
/// value.publish();
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a claim gives it up; `publish` sends it"]
pub struct Claim<'a, T: ?Sized = [u8]> {
    producer: &'a mut RawProducer,
    claimed: ClaimedSlot,
    kind: u32,
    carries: PhantomData<&'a mut T>,
}

impl<'a, T: ?Sized> Claim<'a, T> {
    /// What the producer has claimed.
    #[inline(always)]
    pub(super) fn new(producer: &'a mut RawProducer, claimed: ClaimedSlot) -> Claim<'a, T> {
        Claim { producer, claimed, kind: 0, carries: PhantomData }
    }

    /// The position the message will have.
    pub fn position(&self) -> u64 {
        self.claimed.position()
    }

    /// Gives the message a kind, for readers to select by; default 0.
    #[inline(always)]
    pub fn set_kind(&mut self, kind: u32) {
        self.kind = kind;
    }

    /// Gives the claim up, as dropping it does.
    pub fn abort(self) {}

    #[inline(always)]
    fn publish_filled(self, kind: u32, len: usize) -> u64 {
        self.producer.publish(self.claimed, kind, len);
        self.claimed.position()
    }
}

/// How many bytes of a block were filled, from a `usize`; with the message's kind, from a pair.
#[derive(Clone, Copy, Debug)]
pub struct Filled {
    kind: Option<u32>,
    len: usize,
}

impl From<usize> for Filled {
    #[inline(always)]
    fn from(len: usize) -> Filled {
        Filled { kind: None, len }
    }
}

impl From<(u32, usize)> for Filled {
    #[inline(always)]
    fn from((kind, len): (u32, usize)) -> Filled {
        Filled { kind: Some(kind), len }
    }
}

impl Claim<'_> {
    /// Publishes the first `filled` bytes, or, with a kind, `(kind, bytes)`, and returns the
    /// position.
    ///
    /// # Errors
    ///
    /// [`SendError::TooLarge`] if that is more than a block; the claim is given up.
    #[inline(always)]
    pub fn publish(self, filled: impl Into<Filled>) -> Result<u64, SendError> {
        let Filled { kind, len } = filled.into();
        self.producer.check_len(len)?;
        let kind = kind.unwrap_or(self.kind);
        Ok(self.publish_filled(kind, len))
    }
}

impl<T: Value> Claim<'_, T> {
    /// Publishes the value and returns its position.
    #[inline(always)]
    pub fn publish(self) -> u64 {
        let kind = self.kind;
        self.publish_filled(kind, size_of::<T>())
    }
}

impl<T: ?Sized + Message> std::ops::Deref for Claim<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        let publisher = &self.producer.publisher;
        // SAFETY: the position is claimed: nobody else writes it.
        let block = unsafe { publisher.memory().read_block(publisher.block(self.claimed)) };
        // SAFETY: as above; the reference borrows the claim, so that no `&mut` to the block is
        // about.
        T::in_block(unsafe { block.bytes(self.producer.block_size()) })
    }
}

impl<T: ?Sized + Message> std::ops::DerefMut for Claim<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        T::in_block_mut(self.producer.scribble(self.claimed))
    }
}

/// How many bytes ahead of the block that is filled a batch asks for cache lines: they are the
/// readers', who read them a lap ago. Measured between two cores in batches of 32: 64 B take 0.9 of
/// the time without.
const PREFETCH: usize = 512;
/// The longest block, in bytes, for which a batch does that. The lines of larger ones the hardware
/// fetches when it sees the first, and is better left alone: 1 KiB takes 0.95 of the time without.
const PREFETCH_BLOCK_MAX: u64 = 256;
/// It does so once for all that share a line.
const PREFETCH_LINE: u64 = 64;
/// For how many bytes it does so at a time. More lines than that cannot be on their way at once.
const PREFETCH_RUN_MAX: u64 = 2048;

/// Several claimed blocks, filled one after another and published together: readers see all of them
/// or none, also if the process is killed in the middle. Dropping it aborts all.
///
/// Messages that fill their blocks, of kind 0, are the cheapest: they lie one behind the other, and
/// nothing is written of them.
///
/// ```
/// use slipring::{Consumer, Producer, RingOptions, Start};
///
/// let ring = RingOptions::of::<f64>(1024).create_in_memory()?;
/// let mut producer = Producer::<f64>::open(&ring)?;
/// let mut consumer = Consumer::<f64>::attach(&ring, Start::Earliest)?;
///
/// let mut batch = producer.claim_batch(32)?;
/// batch.push_in_place(32, |values| values.fill(0.5)); // where they lie: nothing is copied
/// batch.publish(); // without which readers see nothing of it
///
/// let batch = consumer.recv_batch(32)?;
/// let sum: f64 = batch.slices().flatten().sum(); // likewise
/// assert_eq!(sum, 16.0);
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a batch gives up all of its messages; `publish` sends them"]
pub struct BatchClaim<'a, T: ?Sized = [u8]> {
    carries: PhantomData<&'a mut T>,
    producer: &'a mut RawProducer,
    batch: Batch<Blocks>,
}

impl<'a, T: ?Sized> BatchClaim<'a, T> {
    /// The next `room` positions, which the producer has claimed.
    #[inline(always)]
    pub(super) fn new(producer: &'a mut RawProducer, room: u64) -> BatchClaim<'a, T> {
        let batch = producer.publisher.begin_batch(room);
        // The batch after this one seals its first message there.
        batch.blocks().prefetch_word(batch.slots().at(batch.next() + room).sequence());
        BatchClaim { producer, batch, carries: PhantomData }
    }
}

impl<T: ?Sized + Message> BatchClaim<'_, T> {
    /// How many more messages fit.
    pub fn remaining(&self) -> usize {
        count(self.batch.remaining())
    }
    /// How many messages were pushed.
    pub fn len(&self) -> usize {
        let filled = self.batch.filled();
        count(filled.end - filled.start)
    }
    /// True before the first push.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a message by copy, with a kind if it is `(kind, message)`. True if it was added, false
    /// if the batch has no room left.
    ///
    /// # Errors
    ///
    /// [`SendError::TooLarge`]; the batch stays as it was.
    #[inline]
    pub fn push<'m>(&mut self, message: impl Into<Outgoing<'m, T>>) -> Result<bool, SendError> {
        let Outgoing { kind, message } = message.into();
        let message = T::bytes_of(message);
        self.check_len(message.len())?;
        let Some(slot) = self.next_slot() else { return Ok(false) };
        self.batch.push(&self.producer.publisher, slot, kind, message);
        Ok(true)
    }

    /// Adds up to `max` whole blocks by copy, one after another in `blocks`. Returns how many were
    /// added.
    #[inline]
    pub(crate) fn push_copies(&mut self, max: usize, blocks: &[u8]) -> usize {
        let mut rest = blocks;
        self.push_runs(max, |run| {
            let (now, later) = rest.split_at(run.len());
            run.copy_from_slice(now);
            rest = later;
        })
    }

    /// As [`push_blocks`](Self::push_blocks), but `fill` gets several blocks at once, as far as
    /// they lie behind each other without a gap.
    #[inline(always)]
    pub(crate) fn push_runs(&mut self, max: usize, mut fill: impl FnMut(&mut [u8])) -> usize {
        let count = max.min(self.remaining());
        let mut left = count as u64;
        while left > 0 {
            let slots = self.batch.slots();
            let run = slots.packed_run(self.batch.next(), left);
            self.batch.scribble(run.blocks());
            self.prefetch_after(run.first(), run.blocks() * slots.packed_stride());
            // SAFETY: as in `block`.
            fill(unsafe { self.batch.blocks().run_mut(run) });
            self.batch.add_bare(run.blocks());
            left -= run.blocks();
        }
        count
    }

    /// Gives the batch up, as dropping it does: nothing of it is ever seen.
    pub fn abort(self) {}

    /// Publishes what was pushed and returns the positions.
    #[inline(always)]
    pub fn publish(self) -> std::ops::Range<u64> {
        let filled = self.batch.filled();
        if filled.is_empty() {
            self.producer.publisher.end_batch(&self.batch);
        } else {
            self.producer.publish_batch(&self.batch);
        }
        filled
    }

    #[inline(always)]
    fn check_len(&self, len: usize) -> Result<(), SendError> {
        if len > self.batch.blocks().block_size() { self.producer.check_len(len) } else { Ok(()) }
    }

    /// The slot of the next position, if there is room for it.
    #[inline(always)]
    fn next_slot(&self) -> Option<Slot> {
        let (slot, slots) = (self.batch.next_slot()?, self.batch.slots());
        self.prefetch_after(slots.packed(slot), slots.packed_stride());
        Some(slot)
    }

    /// What is written a little later than these bytes is on its way from then on: once for every
    /// line that begins there. Where the ring begins again, this asks for nothing of use: some
    /// messages a lap.
    #[inline(always)]
    fn prefetch_after(&self, first: Block, bytes: u64) {
        if self.batch.slots().packed_stride() <= PREFETCH_BLOCK_MAX {
            let to_a_line = first.offset().wrapping_neg() % PREFETCH_LINE;
            for ahead in (to_a_line..bytes.min(PREFETCH_RUN_MAX)).step_by(count(PREFETCH_LINE)) {
                self.batch.blocks().prefetch(first, PREFETCH + count(ahead));
            }
        }
    }

    /// The block of a slot of the batch.
    #[inline(always)]
    fn block(&mut self, slot: Slot) -> &mut [u8] {
        // SAFETY: the position was claimed below the limit, so that no reader holds it; the
        // producer, which is borrowed for as long as the batch lives, has the region, and is the
        // only one who writes.
        unsafe { self.batch.blocks().bytes_mut(self.batch.slots().packed(slot)) }
    }
}

impl BatchClaim<'_> {
    /// Adds a message in place: `fill` gets the block, which holds an older message's bytes, and
    /// returns the length of the new one, or `(kind, length)`. True if it was added, false if the
    /// batch has no room left.
    ///
    /// # Errors
    ///
    /// [`SendError::TooLarge`] if `fill` returns more than a block; the message is not added.
    #[inline]
    pub fn push_with<F: Into<Filled>>(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> F,
    ) -> Result<bool, SendError> {
        let Some(slot) = self.next_slot() else { return Ok(false) };
        self.batch.scribble(1);
        let Filled { kind, len } = fill(self.block(slot)).into();
        self.check_len(len)?;
        self.batch.seal(&self.producer.publisher, slot, kind.unwrap_or(0), len);
        Ok(true)
    }

    /// Adds up to `max` messages in place, each a whole block of kind 0: `fill` gets their blocks
    /// one after another, which hold older messages' bytes. Returns how many were added: as many as
    /// there was room for.
    ///
    /// The cheapest way to send: nothing is worked out or written per message but what `fill`
    /// writes. What it leaves alone is sent as it is: an older message's bytes, or those of a claim
    /// that was given up. If it panics, the messages from where the ring last began again are not
    /// added.
    #[inline]
    pub fn push_blocks(&mut self, max: usize, mut fill: impl FnMut(&mut [u8])) -> usize {
        let block_size = self.batch.blocks().block_size();
        self.push_runs(max, |mut run| {
            // As `chunks_exact_mut`, which divides.
            while let Some((block, rest)) = run.split_at_mut_checked(block_size) {
                fill(block);
                run = rest;
            }
        })
    }
}

impl<T: Value> BatchClaim<'_, T> {
    /// Adds up to `max` values of kind 0 in place: `fill` gets them as slices, one after another,
    /// of at least one each, which hold older values, or what a claim that was given up left: what
    /// `fill` leaves alone is sent as it is. Returns how many values were added: as many as there
    /// was room for.
    ///
    /// Usually there is one slice, and two where the ring begins again; but one for each value, if
    /// blocks of this size have gaps between them: those whose length is not a multiple of 8, and
    /// those of more than 112 bytes whose length is not a multiple of 16, or leaves 48 when divided
    /// by 64.
    ///
    /// Nothing is worked out or written per value but what `fill` writes. If `fill` panics, the
    /// slice that it had is not added.
    #[inline]
    pub fn push_in_place(&mut self, max: usize, mut fill: impl FnMut(&mut [T])) -> usize {
        self.push_runs(max, |run| match <[T]>::mut_from_bytes(run) {
            Ok(values) => fill(values),
            Err(_) => unreachable!("a block of a typed ring is a value of its type"),
        })
    }

    /// Adds the first of these values, as many as there is room for, with kind 0, by copy. Returns
    /// how many.
    #[inline]
    pub fn push_slice(&mut self, messages: &[T]) -> usize {
        self.push_copies(messages.len(), messages.as_bytes())
    }
}

#[inline(always)]
fn count(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
