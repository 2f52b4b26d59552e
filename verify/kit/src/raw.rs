//! A ring's file as `docs/format.md` describes it, read without the library.

use crate::format::{consumer, group, header, lock, producer, readers, size, slot, worker};
use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// The state in a delivery word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// No worker has leased the message yet.
    Fresh,
    /// It can be had, now or later, after so many attempts.
    Open(u32),
    /// A worker has it, on this attempt.
    Leased(u32),
    /// Done.
    Acked,
    /// Its copy lies in the dead-letter ring, or it was dropped.
    Dead,
    /// Given up; its copy has still to be made.
    DeadPending,
}

impl Delivery {
    /// Returns true if no worker gets the message again.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Delivery::Acked | Delivery::Dead)
    }
}

/// A table of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Of consumers.
    Consumers,
    /// Of groups.
    Groups,
    /// Of workers.
    Workers,
}

/// The first words of the entry of a consumer or of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gating {
    /// A consumer's tail, or a group's floor.
    pub tail: u64,
    /// Number of owners so far.
    pub generation: u64,
    /// Where an owner left; [`NOT_LEFT`](Self::NOT_LEFT): none of this generation did.
    pub left_at: u64,
    /// Nonzero when a party may sleep until the tail moves.
    pub asleep: u64,
    /// The entries that this one follows.
    pub after: u64,
}

impl Gating {
    /// The tail of an entry that gates no position.
    pub const NONE: u64 = u64::MAX;
    /// The tail of a consumer that was evicted.
    pub const EVICTED: u64 = u64::MAX - 1;
    /// No owner of this generation left.
    pub const NOT_LEFT: u64 = u64::MAX;

    /// The position at which the entry gates, if it does.
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        (self.tail < Gating::EVICTED).then_some(self.tail & !(1 << 63))
    }
}

/// A ring's file.
#[derive(Debug)]
pub struct Raw {
    map: Mmap,
    locks: File,
}

impl Raw {
    /// Maps a file, for reading.
    ///
    /// # Errors
    ///
    /// The errors of opening and mapping a file.
    pub fn open(path: &Path) -> io::Result<Raw> {
        let open = |path: &Path| File::options().read(true).write(true).open(path);
        let ring = open(path)?;
        // SAFETY: the bytes change under the mapping; nothing here depends on two looks agreeing.
        let map = unsafe { Mmap::map(&ring)? };
        let raw = Raw { map, locks: ring };
        match raw.word(size(header::LOCK_FILE)) {
            0 => Ok(raw),
            _ => Ok(Raw { locks: open(&beside(path, ".locks"))?, ..raw }),
        }
    }

    fn word(&self, at: usize) -> u64 {
        self.map[at..at + 8].iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
    }

    /// An offset that the header has.
    fn at(&self, field: u64) -> usize {
        size(self.word(size(field)))
    }

    fn readers(&self) -> usize {
        self.at(header::READERS)
    }

    fn capacity(&self) -> u64 {
        self.word(size(header::CAPACITY))
    }

    fn slot(&self, position: u64) -> usize {
        size(slot::FIRST)
            + usize::try_from(position % self.capacity()).unwrap_or(0) * self.at(header::SLOT_STRIDE)
    }

    /// Every word that the protocol decides by or that a snapshot shows: all but the header.
    #[must_use]
    pub fn control(&self) -> [&[u8]; 2] {
        let blocks = self.at(header::PACKED)
            + usize::try_from(self.capacity()).unwrap_or(0) * self.at(header::PACKED_STRIDE);
        [&self.map[size(producer::PAGE)..blocks], &self.map[self.readers()..]]
    }

    /// The sequence word of the slot of a position.
    #[must_use]
    pub fn sequence(&self, position: u64) -> u64 {
        self.word(self.slot(position))
    }

    /// One past the last message that is published, whether it was counted or not.
    #[must_use]
    pub fn head(&self) -> u64 {
        let mut head = self.word(size(producer::HEAD));
        while self.sequence(head) == head + 1 {
            head += 1;
        }
        head
    }

    /// One past the highest position that was ever claimed.
    #[must_use]
    pub fn claimed(&self) -> u64 {
        self.word(size(producer::CLAIMED))
    }

    /// The position of the first message.
    #[must_use]
    pub fn first_position(&self) -> u64 {
        self.word(size(header::FIRST_POSITION))
    }

    /// Nonzero when a reader may sleep.
    #[must_use]
    pub fn readers_asleep(&self) -> u64 {
        self.word(self.readers() + size(readers::READERS_ASLEEP))
    }

    /// Returns true if the producer has closed the stream.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.word(size(producer::CLOSED)) == 1
    }

    /// A published message: its bytes, and whether the rest of its block is zero.
    #[must_use]
    pub fn message(&self, position: u64) -> (&[u8], bool) {
        let (at, block_size) = (self.slot(position), self.at(header::BLOCK_SIZE));
        let index = usize::try_from(position % self.capacity()).unwrap_or(0);
        let packed = self.at(header::PACKED) + index * self.at(header::PACKED_STRIDE);
        // Bit 31 marks a redriven message.
        let len = usize::try_from(self.word(at + size(slot::DESCRIPTION)) & 0x7FFF_FFFF).unwrap_or(0);
        let (block, len) = match self.sequence(position) {
            alone if alone == position + 1 && self.at(header::FIRST_BLOCK) != self.at(header::PACKED) => {
                (self.at(header::FIRST_BLOCK) + at - size(slot::FIRST), len)
            }
            alone if alone == position + 1 => (packed, len),
            batched if batched == (position + 1) | 1 << 63 => (packed, len),
            _ => (packed, block_size),
        };
        let block = &self.map[block..block + block_size];
        (&block[..len], block[len..].iter().all(|&byte| byte == 0))
    }

    /// Number of entries of a table.
    #[must_use]
    pub fn entries(&self, table: Table) -> usize {
        self.at(match table {
            Table::Consumers => header::CONSUMERS,
            Table::Groups => header::GROUPS,
            Table::Workers => header::WORKERS,
        })
    }

    /// One past the highest entry of a table that was ever taken.
    #[must_use]
    pub fn used(&self, table: Table) -> u64 {
        let word = match table {
            Table::Consumers => readers::USED_CONSUMERS,
            Table::Groups => readers::USED_GROUPS,
            Table::Workers => readers::USED_WORKERS,
        };
        self.word(self.readers() + size(word))
    }

    fn entry(&self, table: Table, number: usize) -> usize {
        let (first, len) = match table {
            Table::Consumers => (header::CONSUMER_TABLE, consumer::LEN),
            Table::Groups => (header::GROUP_TABLE, group::LEN),
            Table::Workers => (header::WORKER_TABLE, worker::LEN),
        };
        self.readers() + self.at(first) + number * size(len)
    }

    /// The first words of an entry of consumers or groups.
    #[must_use]
    pub fn gating(&self, table: Table, number: usize) -> Gating {
        let word = |at| self.word(self.entry(table, number) + size(at));
        Gating {
            tail: word(consumer::TAIL),
            generation: word(consumer::GENERATION),
            left_at: word(consumer::LEFT_AT),
            asleep: word(consumer::FOLLOWERS_ASLEEP),
            after: word(consumer::AFTER),
        }
    }

    /// The pin of a worker's entry, if it gates.
    #[must_use]
    pub fn pin(&self, number: usize) -> Option<u64> {
        let pin = self.word(self.entry(Table::Workers, number) + size(worker::PIN));
        (pin < u64::MAX - 1).then_some(pin)
    }

    /// A consumer entry's tail, if it gates.
    #[must_use]
    pub fn tail(&self, entry: usize) -> Option<u64> {
        self.gating(Table::Consumers, entry).position()
    }

    /// Flags of a consumer entry: 1 taken, 2 durable, 4 evictable.
    #[must_use]
    pub fn flags(&self, entry: usize) -> u64 {
        self.word(self.entry(Table::Consumers, entry) + size(consumer::FLAGS))
    }

    /// Flags of a group's entry: 0 free, 1 a group, 2 unfinished.
    #[must_use]
    pub fn group_flags(&self, index: usize) -> u64 {
        self.word(self.entry(Table::Groups, index) + size(group::FLAGS))
    }

    /// The state of a position in a group.
    #[must_use]
    pub fn delivery(&self, group: usize, position: u64) -> Delivery {
        let capacity = self.capacity();
        let group_len = (usize::try_from(capacity).unwrap_or(0) * 8).next_multiple_of(128);
        let index = usize::try_from(position % capacity).unwrap_or(0);
        let word = self.word(self.readers() + self.at(header::DELIVERIES) + group * group_len + index * 8);
        if word >> 52 != position / capacity % 4096 || word << 12 == 0 {
            return Delivery::Fresh;
        }
        let attempt = u32::try_from(word >> 42 & 0x7F).unwrap_or(0);
        match word >> 49 & 7 {
            1 => Delivery::Leased(attempt),
            3 => Delivery::Acked,
            4 => Delivery::Dead,
            5 => Delivery::DeadPending,
            _ => Delivery::Open(attempt),
        }
    }

    fn is_locked(&self, byte: i64) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "small constants")]
        let mut lock = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: byte,
            l_len: 1,
            l_pid: 0,
        };
        // SAFETY: the structure lives across the call.
        let asked = unsafe { libc::fcntl(self.locks.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
        #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
        let unlocked = libc::F_UNLCK as libc::c_short;
        asked == 0 && lock.l_type != unlocked
    }

    /// A process holds the producer's right.
    #[must_use]
    pub fn has_producer(&self) -> bool {
        self.is_locked(lock::PRODUCER)
    }

    /// A process holds the table right.
    #[must_use]
    pub fn is_table_locked(&self) -> bool {
        self.is_locked(lock::TABLE)
    }

    /// Which of the first locks of each kind are held, as bits.
    #[must_use]
    pub fn locks(&self) -> u64 {
        let entries = |first| first..first + 4;
        let rights = [lock::PRODUCER, lock::TABLE].into_iter();
        let bytes = rights.chain(entries(lock::CONSUMERS)).chain(entries(lock::WORKERS));
        bytes.fold(0, |bits, byte| bits << 1 | u64::from(self.is_locked(byte)))
    }
}

/// The path of the dead-letter ring beside a ring.
#[must_use]
pub fn dead_path(path: &Path) -> PathBuf {
    beside(path, ".dead")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(suffix);
    beside.into()
}
