//! Where a run keeps its files: a directory of its own, gone when the run is over.

use crate::common::Failure;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    /// Leave everything for a look afterwards.
    pub(crate) keep: bool,
}

impl Place {
    /// A new directory for a run of `program` below `parent`, or where shared memory is: in
    /// `/dev/shm`, else where temporary files go.
    pub(crate) fn create(program: &str, parent: Option<&Path>, keep: bool) -> Result<Place, Failure> {
        let make = |parent: &Path| {
            let dir = parent.join(format!("slipring-{program}-{}", std::process::id()));
            fs::DirBuilder::new().mode(0o700).create(&dir).map(|()| Place { dir, keep })
        };
        let advice = |dir: &Path, error: io::Error| {
            format!("cannot make a directory in {}: {error}; choose another with --dir DIR", dir.display())
        };
        if let Some(parent) = parent {
            return make(parent).map_err(|error| advice(parent, error).into());
        }
        let shm = Path::new("/dev/shm");
        make(shm).or_else(|error| {
            let temporary = std::env::temp_dir();
            eprintln!(
                "{program}: {} is of no use ({error}); working in {}",
                shm.display(),
                temporary.display()
            );
            make(&temporary).map_err(|error| advice(&temporary, error).into())
        })
    }

    /// The file of this name.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn remove(&self) {
        if !self.keep {
            // Another process may have removed the file already; other errors are ignored.
            drop(fs::remove_dir_all(&self.dir));
        }
    }
}
