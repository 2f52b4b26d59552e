//! Writing: one frame a commit, one write a frame.

use crate::format::{Content, FRAME_HEAD, FrameHead, Mark, PAGE, RECORD_HEAD, Seed, SegmentHead, flags};
use crate::home::Home;
use crate::scan::{Place, Segment};
use crate::spares::{self, Aligned, Spares, aligned};
use crate::system::{self, Method};
use slipring::RingId;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// The bytes of a segment, unless one message needs more.
pub(crate) const SEGMENT_LEN: u64 = 64 << 20;
/// The most bytes of a frame, unless one message needs more. The disk is at its best with less.
const FRAME_LEN: usize = 1 << 20;

/// The lengths that a journal works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The bytes of a segment, a multiple of a page.
    pub segment: u64,
    /// The most bytes of a frame, a multiple of a page.
    pub frame: usize,
}

impl Sizes {
    /// For messages of at most `block` bytes, in segments of at least `segment`.
    pub fn new(block: usize, segment: u64) -> Sizes {
        let largest = (FRAME_HEAD + RECORD_HEAD + block).next_multiple_of(PAGE);
        let half = usize::try_from(segment / 2).unwrap_or(usize::MAX).next_multiple_of(PAGE);
        let frame = FRAME_LEN.min(half).max(largest);
        // The head, and one frame at least.
        Sizes { segment: segment.next_multiple_of(PAGE as u64).max((PAGE + frame) as u64), frame }
    }
}

/// Why a commit failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The disk has no room for it. The same commit may be tried again.
    #[error("{}: the disk is full: {source}", .path.display())]
    Full {
        /// The file, or the directory.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The disk refused it. Nothing more is written to the segment, and every later commit fails.
    #[error("{}: writing at byte {offset} failed: {source}", .path.display())]
    Failed {
        /// The segment.
        path: PathBuf,
        /// The offset of the frame.
        offset: u64,
        /// The kernel's error.
        source: io::Error,
    },
    /// An earlier commit failed.
    #[error("{}: an earlier write failed, and nothing more is written", .path.display())]
    Poisoned {
        /// The segment.
        path: PathBuf,
    },
}

/// Writes the segments of one ring.
///
/// ```text
/// push, push, …, commit: all of them are on the disk, and `next` says so; or they are still here
/// ```
#[derive(Debug)]
pub struct Writer {
    home: Home,
    sizes: Sizes,
    method: Method,
    spares: Spares,
    segment: Option<Current>,
    frame: Aligned,
    /// Bytes of `frame` that are used.
    used: usize,
    count: u32,
    content: Content,
    next: u64,
    stamp_ns: u64,
    is_poisoned: bool,
    /// A segment that begins here holds no message, and may be replaced.
    replaceable: Option<u64>,
}

/// The segment that is being written.
#[derive(Debug)]
struct Current {
    file: File,
    first: u64,
    seed: Seed,
    at: u64,
    len: u64,
    /// The stamp of its first frame; 0 before.
    first_stamp_ns: u64,
    /// A write found no room: the next one goes to another segment.
    is_left: bool,
}

impl Writer {
    /// Goes on at the position `next`: in a new segment, which the first commit begins.
    ///
    /// `stamp_ns` is the stamp of the last frame before; no stamp falls below it. `ahead` says
    /// whether a thread makes segments ahead of need.
    ///
    /// # Errors
    ///
    /// Those of looking at the directory, which must exist.
    pub fn new(
        home: &Home,
        sizes: Sizes,
        method: Method,
        next: u64,
        stamp_ns: u64,
        ahead: bool,
    ) -> io::Result<Writer> {
        Ok(Writer {
            spares: Spares::new(home, sizes.segment, method, ahead)?,
            home: home.clone(),
            sizes,
            method,
            segment: None,
            frame: aligned(sizes.frame),
            used: FRAME_HEAD,
            count: 0,
            content: Content::Messages,
            next,
            stamp_ns,
            is_poisoned: false,
            replaceable: None,
        })
    }

    /// Goes on in a segment, behind its last whole frame.
    ///
    /// # Errors
    ///
    /// Those of opening it.
    pub fn resume_in(
        &mut self,
        segment: &Segment<File>,
        place: Place,
        first_stamp_ns: u64,
    ) -> io::Result<()> {
        let head = segment.head();
        self.segment = Some(Current {
            file: spares::open(&self.home.segment(head.first), self.method)?,
            first: head.first,
            seed: head.seed(),
            at: place.offset,
            len: head.len,
            first_stamp_ns,
            is_left: false,
        });
        Ok(())
    }

    /// Allows a segment that begins at this position to be replaced: it holds no message.
    pub(crate) fn replace(&mut self, first: u64) {
        self.replaceable = Some(first);
    }

    /// All below this position is on the disk.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The number of messages that were pushed and not committed.
    pub fn pending(&self) -> u32 {
        self.count
    }

    /// The first position of the segment that is being written, and the stamp of its first frame.
    pub(crate) fn current(&self) -> Option<(u64, u64)> {
        self.segment.as_ref().map(|segment| (segment.first, segment.first_stamp_ns))
    }

    /// How writes are made durable.
    pub fn method(&self) -> Method {
        self.method
    }

    /// True if a quarter of the current segment is written: then the next one is made.
    pub(crate) fn wants_spare(&self) -> bool {
        self.segment.as_ref().is_some_and(|segment| segment.at > segment.len / 4)
    }

    /// The spare segments.
    pub(crate) fn spares(&self) -> &Spares {
        &self.spares
    }

    /// How many messages of at most `block` bytes fit, whatever their lengths.
    pub fn room(&self, block: usize) -> usize {
        (self.sizes.frame - self.used) / (RECORD_HEAD + block)
    }

    /// Adds a message to the next commit: the one copy that a journal makes.
    ///
    /// # Panics
    ///
    /// Panics if there is no [`room`](Self::room) for it.
    #[inline(always)]
    pub fn push(&mut self, kind: u32, message: &[u8]) {
        let from = self.used + RECORD_HEAD;
        let to = from + message.len();
        let frame = &mut self.frame.bytes_mut()[self.used..to];
        let (head, body) = frame.split_at_mut(RECORD_HEAD);
        #[expect(clippy::cast_possible_truncation, reason = "a block has at most 1 GiB")]
        head[..4].copy_from_slice(&(message.len() as u32).to_le_bytes());
        head[4..].copy_from_slice(&kind.to_le_bytes());
        body.copy_from_slice(message);
        self.used = to;
        self.count += 1;
    }

    /// Drops what was pushed and not committed.
    pub fn abandon(&mut self) {
        (self.used, self.count, self.content) = (FRAME_HEAD, 0, Content::Messages);
    }

    /// Writes what was pushed as one frame, with one write. When it returns, the frame is on the
    /// disk, and so is all before it.
    ///
    /// Returns the next position. Makes no allocation, but for the beginning of a segment.
    ///
    /// # Errors
    ///
    /// [`CommitError::Full`]: what was pushed is still there, and `commit` may be called again; it
    /// begins a new segment then.
    /// [`CommitError::Failed`]: as well, but no later call succeeds.
    pub fn commit(&mut self, epoch: u64, closed: bool) -> Result<u64, CommitError> {
        if self.count == 0 && self.content == Content::Messages {
            return Ok(self.next);
        }
        let len = self.used.next_multiple_of(PAGE);
        if self.is_poisoned {
            return Err(CommitError::Poisoned { path: self.path() });
        }
        let fits = |segment: &Current| !segment.is_left && segment.at + len as u64 <= segment.len;
        if !self.segment.as_ref().is_some_and(fits) {
            self.rotate()?;
        }
        let Some(segment) = &mut self.segment else { return Ok(self.next) };

        let now = unix_ns();
        let clock = if now < self.stamp_ns { flags::CLOCK_BEHIND } else { 0 };
        let stamp_ns = now.max(self.stamp_ns);
        let frame = self.frame.bytes_mut();
        frame[self.used..len].fill(0);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a frame holds little more than one block, 1 GiB"
        )]
        let frame_len = self.used as u32;
        let head = FrameHead {
            position: self.next,
            count: self.count,
            len: frame_len,
            stamp_ns,
            epoch,
            content: self.content,
            flags: clock | if closed { flags::CLOSED } else { 0 },
            offset: segment.at,
            body_sum: segment.seed.sum(&frame[FRAME_HEAD..self.used]),
        };
        let (first, _) = frame.split_first_chunk_mut().expect("a frame is longer than its head");
        head.encode(segment.seed, first);
        if let Err(source) = segment.file.write_all_at(&frame[..len], segment.at) {
            return Err(self.write_failed(source));
        }
        segment.at += len as u64;
        if segment.first_stamp_ns == 0 {
            segment.first_stamp_ns = stamp_ns;
        }
        self.stamp_ns = stamp_ns;
        self.next = head.next();
        self.abandon();
        Ok(self.next)
    }

    /// Writes a frame of marks. Nothing may have been pushed.
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit). Marks that do not fit into a frame are left out.
    pub fn commit_marks(&mut self, marks: &[Mark], epoch: u64, closed: bool) -> Result<u64, CommitError> {
        debug_assert_eq!(self.count, 0, "messages come first");
        let mut body = Vec::new();
        for mark in marks {
            let before = body.len();
            mark.encode(&mut body);
            if FRAME_HEAD + body.len() > self.sizes.frame {
                body.truncate(before);
                break;
            }
        }
        self.used = FRAME_HEAD + body.len();
        self.frame.bytes_mut()[FRAME_HEAD..self.used].copy_from_slice(&body);
        self.content = Content::Marks;
        let committed = self.commit(epoch, closed);
        self.abandon();
        committed
    }

    /// The error of a write; the segment is never written again unless the disk was only full.
    #[cold]
    fn write_failed(&mut self, source: io::Error) -> CommitError {
        let path = self.path();
        if is_full(&source) {
            // The blocks were reserved, so it may be the device below that has no room. Writing to
            // the same place once more has been answered with yes by such a device, and was not
            // there later.
            if let Some(segment) = &mut self.segment {
                segment.is_left = true;
            }
            return CommitError::Full { path, source };
        }
        self.is_poisoned = true;
        let (first, offset) =
            self.segment.as_ref().map_or((self.next, 0), |segment| (segment.first, segment.at));
        // Said beside the segment as well, for the next journal. On such a disk that may fail, too;
        // then the next journal tries the same place again.
        let text = format!("writing at byte {offset}, position {}: {source}\n", self.next);
        let _ = std::fs::write(self.home.failed(first), text)
            .and_then(|()| system::sync_directory(self.home.path()));
        CommitError::Failed { path, offset, source }
    }

    fn path(&self) -> PathBuf {
        let current = self.segment.as_ref().map(|segment| self.home.segment(segment.first));
        current.unwrap_or_else(|| self.home.path().to_path_buf())
    }

    /// Begins a new segment at the next position. One that begins there and holds no message is
    /// replaced.
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit).
    #[cold]
    pub fn rotate(&mut self) -> Result<(), CommitError> {
        let created_ns = unix_ns();
        let head = SegmentHead {
            ring: self.home.ring(),
            first: self.next,
            salt: salt(),
            len: self.sizes.segment,
            created_ns,
            stamp_ns: self.stamp_ns,
        };
        let file = self.begin(&head).map_err(|source| {
            if source.kind() != io::ErrorKind::AlreadyExists {
                // It may have its name already, and holds no frame.
                self.replaceable = Some(head.first);
            }
            if is_full(&source) {
                return CommitError::Full { path: self.home.path().to_path_buf(), source };
            }
            self.is_poisoned = true;
            CommitError::Failed { path: self.home.segment(head.first), offset: 0, source }
        })?;
        self.segment = Some(Current {
            file,
            first: head.first,
            seed: head.seed(),
            at: PAGE as u64,
            len: head.len,
            first_stamp_ns: 0,
            is_left: false,
        });
        Ok(())
    }

    /// The head is on the disk before the segment has its name, and the name before the first frame
    /// is written.
    fn begin(&self, head: &SegmentHead) -> io::Result<File> {
        let fresh = self.spares.take()?;
        let begun = spares::open(&fresh, self.method).and_then(|file| {
            let mut page = aligned(PAGE);
            let (bytes, _) = page.bytes_mut().split_first_chunk_mut().expect("a page is a page");
            head.encode(bytes);
            file.write_all_at(page.bytes(), 0)?;
            let path = self.home.segment(head.first);
            let current = self.segment.as_ref().map(|segment| segment.first);
            match [current, self.replaceable].contains(&Some(head.first)) {
                true => {
                    std::fs::rename(&fresh, path)?;
                    // The mark was on the file that is replaced.
                    let _ = std::fs::remove_file(self.home.failed(head.first));
                }
                false => system::rename_no_replace(&fresh, &path)?,
            }
            system::sync_directory(self.home.path())?;
            Ok(file)
        });
        if begun.is_err() {
            self.spares.give_back(&fresh);
        }
        begun
    }

    /// The ring whose messages are written.
    pub fn ring(&self) -> RingId {
        self.home.ring()
    }
}

/// True if the disk, or the user's share of it, has no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    let full = [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT].map(|errno| errno.raw_os_error());
    error.raw_os_error().is_some_and(|errno| full.contains(&errno))
}

/// The system clock, in nanoseconds since 1970.
pub(crate) fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Random: the standard library's hash keys come from the kernel, once for each thread, and count
/// up.
fn salt() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u64(unix_ns());
    hasher.finish()
}
