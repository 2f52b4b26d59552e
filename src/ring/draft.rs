//! A ring's file until it is complete: invisible, and removed if its creator fails or dies.

use crate::error::CreateError;
use crate::id::RingId;
use crate::ring::storage::Storage;
use crate::system::fork::ForkClosed;
use crate::system::{self, Permissions};
use slipring_core::format::Geometry;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A file without a name, or with a temporary one; dropping the draft before it is named removes
/// the file.
#[derive(Debug)]
#[must_use = "dropping a draft removes its file"]
pub(crate) struct Draft {
    file: ForkClosed,
    path: PathBuf,
    /// The temporary name, where the filesystem has no files without one.
    temporary: Option<PathBuf>,
}

impl Draft {
    pub(crate) fn new(path: &Path, mode: u32) -> Result<Draft, CreateError> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let failed = |error| CreateError::io_in(directory, "create a file in its directory", error);
        system::Filesystem::not_remote(directory)
            .map_err(|filesystem| CreateError::RemoteFilesystem { filesystem })?;
        let draft = match ForkClosed::open(|| system::create_unnamed(directory)) {
            Ok(file) if system::can_link_unnamed(file.file()) => {
                Draft { file, path: path.to_path_buf(), temporary: None }
            }
            // Without /proc a file that has no name cannot get one.
            Ok(_) => Draft::temporary(path, directory).map_err(failed)?,
            Err(error) if system::lacks_unnamed_files(&error) => {
                Draft::temporary(path, directory).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        draft.file().set_permissions(std::fs::Permissions::from_mode(mode)).map_err(failed)?;
        Ok(draft)
    }

    /// A file that processes may open only if they may read and write the one with these
    /// permissions.
    pub(crate) fn for_writers(path: &Path, permissions: Permissions) -> Result<Draft, CreateError> {
        let draft = Draft::new(path, 0o600)?;
        system::drop_access_list(draft.file());
        draft
            .file()
            .set_permissions(std::fs::Permissions::from_mode(permissions.mode_for_writers()))
            .map_err(|error| CreateError::io("set its permissions", error))?;
        Ok(draft)
    }

    /// For filesystems on which every file has a name.
    fn temporary(path: &Path, directory: &Path) -> io::Result<Draft> {
        let temporary = directory.join(format!(".slipring-{}.creating", RingId(system::random_id()?)));
        let file = ForkClosed::open(|| system::create_new(&temporary, 0o600))?;
        Ok(Draft { file, path: path.to_path_buf(), temporary: Some(temporary) })
    }

    /// The file, to be filled.
    pub(crate) fn file(&self) -> &File {
        self.file.file()
    }

    pub(crate) fn reserve(&self, geometry: &Geometry) -> Result<(), CreateError> {
        let storage = Storage::of_file(self.file())?;
        let (needed, available) = (geometry.file_len(), storage.available);
        let no_space = || CreateError::NoSpace { needed, available: available.unwrap_or(0) };
        if available.is_some_and(|available| needed > available) {
            return Err(no_space());
        }
        if let Some(available) = storage.memory_left.filter(|&left| storage.is_memory && needed > left) {
            return Err(CreateError::MemoryLimit { needed, available });
        }
        if storage.copies_on_write && system::dont_copy_on_write(self.file()).is_err() {
            let reason = "which would write every page to a new place, and does not take the attribute that forbids it";
            return Err(CreateError::UnsuitableFilesystem { filesystem: "btrfs", reason });
        }
        system::reserve(self.file(), geometry.file_len()).map_err(|error| match system::Refusal::of(&error) {
            Some(system::Refusal::NoSpace) => no_space(),
            _ => CreateError::io("reserve its space", error),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file visible under its name, unless the name is taken.
    pub(crate) fn name(&mut self) -> Result<(), CreateError> {
        let named = match self.temporary.take() {
            None => system::link_unnamed(self.file(), &self.path),
            Some(temporary) => {
                let renamed = system::rename_no_replace(&temporary, &self.path);
                if renamed.is_err() {
                    self.temporary = Some(temporary);
                }
                renamed
            }
        };
        named.map_err(|error| CreateError::io("give it its name", error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // A failure is ignored: the caller reports the error that made it drop the draft.
            drop(std::fs::remove_file(temporary));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Where files need names, a draft has a temporary one: it must neither replace what is there
    /// nor stay behind.
    #[test]
    fn a_draft_with_a_temporary_name_replaces_nothing_and_leaves_nothing() {
        let directory = std::env::temp_dir().join(format!("slipring-draft-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("ring");
        let draft = || Draft::temporary(&path, &directory).unwrap();
        draft().name().unwrap();
        assert_eq!(names(&directory), ["ring"]);
        assert!(matches!(draft().name(), Err(CreateError::AlreadyExists)));
        drop(draft());
        assert_eq!(names(&directory), ["ring"]);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
