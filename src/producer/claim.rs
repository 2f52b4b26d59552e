//! The guards of claimed blocks, one or several.

use crate::error::SendError;
use crate::message::{Message, Outgoing, Value};
use crate::producer::raw::RawProducer;
use crate::region::Blocks;
use slipring_core::format::{Block, Slot, to_usize};
use slipring_core::memory::{BlockWriter, Memory};
use slipring_core::protocol::batch::Batch;
use slipring_core::protocol::single::ClaimedSlot;
use std::marker::PhantomData;
use zerocopy::{FromBytes, IntoBytes};

/// One claimed block, to be filled in place. Dereferences to all of its bytes, or to the value,
/// which hold an older message until the caller overwrites them. Dropping it is an abort: no reader
/// sees the claim, and the next claim has the same position.
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
/// value.publish()?;
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
    /// The guard of a slot that the producer has claimed.
    #[inline(always)]
    pub(super) fn new(producer: &'a mut RawProducer, claimed: ClaimedSlot) -> Claim<'a, T> {
        Claim { producer, claimed, kind: 0, carries: PhantomData }
    }

    /// The position that the message will have.
    pub fn position(&self) -> u64 {
        self.claimed.position()
    }

    /// Gives the message a kind, by which workers select; default 0.
    #[inline(always)]
    pub fn set_kind(&mut self, kind: u32) {
        self.kind = kind;
    }

    /// Drops the claim unpublished.
    pub fn abort(self) {}

    #[inline(always)]
    fn publish_filled(self, kind: u32, len: usize) -> Result<u64, SendError> {
        self.producer.publish(self.claimed, kind, len)?;
        Ok(self.claimed.position())
    }
}

/// How many bytes of a block the caller filled, from a `usize`; with the message's kind, from a
/// pair `(kind, bytes)`.
///
/// ```
/// use slipring::{Producer, RingOptions};
///
/// let ring = RingOptions::new(48, 64).create_in_memory()?;
/// let mut producer = Producer::<[u8]>::open(&ring)?;
/// producer.claim()?.publish(5)?; // the first five bytes of the block
/// producer.claim()?.publish((3, 5))?; // the same, of kind 3
/// # Ok::<(), slipring::Error>(())
/// ```
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
    /// [`SendError::TooLarge`] if that is more than a block; the claim is aborted.
    #[inline(always)]
    pub fn publish(self, filled: impl Into<Filled>) -> Result<u64, SendError> {
        let Filled { kind, len } = filled.into();
        self.producer.check_len(len)?;
        let kind = kind.unwrap_or(self.kind);
        self.publish_filled(kind, len)
    }
}

impl<T: Value> Claim<'_, T> {
    /// Publishes the value and returns its position.
    ///
    /// # Errors
    ///
    /// [`SendError::Handle`]: the file was removed, replaced or cut short, and no reader that
    /// attaches from now on sees it.
    #[inline(always)]
    pub fn publish(self) -> Result<u64, SendError> {
        let kind = self.kind;
        self.publish_filled(kind, size_of::<T>())
    }
}

impl<T: ?Sized + Message> std::ops::Deref for Claim<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        let producer = &self.producer.protocol;
        // SAFETY: the position is claimed: no other party writes the block.
        let block = unsafe { producer.memory().read_block(producer.block(self.claimed)) };
        // SAFETY: as above; the reference borrows the claim, so that no `&mut` to the block is
        // about.
        T::in_block(unsafe { block.bytes(self.producer.block_size()) })
    }
}

impl<T: ?Sized + Message> std::ops::DerefMut for Claim<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        T::in_block_mut(self.producer.dirty_block(self.claimed))
    }
}

/// How many bytes ahead of the block that it fills a batch asks for cache lines: the readers' cores
/// have them from the lap before. Measured between two cores in batches of 32: 64 B take 0.9 of the
/// time without prefetching.
const PREFETCH: usize = 512;
/// The longest block, in bytes, for which a batch prefetches. The hardware fetches the lines of a
/// larger block by itself after the first: 1 KiB takes 0.95 of the time without prefetching.
const PREFETCH_BLOCK_MAX: u64 = 256;
/// The bytes of one request: a cache line.
const PREFETCH_LINE: u64 = 64;
/// The most bytes to ask for at a time. The core cannot have more lines than that in flight.
const PREFETCH_RUN_MAX: u64 = 2048;

/// Several claimed blocks, filled one after another and published together: readers see all of them
/// or none, also if the process is killed in between. Dropping it aborts all of them.
///
/// Messages of kind 0 that fill their blocks are the cheapest: their blocks lie in a row, and no
/// header is written for them.
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
/// batch.publish()?; // a batch that is dropped instead is aborted
///
/// let batch = consumer.recv_batch(32)?;
/// let sum: f64 = batch.slices().flatten().sum(); // likewise without a copy
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
    /// The guard of the next `room` positions, which the producer may claim.
    #[inline(always)]
    pub(super) fn new(producer: &'a mut RawProducer, room: u64) -> BatchClaim<'a, T> {
        let batch = producer.protocol.begin_batch(room);
        // The next batch seals its first message at the position behind this one.
        batch.blocks().prefetch_word(batch.slots().at(batch.next() + room).sequence());
        BatchClaim { producer, batch, carries: PhantomData }
    }
}

impl<T: ?Sized + Message> BatchClaim<'_, T> {
    /// The number of messages that still fit.
    pub fn remaining(&self) -> usize {
        to_usize(self.batch.remaining())
    }
    /// The number of messages that were pushed.
    pub fn len(&self) -> usize {
        let filled = self.batch.filled();
        to_usize(filled.end - filled.start)
    }
    /// True before the first push.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a message by copy, with a kind if `message` is a pair `(kind, message)`. True if the
    /// message was added, false if the batch has no room left.
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
        self.batch.push(&self.producer.protocol, slot, kind, message);
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
    /// they lie in a row without a gap.
    ///
    /// Example, capacity 8, blocks without gaps, a batch that begins at position 6: of 5 blocks,
    /// `fill` gets 6 and 7, which end the ring's row, then 8 to 10, which begin it.
    #[inline(always)]
    pub(crate) fn push_runs(&mut self, max: usize, mut fill: impl FnMut(&mut [u8])) -> usize {
        let count = max.min(self.remaining());
        let mut left = count as u64;
        while left > 0 {
            let slots = self.batch.slots();
            let run = slots.packed_run(self.batch.next(), left);
            self.batch.claim(&mut self.producer.protocol, run.blocks());
            self.batch.mark_dirty(run.blocks());
            self.prefetch_after(run.first(), run.blocks() * slots.packed_stride());
            // SAFETY: as in `block`.
            fill(unsafe { self.batch.blocks().run_mut(run) });
            self.batch.add_headerless(run.blocks());
            left -= run.blocks();
        }
        count
    }

    /// Drops the batch unpublished: readers see none of its messages.
    pub fn abort(self) {}

    /// Publishes the pushed messages and returns their positions. The other claimed blocks are free
    /// again.
    ///
    /// # Errors
    ///
    /// As of [`Claim::publish`].
    #[inline(always)]
    pub fn publish(self) -> Result<std::ops::Range<u64>, SendError> {
        let filled = self.batch.filled();
        if filled.is_empty() {
            self.producer.protocol.end_batch(&self.batch);
        } else {
            self.producer.publish_batch(&self.batch)?;
        }
        Ok(filled)
    }

    #[inline(always)]
    fn check_len(&self, len: usize) -> Result<(), SendError> {
        if len > self.batch.blocks().block_size() { self.producer.check_len(len) } else { Ok(()) }
    }

    /// The slot of the next position, if there is room for it.
    #[inline(always)]
    fn next_slot(&mut self) -> Option<Slot> {
        let (slot, slots) = (self.batch.next_slot(&mut self.producer.protocol)?, self.batch.slots());
        self.prefetch_after(slots.packed(slot), slots.packed_stride());
        Some(slot)
    }

    /// Asks for the cache lines that the batch writes a little later than these bytes, once for
    /// each line. At the end of the ring it asks for lines that the batch does not write: some
    /// requests a lap are wasted.
    #[inline(always)]
    fn prefetch_after(&self, first: Block, bytes: u64) {
        if self.batch.slots().packed_stride() <= PREFETCH_BLOCK_MAX {
            let to_a_line = first.offset().wrapping_neg() % PREFETCH_LINE;
            for ahead in (to_a_line..bytes.min(PREFETCH_RUN_MAX)).step_by(to_usize(PREFETCH_LINE)) {
                self.batch.blocks().prefetch(first, PREFETCH + to_usize(ahead));
            }
        }
    }

    /// The block of a slot of the batch.
    #[inline(always)]
    fn block(&mut self, slot: Slot) -> &mut [u8] {
        // SAFETY: the position was claimed below the limit, so that no reader holds it; the
        // producer, which is borrowed for as long as the batch lives, has the region, and is the
        // only writer.
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
        self.batch.mark_dirty(1);
        let Filled { kind, len } = fill(self.block(slot)).into();
        self.check_len(len)?;
        self.batch.add(&self.producer.protocol, slot, kind.unwrap_or(0), len);
        Ok(true)
    }

    /// Adds up to `max` messages in place, each a whole block of kind 0: `fill` gets their blocks
    /// one after another, which hold older messages' bytes. Returns how many were added: as many as
    /// there was room for.
    ///
    /// The cheapest way to send: per message, only the stores of `fill` are made. Bytes that `fill`
    /// does not write are sent as they are: an older message's, or an aborted claim's. If `fill`
    /// panics, the messages since the last time that the ring began again are not added.
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
    /// of at least one each. Values that `fill` does not write are sent as they are: older values,
    /// or those of an aborted claim. Returns how many values were added: as many as there was room
    /// for.
    ///
    /// Usually `fill` gets one slice, and two where the ring begins again; but one for each value
    /// where blocks of this size have gaps between them:
    ///
    /// | size of a value, bytes | slices |
    /// |---|---|
    /// | up to 112, a multiple of 8 | one, or two at the end of the ring |
    /// | more, a multiple of 16 that does not leave 48 when divided by 64 | one, or two at the end of the ring |
    /// | any other | one for each value |
    ///
    /// Per value, only the stores of `fill` are made. If `fill` panics, the slice that it had is
    /// not added.
    #[inline]
    pub fn push_in_place(&mut self, max: usize, mut fill: impl FnMut(&mut [T])) -> usize {
        self.push_runs(max, |run| match <[T]>::mut_from_bytes(run) {
            Ok(values) => fill(values),
            Err(_) => unreachable!("a block of a typed ring is a value of its type"),
        })
    }

    /// Adds the first of these values by copy, with kind 0, as many as there is room for. Returns
    /// how many.
    #[inline]
    pub fn push_slice(&mut self, messages: &[T]) -> usize {
        self.push_copies(messages.len(), messages.as_bytes())
    }
}
