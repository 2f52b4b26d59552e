//! How a producer opens a ring.

use super::Producer;
use super::raw::RawProducer;
use crate::error::{AtPath, AttachError};
use crate::id::RingId;
use crate::message::Message;
use crate::region::pages::Pages;
use crate::ring::attach::{Demands, Place};
use crate::wait::Wait;
use std::marker::PhantomData;

/// How a producer opens a ring.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProducerOptions {
    pub(super) wait: Wait,
    pub(super) required_readers: u32,
    pub(crate) demands: Demands,
}

impl ProducerOptions {
    /// The defaults: [`Wait::Park`], no reader required.
    pub fn new() -> ProducerOptions {
        ProducerOptions::default()
    }

    /// How the waiting calls wait for room. Default [`Wait::Park`].
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> ProducerOptions {
        self.wait = wait;
        self
    }

    /// Refuses to publish while fewer than `n` gating consumers (durable ones count, attached or not) are
    /// in the table. Default 0: what is published while nobody gates is overwritten a lap later. Looked at
    /// when the producer next needs room, so up to a ring's worth of messages may follow after a reader
    /// has left.
    #[must_use]
    pub fn require_readers(mut self, n: u32) -> ProducerOptions {
        self.required_readers = n;
        self
    }

    /// Accepts a file that belongs to this user. By default only the process's own user and root are.
    #[must_use]
    pub fn trust_owner(mut self, user: u32) -> ProducerOptions {
        self.demands.trusted_owner = Some(user);
        self
    }

    /// How this handle gets the pages that it maps. By default they come as they are touched.
    #[must_use]
    pub fn pages(mut self, pages: Pages) -> ProducerOptions {
        self.demands.pages = pages;
        self
    }

    /// Insists on this ring: a program that saved positions elsewhere must not take another one for it.
    #[must_use]
    pub fn expect_ring(mut self, id: RingId) -> ProducerOptions {
        self.demands.ring_id = Some(id);
        self
    }

    /// Insists on the dead-letter ring of this ring. Any other is refused, and not touched.
    pub(crate) fn dead_letters_of(mut self, ring: RingId) -> ProducerOptions {
        self.demands.dead_of = Some(ring);
        self
    }

    /// Becomes the producer. If the last one died, whatever it had published is there, whatever it had
    /// not is gone, and readers notice nothing. A closed stream is opened again.
    ///
    /// ```
    /// use slipring::{Producer, ProducerOptions, RingOptions, SendError};
    ///
    /// let ring = RingOptions::of::<u64>(1024).create_in_memory()?;
    /// let mut producer: Producer<u64> = ProducerOptions::new().require_readers(1).open(&ring)?;
    /// assert!(matches!(producer.try_send(&1), Err(SendError::TooFewReaders { .. })));
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`AttachError::ProducerExists`] while another one lives, stopped or not; [`AttachError::Open`] as
    /// [`Ring::open`](crate::Ring::open).
    pub fn open<T: ?Sized + Message>(&self, place: impl Place) -> Result<Producer<T>, AtPath<AttachError>> {
        let raw = RawProducer::open(place.source(), self, self.demands.carrying(T::CARRIES))?;
        Ok(Producer { raw, carries: PhantomData })
    }
}
