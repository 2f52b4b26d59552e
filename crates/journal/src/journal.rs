//! The journal: a durable consumer that releases a message when it is on the disk.

use crate::description::Description;
use crate::error::JournalError;
use crate::format::{Content, HeadError, Mark};
use crate::history::History;
use crate::home::Home;
use crate::readers::Reader;
use crate::retention::{Keep, Retention, Retired};
use crate::scan::{OpenSegmentError, Place, Segment, Verdict};
use crate::status::{Handle, Shared};
use crate::system::{self, Method};
use crate::writer::{self, CommitError, SEGMENT_LEN, Sizes, Writer};
use slipring::{
    At, AtPath, AttachError, Consumer, ConsumerOptions, CreateError, RecvError, Ring, Start, StartError,
    Storage,
};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The name of the durable consumer whose tail is the durable watermark of its ring.
pub const NAME: &str = "journal";

/// The longest time without a look at the flag that stops it, at retention and at marks.
const TICK: Duration = Duration::from_millis(100);
/// The time between two looks at retention, at the description of the ring, and for room on a full
/// disk.
const UPKEEP: Duration = Duration::from_secs(1);
/// The time between two marks while messages come.
const MARKS: Duration = Duration::from_secs(30);
/// The time between two looks for a stream that was opened again: nobody wakes a reader for that.
const REOPENED: Duration = Duration::from_millis(50);

/// How a journal is kept.
///
/// ```
/// # let dir = std::env::temp_dir().join(format!("slipring-journal-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// use slipring::{Producer, RingOptions};
/// use slipring_journal::{History, Journal};
///
/// let ring = RingOptions::new(48, 1024).durable("journal").create_in_memory()?;
/// # let memory = slipring::Storage::of(&dir)?.is_memory;
/// let journal = Journal::options()
///     .until_closed(true)
/// #   .allow_memory(memory)
///     .attach(&ring, &dir)?;
/// let mut producer = Producer::<[u8]>::open(&ring)?;
/// producer.send(b"order 17 is paid")?;
/// producer.close()?;
/// journal.run()?; // in a thread, or in a process of its own
///
/// let mut history = History::open(&dir)?;
/// assert_eq!(history.next()?.map(|message| message.bytes.to_vec()), Some(b"order 17 is paid".to_vec()));
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct JournalOptions {
    keep: Keep,
    segment: u64,
    begin_here: bool,
    allow_memory: bool,
    until_closed: bool,
}

impl Default for JournalOptions {
    fn default() -> JournalOptions {
        JournalOptions {
            keep: Keep::default(),
            segment: SEGMENT_LEN,
            begin_here: false,
            allow_memory: false,
            until_closed: false,
        }
    }
}

/// What a journal tells while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The disk is full. The journal tries again every second, and the ring holds what comes.
    DiskFull {
        /// The file or directory that has no room.
        path: PathBuf,
    },
    /// The disk has room again, and the journal goes on.
    DiskHasRoom,
    /// A segment that would be retired is kept for a named reader.
    HeldFor(Reader),
    /// A named reader came too late: the messages below this position, which it has not read, are
    /// gone.
    Overrun(Reader, u64),
    /// Something beside the commits failed: the description, marks, or retention. Commits go on.
    Trouble {
        /// The file or directory, and the error.
        text: String,
    },
}

/// Why a journal ended in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// It was [stopped](Handle::stop): all that was published by then is on the disk.
    Stopped,
    /// The stream is closed, and all of it is on the disk
    /// ([`JournalOptions::until_closed`]).
    Closed,
}

impl JournalOptions {
    /// The defaults: every segment is kept; segments of 64 MiB; the journal goes on when the stream
    /// is closed.
    pub fn new() -> JournalOptions {
        JournalOptions::default()
    }

    /// The most bytes of segments that are kept; older ones are retired. Default: no limit.
    #[must_use]
    pub fn keep_bytes(mut self, bytes: u64) -> JournalOptions {
        self.keep.bytes = Some(bytes);
        self
    }

    /// Keeps each message for this long after its commit at least, and for an eighth longer at
    /// most: a segment is closed after an eighth of that time, and retired when its last message is
    /// old enough. Default: for ever.
    #[must_use]
    pub fn keep_age(mut self, age: Duration) -> JournalOptions {
        self.keep.age = Some(age);
        self
    }

    /// How many bytes more are kept for named readers that have not come so far. Default: as many
    /// again as [`keep_bytes`](Self::keep_bytes). Beyond it they are retired nevertheless, and a
    /// notice says for whom.
    #[must_use]
    pub fn hold_bytes(mut self, bytes: u64) -> JournalOptions {
        self.keep.hold_bytes = Some(bytes);
        self
    }

    /// How much longer messages are kept for named readers that have not come so far. Default: as
    /// long again as [`keep_age`](Self::keep_age).
    #[must_use]
    pub fn hold_age(mut self, age: Duration) -> JournalOptions {
        self.keep.hold_age = Some(age);
        self
    }

    /// The bytes of a segment; rounded up to 4096, and to what one message needs. Default 64 MiB.
    /// Beside the segment that is written, one is kept ready.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> JournalOptions {
        self.segment = bytes;
        self
    }

    /// Begins here, at the journal's tail in the ring, although messages below it are missing:
    /// the directory has nothing of this ring, or its end is lost or damaged. What is there stays,
    /// and readers are told of the hole. Default false: an error.
    #[must_use]
    pub fn begin_here(mut self, begin_here: bool) -> JournalOptions {
        self.begin_here = begin_here;
        self
    }

    /// Accepts a filesystem that keeps nothing when the power goes: tmpfs, ramfs. For tests.
    /// Default false.
    #[must_use]
    pub fn allow_memory(mut self, allow: bool) -> JournalOptions {
        self.allow_memory = allow;
        self
    }

    /// Ends when the stream is closed and all of it is on the disk. Default false: the journal
    /// waits for the next producer.
    #[must_use]
    pub fn until_closed(mut self, until_closed: bool) -> JournalOptions {
        self.until_closed = until_closed;
        self
    }

    /// Attaches to a ring as its durable consumer `journal`, and finds the place in the directory
    /// to go on at. The directory is created if its parent is there.
    ///
    /// A ring in which a durable consumer of that name was
    /// [declared](slipring::RingOptions::durable) is journaled from its first message on; another
    /// from the earliest that it still has.
    ///
    /// Before any message is released on the strength of what is found there, it is synchronised
    /// once: the last journal may have been killed while its last write was in the page cache only.
    ///
    /// # Errors
    ///
    /// [`JournalError`]. The ring is as it was, and no segment was changed.
    pub fn attach(
        &self,
        place: impl slipring::Place,
        directory: impl AsRef<Path>,
    ) -> Result<Journal, JournalError> {
        let at = place.at().any_type();
        let ring = Ring::open(&at).map_err(JournalError::ring)?;
        let directory = directory.as_ref();
        let storage = self.storage(directory)?;
        let home = Home::new(directory, ring.id());

        let entry = ring.consumers().into_iter().find(|entry| entry.name == NAME && entry.durable);
        let segments = listed(&home)?;
        if let Some(tail) = entry.as_ref().and_then(|entry| entry.tail) {
            if segments.is_empty() && tail > ring.first_position() && !self.begin_here {
                return Err(JournalError::NotBegun {
                    directory: directory.to_path_buf(),
                    ring: ring.id(),
                    tail,
                });
            }
        }
        let place = At::ring(&ring).any_type();
        let (consumer, lock, found) = match entry {
            Some(_) => {
                let consumer = durable(Start::Earliest).attach(&place).map_err(JournalError::ring)?;
                let lock = prepare(directory, &home)?;
                (consumer, lock, self.examine(&home)?)
            }
            None => self.attach_anew(&ring, &place, directory, &home)?,
        };
        let mut journal = Journal {
            writer: self.writer(&home, &ring, &consumer, found.as_ref())?,
            retention: Retention::new(&home, self.keep)
                .map_err(|error| io_error("list its segments", home.path(), error))?,
            shared: Arc::default(),
            notices: Notices(Box::new(|_| ())),
            options: self.clone(),
            described: None,
            epoch: 0,
            is_dirty: false,
            storage,
            _lock: lock,
            ring,
            consumer,
            home,
        };
        journal.join(found)?;
        Ok(journal)
    }

    /// The durable consumer is not there yet: it begins where the segments end, if there are any.
    fn attach_anew(
        &self,
        ring: &Ring,
        place: &At,
        directory: &Path,
        home: &Home,
    ) -> Result<Attached, JournalError> {
        let lock = prepare(directory, home)?;
        let found = self.examine(home)?;
        let start = found.as_ref().map_or(Start::Earliest, |found| Start::At(found.place.next));
        let consumer = match durable(start).attach(place) {
            Ok(consumer) => consumer,
            Err(AtPath { error: AttachError::Start(why), .. }) => {
                let end = found.as_ref().map_or(0, |found| found.place.next);
                let behind = end > ring.head();
                if behind || !self.begin_here {
                    let directory = home.path().to_path_buf();
                    return Err(match (behind, why) {
                        (true, _) => JournalError::RingBehind { directory, found: end, head: ring.head() },
                        (false, StartError::BeforeEarliest { earliest, .. }) => {
                            JournalError::Missed { directory, found: end, first: earliest }
                        }
                        (false, _) => JournalError::Missed { directory, found: end, first: ring.head() },
                    });
                }
                durable(Start::Earliest).attach(place).map_err(JournalError::ring)?
            }
            Err(error) => return Err(JournalError::ring(error)),
        };
        Ok((consumer, lock, found))
    }

    /// The filesystem of the directory, or of its parent if it is not there yet.
    fn storage(&self, directory: &Path) -> Result<Option<Storage>, JournalError> {
        let parent =
            directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let there = if directory.exists() { directory } else { parent };
        let refused = |filesystem: &str, reason| {
            let (directory, filesystem) = (directory.to_path_buf(), filesystem.to_owned());
            Err(JournalError::Filesystem { directory, filesystem, reason })
        };
        match Storage::of(there) {
            Ok(storage) if storage.is_memory && !self.allow_memory => refused(
                &storage.filesystem,
                "which is memory: nothing of it outlives a power cut; use a directory on a disk, or say --allow-memory",
            ),
            Ok(storage) => Ok(Some(storage)),
            Err(AtPath { error: CreateError::RemoteFilesystem { filesystem, .. }, .. }) => refused(
                filesystem,
                "which another host keeps: its answers cannot be relied on; use a local disk",
            ),
            // No place for a ring, yet one for a journal.
            Err(AtPath { error: CreateError::UnsuitableFilesystem { .. }, .. }) => Ok(None),
            Err(error) => Err(JournalError::ring(error)),
        }
    }

    /// Looks at the newest segment: synchronises it, then reads it.
    fn examine(&self, home: &Home) -> Result<Option<Found>, JournalError> {
        let Some(first) = listed(home)?.last().copied() else { return Ok(None) };
        let path = home.segment(first);
        let segment = match home.open(first) {
            Ok(segment) => segment,
            Err(OpenSegmentError::Head(HeadError::Damaged)) if self.begin_here => return Ok(None),
            Err(OpenSegmentError::Head(error)) => return Err(JournalError::Head { path, error }),
            Err(OpenSegmentError::Io(error)) => return Err(io_error("read", &path, error)),
        };
        let Some(segment) = segment else {
            let error = io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another program has locked it, or moves it away",
            );
            return Err(io_error("read", &path, error));
        };
        let failed = |doing| move |error| io_error(doing, &home.segment(first), error);
        segment.source().sync_all().map_err(failed("synchronise"))?;
        system::forget_pages(segment.source());
        let (mut stamps, mut is_empty) = ((0, segment.head().stamp_ns), true);
        let (place, verdict) = segment
            .walk(|head, _| {
                stamps = (if stamps.0 == 0 { head.stamp_ns } else { stamps.0 }, head.stamp_ns);
                is_empty &= head.content != Content::Messages;
            })
            .map_err(failed("read"))?;
        let is_damaged = match verdict {
            Verdict::End(_) | Verdict::Frame => false,
            Verdict::Damaged { .. } if self.begin_here => true,
            Verdict::Damaged { .. } => {
                return Err(JournalError::Damaged { path, offset: place.offset, position: place.next });
            }
            Verdict::Unknown(unknown) => {
                return Err(crate::HistoryError::Unknown { path, offset: place.offset, unknown }.into());
            }
        };
        let goes_on = !is_damaged && !home.failed(first).exists();
        Ok(Some(Found {
            segment,
            place,
            first_stamp_ns: stamps.0,
            stamp_ns: stamps.1,
            is_empty,
            goes_on,
            is_damaged,
        }))
    }

    /// A writer that goes on at the right place.
    fn writer(
        &self,
        home: &Home,
        ring: &Ring,
        consumer: &Consumer,
        found: Option<&Found>,
    ) -> Result<Writer, JournalError> {
        let tail = consumer.position();
        let next = match found {
            Some(found) if found.place.next >= tail => found.place.next,
            Some(found) if !self.begin_here => {
                let (found, directory) = (found.place.next, home.path().to_path_buf());
                return Err(JournalError::DiskLost { directory, found, confirmed: tail });
            }
            _ => tail,
        };
        if next > ring.head() {
            let directory = home.path().to_path_buf();
            return Err(JournalError::RingBehind { directory, found: next, head: ring.head() });
        }
        let sizes = Sizes::new(ring.block_size(), self.segment);
        let stamp_ns = found.map_or(0, |found| found.stamp_ns);
        let method = method_for(home)?;
        let begun = Writer::new(home, sizes, method, next, stamp_ns, true);
        let mut writer = begun.map_err(|error| io_error("prepare", home.path(), error))?;
        if let Some(found) = found {
            let first = found.segment.head().first;
            if found.is_empty && !found.is_damaged && first == next {
                writer.replace(first);
            }
            if found.goes_on && found.place.next == next {
                writer
                    .resume_in(&found.segment, found.place, found.first_stamp_ns)
                    .map_err(|error| io_error("open", &home.segment(first), error))?;
            }
        }
        Ok(writer)
    }
}

type Attached = (Consumer, File, Option<Found>);

/// The newest segment.
struct Found {
    segment: Segment<File>,
    place: Place,
    first_stamp_ns: u64,
    stamp_ns: u64,
    /// It holds no message.
    is_empty: bool,
    /// It may be written.
    goes_on: bool,
    is_damaged: bool,
}

fn durable(start: Start) -> ConsumerOptions {
    ConsumerOptions::new().name(NAME).durable(true).start(start)
}

fn listed(home: &Home) -> Result<Vec<u64>, JournalError> {
    home.segments().map_err(|error| io_error("list", home.path(), error))
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> JournalError {
    JournalError::Io { doing, path: path.to_path_buf(), source }
}

/// Makes the directories, takes the lock, and makes the names durable.
fn prepare(directory: &Path, home: &Home) -> Result<File, JournalError> {
    for path in [directory, home.path()] {
        match std::fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io_error("create", path, error));
            }
            _ => {}
        }
    }
    let path = home.file("lock");
    let failed = |error| io_error("lock", &path, error);
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut lock = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    if !system::try_lock(&lock).map_err(failed)? {
        let mut holder = String::new();
        let _ = lock.read_to_string(&mut holder);
        let holder = holder.trim().to_owned();
        return Err(JournalError::Locked { directory: home.path().to_path_buf(), holder });
    }
    let said = lock
        .set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| writeln!(lock, "process {}", std::process::id()));
    // A full disk keeps nobody from the lock, only its holder's number from others.
    if let Err(error) = said {
        if !writer::is_full(&error) {
            return Err(failed(error));
        }
    }
    if let Ok(opened) = File::open(home.path()) {
        system::dont_copy_on_write(&opened);
    }
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for path in [home.path(), directory, parent] {
        system::sync_directory(path).map_err(|error| io_error("synchronise", path, error))?;
    }
    Ok(lock)
}

/// Tries a direct write in the directory.
fn method_for(home: &Home) -> Result<Method, JournalError> {
    let path = home.file("probe");
    let _ = std::fs::remove_file(&path);
    let tried = system::create(&path).and_then(|_| {
        let page = crate::spares::aligned(crate::format::PAGE);
        let file = crate::spares::open(&path, Method::Direct)?;
        std::os::unix::fs::FileExt::write_all_at(&file, page.bytes(), 0)
    });
    let _ = std::fs::remove_file(&path);
    match tried {
        Ok(()) => Ok(Method::Direct),
        // Room is another question, and direct writes are not refused for want of it.
        Err(error) if writer::is_full(&error) => Ok(Method::Direct),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(Method::Synchronous),
        Err(error) => Err(io_error("write", &path, error)),
    }
}

/// A journal that is attached: it writes each message of its ring to the disk, and releases it
/// then. Its tail is the durable watermark: all below it is on the disk.
///
/// The ring is the write buffer. While one commit is under way, messages gather in the ring, and
/// the next commit takes them all: the more there are, the larger it is, without a timer.
pub struct Journal {
    ring: Ring,
    home: Home,
    consumer: Consumer,
    writer: Writer,
    retention: Retention,
    described: Option<Description>,
    epoch: u64,
    /// Something was committed since the last marks.
    is_dirty: bool,
    shared: Arc<Shared>,
    notices: Notices,
    options: JournalOptions,
    storage: Option<Storage>,
    _lock: File,
}

/// The function that is told.
struct Notices(Box<dyn FnMut(Notice) + Send>);

impl Notices {
    fn tell(&mut self, notice: Notice) {
        (self.0)(notice);
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("ring", &self.ring)
            .field("home", &self.home)
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// The defaults of [`JournalOptions`].
    pub fn options() -> JournalOptions {
        JournalOptions::new()
    }

    /// Attaches with the defaults.
    ///
    /// # Errors
    ///
    /// As [`JournalOptions::attach`].
    pub fn attach(place: impl slipring::Place, directory: impl AsRef<Path>) -> Result<Journal, JournalError> {
        JournalOptions::new().attach(place, directory)
    }

    /// For looks from another thread, and to stop it.
    pub fn handle(&self) -> Handle {
        Handle(self.shared.clone())
    }

    /// Calls this function with what a person should know, in the thread that runs the journal.
    pub fn on_notice(&mut self, tell: impl FnMut(Notice) + Send + 'static) {
        self.notices = Notices(Box::new(tell));
    }

    /// All below this position is on the disk.
    pub fn position(&self) -> u64 {
        self.writer.next()
    }

    /// How its writes are made durable.
    pub fn method(&self) -> Method {
        self.writer.method()
    }

    /// The filesystem that it writes to; none of a kind that rings do not know.
    pub fn storage(&self) -> Option<&Storage> {
        self.storage.as_ref()
    }

    /// The directory of its ring.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Joins the tail to the end of the segments: what is on the disk and was not released, since
    /// the last journal was killed between the two, is compared and released.
    fn join(&mut self, found: Option<Found>) -> Result<(), JournalError> {
        let end = self.writer.next();
        drop(found);
        if self.consumer.position() < end {
            let mut history = History::open_ring(self.directory(), self.ring.id())?;
            history.seek(Start::At(self.consumer.position()))?;
            while self.consumer.position() < end {
                let left = usize::try_from(end - self.consumer.position()).unwrap_or(usize::MAX);
                let batch = self.consumer.try_recv_batch(left)?;
                let mut differs = None;
                for message in &batch {
                    let there = history.next()?.map(|there| (there.position, there.kind, there.bytes));
                    if there != Some((message.position(), message.kind(), &*message)) {
                        differs = Some(message.position());
                        break;
                    }
                }
                if let Some(position) = differs {
                    batch.keep();
                    return Err(JournalError::Rewritten {
                        directory: self.home.path().to_path_buf(),
                        position,
                    });
                }
            }
        }
        self.shared.set_durable(end);
        self.described = Description::load(&self.home).ok();
        self.describe();
        Ok(())
    }

    fn directory(&self) -> &Path {
        self.home.path().parent().unwrap_or(Path::new("."))
    }

    /// Writes and releases, until it is stopped, or cannot go on.
    ///
    /// # Errors
    ///
    /// [`JournalError`]. Everything that was released is on the disk; what is not is still in the
    /// ring.
    pub fn run(mut self) -> Result<Ended, JournalError> {
        let mut upkeep = Upkeep::new();
        loop {
            if self.shared.is_stopped() {
                return self.finish();
            }
            let received = self.consumer.recv_batch_timeout(MOST, TICK).map(drop_unread);
            match received {
                Ok(()) => self.commit().map(drop)?,
                Err(RecvError::TimedOut(_) | RecvError::Empty) => {}
                Err(RecvError::Closed) => {
                    if self.options.until_closed {
                        self.mark(true);
                        return Ok(Ended::Closed);
                    }
                    std::thread::sleep(REOPENED);
                }
                Err(error) => return Err(error.into()),
            }
            self.keep_up(&mut upkeep);
        }
    }

    /// Commits what is published by now, in one frame, and releases it. Returns the number of
    /// messages.
    fn commit(&mut self) -> Result<u64, JournalError> {
        let block = self.ring.block_size();
        let Journal { consumer, writer, shared, notices, .. } = self;
        let batch = match consumer.try_recv_batch(MOST) {
            Ok(batch) => batch,
            Err(RecvError::Empty | RecvError::Closed) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        // Iterating hands messages out, and dropping the batch releases those: no more may be
        // handed out than fit.
        if batch.len() <= writer.room(block) {
            batch.iter().for_each(|message| writer.push(message.kind(), &message));
        } else {
            for message in &batch {
                writer.push(message.kind(), &message);
                if writer.room(block) == 0 {
                    break;
                }
            }
        }
        let count = u64::from(writer.pending());
        let mut was_full = false;
        loop {
            shared.begin_write();
            let committed = writer.commit(self.epoch, false);
            shared.end_write();
            match committed {
                Ok(next) => {
                    shared.committed(next, count);
                    break;
                }
                Err(error) => {
                    let CommitError::Full { path, .. } = &error else {
                        batch.keep();
                        return Err(JournalError::Commit(error));
                    };
                    if !std::mem::replace(&mut was_full, true) {
                        shared.set_full(true);
                        notices.tell(Notice::DiskFull { path: path.clone() });
                    }
                    if pause(shared, UPKEEP) {
                        batch.keep();
                        writer.abandon();
                        return Err(JournalError::StoppedWhileFull(error));
                    }
                }
            }
        }
        if was_full {
            shared.set_full(false);
            notices.tell(Notice::DiskHasRoom);
        }
        drop(batch);
        self.is_dirty = true;
        Ok(count)
    }

    /// It was stopped: commits what was published by then.
    fn finish(&mut self) -> Result<Ended, JournalError> {
        let end = self.ring.head();
        while self.writer.next() < end && self.commit()? > 0 {}
        self.mark(false);
        Ok(Ended::Stopped)
    }

    /// What is due beside the commits. No trouble here stops them.
    fn keep_up(&mut self, upkeep: &mut Upkeep) {
        let current = self.writer.current();
        let is_new = current.map(|(first, _)| first) != upkeep.segment;
        let now = Instant::now();
        if !is_new && now < upkeep.due {
            return;
        }
        upkeep.due = now + UPKEEP;
        self.epoch = self.ring.producer_info().map_or(0, |producer| producer.epoch);
        let (position, is_quiet) = (self.writer.next(), self.writer.next() == upkeep.position);
        upkeep.position = position;
        if self.is_dirty && (is_quiet || now >= upkeep.marks_due) {
            upkeep.marks_due = now + MARKS;
            self.mark(false);
        }
        self.describe();
        self.close_old();
        if let Some((first, _)) = self.writer.current() {
            if upkeep.segment != Some(first) {
                upkeep.segment = Some(first);
                let bytes = std::fs::metadata(self.home.segment(first)).map_or(0, |about| about.len());
                self.retention.add(first, bytes, 0);
            }
        }
        match self.retention.retire(&self.home, self.writer.spares(), writer::unix_ns()) {
            Ok(said) => {
                for what in said {
                    self.notices.tell(match what {
                        Retired::Held(reader) => Notice::HeldFor(reader),
                        Retired::Overrun(reader, first) => Notice::Overrun(reader, first),
                    });
                }
            }
            Err(error) => self.trouble("retire a segment", &error),
        }
        if self.writer.wants_spare() {
            self.writer.spares().want();
        }
    }

    /// Closes the current segment if it is an eighth as old as messages may be.
    fn close_old(&mut self) {
        let (Some(after), Some((first, stamp_ns))) = (self.retention.close_after(), self.writer.current())
        else {
            return;
        };
        let age = u128::from(writer::unix_ns().saturating_sub(stamp_ns));
        if stamp_ns != 0 && age > after.as_nanos() && first != self.writer.next() {
            if let Err(error) = self.writer.rotate() {
                // The next commit meets the same, and says so if it is still so.
                self.notices.tell(Notice::Trouble { text: error.to_string() });
            }
        }
    }

    /// Writes down how far the readers of the ring have come, if messages have come since the last
    /// time. The frame confirms the one before it, too.
    fn mark(&mut self, closed: bool) {
        if !self.is_dirty {
            return;
        }
        let consumers =
            self.ring.consumers().into_iter().filter(|consumer| consumer.durable && consumer.name != NAME);
        let tails = consumers.filter_map(|consumer| {
            consumer.tail.map(|position| Mark { is_group: false, name: consumer.name, position })
        });
        let groups = self.ring.groups().into_iter();
        let floors = groups.map(|group| Mark { is_group: true, name: group.name, position: group.ack_floor });
        let marks: Vec<Mark> = tails.chain(floors).collect();
        self.shared.begin_write();
        let marked = self.writer.commit_marks(&marks, self.epoch, closed);
        self.shared.end_write();
        self.is_dirty = false;
        if let Err(error) = marked {
            self.notices.tell(Notice::Trouble { text: error.to_string() });
        }
    }

    /// Renews the description of the ring if something has changed.
    fn describe(&mut self) {
        let now = Description::of(&self.ring);
        if self.described.as_ref() == Some(&now) {
            return;
        }
        match now.save(&self.home) {
            Ok(()) => self.described = Some(now),
            Err(error) => self.trouble("describe the ring", &error),
        }
    }

    fn trouble(&mut self, doing: &str, error: &io::Error) {
        let text = format!("{}: cannot {doing}: {error}", self.home.path().display());
        self.notices.tell(Notice::Trouble { text });
    }
}

/// The most messages that are asked for at once: more than fit into a frame.
const MOST: usize = 1 << 20;

/// When what is due beside the commits.
struct Upkeep {
    due: Instant,
    marks_due: Instant,
    position: u64,
    segment: Option<u64>,
}

impl Upkeep {
    fn new() -> Upkeep {
        let now = Instant::now();
        Upkeep { due: now, marks_due: now + MARKS, position: 0, segment: None }
    }
}

/// A batch of which nothing was read releases nothing.
fn drop_unread(batch: slipring::Batch<'_>) {
    batch.keep();
}

/// Waits, and looks now and then whether it was stopped: true then.
fn pause(shared: &Shared, time: Duration) -> bool {
    let until = Instant::now() + time;
    while !shared.is_stopped() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(left.min(TICK));
    }
    true
}
