//! The file as `docs/format.md` describes it, read without the library.

use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

const HEAD: usize = 4224;
const CLOSED: usize = 4608;
const CONTROL: usize = 4096;
const SLOTS: usize = 8192;
const LOCK_BASE: i64 = 1 << 62;

/// What a delivery word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Nobody was given the message yet.
    Fresh,
    /// It can be had, now or later, after so many attempts.
    Open(u32),
    /// A worker has it, on this attempt.
    Leased(u32),
    Acked,
    Dead,
    Doomed,
}

impl Delivery {
    pub(crate) fn is_settled(self) -> bool {
        matches!(self, Delivery::Acked | Delivery::Dead)
    }
}

/// A ring's file.
#[derive(Debug)]
pub(crate) struct Raw {
    map: Mmap,
    locks: File,
}

impl Raw {
    pub(crate) fn open(path: &Path) -> io::Result<Raw> {
        let locks = File::options().read(true).write(true).open(path)?;
        // SAFETY: the bytes change under the mapping; nothing here depends on two looks agreeing.
        let map = unsafe { Mmap::map(&locks)? };
        Ok(Raw { map, locks })
    }

    fn word(&self, at: usize) -> u64 {
        self.map[at..at + 8].iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
    }

    fn offset(&self, at: usize) -> usize {
        usize::try_from(self.word(at)).unwrap_or(usize::MAX)
    }

    fn readers(&self) -> usize {
        self.offset(104)
    }

    fn capacity(&self) -> u64 {
        self.word(64)
    }

    fn slot(&self, position: u64) -> usize {
        SLOTS + usize::try_from(position % self.capacity()).unwrap_or(0) * self.offset(72)
    }

    /// What may be decided by, and what people are told: everything but the header.
    pub(crate) fn control(&self) -> [&[u8]; 2] {
        let blocks = self.offset(352) + usize::try_from(self.capacity()).unwrap_or(0) * self.offset(360);
        [&self.map[CONTROL..blocks], &self.map[self.readers()..]]
    }

    pub(crate) fn sequence(&self, position: u64) -> u64 {
        self.word(self.slot(position))
    }

    /// One past the last message that is published, whether it was counted or not.
    pub(crate) fn head(&self) -> u64 {
        let mut head = self.word(HEAD);
        while self.sequence(head) == head + 1 {
            head += 1;
        }
        head
    }

    /// One past the highest position that was ever claimed.
    pub(crate) fn claimed(&self) -> u64 {
        self.word(CONTROL)
    }

    pub(crate) fn first_position(&self) -> u64 {
        self.word(232)
    }

    /// Nonzero when a reader may sleep.
    pub(crate) fn readers_asleep(&self) -> u64 {
        self.word(self.readers())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.word(CLOSED) != 0
    }

    /// A published message: its bytes, and whether the rest of its block is zero.
    pub(crate) fn message(&self, position: u64) -> (&[u8], bool) {
        let (slot, block_size) = (self.slot(position), self.offset(56));
        let index = usize::try_from(position % self.capacity()).unwrap_or(0);
        let packed = self.offset(352) + index * self.offset(360);
        let described = usize::try_from(self.word(slot + 8) & 0xFFFF_FFFF).unwrap_or(0);
        let (block, len) = match self.sequence(position) {
            alone if alone == position + 1 && self.offset(80) != self.offset(352) => {
                (self.offset(80) + slot - SLOTS, described)
            }
            alone if alone == position + 1 => (packed, described),
            sealed if sealed == (position + 1) | 1 << 63 => (packed, described),
            _ => (packed, block_size),
        };
        let block = &self.map[block..block + block_size];
        (&block[..len], block[len..].iter().all(|&byte| byte == 0))
    }

    /// A consumer entry's tail, if it gates.
    pub(crate) fn tail(&self, entry: usize) -> Option<u64> {
        let tail = self.word(self.readers() + self.offset(112) + entry * 256);
        (tail < u64::MAX - 1).then_some(tail & !(1 << 63))
    }

    /// Flags of a consumer entry: 1 taken, 2 durable, 4 evictable.
    pub(crate) fn flags(&self, entry: usize) -> u64 {
        self.word(self.readers() + self.offset(112) + entry * 256 + 128)
    }

    /// Flags of a group's entry: 0 free, 1 a group, 2 unfinished.
    pub(crate) fn group_flags(&self, group: usize) -> u64 {
        self.word(self.readers() + self.offset(160) + group * 1024 + 256)
    }

    /// What a group's word says of a position.
    pub(crate) fn delivery(&self, group: usize, position: u64) -> Delivery {
        let capacity = self.capacity();
        let group_len = (usize::try_from(capacity).unwrap_or(0) * 8).next_multiple_of(128);
        let index = usize::try_from(position % capacity).unwrap_or(0);
        let word = self.word(self.readers() + self.offset(184) + group * group_len + index * 8);
        if word >> 52 != position / capacity % 4096 || word << 12 == 0 {
            return Delivery::Fresh;
        }
        let attempt = u32::try_from(word >> 42 & 0x7F).unwrap_or(0);
        match word >> 49 & 7 {
            1 => Delivery::Leased(attempt),
            3 => Delivery::Acked,
            4 => Delivery::Dead,
            5 => Delivery::Doomed,
            _ => Delivery::Open(attempt),
        }
    }

    fn is_locked(&self, byte: i64) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "small constants")]
        let mut lock = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: LOCK_BASE + byte,
            l_len: 1,
            l_pid: 0,
        };
        use std::os::fd::AsRawFd;
        // SAFETY: the structure lives across the call.
        let asked = unsafe { libc::fcntl(self.locks.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
        #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
        let unlocked = libc::F_UNLCK as libc::c_short;
        asked == 0 && lock.l_type != unlocked
    }

    /// Somebody is the producer.
    pub(crate) fn has_producer(&self) -> bool {
        self.is_locked(0)
    }

    /// Somebody edits the tables.
    pub(crate) fn is_table_locked(&self) -> bool {
        self.is_locked(1)
    }

    /// Which of the first locks of each kind are held, as bits.
    pub(crate) fn locks(&self) -> u64 {
        let bytes = [0, 1].into_iter().chain(0x1_0000..0x1_0004).chain(0x2_0000..0x2_0004);
        bytes.fold(0, |bits, byte| bits << 1 | u64::from(self.is_locked(byte)))
    }
}

/// The path of the dead-letter ring beside a ring.
pub(crate) fn dead_path(path: &Path) -> PathBuf {
    let mut dead = path.as_os_str().to_owned();
    dead.push(".dead");
    dead.into()
}

/// Everything that outlives the victim, and its locks: looks whether any of it changed.
#[derive(Debug)]
pub(crate) struct Watch {
    directory: PathBuf,
    rings: Vec<(Raw, [Vec<u8>; 2])>,
    locks: Vec<u64>,
    names: u64,
}

impl Watch {
    pub(crate) fn new(directory: &Path) -> Watch {
        let mut watch =
            Watch { directory: directory.to_path_buf(), rings: Vec::new(), locks: Vec::new(), names: 0 };
        watch.look_for_files();
        watch
    }

    fn look_for_files(&mut self) {
        let path = self.directory.join("ring");
        self.rings = [path.clone(), dead_path(&path)]
            .iter()
            .filter_map(|path| Raw::open(path).ok())
            .map(|raw| {
                let seen = raw.control().map(<[u8]>::to_vec);
                (raw, seen)
            })
            .collect();
        self.locks = self.rings.iter().map(|(raw, _)| raw.locks()).collect();
        self.names = names(&self.directory);
    }

    /// True if something changed since the last look. Locks and names change in system calls only.
    pub(crate) fn changed(&mut self, after_call: bool) -> bool {
        let mut changed = false;
        for (raw, seen) in &mut self.rings {
            for (now, seen) in raw.control().into_iter().zip(seen) {
                if now != seen.as_slice() {
                    seen.copy_from_slice(now);
                    changed = true;
                }
            }
        }
        if after_call {
            if names(&self.directory) != self.names {
                self.look_for_files();
                return true;
            }
            let locks: Vec<u64> = self.rings.iter().map(|(raw, _)| raw.locks()).collect();
            changed |= locks != self.locks;
            self.locks = locks;
        }
        changed
    }

    /// The state as one number.
    pub(crate) fn hash(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        for (_, seen) in &self.rings {
            seen.hash(&mut hasher);
        }
        self.locks.hash(&mut hasher);
        self.names.hash(&mut hasher);
        hasher.finish()
    }
}

/// The names in a directory and the files they mean, as one number.
fn names(directory: &Path) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    use std::os::unix::fs::DirEntryExt;
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<_> = entries.map(|entry| (entry.file_name(), entry.ino())).collect();
    names.sort();
    let mut hasher = DefaultHasher::new();
    names.hash(&mut hasher);
    hasher.finish()
}
