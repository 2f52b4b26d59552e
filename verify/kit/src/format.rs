//! Offsets of the file format, copied by hand from `docs/format.md`.
//!
//! No number here comes from the library, so that a wrong offset there cannot agree with a wrong
//! test. The tests in `verify/tidy` compare these numbers, the library's and the document's.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The header: offsets in the file.
pub mod header {
    /// Version of the format.
    pub const VERSION: u64 = 8;
    /// The creator's byte order.
    pub const BYTE_ORDER: u64 = 12;
    /// Features that a party must know to attach.
    pub const FEATURES_REQUIRED: u64 = 16;
    /// Features that a party may ignore.
    pub const FEATURES_OPTIONAL: u64 = 24;
    /// Bytes of a block.
    pub const BLOCK_SIZE: u64 = 56;
    /// Number of blocks.
    pub const CAPACITY: u64 = 64;
    /// Distance between slots.
    pub const SLOT_STRIDE: u64 = 72;
    /// Where the first block of a message that was sent by itself begins.
    pub const FIRST_BLOCK: u64 = 80;
    /// Where the readers' segment begins.
    pub const READERS: u64 = 104;
    /// Where the consumer table begins in the readers' segment.
    pub const CONSUMER_TABLE: u64 = 112;
    /// Number of consumer entries.
    pub const CONSUMERS: u64 = 120;
    /// Where the flight recorder begins in the readers' segment.
    pub const RECORDER: u64 = 136;
    /// Where the group table begins in the readers' segment.
    pub const GROUP_TABLE: u64 = 160;
    /// Number of group entries.
    pub const GROUPS: u64 = 168;
    /// Where the delivery words begin in the readers' segment.
    pub const DELIVERIES: u64 = 184;
    /// Where the worker table begins in the readers' segment.
    pub const WORKER_TABLE: u64 = 192;
    /// Number of worker entries.
    pub const WORKERS: u64 = 200;
    /// Position of the first message.
    pub const FIRST_POSITION: u64 = 232;
    /// The ring's id.
    pub const RING_ID: u64 = 240;
    /// Bytes of the message type's description.
    pub const SCHEMA_LEN: u64 = 304;
    /// Where the packed blocks begin.
    pub const PACKED: u64 = 352;
    /// Inode number of the lock file; 0 if the ring's own file holds the locks.
    pub const LOCK_FILE: u64 = 400;
    /// Distance between packed blocks.
    pub const PACKED_STRIDE: u64 = 360;
    /// The message type's description.
    pub const SCHEMA: u64 = 1024;
    /// Checksum of the bytes before it.
    pub const CHECKSUM: u64 = 4088;
}

/// The producer's page: offsets in the file.
pub mod producer {
    /// Where the page begins.
    pub const PAGE: u64 = 4096;
    /// One past the highest position that was ever claimed.
    pub const CLAIMED: u64 = PAGE;
    /// The next position to publish.
    pub const HEAD: u64 = PAGE + 128;
    /// One past the last message that has a header.
    pub const HEADERS_UNTIL: u64 = HEAD + 8;
    /// Positions below this less the capacity may be overwritten.
    pub const LIMIT: u64 = PAGE + 256;
    /// Whether the stream is closed.
    pub const CLOSED: u64 = PAGE + 512;
    /// The number of producers so far.
    pub const EPOCH: u64 = CLOSED + 8;
    /// The producer's process.
    pub const PID: u64 = CLOSED + 16;
    /// When the producer opened the ring.
    pub const OPENED: u64 = CLOSED + 24;
}

/// Slots: from here on in the file, and offsets in each.
pub mod slot {
    /// Where the slots begin in the file.
    pub const FIRST: u64 = 8192;
    /// Length in the low half, kind in the high half.
    pub const DESCRIPTION: u64 = 8;
    /// The block, where it fits into the slot.
    pub const BLOCK: u64 = 16;
}

/// The readers' page: offsets in the readers' segment.
pub mod readers {
    /// The offset at which the segment begins, in a ring whose slots and blocks fit into 56 KiB.
    pub const SEGMENT_OF_SMALL: u64 = 65536;
    /// Nonzero when a reader may sleep.
    pub const READERS_ASLEEP: u64 = 0;
    /// Nonzero when the producer may sleep.
    pub const PRODUCER_ASLEEP: u64 = 128;
    /// One past the highest consumer entry that was ever taken.
    pub const USED_CONSUMERS: u64 = 512;
    /// The same of group entries.
    pub const USED_GROUPS: u64 = 520;
    /// The same of worker entries.
    pub const USED_WORKERS: u64 = 528;
    /// Where the consumer table begins.
    pub const CONSUMERS: u64 = 4096;
}

/// A consumer's entry: offsets in it.
pub mod consumer {
    /// Bytes of an entry.
    pub const LEN: u64 = 256;
    /// The next position to read, or a value that gates no position.
    pub const TAIL: u64 = 0;
    /// Number of owners so far. A group's entry has this word and the next ones up to `AFTER`, too.
    pub const GENERATION: u64 = 8;
    /// Where an owner left.
    pub const LEFT_AT: u64 = 16;
    /// Nonzero when a party may sleep until the tail moves.
    pub const FOLLOWERS_ASLEEP: u64 = 24;
    /// Those parties sleep on this word.
    pub const PROGRESS: u64 = 32;
    /// The entries that this one follows.
    pub const AFTER: u64 = 40;
    /// 1 taken, 2 durable, 4 evictable.
    pub const FLAGS: u64 = 128;
    /// The consumer's process.
    pub const PID: u64 = 136;
    /// When the consumer joined.
    pub const JOINED: u64 = 144;
    /// When the consumer left.
    pub const DETACHED: u64 = 152;
    /// The consumer's name.
    pub const NAME: u64 = 192;
}

/// The flight recorder: offsets in a record.
pub mod record {
    /// Bytes of a record.
    pub const LEN: u64 = 128;
    /// Number of records.
    pub const COUNT: u64 = 256;
    /// The process that caused the event.
    pub const PID: u64 = 24;
}

/// A group's entry: offsets in it.
pub mod group {
    /// Bytes of an entry.
    pub const LEN: u64 = 1280;
    /// 0 free, 1 a group, 2 unfinished.
    pub const FLAGS: u64 = 256;
}

/// A worker's entry: offsets in it.
pub mod worker {
    /// Bytes of an entry.
    pub const LEN: u64 = 256;
    /// The lowest position that the worker may be reading in place.
    pub const PIN: u64 = 0;
}

/// Locks: bytes beyond the file's data.
pub mod lock {
    /// The right to publish.
    pub const PRODUCER: i64 = 1 << 62;
    /// The right to edit the tables.
    pub const TABLE: i64 = PRODUCER + 1;
    /// The first consumer's entry.
    pub const CONSUMERS: i64 = PRODUCER + 65536;
    /// The first worker's entry.
    pub const WORKERS: i64 = PRODUCER + 131_072;
}

/// An offset or a number of the format as a size.
///
/// # Panics
///
/// Panics if the number is none.
#[must_use]
pub const fn size(value: u64) -> usize {
    const { assert!(usize::BITS == 64, "a target of 64 bits") };
    #[expect(clippy::cast_possible_truncation, reason = "checked above")]
    let size = value as usize;
    size
}

/// The word at an offset of an open file.
///
/// # Panics
///
/// Panics if the file cannot be read there.
#[must_use]
pub fn word_in(file: &File, at: u64) -> u64 {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at).unwrap();
    u64::from_le_bytes(bytes)
}

/// The word at an offset of the file of a path.
///
/// # Panics
///
/// Panics if the file cannot be read there.
#[must_use]
pub fn word(path: &Path, at: u64) -> u64 {
    word_in(&File::open(path).unwrap(), at)
}

/// The checksum of a header: FNV-1a, 64 bits, of the bytes before the checksum.
///
/// # Panics
///
/// Panics if the file ends inside the header.
#[must_use]
pub fn checksum(file: &[u8]) -> u64 {
    let bytes = &file[..size(header::CHECKSUM)];
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Overwrites bytes of a file.
///
/// # Panics
///
/// Panics if the file cannot be written there.
pub fn write(path: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}
