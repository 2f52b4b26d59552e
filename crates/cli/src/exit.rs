//! How a verb ends: with a text that names the way out, and an exit code for scripts.

use slipring::{
    AtPath, AttachError, CreateError, EntryError, Error, JoinError, OpenError, RecvError, RedriveError,
    SendError,
};
use std::io;
use std::process::ExitCode;

/// Shown by `--help`.
pub(crate) const CODES: &str = "\
Exit codes:
  0  done; also when the reader of the output went away
  1  an error, and what to do about it is on standard error
  2  the command line cannot be understood
  3  a lease was lost: another worker may do, or have done, the same message
  4  there was nothing, or not as many messages as asked for, in time
  5  the ring was full
  6  a disk refused, or has lost, what a journal wrote: the ring keeps what is not on it
  7  messages of a journal are missing or damaged

Ctrl-C, SIGTERM and SIGHUP end every verb in good order: what was received and written is released, what was leased \
is handed back, and no entry stays behind.";

/// Why a verb failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Any error without a code of its own.
    Error(String),
    /// A command line that cannot be understood.
    Usage(String),
    /// A worker did some work after its lease was over.
    LeaseLost(String),
    /// Nothing came, or not enough.
    Empty(String),
    /// The ring did not take it.
    Full(String),
    /// A disk failed a journal.
    Disk(String),
    /// Messages of a journal are not there.
    Missing(String),
    /// The reader of the output closed the pipe: not a failure.
    BrokenPipe,
}

pub(crate) type Outcome = Result<(), Failure>;

impl Failure {
    pub(crate) fn error(text: impl Into<String>) -> Failure {
        Failure::Error(text.into())
    }
    pub(crate) fn usage(text: impl Into<String>) -> Failure {
        Failure::Usage(text.into())
    }
    pub(crate) fn empty(text: impl Into<String>) -> Failure {
        Failure::Empty(text.into())
    }

    fn text_and_code(&self) -> (&str, u8) {
        match self {
            Failure::Error(text) => (text, 1),
            Failure::Usage(text) => (text, 2),
            Failure::LeaseLost(text) => (text, 3),
            Failure::Empty(text) => (text, 4),
            Failure::Full(text) => (text, 5),
            Failure::Disk(text) => (text, 6),
            Failure::Missing(text) => (text, 7),
            Failure::BrokenPipe => ("", 0),
        }
    }
}

/// Prints the error, and returns its exit code.
pub(crate) fn report(outcome: Outcome) -> ExitCode {
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    let (text, code) = failure.text_and_code();
    if !text.is_empty() {
        crate::output::note(&in_terms_of_the_command(text));
    }
    ExitCode::from(code)
}

/// The library names a call; here it is an option.
fn in_terms_of_the_command(text: &str) -> String {
    let call = text.split_once("`trust_owner(").and_then(|(before, rest)| {
        let (owner, after) = rest.split_once(")`")?;
        let user = crate::facts::user_name(owner.parse().ok()?);
        Some(format!("{before}--trust-owner {user}{after}"))
    });
    call.unwrap_or_else(|| text.to_owned())
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let text = error.to_string();
        match error {
            Error::Open(AtPath { path, error: OpenError::NotFound, .. }) => Failure::Error(format!(
                "{text}: slipring create {} --block-size 112 --capacity 1024",
                path.display()
            )),
            error if is_usage(&error) => Failure::Usage(text),
            _ => Failure::Error(text),
        }
    }
}

/// True if a number, a name or a setting of the command line is the cause.
fn is_usage(error: &Error) -> bool {
    match error {
        Error::Create(at) => {
            matches!(at.error, CreateError::Geometry(_) | CreateError::Name(_) | CreateError::Settings { .. })
        }
        Error::Attach(at) => matches!(at.error, AttachError::Name(_)),
        Error::Entry(at) => matches!(at.error, EntryError::Settings { .. }),
        Error::Join(at) => matches!(at.error, JoinError::Name(_) | JoinError::Settings { .. }),
        _ => false,
    }
}

impl<E> From<AtPath<E>> for Failure
where
    Error: From<AtPath<E>>,
{
    fn from(error: AtPath<E>) -> Failure {
        Error::from(error).into()
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Failure {
        match error {
            SendError::Full { .. } => Failure::Full(error.to_string()),
            _ => Failure::Error(error.to_string()),
        }
    }
}

impl From<RecvError> for Failure {
    fn from(error: RecvError) -> Failure {
        match error {
            RecvError::Empty | RecvError::TimedOut(_) => Failure::Empty(error.to_string()),
            _ => Failure::Error(error.to_string()),
        }
    }
}

impl From<RedriveError> for Failure {
    fn from(error: RedriveError) -> Failure {
        match error {
            RedriveError::Send(error) => error.into(),
            RedriveError::Receive(error) => error.into(),
            error => Failure::Error(error.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
            io::ErrorKind::StorageFull => Failure::Error(format!(
                "the output cannot be written: {error}; make room, or write elsewhere"
            )),
            _ => Failure::Error(error.to_string()),
        }
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Failure {
        io::Error::from(error).into()
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        io::Error::from(error).into()
    }
}
