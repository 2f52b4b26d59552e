//! Why a reader cannot come after those that it named.

use slipring_core::protocol::Damage;
use slipring_core::protocol::after;

/// Why a consumer or a group cannot come [after](crate::ConsumerOptions::after) the readers that it
/// named. The ring is as it was.
///
/// ```
/// use slipring::{AfterError, AttachError, ConsumerOptions, RingOptions};
///
/// let ring = RingOptions::new(48, 64).create_in_memory()?;
/// let error = ConsumerOptions::new().after(["journal"]).attach::<[u8]>(&ring).unwrap_err();
/// assert!(matches!(error.error, AttachError::After(AfterError::NotFound { .. })));
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AfterError {
    /// No consumer and no group has this name.
    #[error(
        "no consumer and no group is named {name:?}, to come after; start it first, or declare it when the ring is created \
         (`slipring create --durable`, `--group`)"
    )]
    #[non_exhaustive]
    NotFound {
        /// The name.
        name: String,
    },
    /// A consumer and a group have this name.
    #[error("a consumer and a group are named {name:?}; give one of them another name, to come after it")]
    #[non_exhaustive]
    Ambiguous {
        /// The name.
        name: String,
    },
    /// A durable consumer, or a group, outlives its processes, and the reader of this name does
    /// not: once that reader is gone, the one that follows it would hold the ring for ever.
    #[error(
        "{name:?} ends with its process, and a durable consumer or a group does not: it can come after durable \
         consumers and groups alone; make {name:?} durable"
    )]
    #[non_exhaustive]
    Ephemeral {
        /// The name.
        name: String,
    },
    /// More readers were named than one reader can come after: 4.
    #[error("a reader cannot come after {asked} others; name at most 4, which may come after others")]
    #[non_exhaustive]
    TooMany {
        /// The number of different readers that were named.
        asked: usize,
    },
    /// A durable consumer that came back, or a group that is there already, named other readers
    /// than those that it comes after. They stay the same for its life.
    #[error("it comes after {found:?} for its life; name these or none, or remove it first")]
    #[non_exhaustive]
    Others {
        /// The readers that it comes after; an empty name for one that is gone.
        found: Vec<String>,
    },
    /// The words of its entry that say whom it comes after are damaged.
    #[error("the ring is damaged: {0}; remove this reader, and start it again")]
    Damaged(Damage),
}

impl From<after::AfterError> for AfterError {
    fn from(error: after::AfterError) -> AfterError {
        match error {
            after::AfterError::NotFound(name) => AfterError::NotFound { name },
            after::AfterError::Ambiguous(name) => AfterError::Ambiguous { name },
            after::AfterError::Ephemeral(name) => AfterError::Ephemeral { name },
            after::AfterError::TooMany(asked) => AfterError::TooMany { asked },
            after::AfterError::Others(found) => AfterError::Others { found },
            after::AfterError::Damaged(damage) => AfterError::Damaged(damage),
        }
    }
}
