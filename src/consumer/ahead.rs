//! Reading ahead of the release: messages are read in place, several at once, and released when
//! their effect is certain.

use super::Membership;
use super::received::Item;
use crate::error::RecvError;
use crate::message::{Message, Value, is_length_of, wrong_length};
use crate::region::Region;
use crate::wait::{CHECK_UP, Waiting, longest_sleep, wait_for};
use slipring_core::format::to_usize;
use slipring_core::memory::Memory;
use slipring_core::protocol;
use slipring_core::protocol::ahead::Window;
use slipring_core::protocol::follow::Upstream;
use slipring_core::protocol::park::Side;
use slipring_core::protocol::table::StartError;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;
use std::time::Duration;
use zerocopy::FromBytes;

/// A consumer's cursor, which reads ahead of what the consumer releases. Made by
/// [`Consumer::read_ahead`](crate::Consumer::read_ahead).
///
/// For a sink whose answer comes later than the next message: a disk, a network, another ring. It
/// reads messages in place, as many at once as it likes, and releases them with
/// [`release_to`](Self::release_to) when the answer is there. Until then the messages stay in the
/// ring, and gate the producer: at most a whole ring can be read ahead.
///
/// Reading takes `&self`, and each message and batch borrows from this view; releasing takes `&mut
/// self`. So no message that is still in hand can be released.
///
/// Dropping the view releases nothing, nor does a panic: the next receive of the consumer, or of
/// its successor if the consumer is durable and its process died, returns the first message that
/// was not released.
///
/// ```
/// use slipring::{Consumer, Producer, RingOptions, Start};
///
/// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
/// let mut consumer = Consumer::<u64>::attach(&ring, Start::Earliest)?;
/// Producer::<u64>::open(&ring)?.send_batch(&[1, 2, 3])?;
///
/// let mut ahead = consumer.read_ahead();
/// let (first, second) = (ahead.recv()?, ahead.recv()?); // both in place
/// assert_eq!(*first + *second, 3); // sent to a disk, say
/// let written = second.position() + 1;
/// assert_eq!(*ahead.recv()?, 3); // read while the disk works
///
/// ahead.release_to(written); // the disk has said yes
/// drop(ahead);
/// assert_eq!(*consumer.recv()?, 3); // not released: received again
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping the view releases nothing: what was read and not released is received again"]
pub struct ReadAhead<'c, T: ?Sized + Message = [u8]> {
    cursor: RefCell<protocol::Ahead<'c, Region>>,
    membership: &'c Membership,
    carries: PhantomData<fn() -> Box<T>>,
}

impl<'c, T: ?Sized + Message> ReadAhead<'c, T> {
    pub(super) fn new(cursor: protocol::Ahead<'c, Region>, membership: &'c Membership) -> ReadAhead<'c, T> {
        ReadAhead { cursor: RefCell::new(cursor), membership, carries: PhantomData }
    }

    /// The next position to read: the cursor.
    pub fn position(&self) -> u64 {
        self.cursor.borrow().cursor()
    }

    /// The first position that is not released: the consumer's tail.
    pub fn released(&self) -> u64 {
        self.cursor.borrow().tail()
    }

    /// The next message, if it is published. Never waits.
    ///
    /// # Errors
    ///
    /// As [`Consumer::try_recv`](crate::Consumer::try_recv), and [`RecvError::Unreleased`] if a
    /// whole ring was read and not released. At [`RecvError::Closed`] every message was read; the
    /// release of the last ones may still be owed. [`RecvError::WrongLength`] for a message that is
    /// no `T`: the cursor stands behind it.
    pub fn try_recv(&self) -> Result<Item<'_, T>, RecvError> {
        self.look()?;
        self.next_item()
    }

    /// The next message; waits without a limit, as
    /// [`ConsumerOptions::wait`](crate::ConsumerOptions::wait) says.
    ///
    /// # Errors
    ///
    /// As [`Consumer::recv`](crate::Consumer::recv), and [`RecvError::Unreleased`] at once: no
    /// message comes before a release.
    pub fn recv(&self) -> Result<Item<'_, T>, RecvError> {
        self.wait(None)?;
        self.next_item()
    }

    /// As [`recv`](Self::recv), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// Besides those of `recv`, [`RecvError::TimedOut`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Item<'_, T>, RecvError> {
        self.wait(Some(timeout))?;
        self.next_item()
    }

    /// Up to `max` messages that are published, at least one; the cursor then stands behind them. A
    /// batch ends before a message that is no `T`.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    pub fn try_recv_batch(&self, max: usize) -> Result<AheadBatch<'_, T>, RecvError> {
        self.look()?;
        self.next_batch(max)
    }

    /// Up to `max` messages; waits for the first one without a limit. Otherwise as
    /// [`try_recv_batch`](Self::try_recv_batch).
    ///
    /// ```
    /// use slipring::{Consumer, Producer, RingOptions, Start};
    ///
    /// let ring = RingOptions::of::<f64>(64).create_in_memory()?;
    /// let mut consumer = Consumer::<f64>::attach(&ring, Start::Earliest)?;
    /// Producer::<f64>::open(&ring)?.send_batch(&[0.5; 32])?;
    ///
    /// let mut ahead = consumer.read_ahead();
    /// let batch = ahead.recv_batch(32)?;
    /// assert_eq!(batch.slices().map(<[f64]>::len).collect::<Vec<_>>(), [32]); // written, say
    /// let durable = batch.positions().end;
    /// ahead.release_to(durable);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_batch(&self, max: usize) -> Result<AheadBatch<'_, T>, RecvError> {
        self.wait(None)?;
        self.next_batch(max)
    }

    /// As [`recv_batch`](Self::recv_batch), waiting at most `timeout` for the first.
    ///
    /// # Errors
    ///
    /// Besides those of `recv_batch`, [`RecvError::TimedOut`].
    pub fn recv_batch_timeout(&self, max: usize, timeout: Duration) -> Result<AheadBatch<'_, T>, RecvError> {
        self.wait(Some(timeout))?;
        self.next_batch(max)
    }

    /// Moves the cursor: back to read again what is not released, or forth, over messages that are
    /// published.
    ///
    /// ```
    /// use slipring::{Consumer, Producer, RingOptions, Start};
    ///
    /// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
    /// let mut consumer = Consumer::<u64>::attach(&ring, Start::Earliest)?;
    /// Producer::<u64>::open(&ring)?.send_batch(&[1, 2, 3])?;
    /// let mut ahead = consumer.read_ahead();
    /// assert_eq!(ahead.recv_batch(32)?.len(), 3);
    /// ahead.release_to(1);
    /// ahead.seek(1)?; // the sink lost what came behind
    /// assert_eq!(*ahead.recv()?, 2);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RecvError::Start`] if the message at the position was released, or one before it is not
    /// published yet; [`RecvError::Damaged`]. The cursor stays.
    pub fn seek(&self, position: u64) -> Result<(), RecvError> {
        let mut cursor = self.cursor.borrow_mut();
        if cursor.seek(position)? {
            return Ok(());
        }
        let earliest = cursor.tail();
        Err(RecvError::Start(match position < earliest {
            true => StartError::BeforeEarliest { requested: position, earliest },
            false => StartError::Ahead { requested: position, head: cursor.head() },
        }))
    }

    /// Releases every message below `position` to the producer. Nothing happens if they are
    /// released already. Makes a system call only to wake a producer that sleeps for want of room.
    ///
    /// # Panics
    ///
    /// If `position` is beyond the cursor: messages that nobody has read would be lost.
    pub fn release_to(&mut self, position: u64) {
        let cursor = self.cursor.get_mut();
        let read = cursor.cursor();
        assert!(position <= read, "release up to {position}, but messages were read up to {read} only");
        cursor.release_to(position);
        cursor.wake_behind();
    }

    /// One look for a message at the cursor.
    fn look(&self) -> Result<(), RecvError> {
        let mut cursor = self.cursor.borrow_mut();
        if cursor.poll_many()? > 0 {
            return Ok(());
        }
        self.membership.attachment.not_lost()?;
        not_full(&cursor)?;
        if let Some(end) = end(&mut cursor, self.membership)? {
            return Err(end);
        }
        Cursor { cursor: &mut cursor, membership: self.membership }.check_up_at_times()?;
        Err(RecvError::Empty)
    }

    fn wait(&self, timeout: Option<Duration>) -> Result<(), RecvError> {
        let mut cursor = self.cursor.borrow_mut();
        if cursor.poll_head()? > 0 {
            return Ok(());
        }
        not_full(&cursor)?;
        let mut waiting = Cursor { cursor: &mut cursor, membership: self.membership };
        wait_for(&mut waiting, self.membership.wait, timeout).map(drop)
    }

    fn next_item(&self) -> Result<Item<'_, T>, RecvError> {
        let batch: AheadBatch<'_, T> = self.next_batch(1)?;
        batch.iter().next().ok_or(RecvError::Empty)
    }

    /// The messages at the cursor, of which there is one.
    fn next_batch(&self, max: usize) -> Result<AheadBatch<'_, T>, RecvError> {
        let attachment = &self.membership.attachment;
        let mut cursor = self.cursor.borrow_mut();
        let window = cursor.window(max as u64);
        let (region, position) = (&attachment.region, window.positions().start);
        let window = match first_of_another_length::<T>(region, &window) {
            None => window,
            Some((0, found)) => {
                cursor.pass(&window.cut(1));
                return Err(wrong_length::<T>(position, found));
            }
            Some((index, _)) => window.cut(index),
        };
        // The zeros that come in the place of a file that was cut short look like headerless
        // messages.
        attachment.not_lost()?;
        cursor.pass(&window);
        Ok(AheadBatch { region, window, carries: PhantomData })
    }
}

/// An error if every block of the ring is read and not released.
fn not_full(cursor: &protocol::Ahead<'_, Region>) -> Result<(), RecvError> {
    let unreleased = cursor.cursor() - cursor.tail();
    if cursor.is_full() { Err(RecvError::Unreleased { unreleased }) } else { Ok(()) }
}

/// Why no message will come, if none is there; none if one may.
fn end(
    cursor: &mut protocol::Ahead<'_, Region>,
    membership: &Membership,
) -> Result<Option<RecvError>, RecvError> {
    if cursor.is_drained()? {
        // Followers learn of the end at once, not at their next check-up.
        cursor.wake_behind();
        return Ok(Some(RecvError::Closed));
    }
    let is_empty = cursor.poll_many()? == 0;
    let Some(upstream) = cursor.lost().filter(|_| is_empty) else { return Ok(None) };
    // In the zeros that took a lost file's place, every upstream is gone.
    membership.attachment.not_lost()?;
    Ok(Some(membership.lost(upstream)))
}

/// The first message that is no `T`: its index and length.
fn first_of_another_length<T: ?Sized + Message>(region: &Region, window: &Window) -> Option<(u64, usize)> {
    T::CARRIES?;
    let lengths = (0..window.headers()).map(|index| (index, window.message(region, index).meta.len()));
    lengths.into_iter().find(|(_, len)| !is_length_of::<T>(*len))
}

/// A cursor that waits for a message.
struct Cursor<'x, 'c> {
    cursor: &'x mut protocol::Ahead<'c, Region>,
    membership: &'x Membership,
}

impl Cursor<'_, '_> {
    fn region(&self) -> &Region {
        self.cursor.memory()
    }

    /// As that of a plain consumer.
    fn side(&self) -> Side {
        self.cursor.behind().map_or(Side::Readers, Upstream::side)
    }
}

impl Waiting for Cursor<'_, '_> {
    type Error = RecvError;

    fn poll(&mut self) -> Result<bool, RecvError> {
        Ok(self.cursor.poll_head()? > 0)
    }

    fn check_closed(&mut self) -> Result<(), RecvError> {
        // If the check finds messages, the next look finds them, too.
        let is_empty = self.cursor.poll_many()? == 0;
        match is_empty.then(|| end(self.cursor, self.membership)).transpose()?.flatten() {
            Some(end) => Err(end),
            None => Ok(()),
        }
    }

    fn check_ring(&mut self) -> Result<(), RecvError> {
        self.membership.check_up(self.cursor.upstreams(), self.cursor.is_at_end())
    }

    fn check_up_at_times(&mut self) -> Result<(), RecvError> {
        let Err(error) = self.membership.check_up_at_times(self.cursor.upstreams(), self.cursor.is_at_end())
        else {
            return Ok(());
        };
        // Messages that were published before are still received.
        if self.poll()? { Ok(()) } else { Err(error) }
    }

    fn sleep(&mut self, at_most: Duration) -> Result<(), RecvError> {
        let (side, bound) = (self.side(), longest_sleep(CHECK_UP).min(at_most));
        let look = |it: &mut Self| {
            let has_news = it.cursor.has_news()? || it.cursor.lost().is_some() || it.side() != side;
            Ok((!has_news).then_some(bound))
        };
        side.sleep_unless(self, Self::region, look)
    }

    fn timed_out(&mut self, waited: Duration) -> RecvError {
        RecvError::TimedOut(waited)
    }
}

/// Several messages that were read ahead, in place. Dropping it has no effect;
/// [`ReadAhead::release_to`] releases the messages.
///
/// ```
/// use slipring::{Consumer, Producer, RingOptions, Start};
///
/// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
/// let mut consumer = Consumer::<u64>::attach(&ring, Start::Earliest)?;
/// let mut producer = Producer::<u64>::open(&ring)?;
/// producer.send_batch(&[1, 2, 3])?;
/// let ahead = consumer.read_ahead();
/// let first = ahead.recv_batch(2)?;
/// let second = ahead.recv_batch(2)?; // beside the first
/// assert_eq!((first.positions(), second.positions()), (0..2, 2..3));
/// assert_eq!(first.iter().chain(&second).map(|value| *value).sum::<u64>(), 6);
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
pub struct AheadBatch<'v, T: ?Sized = [u8]> {
    region: &'v Region,
    window: Window,
    carries: PhantomData<&'v T>,
}

impl<T: ?Sized> Clone for AheadBatch<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for AheadBatch<'_, T> {}

impl<'v, T: ?Sized> AheadBatch<'v, T> {
    /// The number of messages of the batch.
    pub fn len(&self) -> usize {
        to_usize(self.window.count())
    }
    /// Never true: a batch has at least one message, unless `max` was 0.
    pub fn is_empty(&self) -> bool {
        self.window.count() == 0
    }
    /// The positions of the messages. The end is what to release up to when all of them are done.
    pub fn positions(&self) -> Range<u64> {
        self.window.positions()
    }
    /// The messages, oldest first. `for_each`, `sum` and other folds are faster than a `for` loop.
    pub fn iter(&self) -> AheadIter<'v, T> {
        AheadIter { batch: *self, next: 0 }
    }

    /// The blocks of the headerless messages from this index on, up to the end of the ring or of
    /// the batch.
    fn run(&self, index: u64) -> (&'v [u8], u64) {
        let run = self.window.headerless_run(index);
        // SAFETY: as in `item`, for each message of the run.
        (unsafe { self.region.read_run(run) }, run.blocks())
    }
}

impl<'v, T: Value> AheadBatch<'v, T> {
    /// The values, oldest first, as slices of at least one each: as
    /// [`Batch::slices`](crate::Batch::slices).
    pub fn slices(&self) -> AheadSlices<'v, T> {
        AheadSlices { items: self.iter() }
    }
}

impl<'v, T: ?Sized + Message> IntoIterator for AheadBatch<'v, T> {
    type Item = Item<'v, T>;
    type IntoIter = AheadIter<'v, T>;
    fn into_iter(self) -> AheadIter<'v, T> {
        self.iter()
    }
}

impl<'v, T: ?Sized + Message> IntoIterator for &AheadBatch<'v, T> {
    type Item = Item<'v, T>;
    type IntoIter = AheadIter<'v, T>;
    fn into_iter(self) -> AheadIter<'v, T> {
        self.iter()
    }
}

/// Iterates over an [`AheadBatch`].
#[derive(Debug)]
#[must_use = "iterators are lazy"]
pub struct AheadIter<'v, T: ?Sized = [u8]> {
    batch: AheadBatch<'v, T>,
    next: u64,
}

impl<'v, T: ?Sized + Message> AheadIter<'v, T> {
    fn item(&self, index: u64) -> Item<'v, T> {
        let AheadBatch { region, window, .. } = self.batch;
        let message = window.message(region, index);
        // The length of a value was checked; what another process may have stored since has no
        // effect.
        let len = T::CARRIES.map_or(message.meta.len(), |_| region.block_len());
        // SAFETY: the message's position was acquired and is not released while the view is
        // borrowed, from which the batch borrows: the release takes the view by `&mut`, and the
        // tail gates the producer until then. The block is of the region's geometry.
        let block = unsafe { region.read_block(message.block) };
        // SAFETY: as above. The length is cut to the block.
        let bytes = unsafe { block.bytes(len) };
        Item::new(T::in_block(bytes), window.positions().start + index, message.meta.kind())
    }
}

impl<'v, T: ?Sized + Message> Iterator for AheadIter<'v, T> {
    type Item = Item<'v, T>;
    #[inline]
    fn next(&mut self) -> Option<Item<'v, T>> {
        let index = self.next;
        if index == self.batch.window.count() {
            return None;
        }
        self.next += 1;
        Some(self.item(index))
    }

    /// Faster than `next`: no slot of a headerless message is read.
    #[inline]
    fn fold<A, F: FnMut(A, Item<'v, T>) -> A>(mut self, init: A, mut f: F) -> A {
        let (batch, mut folded) = (self.batch, init);
        while self.next < batch.window.headers() {
            folded = f(folded, self.item(self.next));
            self.next += 1;
        }
        while self.next < batch.window.count() {
            let (bytes, blocks) = batch.run(self.next);
            let positions = batch.window.positions().start + self.next..;
            for (block, position) in bytes.chunks_exact(batch.region.block_len()).zip(positions) {
                folded = f(folded, Item::new(T::in_block(block), position, 0));
            }
            self.next += blocks;
        }
        folded
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = to_usize(self.batch.window.count() - self.next);
        (left, Some(left))
    }
}

impl<T: ?Sized + Message> ExactSizeIterator for AheadIter<'_, T> {}

/// Iterates over the values of an [`AheadBatch`] as slices.
#[derive(Debug)]
#[must_use = "iterators are lazy"]
pub struct AheadSlices<'v, T: Value> {
    items: AheadIter<'v, T>,
}

impl<'v, T: Value> Iterator for AheadSlices<'v, T> {
    type Item = &'v [T];
    fn next(&mut self) -> Option<&'v [T]> {
        let AheadIter { batch, next: index } = self.items;
        if index < batch.window.headers() || index == batch.window.count() {
            return self.items.next().map(|item| std::slice::from_ref(item.into_ref()));
        }
        let (bytes, blocks) = batch.run(index);
        self.items.next += blocks;
        match <[T]>::ref_from_bytes(bytes) {
            Ok(values) => Some(values),
            Err(_) => unreachable!("a block of a typed ring is a value of its type"),
        }
    }
}
