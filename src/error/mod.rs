//! The errors: a small enum for each operation, and [`Error`], the sum of all.
//!
//! One rule for all errors: the text has the path, the numbers and the way out. `source()` is none,
//! so that no reporter prints a cause twice; the cause is in the fields.

mod after;
mod at_path;
mod attach;
mod create;
mod entry;
mod handle;
mod join;
mod name;
mod open;
mod progress;
mod receive;
mod redrive;
mod send;
#[cfg(test)]
mod tests;

pub use after::AfterError;
pub use at_path::AtPath;
pub use attach::AttachError;
pub use create::CreateError;
pub use entry::EntryError;
pub use handle::HandleError;
pub use join::JoinError;
pub use name::NameError;
pub use open::{LockFileFault, OpenError};
pub use progress::ProgressError;
pub use receive::RecvError;
pub use redrive::RedriveError;
pub use send::{Holder, HolderRole, SendError};

use slipring_core::protocol::lease::LeaseLost;
use std::fmt;
use std::io;
use std::path::Path;

/// A number with its unit: "1 message", "2 messages".
pub(crate) fn counted(count: u64, unit: &str) -> String {
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// Every error of this library: each operation's own error converts into it.
///
/// A failure of the file itself is [`Error::Open`] for every operation: "no such ring" is the same
/// to a producer, a consumer and a worker.
///
/// Its `Debug` form is its text, so that a `main` that returns it prints the text; `{:#?}` prints
/// the fields.
///
/// ```
/// use slipring::{AtPath, Consumer, Error, OpenError, Start};
///
/// fn first_message() -> Result<usize, Error> {
///     let path = "/dev/shm/no-such-ring";
///     let mut consumer = Consumer::<[u8]>::attach(path, Start::Earliest)?; // an attach error
///     let message = consumer.recv()?; // a receive error
///     Ok(message.len())
/// }
///
/// let error = first_message().unwrap_err();
/// assert!(matches!(error, Error::Open(AtPath { error: OpenError::NotFound, .. })));
/// assert!(error.is_not_found());
/// assert_eq!(
///     format!("{error:?}"),
///     "/dev/shm/no-such-ring: no such ring; create it first, or check the path"
/// );
/// ```
#[derive(thiserror::Error)]
#[error(transparent)]
#[non_exhaustive]
pub enum Error {
    /// A ring was not created.
    Create(AtPath<CreateError>),
    /// The file at the path is not a ring that this process can use.
    Open(AtPath<OpenError>),
    /// A producer, a consumer or an observer did not get its place in a ring.
    Attach(AtPath<AttachError>),
    /// A worker did not join its group.
    Join(AtPath<JoinError>),
    /// A consumer or a group was not found, or not removed.
    Entry(AtPath<EntryError>),
    /// A message was not sent.
    Send(#[from] SendError),
    /// No message was received.
    Receive(#[from] RecvError),
    /// A reader has not passed a position.
    Progress(#[from] ProgressError),
    /// Dead letters were not redriven, since their ring stayed full.
    Redrive(RedriveError),
    /// A worker settled a message after its lease was over.
    LeaseLost(#[from] LeaseLost),
}

impl Error {
    /// The path of the ring, where the error has one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Error::Create(at) => Some(&at.path),
            Error::Open(at) => Some(&at.path),
            Error::Attach(at) => Some(&at.path),
            Error::Join(at) => Some(&at.path),
            Error::Entry(at) => Some(&at.path),
            Error::Send(error) => error.path(),
            Error::Receive(error) => error.path(),
            Error::Progress(error) => error.path(),
            Error::Redrive(error) => error.path(),
            Error::LeaseLost(_) => None,
        }
    }

    /// True if there is no file at the path.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Open(AtPath { error: OpenError::NotFound, .. }))
    }

    /// True if a ring was not created because a file is there already.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Error::Create(AtPath { error: CreateError::AlreadyExists, .. }))
    }

    fn io_kind(&self) -> io::ErrorKind {
        match self {
            Error::Create(at) => at.error.io_kind(),
            Error::Open(at) => at.error.io_kind(),
            Error::Attach(at) => at.error.io_kind(),
            Error::Join(at) => at.error.io_kind(),
            Error::Entry(at) => at.error.io_kind(),
            Error::Send(error) => error.io_kind(),
            Error::Receive(error) => error.io_kind(),
            Error::Progress(error) => error.io_kind(),
            Error::Redrive(error) => error.io_kind(),
            Error::LeaseLost(_) => io::ErrorKind::TimedOut,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return fmt::Display::fmt(self, f);
        }
        match self {
            Error::Create(error) => f.debug_tuple("Create").field(error).finish(),
            Error::Open(error) => f.debug_tuple("Open").field(error).finish(),
            Error::Attach(error) => f.debug_tuple("Attach").field(error).finish(),
            Error::Join(error) => f.debug_tuple("Join").field(error).finish(),
            Error::Entry(error) => f.debug_tuple("Entry").field(error).finish(),
            Error::Send(error) => f.debug_tuple("Send").field(error).finish(),
            Error::Receive(error) => f.debug_tuple("Receive").field(error).finish(),
            Error::Progress(error) => f.debug_tuple("Progress").field(error).finish(),
            Error::Redrive(error) => f.debug_tuple("Redrive").field(error).finish(),
            Error::LeaseLost(error) => f.debug_tuple("LeaseLost").field(error).finish(),
        }
    }
}

impl From<AtPath<OpenError>> for Error {
    fn from(error: AtPath<OpenError>) -> Error {
        Error::Open(error)
    }
}

/// A failure to open the ring becomes [`Error::Open`], any other error the operation's own variant;
/// and an operation that opens a ring takes the errors of opening as they are.
macro_rules! operations {
    ($($name:ident($error:ident),)*) => {$(
        impl From<AtPath<$error>> for Error {
            fn from(AtPath { path, error }: AtPath<$error>) -> Error {
                match error {
                    $error::Open(error) => Error::Open(AtPath { path, error }),
                    error => Error::$name(AtPath { path, error }),
                }
            }
        }
        impl From<AtPath<OpenError>> for AtPath<$error> {
            fn from(AtPath { path, error }: AtPath<OpenError>) -> AtPath<$error> {
                AtPath { path, error: $error::Open(error) }
            }
        }
    )*};
}
operations! {
    Create(CreateError),
    Attach(AttachError),
    Join(JoinError),
    Entry(EntryError),
}

impl From<RedriveError> for Error {
    fn from(error: RedriveError) -> Error {
        match error {
            RedriveError::Send(error) => Error::Send(error),
            RedriveError::Receive(error) => Error::Receive(error),
            error @ (RedriveError::NoRoom { .. } | RedriveError::NoSuchGroup { .. }) => Error::Redrive(error),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::new(error.io_kind(), error)
    }
}

impl<E> From<AtPath<E>> for io::Error
where
    Error: From<AtPath<E>>,
{
    fn from(error: AtPath<E>) -> io::Error {
        Error::from(error).into()
    }
}

impl From<SendError> for io::Error {
    fn from(error: SendError) -> io::Error {
        Error::from(error).into()
    }
}

impl From<RecvError> for io::Error {
    fn from(error: RecvError) -> io::Error {
        Error::from(error).into()
    }
}

impl From<ProgressError> for io::Error {
    fn from(error: ProgressError) -> io::Error {
        Error::from(error).into()
    }
}

impl From<RedriveError> for io::Error {
    fn from(error: RedriveError) -> io::Error {
        Error::from(error).into()
    }
}
