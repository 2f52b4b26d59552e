//! Where a run keeps its files, and that they go, whatever happens.

use crate::channel::Failure;
use std::fs;
use std::path::{Path, PathBuf};

const SHM: &str = "/dev/shm";
/// The prefix of every name that this program uses in the system; the process id follows.
const PREFIX: &str = "two-process-";

/// One direction of one run: a name that no other run uses.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    directory: PathBuf,
    channel: &'static str,
}

impl Place {
    /// The direction from the near side to the far side.
    pub(crate) fn there(directory: &Path) -> Place {
        Place { directory: directory.to_path_buf(), channel: "there" }
    }

    /// The way back.
    pub(crate) fn back(directory: &Path) -> Place {
        Place { directory: directory.to_path_buf(), channel: "back" }
    }

    /// A file for this direction.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.join(self.channel)
    }

    /// A name for this direction where names are not paths.
    pub(crate) fn name(&self) -> String {
        let directory = self.directory.file_name().unwrap_or_default().to_string_lossy();
        format!("{directory}-{}", self.channel)
    }

    /// A name for the run, which both directions share.
    pub(crate) fn run(&self) -> String {
        self.directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The directory of one run. Dropping it removes it, and everything else whose name begins like its
/// own.
#[derive(Debug)]
pub(crate) struct Workshop {
    directory: PathBuf,
    remove: fn(&Place),
}

impl Workshop {
    /// The directory of run number `number` of this process.
    pub(crate) fn open(number: usize, remove: fn(&Place)) -> Result<Workshop, Failure> {
        let directory = Path::new(SHM).join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        Ok(Workshop { directory, remove })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        (self.remove)(&Place::there(&self.directory));
        (self.remove)(&Place::back(&self.directory));
        if let Some(name) = self.directory.file_name() {
            sweep(&name.to_string_lossy());
        }
    }
}

/// Removes the files of killed processes of this program.
pub(crate) fn remove_leftovers(removers: &[fn(&Place)]) {
    for name in names(PREFIX) {
        let pid = name.trim_start_matches(PREFIX).split(['-', '_']).next().unwrap_or_default();
        let is_dead = !pid.is_empty() && !Path::new("/proc").join(pid).exists();
        if is_dead {
            let directory = Path::new(SHM).join(&name);
            for remove in removers {
                remove(&Place::there(&directory));
                remove(&Place::back(&directory));
            }
            sweep(&name);
        }
    }
}

fn sweep(prefix: &str) {
    for name in names(prefix) {
        let path = Path::new(SHM).join(name);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        if let Err(error) = removed {
            eprintln!("two-process: {} stays: {error}", path.display());
        }
    }
}

fn names(prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(SHM).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|n| n.starts_with(prefix))
        .collect()
}
