//! The ring as it is at a moment, as a file, and what `Ring::check` and `Ring::repair` make of it.

use crate::memory::Shared;
use kit::TempDir;
use slipring::{Ring, RingOptions};
use slipring_core::memory::Word;
use std::os::unix::fs::FileExt;

/// The readers' segment begins at a multiple of this.
const SEGMENT_ALIGN: u64 = 65536;

/// No process has the file: every party counts as dead. The check finds leftovers of the dead and
/// nothing else, and after a repair it finds nothing.
pub(crate) fn audit(shared: &Shared) {
    let geometry = shared.geometry;
    // A directory: beside a ring with groups lies its dead-letter ring.
    let dir = TempDir::new();
    let path = dir.file("ring");
    let entries = |count: u64| u32::try_from(count).unwrap();
    let size = |n: u64| usize::try_from(n).unwrap();
    RingOptions::new(size(geometry.block_size()), size(geometry.capacity()))
        .consumers(entries(geometry.consumers()))
        .groups(entries(geometry.groups()))
        .workers(entries(geometry.workers()))
        .first_position(geometry.first_position())
        .create(&path)
        .unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let header = slipring_core::format::producer_page::CLAIMED.offset;
    let producer = shared.bytes(Word::producer(header));
    file.write_all_at(&producer, header).unwrap();
    let readers = (header + producer.len() as u64).next_multiple_of(SEGMENT_ALIGN);
    let len = usize::try_from(geometry.file_len() - readers).unwrap();
    file.write_all_at(&shared.bytes(Word::readers(0))[..len], readers).unwrap();
    let ring = Ring::open(&path).unwrap();
    assert_eq!(ring.file_len(), geometry.file_len());
    let mut found = ring.check();
    found.retain(|violation| !violation.repairable);
    let repaired = ring.repair();
    let left = ring.check();
    assert_eq!(found, [], "violations that no death explains");
    repaired.unwrap();
    assert_eq!(left, [], "violations after the repair");
}
