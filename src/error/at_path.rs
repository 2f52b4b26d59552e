//! An error together with the path of its ring.

use std::fmt;
use std::path::PathBuf;

/// An error of an operation on the ring at a path. Its text is the path, then the error's text.
///
/// ```
/// use slipring::{AtPath, AttachError, Producer, RingOptions};
///
/// let ring = RingOptions::new(48, 1024).create_in_memory()?;
/// let _first = Producer::<[u8]>::open(&ring)?;
/// match Producer::<[u8]>::open(&ring) {
///     Err(AtPath { error: AttachError::ProducerExists { pid, .. }, .. }) => {
///         assert_eq!(pid, std::process::id().into());
///     }
///     other => panic!("a ring has one producer: {other:?}"),
/// }
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AtPath<E> {
    /// The path of the ring, from the root on; `(memory)` for a ring of this process's memory.
    pub path: PathBuf,
    /// The error.
    pub error: E,
}

impl<E: fmt::Display> fmt::Display for AtPath<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

/// The text, as of [`Error`](crate::Error); `{:#?}` prints the fields.
impl<E: fmt::Display + fmt::Debug> fmt::Debug for AtPath<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return fmt::Display::fmt(self, f);
        }
        f.debug_struct("AtPath").field("path", &self.path).field("error", &self.error).finish()
    }
}

impl<E: std::error::Error> std::error::Error for AtPath<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}
