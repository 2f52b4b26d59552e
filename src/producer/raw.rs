//! A producer of whatever the ring carries: it claims, fills and publishes blocks.

use crate::error::{AtPath, AttachError, OpenError, SendError};
use crate::producer::ProducerOptions;
use crate::region::{Access, BlockWrite, Region};
use crate::ring::attach::{Attachment, Demands, Source};
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

/// A producer without the type of its messages.
#[derive(Debug)]
pub(crate) struct RawProducer {
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

// The calls that send are inlined always: a result that is moved through memory on its way costs as much
// as the call. `try_send` of 48 B, called, took 1.6 times as long.
impl RawProducer {
    pub(super) fn open(
        source: Source,
        options: &ProducerOptions,
        demands: Demands,
    ) -> Result<RawProducer, AtPath<AttachError>> {
        let attachment = Attachment::open(source, Access::Everything, demands)?;
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
        let policy = Policy { required_readers: options.required_readers, durable_inactive_ms };
        Ok(RawProducer {
            publisher,
            attachment,
            wait: options.wait,
            room: RoomMaker::new(policy),
            full_since: None,
            full_logged: None,
            block_size,
            closed: false,
        })
    }

    /// The next position to be published.
    pub(super) fn head(&self) -> u64 {
        self.publisher.head()
    }

    /// Bytes of a block.
    #[inline]
    pub(super) fn block_size(&self) -> usize {
        self.block_size
    }

    /// Copies a message into the ring, and returns its position.
    #[inline(always)]
    pub(crate) fn send(&mut self, kind: u32, message: &[u8], patience: Patience) -> Result<u64, SendError> {
        self.check_len(message.len())?;
        self.reserve(1, patience)?;
        Ok(self.push_one(kind, message))
    }

    /// Claims the next block.
    #[inline(always)]
    pub(super) fn claim(&mut self, patience: Patience) -> Result<Place, SendError> {
        self.reserve(1, patience)?;
        let place = self.place(0);
        self.publisher.claim(1);
        Ok(place)
    }

    /// Claims up to `max` blocks, and returns how many.
    #[inline(always)]
    pub(super) fn claim_batch(&mut self, max: usize, patience: Patience) -> Result<u64, SendError> {
        self.reserve(max as u64, patience)?;
        let room = self.publisher.room().min(max as u64);
        self.publisher.claim(room);
        Ok(room)
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

    /// Says that nothing more will come.
    pub(super) fn close(mut self) {
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
    fn reserve(&mut self, want: u64, patience: Patience) -> Result<(), SendError> {
        if self.publisher.room() >= want.max(1) {
            return Ok(());
        }
        self.make_room(patience)
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

/// For how long a call that finds the ring full waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    None,
    AtMost(Duration),
    Endless,
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

impl Drop for RawProducer {
    fn drop(&mut self) {
        if self.attachment.is_foreign() || self.closed {
            return;
        }
        let pid = u64::from(std::process::id());
        self.attachment.try_record(EventKind::Detached, self.publisher.head(), "", pid);
    }
}
