//! A consumer without the type of its messages: how it finds its next message, and waits for it.

use super::Membership;
use super::pace::Pace;
use crate::error::RecvError;
use crate::region::Region;
use crate::wait::{CHECK_UP, Waiting, longest_sleep, wait_for};
use slipring_core::format::{Message, producer_page};
use slipring_core::memory::Memory;
use slipring_core::protocol;
use slipring_core::protocol::follow::Upstream;
use slipring_core::protocol::park::Side;
use slipring_core::protocol::read::Ready;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A consumer without the type of its messages.
#[derive(Debug)]
pub(crate) struct RawConsumer {
    pub(super) reader: protocol::Consumer<Region>,
    pub(super) membership: Membership,
    pace: Pace,
}

impl RawConsumer {
    pub(super) fn new(membership: Membership) -> RawConsumer {
        let geometry = *membership.attachment.geometry();
        let reader = protocol::Consumer::new(
            membership.attachment.region.clone(),
            geometry,
            membership.entry,
            membership.tail,
        );
        let reader = reader.following(&geometry, &membership.after);
        RawConsumer { reader, membership, pace: Pace::new(geometry.capacity()) }
    }

    // The calls on the path of a single message are inlined always: a message that is moved through
    // memory on its way to the caller costs three times as much.

    /// Looks whether the message at the tail is published.
    #[inline(always)]
    pub(super) fn look_once(&mut self) -> Result<(), RecvError> {
        match self.reader.poll()? {
            Ready::Messages(_) => Ok(()),
            Ready::Empty => Err(self.nothing()?),
        }
    }

    /// How many messages are published from the tail on, at least one.
    #[inline(always)]
    pub(super) fn try_count(&mut self) -> Result<u64, RecvError> {
        match self.reader.poll_many()? {
            Ready::Messages(n) => {
                // A file that was cut short is reported by the next receive: probing the first slot
                // here made a batch of 64 B messages take 1.1 times as long.
                self.membership.attachment.not_lost()?;
                Ok(n)
            }
            Ready::Empty => Err(self.nothing()?),
        }
    }

    /// As `try_available`, waiting for the first message, at most `timeout`.
    #[inline(always)]
    pub(super) fn count(&mut self, timeout: Option<Duration>) -> Result<u64, RecvError> {
        self.await_messages(timeout)?;
        self.try_count()
    }

    /// Never inlined, so that the address of a single message does not depend on the load of its
    /// slot's words.
    #[inline(never)]
    pub(super) fn next_of_batch(&self) -> Result<Message, RecvError> {
        let message = self.reader.next_of_batch()?;
        // The zeros that come in the place of a file that was cut short look like a headerless
        // message.
        self.membership.attachment.not_lost()?;
        Ok(message)
    }

    /// The error for a look that found no message.
    ///
    /// Example: a joiner began at 6, inside a batch of positions 4 to 9, and its look at slot 6
    /// found a headerless message's silence. The check reads `head` 10 here, so the next call
    /// returns 6; this one returns `Empty`.
    #[cold]
    fn nothing(&mut self) -> Result<RecvError, RecvError> {
        self.pace.found_nothing();
        self.membership.attachment.not_lost()?;
        // If the check finds messages, the next call returns them.
        self.reader.look_within_batch()?;
        if let Some(end) = self.end()? {
            return Ok(end);
        }
        self.check_up_at_times()?;
        Ok(RecvError::Empty)
    }

    /// Why no message will come; none if one may.
    #[cold]
    fn end(&mut self) -> Result<Option<RecvError>, RecvError> {
        if self.reader.is_drained()? {
            // Followers learn of the end at once, not at their next check-up.
            self.reader.wake_behind();
            return Ok(Some(RecvError::Closed));
        }
        let is_empty = self.reader.poll_many()? == Ready::Empty;
        let Some(upstream) = self.reader.lost().filter(|_| is_empty) else { return Ok(None) };
        // In the zeros that took a lost file's place, every upstream is gone.
        self.membership.attachment.not_lost()?;
        Ok(Some(self.membership.lost(upstream)))
    }

    /// The side that this consumer sleeps on: readers wait for the producer, followers for the
    /// upstream that is furthest behind.
    pub(crate) fn side(&self) -> Side {
        self.reader.behind().map_or(Side::Readers, Upstream::side)
    }

    /// True if there is a message, if none will come, or if another side is to be slept on. Asked
    /// after the announcement of a sleep.
    pub(crate) fn has_news(&mut self, side: Side) -> Result<bool, RecvError> {
        Ok(self.reader.has_news()? || self.reader.lost().is_some() || self.side() != side)
    }

    /// Waits for a message at the tail, at most `timeout`.
    #[inline(always)]
    pub(super) fn await_message(&mut self, timeout: Option<Duration>) -> Result<(), RecvError> {
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
            // `head` has just told how many messages there are.
            Ready::Messages(_) => Ok(()),
        }
    }

    #[inline(always)]
    fn await_messages(&mut self, timeout: Option<Duration>) -> Result<(), RecvError> {
        if self.reader.poll_head()? == Ready::Empty {
            let how = self.membership.wait;
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
        let how = self.membership.wait;
        let looks = wait_for(self, how, timeout)?;
        self.pace.came_after(looks);
        Ok(())
    }

    /// The `head` that this consumer read last.
    pub(crate) fn published(&self) -> u64 {
        self.membership.attachment.region.load(producer_page::HEAD, Relaxed)
    }

    /// For a selector: as `poll`, with the error that taking the message would return.
    pub(crate) fn can_take(&mut self) -> Result<bool, RecvError> {
        let is_there = self.poll()?;
        if is_there && self.reader.next_single().is_none() {
            self.next_of_batch()?;
        }
        Ok(is_there)
    }

    /// The memory of the ring.
    pub(crate) fn region(&self) -> &Region {
        &self.membership.attachment.region
    }
}

impl Waiting for RawConsumer {
    type Error = RecvError;

    #[inline(always)]
    fn poll(&mut self) -> Result<bool, RecvError> {
        Ok(self.reader.poll()? != Ready::Empty)
    }

    fn check_closed(&mut self) -> Result<(), RecvError> {
        // If the check finds messages, the next look finds them, too.
        let is_empty = self.reader.poll_many()? == Ready::Empty;
        match is_empty.then(|| self.end()).transpose()?.flatten() {
            Some(end) => Err(end),
            None => Ok(()),
        }
    }

    fn check_ring(&mut self) -> Result<(), RecvError> {
        self.membership.check_up(self.reader.upstreams(), self.reader.is_at_end())
    }

    fn check_up_at_times(&mut self) -> Result<(), RecvError> {
        let Err(error) = self.membership.check_up_at_times(self.reader.upstreams(), self.reader.is_at_end())
        else {
            return Ok(());
        };
        // Messages that were published before are still received.
        if self.poll()? { Ok(()) } else { Err(error) }
    }

    fn sleep(&mut self, at_most: Duration) -> Result<(), RecvError> {
        let (side, bound) = (self.side(), longest_sleep(CHECK_UP).min(at_most));
        side.sleep_unless(self, Self::region, |it| Ok((!it.has_news(side)?).then_some(bound)))
    }

    fn timed_out(&mut self, waited: Duration) -> RecvError {
        RecvError::TimedOut(waited)
    }
}

/// A consumer that waits for a batch: it looks at `head`, and now and then at the slot.
///
/// A consumer that looked at both each time would take two cache lines away from the producer for
/// every batch.
struct Several<'a>(&'a mut RawConsumer);

impl Waiting for Several<'_> {
    type Error = RecvError;

    #[inline(always)]
    fn poll(&mut self) -> Result<bool, RecvError> {
        Ok(self.0.reader.poll_head()? != Ready::Empty)
    }

    fn check_closed(&mut self) -> Result<(), RecvError> {
        self.0.check_closed()
    }

    fn check_ring(&mut self) -> Result<(), RecvError> {
        self.0.check_ring()
    }

    fn check_up_at_times(&mut self) -> Result<(), RecvError> {
        self.0.check_up_at_times()
    }

    fn sleep(&mut self, at_most: Duration) -> Result<(), RecvError> {
        self.0.sleep(at_most)
    }

    fn timed_out(&mut self, waited: Duration) -> RecvError {
        self.0.timed_out(waited)
    }
}
