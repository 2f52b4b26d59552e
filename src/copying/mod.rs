//! The common part of the readers that copy: the observer, which gates nothing, and the evictable
//! consumer.

pub(crate) mod evictable;
pub(crate) mod observer;

use crate::error::RecvError;
use crate::id::RingId;
use crate::message::{Message, is_length_of, wrong_length};
use crate::region::Region;
use crate::ring::attach::Attachment;
use crate::wait::{Wait, Waiting, wait_for};
use slipring_core::format::{Meta, to_usize};
use slipring_core::protocol::park::Side;
use std::marker::PhantomData;
use std::time::Duration;
use zerocopy::IntoBytes;

/// A message in the reader's own buffer. Dereferences to the bytes, or to the value. Dropping it
/// has no effect.
///
/// ```
/// use slipring::{Observer, Producer, RingOptions, Start};
///
/// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
/// let mut observer = Observer::<u64>::attach(&ring, Start::Earliest)?;
/// Producer::<u64>::open(&ring)?.send((3, &42))?;
/// let message = observer.recv()?;
/// assert_eq!((*message, message.kind(), message.position()), (42, 3, 0));
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
pub struct CopiedMessage<'a, T: ?Sized = [u8]> {
    bytes: &'a [u8],
    position: u64,
    kind: u32,
    carries: PhantomData<&'a T>,
}

impl<'a, T: ?Sized + Message> CopiedMessage<'a, T> {
    /// The message whose `len` bytes begin `block`.
    ///
    /// # Errors
    ///
    /// [`RecvError::WrongLength`] if it is no `T`.
    fn new(block: &'a [u8], position: u64, len: usize, kind: u32) -> Result<Self, RecvError> {
        if !is_length_of::<T>(len) {
            return Err(wrong_length::<T>(position, len));
        }
        Ok(CopiedMessage { bytes: &block[..len], position, kind, carries: PhantomData })
    }
}

impl<T: ?Sized> CopiedMessage<'_, T> {
    /// The message's position.
    pub fn position(&self) -> u64 {
        self.position
    }
    /// The kind that its producer gave it; 0 by default.
    pub fn kind(&self) -> u32 {
        self.kind
    }
}

impl<T: ?Sized + Message> std::ops::Deref for CopiedMessage<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        T::in_block(self.bytes)
    }
}

impl AsRef<[u8]> for CopiedMessage<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// The ring as a copying reader sees it: an evictable entry, or a read-only mapping.
trait Source {
    /// Copies the next message.
    fn next(&mut self, buffer: &mut [u8]) -> Result<Next, RecvError>;
    /// The next position to read.
    fn position(&self) -> u64;
    /// Why no message will come; none if one may.
    fn end(&self) -> Option<RecvError>;
    /// The side that the reader sleeps on.
    fn side(&self) -> Side {
        Side::Readers
    }
    fn attachment(&self) -> &Attachment;
    /// An error if the ring's file was replaced, or if the producer died and the options ask for
    /// notice.
    fn check_up(&self) -> Result<(), RecvError>;
    /// The same, if the last one is a while ago.
    fn check_up_at_times(&self) -> Result<(), RecvError>;
    /// True if the reader may write into the ring that it sleeps.
    const ANNOUNCES: bool;
    /// The longest sleep between two looks.
    fn longest_sleep(&self) -> Duration;
}

/// The result of one look.
enum Next {
    Message { position: u64, meta: Meta },
    Empty,
    Missed(u64),
}

/// A reader that copies from a [`Source`].
///
/// Example, an observer at position 3 of a ring of 8, `claimed` is 20:
///
/// 1. `poll` asks the source, which missed 3 to 12: 12 is the oldest that is left, and the observer
///    steps an eighth of the ring further. `missed` is 10, `pending` is none.
/// 2. `fetch` returns `Lagged` with 10, and `missed` is 0 again.
/// 3. The next `poll` copies message 13 into `buffer`. The position stays 13 until `fetch` hands
///    the copy out.
#[derive(Debug)]
struct Copying<S> {
    source: S,
    buffer: Buffer,
    /// The message in `buffer`, until it is handed out.
    pending: Option<Pending>,
    /// Messages that the reader missed and was not told of yet; told before `pending` is handed
    /// out.
    missed: u64,
    wait: Wait,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    position: u64,
    len: usize,
    kind: u32,
}

impl<S: Source> Copying<S> {
    fn new(source: S, wait: Wait) -> Copying<S> {
        let block_size = source.attachment().geometry().block_size();
        let buffer = Buffer::new(to_usize(block_size));
        Copying { source, buffer, pending: None, missed: 0, wait }
    }

    fn position(&self) -> u64 {
        self.pending.map_or(self.source.position(), |pending| pending.position)
    }

    fn ring_id(&self) -> RingId {
        self.source.attachment().header.ring_id
    }

    fn try_recv<T: ?Sized + Message>(&mut self) -> Result<CopiedMessage<'_, T>, RecvError> {
        if self.poll()? {
            return self.fetch();
        }
        self.source.attachment().not_lost()?;
        self.check_closed()?;
        self.check_up_at_times()?;
        Err(RecvError::Empty)
    }

    fn recv<T: ?Sized + Message>(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<CopiedMessage<'_, T>, RecvError> {
        let how = self.wait;
        wait_for(self, how, timeout)?;
        self.fetch()
    }

    fn fetch<T: ?Sized + Message>(&mut self) -> Result<CopiedMessage<'_, T>, RecvError> {
        if self.missed > 0 {
            return Err(RecvError::Lagged { missed: std::mem::take(&mut self.missed) });
        }
        let Pending { position, len, kind } = self.pending.take().ok_or(RecvError::Empty)?;
        CopiedMessage::new(self.buffer.bytes(), position, len, kind)
    }
}

impl<S: Source> Copying<S> {
    fn region(&self) -> &Region {
        &self.source.attachment().region
    }
}

impl<S: Source> Waiting for Copying<S> {
    type Error = RecvError;

    fn poll(&mut self) -> Result<bool, RecvError> {
        if self.pending.is_some() || self.missed > 0 {
            return Ok(true);
        }
        match self.source.next(self.buffer.bytes_mut())? {
            Next::Message { position, meta } => {
                // The copy is zeros if the file was cut short meanwhile.
                self.source.attachment().not_lost()?;
                let len = meta.len().min(self.buffer.len);
                self.pending = Some(Pending { position, len, kind: meta.kind() });
            }
            Next::Missed(missed) => self.missed = missed,
            Next::Empty => return Ok(false),
        }
        Ok(true)
    }

    fn check_closed(&mut self) -> Result<(), RecvError> {
        self.source.end().map_or(Ok(()), Err)
    }

    fn check_ring(&mut self) -> Result<(), RecvError> {
        self.source.check_up()
    }

    fn check_up_at_times(&mut self) -> Result<(), RecvError> {
        let Err(error) = self.source.check_up_at_times() else { return Ok(()) };
        // Messages that were published before are still received.
        if self.poll()? { Ok(()) } else { Err(error) }
    }

    fn sleep(&mut self, at_most: Duration) -> Result<(), RecvError> {
        let bound = self.source.longest_sleep().min(at_most);
        let side = self.source.side();
        let look = |it: &mut Self| {
            let has_news = it.poll()? || it.source.end().is_some() || it.source.side() != side;
            Ok((!has_news).then_some(bound))
        };
        if S::ANNOUNCES {
            side.sleep_unless(self, Self::region, look)
        } else {
            side.sleep_unannounced(self, Self::region, look)
        }
    }

    fn timed_out(&mut self, waited: Duration) -> RecvError {
        RecvError::TimedOut(waited)
    }
}

/// Room for one block, aligned as a value may need it.
#[derive(Debug)]
struct Buffer {
    words: Vec<u128>,
    len: usize,
}

impl Buffer {
    fn new(len: usize) -> Buffer {
        Buffer { words: vec![0; len.div_ceil(size_of::<u128>())], len }
    }
    fn bytes(&self) -> &[u8] {
        &self.words.as_slice().as_bytes()[..self.len]
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.words.as_mut_slice().as_mut_bytes()[..self.len]
    }
}
