//! What the filesystem of a directory, and the memory limits of this process, mean for a ring.

use crate::error::{AtPath, CreateError};
use crate::ring::paths::from_the_root;
use crate::system;
use std::fs::File;
use std::path::Path;

/// The filesystem of a directory in which rings are to be made, and the memory that they may take.
///
/// ```
/// let storage = slipring::Storage::of("/dev/shm")?;
/// println!("{}: {:?} bytes are free", storage.filesystem, storage.available);
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Storage {
    /// The name of the filesystem, or its magic number.
    pub filesystem: String,
    /// True if its files are memory, charged to the memory control group of the process that
    /// creates them.
    pub is_memory: bool,
    /// True if it joins directories of other filesystems, so that a file may have a second path, on
    /// the other filesystem: the locks of handles on the one path are not those of the other, and
    /// of two producers at once the first learns within a second, when messages may be lost
    /// ([`SecondProducer`](crate::HandleError::SecondProducer)).
    pub is_overlay: bool,
    /// True if a page that is written over gets a new place unless the file says otherwise, which
    /// the creation of a ring makes it say.
    pub copies_on_write: bool,
    /// Bytes that this process may still allocate there; none if the filesystem does not say.
    pub available: Option<u64>,
    /// Bytes that may still be charged to the memory control groups of this process; none if there
    /// is no limit.
    pub memory_left: Option<u64>,
}

impl Storage {
    /// Looks at a directory. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`CreateError::RemoteFilesystem`] and [`CreateError::UnsuitableFilesystem`], if no ring can
    /// be there; [`CreateError::NoDirectory`]; those of opening the directory.
    pub fn of(directory: impl AsRef<Path>) -> Result<Storage, AtPath<CreateError>> {
        let path = from_the_root(directory.as_ref().to_path_buf());
        let looked_at =
            File::open(&path).map_err(|error| CreateError::io_in(&path, "open the directory", error));
        looked_at.and_then(|file| Storage::of_file(&file)).map_err(|error| AtPath { path, error })
    }

    /// The filesystem that an open file lies on.
    pub(crate) fn of_file(file: &File) -> Result<Storage, CreateError> {
        let filesystem =
            system::Filesystem::of(file).map_err(|error| CreateError::io("examine its filesystem", error))?;
        if let Some(filesystem) = filesystem.remote_name() {
            return Err(CreateError::RemoteFilesystem { filesystem });
        }
        if let Some((filesystem, reason)) = filesystem.unsuitable() {
            return Err(CreateError::UnsuitableFilesystem { filesystem, reason });
        }
        Ok(Storage {
            filesystem: filesystem.name(),
            is_memory: filesystem.is_memory(),
            is_overlay: filesystem.is_overlay(),
            copies_on_write: filesystem.copies_on_write(),
            available: filesystem.available,
            memory_left: system::memory_left(),
        })
    }
}
