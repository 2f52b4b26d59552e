//! A copy of a damaged ring on the heap, with as much of the ring as can be read.

use crate::error::{AtPath, OpenError};
use crate::region::{Access, Region};
use crate::ring::Ring;
use crate::ring::attach::open_file;
use crate::ring::header::{Header, plan, read_header, schema, verify};
use crate::ring::paths::from_the_root;
use crate::ring::place::{At, Kind, Source};
use slipring_core::format::producer_page::{CLAIMED, HEAD};
use slipring_core::format::{Geometry, Word};
use slipring_core::protocol::salvage::{self, Counts, ImpossibleCounts};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// The unit in which a damaged disk is read.
const PAGE: usize = 4096;

/// A copy of a damaged ring, in memory, to be read by an [`Observer`](crate::Observer).
#[derive(Debug)]
#[non_exhaustive]
pub struct Salvage {
    /// The copy. Its head is the one of the file, or, where that is impossible, the one that the
    /// slots show: then the last messages may be missing.
    pub ring: Ring,
    /// The positions below the head, and not overwritten, whose messages are damaged: an observer
    /// must be attached behind each of them, since the copy has other bytes in their place.
    pub damaged: Vec<u64>,
    /// The faults of the ring as a whole.
    pub faults: Vec<String>,
}

impl Ring {
    /// Copies a damaged ring into memory, with every message that can be told from damage: from a
    /// file that was cut short, whose header was changed, whose counts are impossible, or a part of
    /// which the disk cannot read. The file stays as it is.
    ///
    /// The header's geometry must be there: a ring that says nothing about its blocks cannot be
    /// read. A message whose bytes were changed, and nothing else, is not noticed: a ring has no
    /// checksum of messages.
    ///
    /// ```no_run
    /// use slipring::{Observer, Ring, Start};
    ///
    /// let salvage = Ring::salvage("/var/lib/rings/orders")?;
    /// let mut observer = Observer::<[u8]>::attach(&salvage.ring, Start::Earliest)?;
    /// while observer.position() < salvage.ring.head() {
    ///     if salvage.damaged.contains(&observer.position()) {
    ///         let next = Start::At(observer.position() + 1);
    ///         observer = Observer::attach(&salvage.ring, next)?;
    ///     } else if let Ok(message) = observer.try_recv() {
    ///         println!("{}: {:?}", message.position(), &*message);
    ///     }
    /// }
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`Ring::open`], if the file is no ring or its geometry is damaged;
    /// [`OpenError::Io`] if there is no memory for the copy.
    pub fn salvage(path: impl AsRef<Path>) -> Result<Salvage, AtPath<OpenError>> {
        let path = from_the_root(path.as_ref().to_path_buf());
        copy_of(&path).map_err(|error| AtPath { path, error })
    }
}

fn copy_of(path: &Path) -> Result<Salvage, OpenError> {
    let file = open_file(path, Access::Nothing)?;
    let len = file.metadata().map_err(|error| OpenError::io("examine it", error))?.len();
    let mut faults = Vec::new();
    let header = header(&file, len, &mut faults)?;
    let geometry = header.geometry;
    let (region, lost) = copy(&file, &geometry).map_err(|error| OpenError::io("copy it", error))?;
    if lost.end > lost.start && len == geometry.file_len() {
        faults.push(format!("the disk cannot read bytes {} to {}", lost.start, lost.end));
    }
    let counts = salvage::mend_counts(&region, &geometry, counts(&file));
    faults.extend(counts.map(|ImpossibleCounts { head, claimed, seen }| {
        format!("head is {head} and claimed {claimed}, which cannot be; by the slots, head is {seen}")
    }));
    let damaged = salvage::damaged(&region, &geometry, &lost);
    let source = Source(Kind::Heap { region, rights: Arc::default(), header: Arc::new(header), dead: None });
    let ring = Ring::open(At::from(source)).map_err(|at| at.error)?;
    Ok(Salvage { ring, damaged, faults })
}

/// The header, if the geometry that it describes can be that of the file.
fn header(file: &File, len: u64, faults: &mut Vec<String>) -> Result<Header, OpenError> {
    let raw = read_header(file, len)?;
    match verify(&raw) {
        Err(error @ (OpenError::Checksum { .. } | OpenError::Incomplete)) => faults.push(error.to_string()),
        other => other?,
    }
    let geometry = plan(&raw)?;
    let expected = geometry.file_len();
    if len != expected {
        // Then nothing else says that the numbers are right.
        if let Some((field, found, expected)) = raw.geometry_mismatch(&geometry) {
            return Err(OpenError::Layout { field, found, expected });
        }
        faults.push(OpenError::Length { found: len, expected }.to_string());
    }
    let geometry = geometry.starting_at(raw.first_position).unwrap_or(geometry);
    Ok(Header::of(&raw, geometry, schema(&raw).unwrap_or_default()))
}

/// The file's bytes on the heap, and the range of bytes within which some could not be read and are
/// zeros.
fn copy(file: &File, geometry: &Geometry) -> io::Result<(Region, Range<u64>)> {
    let (mut first, mut end) = (u64::MAX, 0);
    let region = Region::heap_filled(geometry, |bytes| {
        for (n, page) in (0..).zip(bytes.chunks_mut(PAGE)) {
            let at = n * PAGE as u64;
            let read = read_page(file, page, at);
            if read < page.len() {
                (first, end) = (first.min(at + read as u64), at + PAGE as u64);
            }
        }
    })?;
    Ok((region, first..end))
}

/// The counts in the file; none where the file has none.
fn counts(file: &File) -> Option<Counts> {
    let (head, claimed) = (read_word(file, HEAD)?, read_word(file, CLAIMED)?);
    Some(Counts { head, claimed, later_head: read_word(file, HEAD)? })
}

/// A word of the producer's segment.
fn read_word(file: &File, word: Word) -> Option<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, word.offset).ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// Reads up to the end of the page, of the file, or of what the disk can read.
fn read_page(file: &File, page: &mut [u8], at: u64) -> usize {
    let mut filled = 0;
    while filled < page.len() {
        match file.read_at(&mut page[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    filled
}
