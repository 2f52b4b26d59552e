//! The guards of messages in place, one or several, which release messages when they are dropped.

use crate::error::RecvError;
use crate::message::{self, Value, wrong_length};
use crate::region::Region;
use slipring_core::format::{Block, Message, Run, to_usize};
use slipring_core::memory::Memory;
use slipring_core::protocol;
use std::cell::Cell;
use std::marker::PhantomData;
use zerocopy::FromBytes;

/// A message, in place. Dereferences to its bytes, or to the value. No process overwrites them
/// while the guard lives.
///
/// Dropping it releases the message to the producer, unless the thread is panicking: a panic is not
/// an acknowledgement, and the message is received again. A message that is passed to
/// [`std::mem::forget`] is received again, too.
///
/// ```
/// use slipring::{Consumer, Producer, RingOptions, Start};
///
/// let ring = RingOptions::of::<u64>(1024).create_in_memory()?;
/// let mut producer = Producer::<u64>::open(&ring)?;
/// let mut consumer = Consumer::<u64>::attach(&ring, Start::Earliest)?;
/// producer.send((3, &42))?;
///
/// let message = consumer.recv()?;
/// assert_eq!((*message, message.kind(), message.position()), (42, 3, 0));
/// message.keep(); // not released: the next receive returns it again
/// drop(consumer.recv()?); // released: the producer may use the block again
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a message releases it; `keep` does not"]
pub struct Received<'a, T: ?Sized = [u8]> {
    reader: &'a mut protocol::Consumer<Region>,
    carries: PhantomData<&'a T>,
    position: u64,
    message: Message,
    /// True if the thread was unwinding when the guard was made: dropping it during that panic does
    /// not say that the handler of this message failed.
    unwinding: bool,
}

impl<'a, T: ?Sized> Received<'a, T> {
    /// The guard of the message at the tail, which is published and is a `T`.
    #[inline(always)]
    pub(super) fn new(reader: &'a mut protocol::Consumer<Region>, message: Message) -> Received<'a, T> {
        let (position, unwinding) = (reader.tail(), std::thread::panicking());
        Received { position, message, unwinding, reader, carries: PhantomData }
    }
}

impl<T: ?Sized> Received<'_, T> {
    /// The message's position.
    #[inline]
    pub fn position(&self) -> u64 {
        self.position
    }
    /// The kind that the producer gave the message; 0 by default.
    #[inline]
    pub fn kind(&self) -> u32 {
        self.message.meta.kind()
    }
    /// Drops the guard without releasing the message: the next receive returns it again.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl<T: ?Sized + message::Message> std::ops::Deref for Received<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        T::in_block(bytes_of(self.reader, self.message.block, self.message.meta.len()))
    }
}

impl AsRef<[u8]> for Received<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// The bytes of a message that is published and not released.
#[inline(always)]
fn bytes_of(reader: &protocol::Consumer<Region>, block: Block, len: usize) -> &[u8] {
    // SAFETY: the message's position was acquired and is not released while the guard that calls
    // this lives: the tail gates the producer. The block is the reader's.
    let block = unsafe { reader.memory().read_block(block) };
    // SAFETY: as above. The length is cut to the block.
    unsafe { block.bytes(len) }
}

impl<T: ?Sized> Drop for Received<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.unwinding || !std::thread::panicking() {
            release(self.reader, 1);
        }
    }
}

#[inline(always)]
pub(super) fn release(reader: &mut protocol::Consumer<Region>, n: u64) {
    reader.release(n);
    reader.wake_behind();
}

/// Several messages, in place. Iterate over it by reference.
///
/// Dropping it releases every message that an iterator has handed out; the other messages stay and
/// are received again. Example: of a batch of positions 4 to 7, an iterator handed out 4 and 5.
/// Dropping the batch releases these two, and the next receive returns 6. If the thread is
/// panicking, the message that was handed out last stays, too: the handler has not finished it.
///
/// ```
/// use slipring::{Consumer, Producer, RingOptions, Start};
///
/// let ring = RingOptions::of::<f64>(1024).create_in_memory()?;
/// let mut producer = Producer::<f64>::open(&ring)?;
/// let mut consumer = Consumer::<f64>::attach(&ring, Start::Earliest)?;
/// producer.send_batch(&[0.5, 1.5, 2.5])?;
///
/// let batch = consumer.recv_batch(2)?;
/// assert_eq!(batch.iter().map(|value| *value).sum::<f64>(), 2.0); // one by one
/// drop(batch);
/// let batch = consumer.recv_batch(32)?;
/// assert_eq!(batch.slices().flatten().sum::<f64>(), 2.5); // as slices: the fastest
/// # drop(batch);
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a batch releases only the messages that an iterator has handed out; the others are received again"]
pub struct Batch<'a, T: ?Sized = [u8]> {
    reader: &'a mut protocol::Consumer<Region>,
    carries: PhantomData<&'a T>,
    count: u64,
    /// The messages from this index on are headerless: their slots need not be read.
    headers_ahead: u64,
    /// True if every message has the length of a block, whatever its slot says.
    whole_blocks: bool,
    handed_out: Cell<u64>,
    /// `handed_out` without the messages that were handed out last, which the handler may not have
    /// finished.
    finished: Cell<u64>,
    /// True if the thread was unwinding when the batch was taken.
    unwinding: bool,
}

/// One message of a [`Batch`], or one that was [read ahead](crate::ReadAhead).
///
/// ```
/// use slipring::{Consumer, Producer, RingOptions, Start};
///
/// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
/// let mut consumer = Consumer::<u64>::attach(&ring, Start::Earliest)?;
/// Producer::<u64>::open(&ring)?.send((3, &7))?;
/// for item in &consumer.recv_batch(32)? {
///     assert_eq!((*item, item.kind(), item.position()), (7, 3, 0));
/// }
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
pub struct Item<'a, T: ?Sized = [u8]> {
    message: &'a T,
    position: u64,
    kind: u32,
}

impl<T: ?Sized> Clone for Item<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Item<'_, T> {}

impl<'a, T: ?Sized> Item<'a, T> {
    #[inline(always)]
    pub(super) fn new(message: &'a T, position: u64, kind: u32) -> Item<'a, T> {
        Item { message, position, kind }
    }
    #[inline(always)]
    pub(super) fn into_ref(self) -> &'a T {
        self.message
    }
    /// The message's position.
    pub fn position(&self) -> u64 {
        self.position
    }
    /// The kind that the producer gave the message; 0 by default.
    pub fn kind(&self) -> u32 {
        self.kind
    }
}

impl<T: ?Sized> std::ops::Deref for Item<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        self.message
    }
}

impl AsRef<[u8]> for Item<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl<'a, T: ?Sized + message::Message> Batch<'a, T> {
    /// Up to `max` of the `available` published messages: the messages before the first that is no
    /// `T`.
    ///
    /// # Errors
    ///
    /// [`RecvError::WrongLength`] if the first message is no `T`. It is released.
    #[inline(always)]
    pub(super) fn new(
        reader: &'a mut protocol::Consumer<Region>,
        available: u64,
        max: usize,
    ) -> Result<Batch<'a, T>, RecvError> {
        let mut batch = Batch {
            count: available.min(max as u64),
            headers_ahead: reader.headers_ahead(),
            whole_blocks: false,
            handed_out: Cell::new(0),
            finished: Cell::new(0),
            unwinding: std::thread::panicking(),
            carries: PhantomData,
            reader,
        };
        if T::CARRIES.is_some() {
            if let Err(found) = batch.cut_to_whole_blocks() {
                return Err(batch.pass(found));
            }
        }
        Ok(batch)
    }

    /// Releases the first message, which is no `T`, and returns the error for it.
    #[cold]
    fn pass(self, found: usize) -> RecvError {
        self.handed_out.set(1);
        wrong_length::<T>(self.reader.tail(), found)
    }
}

impl<T: ?Sized> Batch<'_, T> {
    /// The number of messages of the batch.
    pub fn len(&self) -> usize {
        to_usize(self.count)
    }
    /// Never true: a batch has at least one message, unless `max` was 0.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
    /// Drops the batch without releasing any of its messages: the next receive returns them again.
    /// For leaving a loop with an error: dropping the batch there would release the message that
    /// failed.
    pub fn keep(self) {
        std::mem::forget(self);
    }
    /// The messages, oldest first. `for_each`, `sum` and other folds are faster than a `for` loop.
    pub fn iter(&self) -> BatchIter<'_, T> {
        BatchIter { batch: self, next: 0, last: 1 }
    }

    /// The bytes of the headerless messages from `ahead` positions after the tail on, up to the end
    /// of the ring or of the run. There is at least one.
    #[inline(always)]
    fn headerless_run(&self, ahead: u64) -> (&[u8], Run) {
        let run = self.reader.headerless_run(ahead, self.count - ahead);
        // SAFETY: as in `bytes_of`, for each message of the run.
        (unsafe { self.reader.memory().read_run(run) }, run)
    }

    /// Ends the batch before the first message that does not fill its block. An error with the
    /// message's length if it is the first message of the batch.
    ///
    /// From then on every message is handed out as a whole block, even if another process changes
    /// the length that was read here.
    ///
    /// Example, values of 8 bytes, a batch of positions 4 to 7: position 6 has 3 bytes. The batch
    /// ends at 5. The next receive finds 6 first: it releases 6 and returns `WrongLength`.
    #[inline(always)]
    pub(crate) fn cut_to_whole_blocks(&mut self) -> Result<(), usize> {
        self.whole_blocks = true;
        for ahead in 0..self.headers_ahead.min(self.count) {
            let found = self.reader.message(ahead).meta.len();
            if found != self.reader.memory().block_len() {
                self.count = ahead;
                return if ahead == 0 { Err(found) } else { Ok(()) };
            }
        }
        Ok(())
    }
}

impl<T: Value> Batch<'_, T> {
    /// The values, oldest first, as slices of at least one each. Values of kind 0 that were sent in
    /// batches come in one slice, as far as their blocks have no gap between them
    /// ([`BatchClaim::push_in_place`](crate::BatchClaim::push_in_place) has the sizes). A value
    /// that was sent by itself, or has another kind, is a slice of its own, and so is every value
    /// before it in its batch: slices pay for streams of batches.
    ///
    /// No word of a slot is read per value, and kinds are not told. A slice that was handed out is
    /// released as a whole, even if the loop ends in the middle of it; if the thread panics, the
    /// last slice is received again as a whole.
    ///
    /// ```
    /// use slipring::{Consumer, Producer, RingOptions, Start};
    ///
    /// let ring = RingOptions::of::<f64>(64).create_in_memory()?;
    /// let mut consumer = Consumer::<f64>::attach(&ring, Start::Earliest)?;
    /// Producer::<f64>::open(&ring)?.send_batch(&[0.5; 32])?;
    /// let batch = consumer.recv_batch(32)?;
    /// assert_eq!(batch.slices().map(<[f64]>::len).collect::<Vec<_>>(), [32]);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    pub fn slices(&self) -> Slices<'_, T> {
        Slices { items: self.iter() }
    }
}

impl<'b, T: ?Sized + message::Message> IntoIterator for &'b Batch<'_, T> {
    type Item = Item<'b, T>;
    type IntoIter = BatchIter<'b, T>;
    fn into_iter(self) -> BatchIter<'b, T> {
        self.iter()
    }
}

impl<T: ?Sized> Drop for Batch<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let panicked = !self.unwinding && std::thread::panicking();
        let finished = if panicked { self.finished.get() } else { self.handed_out.get() };
        if finished > 0 {
            release(self.reader, finished);
        }
    }
}

/// Iterates over a [`Batch`].
#[derive(Debug)]
#[must_use = "iterators are lazy"]
pub struct BatchIter<'b, T: ?Sized = [u8]> {
    batch: &'b Batch<'b, T>,
    next: u64,
    /// How many messages the last call handed out.
    last: u64,
}

impl<'b, T: ?Sized + message::Message> BatchIter<'b, T> {
    #[inline(always)]
    fn hand_out(&mut self, message: Message) -> Item<'b, T> {
        let reader = &*self.batch.reader;
        let position = reader.tail() + self.next;
        self.next += 1;
        self.last = 1;
        let len = if self.batch.whole_blocks { reader.memory().block_len() } else { message.meta.len() };
        let message_ref = T::in_block(bytes_of(reader, message.block, len));
        Item { message: message_ref, position, kind: message.meta.kind() }
    }
}

impl<'b, T: ?Sized + message::Message> Iterator for BatchIter<'b, T> {
    type Item = Item<'b, T>;
    #[inline]
    fn next(&mut self) -> Option<Item<'b, T>> {
        let (batch, ahead) = (self.batch, self.next);
        if ahead == batch.count {
            return None;
        }
        let message = if ahead < batch.headers_ahead {
            batch.reader.message(ahead)
        } else {
            batch.reader.headerless_message(ahead)
        };
        Some(self.hand_out(message))
    }

    /// Faster than `next`: no slot of a headerless message is read.
    #[inline]
    fn fold<A, F: FnMut(A, Item<'b, T>) -> A>(mut self, init: A, mut f: F) -> A {
        let (batch, mut folded) = (self.batch, init);
        while self.next < batch.headers_ahead.min(batch.count) {
            let message = batch.reader.message(self.next);
            folded = f(folded, self.hand_out(message));
        }
        while self.next < batch.count {
            let (mut rest, run) = batch.headerless_run(self.next);
            for _ in 0..run.blocks() {
                let (bytes, later) = rest.split_at(batch.reader.memory().block_len());
                rest = later;
                let position = batch.reader.tail() + self.next;
                self.next += 1;
                folded = f(folded, Item { message: T::in_block(bytes), position, kind: 0 });
            }
        }
        folded
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = to_usize(self.batch.count - self.next);
        (left, Some(left))
    }
}

impl<T: ?Sized + message::Message> ExactSizeIterator for BatchIter<'_, T> {}

impl<T: ?Sized> Drop for BatchIter<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let Batch { handed_out, finished, .. } = self.batch;
        handed_out.set(handed_out.get().max(self.next));
        finished.set(finished.get().max(self.next.saturating_sub(self.last)));
    }
}

/// Iterates over the values of a [`Batch`] as slices ([`Batch::slices`]).
#[derive(Debug)]
#[must_use = "iterators are lazy"]
pub struct Slices<'b, T> {
    items: BatchIter<'b, T>,
}

impl<'b, T: Value> Iterator for Slices<'b, T> {
    type Item = &'b [T];
    #[inline]
    fn next(&mut self) -> Option<&'b [T]> {
        let BatchIter { batch, next: ahead, .. } = self.items;
        if ahead < batch.headers_ahead || ahead == batch.count {
            return self.items.next().map(|item| std::slice::from_ref(item.message));
        }
        let (bytes, run) = batch.headerless_run(ahead);
        self.items.last = run.blocks();
        self.items.next += run.blocks();
        match <[T]>::ref_from_bytes(bytes) {
            Ok(values) => Some(values),
            Err(_) => unreachable!("a block of a typed ring is a value of its type"),
        }
    }
}
