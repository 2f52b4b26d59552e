//! A producer without the type of its messages: it claims, fills and publishes blocks.

use crate::error::{AtPath, AttachError, HandleError, OpenError, SendError};
use crate::producer::watch::Watch;
use crate::region::{Access, Blocks, Region};
use crate::ring::attach::Attachment;
use crate::ring::place::At;
use crate::system;
use crate::wait::Wait;
use slipring_core::format::producer_page;
use slipring_core::memory::{Liveness, Memory, Right};
use slipring_core::protocol;
use slipring_core::protocol::batch::Batch;
use slipring_core::protocol::make_room::{Policy, RoomMaker};
use slipring_core::protocol::park::Side;
use slipring_core::protocol::recorder::EventKind;
use slipring_core::protocol::redrive::Redriven;
use slipring_core::protocol::single::ClaimedSlot;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// A producer without the type of its messages.
#[derive(Debug)]
pub(crate) struct RawProducer {
    pub(crate) protocol: protocol::Producer<Region>,
    pub(crate) attachment: Attachment,
    pub(crate) wait: Wait,
    pub(crate) room: RoomMaker,
    /// The time at which the ring became full; none while it has room.
    pub(crate) full_since: Option<Instant>,
    /// The time of the last event "full" in the flight recorder.
    pub(crate) full_logged: Option<Instant>,
    pub(super) watch: Watch,
    closed: bool,
}

// The calls that send are inlined always: a result that is moved through memory on its way costs as
// much as the call. `try_send` of 48 B, called, took 1.6 times as long.
impl RawProducer {
    pub(super) fn open(
        at: At,
        wait: Wait,
        required_readers: u32,
        watched: bool,
    ) -> Result<RawProducer, AtPath<AttachError>> {
        let attachment = Attachment::open(at, Access::Everything)?;
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
        let producer = protocol::Producer::take_over(attachment.region.clone(), geometry)
            .map_err(|damage| attachment.at_path(OpenError::Damaged(damage)))?;
        let pid = u64::from(system::process_id());
        producer.introduce(pid, system::unix_now_ms());
        if orphaned {
            attachment.try_record(EventKind::ProducerDied, producer.head(), "", predecessor);
        }
        let kind = if orphaned { EventKind::ProducerTookOver } else { EventKind::ProducerOpened };
        attachment.try_record(kind, producer.head(), "", pid);
        let durable_inactive_ms = attachment.header.durable_inactive_ms;
        let policy = Policy { required_readers, durable_inactive_ms };
        Ok(RawProducer {
            protocol: producer,
            wait,
            room: RoomMaker::new(policy),
            full_since: None,
            full_logged: None,
            watch: Watch::over(attachment.presence(), &attachment.region, watched),
            attachment,
            closed: false,
        })
    }

    /// The next position to be published.
    pub(super) fn head(&self) -> u64 {
        self.protocol.head()
    }

    /// The bytes of a block.
    #[inline]
    pub(super) fn block_size(&self) -> usize {
        self.protocol.block_size()
    }

    /// Copies a message into the ring, and returns its position.
    #[inline(always)]
    pub(crate) fn send(&mut self, kind: u32, message: &[u8], patience: Patience) -> Result<u64, SendError> {
        self.check_len(message.len())?;
        self.reserve(1, patience)?;
        self.push_one(kind, message)
    }

    /// Claims the next block.
    #[inline(always)]
    pub(super) fn claim(&mut self, patience: Patience) -> Result<ClaimedSlot, SendError> {
        self.reserve(1, patience)?;
        Ok(self.protocol.claim_next())
    }

    /// Makes room for up to `max` blocks, and returns for how many.
    #[inline(always)]
    pub(super) fn reserve_batch(&mut self, max: usize, patience: Patience) -> Result<u64, SendError> {
        self.reserve(max as u64, patience)?;
        Ok(self.protocol.room().min(max as u64))
    }

    #[inline(always)]
    pub(crate) fn check_len(&self, len: usize) -> Result<(), SendError> {
        if len > self.block_size() {
            Err(SendError::TooLarge { len, block_size: self.block_size() })
        } else {
            Ok(())
        }
    }

    /// Publishes a message for one group.
    pub(crate) fn redrive(
        &mut self,
        (kind, message): (u32, &[u8]),
        redriven: Redriven,
        patience: Patience,
    ) -> Result<u64, SendError> {
        self.check_len(message.len())?;
        let claimed = self.claim(patience)?;
        self.protocol.redrive(claimed, kind, message, redriven);
        self.wake_readers()?;
        Ok(claimed.position())
    }

    #[inline(always)]
    fn push_one(&mut self, kind: u32, message: &[u8]) -> Result<u64, SendError> {
        let claimed = self.protocol.claim_next();
        self.protocol.send(claimed, kind, message);
        self.wake_readers()?;
        Ok(claimed.position())
    }

    /// Wakes the readers, if any may be asleep.
    #[inline(always)]
    fn wake_readers(&mut self) -> Result<(), SendError> {
        if Side::Readers.is_asleep(self.protocol.memory()) { self.wake_or_learn() } else { Ok(()) }
    }

    /// The same word says that the file is not the ring at its path any more.
    #[cold]
    fn wake_or_learn(&mut self) -> Result<(), SendError> {
        self.glance()?;
        Side::Readers.wake(self.protocol.memory());
        Ok(())
    }

    /// An error if it is known that this producer's messages reach no reader that attaches from now
    /// on. Then there is no room any more, so that each call comes here.
    #[cold]
    pub(super) fn glance(&mut self) -> Result<(), SendError> {
        let found = self.watch.glance();
        self.judge(found)
    }

    /// The same, after a look at the path and into the file.
    pub(super) fn check(&mut self) -> Result<(), SendError> {
        self.attachment.not_lost()?;
        let found = self.watch.look();
        self.judge(found)
    }

    /// Takes all room away if the file is known to be wrong, or this process cannot use it.
    fn judge(&mut self, found: Option<HandleError>) -> Result<(), SendError> {
        // A copy of an earlier state, written over the file, has another head, and a second
        // producer moves it. To read it may be what finds the file cut short, so it comes before
        // the question whether the file was.
        let head = self.attachment.region.load(producer_page::HEAD, Relaxed);
        let is_foreign = head != self.protocol.head();
        let judged = self.attachment.not_lost().and_then(|()| {
            let reason = || self.watch.look().unwrap_or(HandleError::Replaced);
            let found = found.or_else(|| is_foreign.then(reason));
            found.map_or(Ok(()), |error| Err(self.attachment.at_path(error)))
        });
        if judged.is_err() {
            self.protocol.keep_room(0);
        }
        Ok(judged?)
    }

    /// Says that nothing more will come.
    pub(super) fn close(mut self) -> Result<(), SendError> {
        self.closed = true;
        // A forked child must not speak for its parent. To the readers of a file that went it is
        // said all the same.
        self.attachment.not_lost()?;
        let outcome = self.check();
        if self.watch.has_successor() {
            return outcome;
        }
        self.protocol.close();
        let pid = u64::from(system::process_id());
        self.attachment.try_record(EventKind::Closed, self.protocol.head(), "", pid);
        outcome
    }

    /// Makes sure that at least one position may be claimed, and looks for room for `want`.
    #[inline(always)]
    fn reserve(&mut self, want: u64, patience: Patience) -> Result<(), SendError> {
        if self.protocol.room() >= want.max(1) {
            return Ok(());
        }
        self.make_room(patience)
    }

    /// The whole block of a claimed position, which the caller may leave in any state.
    #[inline(always)]
    pub(crate) fn dirty_block(&mut self, claimed: ClaimedSlot) -> &mut [u8] {
        let block = self.protocol.dirty_block(claimed);
        // SAFETY: the position was claimed below the limit, so no reader that reads in place holds
        // it, and this is the producer, whose region lives as long; the reference borrows `self`,
        // so it is the only one.
        unsafe { self.protocol.memory().blocks().bytes_mut(block) }
    }

    #[inline(always)]
    pub(crate) fn publish(&mut self, claimed: ClaimedSlot, kind: u32, len: usize) -> Result<(), SendError> {
        self.protocol.publish(claimed, kind, len);
        self.wake_readers()
    }

    #[inline(always)]
    pub(crate) fn publish_batch(&mut self, batch: &Batch<Blocks>) -> Result<(), SendError> {
        self.protocol.publish_batch(batch);
        self.wake_readers()
    }
}

/// For how long a call that finds the ring full waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    None,
    AtMost(Duration),
    Endless,
}

impl Drop for RawProducer {
    fn drop(&mut self) {
        if self.attachment.is_foreign() || self.closed || self.watch.has_successor() {
            return;
        }
        self.protocol.leave();
        let pid = u64::from(system::process_id());
        self.attachment.try_record(EventKind::Detached, self.protocol.head(), "", pid);
    }
}
