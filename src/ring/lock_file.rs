//! The file beside a ring that holds its locks, where more users may read the ring than write it.
//!
//! A process that may read a file may lock it for reading, any byte of it, for as long as it likes:
//! so the rights of a ring that others may read lie in a file that only its writers can open. The
//! ring's header has the inode number of that file, so that no other file and no copy is taken for
//! it.

use crate::error::{CreateError, LockFileFault, OpenError};
use crate::id::RingId;
use crate::region::Access;
use crate::region::rights::{self, Locks};
use crate::ring::draft::Draft;
use crate::ring::header::Header;
use crate::ring::paths::lock_path;
use crate::ring::presence::inode;
use crate::ring::regular::NotRegular;
use crate::system::fork::ForkClosed;
use crate::system::{self, Permissions};
use slipring_core::format::{FEATURE_LOCK_FILE, RawHeader};
use slipring_core::memory::Right;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

const MAGIC: [u8; 8] = *b"SLIPLOCK";
/// The file: [`MAGIC`], then the ring's id.
const LEN: usize = 24;

/// The lock file of the ring at `path`, before it has its name; none if its own file will do.
pub(crate) fn draft(path: &Path, ring: &File, id: RingId) -> Result<Option<Draft>, CreateError> {
    let failed = |action| move |error| CreateError::io(action, error);
    let metadata = ring.metadata().map_err(failed("examine the ring"))?;
    let permissions = Permissions::of(ring, &metadata);
    if !permissions.has_readers_only() {
        return Ok(None);
    }
    let draft = Draft::for_writers(&lock_path(path), permissions)?;
    draft.file().write_all_at(&content(id), 0).map_err(failed("write it"))?;
    // Until the ring has its name, so that no other creator takes the file for a leftover.
    rights::hold(draft.file(), Right::Table).map_err(failed("lock it"))?;
    Ok(Some(draft))
}

/// The header of a ring with this lock file.
pub(crate) fn recorded_in(raw: &RawHeader, locks: Option<&Draft>) -> Result<RawHeader, CreateError> {
    let mut raw = raw.clone();
    if let Some(locks) = locks {
        let metadata = locks.file().metadata();
        raw.lock_file = metadata.map_err(|error| CreateError::io("examine its lock file", error))?.ino();
        raw.features_required |= FEATURE_LOCK_FILE;
        raw.checksum = raw.compute_checksum();
    }
    Ok(raw)
}

fn content(id: RingId) -> [u8; LEN] {
    let mut content = [0; LEN];
    content[..8].copy_from_slice(&MAGIC);
    content[8..].copy_from_slice(&id.0);
    content
}

/// Where the locks of a ring are, whose file this is; and for an observer, what is wrong with them.
pub(crate) fn locks_of(
    path: &Path,
    ring: ForkClosed,
    metadata: &Metadata,
    header: &Header,
    access: Access,
) -> Result<(Locks, Option<String>), OpenError> {
    let opened = match header.lock_file {
        None if Permissions::of(ring.file(), metadata).has_readers_only() => {
            Err(OpenError::OpenToReaders { mode: metadata.mode() & 0o777 })
        }
        None => return Ok((Locks::file(ring), None)),
        Some(inode) => {
            let path = lock_path(path);
            let is_listed =
                system::Filesystem::of(ring.file()).is_ok_and(|filesystem| filesystem.lists_locks());
            let (owner, permissions) = (metadata.uid(), Permissions::of(ring.file(), metadata));
            let expected = Expected { id: header.ring_id, inode, owner, ring: permissions, is_listed };
            expected.open(&path, access).map_err(|fault| OpenError::LockFile { path, fault })
        }
    };
    match opened {
        Ok(locks) => Ok((locks, None)),
        // An observer takes no lock.
        Err(error) if access == Access::Nothing => {
            let locks = if header.lock_file.is_none() { Locks::file(ring) } else { Locks::Unknown };
            Ok((locks, Some(error.to_string())))
        }
        Err(error) => Err(error),
    }
}

/// The lock file as the ring says that it is.
#[derive(Clone, Copy, Debug)]
struct Expected {
    id: RingId,
    inode: u64,
    owner: u32,
    ring: Permissions,
    /// The kernel's list of locks names the file as `stat` does.
    is_listed: bool,
}

impl Expected {
    fn open(&self, path: &Path, access: Access) -> Result<Locks, LockFileFault> {
        match ForkClosed::open(|| system::open(path, access != Access::Nothing)) {
            Ok(file) => {
                self.verify(file.file())?;
                Ok(Locks::file(file))
            }
            Err(error) if access == Access::Nothing && error.kind() == io::ErrorKind::PermissionDenied => {
                self.look_at(path)
            }
            Err(error) => Err(LockFileFault::of(error)),
        }
    }

    fn verify(&self, file: &File) -> Result<(), LockFileFault> {
        let metadata = file.metadata().map_err(LockFileFault::of)?;
        NotRegular::check(&metadata).map_err(|NotRegular(kind)| LockFileFault::NotAFile { kind })?;
        match id_in(file) {
            Some(id) if id == self.id => self.verify_metadata(&metadata)?,
            Some(found) => return Err(LockFileFault::OtherRing { found }),
            None => return Err(LockFileFault::NotALockFile),
        }
        if Permissions::of(file, &metadata).exceed(self.ring) {
            return Err(LockFileFault::OpenToReaders { mode: metadata.mode() & 0o777 });
        }
        Ok(())
    }

    fn verify_metadata(&self, metadata: &Metadata) -> Result<(), LockFileFault> {
        if metadata.uid() != self.owner {
            return Err(LockFileFault::ForeignOwner { owner: metadata.uid(), ring: self.owner });
        }
        if metadata.ino() != self.inode {
            return Err(LockFileFault::Copied);
        }
        Ok(())
    }

    /// The locks on a file that this process may not open.
    fn look_at(&self, path: &Path) -> Result<Locks, LockFileFault> {
        let metadata = std::fs::symlink_metadata(path).map_err(LockFileFault::of)?;
        NotRegular::check(&metadata).map_err(|NotRegular(kind)| LockFileFault::NotAFile { kind })?;
        self.verify_metadata(&metadata)?;
        Ok(if self.is_listed { Locks::seen(inode(&metadata)) } else { Locks::Unknown })
    }
}

/// The id in a lock file.
fn id_in(file: &File) -> Option<RingId> {
    let mut bytes = [0; LEN];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let (magic, id) = bytes.split_first_chunk::<8>()?;
    (*magic == MAGIC).then_some(RingId(id.try_into().ok()?))
}

/// Removes a ring's file, then its lock file. If the process dies between the two, the next
/// creation at this path removes the other.
pub(crate) fn remove_both(ring_path: &Path, header: &Header) -> io::Result<()> {
    let path = lock_path(ring_path);
    let locks = header.lock_file.and_then(|_| ForkClosed::open(|| system::open(&path, true)).ok());
    // As long as this right is held, no creator takes the file for a leftover and names its own.
    let _ = locks.as_ref().map(|locks| rights::hold(locks.file(), Right::Table));
    std::fs::remove_file(ring_path)?;
    let is_its = |metadata: Metadata| metadata.is_file() && Some(metadata.ino()) == header.lock_file;
    if std::fs::symlink_metadata(&path).is_ok_and(is_its) {
        // A failure leaves a leftover.
        drop(std::fs::remove_file(&path));
    }
    Ok(())
}

/// True if there is certainly no file at this path.
fn is_absent(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Removes the lock file of a ring that is not there: a removal or a creation that was killed left
/// it. Any other file stays.
pub(crate) fn clear_leftover(ring_path: &Path) {
    let path = lock_path(ring_path);
    let Ok(file) = ForkClosed::open(|| system::open(&path, true)) else { return };
    let file = file.file();
    let is_ours = id_in(file).is_some() && is_absent(ring_path);
    // Held by the creator of a ring that has no name yet.
    if is_ours && rights::hold(file, Right::Table).unwrap_or(false) {
        let same = |found: Metadata| file.metadata().is_ok_and(|own| inode(&own) == inode(&found));
        if std::fs::symlink_metadata(&path).is_ok_and(same) && is_absent(ring_path) {
            // If the removal fails, the creation returns `AlreadyExists`.
            drop(std::fs::remove_file(&path));
        }
    }
}
