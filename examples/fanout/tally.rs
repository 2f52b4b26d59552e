//! A process's account of the stream, and the file in which the process keeps it.

use crate::kinds::CONTINUES;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A hash of one message. The checksum of a stream is the wrapping sum of its messages' hashes:
/// since the position is hashed, too, a message that is lost, doubled, cut or moved changes the
/// sum; and the sum of any part of the stream can be compared, which is what an observer needs that
/// missed another part.
///
/// The hash finds mistakes, not malice.
#[inline]
pub(crate) fn hash(position: u64, kind: u32, bytes: &[u8]) -> u64 {
    const KEY: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(KEY);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
        let (low, high) = (product as u64, (product >> 64) as u64);
        low ^ high
    };
    let start = mix(KEY ^ position, (u64::from(kind) << 32) ^ bytes.len() as u64);
    let words = bytes.chunks_exact(8).filter_map(|word| word.try_into().ok()).map(u64::from_le_bytes);
    let last = match bytes.last_chunk::<8>() {
        Some(&word) => u64::from_le_bytes(word), // overlaps the word before, which does no harm
        None => bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    };
    mix(words.fold(start, mix), last)
}

/// Nanoseconds since 1970: a clock that all processes share.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The account of one reader, across all processes that were it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The position that must come next.
    pub(crate) next: u64,
    /// The first position that came.
    pub(crate) first: u64,
    /// Messages, each counted once.
    pub(crate) received: u64,
    /// Lines that are complete.
    pub(crate) lines: u64,
    /// Sum of the hashes of the messages received.
    pub(crate) checksum: u64,
    /// Messages that the ring said were missed.
    pub(crate) missed: u64,
    /// Messages that did not come although the ring did not say so.
    pub(crate) gaps: u64,
    /// Messages that came although they had come before, without announcement.
    pub(crate) doubled: u64,
    /// Messages received again by a successor, and not counted again.
    pub(crate) again: u64,
    /// Where the last successor began; the beginning if there was none.
    pub(crate) resumed_at: u64,
    /// When the first message, and the last, was counted.
    pub(crate) first_ns: u64,
    pub(crate) last_ns: u64,
    /// 1 once the end of the stream was seen.
    pub(crate) finished: u64,
}

const WORDS: usize = 13;

impl Tally {
    /// Counts a message, before which the ring said that `missed` were missed.
    #[inline]
    pub(crate) fn count(&mut self, position: u64, kind: u32, bytes: &[u8], missed: u64) {
        if position != self.next + missed {
            self.irregular(position, missed);
        }
        if self.received == 0 {
            (self.first, self.first_ns) = (position, now_ns());
        }
        self.missed += missed;
        self.next = position + 1;
        self.received += 1;
        self.lines += u64::from(kind != CONTINUES);
        self.checksum = self.checksum.wrapping_add(hash(position, kind, bytes));
    }

    #[cold]
    fn irregular(&mut self, position: u64, missed: u64) {
        match position.checked_sub(self.next + missed) {
            Some(gap) => self.gaps += gap,
            None => self.doubled += 1,
        }
    }

    /// From the first message to the last.
    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.last_ns.saturating_sub(self.first_ns))
    }

    fn to_words(self) -> [u64; WORDS] {
        let Tally {
            next, first, received, lines, checksum, missed, gaps, doubled, again, resumed_at, ..
        } = self;
        let Tally { first_ns, last_ns, finished, .. } = self;
        [
            next, first, received, lines, checksum, missed, gaps, doubled, again, resumed_at, first_ns,
            last_ns, finished,
        ]
    }

    fn from_words(words: [u64; WORDS]) -> Tally {
        let [next, first, received, lines, checksum, missed, gaps, doubled, again, resumed_at, ..] = words;
        let [.., first_ns, last_ns, finished] = words;
        Tally {
            next,
            first,
            received,
            lines,
            checksum,
            missed,
            gaps,
            doubled,
            again,
            resumed_at,
            first_ns,
            last_ns,
            finished,
        }
    }
}

/// The file of one reader's [`Tally`].
#[derive(Debug)]
pub(crate) struct Record(File);

impl Record {
    /// Opens the record, or begins one.
    pub(crate) fn open(path: &Path) -> io::Result<Record> {
        File::options().read(true).write(true).create(true).truncate(false).open(path).map(Record)
    }

    /// The record that was stored last; an empty one if none was.
    pub(crate) fn load(&self) -> io::Result<Tally> {
        let mut bytes = [0; WORDS * 8];
        match self.0.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Tally::default()),
            Err(error) => return Err(error),
        }
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        }
        Ok(Tally::from_words(words))
    }

    /// One `pwrite` inside one page: a process that is killed has made it, or has not.
    pub(crate) fn store(&self, tally: &mut Tally) -> io::Result<()> {
        tally.last_ns = if tally.finished == 0 { now_ns() } else { tally.last_ns };
        let mut bytes = [0; WORDS * 8];
        for (word, bytes) in tally.to_words().iter().zip(bytes.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        self.0.write_all_at(&bytes, 0)
    }
}
