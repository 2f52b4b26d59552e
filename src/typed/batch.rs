//! Many values at once: sent and received as slices, where they lie.

use super::{value_of, wrong_length};
use crate::consumer::{Batch, BatchIter, Item};
use crate::error::RecvError;
use crate::message::Value;
use crate::producer::claim::BatchClaim;
use std::marker::PhantomData;
use zerocopy::{FromBytes, IntoBytes};

/// Several claimed values, filled one after another and published together, as a [`BatchClaim`] is.
///
/// ```
/// use slipring::{Consumer, Producer, RingOptions, Start};
///
/// let ring = RingOptions::of::<f64>(1024).create_in_memory()?;
/// let mut producer = Producer::options().open_typed::<f64>(&ring)?;
/// let mut consumer = Consumer::options().start(Start::Earliest).attach_typed::<f64>(&ring)?;
///
/// let mut batch = producer.claim_batch(32)?;
/// batch.push_in_place(32, |values| values.fill(0.5)); // where they lie: nothing is copied
/// batch.publish();
///
/// let batch = consumer.recv_batch(32)?;
/// let sum: f64 = batch.slices().flatten().sum(); // likewise
/// assert_eq!(sum, 16.0);
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
pub struct TypedBatchClaim<'a, T> {
    claim: BatchClaim<'a>,
    carries: PhantomData<T>,
}

impl<'a, T: Value> TypedBatchClaim<'a, T> {
    #[inline(always)]
    pub(super) fn new(claim: BatchClaim<'a>) -> TypedBatchClaim<'a, T> {
        TypedBatchClaim { claim, carries: PhantomData }
    }

    /// As [`BatchClaim::remaining`].
    pub fn remaining(&self) -> usize {
        self.claim.remaining()
    }
    /// As [`BatchClaim::len`].
    pub fn len(&self) -> usize {
        self.claim.len()
    }
    /// As [`BatchClaim::is_empty`].
    pub fn is_empty(&self) -> bool {
        self.claim.is_empty()
    }

    /// Adds a value, with a kind. True if it was added, false if the batch has no room left.
    #[inline]
    pub fn push(&mut self, kind: u32, message: &T) -> bool {
        match self.claim.push(kind, message.as_bytes()) {
            Ok(pushed) => pushed,
            Err(_) => unreachable!("a value of its type fits a block of a typed ring"),
        }
    }

    /// Adds up to `max` values of kind 0 in place: `fill` gets them as slices, one after another, of at least one each, which
    /// hold older values, or what a claim that was given up left: what `fill` leaves alone is sent as it is. Returns how many
    /// values were added: as many as there was room for.
    ///
    /// Usually there is one slice, and two where the ring begins again; but one for each value, if blocks of this size have
    /// gaps between them: those whose length is not a multiple of 8, and those of more than 112 bytes whose length is not a
    /// multiple of 16, or leaves 48 when divided by 64.
    ///
    /// Nothing is worked out or written per value but what `fill` writes. If `fill` panics, the slice that it had is not added.
    #[inline]
    pub fn push_in_place(&mut self, max: usize, mut fill: impl FnMut(&mut [T])) -> usize {
        self.claim.push_runs(max, |run| match <[T]>::mut_from_bytes(run) {
            Ok(values) => fill(values),
            Err(_) => unreachable!("a block of a typed ring is a value of its type"),
        })
    }

    /// Adds the first of these values, as many as there is room for, with kind 0, by copy. Returns how many.
    #[inline]
    pub fn push_slice(&mut self, messages: &[T]) -> usize {
        self.claim.push_copies(messages.len(), messages.as_bytes())
    }

    /// Gives the batch up, as dropping it does: nothing of it is ever seen.
    pub fn abort(self) {}

    /// Publishes what was pushed and returns the positions.
    #[inline]
    pub fn publish(self) -> std::ops::Range<u64> {
        self.claim.publish()
    }
}

/// Several values, in place. Released as a [`Batch`] is: what was handed out, when this is dropped.
#[derive(Debug)]
pub struct TypedBatch<'a, T> {
    batch: Batch<'a>,
    carries: PhantomData<T>,
}

impl<'a, T: Value> TypedBatch<'a, T> {
    /// Up to the first message that is no `T`.
    ///
    /// # Errors
    ///
    /// [`RecvError::Damaged`] if that is the first of all, as for a single one.
    #[inline(always)]
    pub(super) fn new(mut batch: Batch<'a>) -> Result<TypedBatch<'a, T>, RecvError> {
        batch.cut_to_whole_blocks().map_err(wrong_length::<T>)?;
        Ok(TypedBatch { batch, carries: PhantomData })
    }
}

impl<T: Value> TypedBatch<'_, T> {
    /// How many values there are.
    pub fn len(&self) -> usize {
        self.batch.len()
    }
    /// Never true: a batch has at least one value, unless `max` was 0.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }
    /// As [`Batch::keep`].
    pub fn keep(self) {
        self.batch.keep();
    }
    /// The values, oldest first, each with its position and kind. `for_each` and whatever else folds is faster than a loop.
    pub fn iter(&self) -> TypedBatchIter<'_, T> {
        TypedBatchIter { items: self.batch.iter(), carries: PhantomData }
    }
    /// The values, oldest first, as slices of at least one each. Values of kind 0 that were sent in batches come together, as
    /// far as they lie behind each other ([`TypedBatchClaim::push_in_place`] says when). One that was sent by itself, or has
    /// another kind, is a slice of its own, and so are all before it that came with it: a stream of slices is one of batches.
    ///
    /// Nothing is worked out or read per value. It tells nothing of kinds. A slice that was handed out is released as a whole,
    /// even by who leaves the loop in the middle of it; if the thread panics, the last one is received again as a whole.
    pub fn slices(&self) -> TypedSlices<'_, T> {
        TypedSlices { items: self.batch.iter(), carries: PhantomData }
    }
}

impl<'b, T: Value> IntoIterator for &'b TypedBatch<'_, T> {
    type Item = TypedItem<'b, T>;
    type IntoIter = TypedBatchIter<'b, T>;
    fn into_iter(self) -> TypedBatchIter<'b, T> {
        self.iter()
    }
}

/// One value of a [`TypedBatch`].
#[derive(Clone, Copy, Debug)]
pub struct TypedItem<'b, T> {
    item: Item<'b>,
    carries: PhantomData<T>,
}

impl<T> TypedItem<'_, T> {
    /// The value's position.
    pub fn position(&self) -> u64 {
        self.item.position()
    }
    /// What the producer said it is; 0 by default.
    pub fn kind(&self) -> u32 {
        self.item.kind()
    }
}

impl<T: Value> std::ops::Deref for TypedItem<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        value_of(&self.item)
    }
}

/// Iterates over the values of a [`TypedBatch`].
#[derive(Debug)]
pub struct TypedBatchIter<'b, T> {
    items: BatchIter<'b>,
    carries: PhantomData<T>,
}

impl<'b, T: Value> Iterator for TypedBatchIter<'b, T> {
    type Item = TypedItem<'b, T>;
    #[inline]
    fn next(&mut self) -> Option<TypedItem<'b, T>> {
        self.items.next().map(|item| TypedItem { item, carries: PhantomData })
    }
    #[inline]
    fn fold<A, F: FnMut(A, TypedItem<'b, T>) -> A>(self, init: A, mut f: F) -> A {
        self.items.fold(init, |folded, item| f(folded, TypedItem { item, carries: PhantomData }))
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}

impl<T: Value> ExactSizeIterator for TypedBatchIter<'_, T> {}

/// Iterates over the values of a [`TypedBatch`] as slices.
#[derive(Debug)]
pub struct TypedSlices<'b, T> {
    items: BatchIter<'b>,
    carries: PhantomData<T>,
}

impl<'b, T: Value> Iterator for TypedSlices<'b, T> {
    type Item = &'b [T];
    #[inline]
    fn next(&mut self) -> Option<&'b [T]> {
        match <[T]>::ref_from_bytes(self.items.next_run()?) {
            Ok(values) => Some(values),
            Err(_) => unreachable!("a block of a typed ring is a value of its type"),
        }
    }
}
