//! Every system call of this crate that the standard library does not have.

use rustix::fs::{
    Advice, CWD, FallocateFlags, FlockOperation, IFlags, Mode, OFlags, RenameFlags, fadvise, fallocate,
    flock, ioctl_getflags, ioctl_setflags, openat, renameat_with,
};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::path::Path;

/// How a write is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `O_DIRECT` and `O_DSYNC`: past the page cache, and on the disk when the call returns.
    Direct,
    /// `O_DSYNC`: through the page cache, and on the disk when the call returns. Where the
    /// filesystem has no direct writes.
    Synchronous,
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Method::Direct => "O_DIRECT and O_DSYNC",
            Method::Synchronous => "O_DSYNC, through the page cache",
        })
    }
}

/// Opens an existing file for writes that are durable when they return.
pub(crate) fn open_durable(path: &Path, method: Method) -> io::Result<File> {
    let direct = if method == Method::Direct { OFlags::DIRECT } else { OFlags::empty() };
    open(path, OFlags::RDWR | OFlags::DSYNC | direct)
}

/// Opens an existing file for large writes that are synchronised later.
pub(crate) fn open_bulk(path: &Path, method: Method) -> io::Result<File> {
    let direct = if method == Method::Direct { OFlags::DIRECT } else { OFlags::empty() };
    open(path, OFlags::RDWR | direct)
}

/// Opens an existing file for reading.
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    open(path, OFlags::RDONLY | OFlags::NONBLOCK)
}

fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(File::from(openat(CWD, path, flags, Mode::empty())?))
}

/// Creates a file that must not be there.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(File::from(openat(CWD, path, flags, Mode::RUSR | Mode::WUSR | Mode::RGRP)?))
}

/// Reserves the file's space. False if the filesystem cannot.
pub(crate) fn reserve(file: &File, len: u64) -> io::Result<bool> {
    loop {
        match fallocate(file, FallocateFlags::empty(), 0, len) {
            Ok(()) => return Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Gives a file another name, unless that is taken.
pub(crate) fn rename_no_replace(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Some filesystems lack the flag, and a sandbox may not let it through. Hard links do not
        // replace, either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Takes the exclusive lock of an open file, which ends with the file. False if another has it.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    try_flock(file, FlockOperation::NonBlockingLockExclusive)
}

/// Takes the shared lock of an open file: a segment that has one is not recycled.
pub(crate) fn try_lock_shared(file: &File) -> io::Result<bool> {
    try_flock(file, FlockOperation::NonBlockingLockShared)
}

fn try_flock(file: &File, operation: FlockOperation) -> io::Result<bool> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Asks a filesystem that copies on write to write over the files of this directory, or of this
/// empty file, in their place. Others do not know the question, or need not be asked.
pub(crate) fn dont_copy_on_write(file: &File) {
    if let Ok(flags) = ioctl_getflags(file) {
        let _ = ioctl_setflags(file, flags | IFlags::NOCOW);
    }
}

/// Drops clean pages of the file from the page cache, so that the next read asks the disk.
pub(crate) fn forget_pages(file: &File) {
    let _ = fadvise(file, 0, None::<NonZeroU64>, Advice::DontNeed);
}

/// True if the path still names this file.
pub(crate) fn is_same_file(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let own = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok((own.dev(), own.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
