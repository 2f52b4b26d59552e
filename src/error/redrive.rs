//! Why dead letters were not redriven.

use crate::error::{RecvError, SendError};

/// Why dead letters were not redriven. The letters that were redriven have left the dead-letter
/// ring; the other letters are still in it.
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
