//! The evictable consumer's handle: gates while it keeps up, reads by validated copy, and is told what it
//! missed.

use crate::consumer::{ConsumerOptions, Seat};
use crate::error::{AtPath, AttachError, RecvError};
use crate::id::RingId;
use crate::region::Region;
use crate::ring::attach::Place;
use crate::system;
use crate::wait::{CHECK_UP, NAP, Waiting, wait_for};
use slipring_core::protocol::membership;
use slipring_core::protocol::park::Side;
use slipring_core::protocol::read::{Copied, CopyingReader};
use std::time::Duration;

/// A copied message. Dereferences to its bytes, which are the reader's own.
#[derive(Clone, Copy, Debug)]
pub struct CopiedMessage<'a> {
    bytes: &'a [u8],
    position: u64,
    kind: u32,
    missed: u64,
}

impl<'a> CopiedMessage<'a> {
    pub(crate) fn new(bytes: &'a [u8], position: u64, kind: u32, missed: u64) -> CopiedMessage<'a> {
        CopiedMessage { bytes, position, kind, missed }
    }
    /// The message's position.
    pub fn position(&self) -> u64 {
        self.position
    }
    /// What the producer said it is; 0 by default.
    pub fn kind(&self) -> u32 {
        self.kind
    }
    /// How many messages this reader missed since the one it read before. Always 0 for an evictable
    /// consumer, which learns it from [`RecvError::Evicted`].
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

impl std::ops::Deref for CopiedMessage<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl ConsumerOptions {
    /// Attaches as a consumer that may be evicted: when it is the one that holds the ring full, the
    /// producer goes on without it, and it is told what it missed. It reads by copy.
    ///
    /// # Errors
    ///
    /// [`AttachError::EvictableDurable`] with [`durable`](Self::durable); those of [`attach`](Self::attach).
    pub fn attach_evictable(&self, place: impl Place) -> Result<EvictableConsumer, AtPath<AttachError>> {
        Ok(EvictableConsumer::new(Seat::take(place, self, true)?))
    }
}

/// A consumer that agreed to be evicted: it sees every message in order as long as it does not hold the
/// ring full. When it does, the producer goes on at once, and the next receive returns
/// [`RecvError::Evicted`] with the number of messages missed; the one after goes on from the earliest
/// message that is still there.
///
/// It reads by copy: a reference into a slot that may be taken away would not be sound.
#[derive(Debug)]
pub struct EvictableConsumer {
    reader: CopyingReader<Region>,
    buffer: Vec<u8>,
    /// What the last look copied out and nobody has fetched yet.
    pending: Option<(u64, usize, u32)>,
    seat: Seat,
}

impl EvictableConsumer {
    pub(crate) fn new(seat: Seat) -> EvictableConsumer {
        let geometry = *seat.attachment.geometry();
        let block_size = usize::try_from(geometry.block_size()).unwrap_or(0);
        EvictableConsumer {
            reader: CopyingReader::new(seat.attachment.region.clone(), geometry, seat.entry, seat.tail),
            buffer: vec![0; block_size],
            pending: None,
            seat,
        }
    }

    /// The next position to read.
    pub fn position(&self) -> u64 {
        self.reader.tail()
    }

    /// The ring's identity, to be kept beside positions saved elsewhere.
    pub fn ring_id(&self) -> RingId {
        self.seat.attachment.header.ring_id
    }

    /// The next message, if it is there.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`], [`RecvError::Closed`], [`RecvError::Evicted`].
    pub fn try_recv(&mut self) -> Result<CopiedMessage<'_>, RecvError> {
        if self.look()? {
            return Ok(self.fetch());
        }
        self.seat.attachment.not_lost()?;
        self.glance()?;
        Err(RecvError::Empty)
    }

    /// The next message; waits as long as it takes.
    ///
    /// # Errors
    ///
    /// As [`Consumer::recv`](crate::Consumer::recv), and [`RecvError::Evicted`].
    pub fn recv(&mut self) -> Result<CopiedMessage<'_>, RecvError> {
        let how = self.seat.wait;
        wait_for(self, how, None)?;
        Ok(self.fetch())
    }

    /// As [`recv`](Self::recv), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// Besides those of `recv`, [`RecvError::TimedOut`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<CopiedMessage<'_>, RecvError> {
        let how = self.seat.wait;
        wait_for(self, how, Some(timeout))?;
        Ok(self.fetch())
    }

    fn fetch(&mut self) -> CopiedMessage<'_> {
        let (position, len, kind) = self.pending.take().unwrap_or((self.reader.tail(), 0, 0));
        CopiedMessage::new(&self.buffer[..len], position, kind, 0)
    }
}

impl Waiting for EvictableConsumer {
    type Error = RecvError;

    fn look(&mut self) -> Result<bool, RecvError> {
        if self.pending.is_some() {
            return Ok(true);
        }
        loop {
            match self.reader.take(&mut self.buffer) {
                Copied::Message { position, meta } => {
                    // Of a file that was cut short meanwhile, the copy is zeros.
                    self.seat.attachment.not_lost()?;
                    self.pending = Some((position, meta.len().min(self.buffer.len()), meta.kind()));
                    if self.reader.producer_asleep() {
                        self.reader.wake_producer();
                    }
                    return Ok(true);
                }
                Copied::Empty => return Ok(false),
                Copied::Evicted => match membership::rejoin(&mut self.reader)? {
                    0 => {}
                    missed => return Err(RecvError::Evicted { missed }),
                },
            }
        }
    }

    fn glance(&mut self) -> Result<(), RecvError> {
        if self.reader.is_drained() { Err(RecvError::Closed) } else { Ok(()) }
    }

    fn check_up(&mut self) -> Result<(), RecvError> {
        self.seat.check_up().or_else(|error| if self.look()? { Ok(()) } else { Err(error) })
    }

    fn sleep(&mut self, at_most: Duration) -> Result<(), RecvError> {
        let ticket = Side::Readers.announce(&self.seat.attachment.region);
        if !self.look()? && !self.reader.is_drained() {
            let bound = if system::membarrier_works() { CHECK_UP } else { NAP };
            Side::Readers.sleep(&self.seat.attachment.region, ticket, at_most.min(bound));
        }
        Ok(())
    }

    fn timed_out(&mut self, waited: Duration) -> RecvError {
        RecvError::TimedOut(waited)
    }
}
