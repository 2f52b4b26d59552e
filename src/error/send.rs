//! Why a message was not sent, and the reader that holds the ring full.

use crate::error::{AtPath, HandleError, counted};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a message was not claimed, sent or published. Readers see nothing of the message.
///
/// ```
/// use slipring::{ConsumerOptions, Producer, RingOptions, SendError, Start};
///
/// let ring = RingOptions::new(48, 1).create_in_memory()?;
/// let mut producer = Producer::<[u8]>::open(&ring)?;
/// let _slow = ConsumerOptions::new().name("audit").start(Start::Earliest).attach::<[u8]>(&ring)?;
/// producer.send(b"one fills the ring")?;
/// match producer.try_send(b"another") {
///     Err(SendError::Full { holder, .. }) => {
///         assert_eq!((holder.name.as_str(), holder.lag), ("audit", 1));
///     }
///     other => panic!("the ring is full: {other:?}"),
/// }
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Every slot holds a message that a reader has not released.
    #[error("{path}: the ring of {capacity} is full: {holder}; {way_out}", way_out = holder.way_out(), path = path.display(), capacity = counted(*capacity, "block"))]
    #[non_exhaustive]
    Full {
        /// The path of the ring.
        path: PathBuf,
        /// Blocks in the ring.
        capacity: u64,
        /// The reader that holds the ring full.
        holder: Box<Holder>,
    },
    /// Fewer readers are attached than this producer requires.
    #[error("{path}: this producer requires {required} and finds {attached}; start more, or require fewer", path = path.display(), required = counted((*required).into(), "consumer"))]
    #[non_exhaustive]
    TooFewReaders {
        /// The path of the ring.
        path: PathBuf,
        /// Gating consumers now.
        attached: u32,
        /// The number that [`require_readers`](crate::ProducerOptions::require_readers) demands.
        required: u32,
    },
    /// The message does not fit a block.
    #[error(
        "a message of {len} bytes does not fit a block of {block_size}; split it, or create the ring with larger blocks"
    )]
    TooLarge {
        /// Bytes of the message.
        len: usize,
        /// Bytes of a block.
        block_size: usize,
    },
    /// The message is not of the length that a value of the producer's type has.
    #[error("a message of {len} bytes is no value of the ring's type, which has {expected}; it was not sent")]
    WrongLength {
        /// Bytes of the message.
        len: usize,
        /// Bytes of a value.
        expected: u64,
    },
    /// The handle cannot use its ring any more: the file was removed, replaced or cut short, or
    /// this process is a forked child.
    #[error(transparent)]
    Handle(#[from] AtPath<HandleError>),
}

impl SendError {
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            SendError::Full { path, .. }
            | SendError::TooFewReaders { path, .. }
            | SendError::Handle(AtPath { path, .. }) => Some(path),
            SendError::TooLarge { .. } | SendError::WrongLength { .. } => None,
        }
    }

    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match self {
            SendError::Full { .. } | SendError::TooFewReaders { .. } => io::ErrorKind::WouldBlock,
            SendError::TooLarge { .. } | SendError::WrongLength { .. } => io::ErrorKind::InvalidInput,
            SendError::Handle(at) => at.error.io_kind(),
        }
    }
}

/// The role of a reader that holds the ring full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HolderRole {
    /// A consumer.
    Consumer,
    /// A durable consumer: its tail stays while no process holds its entry.
    DurableConsumer,
    /// A group: its lowest unsettled message.
    Group,
    /// A group whose lowest unsettled message was given up, and waits for the dead-letter ring.
    DeadLetters,
    /// A worker that has lost its lease on a message, and may still be reading it.
    Worker,
}

/// The reader that holds the ring full: the reader with the lowest position.
///
/// ```
/// use slipring::{GroupSettings, HolderRole, Producer, RingOptions, SendError};
///
/// let ring = RingOptions::of::<u64>(2).group("g", GroupSettings::new()).create_in_memory()?;
/// let mut producer = Producer::<u64>::open(&ring)?;
/// producer.send_batch(&[1, 2])?;
/// let Err(SendError::Full { holder, .. }) = producer.try_send(&3) else { panic!("it is full") };
/// assert_eq!((holder.role, holder.name.as_str(), holder.lag), (HolderRole::Group, "g", 2));
/// assert!(!holder.alive); // the group has no worker
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The reader's role.
    pub role: HolderRole,
    /// The reader's name; empty for an anonymous consumer or worker.
    pub name: String,
    /// The reader's process number in its own pid namespace, for display; 0 for a group.
    pub pid: u64,
    /// How many messages the reader is behind the head.
    pub lag: u64,
    /// False for a durable consumer that is away, and for a group without workers.
    pub alive: bool,
    /// For how long the ring has been full for this producer.
    pub full_for: Duration,
    /// Of [`HolderRole::DeadLetters`]: why the dead-letter ring did not take the message that was
    /// last tried, as far as the flight recorder tells.
    pub waits_for: Option<String>,
}

impl Holder {
    pub(crate) fn way_out(&self) -> &'static str {
        match (self.role, self.alive) {
            (HolderRole::DeadLetters, true) => {
                "redrive its dead letters or purge them, or mend what is in the way: a worker tries again every second"
            }
            (HolderRole::DeadLetters, false) => {
                "redrive its dead letters or purge them, or mend what is in the way, and start a worker of the group, \
                 which moves them there"
            }
            _ => "wait for this reader, stop it, or remove it",
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holder { name, pid, lag, full_for, .. } = self;
        let party = |role: &str| match name.as_str() {
            "" => format!("anonymous {role} (process {pid})"),
            name => format!("{role} {name:?} (process {pid})"),
        };
        match (self.role, self.alive) {
            (HolderRole::Group, true) => write!(f, "group {name:?} is")?,
            (HolderRole::Group, false) => write!(f, "group {name:?} has no workers and is")?,
            (HolderRole::DeadLetters, alive) => {
                let without = if alive { "" } else { ", has no workers" };
                let why = self.waits_for.as_deref().unwrap_or("no worker has tried");
                write!(
                    f,
                    "group {name:?} has given up messages that wait for the dead-letter ring ({why}){without} and is"
                )?;
            }
            (HolderRole::Worker, _) => write!(f, "{} reads in place,", party("worker"))?,
            (HolderRole::Consumer, true) => write!(f, "{} is", party("consumer"))?,
            (HolderRole::DurableConsumer, true) => write!(f, "{} is", party("durable consumer"))?,
            (_, false) => write!(f, "durable consumer {name:?} is away and")?,
        }
        write!(f, " {} behind, for {full_for:.1?}", counted(*lag, "message"))
    }
}
