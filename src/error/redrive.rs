//! Why dead letters were not redriven.

use crate::error::{RecvError, SendError};

/// Why dead letters were not redriven. Those that were, are gone from the dead-letter ring; the
/// others are still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedriveError {
    /// The ring did not take the message.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The dead-letter ring could not be read.
    #[error(transparent)]
    Receive(#[from] RecvError),
}
