//! Why a handle that was open cannot use its ring any more.

use std::io;

/// Why a producer, a consumer, an observer or a worker cannot use its ring any more. The handle is
/// of no further use; the way out is to open the ring anew.
///
/// ```
/// use slipring::{AtPath, Consumer, HandleError, Producer};
/// use slipring::{RecvError, RingOptions, SendError, Start};
/// # let dir = std::env::temp_dir().join(format!("slipring-handle-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// # let path = dir.join("ring");
///
/// RingOptions::new(48, 16).create(&path)?;
/// let mut producer = Producer::<[u8]>::open(&path)?;
/// let mut consumer = Consumer::<[u8]>::attach(&path, Start::Earliest)?;
/// std::fs::remove_file(&path)?;
///
/// let error = producer.check().unwrap_err(); // sending notices it, too, within a second
/// assert!(matches!(error, SendError::Handle(AtPath { error: HandleError::Replaced, .. })));
/// let error = consumer.recv().unwrap_err();
/// assert!(matches!(error, RecvError::Handle(AtPath { error: HandleError::Replaced, .. })));
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// The file at the path is not the handle's any more: it was removed, renamed, covered or
    /// replaced, or an earlier state of it was written over it.
    #[error(
        "was removed or replaced: this handle reaches the old file alone, and handles of the new one do not see \
         its messages; open the ring anew"
    )]
    Replaced,
    /// An overlay filesystem gave the path another file when a process first opened the ring for
    /// writing: it copies such a file from a lower directory into the upper one. A handle that only
    /// reads, and was opened before, has the old file.
    #[error(
        "the overlay filesystem that it lies on has copied it up, since a process opened it for writing: this handle \
         reads the old file alone, which nobody writes; open the ring anew, and keep rings on a filesystem of their \
         own, such as a tmpfs or a volume"
    )]
    CopiedUp,
    /// Another process became the ring's producer while this handle held the producer's lock: the
    /// file has two paths that share its data and not its locks. Messages that both sent meanwhile
    /// may be lost.
    #[error(
        "process {pid} is its producer too, through another path that shares no locks with this one, such as the upper \
         directory of an overlay filesystem beside the merged one: messages may be lost; open the ring by one path in \
         every process, on a filesystem of its own, such as a tmpfs or a volume"
    )]
    #[non_exhaustive]
    SecondProducer {
        /// The other process, in its own pid namespace.
        pid: u64,
    },
    /// The file was cut short. Messages that this handle sent are lost, and nothing more can be
    /// read. A process that does not [handle SIGBUS](crate::handle_sigbus) may be ended by it
    /// first.
    #[error("was cut short while in use; restore it, or create it again")]
    Truncated,
    /// The process lost its memory of the ring, whose file is as long as ever. Only with
    /// [`handle_sigbus`](crate::handle_sigbus).
    #[error("this process lost its memory of the ring: {cause}")]
    #[non_exhaustive]
    Lost {
        /// The cause, and the way out.
        cause: &'static str,
    },
    /// The handle belongs to the process that opened it, of which this one is a forked child.
    #[error("this handle belongs to process {pid}, of which this process is a fork; open the ring anew here")]
    #[non_exhaustive]
    Forked {
        /// The process that opened the ring.
        pid: u32,
    },
}

impl HandleError {
    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match self {
            HandleError::Replaced | HandleError::CopiedUp | HandleError::SecondProducer { .. } => {
                io::ErrorKind::BrokenPipe
            }
            HandleError::Truncated => io::ErrorKind::UnexpectedEof,
            HandleError::Lost { .. } => io::ErrorKind::Other,
            HandleError::Forked { .. } => io::ErrorKind::Unsupported,
        }
    }
}
