//! What can go wrong, each with the path, the numbers and the way out.

use crate::id::RingId;
use slipring_core::format::{FORMAT_VERSION, GeometryError, NAME_MAX};
use slipring_core::protocol::Damage;
use slipring_core::protocol::settings::{GroupSettings, SettingsError};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a ring could not be created, opened or attached to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `create` found the name taken. Nothing was touched.
    #[error("{path}: already exists; open it, choose another path, or remove it first", path = path.display())]
    AlreadyExists {
        /// The path asked for.
        path: PathBuf,
    },
    /// There is no such file.
    #[error("{path}: no such ring; create it first, or check the path", path = path.display())]
    NotFound {
        /// The path asked for.
        path: PathBuf,
    },
    /// `create` was asked for a file in a directory that does not exist.
    #[error("{path}: there is no directory {directory}; make it first, or choose another path", path = path.display(), directory = directory.display())]
    NoDirectory {
        /// The path asked for.
        path: PathBuf,
        /// The directory that is missing.
        directory: PathBuf,
    },
    /// The path ends in a symbolic link. Links are not followed: what they lead to can change.
    #[error("{path}: is a symbolic link, and links are not followed; name the ring itself", path = path.display())]
    Symlink {
        /// The path asked for.
        path: PathBuf,
    },
    /// A directory, FIFO, socket or device.
    #[error("{path}: is a {kind}, not a regular file; name the ring itself", path = path.display())]
    NotAFile {
        /// The path asked for.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A regular file, but its first bytes are not a ring's.
    #[error("{path}: is not a ring ({len} bytes, begins with \"{begins}\"); it was left alone", path = path.display(), begins = begins.escape_ascii())]
    NotARing {
        /// The path asked for.
        path: PathBuf,
        /// Length of the file in bytes.
        len: u64,
        /// Its first bytes.
        begins: Vec<u8>,
    },
    /// The header has no checksum yet: whoever created the ring did not live to finish it.
    #[error("{path}: its creation was never finished; remove the file and create the ring again", path = path.display())]
    Incomplete {
        /// The path asked for.
        path: PathBuf,
    },
    /// Written on a machine of the other byte order.
    #[error("{path}: was written by a machine of the other byte order; create it on this one", path = path.display())]
    WrongByteOrder {
        /// The path asked for.
        path: PathBuf,
    },
    /// Written by an older or a newer version of this library.
    #[error(
        "{path}: has {age} format version {found}, this program reads version {FORMAT_VERSION}; \
         use a matching version of slipring, or drain the ring with the old one and create it anew",
        path = path.display(), age = if *found < FORMAT_VERSION { "the older" } else { "the newer" }
    )]
    Version {
        /// The path asked for.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// Uses features that this version does not know.
    #[error("{path}: uses features {bits:#x} that this version of slipring does not know; upgrade it", path = path.display())]
    Features {
        /// The path asked for.
        path: PathBuf,
        /// The unknown feature bits.
        bits: u64,
    },
    /// The header does not match its checksum.
    #[error(
        "{path}: the header is damaged (checksum {computed:#018x}, stored {stored:#018x}); \
         restore the file from a copy, or remove it and create the ring again",
        path = path.display()
    )]
    Checksum {
        /// The path asked for.
        path: PathBuf,
        /// The checksum in the header.
        stored: u64,
        /// The checksum of the header.
        computed: u64,
    },
    /// The header says something of the layout that cannot be, although its checksum is right.
    #[error("{path}: {field} is {found} where the geometry demands {expected}; the file was not written by slipring", path = path.display())]
    Layout {
        /// The path asked for.
        path: PathBuf,
        /// The field of the header.
        field: &'static str,
        /// Its value.
        found: u64,
        /// The only value that is right.
        expected: u64,
    },
    /// The geometry asked for, or found, is out of range.
    #[error("{path}: {source}", path = path.display())]
    Geometry {
        /// The path asked for.
        path: PathBuf,
        /// Which number, and its range.
        source: GeometryError,
    },
    /// The file is shorter or longer than its header says.
    #[error("{path}: has {found} bytes, its header says {expected}; it was cut or overwritten: restore it, or create it again", path = path.display())]
    Length {
        /// The path asked for.
        path: PathBuf,
        /// Bytes in the file.
        found: u64,
        /// Bytes the header speaks of.
        expected: u64,
    },
    /// The filesystem has not enough room. Nothing was left behind.
    #[error("{path}: needs {needed} bytes, {available} are free; free some, or ask for fewer or smaller blocks", path = path.display())]
    NoSpace {
        /// The path asked for.
        path: PathBuf,
        /// Bytes the ring needs.
        needed: u64,
        /// Bytes the filesystem said were free.
        available: u64,
    },
    /// The file, its directory or its filesystem cannot be written or read by this user.
    #[error("{path}: no permission to {action}; {advice}", path = path.display())]
    Permission {
        /// The path asked for.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// The file belongs to another user, who could change it under this process.
    #[error(
        "{path}: belongs to user {owner}, this process acts as {user}; observe it, or say `trust_owner({owner})`",
        path = path.display()
    )]
    ForeignOwner {
        /// The path asked for.
        path: PathBuf,
        /// Who owns the file.
        owner: u32,
        /// Who asks.
        user: u32,
    },
    /// A shared mapping is not shared across a network.
    #[error("{path}: lies on {filesystem}, where neither mappings nor locks are shared; use a local path such as /dev/shm", path = path.display())]
    RemoteFilesystem {
        /// The path asked for.
        path: PathBuf,
        /// The kind of filesystem.
        filesystem: &'static str,
    },
    /// The ring has a living producer.
    #[error("{path}: process {pid} is its producer; stop it first, or use a ring of your own", path = path.display())]
    ProducerExists {
        /// The path asked for.
        path: PathBuf,
        /// The producer's process number in its own pid namespace.
        pid: u64,
        /// When it opened the ring, in ms since 1970.
        since_ms: u64,
    },
    /// All consumer entries are taken by living or durable consumers.
    #[error("{path}: all {entries} consumer entries are taken ({names}); detach one, or create the ring with more `consumers`", path = path.display())]
    TableFull {
        /// The path asked for.
        path: PathBuf,
        /// How many entries there are.
        entries: u64,
        /// Who has them, comma-separated.
        names: String,
    },
    /// A living consumer has this name.
    #[error("{path}: the name {name:?} is in use by process {pid}; stop it, or choose another name", path = path.display())]
    NameInUse {
        /// The path asked for.
        path: PathBuf,
        /// The name asked for.
        name: String,
        /// Who has it.
        pid: u64,
    },
    /// The name belongs to a durable consumer, and an ephemeral one was asked for.
    #[error("{path}: {name:?} is a durable consumer; attach with `durable(true)`, choose another name, or remove it", path = path.display())]
    NameIsDurable {
        /// The path asked for.
        path: PathBuf,
        /// The name asked for.
        name: String,
    },
    /// No consumer has this name.
    #[error("{path}: no consumer is named {name:?}; check the name", path = path.display())]
    NoSuchConsumer {
        /// The path asked for.
        path: PathBuf,
        /// The name asked for.
        name: String,
    },
    /// A name that does not fit an entry, or the lack of one where one is needed.
    #[error(
        "the name {name:?} cannot be: a name has 1 to {NAME_MAX} bytes and no NUL, and durable consumers need one"
    )]
    BadName {
        /// The name asked for.
        name: String,
    },
    /// A consumer was to be durable and evictable: one is waited for, the other is not.
    #[error(
        "consumer {name:?} cannot be durable and evictable; leave out `durable(true)`, or attach without eviction"
    )]
    EvictableDurable {
        /// The name asked for.
        name: String,
    },
    /// The ring was created without room for groups.
    #[error("{path}: has no groups; create it anew with room for some", path = path.display())]
    NoGroups {
        /// The path asked for.
        path: PathBuf,
    },
    /// No group has this name.
    #[error("{path}: no group is named {name:?}", path = path.display())]
    NoSuchGroup {
        /// The path asked for.
        path: PathBuf,
        /// The name asked for.
        name: String,
    },
    /// All group entries are taken.
    #[error("{path}: all {groups} groups are taken ({names}); join one of them, remove one, or create the ring with more `groups`", path = path.display())]
    GroupsFull {
        /// The path asked for.
        path: PathBuf,
        /// How many there are.
        groups: u64,
        /// Their names, comma-separated.
        names: String,
    },
    /// All worker entries are taken by living workers.
    #[error("{path}: all {workers} worker entries are taken; stop one, or create the ring with more `workers`", path = path.display())]
    WorkersFull {
        /// The path asked for.
        path: PathBuf,
        /// How many there are.
        workers: u64,
    },
    /// The group has other settings than those asked for. They belong to the group, not to a worker.
    #[error("{path}: group {group:?} has {found}; asked for was {asked}; join without settings, with the same, or remove the group first", path = path.display())]
    GroupSettings {
        /// The path asked for.
        path: PathBuf,
        /// The group.
        group: String,
        /// Its settings.
        found: Box<GroupSettings>,
        /// The settings asked for.
        asked: Box<GroupSettings>,
    },
    /// A setting of a group is out of range.
    #[error("group {group:?}: {source}")]
    Settings {
        /// The group.
        group: String,
        /// Which setting, and its range.
        source: SettingsError,
    },
    /// A group that living workers belong to cannot be removed.
    #[error("{path}: group {group:?} has a living worker, process {pid}; stop its workers first", path = path.display())]
    GroupInUse {
        /// The path asked for.
        path: PathBuf,
        /// The group.
        group: String,
        /// One of its workers.
        pid: u64,
    },
    /// The file beside a ring, where its dead letters go, is not that ring's.
    #[error("{path}: is not where the dead letters of ring {ring} go{whose}; move it away, a new one is made when it is needed", path = path.display(), whose = of.map_or(String::new(), |of| format!(", but those of ring {of}")))]
    NotItsDeadLetters {
        /// The file.
        path: PathBuf,
        /// The ring.
        ring: RingId,
        /// Whose dead letters it holds, if any's.
        of: Option<RingId>,
    },
    /// The ring carries messages of another type.
    #[error("{path}: carries {ring}, this program expects {expected}; attach with the matching type, or to the right ring", path = path.display())]
    TypeMismatch {
        /// The path asked for.
        path: PathBuf,
        /// The type of the ring's messages.
        ring: String,
        /// The type that was asked for.
        expected: String,
    },
    /// The ring at this path is another one than the caller's saved position speaks of.
    #[error("{path}: is ring {found}, the saved position speaks of {expected}; it was made anew since: begin at Earliest", path = path.display())]
    WrongRing {
        /// The path asked for.
        path: PathBuf,
        /// The ring that is there.
        found: RingId,
        /// The ring that was expected.
        expected: RingId,
    },
    /// A start position that cannot be had.
    #[error("{path}: {source}", path = path.display())]
    Start {
        /// The path asked for.
        path: PathBuf,
        /// Which, and what could be had.
        source: slipring_core::protocol::table::JoinError,
    },
    /// Somebody has held the table lock for longer than an edit takes: stopped, or being debugged.
    #[error("{path}: somebody has been editing the consumer table for {waited:.1?}; find the stopped process (lslocks) and continue or kill it", path = path.display())]
    TableBusy {
        /// The path asked for.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// A control word in the file cannot be what slipring wrote.
    #[error("{path}: {source}; the file is damaged", path = path.display())]
    Damaged {
        /// The path asked for.
        path: PathBuf,
        /// Which word.
        source: Damage,
    },
    /// The operating system refused something else.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Io {
        /// The path asked for.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// What somebody is who holds the ring full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HolderRole {
    /// A consumer.
    Consumer,
    /// A consumer whose tail outlives it.
    DurableConsumer,
    /// A group: a message that none of its workers has settled.
    Group,
    /// A worker that has lost its lease on a message, and may still be reading it.
    Worker,
}

/// Who holds the ring full: the one with the lowest position.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// What it is.
    pub role: HolderRole,
    /// Its name; empty for an anonymous consumer or worker.
    pub name: String,
    /// Its process number in its own pid namespace, for display; 0 for a group.
    pub pid: u64,
    /// How many messages it is behind the head.
    pub lag: u64,
    /// False for a durable consumer that is away, or was never there, and for a group without workers.
    pub alive: bool,
    /// For how long the ring has been full for this producer.
    pub full_for: Duration,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holder { name, pid, lag, full_for, .. } = self;
        match (self.role, self.alive) {
            (HolderRole::Group, true) => write!(f, "group {name:?} is")?,
            (HolderRole::Group, false) => write!(f, "group {name:?} has no workers and is")?,
            (HolderRole::Worker, _) => write!(f, "worker {name:?} (process {pid}) reads in place,")?,
            (HolderRole::Consumer, true) => write!(f, "consumer {name:?} (process {pid}) is")?,
            (HolderRole::DurableConsumer, true) => {
                write!(f, "durable consumer {name:?} (process {pid}) is")?;
            }
            (_, false) => write!(f, "durable consumer {name:?} is away and")?,
        }
        write!(f, " {lag} messages behind, for {full_for:.1?}")
    }
}

/// Why a message was not claimed, sent or published. Nothing of it is visible then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Every slot holds a message that somebody has not released.
    #[error(
        "the ring of {capacity} blocks is full: {holder}; wait, or let that one catch up, stop it or remove it"
    )]
    Full {
        /// Blocks in the ring.
        capacity: u64,
        /// Who holds it.
        holder: Box<Holder>,
    },
    /// Fewer readers are attached than this producer requires.
    #[error(
        "{attached} consumers are attached, this producer requires {required}; start them, or require fewer"
    )]
    TooFewReaders {
        /// Gating consumers now.
        attached: u32,
        /// What [`require_readers`](crate::ProducerOptions::require_readers) demands.
        required: u32,
    },
    /// The message does not fit a block.
    #[error(
        "a message of {len} bytes does not fit a block of {block_size}; split it, or create the ring with larger blocks"
    )]
    TooLarge {
        /// Bytes of the message.
        len: usize,
        /// Bytes of a block.
        block_size: usize,
    },
    /// The file was cut short: what this producer sent since then is lost. Only with
    /// [`handle_sigbus`](crate::handle_sigbus).
    #[error("{path}: was cut short while in use; restore it, or create it again", path = path.display())]
    Truncated {
        /// Where the ring was.
        path: PathBuf,
    },
    /// The file at the path is not the one this producer writes any more.
    #[error("{path}: was removed or replaced; nobody who attaches now will see what this producer sends", path = path.display())]
    Replaced {
        /// Where the ring was.
        path: PathBuf,
    },
}

/// Why no message was received.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// Nothing is there at the moment.
    #[error("nothing to receive yet")]
    Empty,
    /// Nothing came in the given time.
    #[error("nothing to receive for {0:.1?}")]
    TimedOut(Duration),
    /// The producer closed the stream, and everything it published was received.
    #[error("the stream is closed and drained")]
    Closed,
    /// The producer died without closing the stream, and everything it published was received. A new
    /// producer may go on; receiving again then works.
    #[error("the producer (process {pid}) is dead and left nothing more to receive")]
    ProducerDead {
        /// Its process number in its own pid namespace.
        pid: u64,
    },
    /// This consumer had agreed to be evicted and lagged a whole ring behind. It stands at the earliest
    /// message that is still there; receiving goes on from it.
    #[error("evicted for lagging behind: {missed} messages missed")]
    Evicted {
        /// How many messages were lost to this consumer.
        missed: u64,
    },
    /// The file was cut short: nothing more can be read from it. Only with
    /// [`handle_sigbus`](crate::handle_sigbus).
    #[error("{path}: was cut short while in use; restore it, or create it again", path = path.display())]
    Truncated {
        /// Where the ring was.
        path: PathBuf,
    },
    /// The file at the path is not the one this reader has mapped any more.
    #[error("{path}: was removed or replaced; attach again to reach the new ring", path = path.display())]
    Replaced {
        /// Where the ring was.
        path: PathBuf,
    },
    /// Shared memory holds what no producer writes.
    #[error("the ring is damaged: {0}")]
    Damaged(#[from] Damage),
}
