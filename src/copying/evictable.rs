//! The evictable consumer's handle: gates while it keeps up, reads by validated copy, and is told
//! how many messages it missed.

use crate::consumer::{ConsumerOptions, Membership};
use crate::copying::{CopiedMessage, Copying, Next, Source};
use crate::error::{AtPath, AttachError, RecvError};
use crate::id::RingId;
use crate::message::Message;
use crate::region::Region;
use crate::ring::attach::Attachment;
use crate::ring::place::Place;
use crate::wait::{CHECK_UP, longest_sleep};
use slipring_core::memory::{Liveness, Right};
use slipring_core::protocol::follow::Upstream;
use slipring_core::protocol::park::Side;
use slipring_core::protocol::read::Copied;
use slipring_core::protocol::table::Start;
use slipring_core::protocol::{self, Damage, membership};
use std::marker::PhantomData;
use std::time::Duration;

impl ConsumerOptions {
    /// Attaches as a consumer that may be evicted: when it holds the ring full, the producer goes
    /// on without it, and its next receive returns [`RecvError::Lagged`].
    ///
    /// # Errors
    ///
    /// [`AttachError::EvictableDurable`] with [`durable`](Self::durable); those of
    /// [`attach`](Self::attach).
    pub fn attach_evictable<T: ?Sized + Message>(
        &self,
        place: impl Place,
    ) -> Result<EvictableConsumer<T>, AtPath<AttachError>> {
        let source = Evictable::new(Membership::take(place.at().carrying::<T>(), self, true)?);
        let wait = source.membership.wait;
        Ok(EvictableConsumer { copying: Copying::new(source, wait), carries: PhantomData })
    }
}

/// A consumer that may be evicted: it sees every message in order as long as it does not hold the
/// ring full. When it holds the ring full, the producer goes on at once, and the next receive
/// returns [`RecvError::Lagged`] with the number of messages missed; the one after goes on from the
/// earliest message that is still there.
///
/// It reads by copy: the producer may overwrite a slot at any time, so that a reference into it
/// would not be sound.
///
/// ```
/// use slipring::{EvictableConsumer, Producer, RecvError, RingOptions, Start};
///
/// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
/// let mut producer = Producer::<u64>::open(&ring)?;
/// let mut display = EvictableConsumer::<u64>::attach(&ring, Start::Earliest)?;
/// for n in 0..65 {
///     producer.send(&n)?; // the last finds the ring full, and evicts the consumer
/// }
/// let Err(RecvError::Lagged { missed }) = display.recv() else { panic!("it was evicted") };
/// assert_eq!(*display.recv()?, missed);
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a consumer leaves the ring"]
pub struct EvictableConsumer<T: ?Sized + Message = [u8]> {
    copying: Copying<Evictable>,
    carries: PhantomData<fn() -> Box<T>>,
}

impl<T: ?Sized + Message> EvictableConsumer<T> {
    /// Attaches anonymously to the ring at `place`;
    /// [`ConsumerOptions::attach_evictable`] has the other ways.
    ///
    /// # Errors
    ///
    /// As [`ConsumerOptions::attach`].
    pub fn attach(place: impl Place, start: Start) -> Result<EvictableConsumer<T>, AtPath<AttachError>> {
        ConsumerOptions::new().start(start).attach_evictable(place)
    }

    /// The next position to read.
    pub fn position(&self) -> u64 {
        self.copying.position()
    }

    /// The ring's identity, to be kept beside positions saved elsewhere.
    pub fn ring_id(&self) -> RingId {
        self.copying.ring_id()
    }

    /// The next message, if it is there.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`]; [`RecvError::Closed`]; [`RecvError::Lagged`], and
    /// [`RecvError::WrongLength`] for a message that is no `T`: the next receive goes on behind
    /// what was missed. A call that finds nothing looks at the path if none did so for 100 ms, and
    /// returns then what [`recv`](Self::recv) returns.
    pub fn try_recv(&mut self) -> Result<CopiedMessage<'_, T>, RecvError> {
        self.copying.try_recv()
    }

    /// The next message; waits as long as it takes.
    ///
    /// ```
    /// use slipring::{EvictableConsumer, Producer, RingOptions, Start};
    ///
    /// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
    /// let mut display = EvictableConsumer::<u64>::attach(&ring, Start::Earliest)?;
    /// Producer::<u64>::open(&ring)?.send(&7)?;
    /// assert_eq!(*display.recv()?, 7);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Consumer::recv`](crate::Consumer::recv), and [`RecvError::Lagged`].
    pub fn recv(&mut self) -> Result<CopiedMessage<'_, T>, RecvError> {
        self.copying.recv(None)
    }

    /// As [`recv`](Self::recv), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// Besides those of `recv`, [`RecvError::TimedOut`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<CopiedMessage<'_, T>, RecvError> {
        self.copying.recv(Some(timeout))
    }
}

/// An evictable entry, and the reader of its ring.
#[derive(Debug)]
struct Evictable {
    reader: protocol::EvictableConsumer<Region>,
    membership: Membership,
}

impl Evictable {
    /// Comes back after an eviction; returns how many messages were missed.
    fn rejoin(&mut self) -> Result<u64, Damage> {
        let locks = &self.membership.attachment.locks;
        membership::rejoin(&mut self.reader, || locks.is_held(Right::Producer))
    }

    fn new(membership: Membership) -> Evictable {
        let (region, geometry) = (membership.attachment.region.clone(), *membership.attachment.geometry());
        Evictable {
            reader: protocol::EvictableConsumer::new(region, geometry, membership.entry, membership.tail)
                .following(&membership.after),
            membership,
        }
    }
}

impl Source for Evictable {
    const ANNOUNCES: bool = true;

    fn next(&mut self, buffer: &mut [u8]) -> Result<Next, RecvError> {
        loop {
            match self.reader.take(buffer) {
                Copied::Message { position, meta } => {
                    self.reader.wake_behind();
                    return Ok(Next::Message { position, meta });
                }
                Copied::Empty => return Ok(Next::Empty),
                // Example, capacity 4: this consumer stood at 2, and its tail was taken away for
                // position 6. If the producer has not used that room yet, the consumer is back at
                // 2: 0 missed. Otherwise it is at 3 or later.
                Copied::Evicted => match self.rejoin()? {
                    0 => {}
                    missed => return Ok(Next::Missed(missed)),
                },
            }
        }
    }

    fn position(&self) -> u64 {
        self.reader.tail()
    }

    fn end(&self) -> Option<RecvError> {
        if self.reader.is_drained() {
            // Followers learn of the end at once, not at their next check-up.
            self.reader.wake_behind();
            return Some(RecvError::Closed);
        }
        let upstream = self.reader.lost()?;
        // In the zeros that took a lost file's place, every upstream is gone.
        let lost = self.membership.attachment.not_lost().err().map(RecvError::from);
        lost.or_else(|| Some(self.membership.lost(upstream)))
    }

    fn side(&self) -> Side {
        self.reader.behind().map_or(Side::Readers, Upstream::side)
    }

    fn attachment(&self) -> &Attachment {
        &self.membership.attachment
    }

    fn check_up(&self) -> Result<(), RecvError> {
        self.membership.check_up(self.reader.upstreams(), self.reader.is_at_end())
    }

    fn check_up_at_times(&self) -> Result<(), RecvError> {
        self.membership.check_up_at_times(self.reader.upstreams(), self.reader.is_at_end())
    }

    fn longest_sleep(&self) -> Duration {
        longest_sleep(CHECK_UP)
    }
}
