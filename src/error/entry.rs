//! Why a consumer or a group was not found, or not removed.

use crate::error::OpenError;
use slipring_core::protocol::settings::SettingsError;
use std::io;

/// Why a consumer or a group of a ring was not found by its name, or not removed. The ring is as it
/// was.
///
/// ```
/// use slipring::{EntryError, RingOptions};
///
/// let ring = RingOptions::new(48, 1024).create_in_memory()?;
/// let error = ring.remove_consumer("audit").unwrap_err();
/// assert!(matches!(error.error, EntryError::NoSuchConsumer { .. }));
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The file at the path is not a ring that this process can use, or can write.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No consumer has this name.
    #[error("no consumer is named {name:?}; check the name (`slipring consumers PATH` lists all)")]
    #[non_exhaustive]
    NoSuchConsumer {
        /// The name asked for.
        name: String,
    },
    /// No consumer and no group has this name, or the consumer is dead.
    #[error("no consumer and no group is named {name:?}; check the name (`slipring stat PATH` lists all)")]
    #[non_exhaustive]
    NoSuchReader {
        /// The name asked for.
        name: String,
    },
    /// A consumer and a group have this name.
    #[error("a consumer and a group are named {name:?}; give one of them another name")]
    #[non_exhaustive]
    AmbiguousReader {
        /// The name asked for.
        name: String,
    },
    /// The consumer is attached.
    #[error("consumer {name:?} is attached, by process {pid}; stop it first")]
    #[non_exhaustive]
    ConsumerInUse {
        /// The name asked for.
        name: String,
        /// The process that is attached under this name.
        pid: u64,
    },
    /// A consumer or a group comes after this one: without it, that reader would get no more
    /// messages, and hold the ring.
    #[error("{by:?} comes after {name:?}; stop or remove {by:?} first")]
    #[non_exhaustive]
    Followed {
        /// The name asked for.
        name: String,
        /// The name of the reader that comes after it; empty if it is anonymous.
        by: String,
    },
    /// No group has this name.
    #[error("no group is named {name:?}; check the name (`slipring group ls PATH` lists all)")]
    #[non_exhaustive]
    NoSuchGroup {
        /// The name asked for.
        name: String,
    },
    /// A setting that was asked for is out of range.
    #[error("group {group:?}: {error}")]
    #[non_exhaustive]
    Settings {
        /// The group.
        group: String,
        /// The setting, and its range.
        error: SettingsError,
    },
    /// The group has living workers.
    #[error("group {group:?} has a living worker, process {pid}; stop its workers first")]
    #[non_exhaustive]
    GroupInUse {
        /// The group.
        group: String,
        /// The process of one of its workers.
        pid: u64,
    },
}

impl EntryError {
    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match self {
            EntryError::Open(error) => error.io_kind(),
            EntryError::Settings { .. } => io::ErrorKind::InvalidInput,
            EntryError::NoSuchConsumer { .. }
            | EntryError::NoSuchReader { .. }
            | EntryError::NoSuchGroup { .. } => io::ErrorKind::NotFound,
            EntryError::AmbiguousReader { .. } => io::ErrorKind::InvalidInput,
            EntryError::ConsumerInUse { .. }
            | EntryError::GroupInUse { .. }
            | EntryError::Followed { .. } => io::ErrorKind::ResourceBusy,
        }
    }
}
