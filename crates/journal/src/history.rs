//! Reading what a journal wrote: from a position or a time on, in order, each position once.

use crate::format::{Content, FrameHead, HeadError, Records, UnknownFrame, flags};
use crate::home::Home;
use crate::scan::{OpenSegmentError, Place, Segment, Step, Verdict};
use slipring::{RingId, Start};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Why a reader of the history cannot go on.
///
/// An error is final: each further call returns it again, until [`History::skip_gap`] accepts what
/// is missing.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The directory has no journal.
    #[error("{}: no journal of a ring is there; check the path, or begin one: slipring journal RING --to {0}", .directory.display())]
    NoJournal {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory has the journals of several rings, and none was chosen.
    #[error("{}: it has the journals of {} rings; choose one of them by its id: {}", .directory.display(), .rings.len(), listed(.rings))]
    SeveralRings {
        /// The directory.
        directory: PathBuf,
        /// The rings.
        rings: Vec<RingId>,
    },
    /// Retention removed the messages before the reader came to them.
    #[error("{}: {missed} messages from position {next} on are gone: the journal begins at {first} now", .directory.display())]
    Gone {
        /// The ring's directory.
        directory: PathBuf,
        /// The position that the reader came to.
        next: u64,
        /// The first position that is there.
        first: u64,
        /// How many were missed.
        missed: u64,
    },
    /// A segment in the middle is missing, or the journal was begun again further on.
    #[error("{}: positions {from} to {}: {} messages are missing between two segments", .directory.display(), to - 1, to - from)]
    Hole {
        /// The ring's directory.
        directory: PathBuf,
        /// The first position that is missing.
        from: u64,
        /// The first position that is there again.
        to: u64,
    },
    /// Bytes that had been confirmed are damaged.
    #[error(
        "{}: damaged at byte {offset}: positions {from} to {} are lost; {} says what can be done",
        .path.display(), to - 1, "slipring journal check"
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// The offset of the first damaged frame.
        offset: u64,
        /// The first position that is lost.
        from: u64,
        /// The first position that may be there again.
        to: u64,
    },
    /// A later version wrote there.
    #[error("{}: at byte {offset} is {unknown}; use a later slipring", .path.display())]
    Unknown {
        /// The segment.
        path: PathBuf,
        /// The offset of the frame.
        offset: u64,
        /// What was found.
        unknown: UnknownFrame,
    },
    /// The head of a segment is damaged, or of a later version.
    #[error("{}: {error}", .path.display())]
    Head {
        /// The segment.
        path: PathBuf,
        /// What was found.
        error: HeadError,
        /// The first position of the next segment.
        to: Option<u64>,
    },
    /// The disk, or the filesystem, refused.
    #[error("{}: it cannot be read: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The kernel's error.
        source: Arc<io::Error>,
    },
}

fn listed(rings: &[RingId]) -> String {
    rings.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A message out of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryMessage<'a> {
    /// Its position in the ring.
    pub position: u64,
    /// The kind that the producer gave it.
    pub kind: u32,
    /// The epoch of the producer, at most a second before the commit.
    pub epoch: u64,
    /// The time of its commit: by the system clock, but never before that of an earlier message.
    pub committed: SystemTime,
    /// The message.
    pub bytes: &'a [u8],
}

/// What a [seek by time](History::seek_time) found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sought {
    /// The position of the first message that was committed at that time or later; the next to be
    /// written if there is none.
    pub position: u64,
    /// True if the system clock had been set back before that commit: messages from before the step
    /// then have the same stamp.
    pub clock_was_behind: bool,
}

/// Reads the history of one ring. Needs no more than read permission, also on a read-only
/// filesystem, and goes on while a journal writes.
///
/// It holds one segment open, and one frame in memory, however much there is. While it reads a
/// segment, retention may remove the segment's name, but does not use the file again.
///
/// ```no_run
/// use slipring_journal::History;
///
/// let mut history = History::open("/var/lib/orders")?;
/// history.seek(slipring::Start::At(17))?;
/// while let Some(message) = history.next()? {
///     println!("{} {:?}: {} bytes", message.position, message.committed, message.bytes.len());
/// } // up to the end; a later call returns what has come since
/// # Ok::<(), slipring_journal::HistoryError>(())
/// ```
#[derive(Debug)]
pub struct History {
    home: Home,
    /// The position of the next message that is handed out.
    next: u64,
    current: Option<Current>,
    frame: Vec<u8>,
    head: Option<FrameHead>,
    /// Offset in the frame and position of the next record, and the position at which the frame
    /// ends.
    record: (usize, u64, u64),
    failed: Option<HistoryError>,
    /// Where and when the end was last judged: the search behind it is not repeated at each look.
    judged: Option<(u64, u64, Instant, Duration)>,
}

#[derive(Debug)]
struct Current {
    segment: Segment<File>,
    place: Place,
}

/// The longest time between two searches behind an end that stays where it is.
const JUDGE_MAX: Duration = Duration::from_secs(60);
/// Looks for a segment that is being retired, or is locked by a stranger.
const TRIES: u32 = 200;

impl History {
    /// The history under a directory that has one ring's journal, from its first position on.
    ///
    /// # Errors
    ///
    /// [`HistoryError::NoJournal`], [`HistoryError::SeveralRings`], [`HistoryError::Io`].
    pub fn open(directory: impl AsRef<Path>) -> Result<History, HistoryError> {
        let directory = directory.as_ref();
        let homes = Home::all(directory).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => HistoryError::NoJournal { directory: directory.to_path_buf() },
            _ => io_error(directory, source),
        })?;
        match &homes[..] {
            [] => Err(HistoryError::NoJournal { directory: directory.to_path_buf() }),
            [home] => History::of(home),
            homes => Err(HistoryError::SeveralRings {
                directory: directory.to_path_buf(),
                rings: homes.iter().map(Home::ring).collect(),
            }),
        }
    }

    /// The history of one ring, of several under the directory.
    ///
    /// # Errors
    ///
    /// [`HistoryError::NoJournal`], [`HistoryError::Io`].
    pub fn open_ring(directory: impl AsRef<Path>, ring: RingId) -> Result<History, HistoryError> {
        History::of(&Home::new(directory.as_ref(), ring))
    }

    fn of(home: &Home) -> Result<History, HistoryError> {
        if !home.path().is_dir() {
            return Err(HistoryError::NoJournal { directory: home.path().to_path_buf() });
        }
        let mut history = History::at_the_beginning(home);
        history.seek(Start::Earliest)?;
        Ok(history)
    }

    /// The ring whose messages these are.
    pub fn ring(&self) -> RingId {
        self.home.ring()
    }

    /// The directory of the ring's journal.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The position of the next message.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Goes to a position: the earliest that is there, any, or the end.
    ///
    /// # Errors
    ///
    /// Those of reading, for [`Start::Latest`]. A position that is gone is an error of the next
    /// [`next`](Self::next).
    pub fn seek(&mut self, start: Start) -> Result<(), HistoryError> {
        self.forget();
        self.next = match start {
            Start::Earliest => self.segments()?.first().copied().unwrap_or(0),
            Start::At(position) => position,
            Start::Latest => self.end()?,
            Start::Last(n) => {
                let (earliest, end) = (self.segments()?.first().copied().unwrap_or(0), self.end()?);
                Start::last(n, earliest, end)
            }
        };
        Ok(())
    }

    /// Goes to the first message that was committed at this time or later.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn seek_time(&mut self, time: SystemTime) -> Result<Sought, HistoryError> {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let stamp_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let firsts = self.segments()?;
        // The last segment before which the last stamp was lower: the time is in it, or at the
        // beginning of the next.
        let (mut from, mut to) = (0, firsts.len());
        while to - from > 1 {
            let middle = from + (to - from) / 2;
            let is_before = match self.segment(firsts[middle]) {
                Ok(Some(segment)) => segment.head().stamp_ns < stamp_ns,
                // Retired meanwhile: what is sought lies behind it.
                Ok(None) => true,
                Err(error) => return Err(error),
            };
            if is_before { from = middle } else { to = middle }
        }
        let Some(first) = firsts.get(from) else {
            return Ok(Sought { position: self.next, clock_was_behind: false });
        };
        self.seek(Start::At(*first))?;
        if let Some(segment) = self.segment(*first)? {
            let path = self.home.segment(*first);
            let place =
                segment.seek(|head| head.stamp_ns < stamp_ns).map_err(|source| io_error(&path, source))?;
            self.next = place.next;
            self.current = Some(Current { segment, place });
        }
        let mut clock_was_behind = false;
        while self.load()? {
            let Some(head) = self.head else { break };
            if head.stamp_ns >= stamp_ns && head.content == Content::Messages {
                clock_was_behind = head.flags & flags::CLOCK_BEHIND != 0;
                break;
            }
            self.next = self.next.max(head.next());
        }
        Ok(Sought { position: self.next, clock_was_behind })
    }

    /// The position at which the journal ends now: one past its last message.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn end(&self) -> Result<u64, HistoryError> {
        let mut other = History::at_the_beginning(&self.home);
        let Some(last) = self.segments()?.last().copied() else { return Ok(0) };
        other.next = last;
        while other.load()? {
            other.next = other.head.map_or(other.next, |head| other.next.max(head.next()));
        }
        Ok(other.next)
    }

    fn at_the_beginning(home: &Home) -> History {
        History {
            home: home.clone(),
            next: 0,
            current: None,
            frame: Vec::new(),
            head: None,
            record: (0, 0, 0),
            failed: None,
            judged: None,
        }
    }

    /// The next message. None at the end: what is committed later, a later call returns.
    ///
    /// # Errors
    ///
    /// [`HistoryError`], with the positions that are missing. The same error comes again until
    /// [`skip_gap`](Self::skip_gap).
    #[expect(clippy::should_implement_trait, reason = "it lends the message")]
    pub fn next(&mut self) -> Result<Option<HistoryMessage<'_>>, HistoryError> {
        let Some((position, kind, range)) = self.advance()? else { return Ok(None) };
        Ok(Some(self.message(position, kind, range)))
    }

    /// The message that [`advance`](Self::advance) found.
    pub(crate) fn message(&self, position: u64, kind: u32, range: Range<usize>) -> HistoryMessage<'_> {
        let head = self.head.as_ref();
        HistoryMessage {
            position,
            kind,
            epoch: head.map_or(0, |head| head.epoch),
            committed: UNIX_EPOCH + Duration::from_nanos(head.map_or(0, |head| head.stamp_ns)),
            bytes: &self.frame[range],
        }
    }

    /// The position, the kind and the place of the next message; none at the end.
    pub(crate) fn advance(&mut self) -> Result<Option<(u64, u32, Range<usize>)>, HistoryError> {
        loop {
            while let Some((position, kind, range)) = self.next_record() {
                if position >= self.next {
                    self.next = position + 1;
                    return Ok(Some((position, kind, range)));
                }
            }
            if !self.load()? {
                return Ok(None);
            }
        }
    }

    fn next_record(&mut self) -> Option<(u64, u32, Range<usize>)> {
        let (at, position, end) = self.record;
        let (len, kind, from) = crate::format::record_at(&self.frame, at).filter(|_| position < end)?;
        self.record = (from + len, position + 1, end);
        Some((position, kind, from..from + len))
    }

    /// Accepts what is missing, and goes on behind it. Does nothing if there was no error.
    pub fn skip_gap(&mut self) {
        let to = match self.failed.take() {
            Some(HistoryError::Gone { first, .. }) => first,
            Some(HistoryError::Hole { to, .. } | HistoryError::Damaged { to, .. }) => to,
            Some(HistoryError::Head { to: Some(to), .. }) => to,
            _ => return,
        };
        self.forget();
        self.next = to;
    }

    fn forget(&mut self) {
        (self.current, self.head, self.record) = (None, None, (0, 0, 0));
        (self.failed, self.judged) = (None, None);
    }

    /// Reads the next frame. False at the end.
    fn load(&mut self) -> Result<bool, HistoryError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let loaded = self.load_frame();
        if let Err(error) = &loaded {
            self.failed = Some(error.clone());
        }
        loaded
    }

    fn load_frame(&mut self) -> Result<bool, HistoryError> {
        loop {
            let Some(current) = &mut self.current else {
                if !self.enter()? {
                    return Ok(false);
                }
                continue;
            };
            let first = current.segment.head().first;
            let path = self.home.segment(first);
            let failed = |source| io_error(&path, source);
            match current.segment.step(&mut current.place, &mut self.frame).map_err(failed)? {
                Step::Frame(head) => {
                    self.record = (crate::format::FRAME_HEAD, head.position, Records::new(&head, &[]).end());
                    self.head = Some(head);
                    self.judged = None;
                    return Ok(true);
                }
                Step::Unknown(unknown) => {
                    return Err(HistoryError::Unknown { path, offset: current.place.offset, unknown });
                }
                Step::Nothing => {}
            }
            let place = current.place;
            // Listed after the look: what the list says was so before the next look.
            let firsts = self.segments()?;
            match firsts.iter().copied().find(|other| *other > first) {
                // The next segment counts, also where this one reaches further: see `Home`.
                Some(following) if following <= place.next => {
                    self.current = None;
                    self.next = self.next.max(following);
                }
                Some(following) => match self.verdict(place)? {
                    Verdict::Frame => {}
                    Verdict::Unknown(unknown) => {
                        return Err(HistoryError::Unknown { path, offset: place.offset, unknown });
                    }
                    Verdict::Damaged { behind } => {
                        if let Some(error) = self.damaged(&path, place, behind) {
                            return Err(error);
                        }
                    }
                    Verdict::End(_) if !firsts.contains(&first) && firsts.first() == Some(&following) => {
                        let (next, missed) = (self.next, following - self.next);
                        let directory = self.home.path().to_path_buf();
                        return Err(HistoryError::Gone { directory, next, first: following, missed });
                    }
                    Verdict::End(crate::scan::End::Full) => {
                        let directory = self.home.path().to_path_buf();
                        return Err(HistoryError::Hole { directory, from: place.next, to: following });
                    }
                    Verdict::End(_) => {
                        return Err(HistoryError::Damaged {
                            path,
                            offset: place.offset,
                            from: place.next,
                            to: following,
                        });
                    }
                },
                None if self.is_replaced(&path)? => self.current = None,
                None => match self.judge_again(first, place)? {
                    None | Some(Verdict::End(_)) => return Ok(false),
                    Some(Verdict::Frame) => {}
                    Some(Verdict::Unknown(unknown)) => {
                        return Err(HistoryError::Unknown { path, offset: place.offset, unknown });
                    }
                    Some(Verdict::Damaged { behind }) => {
                        if let Some(error) = self.damaged(&path, place, behind) {
                            return Err(error);
                        }
                    }
                },
            }
        }
    }

    /// Opens the segment that has the next position. False if there is none yet.
    fn enter(&mut self) -> Result<bool, HistoryError> {
        for _ in 0..TRIES {
            let firsts = self.segments()?;
            let behind = firsts.partition_point(|first| *first <= self.next);
            let Some(first) = behind.checked_sub(1).map(|n| firsts[n]) else {
                let Some(first) = firsts.first().copied() else { return Ok(false) };
                let directory = self.home.path().to_path_buf();
                return Err(HistoryError::Gone {
                    directory,
                    next: self.next,
                    first,
                    missed: first - self.next,
                });
            };
            let segment = match self.segment(first) {
                Err(HistoryError::Head { path, error, .. }) => {
                    return Err(HistoryError::Head { path, error, to: firsts.get(behind).copied() });
                }
                segment => segment?,
            };
            if let Some(segment) = segment {
                let (next, path) = (self.next, self.home.segment(first));
                let place =
                    segment.seek(|head| head.position <= next).map_err(|source| io_error(&path, source))?;
                self.current = Some(Current { segment, place });
                return Ok(true);
            }
            // A journal is retiring it.
            std::thread::sleep(Duration::from_millis(1));
        }
        let source = io::Error::new(io::ErrorKind::ResourceBusy, "another program has locked the segment");
        Err(io_error(self.home.path(), source))
    }

    fn verdict(&self, place: Place) -> Result<Verdict, HistoryError> {
        let Some(current) = &self.current else { return Ok(Verdict::Frame) };
        let path = self.home.segment(current.segment.head().first);
        current.segment.judge(place).map_err(|source| io_error(&path, source))
    }

    /// As `verdict`, at the end of the newest segment. None if the search behind it was made
    /// lately.
    fn judge_again(&mut self, first: u64, place: Place) -> Result<Option<Verdict>, HistoryError> {
        let mut pause = Duration::from_secs(1);
        if let Some((of, offset, when, before)) = self.judged {
            if (of, offset) == (first, place.offset) {
                if when.elapsed() < before {
                    return Ok(None);
                }
                pause = (before * 2).min(JUDGE_MAX);
            }
        }
        let verdict = self.verdict(place)?;
        self.judged = Some((first, place.offset, Instant::now(), pause));
        Ok(Some(verdict))
    }

    /// The error for damage at a place. None if no message is lost: then the damaged frame held
    /// marks, and the reader goes on behind it.
    fn damaged(&mut self, path: &Path, place: Place, behind: FrameHead) -> Option<HistoryError> {
        let (offset, from) = (place.offset, place.next);
        if let Some(current) =
            self.current.as_mut().filter(|_| behind.offset > offset && behind.position == from)
        {
            current.place.offset = behind.offset;
            return None;
        }
        let to = if behind.offset == offset { behind.next() } else { behind.position };
        Some(HistoryError::Damaged {
            path: path.to_path_buf(),
            offset,
            from,
            to: to.max(from.saturating_add(1)),
        })
    }

    /// True if the open segment, which held no message, was begun anew under the same name.
    fn is_replaced(&self, path: &Path) -> Result<bool, HistoryError> {
        let Some(current) = &self.current else { return Ok(false) };
        let same = crate::system::is_same_file(current.segment.source(), path)
            .map_err(|source| io_error(path, source))?;
        Ok(!same && path.exists())
    }

    fn segments(&self) -> Result<Vec<u64>, HistoryError> {
        self.home.segments().map_err(|source| io_error(self.home.path(), source))
    }

    fn segment(&self, first: u64) -> Result<Option<Segment<File>>, HistoryError> {
        let path = self.home.segment(first);
        self.home.open(first).map_err(|error| match error {
            OpenSegmentError::Head(error) => HistoryError::Head { path, error, to: None },
            OpenSegmentError::Io(source) => io_error(&path, source),
        })
    }
}

fn io_error(path: &Path, source: io::Error) -> HistoryError {
    HistoryError::Io { path: path.to_path_buf(), source: Arc::new(source) }
}
