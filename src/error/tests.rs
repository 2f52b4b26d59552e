//! The fear: an error that does not say what to do, says a cause twice, or says it only to a
//! debugger.

use super::*;
use crate::id::RingId;
use slipring_core::format::GeometryError;
use slipring_core::protocol::Damage;
use slipring_core::protocol::settings::{GroupSettings, SettingsError};
use slipring_core::protocol::table::StartError;
use std::collections::BTreeSet;
use std::error::Error as _;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

type Table<E> = Vec<(E, ErrorKind, &'static str)>;

/// The names of the variants in the source of an enum: lines of four blanks and a capital letter.
fn variants(source: &str) -> BTreeSet<&str> {
    let body = source.split_once("\npub enum ").and_then(|(_, rest)| rest.split_once("\n}")).unwrap().0;
    let names = body.lines().filter_map(|line| line.strip_prefix("    "));
    let names = names.filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
    names.map(|line| line.split(|c: char| !c.is_alphanumeric()).next().unwrap()).collect()
}

/// Each variant of the enum is in the table, has its text and its kind, and hides no source behind
/// it.
fn check<E: std::error::Error>(source: &str, kind: fn(&E) -> ErrorKind, table: &Table<E>) {
    let mut seen = BTreeSet::new();
    let debug: Vec<String> = table.iter().map(|(error, ..)| format!("{error:?}")).collect();
    for ((error, expected, text), debug) in table.iter().zip(&debug) {
        assert_eq!(error.to_string(), *text);
        assert_eq!(kind(error), *expected, "{error}");
        assert!(error.source().is_none(), "{error}: the text has its cause, and the source says it again");
        seen.insert(debug.split(|c: char| !c.is_alphanumeric()).next().unwrap());
    }
    assert_eq!(seen, variants(source), "the variants of the table, and those of the enum");
}

/// As an operation returns it, and as the sum: path and text, printed the same by `{}` and `{:?}`.
fn check_sum<E: std::error::Error>(table: Table<E>, is_open: fn(&E) -> bool, is_own: fn(&Error) -> bool)
where
    Error: From<AtPath<E>>,
{
    for (error, kind, text) in table {
        let is_open = is_open(&error);
        let at = AtPath { path: PathBuf::from("/dev/shm/q"), error };
        let whole = format!("/dev/shm/q: {text}");
        assert_eq!((at.to_string(), format!("{at:?}")), (whole.clone(), whole.clone()));
        assert!(format!("{at:#?}").starts_with("AtPath {\n"), "{at:#?}");
        let sum = Error::from(at);
        assert!(if is_open { matches!(sum, Error::Open(_)) } else { is_own(&sum) }, "{sum:#?}");
        assert_eq!((sum.to_string(), format!("{sum:?}")), (whole.clone(), whole.clone()));
        assert_eq!((sum.path(), sum.source().is_none()), (Some(Path::new("/dev/shm/q")), true));
        let io = io::Error::from(sum);
        assert_eq!((io.kind(), io.to_string()), (kind, whole));
    }
}

fn refused(kind: ErrorKind) -> io::Error {
    io::Error::new(kind, "the kernel's words")
}

fn lock_file_faults() -> Table<LockFileFault> {
    use ErrorKind::{InvalidData, OutOfMemory, PermissionDenied};
    let fault = |kind| LockFileFault::of(refused(kind));
    vec![
        (
            fault(ErrorKind::NotFound),
            InvalidData,
            "is missing; a ring moves together with it: bring it back, or `slipring dump` the ring and create it again",
        ),
        (
            fault(ErrorKind::IsADirectory),
            InvalidData,
            "is a directory; remove it, and bring the ring's own lock file back",
        ),
        (
            LockFileFault::NotALockFile,
            InvalidData,
            "is not a lock file; move it away, and bring the ring's own lock file back",
        ),
        (
            LockFileFault::OtherRing { found: RingId([0x11; 16]) },
            InvalidData,
            "belongs to ring 11111111111111111111111111111111; bring the ring's own lock file back",
        ),
        (
            LockFileFault::Copied,
            InvalidData,
            "is a copy of the ring's own, which other processes may use; bring that back, or `slipring dump` the ring \
             and create it again",
        ),
        (
            LockFileFault::ForeignOwner { owner: 7, ring: 8 },
            InvalidData,
            "belongs to user 7, the ring to user 8; give both to one user",
        ),
        (
            LockFileFault::OpenToReaders { mode: 0o644 },
            InvalidData,
            "lets processes open it that may not write the ring (mode 644), and could hold its locks; chmod go= it",
        ),
        (
            fault(PermissionDenied),
            PermissionDenied,
            "may not be written by this user; give it the permissions of those who may write the ring, or observe \
             the ring",
        ),
        (fault(OutOfMemory), OutOfMemory, "cannot be opened: the kernel's words"),
    ]
}

fn in_lock_file(fault: LockFileFault) -> OpenError {
    OpenError::LockFile { path: PathBuf::from("/dev/shm/q.locks"), fault }
}

fn open_errors() -> Table<OpenError> {
    use ErrorKind::{InvalidData, InvalidInput, IsADirectory, PermissionDenied, ResourceBusy, Unsupported};
    let (one, two) = (RingId([0x11; 16]), RingId([0x22; 16]));
    vec![
        (OpenError::NotFound, ErrorKind::NotFound, "no such ring; create it first, or check the path"),
        (
            OpenError::NoDeadLetterRing,
            ErrorKind::NotFound,
            "there is no dead-letter ring: the next worker that gives a message up makes it; one that was moved away can \
             be moved back before",
        ),
        (
            OpenError::Symlink,
            InvalidInput,
            "is a symbolic link, and links are not followed; name the ring itself",
        ),
        (
            OpenError::NotAFile { kind: "directory" },
            IsADirectory,
            "is a directory, not a regular file; name the ring itself",
        ),
        (
            OpenError::NotAFile { kind: "FIFO" },
            InvalidInput,
            "is a FIFO, not a regular file; name the ring itself",
        ),
        (
            OpenError::NotARing { len: 9, begins: b"\x7FELF".to_vec() },
            InvalidData,
            "is not a ring (9 bytes, begins with \"\\x7fELF\"); it was left alone",
        ),
        (
            OpenError::Incomplete,
            InvalidData,
            "its creation was never finished; remove the file and create the ring again",
        ),
        (
            OpenError::WrongByteOrder,
            InvalidData,
            "was written by a machine of the other byte order; create it on this one",
        ),
        (
            OpenError::Version { found: 0 },
            Unsupported,
            "has the older format version 0, this program reads version 1; use a matching version of slipring, \
             or drain the ring with the old one and create it anew",
        ),
        (
            OpenError::Version { found: 7 },
            Unsupported,
            "has the newer format version 7, this program reads version 1; use a matching version of slipring, \
             or drain the ring with the old one and create it anew",
        ),
        (
            OpenError::Features { bits: 8 },
            Unsupported,
            "uses features 0x8 that this version of slipring does not know; upgrade it",
        ),
        (
            OpenError::Checksum { stored: 1, computed: 2 },
            InvalidData,
            "the header is damaged (checksum 0x0000000000000002, stored 0x0000000000000001); restore the file \
             from a copy, or remove it and create the ring again",
        ),
        (
            OpenError::Layout { field: "file_len", found: 1, expected: 2 },
            InvalidData,
            "file_len is 1 where the geometry demands 2; the file was not written by slipring",
        ),
        (
            OpenError::Geometry(GeometryError::Capacity(0)),
            InvalidData,
            "capacity of 0 blocks: a ring has 1 to 4294967296; the file was not written by slipring",
        ),
        (
            OpenError::Length { found: 1, expected: 2 },
            InvalidData,
            "has 1 bytes, its header says 2; it was cut or overwritten: restore it, or create it again",
        ),
        (
            OpenError::io("open it for writing", refused(PermissionDenied)),
            PermissionDenied,
            "no permission to open it for writing; ask its owner for access to the file and its directory, or \
             observe it read-only",
        ),
        (
            OpenError::io("open it for writing", refused(ErrorKind::ReadOnlyFilesystem)),
            PermissionDenied,
            "no permission to open it for writing; its filesystem is mounted read-only: observe it, or use \
             another path such as /dev/shm",
        ),
        (
            OpenError::ForeignOwner { owner: 7, user: 8 },
            PermissionDenied,
            "belongs to user 7, this process acts as 8; observe it, or say `trust_owner(7)`",
        ),
        (
            OpenError::RemoteFilesystem { filesystem: "NFS" },
            Unsupported,
            "lies on NFS, where neither mappings nor locks are shared; use a local path such as /dev/shm",
        ),
        (
            OpenError::TypeMismatch { ring: "A{}".to_owned(), expected: "B{}".to_owned() },
            InvalidData,
            "carries A{}, this program expects B{}; attach with the matching type, to the right ring, or at a place that accepts `any_type`",
        ),
        (
            OpenError::WrongRing { found: one, expected: two },
            InvalidData,
            "is ring 11111111111111111111111111111111, the saved position speaks of \
             22222222222222222222222222222222; it was made anew since: begin at Earliest",
        ),
        (
            OpenError::NotItsDeadLetters { ring: one, of: None },
            InvalidData,
            "does not hold the dead letters of ring 11111111111111111111111111111111; move it away, and slipring \
             creates a new one when it is needed",
        ),
        (
            OpenError::NotItsDeadLetters { ring: one, of: Some(two) },
            InvalidData,
            "does not hold the dead letters of ring 11111111111111111111111111111111, but the dead letters of ring \
             22222222222222222222222222222222; move it away, and slipring creates a new one when it is needed",
        ),
        (
            OpenError::Damaged(Damage::new("head", 9, 1, 2)),
            InvalidData,
            "head is 9, but only 1..=2 can be true; the file is damaged: `slipring check` lists all damage; \
             restore the file, or create the ring again",
        ),
        (
            OpenError::OpenToReaders { mode: 0o644 },
            PermissionDenied,
            "lets processes read it that may not write it (mode 644), and could hold its locks; take that permission \
             away (chmod go-r, setfacl -b), or create the ring with such a mode: its locks are then in a file beside it",
        ),
        (
            in_lock_file(LockFileFault::NotALockFile),
            InvalidData,
            "its lock file /dev/shm/q.locks is not a lock file; move it away, and bring the ring's own lock file back",
        ),
        (
            OpenError::TableBusy { waited: Duration::from_secs(5) },
            ResourceBusy,
            "another process has been editing the consumer table for 5.0s; find the stopped process (lslocks) \
             and continue or kill it",
        ),
        (
            OpenError::Io { action: "map it", error: refused(ErrorKind::OutOfMemory) },
            ErrorKind::OutOfMemory,
            "cannot map it: the kernel's words",
        ),
    ]
}

fn create_errors() -> Table<CreateError> {
    use ErrorKind::{InvalidInput, PermissionDenied};
    vec![
        (
            CreateError::AlreadyExists,
            ErrorKind::AlreadyExists,
            "already exists; open it, choose another path, or remove it first",
        ),
        (
            CreateError::Differs { differences: vec!["a is 1, not 2".into(), "b is 3, not 4".into()] },
            ErrorKind::AlreadyExists,
            "exists with other options: a is 1, not 2; b is 3, not 4; ask for the ring's own options, \
             choose another path, or remove it first",
        ),
        (
            CreateError::NoDirectory { directory: PathBuf::from("/no") },
            ErrorKind::NotFound,
            "there is no directory /no; make it first, or choose another path",
        ),
        (
            CreateError::Geometry(GeometryError::Durables { durables: 2, consumers: 1 }),
            InvalidInput,
            "2 durable consumers are declared, and there are 1 consumer entries; ask for more entries",
        ),
        (CreateError::Name(no_name()), InvalidInput, NO_NAME),
        (
            CreateError::Mode { mode: 0o40 },
            InvalidInput,
            "mode 040 keeps the ring's own user from reading or writing it; choose one such as 600 or 660",
        ),
        (
            CreateError::Settings { group: "sms".to_owned(), error: no_attempts() },
            InvalidInput,
            "group \"sms\": max_deliver is 0, and must be from 1 to 126",
        ),
        (
            CreateError::After { name: "act".to_owned(), error: AfterError::TooMany { asked: 5 } },
            InvalidInput,
            "durable consumer \"act\": a reader cannot come after 5 others; name at most 4, which may come after others",
        ),
        (
            CreateError::Schema { schema: "u7".to_owned(), block_size: 8 },
            InvalidInput,
            "\"u7\" describes no type of 8 bytes, which is the block size",
        ),
        (
            CreateError::Restored { position: 3, watermark: 9 },
            InvalidInput,
            "was filled up to 3, and continues another ring from 9 on; push the messages up to there, at most the \
             capacity of them",
        ),
        (
            CreateError::Message { position: 3, len: 9, block_size: 8 },
            InvalidInput,
            "the message at position 3 has 9 bytes, and a block 8; restore the ring with the blocks and the type that \
             it had",
        ),
        (
            CreateError::Member { name: "audit".to_owned(), position: 9, first: 2, head: 5 },
            InvalidInput,
            "\"audit\" cannot go on at 9: the ring has 2 to 5",
        ),
        (
            CreateError::NoSpace { needed: 2, available: 1 },
            ErrorKind::StorageFull,
            "needs 2 bytes, 1 are free; free some, or ask for fewer or smaller blocks",
        ),
        (
            CreateError::io("create a file in its directory", refused(PermissionDenied)),
            PermissionDenied,
            "no permission to create a file in its directory; choose a directory that you may write, such as \
             /dev/shm",
        ),
        (
            CreateError::UnsuitableFilesystem { filesystem: "ZFS", reason: "which is so" },
            ErrorKind::Unsupported,
            "lies on ZFS, which is so; use a path on tmpfs such as /dev/shm, or on ext4 or xfs",
        ),
        (
            CreateError::MemoryLimit { needed: 10, available: 5 },
            ErrorKind::OutOfMemory,
            "needs 10 bytes of memory, and the control group of this process has 5 left, beyond which the kernel \
             kills processes; raise its limit, or ask for fewer or smaller blocks",
        ),
        (
            CreateError::io("create a file in its directory", io::Error::from_raw_os_error(24)),
            io::Error::from_raw_os_error(24).kind(),
            "cannot create a file in its directory: Too many open files (os error 24); this process has as many \
             files open as it may: raise `ulimit -n`, or drop handles",
        ),
        (
            CreateError::RemoteFilesystem { filesystem: "NFS" },
            ErrorKind::Unsupported,
            "lies on NFS, where neither mappings nor locks are shared; use a local path such as /dev/shm",
        ),
        (
            CreateError::io("map it", refused(ErrorKind::OutOfMemory)),
            ErrorKind::OutOfMemory,
            "cannot map it: the kernel's words",
        ),
        (
            CreateError::Open(OpenError::NotFound),
            ErrorKind::NotFound,
            "no such ring; create it first, or check the path",
        ),
    ]
}

fn attach_errors() -> Table<AttachError> {
    use ErrorKind::{InvalidInput, ResourceBusy};
    let name = || "audit".to_owned();
    vec![
        (
            AttachError::Open(OpenError::NotFound),
            ErrorKind::NotFound,
            "no such ring; create it first, or check the path",
        ),
        (
            AttachError::ProducerExists { pid: 7, since_ms: 1 },
            ResourceBusy,
            "process 7 is its producer; stop it first, or use a ring of your own",
        ),
        (
            AttachError::TableFull { entries: 1, names: "\"audit\"".to_owned() },
            ResourceBusy,
            "all 1 consumer entries are taken (\"audit\"); stop a consumer, remove a durable one (`slipring \
             consumers PATH --rm NAME`), or create the ring with more `consumers`",
        ),
        (
            AttachError::NameInUse { name: name(), pid: 7 },
            ResourceBusy,
            "the name \"audit\" is in use by process 7; stop it, or choose another name",
        ),
        (
            AttachError::NameIsDurable { name: name() },
            ResourceBusy,
            "\"audit\" is a durable consumer; attach with `durable(true)`, choose another name, or remove it \
             (`slipring consumers PATH --rm NAME`)",
        ),
        (AttachError::Name(no_name()), InvalidInput, NO_NAME),
        (
            AttachError::EvictableDurable { name: name() },
            InvalidInput,
            "consumer \"audit\" cannot be durable and evictable; leave out `durable(true)`, or attach without \
             eviction",
        ),
        (
            StartError::BeforeEarliest { requested: 1, earliest: 5 }.into(),
            InvalidInput,
            "position 1 is before the earliest message that is there; attach at 5, or with `Start::Earliest`",
        ),
        (
            StartError::Ahead { requested: 9, head: 5 }.into(),
            InvalidInput,
            "position 9 lies beyond the head, 5; attach at or below the head, or with `Start::Latest`",
        ),
        (
            StartError::Rewound { requested: 9, watermark: 5 }.into(),
            InvalidInput,
            "position 9 is of a ring that was lost, and this ring continues that one from 5 on; what the reader saw \
             from there on is undone: attach at 5, for the messages that took its place",
        ),
        (
            StartError::Damaged(Damage::new("head", 9, 1, 2)).into(),
            ErrorKind::InvalidData,
            "head is 9, but only 1..=2 can be true; the file is damaged: `slipring check` lists all damage; \
             restore the file, or create the ring again",
        ),
        (AttachError::NoGroups, InvalidInput, NO_GROUPS),
        (
            AttachError::After(AfterError::NotFound { name: name() }),
            InvalidInput,
            "no consumer and no group is named \"audit\", to come after; start it first, or declare it when the ring \
             is created (`slipring create --durable`, `--group`)",
        ),
        (
            AttachError::After(AfterError::Ambiguous { name: name() }),
            InvalidInput,
            "a consumer and a group are named \"audit\"; give one of them another name, to come after it",
        ),
        (
            AttachError::After(AfterError::Ephemeral { name: name() }),
            InvalidInput,
            "\"audit\" ends with its process, and a durable consumer or a group does not: it can come after durable \
             consumers and groups alone; make \"audit\" durable",
        ),
        (
            AttachError::After(AfterError::TooMany { asked: 5 }),
            InvalidInput,
            "a reader cannot come after 5 others; name at most 4, which may come after others",
        ),
        (
            AttachError::After(AfterError::Others { found: vec![name()] }),
            InvalidInput,
            "it comes after [\"audit\"] for its life; name these or none, or remove it first",
        ),
        (
            AttachError::After(AfterError::Damaged(Damage::new("upstream", 9, 1, 2))),
            InvalidInput,
            "the ring is damaged: upstream is 9, but only 1..=2 can be true; remove this reader, and start it again",
        ),
    ]
}

fn join_errors() -> Table<JoinError> {
    use ErrorKind::{InvalidInput, ResourceBusy};
    let group = || "sms".to_owned();
    vec![
        (
            JoinError::Open(OpenError::NotFound),
            ErrorKind::NotFound,
            "no such ring; create it first, or check the path",
        ),
        (JoinError::Name(no_name()), InvalidInput, NO_NAME),
        (
            JoinError::Settings { group: group(), error: no_attempts() },
            InvalidInput,
            "group \"sms\": max_deliver is 0, and must be from 1 to 126",
        ),
        (
            JoinError::OtherSettings {
                group: group(),
                found: Box::new(GroupSettings::new()),
                asked: Box::new(GroupSettings::new().max_deliver(2)),
            },
            InvalidInput,
            "group \"sms\" has ack_wait 30000 ms, max_deliver 5, max_ack_pending 1000, backoff none; the worker \
             asked for ack_wait 30000 ms, max_deliver 2, max_ack_pending 1000, backoff none; join without \
             settings, with the same, or remove the group first (`slipring group rm PATH sms`)",
        ),
        (JoinError::NoGroups, InvalidInput, NO_GROUPS),
        (
            JoinError::GroupsFull { groups: 1, names: "\"sms\"".to_owned() },
            ResourceBusy,
            "all 1 groups are taken (\"sms\"); join one of them, remove one (`slipring group rm PATH NAME`), or \
             create the ring with more `groups`",
        ),
        (
            JoinError::WorkersFull { workers: 1 },
            ResourceBusy,
            "all 1 worker entries are taken; stop one, or create the ring with more `workers`",
        ),
        (
            StartError::BeforeEarliest { requested: 1, earliest: 5 }.into(),
            InvalidInput,
            "position 1 is before the earliest message that is there; attach at 5, or with `Start::Earliest`",
        ),
    ]
}

fn entry_errors() -> Table<EntryError> {
    use ErrorKind::{InvalidInput, ResourceBusy};
    let name = || "audit".to_owned();
    vec![
        (
            EntryError::Open(OpenError::NotFound),
            ErrorKind::NotFound,
            "no such ring; create it first, or check the path",
        ),
        (
            EntryError::NoSuchConsumer { name: name() },
            ErrorKind::NotFound,
            "no consumer is named \"audit\"; check the name (`slipring consumers PATH` lists all)",
        ),
        (
            EntryError::ConsumerInUse { name: name(), pid: 7 },
            ResourceBusy,
            "consumer \"audit\" is attached, by process 7; stop it first",
        ),
        (
            EntryError::NoSuchReader { name: name() },
            ErrorKind::NotFound,
            "no consumer and no group is named \"audit\"; check the name (`slipring stat PATH` lists all)",
        ),
        (
            EntryError::AmbiguousReader { name: name() },
            InvalidInput,
            "a consumer and a group are named \"audit\"; give one of them another name",
        ),
        (
            EntryError::Followed { name: name(), by: "risk".into() },
            ResourceBusy,
            "\"risk\" comes after \"audit\"; stop or remove \"risk\" first",
        ),
        (
            EntryError::NoSuchGroup { name: name() },
            ErrorKind::NotFound,
            "no group is named \"audit\"; check the name (`slipring group ls PATH` lists all)",
        ),
        (
            EntryError::Settings {
                group: name(),
                error: GroupSettings::new().max_deliver(127).check().unwrap_err(),
            },
            InvalidInput,
            "group \"audit\": max_deliver is 127, and must be from 1 to 126",
        ),
        (
            EntryError::GroupInUse { group: name(), pid: 7 },
            ResourceBusy,
            "group \"audit\" has a living worker, process 7; stop its workers first",
        ),
    ]
}

fn send_errors() -> Table<SendError> {
    let path = || PathBuf::from("/dev/shm/q");
    let holder = Holder {
        role: HolderRole::DurableConsumer,
        name: "audit".to_owned(),
        pid: 7,
        lag: 8,
        alive: true,
        full_for: Duration::from_millis(1500),
        waits_for: None,
    };
    let given_up = |alive| Holder {
        role: HolderRole::DeadLetters,
        name: "sms".to_owned(),
        pid: 0,
        lag: 8,
        alive,
        full_for: Duration::from_millis(1500),
        waits_for: Some("the dead-letter ring is full".to_owned()),
    };
    vec![
        (
            SendError::Full { path: path(), capacity: 8, holder: Box::new(holder) },
            ErrorKind::WouldBlock,
            "/dev/shm/q: the ring of 8 blocks is full: durable consumer \"audit\" (process 7) is 8 messages \
             behind, for 1.5s; wait for this reader, stop it, or remove it",
        ),
        (
            SendError::Full { path: path(), capacity: 8, holder: Box::new(given_up(true)) },
            ErrorKind::WouldBlock,
            "/dev/shm/q: the ring of 8 blocks is full: group \"sms\" has given up messages that wait for the dead-letter \
             ring (the dead-letter ring is full) and is 8 messages behind, for 1.5s; redrive its dead letters or purge \
             them, or mend what is in the way: a worker tries again every second",
        ),
        (
            SendError::Full { path: path(), capacity: 8, holder: Box::new(given_up(false)) },
            ErrorKind::WouldBlock,
            "/dev/shm/q: the ring of 8 blocks is full: group \"sms\" has given up messages that wait for the dead-letter \
             ring (the dead-letter ring is full), has no workers and is 8 messages behind, for 1.5s; redrive its dead \
             letters or purge them, or mend what is in the way, and start a worker of the group, which moves them there",
        ),
        (
            SendError::TooFewReaders { path: path(), attached: 1, required: 2 },
            ErrorKind::WouldBlock,
            "/dev/shm/q: this producer requires 2 consumers and finds 1; start more, or require fewer",
        ),
        (
            SendError::TooLarge { len: 49, block_size: 48 },
            ErrorKind::InvalidInput,
            "a message of 49 bytes does not fit a block of 48; split it, or create the ring with larger blocks",
        ),
        (
            SendError::WrongLength { len: 5, expected: 16 },
            ErrorKind::InvalidInput,
            "a message of 5 bytes is no value of the ring's type, which has 16; it was not sent",
        ),
        (cut_short().into(), ErrorKind::UnexpectedEof, CUT_SHORT),
    ]
}

fn handle_errors() -> Table<HandleError> {
    vec![
        (
            HandleError::Replaced,
            ErrorKind::BrokenPipe,
            "was removed or replaced: this handle reaches the old file alone, and handles of the new one do not \
             see its messages; open the ring anew",
        ),
        (
            HandleError::CopiedUp,
            ErrorKind::BrokenPipe,
            "the overlay filesystem that it lies on has copied it up, since a process opened it for writing: this \
             handle reads the old file alone, which nobody writes; open the ring anew, and keep rings on a \
             filesystem of their own, such as a tmpfs or a volume",
        ),
        (
            HandleError::SecondProducer { pid: 7 },
            ErrorKind::BrokenPipe,
            "process 7 is its producer too, through another path that shares no locks with this one, such as the \
             upper directory of an overlay filesystem beside the merged one: messages may be lost; open the ring by \
             one path in every process, on a filesystem of its own, such as a tmpfs or a volume",
        ),
        (
            HandleError::Truncated,
            ErrorKind::UnexpectedEof,
            "was cut short while in use; restore it, or create it again",
        ),
        (
            HandleError::Lost { cause: "it is so" },
            ErrorKind::Other,
            "this process lost its memory of the ring: it is so",
        ),
        (
            HandleError::Forked { pid: 7 },
            ErrorKind::Unsupported,
            "this handle belongs to process 7, of which this process is a fork; open the ring anew here",
        ),
    ]
}

fn cut_short() -> AtPath<HandleError> {
    AtPath { path: PathBuf::from("/dev/shm/q"), error: HandleError::Truncated }
}

const CUT_SHORT: &str = "/dev/shm/q: was cut short while in use; restore it, or create it again";

fn progress_errors() -> Table<ProgressError> {
    let timed_out = |attended| ProgressError::TimedOut {
        name: "audit".to_owned(),
        position: 9,
        passed: 7,
        attended,
        waited: Duration::from_secs(2),
    };
    vec![
        (
            timed_out(true),
            ErrorKind::TimedOut,
            "\"audit\" has not passed position 9 for 2.0s: it is at 7; wait on",
        ),
        (
            timed_out(false),
            ErrorKind::TimedOut,
            "\"audit\" has not passed position 9 for 2.0s: it is at 7, and no process is attached as it; wait on, and \
             start it",
        ),
        (
            ProgressError::Lost { name: "audit".to_owned(), position: 9, at: 7 },
            ErrorKind::UnexpectedEof,
            "\"audit\" is gone and did not pass position 9: it passed those before 7; ask for its successor's progress",
        ),
        (
            ProgressError::Closed { position: 9, head: 8 },
            ErrorKind::UnexpectedEof,
            "the stream is closed and ends before position 8: there is no message 9",
        ),
        (
            ProgressError::BeforeFirst { position: 9, first: 100 },
            ErrorKind::InvalidInput,
            "position 9 lies before the ring's first, 100; ask the ring that had it",
        ),
        (
            ProgressError::OtherRing { asked: RingId([0x11; 16]), ring: RingId([0x22; 16]) },
            ErrorKind::InvalidInput,
            "the message is of the ring 11111111111111111111111111111111, and this is \
             22222222222222222222222222222222; ask that ring, or its journal",
        ),
        (cut_short().into(), ErrorKind::UnexpectedEof, CUT_SHORT),
        (
            ProgressError::Damaged(Damage::new("tail of a reader", 9, 1, 2)),
            ErrorKind::InvalidData,
            "the ring is damaged: tail of a reader is 9, but only 1..=2 can be true; `slipring check` lists all damage",
        ),
    ]
}

fn redrive_errors() -> Table<RedriveError> {
    let full = || SendError::TooFewReaders { path: PathBuf::from("/dev/shm/q"), attached: 0, required: 1 };
    vec![
        (RedriveError::Send(cut_short().into()), ErrorKind::UnexpectedEof, CUT_SHORT),
        (RedriveError::Receive(cut_short().into()), ErrorKind::UnexpectedEof, CUT_SHORT),
        (
            RedriveError::NoRoom { redriven: 3, error: full() },
            ErrorKind::WouldBlock,
            "/dev/shm/q: this producer requires 1 consumer and finds 0; start more, or require fewer; 3 redriven \
             before; if its messages wait for room in the dead-letter ring, take letters out of it, and keep \
             them, until these messages have moved",
        ),
        (
            RedriveError::NoSuchGroup {
                path: PathBuf::from("/dev/shm/q"),
                letter: 3,
                group: "sms".to_owned(),
            },
            ErrorKind::NotFound,
            "/dev/shm/q: letter 3 is of group \"sms\", which was removed since, or made anew; redrive it to all \
             groups (`set_to_all`), or purge it",
        ),
    ]
}

fn receive_errors() -> Table<RecvError> {
    let path = || PathBuf::from("/dev/shm/q");
    vec![
        (RecvError::Empty, ErrorKind::WouldBlock, "nothing to receive yet"),
        (
            RecvError::TimedOut(Duration::from_millis(1500)),
            ErrorKind::TimedOut,
            "nothing to receive for 1.5s",
        ),
        (RecvError::Closed, ErrorKind::UnexpectedEof, "the stream is closed and drained"),
        (
            RecvError::ProducerAway { path: path(), pid: 7 },
            ErrorKind::UnexpectedEof,
            "/dev/shm/q: the producer (process 7) is away and left nothing more to receive; start another producer",
        ),
        (RecvError::Lagged { missed: 3 }, ErrorKind::InvalidData, "lagged behind: 3 messages missed"),
        (
            RecvError::Unreleased { unreleased: 64 },
            ErrorKind::WouldBlock,
            "a whole ring, 64 messages, was read ahead and not released; release some with `release_to`",
        ),
        (
            RecvError::Start(StartError::BeforeEarliest { requested: 3, earliest: 4 }),
            ErrorKind::InvalidInput,
            "position 3 is before the earliest message that is there; attach at 4, or with `Start::Earliest`",
        ),
        (
            RecvError::WrongLength { position: 9, found: 5, expected: 16 },
            ErrorKind::InvalidData,
            "the message at position 9 has 5 bytes, a value of the type 16; it was skipped",
        ),
        (
            RecvError::UpstreamLost { name: "risk".into(), at: 9 },
            ErrorKind::UnexpectedEof,
            "\"risk\", which this reader comes after, is gone; it released the messages before position 9, and they \
             were received; attach again, after its successor",
        ),
        (cut_short().into(), ErrorKind::UnexpectedEof, CUT_SHORT),
        (
            RecvError::Damaged(Damage::new("head", 9, 1, 2)),
            ErrorKind::InvalidData,
            "the ring is damaged: head is 9, but only 1..=2 can be true; `slipring check` lists all damage",
        ),
    ]
}

const NO_GROUPS: &str = "has no groups; create it anew with room for some (`groups`)";
const NO_NAME: &str = "the name \"\" is not possible: a name has 1 to 64 bytes and no NUL, and durable consumers \
                       need one";

fn no_name() -> NameError {
    NameError::check("").unwrap_err()
}

fn no_attempts() -> SettingsError {
    GroupSettings::new().max_deliver(0).check().unwrap_err()
}

#[test]
fn every_variant_says_what_is_and_what_to_do_and_hides_no_source() {
    check(include_str!("open.rs"), OpenError::io_kind, &open_errors());
    let (_, faults) = include_str!("open.rs").split_once("// The lock file's.").unwrap();
    check(faults, LockFileFault::io_kind, &lock_file_faults());
    check(include_str!("create.rs"), CreateError::io_kind, &create_errors());
    check(include_str!("attach.rs"), AttachError::io_kind, &attach_errors());
    check(include_str!("join.rs"), JoinError::io_kind, &join_errors());
    check(include_str!("entry.rs"), EntryError::io_kind, &entry_errors());
    check(include_str!("send.rs"), SendError::io_kind, &send_errors());
    check(include_str!("receive.rs"), RecvError::io_kind, &receive_errors());
    check(include_str!("progress.rs"), ProgressError::io_kind, &progress_errors());
    check(include_str!("handle.rs"), HandleError::io_kind, &handle_errors());
    check(include_str!("redrive.rs"), RedriveError::io_kind, &redrive_errors());
}

#[test]
fn the_guide_has_a_row_for_each_error() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = std::fs::read_to_string(root.join("docs/guide/errors.md")).unwrap();
    let operations = "AttachError CreateError EntryError HandleError JoinError LeaseLost OpenError \
                      ProgressError RecvError RedriveError SendError";
    let rows: BTreeSet<&str> =
        guide.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(rows, operations.split(' ').collect());
}

#[test]
fn the_sum_sorts_by_what_failed_and_prints_its_text() {
    check_sum(open_errors(), |_| true, |_| false);
    check_sum(
        create_errors(),
        |error| matches!(error, CreateError::Open(_)),
        |sum| matches!(sum, Error::Create(_)),
    );
    check_sum(
        attach_errors(),
        |error| matches!(error, AttachError::Open(_)),
        |sum| matches!(sum, Error::Attach(_)),
    );
    check_sum(
        join_errors(),
        |error| matches!(error, JoinError::Open(_)),
        |sum| matches!(sum, Error::Join(_)),
    );
    check_sum(
        entry_errors(),
        |error| matches!(error, EntryError::Open(_)),
        |sum| matches!(sum, Error::Entry(_)),
    );
}

#[test]
fn what_sending_and_receiving_say_passes_through_the_sum_as_it_is() {
    let pass = |error: Error, text: &str| {
        assert_eq!((error.to_string(), format!("{error:?}")), (text.to_owned(), text.to_owned()));
        assert!(error.source().is_none());
        let path = text.starts_with('/').then(|| Path::new("/dev/shm/q"));
        assert_eq!(error.path(), path, "{text}");
    };
    for (error, _, text) in send_errors() {
        pass(RedriveError::Send(error.clone()).into(), text);
        pass(error.into(), text);
    }
    for (error, _, text) in receive_errors() {
        pass(RedriveError::Receive(error.clone()).into(), text);
        pass(error.into(), text);
    }
    for (error, kind, text) in redrive_errors() {
        let sum = Error::from(error);
        assert_eq!(sum.io_kind(), kind, "{text}");
        pass(sum, text);
    }
}
