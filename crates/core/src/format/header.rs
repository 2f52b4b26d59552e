//! The header page: a ring's description of itself.

use super::{
    BYTE_ORDER, FEATURE_GROUPS, FEATURE_LOCK_FILE, FORMAT_VERSION, Geometry, HEADER_LEN, MAGIC, SCHEMA_MAX,
    entry, event, group,
};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// The header page as it lies in the file. The creator writes it once; a process that attaches
/// copies it out, checks the copy and never reads the page again.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Clone)]
#[repr(C)]
pub struct RawHeader {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`FORMAT_VERSION`].
    pub version: u32,
    /// [`BYTE_ORDER`].
    pub byte_order: u32,
    /// Bits of features that a program must understand before it touches the ring.
    pub features_required: u64,
    /// Bits of features that a program may ignore.
    pub features_optional: u64,
    /// Bytes of the file.
    pub file_len: u64,
    /// Bytes of the producer's segment, which begins the file.
    pub producer_segment_len: u64,
    /// Bytes of the readers' segment.
    pub readers_segment_len: u64,
    /// Bytes of a block: 1 to 2^30.
    pub block_size: u64,
    /// Number of blocks: a power of two, at most 2^32.
    pub capacity: u64,
    /// Bytes from one slot to the next.
    pub slot_stride: u64,
    /// Offset in the producer's segment of the first block of a message that is sent by itself.
    pub singles_offset: u64,
    /// Offset in the producer's segment of the first slot.
    pub slots_offset: u64,
    /// Offset in the file of the producer's control page.
    pub producer_page_offset: u64,
    /// Offset in the file of the readers' segment.
    pub readers_offset: u64,
    /// Offset in the readers' segment of the table of consumers.
    pub consumer_table: u64,
    /// Number of consumer entries: 1 to 4096.
    pub consumers: u64,
    /// Bytes of a consumer entry.
    pub consumer_entry_len: u64,
    /// Offset in the readers' segment of the flight recorder.
    pub recorder: u64,
    /// Number of records of the flight recorder.
    pub recorder_entries: u64,
    /// Bytes of a record.
    pub recorder_entry_len: u64,
    /// Offset in the readers' segment of the table of groups. This and the next five words are zero
    /// in a ring without groups.
    pub group_table: u64,
    /// Number of group entries: at most 64.
    pub groups: u64,
    /// Bytes of a group entry.
    pub group_entry_len: u64,
    /// Offset in the readers' segment of the delivery words.
    pub group_words: u64,
    /// Offset in the readers' segment of the table of workers.
    pub worker_table: u64,
    /// Number of worker entries: at most 1024.
    pub workers: u64,
    /// Zero.
    pub reserved: [u8; 24],
    /// Position of the ring's first message.
    pub first_position: u64,
    /// Random id of the ring.
    pub ring_id: [u8; 16],
    /// Id of the machine's boot in which the ring was created.
    pub boot_id: [u8; 16],
    /// Time of the creation, in nanoseconds since 1970.
    pub created_unix_ns: u64,
    /// Fingerprint of the message type; 0: bytes.
    pub type_fingerprint: u64,
    /// Size of the message type, in bytes.
    pub type_size: u64,
    /// Alignment of the message type, in bytes.
    pub type_align: u64,
    /// Bytes of `schema` that are used.
    pub schema_len: u64,
    /// Milliseconds after which a durable consumer that is away may be removed; 0: never.
    pub durable_inactive_ms: u64,
    /// Id of the ring whose dead letters this ring holds. Zero in other rings.
    pub dead_of: [u8; 16],
    /// Blocks of the dead-letter ring beside this ring; zero in a ring without groups.
    pub dead_capacity: u64,
    /// Fate of a dead letter that finds the dead-letter ring full: 0 it waits, 1 it is dropped and
    /// counted.
    pub dead_policy: u64,
    /// Offset in the producer's segment of the first packed block.
    pub packed_offset: u64,
    /// Bytes from one packed block to the next.
    pub packed_stride: u64,
    /// The ring that this ring continues. Zero in a ring that continues none.
    pub continues: RawAncestor,
    /// Reserved: one more than the ring's number in the doorbell of its directory. Zero in this
    /// version.
    pub bell: u64,
    /// Inode number of the file beside the ring that holds the locks; zero if the ring's own file
    /// does.
    pub lock_file: u64,
    /// The ring that the one in `continues` continued, and so on; zero behind the last.
    pub earlier: [RawAncestor; EARLIER_ANCESTORS],
    /// Zero.
    pub reserved_2: [u8; 16],
    /// Description of the message type: UTF-8, zero-padded.
    pub schema: [u8; SCHEMA_MAX],
    /// Zero.
    pub reserved_3: [u8; 1016],
    /// [`fnv1a`] of all bytes before this word.
    pub checksum: u64,
}

/// A ring that was lost, and that another ring continues.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct RawAncestor {
    /// The ring's id; zero: there is none.
    pub ring: [u8; 16],
    /// The watermark: a position below it is of the same message in both rings. From there on, each
    /// has messages of its own.
    pub watermark: u64,
}

/// Ancestors that a header names besides the nearest.
pub const EARLIER_ANCESTORS: usize = 25;

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<RawHeader>() as u64 == HEADER_LEN);
    assert!(offset_of!(RawHeader, version) == 8);
    assert!(offset_of!(RawHeader, file_len) == 32);
    assert!(offset_of!(RawHeader, block_size) == 56);
    assert!(offset_of!(RawHeader, readers_offset) == 104);
    assert!(offset_of!(RawHeader, group_table) == 160);
    assert!(offset_of!(RawHeader, reserved) == 208);
    assert!(offset_of!(RawHeader, first_position) == 232);
    assert!(offset_of!(RawHeader, ring_id) == 240);
    assert!(offset_of!(RawHeader, created_unix_ns) == 272);
    assert!(offset_of!(RawHeader, durable_inactive_ms) == 312);
    assert!(offset_of!(RawHeader, dead_of) == 320);
    assert!(offset_of!(RawHeader, dead_capacity) == 336);
    assert!(offset_of!(RawHeader, packed_offset) == 352);
    assert!(offset_of!(RawHeader, continues) == 368);
    assert!(offset_of!(RawAncestor, watermark) == 16);
    assert!(offset_of!(RawHeader, bell) == 392);
    assert!(offset_of!(RawHeader, lock_file) == 400);
    assert!(offset_of!(RawHeader, earlier) == 408);
    assert!(offset_of!(RawHeader, reserved_2) == 1008);
    assert!(offset_of!(RawHeader, schema) == 1024);
    assert!(offset_of!(RawHeader, checksum) == 4088);
};

impl RawHeader {
    /// The geometry part of a header for `geometry`; everything else zero.
    pub fn of(geometry: &Geometry) -> RawHeader {
        let mut raw = RawHeader::new_zeroed();
        raw.magic = MAGIC;
        raw.version = FORMAT_VERSION;
        raw.byte_order = BYTE_ORDER;
        raw.file_len = geometry.file_len();
        raw.producer_segment_len = geometry.producer_segment_len;
        raw.readers_segment_len = geometry.readers_segment_len;
        raw.block_size = geometry.block_size;
        raw.capacity = geometry.slots.capacity();
        raw.slot_stride = geometry.slots.slots.stride;
        raw.singles_offset = geometry.slots.singles.offset;
        raw.slots_offset = geometry.slots.slots.offset;
        raw.packed_offset = geometry.slots.packed.offset;
        raw.packed_stride = geometry.slots.packed.stride;
        raw.producer_page_offset = HEADER_LEN;
        raw.readers_offset = geometry.producer_segment_len;
        raw.consumer_table = geometry.consumer_table;
        raw.consumers = geometry.consumers;
        raw.consumer_entry_len = entry::LEN;
        raw.recorder = geometry.recorder;
        raw.recorder_entries = geometry.recorder_entries;
        raw.recorder_entry_len = event::LEN;
        if geometry.groups > 0 {
            raw.features_required = FEATURE_GROUPS;
            raw.group_table = geometry.group_table;
            raw.groups = geometry.groups;
            raw.group_entry_len = group::LEN;
            raw.group_words = geometry.group_words;
            raw.worker_table = geometry.worker_table;
            raw.workers = geometry.workers;
        }
        raw
    }

    /// The rings that this ring continues, directly or through others, the nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = RawAncestor> {
        let all = core::iter::once(self.continues).chain(self.earlier);
        all.take_while(|ancestor| ancestor.ring != [0; 16])
    }

    /// Names these rings, the nearest first; those that find no place are forgotten.
    pub fn continue_rings(&mut self, ancestors: impl IntoIterator<Item = RawAncestor>) {
        let places = core::iter::once(&mut self.continues).chain(&mut self.earlier);
        for (place, ancestor) in places.zip(ancestors) {
            *place = ancestor;
        }
    }

    /// The checksum over all bytes before it.
    pub fn compute_checksum(&self) -> u64 {
        let bytes = self.as_bytes();
        fnv1a(&bytes[..bytes.len() - 8])
    }

    /// The first geometry field that differs from that of `geometry`, with both values.
    pub fn geometry_mismatch(&self, geometry: &Geometry) -> Option<(&'static str, u64, u64)> {
        let mut expected = RawHeader::of(geometry);
        if self.lock_file != 0 {
            expected.features_required |= FEATURE_LOCK_FILE;
        }
        macro_rules! first_difference {
            ($($field:ident),*) => {
                $(if self.$field != expected.$field {
                    return Some((stringify!($field), self.$field, expected.$field));
                })*
            };
        }
        first_difference!(
            features_required,
            file_len,
            producer_segment_len,
            readers_segment_len,
            slot_stride,
            singles_offset,
            packed_offset,
            packed_stride,
            slots_offset,
            producer_page_offset,
            readers_offset,
            consumer_table,
            consumer_entry_len,
            recorder,
            recorder_entries,
            recorder_entry_len,
            group_table,
            groups,
            group_entry_len,
            group_words,
            worker_table,
            workers
        );
        None
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo; draft-eastlake-fnv). Each step is a bijection of the state,
/// so the sum changes with any change that is confined to one byte. Guards against accidents, not
/// against forgery.
///
/// A zero byte only multiplies, so eight zero bytes take one multiplication. A header is mostly
/// zeros, and each step waits for the step before.
pub const fn fnv1a(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    const PRIME_8: u64 = PRIME.wrapping_pow(8);
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        (hash, rest) = match rest.split_first_chunk() {
            Some((eight, after)) if u64::from_ne_bytes(*eight) == 0 => (hash.wrapping_mul(PRIME_8), after),
            _ => ((hash ^ *byte as u64).wrapping_mul(PRIME), after),
        };
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::prelude::v1::*;

    #[test]
    fn fnv1a_matches_the_published_vectors() {
        assert_eq!(fnv1a(b""), 0xcbf29ce484222325);
        assert_eq!(fnv1a(b"a"), 0xaf63dc4c8601ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x85944171f73967e8);
    }

    #[test]
    fn runs_of_zeros_count_as_many_zeros() {
        // Of zeros, as many as there are, before and behind a byte, from one place on or another.
        for before in 0..30 {
            for behind in 0..30 {
                let mut bytes = std::vec![0; before];
                bytes.push(7);
                bytes.resize(before + 1 + behind, 0);
                let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul((1 << 40) + 0x1b3);
                assert_eq!(fnv1a(&bytes), bytes.iter().fold(fnv1a(b""), step), "{before}, 7, {behind}");
            }
        }
    }
}
