//! Why a worker did not join its group.

use crate::error::{NameError, OpenError};
use slipring_core::protocol::settings::{GroupSettings, SettingsError};
use slipring_core::protocol::table::StartError;
use std::io;

/// Why a worker could not join its group. The group is as it was.
///
/// ```
/// use slipring::{JoinError, RingOptions, Worker};
///
/// let ring = RingOptions::new(48, 1024).create_in_memory()?;
/// let error = Worker::<[u8]>::join(&ring, "sms").unwrap_err();
/// assert!(matches!(error.error, JoinError::NoGroups));
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The file at the path is not a ring that this process can use.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The name of the group or of the worker is not possible.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A setting that was asked for is out of range.
    #[error("group {group:?}: {error}")]
    #[non_exhaustive]
    Settings {
        /// The group.
        group: String,
        /// The setting, and its range.
        error: SettingsError,
    },
    /// The group has other settings than those asked for. They belong to the group, not to a
    /// worker.
    #[error(
        "group {group:?} has {found}; the worker asked for {asked}; join without settings, with the same, or \
         remove the group first (`slipring group rm PATH {group}`)"
    )]
    #[non_exhaustive]
    OtherSettings {
        /// The group.
        group: String,
        /// Its settings.
        found: Box<GroupSettings>,
        /// The settings asked for.
        asked: Box<GroupSettings>,
    },
    /// The ring was created without room for groups.
    #[error("has no groups; create it anew with room for some (`groups`)")]
    NoGroups,
    /// All group entries are taken.
    #[error(
        "all {groups} groups are taken ({names}); join one of them, remove one (`slipring group rm PATH NAME`), \
         or create the ring with more `groups`"
    )]
    #[non_exhaustive]
    GroupsFull {
        /// How many there are.
        groups: u64,
        /// Their names, comma-separated.
        names: String,
    },
    /// All worker entries are taken by living workers.
    #[error("all {workers} worker entries are taken; stop one, or create the ring with more `workers`")]
    #[non_exhaustive]
    WorkersFull {
        /// How many there are.
        workers: u64,
    },
    /// A new group cannot begin at the start that was asked for.
    #[error(transparent)]
    Start(StartError),
}

impl JoinError {
    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match self {
            JoinError::Open(error) => error.io_kind(),
            JoinError::GroupsFull { .. } | JoinError::WorkersFull { .. } => io::ErrorKind::ResourceBusy,
            JoinError::Name(_)
            | JoinError::Settings { .. }
            | JoinError::OtherSettings { .. }
            | JoinError::NoGroups
            | JoinError::Start(_) => io::ErrorKind::InvalidInput,
        }
    }
}

impl From<StartError> for JoinError {
    fn from(error: StartError) -> JoinError {
        match error {
            StartError::Damaged(damage) => JoinError::Open(OpenError::Damaged(damage)),
            error => JoinError::Start(error),
        }
    }
}
