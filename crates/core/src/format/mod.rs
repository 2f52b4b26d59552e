//! Every offset and size of the file, said once. `docs/format.md` describes the same bytes for
//! people; the constant assertions below and the golden file bind the two together.
//!
//! All integers are little-endian and of fixed width. The file contains no pointer, no `usize`, no
//! `bool` and no type with a layout that Rust chooses.

use core::ops::Range;

mod delivery;
pub mod gating;
mod header;
mod size;
mod slot;
mod word;

pub use delivery::{Count, DeliveryWord, Millis, State, group_flags};
pub use delivery::{
    GROUPS_MAX, SIGHTING_LEVELS, SIGHTINGS_PER_LEVEL, WORKERS_MAX, group, group_settings, worker,
};
pub use gating::GatingEntry;
pub use header::{EARLIER_ANCESTORS, RawAncestor, RawHeader, fnv1a};
pub use size::to_usize;
pub use slot::{Block, Message, Run, Sequence, Slot, Slots};
pub use word::{Segment, Word};

/// First eight bytes of every ring.
pub const MAGIC: [u8; 8] = *b"SLIPRING";
/// The format version that this library writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Reads as this number only in the byte order in which the creator wrote it.
pub const BYTE_ORDER: u32 = 0x0A0B_0C0D;
/// The ring has groups. A producer that ignored the groups would overwrite unsettled messages.
pub const FEATURE_GROUPS: u64 = 1;
/// The locks are on a file beside the ring. A program that locked the ring's own file would have
/// none of them.
pub const FEATURE_LOCK_FILE: u64 = 2;
/// Feature bits that a program must understand before it touches the ring.
pub const KNOWN_REQUIRED_FEATURES: u64 = FEATURE_GROUPS | FEATURE_LOCK_FILE;

/// Bytes of the header.
pub const HEADER_LEN: u64 = 4096;
/// Bytes of a control page. The producer's page follows the header; the readers' page begins the
/// readers' segment.
const CONTROL_LEN: u64 = 4096;
/// Bytes that every hot word has to itself: two cache lines, since x86-64 prefetches lines in pairs
/// and some aarch64 cores have lines of 128 bytes. Fixed by the format, whatever the target.
const LINE: u64 = 128;
/// Alignment of both segments, in bytes: the largest page size of the supported targets, so that a
/// process can map either segment by itself.
const SEGMENT_ALIGN: u64 = 65536;

/// Bytes that precede the message in a dead letter.
pub const DEAD_LETTER_HEADER_LEN: u64 = 192;
/// Longest text of a message type's description, in bytes.
pub const SCHEMA_MAX: usize = 2048;
/// Longest name of a consumer, in bytes of UTF-8.
pub const NAME_MAX: usize = 64;

/// Highest position: a position plus a capacity fits 63 bits, which leaves a tail its tag.
pub const POSITION_MAX: u64 = (1 << 63) - (1 << 33);
/// Highest first position of a new ring: a trillion messages below [`POSITION_MAX`].
pub const FIRST_POSITION_MAX: u64 = (1 << 63) - (1 << 40);

/// A consumer's tail: one word that tells the producer all that it needs of that consumer.
///
/// | value | meaning |
/// |---|---|
/// | all bits set | gates no position: the entry is free, or its owner left |
/// | all bits but the lowest | gates no position: the producer evicted the owner, which finds out at its next read |
/// | bit 63 set otherwise | gates from the position in bits 0..63, and may be evicted |
/// | bit 63 clear | gates from this position, until its owner moves the tail |
///
/// The mark *evictable* lies in the same word as the position. Were it in a second word, a producer
/// could read "evictable", be delayed, and then evict a reader in place that has taken the entry
/// over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail(pub u64);

impl Tail {
    /// Gates no position.
    pub const NONE: Tail = Tail(u64::MAX);
    /// The producer took the tail away.
    pub const EVICTED: Tail = Tail(u64::MAX - 1);
    const EVICTABLE: u64 = 1 << 63;

    /// Gates from `position`.
    #[inline(always)]
    pub const fn at(position: u64, evictable: bool) -> Tail {
        Tail(position | if evictable { Tail::EVICTABLE } else { 0 })
    }
    /// The position from which the tail gates, if it gates. Unbounded: another process wrote the
    /// tail.
    #[inline(always)]
    pub const fn position(self) -> Option<u64> {
        if self.0 >= Tail::EVICTED.0 { None } else { Some(self.0 & !Tail::EVICTABLE) }
    }
    /// True if the producer may take the tail away.
    #[inline(always)]
    pub const fn is_evictable(self) -> bool {
        self.0 & Tail::EVICTABLE != 0 && self.0 < Tail::EVICTED.0
    }
}

/// Longest block, in bytes.
pub const BLOCK_SIZE_MAX: u64 = 1 << 30;
/// Most blocks of a ring.
pub const CAPACITY_MAX: u64 = 1 << 32;
/// Most consumer entries of a ring.
pub const CONSUMERS_MAX: u64 = 4096;
const RECORDER_ENTRIES: u64 = 256;
/// Bytes about a redriven message, for each slot of a ring with groups.
const REDRIVEN_LEN: u64 = 16;
/// Deliveries of a run; each group has one word per run. A power of two.
const RUN_LEN: u64 = 16;

/// The words of the producer's page.
pub mod producer_page {
    use super::{HEADER_LEN, LINE, Word};

    /// One past the highest position ever claimed; never falls.
    pub const CLAIMED: Word = Word::producer(HEADER_LEN);
    /// The next position to publish.
    pub const HEAD: Word = Word::producer(HEADER_LEN + LINE);
    /// Upper bound of the published messages that have headers: every message in
    /// `HEADERS_UNTIL..HEAD` is headerless. The word lies on the line of `HEAD`, and a reader loads
    /// `HEAD` first. The producer stores no value below the head of that moment. So a value that is
    /// newer than the loaded head covers too many messages, and never too few. The word may fall.
    ///
    /// Example: `HEAD` is 10 and this word is 7, so messages 7 to 9 are headerless. The producer
    /// publishes a batch of a short message 10 and headerless messages 11 to 19: it stores 11 here,
    /// and then 20 in `HEAD`. A reader that loads 10 and then 11 looks into the slots of messages 7
    /// to 9 without need; it misses no header.
    pub const HEADERS_UNTIL: Word = Word::producer(HEADER_LEN + LINE + 8);
    /// Stands in `HEADERS_UNTIL` while the producer sends messages one by one, which saves a store
    /// for each.
    pub const ALL_HAVE_HEADERS: u64 = u64::MAX;
    /// The producer may overwrite positions below `LIMIT - capacity`. Never falls below `CLAIMED`.
    pub const LIMIT: Word = Word::producer(HEADER_LEN + 2 * LINE);
    /// Readers sleep on this word. The producer changes it before it wakes them.
    pub const WAKE: Word = Word::producer(HEADER_LEN + 3 * LINE);
    /// 0 while the stream is open, [`IS_CLOSED`] once the producer has closed it, [`WAS_LEFT`] once
    /// the producer has left an open stream in good order.
    pub const CLOSED: Word = Word::producer(HEADER_LEN + 4 * LINE);
    /// Nothing more will come, unless a producer opens the stream again.
    pub const IS_CLOSED: u64 = 1;
    /// The stream is open, and the producer is not dead: it left.
    pub const WAS_LEFT: u64 = 2;
    /// Number of producers that the ring has had.
    pub const EPOCH: Word = Word::producer(HEADER_LEN + 4 * LINE + 8);
    /// Process number of the producer, for display only.
    pub const PID: Word = Word::producer(HEADER_LEN + 4 * LINE + 16);
    /// When the producer opened the ring, in milliseconds since 1970.
    pub const OPENED_MS: Word = Word::producer(HEADER_LEN + 4 * LINE + 24);
    /// Times that a producer found the ring full. Statistics.
    pub const FULL_COUNT: Word = Word::producer(HEADER_LEN + 5 * LINE);
    /// Times that the producer woke sleeping readers. Statistics.
    pub const WAKE_COUNT: Word = Word::producer(HEADER_LEN + 5 * LINE + 8);
    /// Consumers that the producer evicted. Statistics.
    pub const EVICTED_COUNT: Word = Word::producer(HEADER_LEN + 5 * LINE + 16);
}

/// The words of the readers' page.
pub mod readers_page {
    use super::{LINE, Word};

    /// Nonzero while a reader may sleep. The sleeper sets it; the producer clears it and then
    /// wakes.
    pub const READERS_ASLEEP: Word = Word::readers(0);
    /// Nonzero while the producer may sleep. The producer sets it; a reader clears it and then
    /// wakes.
    pub const PRODUCER_ASLEEP: Word = Word::readers(LINE);
    /// The producer sleeps on this word. A reader changes it before it wakes the producer.
    pub const ROOM: Word = Word::readers(2 * LINE);
    /// Number of the next event of the flight recorder, from 0. Changed under the table right.
    pub const NEXT_EVENT: Word = Word::readers(3 * LINE);
    /// One past the highest consumer entry that a consumer ever used. The producer looks at no tail
    /// beyond. Never falls.
    pub const USED_CONSUMERS: Word = Word::readers(4 * LINE);
    /// One past the highest group entry that a group ever used.
    pub const USED_GROUPS: Word = Word::readers(4 * LINE + 8);
    /// One past the highest worker entry that a worker ever used.
    pub const USED_WORKERS: Word = Word::readers(4 * LINE + 16);
}

/// Where the words of one consumer's entry lie, from the entry's start.
pub mod entry {
    /// Bytes of an entry: a line for hot words, and a line for the others.
    pub const LEN: u64 = 2 * super::LINE;
    pub use super::gating::{AFTER, FOLLOWERS_ASLEEP, GENERATION, LEFT_AT, PROGRESS, TAIL};
    /// The word of [`EntryFlags`](super::EntryFlags).
    pub const FLAGS: u64 = super::LINE;
    /// Process number of the owner, for display only.
    pub const PID: u64 = super::LINE + 8;
    /// Time of the join, in milliseconds since 1970.
    pub const JOINED_MS: u64 = super::LINE + 16;
    /// Time at which a durable consumer's owner went, in milliseconds since 1970; 0: the owner is
    /// there.
    pub const DETACHED_MS: u64 = super::LINE + 24;
    /// Largest lag, in messages, that an evictable consumer agreed to.
    pub const LAG_MAX: u64 = super::LINE + 32;
    /// Messages that this consumer missed by evictions.
    pub const MISSED: u64 = super::LINE + 48;
    /// The consumer's name: UTF-8, zero-padded.
    pub const NAME: u64 = super::LINE + 64;
    const _: () = assert!(NAME + super::NAME_MAX as u64 == LEN);
}

/// Bits of an entry's flags word.
///
/// | bit | meaning |
/// |---|---|
/// | 0 | taken: the entry belongs to a consumer, alive or dead |
/// | 1 | durable: the tail survives its owner |
/// | 2 | evictable: the producer may take the tail away |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryFlags(pub u64);

impl EntryFlags {
    /// A free entry.
    pub const FREE: EntryFlags = EntryFlags(0);

    /// An entry of an ephemeral, durable or evictable consumer.
    pub const fn taken(durable: bool, evictable: bool) -> EntryFlags {
        EntryFlags(1 | (durable as u64) << 1 | (evictable as u64) << 2)
    }
    /// True if the entry belongs to a consumer, alive or dead.
    pub const fn is_taken(self) -> bool {
        self.0 & 1 != 0
    }
    /// True if the tail survives its owner.
    pub const fn is_durable(self) -> bool {
        self.0 & 2 != 0
    }
    /// True if the entry is a durable consumer's, which may come back.
    pub const fn is_kept(self) -> bool {
        self.is_taken() && self.is_durable()
    }
    /// True if the producer may take the tail away.
    pub const fn is_evictable(self) -> bool {
        self.0 & 4 != 0
    }
}

/// Where the words of one recorded event lie, from the record's start.
pub mod event {
    /// Bytes of a record.
    pub const LEN: u64 = super::LINE;
    /// Event number + 1; 0 while a recorder writes the record.
    pub const NUMBER: u64 = 0;
    /// Number of the [`EventKind`](crate::protocol::recorder::EventKind).
    pub const KIND: u64 = 8;
    /// Position at which the event happened.
    pub const POSITION: u64 = 16;
    /// Number of the process concerned, for display only.
    pub const PID: u64 = 24;
    /// Time of the latest repeat, in milliseconds since 1970.
    pub const UNIX_MS: u64 = 32;
    /// Times that the same event happened again directly afterwards.
    pub const REPEATS: u64 = 40;
    /// Name of the consumer or group concerned: UTF-8, zero-padded.
    pub const NAME: u64 = 48;
    /// Number of the group concerned + 1, of a note; else 0.
    pub const GROUP: u64 = 112;
    const _: () = assert!(NAME + super::NAME_MAX as u64 <= GROUP && GROUP + 8 <= LEN);
}

/// The length and the kind of a message: the second word of its slot.
///
/// | bits | meaning |
/// |---|---|
/// | 0..31 | length in bytes |
/// | 31 | redriven: one group only gets the message |
/// | 32..64 | kind |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta(pub u64);

impl Meta {
    const REDRIVEN: u64 = 1 << 31;
    /// Packs a length and a kind.
    #[inline(always)]
    pub const fn new(len: u32, kind: u32) -> Meta {
        Meta((kind as u64) << 32 | len as u64)
    }
    /// Length in bytes, as stored. The caller bounds it by the block size.
    #[inline(always)]
    pub const fn len(self) -> usize {
        (self.0 & 0x7FFF_FFFF) as usize
    }
    /// The same, of a message that is redriven to the group that gave it up.
    #[inline(always)]
    pub const fn redriven(self) -> Meta {
        Meta(self.0 | Meta::REDRIVEN)
    }
    /// True if the message is for one group only.
    #[inline(always)]
    pub const fn is_redriven(self) -> bool {
        self.0 & Meta::REDRIVEN != 0
    }
    /// True for a message of 0 bytes.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
    /// The kind.
    #[inline(always)]
    pub const fn kind(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Reasons for which a geometry is impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// Block size of 0 or above 1 GiB.
    #[error("block size of {0} bytes: a block has 1 to {BLOCK_SIZE_MAX}")]
    BlockSize(u64),
    /// Block size at which dead letters, which carry more than the message, would exceed 1 GiB.
    #[error("block size of {0} bytes: in a ring with groups a block has at most {max}", max = BLOCK_SIZE_MAX - DEAD_LETTER_HEADER_LEN)]
    DeadLetterSize(u64),
    /// Capacity of 0 or above 2^32 blocks.
    #[error("capacity of {0} blocks: a ring has 1 to {CAPACITY_MAX}")]
    Capacity(u64),
    /// Capacity of a file that is not a power of two. (A creator rounds up.)
    #[error("capacity {0} blocks is not a power of two")]
    NotPowerOfTwo(u64),
    /// More than 4096 consumer entries, or 0.
    #[error("{0} consumer entries: a ring has 1 to {CONSUMERS_MAX}")]
    Consumers(u64),
    /// More durable consumers are declared than the ring has consumer entries.
    #[error(
        "{durables} durable consumers are declared, and there are {consumers} consumer entries; ask for more entries"
    )]
    Durables {
        /// Number of declared durable consumers.
        durables: u64,
        /// Number of consumer entries.
        consumers: u64,
    },
    /// More than 64 groups.
    #[error("{0} groups: a ring has at most {GROUPS_MAX}")]
    Groups(u64),
    /// More than 1024 worker entries, or 0 in a ring with groups.
    #[error("{0} worker entries: a ring with groups has 1 to {WORKERS_MAX}")]
    Workers(u64),
    /// First position above 2^63 - 2^40.
    #[error("first position {0} is above {FIRST_POSITION_MAX}")]
    FirstPosition(u64),
    /// The description of the message type is too long.
    #[error("the description of the message type has {0} bytes, at most {SCHEMA_MAX} fit")]
    Schema(u64),
}

/// Places of all words, slots and blocks of one ring. Computed from the header's few numbers, and
/// never read back from shared memory.
///
/// # Invariants
///
/// Every slot, block, entry and record that an in-range index names lies inside its segment.
/// [`Geometry::plan`] and [`Geometry::with_groups`] check all sums.
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
    redriven_words: u64,
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
        // INVARIANT: the bounds above keep every sum below 2^63: slots and blocks take at most 2^32
        // * (2^30 + 128) bytes.
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
            redriven_words: 0,
            readers_segment_len,
            first_position: 0,
        })
    }

    /// The same with the layout of long blocks, for the short ones of a model checker.
    #[doc(hidden)]
    #[must_use]
    pub fn with_one_place(self) -> Geometry {
        Geometry { slots: self.slots.with_one_place(), ..self }
    }

    /// The same ring with room for `groups` groups and for `workers` workers over all groups.
    /// Without groups the ring has no workers either.
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
        // INVARIANT: at most 2^6 * 2^32 * 9 + 2^36 bytes of words: no sum comes near 2^63.
        let group_table = self.readers_segment_len;
        let worker_table = group_table + groups * group::LEN;
        let group_words = (worker_table + workers * worker::LEN).next_multiple_of(4096);
        let group_words_len = (self.slots.capacity() * group::WORD_LEN).next_multiple_of(LINE);
        let run_words = group_words + groups * group_words_len;
        let redriven_words = run_words + groups * self.run_words_len();
        let readers_segment_len =
            (redriven_words + self.slots.capacity() * REDRIVEN_LEN).next_multiple_of(4096);
        Ok(Geometry {
            group_table,
            groups,
            worker_table,
            workers,
            group_words,
            group_words_len,
            redriven_words,
            readers_segment_len,
            ..self
        })
    }

    /// The same ring, whose first message has this position.
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
    /// The lowest position that the producer leaves alone while it may write positions below `end`.
    pub fn earliest(&self, end: u64) -> u64 {
        end.saturating_sub(self.slots.capacity()).max(self.first_position)
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> u64 {
        self.producer_segment_len + self.readers_segment_len
    }
    /// Bytes of the producer's segment, which begins the file.
    pub fn producer_segment_len(&self) -> u64 {
        self.producer_segment_len
    }
    /// Bytes of the readers' segment, which follows the producer's.
    pub fn readers_segment_len(&self) -> u64 {
        self.readers_segment_len
    }
    /// Number of blocks.
    #[inline(always)]
    pub fn capacity(&self) -> u64 {
        self.slots.capacity()
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
    /// Laps of the ring that precede a position: position / capacity. In a ring of 4 blocks,
    /// positions 4 to 7 are of lap 1.
    #[inline(always)]
    pub fn lap(&self, position: u64) -> u64 {
        position >> self.slots.capacity().trailing_zeros()
    }
    /// Number of records of the flight recorder.
    pub fn recorder_entries(&self) -> u64 {
        self.recorder_entries
    }
    /// The number of a position's slot, below the capacity.
    #[inline(always)]
    pub fn index(&self, position: u64) -> u64 {
        position & (self.slots.capacity() - 1)
    }
    /// Places of the slots and blocks: all that the hot paths need, small enough to be copied.
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
    /// The word `at` bytes from the start of consumer entry `n`; `at` is below [`entry::LEN`].
    #[inline(always)]
    pub fn entry_word(&self, n: u32, at: u64) -> Word {
        debug_assert!(u64::from(n) < self.consumers && at < entry::LEN);
        Word::readers(self.consumer_table + u64::from(n) * entry::LEN + at)
    }
    /// The word `at` bytes from the start of a group's entry; `at` is below [`group::LEN`].
    #[inline(always)]
    pub fn group_word(&self, group: u32, at: u64) -> Word {
        debug_assert!(u64::from(group) < self.groups && at < group::LEN);
        Word::readers(self.group_table + u64::from(group) * group::LEN + at)
    }
    /// The word `at` bytes from the start of a worker's entry; `at` is below [`worker::LEN`].
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
    /// Positions of a run: as many deliveries as share two cache lines, and at most a lap.
    #[inline(always)]
    pub fn run_len(&self) -> u64 {
        RUN_LEN.min(self.slots.capacity())
    }
    /// Bytes of the words of a group's runs.
    #[inline(always)]
    fn run_words_len(&self) -> u64 {
        (self.slots.capacity() / self.run_len() * 8).next_multiple_of(LINE)
    }
    /// The word that says up to where all is settled from the first position of a run on. It is
    /// the run of `position`, in its lap.
    #[inline(always)]
    pub fn run_end(&self, group: u32, position: u64) -> Word {
        debug_assert!(u64::from(group) < self.groups);
        let run_words = self.group_words + self.groups * self.group_words_len;
        let words = run_words + u64::from(group) * self.run_words_len();
        Word::readers(words + self.index(position) / self.run_len() * 8)
    }
    /// One of the two words about the redriven message at `position`.
    #[inline(always)]
    pub fn redriven(&self, position: u64, nth: u64) -> Word {
        debug_assert!(self.groups > 0 && nth < 2);
        Word::readers(self.redriven_words + self.index(position) * REDRIVEN_LEN + 8 * nth)
    }
    /// The word `at` bytes from the start of record `index`; `at` is below [`event::LEN`].
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

/// The word that names the group of a worker's entry: 1 + the group's number, or 0.
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
