//! Why a ring was not created.

use crate::error::{AfterError, NameError, OpenError};
use crate::system::way_out;
use slipring_core::format::{GeometryError, POSITION_MAX};
use slipring_core::protocol::Damage;
use slipring_core::protocol::settings::SettingsError;
use slipring_core::protocol::table::StartError;
use std::io;
use std::path::{Path, PathBuf};

/// Why a ring was not created. Nothing was left behind.
///
/// ```
/// use slipring::{CreateError, RingOptions};
///
/// let error = RingOptions::new(48, 1024).create("/no/such/directory/ring").unwrap_err();
/// assert!(matches!(error.error, CreateError::NoDirectory { .. }));
/// assert_eq!(
///     error.to_string(),
///     "/no/such/directory/ring: there is no directory /no/such/directory; make it first, \
///      or choose another path"
/// );
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// A file has the error's path: the ring's, or that of its dead-letter ring. The file was not
    /// touched.
    #[error("already exists; open it, choose another path, or remove it first")]
    AlreadyExists,
    /// The ring at the path differs from the options. Only of
    /// [`RingOptions::open_or_create`](crate::RingOptions::open_or_create).
    #[error("exists with other options: {}; ask for the ring's own options, choose another path, or remove it first", differences.join("; "))]
    #[non_exhaustive]
    Differs {
        /// Each difference in words.
        differences: Vec<String>,
    },
    /// The directory of the path does not exist.
    #[error("there is no directory {directory}; make it first, or choose another path", directory = directory.display())]
    #[non_exhaustive]
    NoDirectory {
        /// The directory that is missing.
        directory: PathBuf,
    },
    /// A number that was asked for is out of range.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// A declared consumer or group has an impossible name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The ring's own user could not read and write it.
    #[error(
        "mode {mode:03o} keeps the ring's own user from reading or writing it; choose one such as 600 or 660"
    )]
    #[non_exhaustive]
    Mode {
        /// The permission bits that were asked for.
        mode: u32,
    },
    /// A setting of a declared group is out of range.
    #[error("group {group:?}: {error}")]
    #[non_exhaustive]
    Settings {
        /// The group.
        group: String,
        /// The setting, and its range.
        error: SettingsError,
    },
    /// A text describes no type, or one that is not as long as a block.
    #[error("{schema:?} describes no type of {block_size} bytes, which is the block size")]
    #[non_exhaustive]
    Schema {
        /// The text.
        schema: String,
        /// The bytes of a block.
        block_size: u64,
    },
    /// The messages of a ring that is restored do not reach from its first position to its
    /// watermark, or the ring cannot hold so many.
    #[error(
        "was filled up to {position}, and continues another ring from {watermark} on; push the messages up to there, at most the capacity of them"
    )]
    #[non_exhaustive]
    Restored {
        /// The position of the next message.
        position: u64,
        /// The watermark.
        watermark: u64,
    },
    /// A message of a ring that is restored does not fit a block, or is no value of the ring's
    /// type.
    #[error(
        "the message at position {position} has {len} bytes, and a block {block_size}; restore the ring with the blocks and the type that it had"
    )]
    #[non_exhaustive]
    Message {
        /// The message's position.
        position: u64,
        /// Its length.
        len: u64,
        /// The bytes of a block.
        block_size: u64,
    },
    /// A declared durable consumer cannot come after the readers that were named.
    #[error("durable consumer {name:?}: {error}")]
    #[non_exhaustive]
    After {
        /// The consumer.
        name: String,
        /// The reason.
        error: AfterError,
    },
    /// A durable consumer or a group is to go on at a position that the ring does not have.
    #[error("{name:?} cannot go on at {position}: the ring has {first} to {head}")]
    #[non_exhaustive]
    Member {
        /// The name of the consumer or the group.
        name: String,
        /// The position.
        position: u64,
        /// The ring's first position.
        first: u64,
        /// The position behind its last message.
        head: u64,
    },
    /// The filesystem has not enough room.
    #[error("needs {needed} bytes, {available} are free; free some, or ask for fewer or smaller blocks")]
    #[non_exhaustive]
    NoSpace {
        /// Bytes the ring needs.
        needed: u64,
        /// Bytes the filesystem said were free.
        available: u64,
    },
    /// This user may not write the directory or its filesystem.
    #[error("no permission to {action}; choose a directory that you may write, such as /dev/shm")]
    #[non_exhaustive]
    Permission {
        /// The action that was refused.
        action: &'static str,
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
    /// A ring cannot be on this filesystem.
    #[error("lies on {filesystem}, {reason}; use a path on tmpfs such as /dev/shm, or on ext4 or xfs")]
    #[non_exhaustive]
    UnsuitableFilesystem {
        /// The kind of filesystem.
        filesystem: &'static str,
        /// The reason.
        reason: &'static str,
    },
    /// The ring is larger than the memory that the process's control group has left.
    #[error(
        "needs {needed} bytes of memory, and the control group of this process has {available} left, beyond which the kernel kills processes; raise its limit, or ask for fewer or smaller blocks"
    )]
    #[non_exhaustive]
    MemoryLimit {
        /// Bytes the ring needs.
        needed: u64,
        /// Bytes the control group has left.
        available: u64,
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
    /// The ring was created, and could not be opened: another process removed or replaced it.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl CreateError {
    /// The error of an action that the operating system refused.
    pub(crate) fn io(action: &'static str, error: io::Error) -> CreateError {
        match error.kind() {
            io::ErrorKind::AlreadyExists => CreateError::AlreadyExists,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                CreateError::Permission { action }
            }
            _ => CreateError::Io { action, error },
        }
    }

    /// The same, of an action that needs this directory.
    pub(crate) fn io_in(directory: &Path, action: &'static str, error: io::Error) -> CreateError {
        match error.kind() {
            io::ErrorKind::NotFound => CreateError::NoDirectory { directory: directory.to_path_buf() },
            _ => CreateError::io(action, error),
        }
    }

    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match self {
            CreateError::AlreadyExists | CreateError::Differs { .. } => io::ErrorKind::AlreadyExists,
            CreateError::NoDirectory { .. } => io::ErrorKind::NotFound,
            CreateError::Mode { .. } => io::ErrorKind::InvalidInput,
            CreateError::Geometry(_)
            | CreateError::Name(_)
            | CreateError::Settings { .. }
            | CreateError::Schema { .. }
            | CreateError::Restored { .. }
            | CreateError::Message { .. }
            | CreateError::After { .. }
            | CreateError::Member { .. } => io::ErrorKind::InvalidInput,
            CreateError::NoSpace { .. } => io::ErrorKind::StorageFull,
            CreateError::Permission { .. } => io::ErrorKind::PermissionDenied,
            CreateError::MemoryLimit { .. } => io::ErrorKind::OutOfMemory,
            CreateError::RemoteFilesystem { .. } | CreateError::UnsuitableFilesystem { .. } => {
                io::ErrorKind::Unsupported
            }
            CreateError::Io { error, .. } => error.kind(),
            CreateError::Open(error) => error.io_kind(),
        }
    }
}

/// A declared group begins at the first position of the new ring, which is there unless the memory
/// lost it.
impl From<StartError> for CreateError {
    fn from(error: StartError) -> CreateError {
        let damage = match error {
            StartError::Damaged(damage) => damage,
            StartError::BeforeEarliest { requested: found, earliest } => {
                Damage::new("first position", found, earliest, POSITION_MAX)
            }
            StartError::Ahead { requested: found, head } => Damage::new("first position", found, 0, head),
            _ => Damage::new("first position", 0, 0, POSITION_MAX),
        };
        CreateError::Open(OpenError::Damaged(damage))
    }
}
