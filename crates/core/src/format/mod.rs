//! Every offset and size of the file, said once. `docs/format.md` describes the same bytes for people;
//! the constant assertions below and the golden file bind the two together.
//!
//! All integers are little-endian and of fixed width. Nothing here is a pointer, a `usize`, a `bool` or
//! a type whose layout Rust chooses.

use core::ops::Range;

mod delivery;
pub mod gating;
mod header;
mod slot;
mod word;

pub use delivery::{Count, DeliveryWord, Millis, State, group_flags};
pub use delivery::{GROUPS_MAX, SIGHTING_LEVELS, SIGHTINGS_PER_LEVEL, WORKERS_MAX, group, worker};
pub use gating::GatingEntry;
pub use header::{RawHeader, fnv1a};
pub use slot::{Block, Message, Run, Sequence, Slot, Slots};
pub use word::{Segment, Word};

/// First eight bytes of every ring.
pub const MAGIC: [u8; 8] = *b"SLIPRING";
/// The format this library writes, and the only one it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Reads as this number only in the byte order it was written in.
pub const BYTE_ORDER: u32 = 0x0A0B_0C0D;
/// The ring has groups: a producer that did not look at them would overwrite what they have not settled.
pub const FEATURE_GROUPS: u64 = 1;
/// Feature bits that a program must understand before it touches the ring.
pub const KNOWN_REQUIRED_FEATURES: u64 = FEATURE_GROUPS;

/// Bytes of the header.
pub const HEADER_LEN: u64 = 4096;
/// Bytes of a control page: the producer's after the header, the readers' at the start of their segment.
const CONTROL_LEN: u64 = 4096;
/// Every hot word has this many bytes to itself: two cache lines, since x86-64 prefetches lines in pairs
/// and some aarch64 cores have lines of 128 bytes. Fixed by the format, whatever the target.
const LINE: u64 = 128;
/// The largest page size of the supported targets, so that either segment can be mapped by itself.
const SEGMENT_ALIGN: u64 = 65536;

/// Bytes of a dead letter before the message.
pub const LETTER_LEN: u64 = 192;
/// Longest text of a message type's description, in bytes.
pub const SCHEMA_MAX: usize = 2048;
/// Longest name of a consumer, in bytes of UTF-8.
pub const NAME_MAX: usize = 64;

/// Positions stay below this: with a capacity added they fit 63 bits, and leave a tail its tag.
pub const POSITION_MAX: u64 = (1 << 63) - (1 << 33);
/// The largest first position a ring may be created with: a trillion messages before the last position.
pub const FIRST_POSITION_MAX: u64 = (1 << 63) - (1 << 40);

/// A consumer's tail: the whole of its state, as far as the producer is concerned, in one word.
///
/// | value | meaning |
/// |---|---|
/// | all bits set | gates nobody: the entry is free, or its owner left |
/// | all bits but the lowest | gates nobody: the producer evicted its owner, who does not know it yet |
/// | bit 63 set otherwise | gates from the position in bits 0..63, and may be evicted |
/// | bit 63 clear | gates from this position, until its owner moves it |
///
/// That a tail may be taken away stands in the same word as the position: a producer that looked for it
/// elsewhere could, however late, evict a reader in place that has taken the entry over since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail(pub u64);

impl Tail {
    /// Gates nobody.
    pub const NONE: Tail = Tail(u64::MAX);
    /// Was taken away by the producer.
    pub const EVICTED: Tail = Tail(u64::MAX - 1);
    const EVICTABLE: u64 = 1 << 63;

    /// Gates from `position`.
    #[inline(always)]
    pub const fn at(position: u64, evictable: bool) -> Tail {
        Tail(position | if evictable { Tail::EVICTABLE } else { 0 })
    }
    /// Where it gates from, if it does. Unbounded: another process wrote it.
    #[inline(always)]
    pub const fn position(self) -> Option<u64> {
        if self.0 >= Tail::EVICTED.0 { None } else { Some(self.0 & !Tail::EVICTABLE) }
    }
    /// The producer may take it away.
    #[inline(always)]
    pub const fn is_evictable(self) -> bool {
        self.0 & Tail::EVICTABLE != 0 && self.0 < Tail::EVICTED.0
    }
}

pub const BLOCK_SIZE_MAX: u64 = 1 << 30;
pub const CAPACITY_MAX: u64 = 1 << 32;
pub const CONSUMERS_MAX: u64 = 4096;
const RECORDER_ENTRIES: u64 = 256;

/// The words of the producer's page.
pub mod producer_page {
    use super::{HEADER_LEN, LINE, Word};

    /// One past the highest position ever claimed; never falls.
    pub const CLAIMED: Word = Word::producer(HEADER_LEN);
    /// The next position to publish.
    pub const HEAD: Word = Word::producer(HEADER_LEN + LINE);
    /// One past the last published message that is not bare, or more: from here up to the head, slots say nothing that a
    /// reader needs. On the line of the head, and to be read after it: whatever is stored while the head is at a position is no
    /// smaller than that position, so that a newer one says too much of an older head, and never too little. It may fall.
    pub const DESCRIBED: Word = Word::producer(HEADER_LEN + LINE + 8);
    /// What `DESCRIBED` holds while messages are sent one by one, so that it need not be written for each.
    pub const ALL_DESCRIBED: u64 = u64::MAX;
    /// Positions below `LIMIT - capacity` may be overwritten; never falls below `CLAIMED`.
    pub const LIMIT: Word = Word::producer(HEADER_LEN + 2 * LINE);
    /// Readers sleep on this word; it changes before they are woken.
    pub const WAKE: Word = Word::producer(HEADER_LEN + 3 * LINE);
    /// 0 while the stream is open, 1 once the producer has closed it.
    pub const CLOSED: Word = Word::producer(HEADER_LEN + 4 * LINE);
    /// How many producers the ring has had.
    pub const EPOCH: Word = Word::producer(HEADER_LEN + 4 * LINE + 8);
    /// Process number of the producer, for display only.
    pub const PID: Word = Word::producer(HEADER_LEN + 4 * LINE + 16);
    /// When the producer opened the ring, in milliseconds since 1970.
    pub const OPENED_MS: Word = Word::producer(HEADER_LEN + 4 * LINE + 24);
    /// How many times the ring was found full. Statistics.
    pub const FULL_COUNT: Word = Word::producer(HEADER_LEN + 5 * LINE);
    /// How many times sleeping readers were woken. Statistics.
    pub const WAKE_COUNT: Word = Word::producer(HEADER_LEN + 5 * LINE + 8);
    /// How many consumers were evicted. Statistics.
    pub const EVICTED_COUNT: Word = Word::producer(HEADER_LEN + 5 * LINE + 16);
}

/// The words of the readers' page.
pub mod readers_page {
    use super::{LINE, Word};

    /// Nonzero when a reader may sleep. Set by the sleeper, cleared by the producer before it wakes.
    pub const READERS_ASLEEP: Word = Word::readers(0);
    /// Nonzero when the producer may sleep. Set by the producer, cleared by a reader before it wakes it.
    pub const PRODUCER_ASLEEP: Word = Word::readers(LINE);
    /// The producer sleeps on this word; it changes before it is woken.
    pub const ROOM: Word = Word::readers(2 * LINE);
    /// Number of the next event of the flight recorder, from 0. Changed under the table right.
    pub const NEXT_EVENT: Word = Word::readers(3 * LINE);
    /// One past the highest consumer entry that was ever used: the producer looks at no tail
    /// beyond. Never falls.
    pub const USED_CONSUMERS: Word = Word::readers(4 * LINE);
    /// The same of the group table.
    pub const USED_GROUPS: Word = Word::readers(4 * LINE + 8);
    /// The same of the worker table.
    pub const USED_WORKERS: Word = Word::readers(4 * LINE + 16);
}

/// Where the words of one consumer's entry lie, from the entry's start.
pub mod entry {
    /// Bytes of an entry: one line that is hot, one that is not.
    pub const LEN: u64 = 2 * super::LINE;
    pub use super::gating::{GENERATION, LEFT_AT, TAIL};
    pub const FLAGS: u64 = super::LINE;
    pub const PID: u64 = super::LINE + 8;
    pub const JOINED_MS: u64 = super::LINE + 16;
    pub const DETACHED_MS: u64 = super::LINE + 24;
    pub const LAG_MAX: u64 = super::LINE + 32;
    /// Reserved: the entries that this one follows. Zero in this version.
    pub const AFTER: u64 = super::LINE + 40;
    pub const MISSED: u64 = super::LINE + 48;
    pub const NAME: u64 = super::LINE + 64;
    const _: () = assert!(NAME + super::NAME_MAX as u64 == LEN);
}

/// Bits of an entry's flags word.
///
/// | bit | meaning |
/// |---|---|
/// | 0 | the entry belongs to somebody, alive or not |
/// | 1 | durable: the tail survives its owner |
/// | 2 | evictable: the producer may take the tail away |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryFlags(pub u64);

impl EntryFlags {
    /// Nobody's entry.
    pub const FREE: EntryFlags = EntryFlags(0);

    /// An entry of an ephemeral, durable or evictable consumer.
    pub const fn taken(durable: bool, evictable: bool) -> EntryFlags {
        EntryFlags(1 | (durable as u64) << 1 | (evictable as u64) << 2)
    }
    /// Somebody's, alive or not.
    pub const fn is_taken(self) -> bool {
        self.0 & 1 != 0
    }
    /// The tail survives its owner.
    pub const fn is_durable(self) -> bool {
        self.0 & 2 != 0
    }
    /// Stands for somebody who may come back.
    pub const fn is_kept(self) -> bool {
        self.is_taken() && self.is_durable()
    }
    /// The producer may take the tail away.
    pub const fn is_evictable(self) -> bool {
        self.0 & 4 != 0
    }
}

/// Where the words of one recorded event lie, from the record's start.
pub mod event {
    pub const LEN: u64 = super::LINE;
    /// Event number + 1; 0 while the record is being written.
    pub const NUMBER: u64 = 0;
    pub const KIND: u64 = 8;
    pub const POSITION: u64 = 16;
    pub const PID: u64 = 24;
    pub const UNIX_MS: u64 = 32;
    pub const REPEATS: u64 = 40;
    pub const NAME: u64 = 48;
    const _: () = assert!(NAME + super::NAME_MAX as u64 <= LEN);
}

/// What a slot says of its message besides the sequence word.
///
/// | bits | meaning |
/// |---|---|
/// | 0..32 | length in bytes |
/// | 32..64 | kind |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta(pub u64);

impl Meta {
    /// Packs a length and a kind.
    #[inline(always)]
    pub const fn new(len: u32, kind: u32) -> Meta {
        Meta((kind as u64) << 32 | len as u64)
    }
    /// Length in bytes, as stored: bound it by the block size before use.
    #[inline(always)]
    pub const fn len(self) -> usize {
        (self.0 & 0xFFFF_FFFF) as usize
    }
    /// True for a message of no bytes.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
    /// The kind.
    #[inline(always)]
    pub const fn kind(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Why a geometry cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// Block size of 0 or above 1 GiB.
    #[error("block size of {0} bytes: a block has 1 to {BLOCK_SIZE_MAX}")]
    BlockSize(u64),
    /// Block size above what leaves a dead letter, which says more than the message, within 1 GiB.
    #[error("block size of {0} bytes: in a ring with groups a block has at most {max}", max = BLOCK_SIZE_MAX - LETTER_LEN)]
    LetterSize(u64),
    /// Capacity of 0 or above 2^32 blocks.
    #[error("capacity of {0} blocks: a ring has 1 to {CAPACITY_MAX}")]
    Capacity(u64),
    /// A file whose capacity is not a power of two. (Creation rounds up.)
    #[error("capacity {0} blocks is not a power of two")]
    NotPowerOfTwo(u64),
    /// More than 4096 consumer entries, or none.
    #[error("{0} consumer entries: a ring has 1 to {CONSUMERS_MAX}")]
    Consumers(u64),
    /// More durable consumers are declared than there are consumer entries.
    #[error(
        "{durables} durable consumers are declared, and there are {consumers} consumer entries; ask for more entries"
    )]
    Durables {
        /// How many are declared.
        durables: u64,
        /// How many entries were asked for.
        consumers: u64,
    },
    /// More than 64 groups.
    #[error("{0} groups: a ring has at most {GROUPS_MAX}")]
    Groups(u64),
    /// More than 1024 worker entries, or none in a ring with groups.
    #[error("{0} worker entries: a ring with groups has 1 to {WORKERS_MAX}")]
    Workers(u64),
    /// First position above 2^63 - 2^40.
    #[error("first position {0} is above {FIRST_POSITION_MAX}")]
    FirstPosition(u64),
    /// The description of the message type is too long.
    #[error("the description of the message type has {0} bytes, at most {SCHEMA_MAX} fit")]
    Schema(u64),
}

/// Where everything lies in one ring: computed from four numbers, never read back from shared memory.
///
/// # Invariants
///
/// Every slot, block, entry and record that an in-range index names lies inside its segment. All sums were checked when
/// the value was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub(super) block_size: u64,
    pub(super) slots: Slots,
    pub(super) consumers: u64,
    pub(super) producer_segment_len: u64,
    consumer_table: u64,
    recorder: u64,
    recorder_entries: u64,
    group_table: u64,
    pub(super) groups: u64,
    worker_table: u64,
    pub(super) workers: u64,
    group_words: u64,
    group_words_len: u64,
    pub(super) readers_segment_len: u64,
    first_position: u64,
}

impl Geometry {
    /// Plans a ring of `capacity` blocks (a power of two) of `block_size` bytes with room for
    /// `consumers` consumers.
    pub fn plan(block_size: u64, capacity: u64, consumers: u64) -> Result<Geometry, GeometryError> {
        if !(1..=BLOCK_SIZE_MAX).contains(&block_size) {
            return Err(GeometryError::BlockSize(block_size));
        }
        if !(1..=CAPACITY_MAX).contains(&capacity) {
            return Err(GeometryError::Capacity(capacity));
        }
        if !capacity.is_power_of_two() {
            return Err(GeometryError::NotPowerOfTwo(capacity));
        }
        if !(1..=CONSUMERS_MAX).contains(&consumers) {
            return Err(GeometryError::Consumers(consumers));
        }
        // INVARIANT: the bounds above keep every sum below 2^63: slots and blocks take at most 2^32 * (2^30 + 128).
        let slots = Slots::plan(HEADER_LEN + CONTROL_LEN, block_size, capacity);
        let producer_segment_len = slots.end().next_multiple_of(SEGMENT_ALIGN);
        let consumer_table = CONTROL_LEN;
        let recorder = consumer_table + consumers * entry::LEN;
        let readers_segment_len = (recorder + RECORDER_ENTRIES * event::LEN).next_multiple_of(4096);
        Ok(Geometry {
            block_size,
            slots,
            consumers,
            producer_segment_len,
            consumer_table,
            recorder,
            recorder_entries: RECORDER_ENTRIES,
            group_table: 0,
            groups: 0,
            worker_table: 0,
            workers: 0,
            group_words: 0,
            group_words_len: 0,
            readers_segment_len,
            first_position: 0,
        })
    }

    /// The same, with room for `groups` groups and for `workers` workers over all of them; with no groups,
    /// there are no workers either.
    pub fn with_groups(self, groups: u64, workers: u64) -> Result<Geometry, GeometryError> {
        if groups == 0 {
            return Ok(self);
        }
        if groups > GROUPS_MAX {
            return Err(GeometryError::Groups(groups));
        }
        if !(1..=WORKERS_MAX).contains(&workers) {
            return Err(GeometryError::Workers(workers));
        }
        // INVARIANT: at most 2^6 * 2^32 * 8 bytes of words: no sum comes near 2^63.
        let group_table = self.readers_segment_len;
        let worker_table = group_table + groups * group::LEN;
        let group_words = (worker_table + workers * worker::LEN).next_multiple_of(4096);
        let group_words_len = (self.slots.capacity * group::WORD_LEN).next_multiple_of(LINE);
        let readers_segment_len = (group_words + groups * group_words_len).next_multiple_of(4096);
        Ok(Geometry {
            group_table,
            groups,
            worker_table,
            workers,
            group_words,
            group_words_len,
            readers_segment_len,
            ..self
        })
    }

    /// The same, of a ring whose first message has this position.
    pub fn starting_at(self, first_position: u64) -> Result<Geometry, GeometryError> {
        if first_position > FIRST_POSITION_MAX {
            return Err(GeometryError::FirstPosition(first_position));
        }
        Ok(Geometry { first_position, ..self })
    }
    /// The position of the ring's first message.
    pub fn first_position(&self) -> u64 {
        self.first_position
    }
    /// The lowest position that is not overwritten while positions below `end` may be written.
    pub fn earliest(&self, end: u64) -> u64 {
        end.saturating_sub(self.slots.capacity).max(self.first_position)
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> u64 {
        self.producer_segment_len + self.readers_segment_len
    }
    /// Bytes of the producer's segment, which begins the file.
    pub fn producer_segment_len(&self) -> u64 {
        self.producer_segment_len
    }
    /// Bytes of the readers' segment, which follows it.
    pub fn readers_segment_len(&self) -> u64 {
        self.readers_segment_len
    }
    /// Number of blocks.
    #[inline(always)]
    pub fn capacity(&self) -> u64 {
        self.slots.capacity
    }
    /// Bytes of a block.
    #[inline(always)]
    pub fn block_size(&self) -> u64 {
        self.block_size
    }
    /// Number of consumer entries.
    #[inline(always)]
    pub fn consumers(&self) -> u64 {
        self.consumers
    }
    /// Number of group entries.
    #[inline(always)]
    pub fn groups(&self) -> u64 {
        self.groups
    }
    /// Number of worker entries.
    #[inline(always)]
    pub fn workers(&self) -> u64 {
        self.workers
    }
    /// The numbers of the consumer entries.
    #[inline(always)]
    pub fn consumer_entries(&self) -> Range<u32> {
        numbers(self.consumers)
    }
    /// The numbers of the group entries.
    #[inline(always)]
    pub fn group_entries(&self) -> Range<u32> {
        numbers(self.groups)
    }
    /// The numbers of the worker entries, of all groups.
    #[inline(always)]
    pub fn worker_entries(&self) -> Range<u32> {
        numbers(self.workers)
    }
    /// Which time round the ring a position is.
    #[inline(always)]
    pub fn lap(&self, position: u64) -> u64 {
        position >> self.slots.capacity.trailing_zeros()
    }
    /// Number of records of the flight recorder.
    pub fn recorder_entries(&self) -> u64 {
        self.recorder_entries
    }
    /// The number of a position's slot, below the capacity.
    #[inline(always)]
    pub fn index(&self, position: u64) -> u64 {
        position & (self.slots.capacity - 1)
    }
    /// How the slots lie: all that the hot paths need of this, small enough to be copied into them.
    #[inline(always)]
    pub fn slots(&self) -> Slots {
        self.slots
    }
    /// The slot of a position.
    #[inline(always)]
    pub fn slot(&self, position: u64) -> Slot {
        self.slots.at(position)
    }
    /// The tail of consumer entry `n`.
    #[inline(always)]
    pub fn tail(&self, n: u32) -> Word {
        self.entry_word(n, entry::TAIL)
    }
    /// The words by which consumer entry `n` gates.
    #[inline(always)]
    pub fn consumer_entry(&self, n: u32) -> GatingEntry {
        let offset = self.tail(n).offset;
        GatingEntry { offset, number: n, used: readers_page::USED_CONSUMERS }
    }
    /// The words by which group `n` gates.
    #[inline(always)]
    pub fn group_entry(&self, n: u32) -> GatingEntry {
        let offset = self.group_word(n, group::FLOOR).offset;
        GatingEntry { offset, number: n, used: readers_page::USED_GROUPS }
    }
    /// The flags of consumer entry `n`.
    #[inline(always)]
    pub fn flags(&self, n: u32) -> Word {
        self.entry_word(n, entry::FLAGS)
    }
    /// The largest lag, in messages, that an evictable consumer's entry `n` agreed to.
    #[inline(always)]
    pub fn lag_max(&self, n: u32) -> Word {
        self.entry_word(n, entry::LAG_MAX)
    }
    #[inline(always)]
    pub fn entry_word(&self, n: u32, at: u64) -> Word {
        debug_assert!(u64::from(n) < self.consumers && at < entry::LEN);
        Word::readers(self.consumer_table + u64::from(n) * entry::LEN + at)
    }
    #[inline(always)]
    pub fn group_word(&self, group: u32, at: u64) -> Word {
        debug_assert!(u64::from(group) < self.groups && at < group::LEN);
        Word::readers(self.group_table + u64::from(group) * group::LEN + at)
    }
    #[inline(always)]
    pub fn worker_word(&self, worker: u32, at: u64) -> Word {
        debug_assert!(u64::from(worker) < self.workers && at < worker::LEN);
        Word::readers(self.worker_table + u64::from(worker) * worker::LEN + at)
    }
    /// The word of the delivery of `position` to a group.
    #[inline(always)]
    pub fn delivery(&self, group: u32, position: u64) -> Word {
        debug_assert!(u64::from(group) < self.groups);
        let words = self.group_words + u64::from(group) * self.group_words_len;
        Word::readers(words + self.index(position) * group::WORD_LEN)
    }
    #[inline(always)]
    pub fn event_word(&self, index: u64, at: u64) -> Word {
        debug_assert!(index < self.recorder_entries && at < event::LEN);
        Word::readers(self.recorder + index * event::LEN + at)
    }
}

/// The numbers of a table of so many entries: no table has more than 4096.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "no table has more than 4096 entries")]
const fn numbers(entries: u64) -> Range<u32> {
    0..entries as u32
}

/// The word that says which group a worker's entry belongs to: 1 + its number, or 0.
pub fn worker_group(geometry: &Geometry, entry: u32) -> Word {
    geometry.worker_word(entry, worker::GROUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_would_wrap_are_refused() {
        assert_eq!(Geometry::plan(0, 8, 1), Err(GeometryError::BlockSize(0)));
        assert_eq!(Geometry::plan(u64::MAX, 8, 1), Err(GeometryError::BlockSize(u64::MAX)));
        assert_eq!(Geometry::plan(8, 3, 1), Err(GeometryError::NotPowerOfTwo(3)));
        assert_eq!(Geometry::plan(8, 1 << 33, 1), Err(GeometryError::Capacity(1 << 33)));
        assert_eq!(Geometry::plan(8, 8, 0), Err(GeometryError::Consumers(0)));
        assert!(Geometry::plan(BLOCK_SIZE_MAX, CAPACITY_MAX, CONSUMERS_MAX).is_ok());
    }

    #[test]
    fn every_region_ends_before_the_next_begins() {
        for (block, capacity, consumers) in [(1, 1, 1), (48, 8, 2), (49, 8, 2), (65536, 1024, 64)] {
            let g = Geometry::plan(block, capacity, consumers).unwrap();
            assert!(g.slots().packed(g.slot(capacity - 1)).offset() + block <= g.producer_segment_len);
            assert_eq!(g.slot(0).sequence().offset % slot::ALIGN, 0);
            let last_entry = g.entry_word(u32::try_from(consumers).unwrap() - 1, entry::LEN - 8);
            assert!(last_entry.offset < g.event_word(0, 0).offset);
            let last_event = g.event_word(g.recorder_entries() - 1, event::LEN - 8);
            assert!(last_event.offset + 8 <= g.readers_segment_len);
            assert!(readers_page::NEXT_EVENT.offset < g.tail(0).offset);
        }
    }
}
