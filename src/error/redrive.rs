//! Why dead letters were not redriven.

use crate::error::{RecvError, SendError};
use std::io;
use std::path::{Path, PathBuf};

/// Why dead letters were not redriven. The letters that were redriven have left the dead-letter
/// ring; the other letters are still in it.
///
/// ```
/// use slipring::{DeadLetters, GroupSettings, Producer, RedriveError, RingOptions, Worker};
/// use std::time::Duration;
///
/// let ring = RingOptions::of::<u64>(1).group("g", GroupSettings::new()).create_in_memory()?;
/// let mut producer = Producer::<u64>::open(&ring)?;
/// producer.send(&1)?;
/// Worker::<u64>::join(&ring, "g")?.recv()?.reject("")?;
/// producer.send(&2)?; // no worker takes it: the ring is full
/// let mut letters = DeadLetters::open(&ring)?;
/// letters.set_patience(Duration::ZERO);
/// let error = letters.redrive(&mut producer, u64::MAX).unwrap_err();
/// assert!(matches!(error, RedriveError::NoRoom { redriven: 0, .. }));
/// assert_eq!(ring.dead_letters()?.len(), 1); // the letter is still there
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedriveError {
    /// The ring did not take the message.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The ring stayed full for as long as the redrive waits. No letter was lost.
    #[error(
        "{error}; {redriven} redriven before; if its messages wait for room in the dead-letter ring, take \
         letters out of it, and keep them, until these messages have moved"
    )]
    NoRoom {
        /// Letters that were redriven before.
        redriven: u64,
        /// The reader that holds the ring full.
        error: SendError,
    },
    /// The group that gave the message up was removed, or made anew, since.
    #[error(
        "{path}: letter {letter} is of group {group:?}, which was removed since, or made anew; redrive it to all groups \
         (`set_to_all`), or purge it", path = path.display()
    )]
    #[non_exhaustive]
    NoSuchGroup {
        /// The path of the ring.
        path: PathBuf,
        /// The letter's position in the dead-letter ring.
        letter: u64,
        /// The group.
        group: String,
    },
    /// The dead-letter ring could not be read.
    #[error(transparent)]
    Receive(#[from] RecvError),
}

impl RedriveError {
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            RedriveError::Send(error) | RedriveError::NoRoom { error, .. } => error.path(),
            RedriveError::NoSuchGroup { path, .. } => Some(path),
            RedriveError::Receive(error) => error.path(),
        }
    }

    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match self {
            RedriveError::Send(error) | RedriveError::NoRoom { error, .. } => error.io_kind(),
            RedriveError::NoSuchGroup { .. } => io::ErrorKind::NotFound,
            RedriveError::Receive(error) => error.io_kind(),
        }
    }
}
