//! The producer's handle: claim, fill, publish.

pub(crate) mod claim;
mod full;

use crate::error::{AtPath, AttachError, OpenError, SendError};
use crate::id::RingId;
use crate::producer::claim::{BatchClaim, Claim};
use crate::region::pages::Pages;
use crate::region::{Access, BlockWrite, Region};
use crate::ring::attach::{Attachment, Demands, Place as RingPlace};
use crate::system;
use crate::wait::Wait;
use slipring_core::format::{Block, Meta, Slot, producer_page};
use slipring_core::memory::{Liveness, Memory, Right};
use slipring_core::protocol::batch::Sealer;
use slipring_core::protocol::make_room::{Policy, RoomMaker};
use slipring_core::protocol::publish::Publisher;
use slipring_core::protocol::recorder::EventKind;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How a producer opens a ring.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProducerOptions {
    wait: Wait,
    required_readers: u32,
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
    /// # Errors
    ///
    /// [`AttachError::ProducerExists`] while another one lives, stopped or not; [`AttachError::Open`] as
    /// [`Ring::open`](crate::Ring::open).
    pub fn open(&self, place: impl RingPlace) -> Result<Producer, AtPath<AttachError>> {
        let attachment = Attachment::open(place.source(), Access::Everything, self.demands)?;
        let load = |word| attachment.region.load(word, Relaxed);
        let seized = attachment
            .locks
            .try_seize(Right::Producer)
            .map_err(|error| attachment.at_path(OpenError::io("lock it", error)))?;
        if !seized {
            let (pid, since_ms) = (load(producer_page::PID), load(producer_page::OPENED_MS));
            return Err(attachment.at_path(AttachError::ProducerExists { pid, since_ms }));
        }
        let orphaned = load(producer_page::EPOCH) != 0 && load(producer_page::CLOSED) == 0;
        let predecessor = load(producer_page::PID);
        let geometry = *attachment.geometry();
        let publisher = Publisher::take_over(attachment.region.clone(), geometry)
            .map_err(|damage| attachment.at_path(OpenError::Damaged(damage)))?;
        let pid = u64::from(std::process::id());
        publisher.introduce(pid, system::unix_now_ms());
        if orphaned {
            attachment.try_record(EventKind::Abandoned, publisher.head(), "", predecessor);
        }
        let kind = if orphaned { EventKind::ProducerTookOver } else { EventKind::ProducerOpened };
        attachment.try_record(kind, publisher.head(), "", pid);
        let block_size = usize::try_from(geometry.block_size()).unwrap_or(usize::MAX);
        let durable_inactive_ms = attachment.header.durable_inactive_ms;
        let policy = Policy { required_readers: self.required_readers, durable_inactive_ms };
        Ok(Producer {
            publisher,
            attachment,
            wait: self.wait,
            room: RoomMaker::new(policy),
            full_since: None,
            full_logged: None,
            block_size,
            closed: false,
        })
    }
}

/// The one writer of a ring.
///
/// `&mut self` proves that it is the only one in its process, a kernel lock that it is among all. Dropping
/// it gives the right back without closing the stream: another producer may go on, in this process or any.
///
/// If the process is killed at any instruction, everything published stays, and nothing else is ever seen.
///
/// A producer does not survive `fork`: touching it in the child is an access violation, by design.
#[derive(Debug)]
pub struct Producer {
    pub(crate) publisher: Publisher<Region>,
    pub(crate) attachment: Attachment,
    pub(crate) wait: Wait,
    pub(crate) room: RoomMaker,
    /// Since when the ring has been full without interruption.
    pub(crate) full_since: Option<Instant>,
    /// When a full ring was last written into the flight recorder.
    pub(crate) full_logged: Option<Instant>,
    block_size: usize,
    closed: bool,
}

// The calls that send are inlined always: a result that is moved through memory on its way costs as much as the call.
// `try_send` of 48 B, called, took 1.6 times as long.
impl Producer {
    /// Becomes the producer of the ring at `place`, with the default options.
    pub fn open(place: impl RingPlace) -> Result<Producer, AtPath<AttachError>> {
        ProducerOptions::new().open(place)
    }

    /// How to open a ring otherwise.
    pub fn options() -> ProducerOptions {
        ProducerOptions::new()
    }

    /// The next position to be published.
    pub fn head(&self) -> u64 {
        self.publisher.head()
    }

    /// Bytes of a block: the longest message.
    #[inline]
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// The ring's identity, to be kept beside positions saved elsewhere.
    pub fn ring_id(&self) -> RingId {
        self.attachment.header.ring_id
    }

    /// Claims the next block to fill in place; waits for room as long as it takes.
    ///
    /// The block holds bytes of an older message until they are written over. Nothing of the claim is
    /// visible before [`Claim::publish`]; dropping it is an abort.
    ///
    /// While no consumer gates the producer, there is always room, and what is published is overwritten a
    /// lap later. To lose nothing before the first consumer comes, declare it
    /// ([`RingOptions::durable`](crate::RingOptions::durable)) or require it
    /// ([`ProducerOptions::require_readers`]).
    ///
    /// # Errors
    ///
    /// [`SendError::Replaced`] if the ring's file goes while waiting.
    #[inline(always)]
    pub fn claim(&mut self) -> Result<Claim<'_>, SendError> {
        self.reserve(1, None, true)?;
        Ok(self.claimed())
    }

    /// As [`claim`](Self::claim), without waiting.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] with who holds the ring; [`SendError::TooFewReaders`].
    #[inline(always)]
    pub fn try_claim(&mut self) -> Result<Claim<'_>, SendError> {
        self.reserve(1, None, false)?;
        Ok(self.claimed())
    }

    /// As [`claim`](Self::claim), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`try_claim`](Self::try_claim), after the time is up.
    #[inline(always)]
    pub fn claim_timeout(&mut self, timeout: Duration) -> Result<Claim<'_>, SendError> {
        self.reserve(1, Some(timeout), true)?;
        Ok(self.claimed())
    }

    #[inline(always)]
    fn claimed(&mut self) -> Claim<'_> {
        let place = self.place(0);
        self.publisher.claim(1);
        Claim::new(self, place)
    }

    /// Copies `message` into the ring and returns its position; waits for room as long as it takes. What
    /// happens while nobody gates is said at [`claim`](Self::claim).
    ///
    /// # Errors
    ///
    /// [`SendError::TooLarge`] if it does not fit a block; [`SendError::Replaced`].
    #[inline(always)]
    pub fn send(&mut self, message: &[u8]) -> Result<u64, SendError> {
        self.send_kind(0, message)
    }

    /// As [`send`](Self::send), with a kind for readers to select by, and with the same errors.
    #[inline(always)]
    pub fn send_kind(&mut self, kind: u32, message: &[u8]) -> Result<u64, SendError> {
        self.check_len(message.len())?;
        self.reserve(1, None, true)?;
        Ok(self.push_one(kind, message))
    }

    /// As [`send_kind`](Self::send_kind), without waiting. Errors as [`try_claim`](Self::try_claim).
    #[inline(always)]
    pub fn try_send(&mut self, kind: u32, message: &[u8]) -> Result<u64, SendError> {
        self.check_len(message.len())?;
        self.reserve(1, None, false)?;
        Ok(self.push_one(kind, message))
    }

    /// As [`send_kind`](Self::send_kind), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// Besides those of `send`, [`SendError::Full`], which says who holds the ring.
    #[inline(always)]
    pub fn send_timeout(&mut self, kind: u32, message: &[u8], timeout: Duration) -> Result<u64, SendError> {
        self.check_len(message.len())?;
        self.reserve(1, Some(timeout), true)?;
        Ok(self.push_one(kind, message))
    }

    #[inline(always)]
    pub(crate) fn check_len(&self, len: usize) -> Result<(), SendError> {
        if len > self.block_size {
            Err(SendError::TooLarge { len, block_size: self.block_size })
        } else {
            Ok(())
        }
    }

    #[inline(always)]
    fn push_one(&mut self, kind: u32, message: &[u8]) -> u64 {
        let place = self.place(0);
        self.publisher.claim(1);
        self.fill(place, kind, message);
        self.publish(place);
        place.position
    }

    /// Claims up to `max` blocks, at least one, to be published together; waits for room for one.
    ///
    /// A batch costs one claim and one head for all its messages, which readers see all at once. Of a batch that is
    /// dropped, or whose producer dies, they see nothing.
    ///
    /// # Errors
    ///
    /// As [`claim`](Self::claim).
    #[inline(always)]
    pub fn claim_batch(&mut self, max: usize) -> Result<BatchClaim<'_>, SendError> {
        self.reserve(max as u64, None, true)?;
        Ok(self.batch(max))
    }

    /// As [`claim_batch`](Self::claim_batch), without waiting. Errors as [`try_claim`](Self::try_claim).
    #[inline(always)]
    pub fn try_claim_batch(&mut self, max: usize) -> Result<BatchClaim<'_>, SendError> {
        self.reserve(max as u64, None, false)?;
        Ok(self.batch(max))
    }

    /// As [`claim_batch`](Self::claim_batch), waiting at most `timeout` for room for one.
    ///
    /// # Errors
    ///
    /// Besides those of `claim_batch`, [`SendError::Full`], which says who holds the ring.
    #[inline(always)]
    pub fn claim_batch_timeout(
        &mut self,
        max: usize,
        timeout: Duration,
    ) -> Result<BatchClaim<'_>, SendError> {
        self.reserve(max as u64, Some(timeout), true)?;
        Ok(self.batch(max))
    }

    #[inline(always)]
    fn batch(&mut self, max: usize) -> BatchClaim<'_> {
        let room = self.publisher.room().min(max as u64);
        self.publisher.claim(room);
        BatchClaim::new(self, room)
    }

    /// Copies all of `messages` into the ring, in as few batches as there is room for, and returns the
    /// positions they got; waits for room as long as it takes. What had to go out in several batches may be
    /// seen in part, each batch whole.
    ///
    /// # Errors
    ///
    /// [`SendError::TooLarge`] before anything is sent; [`SendError::Replaced`] after a prefix was.
    pub fn send_batch<M: AsRef<[u8]>>(&mut self, messages: &[M]) -> Result<std::ops::Range<u64>, SendError> {
        for message in messages {
            self.check_len(message.as_ref().len())?;
        }
        self.in_batches(messages, |batch, now| {
            for message in now {
                batch.push(0, message.as_ref())?;
            }
            Ok(())
        })
    }

    /// Sends all of `messages` in as few batches as there is room for: `push` gets each of them, and what fits it.
    pub(crate) fn in_batches<M>(
        &mut self,
        messages: &[M],
        push: impl Fn(&mut BatchClaim<'_>, &[M]) -> Result<(), SendError>,
    ) -> Result<std::ops::Range<u64>, SendError> {
        let start = self.publisher.head();
        let mut rest = messages;
        while !rest.is_empty() {
            let mut batch = self.claim_batch(rest.len())?;
            let (now, later) = rest.split_at(batch.remaining());
            push(&mut batch, now)?;
            batch.publish();
            rest = later;
        }
        Ok(start..self.publisher.head())
    }

    /// Says that nothing more will come: readers drain the ring and then learn
    /// [`RecvError::Closed`](crate::RecvError::Closed). Opening the ring as a producer again reopens it.
    pub fn close(mut self) {
        self.closed = true;
        self.publisher.close();
        self.attachment.try_record(
            EventKind::Closed,
            self.publisher.head(),
            "",
            u64::from(std::process::id()),
        );
    }

    /// Makes sure that one position may be claimed, better `want`.
    #[inline(always)]
    fn reserve(&mut self, want: u64, timeout: Option<Duration>, wait: bool) -> Result<(), SendError> {
        if self.publisher.room() >= want.max(1) {
            return Ok(());
        }
        self.make_room(timeout, wait)
    }

    /// A claimed position and its slot. Worked out once per message: what is read through `self` after an ordered
    /// store is read from memory again.
    #[inline(always)]
    pub(crate) fn place(&self, ahead: u64) -> Place {
        let position = self.publisher.head() + ahead;
        Place { position, slot: self.publisher.geometry().slot(position) }
    }

    /// The block of a claimed position for a message that is sent by itself, whole.
    #[inline(always)]
    fn block(&mut self, place: Place) -> &mut [u8] {
        // SAFETY: the position was claimed below the limit, so no reader that reads in place holds it, and
        // this is the producer.
        let mut block: BlockWrite<'_> = unsafe { self.publisher.memory().write_block(self.single(place)) };
        // SAFETY: as above; the reference borrows `self`, so it is the only one.
        unsafe { block.bytes() }
    }

    /// Where it is.
    #[inline(always)]
    pub(crate) fn single(&self, place: Place) -> Block {
        self.publisher.geometry().slots().single(place.slot)
    }

    /// Copies a message into a claimed position, and describes it.
    #[inline(always)]
    fn fill(&mut self, place: Place, kind: u32, message: &[u8]) {
        self.block(place)[..message.len()].copy_from_slice(message);
        self.describe(place, kind, message.len());
    }

    /// Says what message a filled block holds, and clears what is behind it.
    #[inline(always)]
    pub(crate) fn describe(&mut self, place: Place, kind: u32, len: usize) {
        self.clear_behind(place, len);
        self.publisher.describe(place.slot, meta(len, kind));
    }

    /// Zeroes behind a message what an older one, or an abandoned claim, left there: blocks hold what was published and
    /// nothing else. Comes before the description, which says how long the older one was.
    #[inline(always)]
    fn clear_behind(&mut self, place: Place, len: usize) {
        // The slot is looked at only if it matters: what a reader had last comes from another core.
        if len < self.block_size {
            let leftover_until = self.publisher.leftover_until();
            let used = self.publisher.used_len(place.slot, place.position, false, leftover_until);
            if used > len {
                self.block(place)[len..used].fill(0);
            }
        }
    }

    #[inline(always)]
    pub(crate) fn publish(&mut self, place: Place) {
        self.publisher.publish(place.slot, place.position);
        self.wake_readers();
    }

    #[inline(always)]
    pub(crate) fn publish_batch(&mut self, batch: &Sealer) {
        self.publisher.publish_batch(batch);
        self.wake_readers();
    }

    #[inline(always)]
    fn wake_readers(&self) {
        if self.publisher.readers_asleep() {
            self.publisher.wake_readers();
        }
    }

    /// The whole block of a claimed position, which the caller may leave in any state.
    #[inline(always)]
    pub(crate) fn scribble(&mut self, place: Place) -> &mut [u8] {
        self.publisher.may_leave(place.position);
        self.block(place)
    }
}

/// The description of a message that fits a block.
#[inline(always)]
pub(crate) fn meta(len: usize, kind: u32) -> Meta {
    #[expect(clippy::cast_possible_truncation, reason = "a block has at most 1 GiB")]
    Meta::new(len as u32, kind)
}

/// A claimed position and its slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) position: u64,
    pub(crate) slot: Slot,
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.attachment.is_foreign() || self.closed {
            return;
        }
        let pid = u64::from(std::process::id());
        self.attachment.try_record(EventKind::Detached, self.publisher.head(), "", pid);
    }
}
