//! How a consumer attaches.

use super::raw::RawConsumer;
use super::{Consumer, Seat};
use crate::error::{AtPath, AttachError};
use crate::id::RingId;
use crate::message::Message;
use crate::region::pages::Pages;
use crate::ring::attach::{Demands, Place};
use crate::wait::Wait;
use slipring_core::protocol::table::Start;
use std::marker::PhantomData;

/// How a consumer attaches.
#[derive(Clone, Debug, Default)]
pub struct ConsumerOptions {
    pub(crate) name: String,
    pub(crate) durable: bool,
    pub(super) start: Start,
    pub(super) wait: Wait,
    pub(super) notice_dead_producer: bool,
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
    /// ```
    /// use slipring::{Consumer, ConsumerOptions, RingOptions, Start};
    ///
    /// let ring = RingOptions::of::<u64>(1024).create_in_memory()?;
    /// let options = ConsumerOptions::new().name("audit").durable(true).start(Start::Earliest);
    /// let consumer: Consumer<u64> = options.attach(&ring)?;
    /// assert_eq!(ring.consumers()[0].name, "audit");
    /// # drop(consumer);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`AttachError::Start`] if it cannot begin where it shall; [`AttachError::TableFull`];
    /// [`AttachError::NameInUse`]; [`AttachError::NameIsDurable`]; [`AttachError::Name`];
    /// [`AttachError::Open`] as [`Ring::open`](crate::Ring::open).
    pub fn attach<T: ?Sized + Message>(&self, place: impl Place) -> Result<Consumer<T>, AtPath<AttachError>> {
        let mut options = self.clone();
        options.demands = self.demands.carrying(T::CARRIES);
        let seat = Seat::take(place, &options, false)?;
        Ok(Consumer { raw: RawConsumer::new(seat), carries: PhantomData })
    }
}
