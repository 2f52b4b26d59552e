//! The observer's handle: reads a file it may not write, slows nobody, and counts what it missed.

use crate::copying::evictable::CopiedMessage;
use crate::error::{AtPath, AttachError, OpenError, RecvError};
use crate::id::RingId;
use crate::region::pages::Pages;
use crate::region::{Access, Region};
use crate::ring::attach::{Attachment, Demands, Place};
use crate::wait::{NAP, Wait, Waiting, wait_for};
use slipring_core::format::POSITION_MAX;
use slipring_core::protocol::Damage;
use slipring_core::protocol::observe::{Seen, Watcher};
use slipring_core::protocol::park::Side;
use slipring_core::protocol::table::{Start, StartError};
use std::time::Duration;

/// How an observer attaches.
#[derive(Clone, Copy, Debug, Default)]
pub struct ObserverOptions {
    start: Start,
    wait: Wait,
    notice_dead_producer: bool,
    demands: Demands,
}

impl ObserverOptions {
    /// The defaults: from [`Start::Latest`], [`Wait::Park`].
    pub fn new() -> ObserverOptions {
        ObserverOptions::default()
    }

    /// Where to begin; default [`Start::Latest`]. `Earliest` is the oldest message that is not being
    /// overwritten at that moment.
    #[must_use]
    pub fn start(mut self, start: Start) -> ObserverOptions {
        self.start = start;
        self
    }

    /// How the waiting calls wait. An observer cannot announce that it sleeps, since it cannot write:
    /// under [`Wait::Park`] it sleeps a millisecond at most.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> ObserverOptions {
        self.wait = wait;
        self
    }

    /// As [`ConsumerOptions::notice_dead_producer`](crate::ConsumerOptions::notice_dead_producer).
    #[must_use]
    pub fn notice_dead_producer(mut self, notice: bool) -> ObserverOptions {
        self.notice_dead_producer = notice;
        self
    }

    /// How this handle gets the pages that it maps. By default they come as they are touched.
    #[must_use]
    pub fn pages(mut self, pages: Pages) -> ObserverOptions {
        self.demands.pages = pages;
        self
    }

    /// Insists on this ring, not one made later at the same path.
    #[must_use]
    pub fn expect_ring(mut self, id: RingId) -> ObserverOptions {
        self.demands.ring_id = Some(id);
        self
    }

    /// Attaches. Needs read permission only.
    ///
    /// # Errors
    ///
    /// [`AttachError::Start`] if it cannot begin where it shall; [`AttachError::Open`] as
    /// [`Ring::open`](crate::Ring::open).
    pub fn attach(&self, place: impl Place) -> Result<Observer, AtPath<AttachError>> {
        let attachment = Attachment::open(place.source(), Access::Nothing, self.demands)?;
        let geometry = *attachment.geometry();
        let (earliest, head) = Watcher::window(&attachment.region, &geometry);
        // Neither is moved by more than the messages that follow, so that no later sum can wrap.
        Damage::bound("head", head, 0, POSITION_MAX)
            .and_then(|_| Damage::bound("claimed - capacity", earliest, 0, POSITION_MAX))
            .map_err(|damage| attachment.at_path(OpenError::Damaged(damage)))?;
        let position =
            self.choose(earliest, head).map_err(|error| attachment.at_path(AttachError::from(error)))?;
        let block_size = usize::try_from(geometry.block_size()).unwrap_or(0);
        Ok(Observer {
            watcher: Watcher::new(attachment.region.clone(), geometry, position),
            buffer: vec![0; block_size],
            pending: None,
            missed: 0,
            wait: self.wait,
            notice_dead_producer: self.notice_dead_producer,
            attachment,
        })
    }

    fn choose(&self, earliest: u64, head: u64) -> Result<u64, StartError> {
        match self.start {
            Start::Earliest => Ok(earliest),
            Start::Latest => Ok(head),
            Start::At(requested) if requested < earliest => Err(StartError::Gone { requested, earliest }),
            Start::At(requested) if requested > head => Err(StartError::Ahead { requested, head }),
            Start::At(requested) => Ok(requested),
        }
    }
}

/// A non-gating reader on a read-only mapping. It never slows anybody, works on a file it may not write,
/// may be lapped, and is then told exactly how many messages it missed.
#[derive(Debug)]
pub struct Observer {
    watcher: Watcher<Region>,
    buffer: Vec<u8>,
    /// What the last look copied out and nobody has fetched yet: position, length, kind.
    pending: Option<(u64, usize, u32)>,
    /// Messages missed since the last one that was fetched.
    missed: u64,
    wait: Wait,
    notice_dead_producer: bool,
    attachment: Attachment,
}

impl Observer {
    /// Observes the ring at `place`.
    pub fn attach(place: impl Place, start: Start) -> Result<Observer, AtPath<AttachError>> {
        ObserverOptions::new().start(start).attach(place)
    }

    /// How to observe otherwise.
    pub fn options() -> ObserverOptions {
        ObserverOptions::new()
    }

    /// The next position to read.
    pub fn position(&self) -> u64 {
        self.pending.map_or(self.watcher.position(), |(position, ..)| position)
    }

    /// The ring's identity, to be kept beside positions saved elsewhere.
    pub fn ring_id(&self) -> RingId {
        self.attachment.header.ring_id
    }

    /// The next message, if it is there: a copy, with the number of messages missed before it
    /// ([`CopiedMessage::missed`]).
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`], [`RecvError::Closed`].
    pub fn try_recv(&mut self) -> Result<CopiedMessage<'_>, RecvError> {
        if self.look()? {
            return Ok(self.fetch());
        }
        self.attachment.not_lost()?;
        self.glance()?;
        Err(RecvError::Empty)
    }

    /// The next message; waits as long as it takes.
    ///
    /// # Errors
    ///
    /// As [`Consumer::recv`](crate::Consumer::recv).
    pub fn recv(&mut self) -> Result<CopiedMessage<'_>, RecvError> {
        let how = self.wait;
        wait_for(self, how, None)?;
        Ok(self.fetch())
    }

    /// As [`recv`](Self::recv), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// Besides those of `recv`, [`RecvError::TimedOut`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<CopiedMessage<'_>, RecvError> {
        let how = self.wait;
        wait_for(self, how, Some(timeout))?;
        Ok(self.fetch())
    }

    fn fetch(&mut self) -> CopiedMessage<'_> {
        let (position, len, kind) = self.pending.take().unwrap_or((self.watcher.position(), 0, 0));
        let missed = std::mem::take(&mut self.missed);
        CopiedMessage::new(&self.buffer[..len], position, kind, missed)
    }
}

impl Waiting for Observer {
    type Error = RecvError;

    fn look(&mut self) -> Result<bool, RecvError> {
        while self.pending.is_none() {
            match self.watcher.look(&mut self.buffer) {
                Seen::Message { position, meta } => {
                    // Of a file that was cut short meanwhile, the copy is zeros.
                    self.attachment.not_lost()?;
                    self.pending = Some((position, meta.len().min(self.buffer.len()), meta.kind()));
                }
                Seen::Empty => return Ok(false),
                Seen::Missed(n) => self.missed = self.missed.saturating_add(n),
            }
        }
        Ok(true)
    }

    fn glance(&mut self) -> Result<(), RecvError> {
        if self.watcher.is_drained() { Err(RecvError::Closed) } else { Ok(()) }
    }

    fn check_up(&mut self) -> Result<(), RecvError> {
        let notice = self.notice_dead_producer;
        self.attachment.check_up(notice).or_else(|error| if self.look()? { Ok(()) } else { Err(error) })
    }

    fn sleep(&mut self, at_most: Duration) -> Result<(), RecvError> {
        let ticket = Side::Readers.observe(&self.attachment.region);
        if !self.look()? {
            Side::Readers.sleep(&self.attachment.region, ticket, at_most.min(NAP));
        }
        Ok(())
    }

    fn timed_out(&mut self, waited: Duration) -> RecvError {
        RecvError::TimedOut(waited)
    }
}
