//! The gating consumer's handle: reads in place, in order, and holds the producer until it releases.

mod pace;
mod received;
mod seat;
pub(crate) mod selector;

pub use received::{Batch, BatchIter, Item, Received};
pub(crate) use seat::Seat;

use crate::error::{AtPath, AttachError, RecvError};
use crate::id::RingId;
use crate::region::Region;
use crate::region::pages::Pages;
use crate::ring::attach::{Demands, Place};
use crate::system;
use crate::wait::{CHECK_UP, NAP, Wait, Waiting, wait_for};
use pace::Pace;
use slipring_core::format::{Message, producer_page};
use slipring_core::memory::Memory;
use slipring_core::protocol::park::{Side, Ticket};
use slipring_core::protocol::read::{Reader, Ready};
use slipring_core::protocol::table::Start;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How a consumer attaches.
#[derive(Clone, Debug, Default)]
pub struct ConsumerOptions {
    pub(crate) name: String,
    pub(crate) durable: bool,
    start: Start,
    wait: Wait,
    notice_dead_producer: bool,
    pub(crate) demands: Demands,
}

impl ConsumerOptions {
    /// The defaults: anonymous, ephemeral, from [`Start::Latest`], [`Wait::Park`].
    pub fn new() -> ConsumerOptions {
        ConsumerOptions::default()
    }

    /// A name of 1 to 64 bytes, which only one living consumer of a ring may have. Shown to whoever asks
    /// who holds the ring.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> ConsumerOptions {
        self.name = name.into();
        self
    }

    /// A durable consumer survives its process: under its name it resumes at the first message it had not
    /// released, and while it is away it keeps gating the producer. Needs a name. Default false.
    #[must_use]
    pub fn durable(mut self, durable: bool) -> ConsumerOptions {
        self.durable = durable;
        self
    }

    /// Where to begin; default [`Start::Latest`]. A durable consumer that resumes ignores it.
    #[must_use]
    pub fn start(mut self, start: Start) -> ConsumerOptions {
        self.start = start;
        self
    }

    /// How the waiting calls wait. Default [`Wait::Park`].
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> ConsumerOptions {
        self.wait = wait;
        self
    }

    /// Waiting calls return [`RecvError::ProducerDead`] when nothing is left and the producer has died
    /// without closing. Default false: a successor is waited for. Noticed within 100 ms.
    #[must_use]
    pub fn notice_dead_producer(mut self, notice: bool) -> ConsumerOptions {
        self.notice_dead_producer = notice;
        self
    }

    /// Accepts a file that belongs to this user. By default only the process's own user and root are:
    /// whoever owns the file can change messages while they are read in place.
    #[must_use]
    pub fn trust_owner(mut self, user: u32) -> ConsumerOptions {
        self.demands.trusted_owner = Some(user);
        self
    }

    /// How this handle gets the pages that it maps. By default they come as they are touched.
    #[must_use]
    pub fn pages(mut self, pages: Pages) -> ConsumerOptions {
        self.demands.pages = pages;
        self
    }

    /// Insists on this ring, not one made later at the same path: positions saved elsewhere mean nothing
    /// in another ring.
    #[must_use]
    pub fn expect_ring(mut self, id: RingId) -> ConsumerOptions {
        self.demands.ring_id = Some(id);
        self
    }

    /// Insists on the dead-letter ring of this ring. Any other is refused, and not touched.
    pub(crate) fn dead_letters_of(mut self, ring: RingId) -> ConsumerOptions {
        self.demands.dead_of = Some(ring);
        self
    }

    /// Attaches. The producer goes on at full speed meanwhile; from the returned position on, nothing is
    /// lost to this consumer.
    ///
    /// # Errors
    ///
    /// [`AttachError::Start`] if it cannot begin where it shall; [`AttachError::TableFull`];
    /// [`AttachError::NameInUse`]; [`AttachError::NameIsDurable`]; [`AttachError::Name`];
    /// [`AttachError::Open`] as [`Ring::open`](crate::Ring::open).
    pub fn attach(&self, place: impl Place) -> Result<Consumer, AtPath<AttachError>> {
        let seat = Seat::take(place, self, false)?;
        let geometry = *seat.attachment.geometry();
        let reader = Reader::new(seat.attachment.region.clone(), geometry, seat.entry, seat.tail);
        Ok(Consumer { reader, seat, pace: Pace::new(geometry.capacity()) })
    }
}

/// A gating broadcast reader: sees every message from its start on, in order, in place.
///
/// The producer never overwrites what a consumer has not released: a consumer that stops reading stops
/// the producer when the ring is full, until it goes on, leaves, or dies. Dropping the handle leaves; a
/// durable consumer's position stays and goes on gating.
///
/// A consumer does not survive `fork`: touching it in the child is an access violation, by design.
#[derive(Debug)]
pub struct Consumer {
    reader: Reader<Region>,
    seat: Seat,
    pace: Pace,
}

impl Consumer {
    /// Attaches anonymously to the ring at `place`.
    pub fn attach(place: impl Place, start: Start) -> Result<Consumer, AtPath<AttachError>> {
        ConsumerOptions::new().start(start).attach(place)
    }

    /// How to attach otherwise.
    pub fn options() -> ConsumerOptions {
        ConsumerOptions::new()
    }

    /// The next position to read.
    pub fn position(&self) -> u64 {
        self.reader.tail()
    }

    /// The ring's identity, to be kept beside positions saved elsewhere.
    pub fn ring_id(&self) -> RingId {
        self.seat.attachment.header.ring_id
    }

    // These are inlined always: a message that is moved through memory on its way to the caller costs three times as much.

    /// The next message, if it is there.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`]; [`RecvError::Closed`] once the stream is closed and drained.
    #[inline(always)]
    pub fn try_recv(&mut self) -> Result<Received<'_>, RecvError> {
        match self.reader.poll()? {
            Ready::Messages(_) => self.take(),
            Ready::Empty => Err(self.nothing()?),
        }
    }

    /// The next message; waits as long as it takes.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] once the stream is closed and drained; [`RecvError::Replaced`] when the file
    /// at the path is no longer this ring's; [`RecvError::ProducerDead`] if asked for. The last two are
    /// noticed within 100 ms.
    #[inline(always)]
    pub fn recv(&mut self) -> Result<Received<'_>, RecvError> {
        self.await_message(None)?;
        self.take()
    }

    /// As [`recv`](Self::recv), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// Besides those of `recv`, [`RecvError::TimedOut`].
    #[inline(always)]
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Received<'_>, RecvError> {
        self.await_message(Some(timeout))?;
        self.take()
    }

    /// Up to `max` messages that are there, at least one. Errors as [`try_recv`](Self::try_recv).
    #[inline(always)]
    pub fn try_recv_batch(&mut self, max: usize) -> Result<Batch<'_>, RecvError> {
        match self.reader.poll_many()? {
            Ready::Messages(n) => self.take_batch(n, max),
            Ready::Empty => Err(self.nothing()?),
        }
    }

    /// Up to `max` messages; waits for the first. Errors as [`recv`](Self::recv).
    #[inline(always)]
    pub fn recv_batch(&mut self, max: usize) -> Result<Batch<'_>, RecvError> {
        self.await_messages(None)?;
        self.try_recv_batch(max)
    }

    /// As [`recv_batch`](Self::recv_batch), waiting at most `timeout` for the first.
    ///
    /// # Errors
    ///
    /// Besides those of `recv`, [`RecvError::TimedOut`].
    #[inline(always)]
    pub fn recv_batch_timeout(&mut self, max: usize, timeout: Duration) -> Result<Batch<'_>, RecvError> {
        self.await_messages(Some(timeout))?;
        self.try_recv_batch(max)
    }

    #[cold]
    fn nothing(&mut self) -> Result<RecvError, RecvError> {
        self.pace.found_nothing();
        self.seat.attachment.not_lost()?;
        // What it finds, the next call returns.
        self.reader.look_within_batch()?;
        Ok(if self.reader.is_drained()? { RecvError::Closed } else { RecvError::Empty })
    }

    #[inline(always)]
    fn await_message(&mut self, timeout: Option<Duration>) -> Result<(), RecvError> {
        if self.reader.known() > 0 {
            return Ok(());
        }
        match self.reader.poll()? {
            Ready::Empty => self.wait(timeout),
            Ready::Messages(1) => {
                if self.pace.found() {
                    self.pace.keep_apart(&mut self.reader);
                }
                Ok(())
            }
            // The head has just said how many.
            Ready::Messages(_) => Ok(()),
        }
    }

    #[inline(always)]
    fn await_messages(&mut self, timeout: Option<Duration>) -> Result<(), RecvError> {
        if self.reader.poll_head()? == Ready::Empty {
            let how = self.seat.wait;
            wait_for(&mut Several(self), how, timeout)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), RecvError> {
        self.pace.found_nothing();
        self.pace.caught_up(&mut self.reader)?;
        if self.reader.known() > 0 {
            return Ok(());
        }
        let how = self.seat.wait;
        let looks = wait_for(self, how, timeout)?;
        self.pace.came_after(looks);
        Ok(())
    }

    /// The message at the tail, which may be read.
    #[inline(always)]
    fn take(&mut self) -> Result<Received<'_>, RecvError> {
        let message = match self.reader.next_single() {
            Some(message) => message,
            None => self.next_of_batch()?,
        };
        Ok(Received::new(&mut self.reader, message))
    }

    /// Never inlined, so that the address of a single message does not depend on the load of its slot's words.
    #[inline(never)]
    fn next_of_batch(&self) -> Result<Message, RecvError> {
        let message = self.reader.next_of_batch()?;
        // The zeros that come in the place of a file that was cut short look like a bare message.
        self.seat.attachment.not_lost()?;
        Ok(message)
    }

    /// Up to `max` messages from the tail on, of which `available` may be read.
    #[inline(always)]
    fn take_batch(&mut self, available: u64, max: usize) -> Result<Batch<'_>, RecvError> {
        // Who notices that the file is gone by reading this batch is told at the next. To touch its first slot before made 64 B
        // take 1.1 times as long.
        self.seat.attachment.not_lost()?;
        Ok(Batch::new(&mut self.reader, available, max))
    }

    /// One past the last position that the producer had counted a moment ago.
    pub(crate) fn published(&self) -> u64 {
        self.seat.attachment.region.load(producer_page::HEAD, Relaxed)
    }

    /// For a selector: as `look`, with the error that taking the message would meet.
    pub(crate) fn can_take(&mut self) -> Result<bool, RecvError> {
        let is_there = self.look()?;
        if is_there && self.reader.next_single().is_none() {
            self.next_of_batch()?;
        }
        Ok(is_there)
    }

    /// For a selector: announces a sleeper on this ring.
    pub(crate) fn announce(&self) -> (Ticket, *const u32) {
        let region = &self.seat.attachment.region;
        let ticket = Side::Readers.announce(region);
        (ticket, region.futex_address(Side::Readers.word()))
    }
}

impl Waiting for Consumer {
    type Error = RecvError;

    #[inline(always)]
    fn look(&mut self) -> Result<bool, RecvError> {
        Ok(self.reader.poll()? != Ready::Empty)
    }

    fn glance(&mut self) -> Result<(), RecvError> {
        // What it finds, the next look finds, too.
        let is_empty = self.reader.poll_many()? == Ready::Empty;
        if is_empty && self.reader.is_drained()? { Err(RecvError::Closed) } else { Ok(()) }
    }

    fn check_up(&mut self) -> Result<(), RecvError> {
        self.seat.check_up().or_else(|error| if self.look()? { Ok(()) } else { Err(error) })
    }

    fn sleep(&mut self, at_most: Duration) -> Result<(), RecvError> {
        let ticket = Side::Readers.announce(&self.seat.attachment.region);
        if self.reader.poll_many()? == Ready::Empty && !self.reader.is_drained()? {
            let bound = if system::membarrier_works() { CHECK_UP } else { NAP };
            Side::Readers.sleep(&self.seat.attachment.region, ticket, at_most.min(bound));
        }
        Ok(())
    }

    fn timed_out(&mut self, waited: Duration) -> RecvError {
        RecvError::TimedOut(waited)
    }
}

/// A consumer that waits for as many messages as there will be: it looks at the head, and now and then at the slot.
///
/// Whoever looked at both each time would take two lines away from the producer for every batch.
struct Several<'a>(&'a mut Consumer);

impl Waiting for Several<'_> {
    type Error = RecvError;

    #[inline(always)]
    fn look(&mut self) -> Result<bool, RecvError> {
        Ok(self.0.reader.poll_head()? != Ready::Empty)
    }

    fn glance(&mut self) -> Result<(), RecvError> {
        self.0.glance()
    }

    fn check_up(&mut self) -> Result<(), RecvError> {
        self.0.check_up()
    }

    fn sleep(&mut self, at_most: Duration) -> Result<(), RecvError> {
        self.0.sleep(at_most)
    }

    fn timed_out(&mut self, waited: Duration) -> RecvError {
        self.0.timed_out(waited)
    }
}
