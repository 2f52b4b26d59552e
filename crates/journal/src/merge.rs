//! History that becomes live: from the segments over into the ring, without a gap or a double.
//!
//! A message that the ring no longer has was released by the journal, so it is on the disk. Hence:
//! attach at the next position; where the ring does not have it any more, read on from the
//! segments, and attach again. Nothing else is needed: no mark, no threshold, no second stream.

use crate::history::{History, HistoryError};
use slipring::{
    At, AtPath, AttachError, Consumer, Place, Received, RecvError, Ring, RingId, Start, StartError,
};
use std::ops::{Deref, Range};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The segments.
    History,
    /// The ring.
    Live,
}

/// Why a reader that goes from history over to live cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The history cannot go on; [`Merged::skip_gap`] accepts what is missing.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The ring cannot be used.
    #[error(transparent)]
    Ring(Box<slipring::Error>),
    /// No message came in time, the stream is closed, or the ring is not there any more.
    #[error(transparent)]
    Receive(#[from] RecvError),
    /// The ring is not the one that the journal is of.
    #[error("{}: it is ring {found}, and the journal is of ring {journal}: positions of the one mean nothing in the other", .path.display())]
    OtherRing {
        /// The path of the ring.
        path: PathBuf,
        /// The id of the ring there.
        found: RingId,
        /// The id of the ring that the journal is of.
        journal: RingId,
    },
    /// The journal ends before the ring begins: no journal holds the ring's messages.
    #[error(
        "the journal ends at position {end}, and the ring begins at {earliest}: what is between them is lost; was the durable \
         consumer \"journal\" removed from the ring?"
    )]
    Apart {
        /// Where the journal ends.
        end: u64,
        /// Where the ring begins.
        earliest: u64,
    },
}

/// A message, and where it came from.
#[derive(Debug)]
pub struct MergedMessage<'a> {
    /// Where it came from.
    pub origin: Origin,
    /// Its position in the ring.
    pub position: u64,
    /// The kind that the producer gave it.
    pub kind: u32,
    /// The time of its commit; none of a live message, which may not be committed yet.
    pub committed: Option<SystemTime>,
    bytes: Bytes<'a>,
}

#[derive(Debug)]
enum Bytes<'a> {
    History(&'a [u8]),
    Live(Received<'a>),
}

impl MergedMessage<'_> {
    /// Drops the message without releasing it, if it is live: the next call returns it again. One
    /// from the history is not returned again.
    pub fn keep(self) {
        if let Bytes::Live(message) = self.bytes {
            message.keep();
        }
    }
}

impl Deref for MergedMessage<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::History(bytes) => bytes,
            Bytes::Live(message) => message,
        }
    }
}

/// Looks at the ring that find it has overtaken the reader, before the reader holds the ring.
const CHASES: u32 = 8;

/// A reader that begins in the segments and goes over into the ring ([`History::then_live`]).
#[derive(Debug)]
pub struct Merged {
    history: History,
    place: At,
    reader: Reader,
    /// The last error was that the journal ends before the ring begins.
    is_apart: bool,
}

#[derive(Debug)]
enum Reader {
    /// Reads the segments; so many times the ring had overtaken it.
    Chasing(u32),
    /// Reads the segments up to where this consumer, which holds the ring, begins.
    Holding(Consumer),
    Live(Consumer),
}

impl History {
    /// From here on: the rest of the history, then the live ring. Each message comes once, in
    /// order, also while the producer runs at full speed and retention retires segments.
    ///
    /// A producer that is faster than the reader overtakes it again and again. After some rounds
    /// the reader attaches to the ring at its earliest message, and then reads the segments up to
    /// that one: it holds the producer up for as long as it takes to read as much as the ring
    /// holds.
    ///
    /// ```no_run
    /// use slipring_journal::{History, Origin};
    ///
    /// let mut orders = History::open("/var/lib/orders")?.then_live("/dev/shm/orders")?;
    /// loop {
    ///     let order = orders.next()?;
    ///     if order.origin == Origin::Live {
    ///         println!("{}: {} bytes", order.position, order.len());
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`MergeError::OtherRing`], and those of opening the ring.
    pub fn then_live(self, place: impl Place) -> Result<Merged, MergeError> {
        let at = place.at().any_type();
        let ring = Ring::open(&at).map_err(ring_error)?;
        if ring.id() != self.ring() {
            let path = ring.path().to_path_buf();
            return Err(MergeError::OtherRing { path, found: ring.id(), journal: self.ring() });
        }
        let (place, reader) = (At::ring(&ring).any_type(), Reader::Chasing(0));
        let mut merged = Merged { place, history: self, reader, is_apart: false };
        // The ring may have all of it.
        merged.try_live()?;
        Ok(merged)
    }
}

impl Merged {
    /// The position of the next message.
    pub fn position(&self) -> u64 {
        match &self.reader {
            Reader::Live(consumer) => consumer.position(),
            _ => self.history.position(),
        }
    }

    /// Where the next message comes from.
    pub fn origin(&self) -> Origin {
        if matches!(self.reader, Reader::Live(_)) { Origin::Live } else { Origin::History }
    }

    /// The next message; waits for it without a limit.
    ///
    /// # Errors
    ///
    /// [`MergeError`]; [`RecvError::Closed`] when the stream is closed and all of it was received.
    #[expect(clippy::should_implement_trait, reason = "it lends the message")]
    pub fn next(&mut self) -> Result<MergedMessage<'_>, MergeError> {
        self.within(None)
    }

    /// The next message; waits at most so long for a live one.
    ///
    /// # Errors
    ///
    /// Besides those of [`next`](Self::next), [`RecvError::TimedOut`].
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<MergedMessage<'_>, MergeError> {
        self.within(Some(timeout))
    }

    /// Accepts the gap of the last error, and goes on behind it.
    pub fn skip_gap(&mut self) {
        self.history.skip_gap();
        if std::mem::take(&mut self.is_apart) {
            self.go_live();
        }
    }

    /// The consumer that holds the ring is the reader now.
    fn go_live(&mut self) {
        self.reader = match std::mem::replace(&mut self.reader, Reader::Chasing(0)) {
            Reader::Holding(consumer) => Reader::Live(consumer),
            other => other,
        };
    }

    fn within(&mut self, timeout: Option<Duration>) -> Result<MergedMessage<'_>, MergeError> {
        if let Some((position, kind, range)) = self.read_history()? {
            let message = self.history.message(position, kind, range);
            return Ok(MergedMessage {
                origin: Origin::History,
                position,
                kind,
                committed: Some(message.committed),
                bytes: Bytes::History(message.bytes),
            });
        }
        let Reader::Live(consumer) = &mut self.reader else { return Err(RecvError::Empty.into()) };
        let message = match timeout {
            Some(timeout) => consumer.recv_timeout(timeout)?,
            None => consumer.recv()?,
        };
        Ok(MergedMessage {
            origin: Origin::Live,
            position: message.position(),
            kind: message.kind(),
            committed: None,
            bytes: Bytes::Live(message),
        })
    }

    /// The next message of the history; none once the reader is live.
    fn read_history(&mut self) -> Result<Option<(u64, u32, Range<usize>)>, MergeError> {
        loop {
            let until = match &self.reader {
                Reader::Live(_) => return Ok(None),
                Reader::Holding(consumer) => consumer.position(),
                Reader::Chasing(_) => u64::MAX,
            };
            if self.history.position() >= until {
                self.go_live();
                continue;
            }
            if let Some(found) = self.history.advance()? {
                return Ok(Some(found));
            }
            match self.reader {
                // What is below the ring's earliest message was released, so it was on the disk.
                Reader::Holding(_) => {
                    self.is_apart = true;
                    return Err(MergeError::Apart { end: self.history.position(), earliest: until });
                }
                _ => self.try_live()?,
            }
        }
    }

    /// Attaches to the ring, if it has the next message; else, if that was so too often, attaches
    /// to hold it.
    fn try_live(&mut self) -> Result<(), MergeError> {
        let Reader::Chasing(chases) = self.reader else { return Ok(()) };
        let next = self.history.position();
        self.reader = match Consumer::attach(&self.place, Start::At(next)) {
            Ok(consumer) => Reader::Live(consumer),
            Err(AtPath { error: AttachError::Start(StartError::BeforeEarliest { .. }), .. })
                if chases < CHASES =>
            {
                Reader::Chasing(chases + 1)
            }
            Err(AtPath { error: AttachError::Start(StartError::BeforeEarliest { .. }), .. }) => {
                Reader::Holding(Consumer::attach(&self.place, Start::Earliest).map_err(ring_error)?)
            }
            Err(error) => return Err(ring_error(error)),
        };
        Ok(())
    }
}

fn ring_error(error: impl Into<slipring::Error>) -> MergeError {
    MergeError::Ring(Box::new(error.into()))
}
