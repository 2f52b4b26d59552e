//! A file that appears under its name when it is whole, or not at all.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    /// True if the file has its name already, since the filesystem knows no files without one.
    is_named: bool,
    file: Option<File>,
}

impl NewFile {
    /// Begins a file that must not be there. Until it is finished, a death of this process leaves
    /// nothing.
    pub(crate) fn begin(path: &Path) -> io::Result<NewFile> {
        if std::fs::symlink_metadata(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let (file, is_named) = match openat(CWD, dir, flags, Mode::from_raw_mode(0o666)) {
            Ok(file) => (File::from(file), false),
            Err(_) => (File::create_new(path)?, true),
        };
        Ok(NewFile { path: path.to_owned(), is_named, file: Some(file) })
    }

    /// Where to write.
    pub(crate) fn writer(&self) -> io::Result<File> {
        self.file.as_ref().map_or_else(|| Err(io::ErrorKind::NotFound.into()), File::try_clone)
    }

    /// Everything is written: gives the file its name.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if let Some(file) = self.file.take().filter(|_| !self.is_named) {
            let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(CWD, unnamed, CWD, &self.path, AtFlags::SYMLINK_FOLLOW)?;
        }
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // The file was not finished.
        if self.file.is_some() && self.is_named {
            drop(std::fs::remove_file(&self.path));
        }
    }
}
