//! Rings and their lock files are regular files.

use std::fs::Metadata;
use std::os::unix::fs::FileTypeExt;

/// The kind of a file that is not a regular one.
pub(crate) struct NotRegular(pub(crate) &'static str);

impl NotRegular {
    pub(crate) fn check(metadata: &Metadata) -> Result<(), NotRegular> {
        let kind = metadata.file_type();
        match kind {
            kind if kind.is_file() => Ok(()),
            kind if kind.is_dir() => Err(NotRegular("directory")),
            kind if kind.is_fifo() => Err(NotRegular("FIFO")),
            kind if kind.is_symlink() => Err(NotRegular("symbolic link")),
            _ => Err(NotRegular("device")),
        }
    }
}
