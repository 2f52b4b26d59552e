//! Why a producer, a consumer or an observer did not get its place in a ring.

use crate::error::{AfterError, NameError, OpenError};
use slipring_core::protocol::table::StartError;
use std::io;

/// Why a producer, a consumer or an observer could not attach. The ring is as it was.
///
/// ```
/// use slipring::{AttachError, ConsumerOptions, RingOptions};
///
/// let ring = RingOptions::new(48, 1024).create_in_memory()?;
/// let _first = ConsumerOptions::new().name("audit").attach::<[u8]>(&ring)?;
/// let error = ConsumerOptions::new().name("audit").attach::<[u8]>(&ring).unwrap_err();
/// assert!(matches!(error.error, AttachError::NameInUse { .. }));
/// assert!(error.to_string().ends_with("; stop it, or choose another name"));
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The file at the path is not a ring that this process can use.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The ring has a living producer.
    #[error("process {pid} is its producer; stop it first, or use a ring of your own")]
    #[non_exhaustive]
    ProducerExists {
        /// The producer's process number in its own pid namespace.
        pid: u64,
        /// When it opened the ring, in ms since 1970.
        since_ms: u64,
    },
    /// All consumer entries are taken by living or durable consumers.
    #[error(
        "all {entries} consumer entries are taken ({names}); stop a consumer, remove a durable one \
         (`slipring consumers PATH --rm NAME`), or create the ring with more `consumers`"
    )]
    #[non_exhaustive]
    TableFull {
        /// How many entries there are.
        entries: u64,
        /// The names of the consumers that have them, comma-separated.
        names: String,
    },
    /// A living consumer has this name.
    #[error("the name {name:?} is in use by process {pid}; stop it, or choose another name")]
    #[non_exhaustive]
    NameInUse {
        /// The name asked for.
        name: String,
        /// The process that has it.
        pid: u64,
    },
    /// The name belongs to a durable consumer, and an ephemeral one was asked for.
    #[error(
        "{name:?} is a durable consumer; attach with `durable(true)`, choose another name, or remove it \
         (`slipring consumers PATH --rm NAME`)"
    )]
    #[non_exhaustive]
    NameIsDurable {
        /// The name asked for.
        name: String,
    },
    /// The name is not possible, or a durable consumer has none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A consumer was to be durable and evictable: the producer waits for a durable consumer, and
    /// does not wait for an evictable one.
    #[error(
        "consumer {name:?} cannot be durable and evictable; leave out `durable(true)`, or attach without eviction"
    )]
    #[non_exhaustive]
    EvictableDurable {
        /// The name asked for.
        name: String,
    },
    /// The ring cannot be read from the start that was asked for.
    #[error(transparent)]
    Start(StartError),
    /// The consumer cannot come after those that it named.
    #[error(transparent)]
    After(AfterError),
    /// The ring has no groups, and so no dead letters.
    #[error("has no groups; create it anew with room for some (`groups`)")]
    NoGroups,
}

impl AttachError {
    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match self {
            AttachError::Open(error) => error.io_kind(),
            AttachError::ProducerExists { .. }
            | AttachError::TableFull { .. }
            | AttachError::NameInUse { .. }
            | AttachError::NameIsDurable { .. } => io::ErrorKind::ResourceBusy,
            AttachError::Name(_)
            | AttachError::EvictableDurable { .. }
            | AttachError::Start(_)
            | AttachError::After(_)
            | AttachError::NoGroups => io::ErrorKind::InvalidInput,
        }
    }
}

impl From<StartError> for AttachError {
    fn from(error: StartError) -> AttachError {
        match error {
            StartError::Damaged(damage) => AttachError::Open(OpenError::Damaged(damage)),
            error => AttachError::Start(error),
        }
    }
}
