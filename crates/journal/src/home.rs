//! The directory of one ring's journal, `DIR/<ring id>`, and the names in it.

use crate::scan::{OpenSegmentError, Segment};
use crate::system;
use slipring::RingId;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The directory of one ring's journal.
///
/// | name | |
/// |---|---|
/// | `<20 digits>.seg` | a segment, named after the position of its first message |
/// | `<20 digits>.failed` | the write to that segment failed: nothing more is written to it |
/// | `spare` | a segment that is ready to be used |
/// | `zeroing`, `fresh` | a segment that is being made; left there by a kill, it is removed |
/// | `ring.json` | what the ring is |
/// | `lock` | locked by the journal that writes here |
/// | `readers/NAME` | how far a named reader of the history has come |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
    ring: RingId,
}

const SEGMENT: &str = "seg";
const FAILED: &str = "failed";

impl Home {
    /// The directory of a ring's journal under `directory`. Looks at nothing.
    pub fn new(directory: &Path, ring: RingId) -> Home {
        Home { path: directory.join(ring.to_string()), ring }
    }

    /// Every ring that has a journal under `directory`, in the order of their ids.
    ///
    /// # Errors
    ///
    /// Those of reading the directory.
    pub fn all(directory: &Path) -> io::Result<Vec<Home>> {
        let mut homes = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let ring = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(ring) = ring.filter(|_| entry.path().is_dir()) {
                homes.push(Home { path: entry.path(), ring });
            }
        }
        homes.sort_by_key(|home| home.ring);
        Ok(homes)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The ring.
    pub fn ring(&self) -> RingId {
        self.ring
    }

    /// The path of the segment that begins with this position.
    pub fn segment(&self, first: u64) -> PathBuf {
        self.path.join(format!("{first:020}.{SEGMENT}"))
    }

    /// The path of the mark that a write to this segment failed.
    pub(crate) fn failed(&self, first: u64) -> PathBuf {
        self.path.join(format!("{first:020}.{FAILED}"))
    }

    /// The path of another name of this directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The first positions of the segments, in order. None of them is opened.
    ///
    /// # Errors
    ///
    /// Those of reading the directory; a directory that is not there has no segments.
    pub fn segments(&self) -> io::Result<Vec<u64>> {
        let entries = match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut firsts = Vec::new();
        for entry in entries {
            firsts.extend(first_of(&entry?.path()));
        }
        firsts.sort_unstable();
        Ok(firsts)
    }

    /// Opens a segment for reading. None if it is not there any more.
    ///
    /// Until the segment is dropped, a journal does not recycle its file.
    ///
    /// # Errors
    ///
    /// [`OpenSegmentError`]; a head of another ring or another first position counts as damaged.
    pub fn open(&self, first: u64) -> Result<Option<Segment<File>>, OpenSegmentError> {
        let path = self.segment(first);
        let file = match system::open_to_read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        // A journal that is just retiring the segment has the lock, or has had it: then the file
        // has another name, or none.
        if !system::try_lock_shared(&file)? || !system::is_same_file(&file, &path)? {
            return Ok(None);
        }
        let segment = Segment::open(file)?;
        let head = segment.head();
        if (head.ring, head.first) != (self.ring, first) {
            return Err(crate::format::HeadError::Damaged.into());
        }
        Ok(Some(segment))
    }
}

/// The first position of the segment at a path, if it is the name of one.
pub(crate) fn first_of(path: &Path) -> Option<u64> {
    let stem = path.file_stem()?.to_str()?;
    let is_name =
        path.extension()? == SEGMENT && stem.len() == 20 && stem.bytes().all(|b| b.is_ascii_digit());
    stem.parse().ok().filter(|_| is_name)
}
