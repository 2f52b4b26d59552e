//! The observer's handle: reads a file it may not write, gates nothing, and counts the messages it
//! missed.

use crate::copying::{Buffer, CopiedMessage, Copying, Next, Source};
use crate::error::{AtPath, AttachError, OpenError, RecvError};
use crate::id::RingId;
use crate::message::Message;
use crate::region::{Access, Region};
use crate::ring::attach::Attachment;
use crate::ring::place::Place;
use crate::wait::{NAP, Wait};
use slipring_core::format::{POSITION_MAX, to_usize};
use slipring_core::protocol;
use slipring_core::protocol::Damage;
use slipring_core::protocol::observe::Seen;
use slipring_core::protocol::table::{Start, StartError};
use std::marker::PhantomData;
use std::time::Duration;

/// How an observer attaches.
///
/// ```
/// use slipring::{Observer, ObserverOptions, RingOptions, Start, Wait};
///
/// let ring = RingOptions::new(48, 1024).create_in_memory()?;
/// let options = ObserverOptions::new().start(Start::Latest).wait(Wait::Spin);
/// let observer: Observer = options.attach(&ring)?; // of bytes
/// assert_eq!(observer.position(), 0);
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ObserverOptions {
    start: Start,
    wait: Wait,
    notice_producer_away: bool,
}

impl ObserverOptions {
    /// The defaults: from [`Start::Earliest`], [`Wait::Park`].
    pub fn new() -> ObserverOptions {
        ObserverOptions::default()
    }

    /// Where to begin; default [`Start::Earliest`], which is the oldest message that is not being
    /// overwritten at that moment.
    #[must_use]
    pub fn start(mut self, start: Start) -> ObserverOptions {
        self.start = start;
        self
    }

    /// How the waiting calls wait. An observer cannot announce that it sleeps, since it cannot
    /// write: under [`Wait::Park`] it sleeps a millisecond at most.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> ObserverOptions {
        self.wait = wait;
        self
    }

    /// As [`ConsumerOptions::notice_producer_away`](crate::ConsumerOptions::notice_producer_away).
    #[must_use]
    pub fn notice_producer_away(mut self, notice: bool) -> ObserverOptions {
        self.notice_producer_away = notice;
        self
    }

    /// Attaches. Needs read permission only.
    ///
    /// # Errors
    ///
    /// [`AttachError::Start`] if the position of [`Start::At`] was overwritten or is not published
    /// yet; [`AttachError::Open`] as [`Ring::open`](crate::Ring::open).
    pub fn attach<T: ?Sized + Message>(&self, place: impl Place) -> Result<Observer<T>, AtPath<AttachError>> {
        let attachment = Attachment::open(place.at().carrying::<T>(), Access::Nothing)?;
        attachment.check_start(self.start).map_err(|error| attachment.at_path(AttachError::from(error)))?;
        let geometry = *attachment.geometry();
        let (earliest, head) = protocol::Observer::window(&attachment.region, &geometry);
        // `head` and `earliest` grow by one per message, so that no later sum wraps.
        Damage::bound("head", head, 0, POSITION_MAX)
            .and_then(|_| Damage::bound("claimed - capacity", earliest, 0, POSITION_MAX))
            .map_err(|damage| attachment.at_path(OpenError::Damaged(damage)))?;
        let position =
            self.choose(earliest, head).map_err(|error| attachment.at_path(AttachError::from(error)))?;
        let source = Watching {
            protocol: protocol::Observer::new(attachment.region.clone(), geometry, position),
            notice_producer_away: self.notice_producer_away,
            attachment,
        };
        let latest = Buffer::new(0);
        Ok(Observer { copying: Copying::new(source, self.wait), latest, carries: PhantomData })
    }

    fn choose(&self, earliest: u64, head: u64) -> Result<u64, StartError> {
        match self.start {
            Start::Earliest => Ok(earliest),
            Start::Latest => Ok(head),
            Start::At(requested) if requested < earliest => {
                Err(StartError::BeforeEarliest { requested, earliest })
            }
            Start::At(requested) if requested > head => Err(StartError::Ahead { requested, head }),
            Start::At(requested) => Ok(requested),
            Start::Last(n) => Ok(Start::last(n, earliest, head)),
        }
    }
}

/// A reader on a read-only mapping, which gates nothing and needs read permission only. The
/// producer does not know of it, may lap it, and the observer is then told exactly how many
/// messages it missed.
///
/// ```
/// use slipring::{Observer, Producer, RecvError, RingOptions, Start};
///
/// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
/// let mut producer = Producer::<u64>::open(&ring)?;
/// let mut observer = Observer::<u64>::attach(&ring, Start::Earliest)?;
/// for n in 0..200 {
///     producer.send(&n)?; // does not wait for the observer
/// }
/// let Err(RecvError::Lagged { missed }) = observer.recv() else { panic!("it was lapped") };
/// assert_eq!(*observer.recv()?, missed);
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
pub struct Observer<T: ?Sized + Message = [u8]> {
    copying: Copying<Watching>,
    /// For `latest`: as long as a block from its first call on.
    latest: Buffer,
    carries: PhantomData<fn() -> Box<T>>,
}

impl<T: ?Sized + Message> Observer<T> {
    /// Observes the ring at `place`; [`ObserverOptions`] has the other ways.
    ///
    /// # Errors
    ///
    /// As [`ObserverOptions::attach`].
    pub fn attach(place: impl Place, start: Start) -> Result<Observer<T>, AtPath<AttachError>> {
        ObserverOptions::new().start(start).attach(place)
    }

    /// The next position to read.
    pub fn position(&self) -> u64 {
        self.copying.position()
    }

    /// The ring's identity, to be kept beside positions saved elsewhere.
    pub fn ring_id(&self) -> RingId {
        self.copying.ring_id()
    }

    /// A copy of the next message, if it is there.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`]; [`RecvError::Closed`]; [`RecvError::Lagged`], and
    /// [`RecvError::WrongLength`] for a message that is no `T`: the next receive goes on behind
    /// what was missed. A call that finds nothing looks at the path if none did so for 100 ms, and
    /// returns then what [`recv`](Self::recv) returns.
    pub fn try_recv(&mut self) -> Result<CopiedMessage<'_, T>, RecvError> {
        self.copying.try_recv()
    }

    /// A copy of the next message; waits as long as it takes.
    ///
    /// ```
    /// use slipring::{Observer, Producer, RingOptions, Start};
    ///
    /// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
    /// let mut observer = Observer::<u64>::attach(&ring, Start::Earliest)?;
    /// Producer::<u64>::open(&ring)?.send(&7)?;
    /// assert_eq!(*observer.recv()?, 7);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Consumer::recv`](crate::Consumer::recv), and [`RecvError::Lagged`].
    pub fn recv(&mut self) -> Result<CopiedMessage<'_, T>, RecvError> {
        self.copying.recv(None)
    }

    /// As [`recv`](Self::recv), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// Besides those of `recv`, [`RecvError::TimedOut`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<CopiedMessage<'_, T>, RecvError> {
        self.copying.recv(Some(timeout))
    }

    /// A copy of the newest message, whatever this observer has read: for a reader that wants the
    /// present state and not its history. The observer's position stays, and so do the messages
    /// that it has not read yet. A closed ring has a newest message, too.
    ///
    /// None if no message was published yet, or if the producer is overwriting all that were: while
    /// it fills a batch as long as the ring, and in a ring of fewer than four blocks at any moment.
    ///
    /// Never waits: one call copies one message, and copies another only if the producer claimed a
    /// whole ring of messages meanwhile. Makes no system call, but for a look at the path if there
    /// was none for 100 ms.
    ///
    /// ```
    /// use slipring::{Observer, Producer, RingOptions, Start};
    ///
    /// let ring = RingOptions::of::<f64>(64).create_in_memory()?;
    /// let mut producer = Producer::<f64>::open(&ring)?;
    /// let mut observer = Observer::<f64>::attach(&ring, Start::Latest)?;
    /// assert!(observer.latest()?.is_none());
    /// for n in 0..1000 {
    ///     producer.send(&f64::from(n))?;
    /// }
    /// if let Some(pose) = observer.latest()? {
    ///     assert_eq!((*pose, pose.position()), (999.0, 999));
    /// }
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RecvError::WrongLength`] as long as the newest message is no `T`; [`RecvError::Handle`] if
    /// the file was removed, replaced or cut short, or the process forked;
    /// [`RecvError::ProducerAway`] if the options
    /// [ask for it](ObserverOptions::notice_producer_away); [`RecvError::Damaged`].
    pub fn latest(&mut self) -> Result<Option<CopiedMessage<'_, T>>, RecvError> {
        let source = &self.copying.source;
        if self.latest.bytes().is_empty() {
            self.latest = Buffer::new(to_usize(source.attachment.geometry().block_size()));
        }
        let found = source.protocol.latest(self.latest.bytes_mut());
        // All that was read is zeros if the file was cut short meanwhile.
        source.attachment.not_lost()?;
        let found = found?;
        // The newest message of a ring that was replaced is not the newest any more.
        source.check_up_at_times()?;
        let Some((position, meta)) = found else { return Ok(None) };
        CopiedMessage::new(self.latest.bytes(), position, meta.len(), meta.kind()).map(Some)
    }
}

/// A read-only mapping, and the reader of it.
#[derive(Debug)]
struct Watching {
    protocol: protocol::Observer<Region>,
    notice_producer_away: bool,
    attachment: Attachment,
}

impl Source for Watching {
    const ANNOUNCES: bool = false;

    fn next(&mut self, buffer: &mut [u8]) -> Result<Next, RecvError> {
        Ok(match self.protocol.look(buffer) {
            Seen::Message { position, meta } => Next::Message { position, meta },
            Seen::Empty => Next::Empty,
            Seen::Missed(n) => Next::Missed(n),
        })
    }

    fn position(&self) -> u64 {
        self.protocol.position()
    }

    fn end(&self) -> Option<RecvError> {
        self.protocol.is_drained().then_some(RecvError::Closed)
    }

    fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    fn check_up(&self) -> Result<(), RecvError> {
        self.attachment.check_up(self.notice_producer_away)
    }

    fn check_up_at_times(&self) -> Result<(), RecvError> {
        self.attachment.check_up_at_times(self.notice_producer_away).map(drop)
    }

    fn longest_sleep(&self) -> Duration {
        NAP
    }
}
