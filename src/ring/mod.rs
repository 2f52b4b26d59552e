//! A ring: its options, its creation, and a read-only look at its tables.
//!
//! The files of this folder import each other downwards:
//!
//! ```text
//! check   groups   open_or_create   restoration   salvage     more calls of a ring and its options
//!                       mod                                   `Ring`, `RingOptions`, creation
//!              attach         ring_draft                      an open ring; an incomplete one
//!                   lock_file                                 the locks of a ring
//!              place          draft                           the way to a ring; one file
//!              header         storage                         what the file says; where it lies
//! ancestor   companion   paths   presence   regular           facts about rings and files
//! ```

pub(crate) mod ancestor;
pub(crate) mod attach;
pub(crate) mod check;
pub(crate) mod companion;
mod draft;
pub(crate) mod groups;
mod header;
pub(crate) mod lock_file;
mod open_or_create;
mod paths;
pub(crate) mod place;
pub(crate) mod presence;
mod regular;
pub(crate) mod restoration;
mod ring_draft;
pub(crate) mod salvage;
pub(crate) mod storage;

use crate::error::{AfterError, AtPath, CreateError, EntryError, NameError, OpenError};
use crate::id::{MessageId, RingId};
use crate::message::described::Described;
use crate::message::{MessageType, Value};
use crate::region::{Access, Region, clock, rights};
use crate::ring::ancestor::Ancestor;
use crate::ring::attach::{Attachment, patiently};
use crate::ring::companion::{DeadLetterOptions, DeadLetterPolicy, REDRIVE_CONSUMER};
use crate::ring::draft::Draft;
use crate::ring::header::Header;
use crate::ring::paths::{IN_MEMORY, dead_path, lock_path};
use crate::ring::place::{At, Demands, Kind, Place, Source, sealed::Sealed};
use crate::ring::ring_draft::RingDraft;
use crate::system;
use slipring_core::format::gating::UPSTREAMS_MAX;
use slipring_core::format::{
    BLOCK_SIZE_MAX, DEAD_LETTER_HEADER_LEN, EntryFlags, GROUPS_MAX, Geometry, GeometryError, RawHeader, Tail,
    entry, fnv1a, producer_page, to_usize,
};
use slipring_core::memory::{Liveness, Memory, Right};
use slipring_core::protocol;
use slipring_core::protocol::after;
use slipring_core::protocol::follow::Party;
use slipring_core::protocol::furnish::{Declared, Durable, Staff, furnish};
use slipring_core::protocol::group::table::Birth;
use slipring_core::protocol::membership::{self, RemoveError, Removed, StartError};
use slipring_core::protocol::recorder::{self, Event, EventKind};
use slipring_core::protocol::settings::GroupSettings;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The options of a new ring.
///
/// ```
/// # let dir = std::env::temp_dir().join(format!("slipring-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// # let path = dir.join("quotes");
/// use slipring::RingOptions;
///
/// // 1024 blocks of 48 bytes: a message and its header share one cache line.
/// let ring = RingOptions::new(48, 1024).durable("audit").create(&path)?;
/// assert_eq!(ring.capacity(), 1024);
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RingOptions {
    block_size: usize,
    capacity: usize,
    consumers: u32,
    durable: Vec<Durable>,
    mode: u32,
    first_position: u64,
    durable_inactive_ms: u64,
    carries: Option<Described>,
    /// A description of the type that could not be read.
    undescribed: Option<String>,
    declared_groups: Vec<Staff>,
    groups: Option<u32>,
    workers: u32,
    dead_letters: DeadLetterOptions,
    pub(crate) dead_of: Option<RingId>,
    /// The nearest first.
    ancestors: Vec<Ancestor>,
    /// A consumer that was to come after others and is not declared.
    undeclared_follower: Option<String>,
}

/// The permission bits that the user needs that a ring belongs to.
const OWNERS: u32 = 0o600;

impl RingOptions {
    /// A ring of at least `capacity` blocks of `block_size` bytes each; a message is at most one
    /// block.
    ///
    /// * `block_size`: 1 byte to 1 GiB. The table below has the cost in the file.
    /// * `capacity`: 1 to 2^32, rounded up to a power of two. The largest burst that the ring
    ///   absorbs, and the longest distance between the producer and its slowest consumer.
    ///
    /// | block, bytes | bytes per message | cache lines of a single message | |
    /// |--:|--:|--:|---|
    /// | 8 | 40 | 1 | one line carries the header and the message: the lowest latency |
    /// | 48 | 112 | 1 | up to 112 bytes, a block has two places: for single messages and for batches |
    /// | 112 | 240 | 2 | |
    /// | 240 | 272 | 5 | above 112 bytes, one place and a header of 16 bytes |
    ///
    /// The numbers are checked by [`create`](Self::create).
    pub fn new(block_size: usize, capacity: usize) -> RingOptions {
        RingOptions {
            block_size,
            capacity,
            consumers: 64,
            durable: Vec::new(),
            mode: 0o600,
            first_position: 0,
            durable_inactive_ms: 0,
            carries: None,
            undescribed: None,
            declared_groups: Vec::new(),
            groups: None,
            workers: 64,
            dead_letters: DeadLetterOptions::default(),
            dead_of: None,
            ancestors: Vec::new(),
            undeclared_follower: None,
        }
    }

    /// A ring of values of `T`, one per block. A program with another type cannot
    /// attach.
    ///
    /// ```
    /// use slipring::{Producer, RingOptions};
    ///
    /// let ring = RingOptions::of::<[f64; 2]>(1024).create_in_memory()?;
    /// assert_eq!((ring.block_size(), ring.schema()), (16, Some("[f64;2]")));
    /// # Ok::<(), slipring::Error>(())
    /// ```
    pub fn of<T: Value>(capacity: usize) -> RingOptions {
        let mut options = RingOptions::new(size_of::<T>(), capacity);
        options.carries = Some(MessageType::of::<T>().into());
        options
    }

    /// A ring of values of the type that this text describes, for a program that does not have the
    /// type: the text is what [`Ring::schema`] said of another ring. The blocks must be as long as
    /// the type.
    ///
    /// ```
    /// use slipring::{Producer, RingOptions};
    ///
    /// let ring = RingOptions::new(16, 64).described_as("[f64;2]").create_in_memory()?;
    /// Producer::<[f64; 2]>::open(&ring)?.send(&[0.5, 1.5])?;
    /// assert!(RingOptions::new(16, 64).described_as("[f65;2]").create_in_memory().is_err());
    /// # Ok::<(), slipring::Error>(())
    /// ```
    #[must_use]
    pub fn described_as(mut self, schema: &str) -> RingOptions {
        self.carries = Described::parse(schema).filter(|of| of.size == self.block_size as u64);
        self.undescribed = self.carries.is_none().then(|| schema.to_owned());
        self
    }

    /// How many consumer entries the ring has, those of durable consumers that are away included: 1
    /// to 4096; default 64. Each takes 256 bytes of the file; an entry that was ever used costs the
    /// producer a look at one cache line at each scan.
    #[must_use]
    pub fn consumers(mut self, consumers: u32) -> RingOptions {
        self.consumers = consumers;
        self
    }

    /// Declares a durable consumer: from the first message on, the producer overwrites no message
    /// that this consumer has not released, even before it attaches for the first time. Without a
    /// declared consumer or group, messages from before the first consumer are overwritten a lap
    /// later.
    ///
    /// ```
    /// use slipring::{ConsumerOptions, Producer, RingOptions};
    ///
    /// let ring = RingOptions::of::<u64>(64).durable("audit").create_in_memory()?;
    /// Producer::<u64>::open(&ring)?.send(&7)?; // kept for the consumer
    /// let mut audit = ConsumerOptions::new().name("audit").durable(true).attach::<u64>(&ring)?;
    /// assert_eq!(*audit.recv()?, 7);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    #[must_use]
    pub fn durable(mut self, name: impl Into<String>) -> RingOptions {
        let name = name.into();
        if self.durable.iter().all(|declared| declared.name != name) {
            self.durable.push(Durable { name, begins_at: None, after: Vec::new() });
        }
        self
    }

    /// As [`durable`](Self::durable), in a ring that is [restored](Self::restore): the consumer
    /// goes on at `position`.
    #[must_use]
    pub fn durable_at(mut self, name: impl Into<String>, position: u64) -> RingOptions {
        let name = name.into();
        self.durable.retain(|declared| declared.name != name);
        self.durable.push(Durable { name, begins_at: Some(position), after: Vec::new() });
        self
    }

    /// The durable consumer of this name, declared before, comes after these: durable consumers
    /// that are declared before it, and groups of the ring, four at most. As
    /// [`ConsumerOptions::after`](crate::ConsumerOptions::after), from the first message on; the
    /// consumer then attaches with the same list, or none.
    ///
    /// ```
    /// use slipring::{ConsumerOptions, Producer, RecvError, RingOptions};
    ///
    /// let options = RingOptions::of::<u64>(64).durable("journal").durable("act");
    /// let ring = options.comes_after("act", ["journal"]).create_in_memory()?;
    /// Producer::<u64>::open(&ring)?.send(&7)?;
    /// let mut act = ConsumerOptions::new().name("act").durable(true).attach::<u64>(&ring)?;
    /// assert!(matches!(act.try_recv(), Err(RecvError::Empty))); // not in the journal yet
    /// assert_eq!(ring.consumers()[1].after, ["journal"]);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    #[must_use]
    pub fn comes_after(
        mut self,
        durable: &str,
        upstreams: impl IntoIterator<Item = impl Into<String>>,
    ) -> RingOptions {
        match self.durable.iter_mut().find(|declared| declared.name == durable) {
            Some(declared) => declared.after = upstreams.into_iter().map(Into::into).collect(),
            None => self.undeclared_follower = Some(durable.to_owned()),
        }
        self
    }

    /// An error if a durable consumer is to come after a reader that is not declared before it.
    fn check_followers(&self) -> Result<(), CreateError> {
        let failed = |name: &String, error| Err(CreateError::After { name: name.clone(), error });
        if let Some(name) = &self.undeclared_follower {
            return failed(name, AfterError::NotFound { name: name.clone() });
        }
        for (number, Durable { name, after, .. }) in self.durable.iter().enumerate() {
            if after.len() > UPSTREAMS_MAX {
                return failed(name, AfterError::TooMany { asked: after.len() });
            }
            let durables = self.durable[..number].iter().map(|declared| &declared.name);
            let groups = self.declared_groups.iter().map(|group| &group.name);
            let before: Vec<_> = durables.chain(groups).collect();
            for upstream in after {
                match before.iter().filter(|declared| **declared == upstream).count() {
                    0 => return failed(name, AfterError::NotFound { name: upstream.clone() }),
                    1 => {}
                    _ => return failed(name, AfterError::Ambiguous { name: upstream.clone() }),
                }
            }
        }
        Ok(())
    }

    /// Gives up a durable consumer that has been away for this long, once it holds the ring full.
    /// Default: never; it is removed by hand ([`Ring::remove_consumer`]).
    #[must_use]
    pub fn durable_inactive_threshold(mut self, threshold: Duration) -> RingOptions {
        self.durable_inactive_ms = u64::try_from(threshold.as_millis()).unwrap_or(u64::MAX).max(1);
        self
    }

    /// Declares a group of workers: from the first message on, the producer overwrites no message
    /// that the group has not settled, even before its first worker joins. The settings are the
    /// group's from then on.
    #[must_use]
    pub fn group(self, name: impl Into<String>, settings: GroupSettings) -> RingOptions {
        self.staff(Staff { name: name.into(), settings, begins_at: None })
    }

    /// As [`group`](Self::group), in a ring that is [restored](Self::restore): the group has
    /// settled every message below `position`, and none from there on.
    #[must_use]
    pub fn group_at(self, name: impl Into<String>, settings: GroupSettings, position: u64) -> RingOptions {
        self.staff(Staff { name: name.into(), settings, begins_at: Some(position) })
    }

    fn staff(mut self, staff: Staff) -> RingOptions {
        self.declared_groups.retain(|declared| declared.name != staff.name);
        self.declared_groups.push(staff);
        self
    }

    /// How many groups the ring has room for, the declared ones included: 0 to 64; default: none
    /// in a ring that declares none, else three more than are declared. Each takes 8 bytes per
    /// block. A group that was not declared begins with its first worker.
    #[must_use]
    pub fn groups(mut self, groups: u32) -> RingOptions {
        self.groups = Some(groups);
        self
    }

    /// How many workers may be attached at once, over all groups: 1 to 1024; default 64.
    #[must_use]
    pub fn workers(mut self, workers: u32) -> RingOptions {
        self.workers = workers;
        self
    }

    /// Blocks of the dead-letter ring that a ring with groups has beside it, at the same path with
    /// `.dead` appended; default: as many as the ring itself, at most 1024. Rounded up to a power
    /// of two. Its blocks are 192 bytes larger than the ring's.
    #[must_use]
    pub fn dead_letter_capacity(mut self, blocks: usize) -> RingOptions {
        self.dead_letters.capacity = Some(blocks as u64);
        self
    }

    /// The fate of a dead letter when the dead-letter ring is full. Default
    /// [`DeadLetterPolicy::Block`].
    #[must_use]
    pub fn dead_letter_policy(mut self, policy: DeadLetterPolicy) -> RingOptions {
        self.dead_letters.policy = policy;
        self
    }

    /// Permission bits of the file, whatever the umask; default 0o600, and at least that. Consumers
    /// need write permission, observers read permission. Every process that may write is trusted:
    /// with a wider mode, choose the members of the file's group.
    ///
    /// Where more users may read the ring than write it, as with 0o644, its locks are in a file
    /// beside it, at the same path with `.locks` appended, that only those can open that may write:
    /// an observer holds up no other process. The two files move together.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> RingOptions {
        self.mode = mode & 0o777;
        self
    }

    /// The position of the first message; default 0, at most 2^63 - 2^40. For a ring that continues
    /// the numbering of another ring.
    #[must_use]
    pub fn first_position(mut self, position: u64) -> RingOptions {
        self.first_position = position;
        self
    }

    /// Creates the ring at `path`. The file appears complete or not at all; its space is reserved,
    /// so that no later publish fails for want of space. An existing file stays untouched: of two
    /// programs that create at once, one wins and the other gets [`CreateError::AlreadyExists`].
    ///
    /// Use a path on tmpfs such as `/dev/shm` for speed, on another local filesystem to survive a
    /// reboot (not a power cut: slipring flushes no page to a disk).
    ///
    /// # Errors
    ///
    /// [`CreateError::AlreadyExists`] if a file has the path, or that of the dead-letter ring;
    /// [`CreateError::Geometry`], [`CreateError::Name`] or [`CreateError::Settings`] if an option
    /// is out of range; [`CreateError::NoDirectory`], [`CreateError::NoSpace`],
    /// [`CreateError::Permission`], [`CreateError::RemoteFilesystem`] or [`CreateError::Io`] if the
    /// filesystem refuses. No file is left behind.
    pub fn create(&self, path: impl AsRef<Path>) -> Result<Ring, AtPath<CreateError>> {
        let path = path.as_ref();
        let id = self.make(path)?;
        Ok(Ring::open(At::path(path).only_ring(id))?)
    }

    /// Creates the ring, and does not open it.
    fn make(&self, path: &Path) -> Result<RingId, AtPath<CreateError>> {
        let failed = |error| AtPath { path: path.to_path_buf(), error };
        let (geometry, raw) = self.plan().map_err(failed)?;
        self.members_lie_in(self.first_position, self.first_position).map_err(failed)?;
        if std::fs::symlink_metadata(path).is_ok() {
            return Err(failed(CreateError::AlreadyExists));
        }
        if geometry.groups() > 0 {
            make_way(dead_path(path))?;
        }
        let ring = self.filled_draft(path, &geometry, &raw)?;
        self.name(path, &geometry, &raw, ring)
    }

    /// Makes complete files visible, those of the dead-letter ring first.
    fn name(
        &self,
        path: &Path,
        geometry: &Geometry,
        raw: &RawHeader,
        mut ring: RingDraft,
    ) -> Result<RingId, AtPath<CreateError>> {
        match geometry.groups() {
            0 => ring.name()?,
            _ => self.name_dead_letters(path, geometry, raw, ring)?.name(path)?,
        }
        Ok(RingId(raw.ring_id))
    }

    /// Creates the dead-letter ring of a ring with groups, and gives it its name.
    ///
    /// Every file has its space before one has its name. The dead-letter ring is named first, so
    /// that of two programs that create at once the loser leaves no file.
    fn name_dead_letters(
        &self,
        path: &Path,
        geometry: &Geometry,
        raw: &RawHeader,
        ring: RingDraft,
    ) -> Result<HalfNamed, AtPath<CreateError>> {
        let dead_path = dead_path(path);
        let dead_failed = |error| AtPath { path: dead_path.clone(), error };
        let dead = dead_options(geometry, RingId(raw.ring_id), &self.dead_letters, self.mode);
        let (dead_geometry, dead_raw) = dead.plan().map_err(dead_failed)?;
        let mut dead = dead.filled_draft(&dead_path, &dead_geometry, &dead_raw)?;
        // From before it has its name until the ring has: a dead-letter ring without its ring looks
        // like a leftover, which another creator removes, but for this right.
        rights::hold(dead.rights(), Right::Producer)
            .map_err(|error| dead_failed(CreateError::io("lock it", error)))?;
        dead.name()?;
        Ok(HalfNamed { ring, dead })
    }

    /// The files without their content, before they have their names, and the header that the ring
    /// gets.
    fn draft(
        &self,
        path: &Path,
        geometry: &Geometry,
        raw: &RawHeader,
    ) -> Result<(RingDraft, RawHeader), AtPath<CreateError>> {
        let failed = |error| AtPath { path: path.to_path_buf(), error };
        let ring = Draft::new(path, self.mode).map_err(failed)?;
        let lock_path = lock_path(path);
        let locks = lock_file::draft(path, ring.file(), RingId(raw.ring_id))
            .map_err(|error| AtPath { path: lock_path, error })?;
        let raw = lock_file::recorded_in(raw, locks.as_ref()).map_err(failed)?;
        let draft = RingDraft::new(ring, locks);
        draft.begin(geometry, &raw).map_err(failed)?;
        Ok((draft, raw))
    }

    /// The complete files of a ring without messages, before they have their names.
    fn filled_draft(
        &self,
        path: &Path,
        geometry: &Geometry,
        raw: &RawHeader,
    ) -> Result<RingDraft, AtPath<CreateError>> {
        let failed = |error| AtPath { path: path.to_path_buf(), error };
        let (draft, raw) = self.draft(path, geometry, raw)?;
        let region = draft.map(geometry).map_err(failed)?;
        self.furnish(&region, geometry).map_err(|error| failed(error.into()))?;
        draft.write_header(&raw).map_err(failed)?;
        Ok(draft)
    }

    /// Creates the ring in this process's memory: the same protocol among threads, for tests and
    /// for use under checkers. It ends with its last handle.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create), without the errors of files.
    pub fn create_in_memory(&self) -> Result<Ring, AtPath<CreateError>> {
        let source = self.heap_source().map_err(|error| AtPath { path: PathBuf::from(IN_MEMORY), error })?;
        Ok(Ring::open(At::from(source))?)
    }

    fn schema(&self) -> &str {
        self.carries.as_ref().map_or("", |carries| &carries.schema)
    }

    fn heap_source(&self) -> Result<Source, CreateError> {
        let (geometry, raw) = self.plan()?;
        let region = Region::heap(&geometry).map_err(|error| CreateError::io("allocate it", error))?;
        self.furnish(&region, &geometry)?;
        let ring_id = RingId(raw.ring_id);
        let header = Arc::new(Header {
            geometry,
            ring_id,
            created_unix_ns: raw.created_unix_ns,
            type_fingerprint: raw.type_fingerprint,
            schema: self.schema().to_owned(),
            durable_inactive_ms: raw.durable_inactive_ms,
            dead_of: self.dead_of,
            dead_letters: self.dead_letters,
            lock_file: None,
            ancestors: self.ancestors.clone(),
        });
        let dead = match geometry.groups() {
            0 => None,
            _ => {
                let options = dead_options(&geometry, ring_id, &self.dead_letters, self.mode);
                Some(Box::new(options.heap_source()?))
            }
        };
        Ok(Source(Kind::Heap { region, rights: Arc::default(), header, dead }))
    }

    pub(crate) fn plan(&self) -> Result<(Geometry, RawHeader), CreateError> {
        // The creator opens the file by its name.
        if self.mode & OWNERS != OWNERS {
            return Err(CreateError::Mode { mode: self.mode });
        }
        if let Some(schema) = &self.undescribed {
            let (schema, block_size) = (schema.clone(), self.block_size as u64);
            return Err(CreateError::Schema { schema, block_size });
        }
        for durable in &self.durable {
            NameError::check(&durable.name)?;
        }
        for Staff { name, settings, .. } in &self.declared_groups {
            NameError::check(name)?;
            settings.check().map_err(|error| CreateError::Settings { group: name.clone(), error })?;
        }
        self.check_followers()?;
        let groups = self.group_entries();
        let capacity = (self.capacity as u64)
            .checked_next_power_of_two()
            .filter(|_| self.capacity > 0)
            .ok_or(GeometryError::Capacity(self.capacity as u64))?;
        let (durables, consumers) = (self.durable.len() as u64, u64::from(self.consumers));
        if durables > consumers {
            return Err(GeometryError::Durables { durables, consumers }.into());
        }
        let geometry = Geometry::plan(self.block_size as u64, capacity, self.consumers.into())
            .and_then(|geometry| geometry.with_groups(groups, self.workers.into()))
            .and_then(|geometry| geometry.starting_at(self.first_position))?;
        if groups > 0 && geometry.block_size() > BLOCK_SIZE_MAX - DEAD_LETTER_HEADER_LEN {
            return Err(GeometryError::DeadLetterSize(geometry.block_size()).into());
        }
        let mut raw = RawHeader::of(&geometry);
        raw.first_position = self.first_position;
        raw.ring_id = system::random_id().map_err(|error| CreateError::io("draw a random id", error))?;
        raw.boot_id = system::boot_id();
        raw.created_unix_ns = u64::try_from(system::unix_now().as_nanos()).unwrap_or(u64::MAX);
        if let Some(carries) = &self.carries {
            raw.type_fingerprint = carries.fingerprint;
            raw.type_size = carries.size;
            raw.type_align = carries.align;
            raw.schema_len = carries.schema.len() as u64;
            raw.schema[..carries.schema.len()].copy_from_slice(carries.schema.as_bytes());
        }
        raw.durable_inactive_ms = self.durable_inactive_ms;
        raw.continue_rings(self.ancestors.iter().map(|&ancestor| ancestor.into()));
        raw.dead_of = self.dead_of.map_or([0; 16], RingId::to_bytes);
        if groups > 0 {
            (raw.dead_capacity, raw.dead_policy) = self.dead_letters.to_header(capacity);
        }
        raw.checksum = raw.compute_checksum();
        Ok((geometry, raw))
    }

    /// Room for the groups that are declared, and for some that come later.
    fn group_entries(&self) -> u64 {
        let declared = self.declared_groups.len() as u64;
        let spare = if declared > 0 { (declared + SPARE_GROUPS).min(GROUPS_MAX) } else { 0 };
        self.groups.map_or(spare, u64::from).max(declared)
    }

    /// Fills the control pages of a ring that no other party can see yet.
    fn furnish(&self, region: &Region, geometry: &Geometry) -> Result<(), StartError> {
        let declared = Declared { durables: &self.durable, groups: &self.declared_groups };
        furnish(region, geometry, declared, system::process_id().into(), birth())
    }
}

/// Groups that may be added to a ring with groups, unless its creator says another number.
const SPARE_GROUPS: u64 = 3;

/// A ring with groups whose dead-letter ring has its name already.
struct HalfNamed {
    ring: RingDraft,
    /// Holds the right to publish there.
    dead: RingDraft,
}

impl HalfNamed {
    /// Gives the ring its name, unless the name is taken: then the dead-letter ring is removed.
    fn name(mut self, path: &Path) -> Result<(), AtPath<CreateError>> {
        let named = self.ring.name();
        drop(self.dead);
        if named.is_err() {
            clear_leftover(&dead_path(path));
        }
        named
    }
}

/// The options of the dead-letter ring of a ring.
pub(crate) fn dead_options(
    geometry: &Geometry,
    of: RingId,
    dead_letters: &DeadLetterOptions,
    mode: u32,
) -> RingOptions {
    let block_size = to_usize(geometry.block_size() + DEAD_LETTER_HEADER_LEN);
    let capacity = to_usize(dead_letters.capacity_for(geometry.capacity()));
    let mut options =
        RingOptions::new(block_size, capacity).durable(REDRIVE_CONSUMER).consumers(4).mode(mode);
    options.dead_of = Some(of);
    options
}

/// Removes what a `create` left at the path of the dead-letter ring. An error if another file is
/// there: found before any space is reserved, since [`RingOptions::open_or_create`] tries again.
fn make_way(dead_path: PathBuf) -> Result<(), AtPath<CreateError>> {
    clear_leftover(&dead_path);
    match std::fs::symlink_metadata(&dead_path) {
        Ok(_) => Err(AtPath { path: dead_path, error: CreateError::AlreadyExists }),
        Err(_) => Ok(()),
    }
}

/// Removes an empty `.dead` file whose ring does not exist: a `create` that was killed, or lost a
/// race, left it. Takes the file's producer right first, so that no worker writes a letter into a
/// file that is removed. Any other file stays.
fn clear_leftover(dead_path: &Path) {
    let Ok(dead) = Ring::open(dead_path) else { return };
    let Some(of) = dead.attachment.header.dead_of else { return };
    let is_empty = || dead.head() == dead.first_position();
    let ring_path = dead_path.with_extension("");
    let is_orphan = || match Ring::open(&ring_path) {
        Ok(ring) => ring.id() != of,
        // A ring that cannot be opened may be the one.
        Err(error) => matches!(error.error, OpenError::NotFound),
    };
    // First checked without a lock.
    if !is_empty() || !is_orphan() {
        return;
    }
    let Ok(dead_ring) = Attachment::open(dead.place(), Access::Readers) else { return };
    if !dead_ring.locks.seize(Right::Producer) {
        return;
    }
    if is_empty() && is_orphan() && !dead.attachment.is_replaced() {
        // If the removal fails, the creation returns `AlreadyExists`.
        drop(std::fs::remove_file(dead_path));
        drop(dead_ring);
        lock_file::clear_leftover(dead_path);
    }
}

/// The present moment, for a group.
pub(crate) fn birth() -> Birth {
    Birth { boot: boot_tag(), unix_ms: system::unix_now_ms(), now: clock::now() }
}

/// Tells one boot of the machine from another.
pub(crate) fn boot_tag() -> u64 {
    static TAG: OnceLock<u64> = OnceLock::new();
    *TAG.get_or_init(|| fnv1a(&system::boot_id()))
}

/// An open ring, to look at and to attach from. Maps the file read-only, gates nothing, and has no
/// effect on other processes.
///
/// Numbers are snapshots: other processes change the ring meanwhile.
///
/// ```
/// use slipring::{Consumer, Producer, RingOptions, Start};
///
/// let ring = RingOptions::of::<u64>(64).create_in_memory()?; // or `Ring::open(path)`
/// let _consumer = Consumer::<u64>::attach(&ring, Start::Earliest)?;
/// Producer::<u64>::open(&ring)?.send(&7)?;
/// assert_eq!((ring.head(), ring.capacity(), ring.block_size()), (1, 64, 8));
/// assert_eq!(ring.consumers()[0].lag, 1);
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
pub struct Ring {
    pub(crate) attachment: Attachment,
    source: Source,
    /// The conditions on which the ring was opened, for handles that are opened from it.
    demands: Demands,
}

/// A snapshot of a consumer entry.
///
/// ```
/// use slipring::RingOptions;
///
/// let ring = RingOptions::new(48, 64).durable("audit").create_in_memory()?;
/// let audit = &ring.consumers()[0];
/// assert!(audit.durable && !audit.alive); // it is away
/// assert_eq!((audit.name.as_str(), audit.tail, audit.lag), ("audit", Some(0), 0));
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// The consumer's name; empty if anonymous.
    pub name: String,
    /// The number of the process that holds, or last held, the entry, in its own pid namespace.
    pub pid: u64,
    /// The next position that the consumer reads; none if it was evicted and has not noticed yet.
    pub tail: Option<u64>,
    /// How many messages the consumer is behind the head.
    pub lag: u64,
    /// True for a durable consumer: the tail stays when its process goes.
    pub durable: bool,
    /// True for an evictable consumer.
    pub evictable: bool,
    /// True if a process holds the entry's lock. False: a durable consumer is away, any other is
    /// dead.
    pub alive: bool,
    /// The time at which the consumer attached, in milliseconds since 1970.
    pub joined_unix_ms: u64,
    /// How many messages an evictable consumer missed.
    pub missed: u64,
    /// The readers that the consumer comes [after](crate::ConsumerOptions::after); an empty name
    /// for one that is gone.
    pub after: Vec<String>,
    /// The one of them that the consumer has caught up with, and waits for, while there are
    /// messages behind; an empty name if that one is gone.
    pub waits_for: Option<String>,
}

/// A snapshot of the producer.
///
/// ```
/// use slipring::{Producer, RingOptions};
///
/// let ring = RingOptions::new(48, 64).create_in_memory()?;
/// assert_eq!(ring.producer_info(), None); // the ring never had one
/// drop(Producer::<[u8]>::open(&ring)?); // left, without closing the stream
/// let producer = ring.producer_info().expect("it had one");
/// assert!(!producer.alive && !producer.closed); // it is away
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerInfo {
    /// The number of the process that is, or last was, the producer, in its own pid namespace.
    pub pid: u64,
    /// True if a process holds the producer's lock; false: the producer is away, or has closed the
    /// stream.
    pub alive: bool,
    /// The time at which the producer opened the ring, in milliseconds since 1970.
    pub opened_unix_ms: u64,
    /// The number of producers that the ring has had.
    pub epoch: u64,
    /// True if the producer closed the stream.
    pub closed: bool,
    /// How often the producer found the ring full.
    pub full_count: u64,
    /// How often the producer woke sleeping readers.
    pub wake_count: u64,
    /// How many consumers the producer evicted.
    pub evicted_count: u64,
}

impl At {
    /// An open ring: by its path, only while the same ring is there, and on the conditions on which
    /// it was opened; or a ring on the heap.
    pub fn ring(ring: &Ring) -> At {
        At { source: ring.source_of(), demands: ring.demands }
    }
}

impl Sealed for &Ring {}

impl Place for &Ring {
    fn at(self) -> At {
        At::ring(self)
    }
}

impl Ring {
    /// Opens a ring, read-only.
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("slipring-open-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir).unwrap();
    /// # let path = dir.join("ring");
    /// use slipring::{Ring, RingOptions};
    ///
    /// RingOptions::new(48, 64).create(&path)?;
    /// let ring = Ring::open(&path)?; // reads only, and needs no more than read permission
    /// assert_eq!((ring.block_size(), ring.capacity(), ring.head()), (48, 64, 0));
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenError`], if the file is not a ring that this program can use.
    pub fn open(place: impl Place) -> Result<Ring, AtPath<OpenError>> {
        let At { source, demands } = place.at();
        let attachment = Attachment::open(At { source: source.clone(), demands }, Access::Nothing)?;
        let demands = Demands { wait: Duration::ZERO, ..demands };
        Ok(Ring { attachment, source, demands })
    }

    /// Creates a ring of values of `T` at `path`, with the defaults of
    /// [`RingOptions::of`].
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("slipring-create-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir).unwrap();
    /// # let path = dir.join("prices");
    /// use slipring::{Producer, Ring};
    ///
    /// Ring::create::<f64>(&path, 1024)?;
    /// let mut producer = Producer::<f64>::open(&path)?;
    /// producer.send(&0.5)?;
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`RingOptions::create`].
    pub fn create<T: Value>(path: impl AsRef<Path>, capacity: usize) -> Result<Ring, AtPath<CreateError>> {
        RingOptions::of::<T>(capacity).create(path)
    }

    /// This ring as a place, for calls that do not depend on the type of its messages.
    fn place(&self) -> At {
        At::ring(self)
    }

    /// This ring as a place to attach to: by its path, and only while the same ring is there.
    pub(crate) fn source_of(&self) -> Source {
        match &self.source.0 {
            Kind::Heap { .. } => self.source.clone(),
            // From the root on: the process may have changed its directory since.
            Kind::File { .. } => {
                let path = self.attachment.path().to_path_buf();
                Source(Kind::File { path, ring: Some(self.attachment.header.ring_id) })
            }
        }
    }

    /// The path by which the ring was opened.
    pub fn path(&self) -> &Path {
        self.attachment.path()
    }
    /// The ring's identity.
    pub fn id(&self) -> RingId {
        self.attachment.header.ring_id
    }
    /// The identity of the message at a position, as [`Delivery::id`](crate::Delivery::id) tells it
    /// to workers: for readers that key their effects by it. A message that was kept of a lost ring
    /// has the identity that it had there.
    ///
    /// ```
    /// use slipring::RingOptions;
    ///
    /// let ring = RingOptions::new(48, 64).create_in_memory()?;
    /// assert_eq!(ring.message_id(7).to_string(), format!("{}:7", ring.id()));
    /// # Ok::<(), slipring::Error>(())
    /// ```
    pub fn message_id(&self, position: u64) -> MessageId {
        self.attachment.header.identity(position)
    }
    /// The lost rings that this ring continues, the one that was lost last first; none for a ring
    /// that was [created](RingOptions::create).
    pub fn ancestors(&self) -> Vec<Ancestor> {
        self.attachment.header.ancestors.clone()
    }
    /// The bytes of a block.
    pub fn block_size(&self) -> usize {
        to_usize(self.attachment.geometry().block_size())
    }
    /// Number of blocks.
    pub fn capacity(&self) -> u64 {
        self.attachment.geometry().capacity()
    }
    /// Number of consumer entries.
    pub fn consumer_entries(&self) -> u64 {
        self.attachment.geometry().consumers()
    }
    /// Number of group entries; 0 in a ring without groups.
    pub fn group_entries(&self) -> u64 {
        self.attachment.geometry().groups()
    }
    /// Number of worker entries, over all groups; 0 in a ring without groups.
    pub fn worker_entries(&self) -> u64 {
        self.attachment.geometry().workers()
    }
    /// The time for which a durable consumer may be away and hold the ring full, before the
    /// producer removes it; none: for ever.
    pub fn durable_inactive_threshold(&self) -> Option<Duration> {
        let ms = self.attachment.header.durable_inactive_ms;
        (ms != 0).then(|| Duration::from_millis(ms))
    }
    /// The number of blocks of the dead-letter ring; none in a ring without groups.
    pub fn dead_letter_capacity(&self) -> Option<u64> {
        self.attachment.header.dead_letters.capacity.filter(|_| self.group_entries() > 0)
    }
    /// The fate of a dead letter when the dead-letter ring is full; none in a ring without groups.
    pub fn dead_letter_policy(&self) -> Option<DeadLetterPolicy> {
        (self.group_entries() > 0).then_some(self.attachment.header.dead_letters.policy)
    }
    /// The id of the ring whose dead letters this ring holds; none if it is no dead-letter ring.
    pub fn dead_letters_of(&self) -> Option<RingId> {
        self.attachment.header.dead_of
    }
    /// The bytes of the file.
    pub fn file_len(&self) -> u64 {
        self.attachment.geometry().file_len()
    }
    /// The time of the ring's creation, by the system clock.
    pub fn created(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.attachment.header.created_unix_ns)
    }
    /// The position that the ring's first message had, or will have.
    pub fn first_position(&self) -> u64 {
        self.attachment.geometry().first_position()
    }
    /// The type of the messages, with name, fields and their types; none in a ring of bytes.
    pub fn schema(&self) -> Option<&str> {
        (self.attachment.header.type_fingerprint != 0).then_some(self.attachment.header.schema.as_str())
    }
    /// The next position to be published.
    pub fn head(&self) -> u64 {
        protocol::Observer::window(&self.attachment.region, self.attachment.geometry()).1
    }

    /// The producer; none before the first one.
    pub fn producer_info(&self) -> Option<ProducerInfo> {
        use producer_page::{
            CLOSED, EPOCH, EVICTED_COUNT, FULL_COUNT, IS_CLOSED, OPENED_MS, PID, WAKE_COUNT,
        };
        let load = |word| self.attachment.region.load(word, Relaxed);
        (load(EPOCH) != 0).then(|| ProducerInfo {
            pid: load(PID),
            alive: self.attachment.locks.is_held(Right::Producer),
            opened_unix_ms: load(OPENED_MS),
            epoch: load(EPOCH),
            closed: load(CLOSED) == IS_CLOSED,
            full_count: load(FULL_COUNT),
            wake_count: load(WAKE_COUNT),
            evicted_count: load(EVICTED_COUNT),
        })
    }

    /// Every consumer that has an entry: alive, away or dead.
    pub fn consumers(&self) -> Vec<ConsumerInfo> {
        let head = self.head();
        let entries = self.attachment.geometry().consumer_entries();
        entries.filter_map(|n| self.consumer(n, head)).collect()
    }

    fn consumer(&self, n: u32, head: u64) -> Option<ConsumerInfo> {
        let (region, geometry) = (&self.attachment.region, self.attachment.geometry());
        let load = |at| region.load(geometry.entry_word(n, at), Relaxed);
        let flags = EntryFlags(load(entry::FLAGS));
        let tail = Tail(load(entry::TAIL)).position();
        flags.is_taken().then(|| ConsumerInfo {
            name: recorder::load_name(region, |at| geometry.entry_word(n, entry::NAME + at)),
            pid: load(entry::PID),
            tail,
            lag: tail.map_or(0, |tail| head.saturating_sub(tail)),
            durable: flags.is_durable(),
            evictable: flags.is_evictable(),
            alive: self.attachment.locks.is_held(Right::Consumer(n)),
            joined_unix_ms: load(entry::JOINED_MS),
            missed: load(entry::MISSED),
            after: after::load(region, geometry, geometry.consumer_entry(n))
                .map_or_else(|_| Vec::new(), |followed| after::names(region, geometry, &followed)),
            waits_for: self.waits_for(Party::Consumer(n), tail, head),
        })
    }

    /// Name of the reader that holds this one, which stands at `at`, up.
    fn waits_for(&self, party: Party, at: Option<u64>, head: u64) -> Option<String> {
        let (region, geometry) = (&self.attachment.region, self.attachment.geometry());
        let at = at.filter(|&at| at < head)?;
        let upstream = after::held_up_by(region, geometry, party, at)?;
        after::names(region, geometry, &[upstream]).pop()
    }

    /// The flight recorder: up to 256 life-cycle events, oldest first, also those of dead
    /// processes.
    ///
    /// ```
    /// use slipring::{EventKind, Producer, RingOptions};
    ///
    /// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
    /// Producer::<u64>::open(&ring)?.close()?;
    /// assert!(ring.events().iter().any(|event| event.kind == EventKind::Closed));
    /// # Ok::<(), slipring::Error>(())
    /// ```
    pub fn events(&self) -> Vec<Event> {
        recorder::events(&self.attachment.region, self.attachment.geometry())
    }

    /// Removes the ring's files: its own and, if it has one, its lock file. (The dead-letter ring
    /// is a ring of its own.) Processes that use the ring go on in files without names, and notice
    /// it.
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("slipring-remove-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir).unwrap();
    /// # let path = dir.join("quotes");
    /// use slipring::RingOptions;
    ///
    /// let ring = RingOptions::new(48, 64).mode(0o644).create(&path)?;
    /// ring.remove()?;
    /// assert!(std::fs::read_dir(&dir).unwrap().next().is_none());
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenError::NotFound`] if the path is not this ring's any more;
    /// [`OpenError::Permission`] or [`OpenError::Io`] if the filesystem refuses.
    pub fn remove(&self) -> Result<(), AtPath<OpenError>> {
        let attachment = &self.attachment;
        if attachment.presence().is_none() || attachment.is_replaced() {
            return Err(attachment.at_path(OpenError::NotFound));
        }
        lock_file::remove_both(self.path(), &attachment.header)
            .map_err(|error| attachment.at_path(OpenError::io("remove it", error)))
    }

    /// Removes a consumer that is not attached: a durable consumer that will not come back. Its
    /// tail is lost, and no longer gates the producer. Needs write permission.
    ///
    /// ```
    /// use slipring::RingOptions;
    ///
    /// let ring = RingOptions::new(48, 64).durable("audit").create_in_memory()?;
    /// ring.remove_consumer("audit")?; // gates no more
    /// assert!(ring.consumers().is_empty());
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`EntryError::NoSuchConsumer`]; [`EntryError::ConsumerInUse`] while it is attached;
    /// [`EntryError::Followed`] while another reader comes after it; [`EntryError::Open`] as
    /// [`Ring::open`].
    pub fn remove_consumer(&self, name: &str) -> Result<(), AtPath<EntryError>> {
        self.remove_entry(
            |it| membership::remove(&it.region, it.geometry(), &it.locks, name),
            |it, Removed { position, pid }| it.record(EventKind::Removed, position, name, pid),
            |error| match error {
                RemoveError::NotFound => EntryError::NoSuchConsumer { name: name.to_owned() },
                RemoveError::InUse { pid } => EntryError::ConsumerInUse { name: name.to_owned(), pid },
                RemoveError::Followed { by } => EntryError::Followed { name: name.to_owned(), by },
            },
        )
    }

    /// Removes an entry under the table right, and records that. A party that reaps may hold the
    /// entry for a moment: `remove` is tried again then.
    fn remove_entry(
        &self,
        remove: impl Fn(&Attachment) -> Result<Removed, RemoveError>,
        record: impl FnOnce(&Attachment, Removed),
        refusal: impl FnOnce(RemoveError) -> EntryError,
    ) -> Result<(), AtPath<EntryError>> {
        let attachment = Attachment::open(self.place(), Access::Readers)?;
        attachment.with_table(|| {
            let is_held = |error: &RemoveError| matches!(error, RemoveError::InUse { .. });
            record(&attachment, patiently(|| remove(&attachment), is_held).map_err(refusal)?);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One creator is stopped between its two names; another begins meanwhile.
    #[test]
    fn of_two_creators_at_once_the_winner_has_its_dead_letter_ring() {
        let dir = std::env::temp_dir().join(format!("slipring-creators-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("ring");
        let options = RingOptions::new(16, 8).group("g", GroupSettings::new());
        let stopped = || {
            let (geometry, raw) = options.plan().unwrap();
            let ring = options.filled_draft(&path, &geometry, &raw).unwrap();
            options.name_dead_letters(&path, &geometry, &raw, ring).unwrap()
        };
        let complete = || {
            let ring = Ring::open(&path).unwrap();
            assert_eq!(Ring::open(dead_path(&path)).unwrap().dead_letters_of(), Some(ring.id()));
            assert_eq!((ring.dead_letters().unwrap(), ring.check()), (vec![], vec![]));
        };
        // The other one finds a dead-letter ring whose creator lives, and leaves it alone.
        let first = stopped();
        let AtPath { path: taken, error } = options.create(&path).unwrap_err();
        assert!(matches!(error, CreateError::AlreadyExists) && taken == dead_path(&path), "{error}");
        first.name(&path).unwrap();
        complete();
        for file in [&path, &dead_path(&path)] {
            std::fs::remove_file(file).unwrap();
        }
        // The stopped one dies: what it left is cleared away.
        drop(stopped());
        options.create(&path).unwrap();
        complete();
        // A ring of that name came meanwhile: the loser removes its own dead-letter ring only.
        for file in [&path, &dead_path(&path)] {
            std::fs::remove_file(file).unwrap();
        }
        let loser = stopped();
        RingOptions::new(16, 8).create(&path).unwrap();
        assert!(matches!(loser.name(&path).unwrap_err().error, CreateError::AlreadyExists));
        assert!(!dead_path(&path).exists());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
