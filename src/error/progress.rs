//! Why a reader has not passed a position.

use crate::error::{AtPath, HandleError};
use crate::id::RingId;
use slipring_core::protocol::Damage;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Why a wait until a reader has passed a position ended without that
/// ([`Progress::wait`](crate::Progress::wait)).
///
/// ```
/// use slipring::{ProgressError, RingOptions};
/// use std::time::Duration;
///
/// let ring = RingOptions::new(48, 64).durable("journal").create_in_memory()?;
/// match ring.progress("journal")?.wait(0, Duration::from_millis(1)) {
///     Ok(()) => println!("it is on the disk"),
///     Err(ProgressError::TimedOut { .. }) => println!("not yet"), // ask again
///     Err(error) => return Err(error.into()),                     // it will never be
/// }
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgressError {
    /// Not within the given time. It may still come.
    #[error(
        "{name:?} has not passed position {position} for {waited:.1?}: it is at {passed}{}; wait on{}",
        if *attended { "" } else { ", and no process is attached as it" },
        if *attended { "" } else { ", and start it" }
    )]
    #[non_exhaustive]
    TimedOut {
        /// The reader's name.
        name: String,
        /// The position asked for.
        position: u64,
        /// The reader has passed every position below.
        passed: u64,
        /// True if a process is attached as this consumer, or as a worker of this group.
        attended: bool,
        /// How long the call waited.
        waited: Duration,
    },
    /// The reader is gone, and has not passed the position: it left, died, or was removed.
    #[error(
        "{name:?} is gone and did not pass position {position}: it passed those before {at}; ask for its successor's \
         progress"
    )]
    #[non_exhaustive]
    Lost {
        /// The reader's name.
        name: String,
        /// The position asked for.
        position: u64,
        /// The reader has passed every position below.
        at: u64,
    },
    /// The stream is closed, and ends before the position.
    #[error("the stream is closed and ends before position {head}: there is no message {position}")]
    #[non_exhaustive]
    Closed {
        /// The position asked for.
        position: u64,
        /// The position at which the stream ends.
        head: u64,
    },
    /// The ring never had this position: it begins at a later one, and the message was another
    /// ring's.
    #[error("position {position} lies before the ring's first, {first}; ask the ring that had it")]
    #[non_exhaustive]
    BeforeFirst {
        /// The position asked for.
        position: u64,
        /// The ring's first position.
        first: u64,
    },
    /// The message is of another ring.
    #[error("the message is of the ring {asked}, and this is {ring}; ask that ring, or its journal")]
    #[non_exhaustive]
    OtherRing {
        /// The ring of the message that was asked for.
        asked: RingId,
        /// The ring that was asked.
        ring: RingId,
    },
    /// The handle cannot use its ring any more.
    #[error(transparent)]
    Handle(#[from] AtPath<HandleError>),
    /// A word of the ring has a value that slipring never writes.
    #[error("the ring is damaged: {0}; `slipring check` lists all damage")]
    Damaged(Damage),
}

impl From<Damage> for ProgressError {
    fn from(damage: Damage) -> ProgressError {
        ProgressError::Damaged(damage)
    }
}

impl ProgressError {
    pub(crate) fn path(&self) -> Option<&Path> {
        if let ProgressError::Handle(at) = self { Some(&at.path) } else { None }
    }

    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match self {
            ProgressError::TimedOut { .. } => io::ErrorKind::TimedOut,
            ProgressError::Lost { .. } | ProgressError::Closed { .. } => io::ErrorKind::UnexpectedEof,
            ProgressError::BeforeFirst { .. } | ProgressError::OtherRing { .. } => {
                io::ErrorKind::InvalidInput
            }
            ProgressError::Handle(at) => at.error.io_kind(),
            ProgressError::Damaged(_) => io::ErrorKind::InvalidData,
        }
    }
}
