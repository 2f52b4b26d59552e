//! Why a journal does not begin, or does not go on.

use crate::format::HeadError;
use crate::history::HistoryError;
use crate::writer::CommitError;
use slipring::{RecvError, RingId};
use std::io;
use std::path::PathBuf;

/// Why a journal does not begin, or does not go on. Whatever the error, no message that was not on
/// the disk has been released: the ring still holds it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The ring cannot be used.
    #[error(transparent)]
    Ring(Box<slipring::Error>),
    /// The ring is not there any more, or damaged.
    #[error(transparent)]
    Receive(#[from] RecvError),
    /// The disk refused a commit.
    #[error(
        "{0}; nothing more is released, and the ring keeps what is not on the disk; start the journal again, with a directory \
         on another disk if need be (--to OTHER --begin-here)"
    )]
    Commit(CommitError),
    /// It was stopped while the disk was full.
    #[error("{0}; the journal was stopped before there was room: the ring keeps what is not on the disk")]
    StoppedWhileFull(CommitError),
    /// The filesystem keeps nothing, or is not here.
    #[error("{}: it lies on {filesystem}, {reason}", .directory.display())]
    Filesystem {
        /// The directory.
        directory: PathBuf,
        /// The name of the filesystem.
        filesystem: String,
        /// Why it will not do, and the way out.
        reason: &'static str,
    },
    /// Another journal writes there.
    #[error("{}: another journal writes here ({holder}); stop it first, or use another directory", .directory.display())]
    Locked {
        /// The ring's directory.
        directory: PathBuf,
        /// What it says of itself.
        holder: String,
    },
    /// The ring's journal was elsewhere.
    #[error(
        "{}: it holds nothing of ring {ring}, whose journal has come to position {tail} elsewhere; mount or name the right \
         directory, or begin the journal here at {tail} (--begin-here)",
        .directory.display()
    )]
    NotBegun {
        /// The directory.
        directory: PathBuf,
        /// The ring.
        ring: RingId,
        /// The journal's tail in the ring.
        tail: u64,
    },
    /// The disk has lost what it had confirmed.
    #[error(
        "{}: the journal ends at position {found}, and the disk had confirmed all below {confirmed}: {} messages were lost on \
         the disk; look at it first, then go on with a hole (--begin-here)",
        .directory.display(), confirmed - found
    )]
    DiskLost {
        /// The ring's directory.
        directory: PathBuf,
        /// Where the segments end.
        found: u64,
        /// The journal's tail in the ring.
        confirmed: u64,
    },
    /// The ring is older than its journal.
    #[error(
        "{}: the journal has come to position {found}, and the ring only to {head}: the ring is older than its journal, as after \
         a power cut, and would give positions out again; make the ring anew from the journal (slipring restore --journal), or \
         keep it and write elsewhere (--to OTHER --begin-here)",
        .directory.display()
    )]
    RingBehind {
        /// The ring's directory.
        directory: PathBuf,
        /// Where the segments end.
        found: u64,
        /// The ring's head.
        head: u64,
    },
    /// The ring has other messages at positions that the journal has.
    #[error(
        "{}: the message at position {position} in the ring is not the one in the journal: the ring was older than its journal, \
         as after a power cut, and has given positions out again; keep both: write this ring elsewhere (--to OTHER --begin-here)",
        .directory.display()
    )]
    Rewritten {
        /// The ring's directory.
        directory: PathBuf,
        /// The first position that differs.
        position: u64,
    },
    /// The ring has overwritten messages that the journal does not have.
    #[error(
        "{}: the journal ends at position {found}, and the ring begins at {first}: the durable consumer \"journal\" was removed \
         meanwhile; go on with a hole (--begin-here)",
        .directory.display()
    )]
    Missed {
        /// The ring's directory.
        directory: PathBuf,
        /// Where the segments end.
        found: u64,
        /// The first position that the ring has.
        first: u64,
    },
    /// The newest segment is damaged.
    #[error(
        "{}: damaged at byte {offset}, position {position}; it is left as it is: begin a new segment behind it (--begin-here), \
         and see `slipring journal check`",
        .path.display()
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// The offset of the damage.
        offset: u64,
        /// The first position that is lost.
        position: u64,
    },
    /// The newest segment cannot be used.
    #[error("{}: {error}", .path.display())]
    Head {
        /// The segment.
        path: PathBuf,
        /// What was found.
        error: HeadError,
    },
    /// What is there cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The filesystem refused.
    #[error("{}: cannot {doing}: {source}", .path.display())]
    Io {
        /// The operation.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
}

impl JournalError {
    pub(crate) fn ring(error: impl Into<slipring::Error>) -> JournalError {
        JournalError::Ring(Box::new(error.into()))
    }
}
