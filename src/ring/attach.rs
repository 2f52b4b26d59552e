//! From a path to a validated, mapped ring. Each number of the header that serves as an offset, a
//! size or an index is checked here, copied out once, and never read from shared memory again.

use crate::error::{AtPath, HandleError, OpenError, RecvError};
use crate::id::{MessageId, RingId};
use crate::message::MessageType;
use crate::region::pages::Pages;
use crate::region::rights::Locks;
use crate::region::{Access, Region, State};
use crate::ring::companion::DeadLetterOptions;
use crate::ring::lock_file;
use crate::ring::paths::{IN_MEMORY, dead_path, from_the_root};
use crate::ring::place::{At, Carries, Demands, Kind, Place, Source};
use crate::ring::presence::{Presence, inode};
use crate::ring::restoration::{self, Ancestor};
use crate::system::fork::{ForkClosed, Loss};
use crate::system::{self, Process};
use slipring_core::format::{
    BYTE_ORDER, FORMAT_VERSION, Geometry, GeometryError, HEADER_LEN, KNOWN_REQUIRED_FEATURES, MAGIC,
    POSITION_MAX, RawHeader, SCHEMA_MAX, producer_page, to_usize,
};
use slipring_core::memory::{Liveness, Memory, Right};
use slipring_core::protocol::Damage;
use slipring_core::protocol::recorder::{self, EventKind};
use slipring_core::protocol::table::{Start, StartError};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use zerocopy::FromBytes;

/// How long an edit of the tables may take before it counts as stuck.
const TABLE_PATIENCE: Duration = Duration::from_secs(5);

/// How long the holder of a lease on the file may take to give it up.
const LEASE_PATIENCE: Duration = Duration::from_secs(5);

/// How long a reader that finds nothing goes on without a look whether the ring is still there.
const CHECK_UP_MS: u64 = 100;

/// Pauses between two looks for a ring that is not there yet: they double up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// The fields of a header, validated.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) geometry: Geometry,
    pub(crate) ring_id: RingId,
    pub(crate) created_unix_ns: u64,
    pub(crate) type_fingerprint: u64,
    pub(crate) schema: String,
    pub(crate) durable_inactive_ms: u64,
    /// Of a dead-letter ring: the ring whose dead letters it holds.
    pub(crate) dead_of: Option<RingId>,
    /// Of a ring with groups: capacity and policy of its dead-letter ring.
    pub(crate) dead_letters: DeadLetterOptions,
    /// Inode number of the file that holds the locks; none if that is the ring's own.
    pub(crate) lock_file: Option<u64>,
    /// The rings that this one continues, the nearest first.
    pub(crate) ancestors: Vec<Ancestor>,
}

impl Header {
    /// Of a validated geometry and description.
    pub(crate) fn of(raw: &RawHeader, geometry: Geometry, schema: &str) -> Header {
        Header {
            geometry,
            ring_id: RingId(raw.ring_id),
            created_unix_ns: raw.created_unix_ns,
            type_fingerprint: raw.type_fingerprint,
            schema: schema.to_owned(),
            durable_inactive_ms: raw.durable_inactive_ms,
            dead_of: Some(RingId(raw.dead_of)).filter(|id| id.0 != [0; 16]),
            dead_letters: DeadLetterOptions::from_header(raw.dead_capacity, raw.dead_policy),
            lock_file: Some(raw.lock_file).filter(|&inode| inode != 0),
            ancestors: raw.ancestors().map(Ancestor::from).collect(),
        }
    }

    /// The identity of the message at a position. A message that a lost ring had keeps the identity
    /// that it had there: an effect that was keyed by it happens once, also across the loss.
    ///
    /// Example: this ring continues B from 900 on, and B continued A from 500 on. Message 400 is
    /// A's, 600 is B's, and 900 is this ring's own.
    pub(crate) fn identity(&self, position: u64) -> MessageId {
        let inherited = self.ancestors.iter().take_while(|ancestor| position < ancestor.watermark);
        let ring = inherited.last().map_or(self.ring_id, |ancestor| ancestor.ring);
        MessageId { ring, position }
    }

    pub(crate) fn is_or_continues(&self, ring: RingId) -> bool {
        self.ring_id == ring || restoration::watermark(&self.ancestors, ring).is_some()
    }

    /// True if the ring's messages are values of this type.
    fn carries(&self, of: MessageType) -> bool {
        (self.type_fingerprint, self.schema.as_str()) == (of.fingerprint, of.schema)
    }
}

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
        match restoration::watermark(&self.header.ancestors, saved_of) {
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

/// The kind of a file that is not a regular one.
pub(crate) struct NotRegular(pub(crate) &'static str);

impl NotRegular {
    pub(crate) fn check(metadata: &Metadata) -> Result<(), NotRegular> {
        let kind = metadata.file_type();
        match kind {
            kind if kind.is_file() => Ok(()),
            kind if kind.is_dir() => Err(NotRegular("directory")),
            kind if kind.is_fifo() => Err(NotRegular("FIFO")),
            kind if kind.is_symlink() => Err(NotRegular("symbolic link")),
            _ => Err(NotRegular("device")),
        }
    }
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
    let header = parse(file, metadata.len())?;
    Ok((header, metadata, filesystem))
}

fn parse(file: &File, len: u64) -> Result<Header, OpenError> {
    let raw = read_header(file, len)?;
    verify(&raw)?;
    let geometry = plan(&raw)?;
    if let Some((field, found, expected)) = raw.geometry_mismatch(&geometry) {
        return Err(OpenError::Layout { field, found, expected });
    }
    if len != geometry.file_len() {
        return Err(OpenError::Length { found: len, expected: geometry.file_len() });
    }
    let geometry = geometry.starting_at(raw.first_position).map_err(OpenError::Geometry)?;
    check_ancestors(&raw, &geometry).map_err(OpenError::Damaged)?;
    let schema = schema(&raw).ok_or(OpenError::Geometry(GeometryError::Schema(raw.schema_len)))?;
    Ok(Header::of(&raw, geometry, schema))
}

/// A ring begins with what it has of the ring that it continues, a lap at most.
fn check_ancestors(raw: &RawHeader, geometry: &Geometry) -> Result<(), Damage> {
    let first = geometry.first_position();
    for (number, ancestor) in raw.ancestors().enumerate() {
        let (low, high) = if number == 0 { (first, first + geometry.capacity()) } else { (0, POSITION_MAX) };
        Damage::bound("watermark of an ancestor", ancestor.watermark, low, high)?;
    }
    Ok(())
}

/// The header's bytes, of a file that begins as a ring does.
pub(crate) fn read_header(file: &File, len: u64) -> Result<RawHeader, OpenError> {
    let header_len = to_usize(HEADER_LEN);
    let mut bytes = Vec::with_capacity(header_len);
    read_start(file, &mut bytes, header_len).map_err(|error| OpenError::io("read its header", error))?;
    if !bytes.starts_with(&MAGIC) {
        return Err(OpenError::NotARing { len, begins: bytes.into_iter().take(8).collect() });
    }
    RawHeader::read_from_bytes(&bytes).map_err(|_| OpenError::Length { found: len, expected: HEADER_LEN })
}

/// An error if the header is none of this version, or was changed.
pub(crate) fn verify(raw: &RawHeader) -> Result<(), OpenError> {
    if raw.byte_order == BYTE_ORDER.swap_bytes() {
        return Err(OpenError::WrongByteOrder);
    }
    if raw.version != FORMAT_VERSION {
        return Err(OpenError::Version { found: raw.version });
    }
    if raw.checksum == 0 {
        return Err(OpenError::Incomplete);
    }
    let computed = raw.compute_checksum();
    if raw.checksum != computed {
        return Err(OpenError::Checksum { stored: raw.checksum, computed });
    }
    let unknown = raw.features_required & !KNOWN_REQUIRED_FEATURES;
    if unknown != 0 {
        return Err(OpenError::Features { bits: unknown });
    }
    Ok(())
}

/// The geometry that the header's numbers make.
pub(crate) fn plan(raw: &RawHeader) -> Result<Geometry, OpenError> {
    Geometry::plan(raw.block_size, raw.capacity, raw.consumers)
        .and_then(|geometry| geometry.with_groups(raw.groups, raw.workers))
        .map_err(OpenError::Geometry)
}

/// The description of the ring's type; none if it is no text.
pub(crate) fn schema(raw: &RawHeader) -> Option<&str> {
    let len = usize::try_from(raw.schema_len).ok().filter(|&len| len <= SCHEMA_MAX)?;
    std::str::from_utf8(&raw.schema[..len]).ok()
}

/// Reads up to `len` bytes from the start of the file; fewer if it is shorter.
fn read_start(file: &File, bytes: &mut Vec<u8>, len: usize) -> io::Result<()> {
    bytes.resize(len, 0);
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(())
}
