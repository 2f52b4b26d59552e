//! From a path to a validated, mapped ring.

use crate::error::{AtPath, HandleError, OpenError, RecvError};
use crate::id::RingId;
use crate::region::pages::Pages;
use crate::region::rights::Locks;
use crate::region::{Access, Region, State};
use crate::ring::ancestor::watermark;
use crate::ring::header::{self, Header};
use crate::ring::lock_file;
use crate::ring::paths::{IN_MEMORY, dead_path, from_the_root};
use crate::ring::place::{At, Carries, Demands, Kind, Place, Source};
use crate::ring::presence::{Presence, inode};
use crate::ring::regular::NotRegular;
use crate::system::fork::{ForkClosed, Loss};
use crate::system::{self, Process};
use slipring_core::format::{Geometry, producer_page};
use slipring_core::memory::{Liveness, Memory, Right};
use slipring_core::protocol::recorder::{self, EventKind};
use slipring_core::protocol::table::{Start, StartError};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long an edit of the tables may take before it counts as stuck.
const TABLE_PATIENCE: Duration = Duration::from_secs(5);

/// How long the holder of a lease on the file may take to give it up.
const LEASE_PATIENCE: Duration = Duration::from_secs(5);

/// How long a reader that finds nothing goes on without a look whether the ring is still there.
const CHECK_UP_MS: u64 = 100;

/// Pauses between two looks for a ring that is not there yet: they double up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// One party's hold on a ring: the mapping, the rights, and the file's identity, by which the party
/// notices that the file was replaced.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) region: Region,
    pub(crate) locks: Locks,
    /// A fault of the locks, of a ring that is observed all the same.
    pub(crate) lock_fault: Option<String>,
    pub(crate) header: Arc<Header>,
    path: PathBuf,
    /// Which file it is; none on the heap.
    presence: Option<Presence>,
    process: Process,
    /// When a call that found nothing last found the ring in its place.
    checked_up_ms: AtomicU64,
    /// The dead-letter ring of a ring on the heap.
    heap_dead: Option<Box<Source>>,
    /// The owner that the caller trusts, of this ring and of its dead-letter ring.
    pub(crate) trusted_owner: Option<u32>,
    /// The ring of which the caller has saved positions.
    continuing: Option<RingId>,
}

/// Gets the pages as the place asks.
fn prepare(region: &Region, access: Access, pages: Pages) -> Result<(), OpenError> {
    if pages.huge {
        region.ask_for_huge_pages();
    }
    if pages.prefault {
        region.populate(access).map_err(|error| OpenError::io("map all of its pages", error))?;
    }
    if pages.lock {
        let what = "lock it into memory (ulimit -l says how much may be)";
        region.lock_pages().map_err(|error| OpenError::io(what, error))?;
    }
    Ok(())
}

impl Attachment {
    pub(crate) fn open(place: impl Place, access: Access) -> Result<Attachment, AtPath<OpenError>> {
        let At { source, demands } = place.at();
        let attachment = match source.0 {
            Kind::Heap { region, rights, header, dead } => Attachment {
                region,
                locks: Locks::heap(&rights),
                lock_fault: None,
                header,
                path: PathBuf::from(IN_MEMORY),
                presence: None,
                process: system::this_process(),
                checked_up_ms: AtomicU64::default(),
                heap_dead: dead,
                trusted_owner: demands.trusted_owner,
                continuing: demands.continuing,
            },
            Kind::File { path, ring } => {
                // Made absolute: a later `chdir` must not change the file that the path names.
                let path = from_the_root(path);
                match Attachment::await_file(&path, ring, access, demands) {
                    Ok(attachment) => attachment,
                    Err(OpenError::NotFound) if demands.dead_of.is_some() => {
                        return Err(AtPath { path, error: OpenError::NoDeadLetterRing });
                    }
                    Err(error) => return Err(AtPath { path, error }),
                }
            }
        };
        match attachment.satisfies(demands) {
            Ok(()) => Ok(attachment),
            Err(error) => Err(attachment.at_path(error)),
        }
    }

    /// Opens the file; waits for it as the place says.
    fn await_file(
        path: &Path,
        ring: Option<RingId>,
        access: Access,
        demands: Demands,
    ) -> Result<Attachment, OpenError> {
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let left = demands.wait.saturating_sub(start.elapsed());
            match Attachment::open_file(path, ring, access, demands) {
                Err(OpenError::NotFound) if !left.is_zero() => system::sleep(pause.min(left)),
                Err(error) if is_leased(&error) && start.elapsed() < LEASE_PATIENCE => {
                    system::sleep(pause);
                }
                opened => return opened,
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    fn open_file(
        path: &Path,
        ring: Option<RingId>,
        access: Access,
        demands: Demands,
    ) -> Result<Attachment, OpenError> {
        system::Filesystem::not_remote(path)
            .map_err(|filesystem| OpenError::RemoteFilesystem { filesystem })?;
        let file = ForkClosed::open(|| open_file(path, access))?;
        let (header, metadata, filesystem) = validate(file.file(), access, demands.trusted_owner)?;
        if let Some(expected) = ring.filter(|ring| *ring != header.ring_id) {
            return Err(OpenError::WrongRing { found: header.ring_id, expected });
        }
        let region = Region::map(file.file(), &header.geometry, access, demands.pages.huge)
            .map_err(|error| OpenError::io("map it", error))?;
        let (locks, lock_fault) = lock_file::locks_of(path, file, &metadata, &header, access)?;
        prepare(&region, access, demands.pages)?;
        let (len, id) = (header.geometry.file_len(), header.ring_id.to_bytes());
        let mut presence = Presence::new(path.to_path_buf(), inode(&metadata), len, id);
        if filesystem.is_overlay() && access == Access::Nothing {
            presence = presence.that_may_be_copied_up();
        }
        // From here on the head is known. What the file holds now was validated.
        let _ = presence.look_at_map(&region);
        Ok(Attachment {
            region,
            locks,
            lock_fault,
            header: Arc::new(header),
            path: path.to_path_buf(),
            presence: Some(presence),
            process: system::this_process(),
            checked_up_ms: AtomicU64::new(system::coarse_monotonic_ms()),
            heap_dead: None,
            trusted_owner: demands.trusted_owner,
            continuing: demands.continuing,
        })
    }

    /// Checked before anything is locked or written: a refusal leaves no trace.
    fn satisfies(&self, demands: Demands) -> Result<(), OpenError> {
        let header = &self.header;
        if let Some(expected) = demands.ring_id.filter(|id| *id != header.ring_id) {
            return Err(OpenError::WrongRing { found: header.ring_id, expected });
        }
        if let Some(expected) = demands.continuing.filter(|id| !header.is_or_continues(*id)) {
            return Err(OpenError::WrongRing { found: header.ring_id, expected });
        }
        if let Some(ring) = demands.dead_of.filter(|ring| header.dead_of != Some(*ring)) {
            return Err(OpenError::NotItsDeadLetters { ring, of: header.dead_of });
        }
        let fits = match demands.carries {
            Carries::Nothing => true,
            Carries::Bytes => demands.any_type || header.type_fingerprint == 0,
            Carries::Values(of) => {
                header.geometry.block_size() == of.size && (demands.any_type || header.carries(of))
            }
        };
        if fits {
            return Ok(());
        }
        let ring = match header.type_fingerprint {
            0 => format!("untyped blocks of {} bytes", header.geometry.block_size()),
            _ => header.schema.clone(),
        };
        let expected = match demands.carries {
            Carries::Values(of) => of.schema.to_owned(),
            Carries::Nothing | Carries::Bytes => "untyped bytes".to_owned(),
        };
        Err(OpenError::TypeMismatch { ring, expected })
    }

    /// An error if a reader asks for a position of a ring that this one continues, from which on
    /// that ring's messages were lost.
    pub(crate) fn check_start(&self, start: Start) -> Result<(), StartError> {
        let (Some(saved_of), Start::At(requested)) = (self.continuing, start) else { return Ok(()) };
        match watermark(&self.header.ancestors, saved_of) {
            Some(watermark) if saved_of != self.header.ring_id && requested > watermark => {
                Err(StartError::Rewound { requested, watermark })
            }
            _ => Ok(()),
        }
    }

    /// The error, at the path of this ring.
    pub(crate) fn at_path<E>(&self, error: E) -> AtPath<E> {
        AtPath { path: self.path.clone(), error }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.header.geometry
    }

    /// Permission bits of the file.
    pub(crate) fn mode(&self) -> u32 {
        std::fs::symlink_metadata(&self.path).map_or(0o600, |metadata| metadata.mode() & 0o777)
    }

    /// Where the dead letters of this ring's groups go.
    pub(crate) fn dead_source(&self) -> Source {
        match &self.heap_dead {
            Some(source) => (**source).clone(),
            None => Source(Kind::File { path: dead_path(&self.path), ring: None }),
        }
    }

    /// True in a forked child, which must not touch the ring: the mapping is not there.
    pub(crate) fn is_foreign(&self) -> bool {
        self.process != system::this_process()
    }

    /// An error if the file under a reader was replaced, removed or cut short.
    pub(crate) fn still_readable(&self) -> Result<(), AtPath<HandleError>> {
        self.not_lost()?;
        let look = |presence: &Presence| presence.look_at_path_and_map(&self.region);
        let found = self.presence.as_ref().and_then(look);
        // The look itself may have lost the memory.
        self.not_lost()?;
        found.map_or(Ok(()), |error| Err(self.at_path(error)))
    }

    /// As `still_readable`, and an error if the producer is away and `notice_producer_away` is set.
    pub(crate) fn check_up(&self, notice_producer_away: bool) -> Result<(), RecvError> {
        self.still_readable()?;
        // A ring that never had a producer waits for one.
        let load = |word| self.region.load(word, Relaxed);
        if notice_producer_away && load(producer_page::EPOCH) != 0 && !self.locks.is_held(Right::Producer) {
            let (path, pid) = (self.path.clone(), load(producer_page::PID));
            return Err(RecvError::ProducerAway { path, pid });
        }
        Ok(())
    }

    /// As `check_up`, if the last one is [`CHECK_UP_MS`] ago: for a call that found nothing, and
    /// did not wait for so long itself. Without it, a reader whose every call returns at once, or
    /// waits for a moment alone, would never look. True if it has looked.
    pub(crate) fn check_up_at_times(&self, notice_producer_away: bool) -> Result<bool, RecvError> {
        let now = system::coarse_monotonic_ms();
        if now.wrapping_sub(self.checked_up_ms.load(Relaxed)) < CHECK_UP_MS {
            return Ok(false);
        }
        self.check_up(notice_producer_away)?;
        self.checked_up_ms.fetch_max(now, Relaxed);
        Ok(true)
    }

    /// An error if the memory is not the ring any more. Makes no system call.
    pub(crate) fn not_lost(&self) -> Result<(), AtPath<HandleError>> {
        let error = match self.region.state() {
            State::Whole => return Ok(()),
            State::Lost(loss) => {
                self.cause(loss).map_or(HandleError::Truncated, |cause| HandleError::Lost { cause })
            }
            State::Foreign => HandleError::Forked { pid: self.process.number },
        };
        Err(self.at_path(error))
    }

    /// Why the mapping was lost; none if the file was cut short.
    fn cause(&self, loss: Loss) -> Option<&'static str> {
        let is_whole = || self.presence.as_ref().is_some_and(|presence| presence.look_at_path().is_none());
        match loss {
            Loss::Hardware => {
                Some("the hardware reports that a page of it is defective: see dmesg, and restore the ring")
            }
            Loss::Storage if is_whole() => Some(
                "the filesystem has no place for a page of it: no space is left, and a snapshot or a reflink copy took \
                 what was reserved, the disk reports an error, or the file was cut short for a moment; mend \
                 that, and open the ring again",
            ),
            Loss::Storage => None,
        }
    }

    /// The file that the ring was opened from; none on the heap.
    pub(crate) fn presence(&self) -> Option<&Presence> {
        self.presence.as_ref()
    }

    /// True if the path names no file, or another file than the mapped one.
    pub(crate) fn is_replaced(&self) -> bool {
        self.presence.as_ref().and_then(Presence::look_at_path) == Some(HandleError::Replaced)
    }

    /// Runs `edit` under the table right.
    pub(crate) fn with_table<T, E: From<OpenError>>(
        &self,
        edit: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, AtPath<E>> {
        self.seize_table().map_err(|error| self.at_path(E::from(error)))?;
        let result = edit();
        self.locks.release(Right::Table);
        result.map_err(|error| self.at_path(error))
    }

    fn seize_table(&self) -> Result<(), OpenError> {
        let start = Instant::now();
        while !self
            .locks
            .try_seize(Right::Table)
            .map_err(|error| OpenError::io("lock its consumer table", error))?
        {
            // Edits take microseconds, so this loop ends soon or not at all.
            if start.elapsed() > TABLE_PATIENCE {
                return Err(OpenError::TableBusy { waited: start.elapsed() });
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Why the dead-letter ring did not take the message that a worker last tried to move there, as
    /// far as the flight recorder tells.
    pub(crate) fn dead_letters_wait_for(&self) -> String {
        let events = recorder::events(&self.region, self.geometry());
        let told = events.into_iter().rev().find_map(|event| match event.kind {
            EventKind::DeadLettersUnavailable => Some(event.name),
            EventKind::DeadLettersFull => Some("the dead-letter ring is full".to_owned()),
            EventKind::DeadLettered => Some("no worker has tried again".to_owned()),
            _ => None,
        });
        told.unwrap_or_else(|| "no worker has tried".to_owned())
    }

    /// Writes an event if the table right is free: a caller never waits for the recorder.
    pub(crate) fn try_record(&self, kind: EventKind, position: u64, name: &str, pid: u64) {
        let unix_ms = system::unix_now_ms();
        let entry = recorder::NewEvent { kind, position, pid, unix_ms, name };
        recorder::try_record(&self.region, self.geometry(), &self.locks, entry);
    }

    /// Writes an event. The table right is held.
    pub(crate) fn record(&self, kind: EventKind, position: u64, name: &str, pid: u64) {
        let unix_ms = system::unix_now_ms();
        recorder::record(
            &self.region,
            self.geometry(),
            recorder::NewEvent { kind, position, pid, unix_ms, name },
        );
    }
}

fn is_leased(error: &OpenError) -> bool {
    matches!(error, OpenError::Io { error, .. } if error.kind() == io::ErrorKind::ResourceBusy)
}

/// The longest time for which a party that reaps holds an entry's lock.
const ENTRY_PATIENCE: Duration = Duration::from_millis(20);

/// Tries again for a moment while another party holds the entry.
pub(crate) fn patiently<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    is_held: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(error) if is_held(&error) && start.elapsed() < ENTRY_PATIENCE => std::thread::yield_now(),
            result => return result,
        }
    }
}

pub(crate) fn open_file(path: &Path, access: Access) -> Result<File, OpenError> {
    let action = match access {
        Access::Nothing => "open it for reading",
        Access::Readers | Access::Everything => "open it for writing",
    };
    system::open(path, access != Access::Nothing).map_err(|error| match system::Refusal::of(&error) {
        Some(system::Refusal::NoFile) => OpenError::NotAFile { kind: "socket or device" },
        _ => OpenError::io(action, error),
    })
}

fn validate(
    file: &File,
    access: Access,
    trusted_owner: Option<u32>,
) -> Result<(Header, Metadata, system::Filesystem), OpenError> {
    let failed = |action| move |error| OpenError::io(action, error);
    let metadata = file.metadata().map_err(failed("examine it"))?;
    NotRegular::check(&metadata).map_err(|NotRegular(kind)| OpenError::NotAFile { kind })?;
    // An observer copies and validates: it accepts every owner's file. The other roles read in
    // place.
    let (owner, user) = (metadata.uid(), system::effective_user());
    if access != Access::Nothing && owner != user && owner != 0 && trusted_owner != Some(owner) {
        return Err(OpenError::ForeignOwner { owner, user });
    }
    let filesystem = system::Filesystem::of(file).map_err(failed("examine its filesystem"))?;
    if let Some(filesystem) = filesystem.remote_name() {
        return Err(OpenError::RemoteFilesystem { filesystem });
    }
    let header = header::parse(file, metadata.len())?;
    Ok((header, metadata, filesystem))
}
