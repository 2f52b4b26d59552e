//! The paths of a ring's files.

use std::path::{Path, PathBuf};

/// The path of a ring on the heap, in errors.
pub(crate) const IN_MEMORY: &str = "(memory)";

/// The path from the root on; the same path, if the process has no current directory.
pub(crate) fn from_the_root(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// The path of the dead-letter ring beside the ring at `path`.
pub(crate) fn dead_path(path: &Path) -> PathBuf {
    at_suffix(path, ".dead")
}

/// The path of the lock file of the ring at `path`.
pub(crate) fn lock_path(path: &Path) -> PathBuf {
    at_suffix(path, ".locks")
}

/// The path with this behind it.
fn at_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut longer = path.as_os_str().to_owned();
    longer.push(suffix);
    PathBuf::from(longer)
}
