//! How a producer opens a ring.

use super::Producer;
use super::raw::RawProducer;
use crate::error::{AtPath, AttachError};
use crate::message::Message;
use crate::ring::place::Place;
use crate::wait::Wait;
use std::marker::PhantomData;

/// How a producer opens a ring.
///
/// ```
/// use slipring::{ProducerOptions, RingOptions, Wait};
///
/// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
/// let mut producer = ProducerOptions::new().wait(Wait::Spin).open::<u64>(&ring)?;
/// producer.send(&7)?;
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ProducerOptions {
    wait: Wait,
    required_readers: u32,
    watched: bool,
}

impl Default for ProducerOptions {
    fn default() -> ProducerOptions {
        ProducerOptions { wait: Wait::default(), required_readers: 0, watched: true }
    }
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

    /// Refuses to publish while fewer than `n` gating consumers are in the table; durable consumers
    /// count also while they are away. Default 0: messages that are published while no reader gates
    /// are overwritten a lap later. The producer counts when it next needs room, so that up to a
    /// lap of messages may follow after a reader has left.
    #[must_use]
    pub fn require_readers(mut self, n: u32) -> ProducerOptions {
        self.required_readers = n;
        self
    }

    /// Whether a thread of the library looks once a second if the file is still the ring at its
    /// path, for all producers of the process. The thread lives as long as they do, and takes no
    /// signals. Default true. A producer without it looks for itself, every 16 messages and once a
    /// second at most, and a message costs some nanoseconds more: for processes that must not have
    /// a second thread.
    #[must_use]
    pub fn watched(mut self, watched: bool) -> ProducerOptions {
        self.watched = watched;
        self
    }

    /// Becomes the producer. If the last producer died, all messages that it published are there,
    /// the claimed ones are not, and readers notice nothing. A closed stream is opened again.
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
    /// [`AttachError::ProducerExists`] while another one lives, stopped or not;
    /// [`AttachError::Open`] as [`Ring::open`](crate::Ring::open).
    pub fn open<T: ?Sized + Message>(&self, place: impl Place) -> Result<Producer<T>, AtPath<AttachError>> {
        let raw =
            RawProducer::open(place.at().carrying::<T>(), self.wait, self.required_readers, self.watched)?;
        Ok(Producer { raw, carries: PhantomData })
    }
}
