//! The state that a victim changes: the rings' files, their locks and their names.

use kit::raw::{Raw, dead_path};
use std::path::{Path, PathBuf};

/// Everything that outlives the victim, and its locks: looks whether any of it changed.
#[derive(Debug)]
pub(crate) struct Watch {
    directory: PathBuf,
    rings: Vec<(Raw, [Vec<u8>; 2])>,
    locks: Vec<u64>,
    names: u64,
}

impl Watch {
    pub(crate) fn new(directory: &Path) -> Watch {
        let mut watch =
            Watch { directory: directory.to_path_buf(), rings: Vec::new(), locks: Vec::new(), names: 0 };
        watch.look_for_files();
        watch
    }

    fn look_for_files(&mut self) {
        let path = self.directory.join("ring");
        self.rings = [path.clone(), dead_path(&path)]
            .iter()
            .filter_map(|path| Raw::open(path).ok())
            .map(|raw| {
                let seen = raw.control().map(<[u8]>::to_vec);
                (raw, seen)
            })
            .collect();
        self.locks = self.rings.iter().map(|(raw, _)| raw.locks()).collect();
        self.names = names(&self.directory);
    }

    /// True if something changed since the last look. Locks and names change in system calls only.
    pub(crate) fn changed(&mut self, after_call: bool) -> bool {
        let mut changed = false;
        for (raw, seen) in &mut self.rings {
            for (now, seen) in raw.control().into_iter().zip(seen) {
                if now != seen.as_slice() {
                    seen.copy_from_slice(now);
                    changed = true;
                }
            }
        }
        if after_call {
            if names(&self.directory) != self.names {
                self.look_for_files();
                return true;
            }
            let locks: Vec<u64> = self.rings.iter().map(|(raw, _)| raw.locks()).collect();
            changed |= locks != self.locks;
            self.locks = locks;
        }
        changed
    }

    /// The state as one number.
    pub(crate) fn hash(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        for (_, seen) in &self.rings {
            seen.hash(&mut hasher);
        }
        self.locks.hash(&mut hasher);
        self.names.hash(&mut hasher);
        hasher.finish()
    }
}

/// The names in a directory and the files they mean, as one number.
fn names(directory: &Path) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    use std::os::unix::fs::DirEntryExt;
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<_> = entries.map(|entry| (entry.file_name(), entry.ino())).collect();
    names.sort();
    let mut hasher = DefaultHasher::new();
    names.hash(&mut hasher);
    hasher.finish()
}
