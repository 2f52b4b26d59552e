//! Whether the file at a ring's path is still the ring.

use crate::error::HandleError;
use crate::region::Region;
use crate::system;
use crate::system::fork::{ForkClosed, ProcessWide};
use slipring_core::format::{MAGIC, RawHeader, Word, producer_page};
use slipring_core::memory::Memory;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::{Arc, OnceLock};

/// Which file a ring was when it was opened.
#[derive(Clone, Debug)]
pub(crate) struct Presence {
    path: PathBuf,
    inode: Inode,
    len: u64,
    ring_id: [u8; 16],
    /// The path may lead to another file as soon as a process opens it for writing.
    may_be_copied_up: bool,
    /// The root directory in which the path was last seen to lead to the ring: in another one, the
    /// path says nothing of the file.
    root: OnceLock<Option<Inode>>,
    /// The highest head that was found in the file.
    head: Arc<AtomicU64>,
}

/// Device and inode.
pub(crate) type Inode = (u64, u64);

pub(crate) fn inode(metadata: &Metadata) -> Inode {
    (metadata.dev(), metadata.ino())
}

/// The root directory of this process now.
fn root() -> Option<Inode> {
    std::fs::metadata("/").ok().as_ref().map(inode)
}

/// The root directory when this process first opened a ring. To ask anew for each ring would cost
/// an attach a twentieth of its time.
fn first_root() -> Option<Inode> {
    static ROOT: ProcessWide<OnceLock<Option<Inode>>> = ProcessWide::new();
    *ROOT.get().get_or_init(root)
}

impl Presence {
    pub(crate) fn new(path: PathBuf, inode: Inode, len: u64, ring_id: [u8; 16]) -> Presence {
        first_root(); // Noted before the process can change it.
        let (root, head) = (OnceLock::new(), Arc::default());
        Presence { path, inode, len, ring_id, may_be_copied_up: false, root, head }
    }

    /// Of a file on an overlay filesystem that was opened for reading only.
    pub(crate) fn that_may_be_copied_up(mut self) -> Presence {
        self.may_be_copied_up = true;
        self
    }

    /// Looks at the path and into the file there: [`HandleError::Replaced`] or
    /// [`HandleError::Truncated`] if the ring is not there any more. A file that this process
    /// cannot look at counts as unchanged.
    pub(crate) fn look(&self) -> Option<HandleError> {
        self.look_at_path().or_else(|| self.look_inside())
    }

    /// Looks at the path, and at the file as it is mapped. Makes no further system call, but on an
    /// overlay filesystem.
    pub(crate) fn look_at_path_and_map(&self, region: &Region) -> Option<HandleError> {
        let look_at_map = || self.look_at_map(region);
        self.look_at_path().or_else(look_at_map).or_else(|| self.look_for_copy(region))
    }

    /// An overlay filesystem copies a file from a lower directory up when a process first opens it
    /// for writing (`Documentation/filesystems/overlayfs.rst` of Linux, "Non-directories"). Path,
    /// device and inode number stay the same, and mappings that were made before stay those of the
    /// lower file: they fall behind what is read from the path.
    fn look_for_copy(&self, region: &Region) -> Option<HandleError> {
        let file = self.may_be_copied_up.then(|| self.open_again()).flatten()?;
        let is_behind = |word: Word| {
            let mut bytes = [0; 8];
            read(&file, &mut bytes, word.offset)?;
            // Loaded later than it was read, so never behind in the same file.
            (region.load(word, Relaxed) < u64::from_le_bytes(bytes)).then_some(HandleError::CopiedUp)
        };
        is_behind(producer_page::EPOCH).or_else(|| is_behind(producer_page::HEAD))
    }

    /// The file, opened once more; none if the path leads elsewhere by now, which the next look at
    /// the path finds.
    fn open_again(&self) -> Option<ForkClosed> {
        let file = ForkClosed::open(|| system::open(&self.path, false)).ok()?;
        (inode(&file.file().metadata().ok()?) == self.inode).then_some(file)
    }

    /// The same file may hold another ring, or an earlier state of this one.
    pub(crate) fn look_at_map(&self, region: &Region) -> Option<HandleError> {
        let [low, high] = RING_ID.map(|word| region.load(word, Relaxed).to_le_bytes());
        if self.ring_id[..8] != low || self.ring_id[8..] != high {
            return Some(HandleError::Replaced);
        }
        self.compare_head(|| Some(region.load(producer_page::HEAD, Relaxed)))
    }

    /// Looks at the path alone: one system call, and a second when it first finds the ring there.
    pub(crate) fn look_at_path(&self) -> Option<HandleError> {
        match std::fs::symlink_metadata(&self.path) {
            Ok(metadata) if inode(&metadata) != self.inode => self.unless_elsewhere(HandleError::Replaced),
            Ok(metadata) => {
                self.root.get_or_init(root);
                (metadata.len() < self.len).then_some(HandleError::Truncated)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                self.unless_elsewhere(HandleError::Replaced)
            }
            Err(_) => None,
        }
    }

    /// As of a process that has changed its root since, nothing is known.
    fn unless_elsewhere(&self, error: HandleError) -> Option<HandleError> {
        let opened_in = self.root.get().copied().unwrap_or_else(first_root);
        (root() == opened_in).then_some(error)
    }

    /// The same file may hold another ring, or an earlier state of this one, which a copy was made
    /// of. Read and not mapped: a file that is being cut short must not raise SIGBUS here.
    fn look_inside(&self) -> Option<HandleError> {
        let file = self.open_again()?;
        let mut start = [0; ID_OFFSET + 16];
        if read(&file, &mut start, 0).is_none() {
            return Some(HandleError::Truncated);
        }
        if !start.starts_with(&MAGIC) || start[ID_OFFSET..] != self.ring_id {
            return Some(HandleError::Replaced);
        }
        self.compare_head(|| {
            let mut head = [0; 8];
            read(&file, &mut head, producer_page::HEAD.offset)?;
            Some(u64::from_le_bytes(head))
        })
    }

    /// Reads the head, and compares it with the highest that was found before this reading: another
    /// thread may read a later head meanwhile.
    fn compare_head(&self, read: impl FnOnce() -> Option<u64>) -> Option<HandleError> {
        let before = self.head.load(Acquire);
        let head = read()?;
        self.head.fetch_max(head, AcqRel);
        (head < before).then_some(HandleError::Replaced)
    }
}

/// Where the ring's id is in the file.
const ID_OFFSET: usize = std::mem::offset_of!(RawHeader, ring_id);
const RING_ID: [Word; 2] = [Word::producer(ID_OFFSET as u64), Word::producer(ID_OFFSET as u64 + 8)];

fn read(file: &ForkClosed, bytes: &mut [u8], offset: u64) -> Option<()> {
    file.file().read_exact_at(bytes, offset).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The producer's own look and that of the thread that watches its file may cross.
    #[test]
    fn a_look_that_a_later_one_overtakes_finds_nothing_wrong() {
        let presence = Presence::new(PathBuf::from("ring"), (0, 0), 0, [0; 16]);
        let crossed = presence.compare_head(|| {
            let own = Some(10); // read here, and compared after the other look
            assert_eq!(presence.compare_head(|| Some(20)), None);
            own
        });
        assert_eq!(crossed, None);
        assert_eq!(presence.compare_head(|| Some(20)), None);
        assert_eq!(presence.compare_head(|| Some(19)), Some(HandleError::Replaced));
    }
}
