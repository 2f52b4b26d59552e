//! How far one reader of a ring has come, for any party that waits until it has passed a message.

use crate::error::{AtPath, EntryError, ProgressError};
use crate::id::{MessageId, RingId};
use crate::region::{Access, Region};
use crate::ring::Ring;
use crate::ring::attach::Attachment;
use crate::ring::groups::has_workers;
use crate::ring::place::At;
use crate::wait::{CHECK_UP, Wait, Waiting, longest_sleep, wait_for};
use slipring_core::format::producer_page::HEAD;
use slipring_core::memory::{Liveness, Memory, Right};
use slipring_core::protocol::after::{self, AfterError};
use slipring_core::protocol::follow::{Followed, Party, Upstream};
use slipring_core::protocol::read::is_closed;
use slipring_core::protocol::recorder::EventKind;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How far a consumer or a group has come ([`Ring::progress`]): whether a message is released, or
/// settled, and a wait until it is.
///
/// It means the owner that the reader's entry had when it was asked for. A reader of the same name
/// that comes later is another one, but for a durable consumer that comes back.
///
/// ```
/// use slipring::{Consumer, ConsumerOptions, Producer, ProgressError, RingOptions};
/// use std::time::Duration;
///
/// let ring = RingOptions::of::<u64>(64).durable("journal").create_in_memory()?;
/// let mut producer = Producer::<u64>::open(&ring)?;
/// let mut progress = ring.progress("journal")?;
/// let position = producer.head();
/// producer.send(&7)?;
///
/// // Is it on the disk? Not yet.
/// let error = progress.wait(position, Duration::from_millis(1)).unwrap_err();
/// assert!(matches!(error, ProgressError::TimedOut { passed: 0, .. }));
///
/// let mut journal: Consumer<u64> =
///     ConsumerOptions::new().name("journal").durable(true).attach(&ring)?;
/// drop(journal.recv()?); // written, synced, released
/// progress.wait(position, Duration::from_secs(1))?;
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
pub struct Progress {
    attachment: Attachment,
    upstream: Upstream<Region>,
    name: String,
}

impl Ring {
    /// The progress of the consumer, or the group, of this name, which any party may watch: also
    /// the producer, and a process that reads nothing. Needs write permission, as every party that
    /// another one wakes.
    ///
    /// # Errors
    ///
    /// [`EntryError::NoSuchReader`] if the ring has none of this name, or if the consumer is dead;
    /// [`EntryError::AmbiguousReader`]; [`EntryError::Open`] as [`Ring::open`].
    pub fn progress(&self, name: &str) -> Result<Progress, AtPath<EntryError>> {
        let attachment = Attachment::open(At::ring(self), Access::Readers)?;
        let upstream = attachment.with_table(|| {
            let Attachment { region, locks, .. } = &attachment;
            let geometry = attachment.geometry();
            let party = after::find_one(region, geometry, locks, name).map_err(|error| match error {
                AfterError::Ambiguous(name) => EntryError::AmbiguousReader { name },
                _ => EntryError::NoSuchReader { name: name.to_owned() },
            })?;
            Ok::<_, EntryError>(Upstream::new(region, geometry, Followed::present(region, geometry, party)))
        })?;
        Ok(Progress { attachment, upstream, name: name.to_owned() })
    }
}

impl Progress {
    /// The reader's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ring's identity. A program that saves a position outside the ring saves it beside it,
    /// and asks with both ([`wait_for`](Self::wait_for)).
    pub fn ring_id(&self) -> RingId {
        self.attachment.header.ring_id
    }

    /// The reader has passed every position below: a consumer has released those messages, a group
    /// has settled them. What it did before is visible to the caller. Never falls. A reader that
    /// began at a later message, or was evicted, has passed those that it never got, too.
    pub fn passed(&mut self) -> u64 {
        self.upstream.look(&self.attachment.region);
        self.upstream.passed()
    }

    /// Waits until the reader has passed the message at `position` of this ring, at most for
    /// `timeout`, or without a limit if it is `None`. The caller sleeps until the reader moves.
    ///
    /// A position at or above the one that the reader has come to is never taken for passed,
    /// whatever happens to the reader, the ring or its file. While no process is attached as a
    /// durable consumer, or as a worker of the group, the call waits.
    ///
    /// # Errors
    ///
    /// [`ProgressError::TimedOut`]: not yet, which is not "no"; [`ProgressError::Lost`] if the
    /// reader is gone and has not passed the position: it will not; [`ProgressError::Closed`] if
    /// the stream ended before that position; [`ProgressError::BeforeFirst`] for a position below
    /// the ring's first; [`ProgressError::Handle`] when the file at the path is no longer this
    /// ring's. All of them are noticed within 100 ms. [`ProgressError::Damaged`].
    pub fn wait(&mut self, position: u64, timeout: impl Into<Option<Duration>>) -> Result<(), ProgressError> {
        let first = self.attachment.geometry().first_position();
        if position < first {
            return Err(ProgressError::BeforeFirst { position, first });
        }
        let mut waiter = Waiter { progress: self, position };
        wait_for(&mut waiter, Wait::Park, timeout.into())?;
        Ok(())
    }

    /// As [`wait`](Self::wait), for a message whose identity was saved elsewhere: a ring that was
    /// made anew gives its positions again, to other messages.
    ///
    /// ```
    /// use slipring::{MessageId, ProgressError, RingId, RingOptions};
    ///
    /// let ring = RingOptions::new(48, 64).durable("journal").create_in_memory()?;
    /// let of_another = MessageId { ring: RingId::from_bytes([7; 16]), position: 0 };
    /// let error = ring.progress("journal")?.wait_for(of_another, None).unwrap_err();
    /// assert!(matches!(error, ProgressError::OtherRing { .. }));
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Besides those of `wait`, [`ProgressError::OtherRing`] if the message is of another ring.
    pub fn wait_for(
        &mut self,
        message: MessageId,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<(), ProgressError> {
        if message.ring != self.ring_id() {
            return Err(ProgressError::OtherRing { asked: message.ring, ring: self.ring_id() });
        }
        self.wait(message.position, timeout)
    }

    fn region(&self) -> &Region {
        &self.attachment.region
    }

    /// True if a process is attached as this reader.
    fn is_attended(&self) -> bool {
        let Attachment { region, locks, .. } = &self.attachment;
        match self.upstream.followed().party {
            Party::Consumer(entry) => locks.is_held(Right::Consumer(entry)),
            Party::Group(number) => has_workers(region, self.attachment.geometry(), locks, number),
        }
    }
}

/// Waits for one position.
struct Waiter<'a> {
    progress: &'a mut Progress,
    position: u64,
}

impl Waiter<'_> {
    /// Why the reader will never pass the position; none if it may.
    fn end(&mut self) -> Result<Option<ProgressError>, ProgressError> {
        let (position, name) = (self.position, self.progress.name.clone());
        // In the zeros that took a lost file's place, every reader is gone.
        self.progress.attachment.not_lost()?;
        let is_closed = is_closed(self.progress.region());
        if self.progress.upstream.is_gone() {
            return Ok(Some(ProgressError::Lost { name, position, at: self.progress.upstream.passed() }));
        }
        let head = self.progress.region().load(HEAD, Relaxed);
        Ok((is_closed && position >= head).then_some(ProgressError::Closed { position, head }))
    }
}

impl Waiting for Waiter<'_> {
    type Error = ProgressError;

    fn poll(&mut self) -> Result<bool, ProgressError> {
        let Progress { attachment, upstream, .. } = &mut *self.progress;
        let has_passed = upstream.has_passed(&attachment.region, self.position)?;
        if has_passed {
            attachment.not_lost()?;
        }
        Ok(has_passed)
    }

    fn check_closed(&mut self) -> Result<(), ProgressError> {
        if self.poll()? { Ok(()) } else { self.end()?.map_or(Ok(()), Err) }
    }

    fn check_ring(&mut self) -> Result<(), ProgressError> {
        let Progress { attachment, upstream, name } = &*self.progress;
        attachment.still_readable()?;
        if upstream.reap_if_dead(&attachment.region, &attachment.locks) {
            attachment.try_record(EventKind::Died, upstream.passed(), name, 0);
        }
        Ok(())
    }

    fn sleep(&mut self, at_most: Duration) -> Result<(), ProgressError> {
        let bound = longest_sleep(CHECK_UP).min(at_most);
        let side = self.progress.upstream.side();
        side.sleep_unless(
            self,
            |it| it.progress.region(),
            |it| Ok((!it.poll()? && it.end()?.is_none()).then_some(bound)),
        )
    }

    fn timed_out(&mut self, waited: Duration) -> ProgressError {
        ProgressError::TimedOut {
            name: self.progress.name.clone(),
            position: self.position,
            passed: self.progress.upstream.passed(),
            attended: self.progress.is_attended(),
            waited,
        }
    }
}
