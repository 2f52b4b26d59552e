//! Why no message was received.

use crate::error::{AtPath, HandleError, counted};
use slipring_core::protocol::Damage;
use slipring_core::protocol::table::StartError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why no message was received.
///
/// ```
/// use slipring::{Consumer, Producer, RecvError, RingOptions, Start};
///
/// let ring = RingOptions::new(48, 16).create_in_memory()?;
/// let mut producer = Producer::<[u8]>::open(&ring)?;
/// let mut consumer = Consumer::<[u8]>::attach(&ring, Start::Earliest)?;
/// assert!(matches!(consumer.try_recv(), Err(RecvError::Empty)));
/// producer.close()?;
/// assert!(matches!(consumer.recv(), Err(RecvError::Closed)));
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// No message is there at the moment; for a worker: none that it may lease
    /// ([`Worker::limit_reached`](crate::Worker::limit_reached)).
    #[error("nothing to receive yet")]
    Empty,
    /// No message came within the given time; for a worker: none that it may lease
    /// ([`Worker::limit_reached`](crate::Worker::limit_reached)).
    #[error("nothing to receive for {0:.1?}")]
    TimedOut(Duration),
    /// The producer closed the stream, and everything it published was received.
    #[error("the stream is closed and drained")]
    Closed,
    /// No process holds the producer's right, the stream is not closed, and every message was
    /// received: the producer died, or left. A new producer may continue the stream; receiving
    /// again then works.
    #[error("{path}: the producer (process {pid}) is away and left nothing more to receive; start another producer", path = path.display())]
    #[non_exhaustive]
    ProducerAway {
        /// The path of the ring.
        path: PathBuf,
        /// The producer's process number in its own pid namespace.
        pid: u64,
    },
    /// The reader lagged behind: an observer was lapped, or an evictable consumer was evicted. It
    /// stands at the earliest message that is still in the ring; the next receive returns that
    /// message.
    #[error("lagged behind: {} missed", counted(*missed, "message"))]
    Lagged {
        /// How many messages this reader missed.
        missed: u64,
    },
    /// A consumer that [reads ahead](crate::ReadAhead) holds every block of the ring: no message
    /// can come before it releases one.
    #[error("a whole ring, {}, was read ahead and not released; release some with `release_to`", counted(*unreleased, "message"))]
    Unreleased {
        /// How many messages were read and not released.
        unreleased: u64,
    },
    /// A consumer that [reads ahead](crate::ReadAhead) was to read from a position that it has
    /// released, or that is not published yet.
    #[error(transparent)]
    Start(StartError),
    /// A reader that this one comes [after](crate::ConsumerOptions::after) is gone: it left, died,
    /// or was removed. Every message that it released was received.
    #[error(
        "{name:?}, which this reader comes after, is gone; it released the messages before position {at}, and they \
         were received; attach again, after its successor"
    )]
    #[non_exhaustive]
    UpstreamLost {
        /// The name of the reader that is gone; empty if it was gone already when this one, a
        /// durable consumer, came back.
        name: String,
        /// The position before which that reader released every message.
        at: u64,
    },
    /// The message at this position is not of the length that a value of this reader's type has: a
    /// producer that was opened with [`At::any_type`](crate::At::any_type) sent another type. The
    /// reader has left it behind; receiving goes on.
    #[error(
        "the message at position {position} has {found} bytes, a value of the type {expected}; it was skipped"
    )]
    WrongLength {
        /// The message's position.
        position: u64,
        /// Its length.
        found: u64,
        /// The length of a value.
        expected: u64,
    },
    /// The handle cannot use its ring any more: the file was removed, replaced or cut short, or
    /// this process is a forked child.
    #[error(transparent)]
    Handle(#[from] AtPath<HandleError>),
    /// A word of the ring has a value that slipring never writes.
    #[error("the ring is damaged: {0}; `slipring check` lists all damage")]
    Damaged(Damage),
}

impl From<Damage> for RecvError {
    #[inline]
    fn from(damage: Damage) -> RecvError {
        RecvError::Damaged(damage)
    }
}

impl RecvError {
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            RecvError::ProducerAway { path, .. } | RecvError::Handle(AtPath { path, .. }) => Some(path),
            RecvError::Empty
            | RecvError::TimedOut(_)
            | RecvError::Closed
            | RecvError::Lagged { .. }
            | RecvError::Unreleased { .. }
            | RecvError::Start(_)
            | RecvError::UpstreamLost { .. }
            | RecvError::WrongLength { .. }
            | RecvError::Damaged(_) => None,
        }
    }

    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match self {
            RecvError::Empty | RecvError::Unreleased { .. } => io::ErrorKind::WouldBlock,
            RecvError::Start(_) => io::ErrorKind::InvalidInput,
            RecvError::TimedOut(_) => io::ErrorKind::TimedOut,
            RecvError::Closed | RecvError::ProducerAway { .. } | RecvError::UpstreamLost { .. } => {
                io::ErrorKind::UnexpectedEof
            }
            RecvError::Lagged { .. } | RecvError::WrongLength { .. } | RecvError::Damaged(_) => {
                io::ErrorKind::InvalidData
            }
            RecvError::Handle(at) => at.error.io_kind(),
        }
    }
}
