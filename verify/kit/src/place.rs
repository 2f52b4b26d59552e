//! A directory on tmpfs for one test, removed when the test ends.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A fresh directory in `/dev/shm`, removed when dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes a directory that no other test has.
    ///
    /// # Panics
    ///
    /// Panics if `/dev/shm` takes no directory.
    #[expect(clippy::new_without_default, reason = "each call makes another directory")]
    pub fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Of one length always: where the stack of a child begins depends on what it is given.
        let path = PathBuf::from(format!("/dev/shm/slipring-test-{:010}-{number:08}", std::process::id()));
        // Left by a process of the same number that was killed.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        TempDir(path)
    }

    /// The path of a file of this name in the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.as_ref().join(name)
    }
}

impl AsRef<Path> for TempDir {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
