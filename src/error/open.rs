//! The errors on the way from a path to a validated ring.

use crate::id::RingId;
use crate::system::{Refusal, way_out};
use slipring_core::format::{FORMAT_VERSION, GeometryError};
use slipring_core::protocol::Damage;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why this process cannot use the ring at a path: the file is missing, no ring, damaged, of
/// another version, type or owner, or lies where it cannot be shared.
///
/// The error of every operation that opens a ring has these as its variant `Open`.
///
/// ```
/// use slipring::{OpenError, Ring};
///
/// let error = Ring::open("/dev/null").unwrap_err();
/// assert!(matches!(error.error, OpenError::NotAFile { kind: "device", .. }));
/// let text = "/dev/null: is a device, not a regular file; name the ring itself";
/// assert_eq!(error.to_string(), text);
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such file.
    #[error("no such ring; create it first, or check the path")]
    NotFound,
    /// The path ends in a symbolic link. Links are not followed: their target can change.
    #[error("is a symbolic link, and links are not followed; name the ring itself")]
    Symlink,
    /// A directory, FIFO, socket or device.
    #[error("is a {kind}, not a regular file; name the ring itself")]
    #[non_exhaustive]
    NotAFile {
        /// The kind of file.
        kind: &'static str,
    },
    /// A regular file, but its first bytes are not a ring's.
    #[error("is not a ring ({len} bytes, begins with \"{begins}\"); it was left alone", begins = begins.escape_ascii())]
    #[non_exhaustive]
    NotARing {
        /// Length of the file in bytes.
        len: u64,
        /// Its first bytes.
        begins: Vec<u8>,
    },
    /// The header has no checksum yet: the creating process died before it finished the ring.
    #[error("its creation was never finished; remove the file and create the ring again")]
    Incomplete,
    /// Written on a machine of the other byte order.
    #[error("was written by a machine of the other byte order; create it on this one")]
    WrongByteOrder,
    /// Written by an older or a newer version of this library.
    #[error(
        "has {age} format version {found}, this program reads version {FORMAT_VERSION}; \
         use a matching version of slipring, or drain the ring with the old one and create it anew",
        age = if *found < FORMAT_VERSION { "the older" } else { "the newer" }
    )]
    #[non_exhaustive]
    Version {
        /// The version found.
        found: u32,
    },
    /// Uses features that this version does not know.
    #[error("uses features {bits:#x} that this version of slipring does not know; upgrade it")]
    #[non_exhaustive]
    Features {
        /// The unknown feature bits.
        bits: u64,
    },
    /// The header does not match its checksum.
    #[error(
        "the header is damaged (checksum {computed:#018x}, stored {stored:#018x}); \
         restore the file from a copy, or remove it and create the ring again"
    )]
    #[non_exhaustive]
    Checksum {
        /// The checksum in the header.
        stored: u64,
        /// The checksum of the header.
        computed: u64,
    },
    /// The header says something of the layout that cannot be, although its checksum is right.
    #[error("{field} is {found} where the geometry demands {expected}; the file was not written by slipring")]
    #[non_exhaustive]
    Layout {
        /// The field of the header.
        field: &'static str,
        /// Its value.
        found: u64,
        /// The only value that is right.
        expected: u64,
    },
    /// A number of the header is out of range, although its checksum is right.
    #[error("{0}; the file was not written by slipring")]
    Geometry(GeometryError),
    /// The file is shorter or longer than its header says.
    #[error(
        "has {found} bytes, its header says {expected}; it was cut or overwritten: restore it, or create it again"
    )]
    #[non_exhaustive]
    Length {
        /// Bytes in the file.
        found: u64,
        /// Bytes the header speaks of.
        expected: u64,
    },
    /// This user may not read or write the file, its directory or its filesystem.
    #[error("no permission to {action}; {advice}")]
    #[non_exhaustive]
    Permission {
        /// The action that was refused.
        action: &'static str,
        /// The way out.
        advice: &'static str,
    },
    /// The file belongs to another user, which could change it under this process.
    #[error("{}", foreign_owner(*owner, *user))]
    #[non_exhaustive]
    ForeignOwner {
        /// The user that the file belongs to.
        owner: u32,
        /// The user that this process acts as.
        user: u32,
    },
    /// Processes may read the file that may not write it, and the ring was not created for that:
    /// its locks are on the file itself, and such a process could hold them.
    #[error(
        "lets processes read it that may not write it (mode {mode:o}), and could hold its locks; take that \
         permission away (chmod go-r, setfacl -b), or create the ring with such a mode: its locks are then in a file beside it"
    )]
    #[non_exhaustive]
    OpenToReaders {
        /// Permission bits of the file.
        mode: u32,
    },
    /// The file beside the ring that holds its locks is missing, or is not the one with which the
    /// ring was created.
    #[error("its lock file {path} {fault}", path = path.display())]
    #[non_exhaustive]
    LockFile {
        /// The path of the lock file.
        path: PathBuf,
        /// Its fault.
        fault: LockFileFault,
    },
    /// A shared mapping is not shared across a network.
    #[error(
        "lies on {filesystem}, where neither mappings nor locks are shared; use a local path such as /dev/shm"
    )]
    #[non_exhaustive]
    RemoteFilesystem {
        /// The kind of filesystem.
        filesystem: &'static str,
    },
    /// The ring carries messages of another type.
    #[error(
        "carries {ring}, this program expects {expected}; attach with the matching type, to the right ring, \
         or at a place that accepts `any_type`"
    )]
    #[non_exhaustive]
    TypeMismatch {
        /// The type of the ring's messages.
        ring: String,
        /// The type that was asked for.
        expected: String,
    },
    /// The ring at this path is not the one that [`At::only_ring`](crate::At::only_ring) names.
    #[error(
        "is ring {found}, the saved position speaks of {expected}; it was made anew since: begin at Earliest"
    )]
    #[non_exhaustive]
    WrongRing {
        /// The ring that is there.
        found: RingId,
        /// The ring that was expected.
        expected: RingId,
    },
    /// The file at the path of a ring's dead-letter ring holds the dead letters of another ring, or
    /// none.
    #[error("does not hold the dead letters of ring {ring}{whose}; move it away, and slipring creates a new one when it is needed", whose = of.map_or(String::new(), |of| format!(", but the dead letters of ring {of}")))]
    #[non_exhaustive]
    NotItsDeadLetters {
        /// The ring.
        ring: RingId,
        /// The ring whose dead letters the file holds; none if it is no dead-letter ring.
        of: Option<RingId>,
    },
    /// There is no file at the path of a ring's dead-letter ring: it was removed, or moved away.
    #[error(
        "there is no dead-letter ring: the next worker that gives a message up makes it; one that was moved away can be \
         moved back before"
    )]
    NoDeadLetterRing,
    /// A control word in the file has a value that slipring never writes.
    #[error(
        "{0}; the file is damaged: `slipring check` lists all damage; restore the file, or create the ring again"
    )]
    Damaged(Damage),
    /// Another process has held the table lock for longer than an edit takes: it is stopped, or
    /// being debugged.
    #[error(
        "another process has been editing the consumer table for {waited:.1?}; find the stopped process (lslocks) and continue or kill it"
    )]
    #[non_exhaustive]
    TableBusy {
        /// How long this process waited.
        waited: Duration,
    },
    /// The operating system refused something else.
    #[error("cannot {action}: {error}{}", way_out(error))]
    #[non_exhaustive]
    Io {
        /// The action that failed.
        action: &'static str,
        /// The error of the operating system.
        error: io::Error,
    },
}

// The lock file's.

/// A fault of the file beside a ring that holds its locks. A ring has one if more users may read it
/// than write it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockFileFault {
    /// There is no such file: the ring was renamed, copied or linked without it, or the file was
    /// removed.
    #[error(
        "is missing; a ring moves together with it: bring it back, or `slipring dump` the ring and create it again"
    )]
    Missing,
    /// A directory, FIFO, socket, device or symbolic link.
    #[error("is a {kind}; remove it, and bring the ring's own lock file back")]
    #[non_exhaustive]
    NotAFile {
        /// The kind of file.
        kind: &'static str,
    },
    /// A regular file of another content.
    #[error("is not a lock file; move it away, and bring the ring's own lock file back")]
    NotALockFile,
    /// The lock file of another ring.
    #[error("belongs to ring {found}; bring the ring's own lock file back")]
    #[non_exhaustive]
    OtherRing {
        /// The ring that it belongs to.
        found: RingId,
    },
    /// A copy of the ring's lock file: other processes may use the original.
    #[error(
        "is a copy of the ring's own, which other processes may use; bring that back, or `slipring dump` the ring \
         and create it again"
    )]
    Copied,
    /// It does not belong to the owner of the ring.
    #[error("belongs to user {owner}, the ring to user {ring}; give both to one user")]
    #[non_exhaustive]
    ForeignOwner {
        /// The user that the lock file belongs to.
        owner: u32,
        /// The user that the ring belongs to.
        ring: u32,
    },
    /// Processes may open it that may not write the ring, and could hold the locks.
    #[error(
        "lets processes open it that may not write the ring (mode {mode:o}), and could hold its locks; chmod go= it"
    )]
    #[non_exhaustive]
    OpenToReaders {
        /// Permission bits of the lock file.
        mode: u32,
    },
    /// This user may not write it.
    #[error(
        "may not be written by this user; give it the permissions of those who may write the ring, or observe the ring"
    )]
    Permission,
    /// The operating system refused to open it for another reason.
    #[error("cannot be opened: {error}{}", way_out(error))]
    #[non_exhaustive]
    Io {
        /// The error of the operating system.
        error: io::Error,
    },
}

impl LockFileFault {
    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match self {
            LockFileFault::Permission => io::ErrorKind::PermissionDenied,
            LockFileFault::Io { error } => error.kind(),
            _ => io::ErrorKind::InvalidData,
        }
    }

    /// The error of opening it.
    pub(crate) fn of(error: io::Error) -> LockFileFault {
        match error.kind() {
            io::ErrorKind::NotFound => LockFileFault::Missing,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => LockFileFault::Permission,
            io::ErrorKind::IsADirectory => LockFileFault::NotAFile { kind: "directory" },
            _ => match Refusal::of(&error) {
                Some(Refusal::Symlink) => LockFileFault::NotAFile { kind: "symbolic link" },
                Some(Refusal::NoFile) => LockFileFault::NotAFile { kind: "socket or device" },
                _ => LockFileFault::Io { error },
            },
        }
    }
}

/// The number that stands for every user that a user namespace does not know.
const UNMAPPED: u32 = 65534;

fn foreign_owner(owner: u32, user: u32) -> String {
    if owner == UNMAPPED {
        return format!(
            "belongs to a user that this user namespace does not know ({owner}), this process acts as {user}; \
             observe it, or attach where its owner has a number"
        );
    }
    format!("belongs to user {owner}, this process acts as {user}; observe it, or say `trust_owner({owner})`")
}

impl OpenError {
    /// The error of an action that the operating system refused.
    pub(crate) fn io(action: &'static str, error: io::Error) -> OpenError {
        match error.kind() {
            io::ErrorKind::NotFound => OpenError::NotFound,
            io::ErrorKind::PermissionDenied => OpenError::Permission {
                action,
                advice: "ask its owner for access to the file and its directory, or observe it read-only",
            },
            io::ErrorKind::ReadOnlyFilesystem => OpenError::Permission {
                action,
                advice: "its filesystem is mounted read-only: observe it, or use another path such as /dev/shm",
            },
            io::ErrorKind::IsADirectory => OpenError::NotAFile { kind: "directory" },
            _ if Refusal::of(&error) == Some(Refusal::Symlink) => OpenError::Symlink,
            _ => OpenError::Io { action, error },
        }
    }

    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match self {
            OpenError::NotFound | OpenError::NoDeadLetterRing => io::ErrorKind::NotFound,
            OpenError::Symlink => io::ErrorKind::InvalidInput,
            OpenError::NotAFile { kind: "directory" } => io::ErrorKind::IsADirectory,
            OpenError::NotAFile { .. } => io::ErrorKind::InvalidInput,
            OpenError::Version { .. } | OpenError::Features { .. } | OpenError::RemoteFilesystem { .. } => {
                io::ErrorKind::Unsupported
            }
            OpenError::Permission { .. }
            | OpenError::ForeignOwner { .. }
            | OpenError::OpenToReaders { .. } => io::ErrorKind::PermissionDenied,
            OpenError::LockFile { fault, .. } => fault.io_kind(),
            OpenError::TableBusy { .. } => io::ErrorKind::ResourceBusy,
            OpenError::Io { error, .. } => error.kind(),
            OpenError::NotARing { .. }
            | OpenError::Incomplete
            | OpenError::WrongByteOrder
            | OpenError::Checksum { .. }
            | OpenError::Layout { .. }
            | OpenError::Geometry(_)
            | OpenError::Length { .. }
            | OpenError::TypeMismatch { .. }
            | OpenError::WrongRing { .. }
            | OpenError::NotItsDeadLetters { .. }
            | OpenError::Damaged(_) => io::ErrorKind::InvalidData,
        }
    }
}
