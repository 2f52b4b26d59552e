//! What a consumer hands out: messages in place, one or several, which it releases when they are dropped.

use crate::region::Region;
use slipring_core::format::{Block, Message, Run};
use slipring_core::memory::Memory;
use slipring_core::protocol::read::Reader;
use std::cell::Cell;

/// A message, in place. Dereferences to its bytes.
///
/// Dropping it releases the message to the producer, unless the thread is panicking: a panic is not an
/// acknowledgement, and the message is received again. Forgetting it only means that it will be received
/// again, too.
#[derive(Debug)]
pub struct Received<'a> {
    reader: &'a mut Reader<Region>,
    position: u64,
    message: Message,
    /// The thread was unwinding before: dropping this guard says nothing of the message then.
    unwinding: bool,
}

impl<'a> Received<'a> {
    /// The message at the tail, which may be read.
    #[inline(always)]
    pub(super) fn new(reader: &'a mut Reader<Region>, message: Message) -> Received<'a> {
        Received { position: reader.tail(), message, unwinding: std::thread::panicking(), reader }
    }
}

impl Received<'_> {
    /// The message's position.
    #[inline]
    pub fn position(&self) -> u64 {
        self.position
    }
    /// What the producer said it is; 0 by default.
    #[inline]
    pub fn kind(&self) -> u32 {
        self.message.meta.kind()
    }
    /// Gives the message up without releasing it: the next receive returns it again.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl std::ops::Deref for Received<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        bytes_of(self.reader, self.message.block, self.message.meta.len())
    }
}

/// A message that the reader was told it may read, and has not released.
#[inline(always)]
fn bytes_of(reader: &Reader<Region>, block: Block, len: usize) -> &[u8] {
    // SAFETY: the message's position was acquired and is not released while the guard that calls this lives: the
    // tail gates the producer. The block is the reader's.
    let block = unsafe { reader.memory().read_block(block) };
    // SAFETY: as above. The length is cut to the block.
    unsafe { block.bytes(len) }
}

impl Drop for Received<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.unwinding || !std::thread::panicking() {
            release(self.reader, 1);
        }
    }
}

#[inline(always)]
fn release(reader: &mut Reader<Region>, n: u64) {
    reader.release(n);
    if reader.producer_asleep() {
        reader.wake_producer();
    }
}

/// Several messages, in place. Iterate over it by reference.
///
/// Dropping it releases every message that an iterator has handed out; those that were not looked at stay
/// and are received again. If the thread is panicking, the last one handed out stays too: a batch releases
/// what was finished.
#[derive(Debug)]
pub struct Batch<'a> {
    reader: &'a mut Reader<Region>,
    count: u64,
    /// Slots of the messages behind so many need not be looked at.
    described: u64,
    /// Lengths do not count, all messages are a block long.
    whole_blocks: bool,
    handed_out: Cell<u64>,
    /// The same without what was handed out last, which nobody is known to have finished.
    finished: Cell<u64>,
    /// The thread was unwinding before the batch was taken.
    unwinding: bool,
}

/// One message of a [`Batch`].
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    bytes: &'a [u8],
    position: u64,
    kind: u32,
}

impl Item<'_> {
    /// The message's position.
    pub fn position(&self) -> u64 {
        self.position
    }
    /// What the producer said it is; 0 by default.
    pub fn kind(&self) -> u32 {
        self.kind
    }
}

impl std::ops::Deref for Item<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl<'a> Batch<'a> {
    /// Up to `max` of the messages that may be read, of which there are `available`.
    #[inline(always)]
    pub(super) fn new(reader: &'a mut Reader<Region>, available: u64, max: usize) -> Batch<'a> {
        Batch {
            count: available.min(max as u64),
            described: reader.described(),
            whole_blocks: false,
            handed_out: Cell::new(0),
            finished: Cell::new(0),
            unwinding: std::thread::panicking(),
            reader,
        }
    }
}

impl Batch<'_> {
    /// How many messages there are.
    pub fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(usize::MAX)
    }
    /// Never true: a batch has at least one message, unless `max` was 0.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
    /// Gives the batch up without releasing any of it: the next receive returns it again. For leaving a
    /// loop with an error: dropping the batch there would release the message that failed.
    pub fn keep(self) {
        std::mem::forget(self);
    }
    /// The messages, oldest first. `for_each` and whatever else folds is faster than a loop.
    pub fn iter(&self) -> BatchIter<'_> {
        BatchIter { batch: self, next: 0, last: 1 }
    }

    /// The bytes of the bare messages from `ahead` positions after the tail on, as far as they lie behind each other.
    /// There is at least one.
    #[inline(always)]
    fn bare_run(&self, ahead: u64) -> (&[u8], Run) {
        let run = self.reader.bare_run(ahead, self.count - ahead);
        // SAFETY: as in `bytes_of`, for each message of the run.
        (unsafe { self.reader.memory().read_run(run) }, run)
    }

    /// Ends the batch before the first message that does not fill its block. Its length, if it is the first of all.
    ///
    /// From then on every message is handed out as a whole block, whatever becomes of the length that was read here.
    #[inline(always)]
    pub(crate) fn cut_to_whole_blocks(&mut self) -> Result<(), usize> {
        self.whole_blocks = true;
        for ahead in 0..self.described.min(self.count) {
            let found = self.reader.message(ahead).meta.len();
            if found != self.reader.memory().block_len() {
                self.count = ahead;
                return if ahead == 0 { Err(found) } else { Ok(()) };
            }
        }
        Ok(())
    }
}

impl<'b> IntoIterator for &'b Batch<'_> {
    type Item = Item<'b>;
    type IntoIter = BatchIter<'b>;
    fn into_iter(self) -> BatchIter<'b> {
        self.iter()
    }
}

impl Drop for Batch<'_> {
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
pub struct BatchIter<'b> {
    batch: &'b Batch<'b>,
    next: u64,
    /// How many messages were handed out together at last.
    last: u64,
}

impl<'b> BatchIter<'b> {
    #[inline(always)]
    fn hand_out(&mut self, message: Message) -> Item<'b> {
        let reader = &*self.batch.reader;
        let position = reader.tail() + self.next;
        self.next += 1;
        self.last = 1;
        let len = if self.batch.whole_blocks { reader.memory().block_len() } else { message.meta.len() };
        Item { bytes: bytes_of(reader, message.block, len), position, kind: message.meta.kind() }
    }

    /// The bytes of the next message, or of the next ones together, if they are bare and lie behind each other.
    #[inline]
    pub(crate) fn next_run(&mut self) -> Option<&'b [u8]> {
        let (batch, ahead) = (self.batch, self.next);
        if ahead < batch.described || ahead == batch.count {
            return self.next().map(|item| item.bytes);
        }
        let (bytes, run) = batch.bare_run(ahead);
        self.last = run.blocks();
        self.next += self.last;
        Some(bytes)
    }
}

impl<'b> Iterator for BatchIter<'b> {
    type Item = Item<'b>;
    #[inline]
    fn next(&mut self) -> Option<Item<'b>> {
        let (batch, ahead) = (self.batch, self.next);
        if ahead == batch.count {
            return None;
        }
        let message = if ahead < batch.described {
            batch.reader.message(ahead)
        } else {
            batch.reader.bare_message(ahead)
        };
        Some(self.hand_out(message))
    }

    /// Faster than one by one: of bare messages nothing is looked up.
    #[inline]
    fn fold<A, F: FnMut(A, Item<'b>) -> A>(mut self, init: A, mut f: F) -> A {
        let (batch, mut folded) = (self.batch, init);
        while self.next < batch.described.min(batch.count) {
            let message = batch.reader.message(self.next);
            folded = f(folded, self.hand_out(message));
        }
        while self.next < batch.count {
            let (mut rest, run) = batch.bare_run(self.next);
            for _ in 0..run.blocks() {
                let (bytes, later) = rest.split_at(batch.reader.memory().block_len());
                rest = later;
                let position = batch.reader.tail() + self.next;
                self.next += 1;
                folded = f(folded, Item { bytes, position, kind: 0 });
            }
        }
        folded
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.batch.count - self.next).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl ExactSizeIterator for BatchIter<'_> {}

impl Drop for BatchIter<'_> {
    #[inline]
    fn drop(&mut self) {
        let Batch { handed_out, finished, .. } = self.batch;
        handed_out.set(handed_out.get().max(self.next));
        finished.set(finished.get().max(self.next.saturating_sub(self.last)));
    }
}
