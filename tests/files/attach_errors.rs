//! The fear: a file that is not what it should be is believed, or destroyed.
//!
//! Every way in which creating, opening or attaching can fail is provoked here. Each must end in
//! its own error, which names the path and the numbers, and must leave what it found as it was.

use kit::format::{checksum, header, lock as lock_byte, producer, readers, slot, write};
use kit::{Child, TempDir};
use slipring::{
    At, AtPath, AttachError, Consumer, ConsumerOptions, CreateError, Damage, EntryError, Error,
    GeometryError, Observer, ObserverOptions, OpenError, Producer, ProducerOptions, RecvError, Ring, RingId,
    RingOptions, Start, StartError, message,
};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Barrier;

const FIRST_ENTRY: u64 = readers::SEGMENT_OF_SMALL + readers::CONSUMERS;
/// A trillion messages below the last position.
const LARGEST_FIRST: u64 = (1 << 63) - (1 << 40);

message! {
    struct Quote {
        price: u64,
        size: u64,
    }
}
message! {
    struct Trade {
        price: u64,
        size: u64,
    }
}

fn small(path: &Path) -> Ring {
    RingOptions::new(48, 8).consumers(2).create(path).unwrap()
}

/// Writes into the header and makes its checksum right again.
fn forge(path: &Path, offset: u64, bytes: &[u8]) {
    write(path, offset, bytes);
    let sum = checksum(&std::fs::read(path).unwrap());
    write(path, header::CHECKSUM, &sum.to_le_bytes());
}

/// The answers of all ways into a ring.
fn doors(path: &Path) -> [(&'static str, Result<(), Error>); 4] {
    [
        ("open", Ring::open(path).map(drop).map_err(Error::from)),
        ("produce", Producer::<[u8]>::open(path).map(drop).map_err(Error::from)),
        ("consume", Consumer::<[u8]>::attach(path, Start::Earliest).map(drop).map_err(Error::from)),
        ("observe", Observer::<[u8]>::attach(path, Start::Earliest).map(drop).map_err(Error::from)),
    ]
}

/// All ways in are shut, with an error that `is` it and says these things besides the path.
fn all_refuse(path: &Path, is: impl Fn(&OpenError) -> bool, says: &[&str]) {
    for (door, result) in doors(path) {
        let error = result.expect_err(door);
        assert_eq!(error.path(), Some(path), "{door}");
        assert!(matches!(&error, Error::Open(at) if is(&at.error)), "{door}: {error:#?}");
        names(&error, path, says);
    }
}

/// The error's text has the path and these parts.
fn names(error: &impl std::fmt::Display, path: &Path, says: &[&str]) {
    let text = error.to_string();
    let path = path.to_str().unwrap();
    assert!(text.contains(path), "{text:?} does not say {path:?}");
    // The path has numbers of its own.
    let rest = text.replace(path, "");
    for part in says {
        assert!(rest.contains(part), "{rest:?} does not say {part:?}");
    }
}

fn entries_of(directory: impl AsRef<Path>) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

#[test]
fn create_never_touches_what_is_there() {
    let dir = TempDir::new();
    let path = dir.file("precious");
    std::fs::write(&path, b"not yours").unwrap();
    let error = RingOptions::new(48, 8).create(&path).unwrap_err();
    assert!(matches!(error.error, CreateError::AlreadyExists), "{error:?}");
    names(&error, &path, &["already exists"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"not yours");

    let ring = dir.file("ring");
    small(&ring);
    Producer::<[u8]>::open(&ring).unwrap().send(b"published").unwrap();
    let before = std::fs::read(&ring).unwrap();
    assert!(matches!(
        RingOptions::new(64, 16).create(&ring),
        Err(AtPath { error: CreateError::AlreadyExists, .. })
    ));
    assert_eq!(std::fs::read(&ring).unwrap(), before);

    let (link, target) = (dir.file("link"), dir.file("target"));
    symlink(&target, &link).unwrap();
    assert!(matches!(
        RingOptions::new(48, 8).create(&link),
        Err(AtPath { error: CreateError::AlreadyExists, .. })
    ));
    assert!(!target.exists() && link.is_symlink());
    assert!(matches!(
        RingOptions::new(48, 8).create(dir.as_ref()),
        Err(AtPath { error: CreateError::AlreadyExists, .. })
    ));
    assert_eq!(entries_of(&dir), 3, "something was left behind");
}

#[test]
fn a_mode_that_keeps_the_creator_out_is_refused_and_leaves_nothing() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    for mode in [0, 0o200, 0o400, 0o066] {
        let error = RingOptions::new(8, 4).mode(mode).create(&path).unwrap_err().error;
        assert!(matches!(error, CreateError::Mode { .. }), "{error}");
        assert!(!path.exists());
    }
}

#[test]
fn of_creators_that_race_exactly_one_wins() {
    const RACERS: usize = 8;
    let dir = TempDir::new();
    for round in 0..40 {
        let path = dir.file(&format!("ring-{round}"));
        let gun = Barrier::new(RACERS);
        let winners: Vec<RingId> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..RACERS)
                .map(|racer| {
                    let (path, gun) = (&path, &gun);
                    scope.spawn(move || {
                        gun.wait();
                        RingOptions::new(racer + 1, 8).create(path)
                    })
                })
                .collect();
            let results = racers.into_iter().map(|racer| racer.join().unwrap());
            results
                .filter_map(|result| match result {
                    Ok(ring) => Some(ring.id()),
                    Err(AtPath { error: CreateError::AlreadyExists, .. }) => None,
                    Err(error) => panic!("{error:?}"),
                })
                .collect()
        });
        assert_eq!(winners.len(), 1);
        assert_eq!(Ring::open(&path).unwrap().id(), winners[0]);
    }
    assert_eq!(entries_of(&dir), 40, "losers left something behind");
}

#[test]
fn what_is_not_there_is_not_found() {
    let dir = TempDir::new();
    all_refuse(&dir.file("absent"), |error| matches!(error, OpenError::NotFound), &["no such ring"]);
    let error = RingOptions::new(48, 8).create(dir.file("absent/ring")).unwrap_err();
    assert!(matches!(error.error, CreateError::NoDirectory { .. }), "{error:?}");
    names(&error, &dir.file("absent/ring"), &["there is no directory"]);
}

#[test]
fn symlinks_are_not_followed() {
    let dir = TempDir::new();
    let (ring, link, dangling) = (dir.file("ring"), dir.file("link"), dir.file("dangling"));
    small(&ring);
    symlink(&ring, &link).unwrap();
    symlink(dir.file("nowhere"), &dangling).unwrap();
    for path in [link, dangling] {
        all_refuse(&path, |error| matches!(error, OpenError::Symlink), &["symbolic link"]);
    }
}

#[test]
fn what_is_not_a_file_neither_blocks_nor_passes() {
    let dir = TempDir::new();
    let is = |wanted: &'static [&'static str]| move |error: &OpenError| matches!(error, OpenError::NotAFile { kind, .. } if wanted.contains(kind));
    all_refuse(dir.as_ref(), is(&["directory"]), &["directory"]);
    all_refuse(Path::new("/dev/null"), is(&["device"]), &["device"]);

    let fifo = dir.file("fifo");
    let c_fifo = std::ffi::CString::new(fifo.as_os_str().as_bytes()).unwrap();
    // SAFETY: the string is NUL-terminated and outlives the call.
    assert_eq!(unsafe { libc::mkfifo(c_fifo.as_ptr(), 0o600) }, 0);
    all_refuse(&fifo, is(&["FIFO"]), &["FIFO"]);

    let socket = dir.file("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    all_refuse(&socket, is(&["socket or device"]), &["socket"]);
}

#[test]
fn foreign_files_are_not_taken_for_rings() {
    let dir = TempDir::new();
    let path = dir.file("foreign");
    for content in [&b""[..], b"SLIPRIN", b"slipring ", b"\x7fELF and more", &[0; 200_000]] {
        std::fs::write(&path, content).unwrap();
        let len = content.len() as u64;
        let shown = format!("\"{}\"", content[..content.len().min(8)].escape_ascii());
        let is = |error: &OpenError| match error {
            OpenError::NotARing { len: found, begins, .. } => *found == len && content.starts_with(begins),
            _ => false,
        };
        all_refuse(&path, is, &[&format!("{len} bytes"), "not a ring", &shown]);
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_ring_whose_creator_died_is_told_from_a_damaged_one() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    small(&path);
    write(&path, header::CHECKSUM, &[0; 8]);
    all_refuse(&path, |error| matches!(error, OpenError::Incomplete), &["never finished"]);
}

#[test]
fn another_byte_order_is_recognised_before_any_number_is_read() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    small(&path);
    write(&path, header::BYTE_ORDER, &0x0A0B_0C0D_u32.to_be_bytes());
    // As that machine would have written its version.
    write(&path, header::VERSION, &1_u32.to_be_bytes());
    all_refuse(&path, |error| matches!(error, OpenError::WrongByteOrder), &["byte order"]);
}

/// Gives a file, or the files of a directory from now on, an access control list: owner and group
/// read and write, and user 65534 reads. False where the filesystem has no lists.
fn let_a_user_read(path: &Path, list: &std::ffi::CStr) -> bool {
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 4, kit::NOBODY), (4, 6, u32::MAX), (16, 6, u32::MAX), (32, 0, u32::MAX)];
    let mut bytes = vec![2, 0, 0, 0];
    for (kind, bits, user) in entries {
        bytes.extend([kind.to_le_bytes(), bits.to_le_bytes()].concat());
        bytes.extend(user.to_le_bytes());
    }
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the strings are NUL-terminated, and the bytes have the length that is passed.
    unsafe { libc::setxattr(path.as_ptr(), list.as_ptr(), bytes.as_ptr().cast(), bytes.len(), 0) == 0 }
}

#[test]
fn an_access_control_list_that_lets_a_user_read_counts_as_the_mode_does() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let options = RingOptions::new(48, 8).mode(0o660);
    options.create(&path).unwrap();
    if !let_a_user_read(&path, c"system.posix_acl_access") {
        return println!("no access control lists here: nothing was tried");
    }
    let error = Producer::<[u8]>::open(&path).unwrap_err();
    assert!(
        matches!(error.error, AttachError::Open(OpenError::OpenToReaders { mode: 0o660, .. })),
        "{error}"
    );
    assert!(Observer::<[u8]>::attach(&path, Start::Earliest).is_ok());
    // A list that the directory gives is there when the ring is created, which then has a lock file
    // without one.
    assert!(let_a_user_read(dir.as_ref(), c"system.posix_acl_default"));
    let inherits = dir.file("inherits");
    options.create(&inherits).unwrap();
    drop(Producer::<[u8]>::open(&inherits).unwrap());
    let lock_file = std::fs::metadata(dir.file("inherits.locks")).unwrap();
    assert_eq!(lock_file.permissions().mode() & 0o777, 0o660);
    assert!(let_a_user_read(&dir.file("inherits.locks"), c"system.posix_acl_access"));
    let error = Producer::<[u8]>::open(&inherits).unwrap_err();
    assert!(error.to_string().contains("inherits.locks lets processes open it"), "{error}");
}

/// Takes a lease on the file, as a file server does, through a descriptor of its own.
fn lease(path: &Path) -> File {
    /// Of `fcntl.h`; which signal asks for the lease.
    const F_SETSIG: libc::c_int = 10;
    let file = File::open(path).unwrap();
    // By SIGIO, as it is otherwise, this process would end.
    // SAFETY: takes numbers.
    unsafe { libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) };
    // SAFETY: as above.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) }, 0);
    file
}

#[test]
fn a_lease_on_the_file_is_waited_for_and_then_named() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    small(&path);
    let leased = lease(&path);
    let (asked, opened) = std::thread::scope(|scope| {
        let opening = scope.spawn(|| Producer::<[u8]>::open(&path).map(drop));
        // Asked for it, the holder of a lease for reading is to have none.
        // SAFETY: takes numbers.
        let held = || unsafe { libc::fcntl(leased.as_raw_fd(), libc::F_GETLEASE) };
        kit::until("the lease is asked for", || held() == libc::F_UNLCK);
        let is_waiting = !opening.is_finished();
        // SAFETY: as above.
        unsafe { libc::fcntl(leased.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
        (is_waiting, opening.join().unwrap())
    });
    assert!(asked && opened.is_ok(), "{opened:?}");
    let _kept = lease(&path);
    let error = Producer::<[u8]>::open(&path).unwrap_err();
    assert!(error.to_string().contains("has a lease on it"), "{error}");
    assert!(Observer::<[u8]>::attach(&path, Start::Earliest).is_ok(), "a reader is in no one's way");
}

#[test]
fn other_versions_are_named_before_their_checksum_is_judged() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    small(&path);
    for (version, age) in [(0, "older"), (2, "newer"), (u32::MAX, "newer")] {
        write(&path, header::VERSION, &version.to_le_bytes());
        let is = |error: &OpenError| matches!(error, OpenError::Version { found, .. } if *found == version);
        all_refuse(&path, is, &[age, &format!("version {version},"), "reads version 1"]);
    }
}

#[test]
fn unknown_required_features_keep_out_and_optional_ones_do_not() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    small(&path);
    forge(&path, header::FEATURES_OPTIONAL, &u64::MAX.to_le_bytes());
    assert!(doors(&path).into_iter().all(|(_, result)| result.is_ok()));
    for bits in [1 << 2, 1 << 63] {
        forge(&path, header::FEATURES_REQUIRED, &u64::to_le_bytes(bits));
        let is =
            |error: &OpenError| matches!(error, OpenError::Features { bits: found, .. } if *found == bits);
        all_refuse(&path, is, &[&format!("{bits:#x}")]);
    }
    // Groups and lock files are known, but this ring has none.
    for bits in [1, 2] {
        forge(&path, header::FEATURES_REQUIRED, &u64::to_le_bytes(bits));
        let is = |error: &OpenError| matches!(error, OpenError::Layout { field: "features_required", found, expected: 0, .. } if *found == bits);
        all_refuse(&path, is, &["features_required"]);
    }
}

#[test]
fn every_flipped_bit_of_the_header_is_noticed() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    small(&path);
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut header = [0; 4096];
    file.read_exact_at(&mut header, 0).unwrap();
    for (offset, &byte) in (0..).zip(&header) {
        for bit in 0..8 {
            file.write_all_at(&[byte ^ 1 << bit], offset).unwrap();
            let error = Ring::open(&path).expect_err("a flipped bit went unnoticed");
            let right = match offset {
                0..8 => matches!(error.error, OpenError::NotARing { .. }),
                8..12 => matches!(error.error, OpenError::Version { .. }),
                _ => {
                    matches!(error.error, OpenError::Checksum { stored, computed, .. } if stored != computed)
                }
            };
            assert!(right, "byte {offset}, bit {bit}: {error:?}");
            if let OpenError::Checksum { stored, computed, .. } = &error.error {
                names(&error, &path, &[&format!("{stored:#018x}"), &format!("{computed:#018x}")]);
            }
        }
        file.write_all_at(&[byte], offset).unwrap();
    }
    Ring::open(&path).unwrap();
}

#[test]
fn a_layout_that_the_geometry_does_not_imply_is_refused_whatever_the_checksum() {
    // Name, offset. All of them are what offsets into the mapping are made of.
    let fields = [
        ("file_len", 32),
        ("producer_segment_len", 40),
        ("readers_segment_len", 48),
        ("slot_stride", 72),
        ("singles_offset", 80),
        ("packed_offset", 352),
        ("packed_stride", 360),
        ("slots_offset", 88),
        ("producer_page_offset", 96),
        ("readers_offset", 104),
        ("consumer_table", 112),
        ("consumer_entry_len", 128),
        ("recorder", 136),
        ("recorder_entries", 144),
        ("recorder_entry_len", 152),
        ("group_table", 160),
        ("group_entry_len", 176),
        ("group_words", 184),
        ("worker_table", 192),
    ];
    let dir = TempDir::new();
    let path = dir.file("ring");
    small(&path);
    for (name, offset) in fields {
        let mut old = [0; 8];
        File::open(&path).unwrap().read_exact_at(&mut old, offset).unwrap();
        let right = u64::from_le_bytes(old);
        for wrong in [right + 1, right + 64, u64::MAX, 1 << 63] {
            forge(&path, offset, &wrong.to_le_bytes());
            let is = |error: &OpenError| matches!(error, OpenError::Layout { field, found, expected, .. } if (*field, *found, *expected) == (name, wrong, right));
            all_refuse(&path, is, &[name, &wrong.to_string(), &right.to_string()]);
        }
        forge(&path, offset, &old);
    }
    // Groups without workers, workers without groups, and both where the rest of the header knows
    // of none.
    let (groups, workers) = (168, 200);
    for (more, are) in
        [([groups].as_slice(), 1), (&[groups], u64::MAX), (&[workers], 1), (&[groups, workers], 1)]
    {
        more.iter().for_each(|&offset| forge(&path, offset, &u64::to_le_bytes(are)));
        let is = |error: &OpenError| match error {
            OpenError::Geometry(source) => {
                matches!(source, GeometryError::Groups(_) | GeometryError::Workers(_))
            }
            OpenError::Layout { field, .. } => ["features_required", "workers"].contains(field),
            _ => false,
        };
        all_refuse(&path, is, &[]);
        more.iter().for_each(|&offset| forge(&path, offset, &[0; 8]));
    }
    assert!(doors(&path).into_iter().all(|(_, result)| result.is_ok()));
}

#[test]
fn sizes_out_of_range_are_refused_in_files() {
    use GeometryError as Bad;
    let dir = TempDir::new();
    let path = dir.file("ring");
    small(&path);
    type Case = (u64, &'static [u64], fn(u64) -> Bad);
    let cases: [Case; 6] = [
        (header::BLOCK_SIZE, &[0, (1 << 30) + 1, u64::MAX], Bad::BlockSize),
        (header::CAPACITY, &[0, 1 << 33, u64::MAX, 1 << 63], Bad::Capacity),
        (header::CAPACITY, &[3, (1 << 32) - 1], Bad::NotPowerOfTwo),
        (header::CONSUMERS, &[0, 4097, u64::MAX], Bad::Consumers),
        (header::FIRST_POSITION, &[LARGEST_FIRST + 1, u64::MAX], Bad::FirstPosition),
        (header::SCHEMA_LEN, &[2049, u64::MAX], Bad::Schema),
    ];
    for (offset, values, expected) in cases {
        let mut old = [0; 8];
        File::open(&path).unwrap().read_exact_at(&mut old, offset).unwrap();
        for &value in values {
            forge(&path, offset, &value.to_le_bytes());
            let is = |error: &OpenError| matches!(error, OpenError::Geometry(source) if *source == expected(value));
            all_refuse(&path, is, &[&value.to_string()]);
        }
        forge(&path, offset, &old);
    }
    forge(&path, header::SCHEMA, &[0xFF]);
    forge(&path, header::SCHEMA_LEN, &1_u64.to_le_bytes());
    all_refuse(&path, |error| matches!(error, OpenError::Geometry(Bad::Schema(1))), &[]);
}

#[test]
fn sizes_out_of_range_are_refused_at_creation_and_leave_nothing() {
    use GeometryError as Bad;
    let dir = TempDir::new();
    let path = dir.file("ring");
    let large = usize::MAX;
    let cases = [
        (RingOptions::new(0, 8), Bad::BlockSize(0)),
        (RingOptions::new((1 << 30) + 1, 8), Bad::BlockSize((1 << 30) + 1)),
        (RingOptions::new(large, 8), Bad::BlockSize(u64::MAX)),
        (RingOptions::new(48, 0), Bad::Capacity(0)),
        (RingOptions::new(48, large), Bad::Capacity(u64::MAX)),
        (RingOptions::new(48, (1 << 32) + 1), Bad::Capacity(1 << 33)),
        (RingOptions::new(48, 8).consumers(0), Bad::Consumers(0)),
        (RingOptions::new(48, 8).consumers(4097), Bad::Consumers(4097)),
        (
            RingOptions::new(48, 8).consumers(1).durable("a").durable("b"),
            Bad::Durables { durables: 2, consumers: 1 },
        ),
        (RingOptions::new(48, 8).first_position(LARGEST_FIRST + 1), Bad::FirstPosition(LARGEST_FIRST + 1)),
    ];
    for (options, expected) in cases {
        for result in [options.create(&path), options.create_in_memory()] {
            let error = result.expect_err("created");
            assert!(
                matches!(&error.error, CreateError::Geometry(source) if *source == expected),
                "{error:?}"
            );
        }
    }
    assert_eq!(entries_of(&dir), 0);
}

#[test]
fn a_file_that_was_cut_or_grew_is_never_mapped() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let whole = small(&path).file_len();
    let original = std::fs::read(&path).unwrap();
    assert_eq!(original.len() as u64, whole);
    let pages = (0..whole).step_by(4096);
    let odd = [1, 7, 8, 9, 4095, 4097, 65535, 65537, whole - 1];
    let longer = [whole + 1, whole + 4096, whole * 2];
    for len in pages.chain(odd).chain(longer) {
        std::fs::write(&path, &original).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(len).unwrap();
        let needed = if len < 4096 { 4096 } else { whole };
        let is = |error: &OpenError| match *error {
            OpenError::NotARing { len: found, .. } => len < 8 && found == len,
            OpenError::Length { found, expected, .. } => len >= 8 && (found, expected) == (len, needed),
            _ => false,
        };
        all_refuse(&path, is, &[&len.to_string()]);
    }
}

#[test]
fn a_ring_larger_than_its_filesystem_is_refused_before_anything_is_written() {
    let shm = TempDir::new();
    let disk = std::env::temp_dir().join(format!("slipring-no-space-{}", std::process::id()));
    std::fs::create_dir_all(&disk).unwrap();
    let directories = [shm.as_ref(), &disk];
    for directory in directories {
        let path = directory.join("vast");
        // 256 TiB and more; and about 4 EiB, the largest there can be.
        for capacity in [1 << 18, 1 << 32] {
            let error = RingOptions::new(1 << 30, capacity).create(&path).unwrap_err();
            let CreateError::NoSpace { needed, available, .. } = error.error else { panic!("{error:?}") };
            assert!(needed > 1 << 48 && available < needed);
            names(&error, &path, &[&needed.to_string(), &available.to_string()]);
        }
    }
    let left: usize = directories.into_iter().map(entries_of).sum();
    std::fs::remove_dir_all(&disk).unwrap();
    assert_eq!(left, 0);
}

#[test]
fn a_reservation_that_fails_half_way_leaves_nothing() {
    let dir = TempDir::new();
    Child::start("attach_errors/file_size_limit", &[dir.as_ref().to_str().unwrap()]).finish();
    assert_eq!(entries_of(&dir), 0);
}

fn create_under_a_file_size_limit(directory: &Path) {
    let limit = libc::rlimit { rlim_cur: 65536, rlim_max: 65536 };
    // SAFETY: the disposition is one of the constants.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    // SAFETY: the pointer is to an `rlimit` that lives across the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
    let path = directory.join("ring");
    let error = RingOptions::new(48, 8).create(&path).unwrap_err();
    assert!(matches!(error.error, CreateError::NoSpace { .. }), "{error:?}");
    names(&error, &path, &[]);
}

/// Becomes a user to whom permission bits apply.
fn become_nobody() {
    // SAFETY: takes nothing, cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return;
    }
    // SAFETY: no group is passed.
    assert_eq!(unsafe { libc::setgroups(0, std::ptr::null()) }, 0);
    // SAFETY: takes a number.
    assert_eq!(unsafe { libc::setgid(65534) }, 0);
    // SAFETY: takes a number.
    assert_eq!(unsafe { libc::setuid(65534) }, 0);
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_lack_of_permission_is_named_as_such() {
    let dir = TempDir::new();
    set_mode(dir.as_ref(), 0o755);
    let (read_only, secret, shut) = (dir.file("read-only"), dir.file("secret"), dir.file("shut"));
    small(&read_only);
    small(&secret);
    set_mode(&read_only, 0o444);
    set_mode(&secret, 0o000);
    std::fs::create_dir(&shut).unwrap();
    set_mode(&shut, 0o555);
    Child::start("attach_errors/permission", &[dir.as_ref().to_str().unwrap()]).finish();
    assert_eq!(entries_of(&shut), 0);
}

fn meet_permissions(directory: &Path) {
    become_nobody();
    let read_only = directory.join("read-only");
    for result in [
        Producer::<[u8]>::open(&read_only).map(drop),
        Consumer::<[u8]>::attach(&read_only, Start::Latest).map(drop),
    ] {
        let error = result.unwrap_err();
        assert!(
            matches!(
                error.error,
                AttachError::Open(OpenError::Permission { action: "open it for writing", .. })
            ),
            "{error:?}"
        );
        names(&error, &read_only, &["writing", "observe"]);
    }
    Ring::open(&read_only).unwrap();
    Observer::<[u8]>::attach(&read_only, Start::Earliest).unwrap();
    let error = Ring::open(&read_only).unwrap().remove_consumer("x").unwrap_err();
    assert!(matches!(error.error, EntryError::Open(OpenError::Permission { .. })), "{error:?}");

    let secret = directory.join("secret");
    for (door, result) in doors(&secret) {
        let error = result.expect_err(door);
        assert!(
            matches!(&error, Error::Open(at) if matches!(at.error, OpenError::Permission { .. })),
            "{door}: {error:?}"
        );
        names(&error, &secret, &["permission"]);
    }
    let path = directory.join("shut/ring");
    let error = RingOptions::new(48, 8).create(&path).unwrap_err();
    assert!(
        matches!(error.error, CreateError::Permission { action: "create a file in its directory", .. }),
        "{error:?}"
    );
    names(&error, &path, &["/dev/shm"]);
}

#[test]
fn a_strangers_file_is_observed_but_not_read_in_place() {
    let dir = TempDir::new();
    set_mode(dir.as_ref(), 0o777);
    let (theirs, guarded) = (dir.file("theirs"), dir.file("guarded"));
    for path in [&theirs, &guarded] {
        small(path);
        Producer::<[u8]>::open(path).unwrap().send((7, b"for everybody to see")).unwrap();
    }
    set_mode(&theirs, 0o666);
    set_mode(&guarded, 0o444);
    // Only root can give files away; for others the file stays their own, and 0444 is what remains
    // to test. SAFETY: takes nothing, cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    if root {
        for path in [&theirs, &guarded] {
            std::os::unix::fs::chown(path, Some(1234), None).unwrap();
        }
    }
    let given = [dir.as_ref().to_str().unwrap(), if root { "foreign" } else { "own" }];
    Child::start("attach_errors/stranger", &given).finish();
}

fn meet_a_strangers_file(directory: &Path, foreign: bool) {
    become_nobody();
    let (theirs, guarded) = (directory.join("theirs"), directory.join("guarded"));
    if foreign {
        for result in [
            Producer::<[u8]>::open(&theirs).map(drop),
            Consumer::<[u8]>::attach(&theirs, Start::Latest).map(drop),
        ] {
            let error = result.unwrap_err();
            assert!(
                matches!(
                    error.error,
                    AttachError::Open(OpenError::ForeignOwner { owner: 1234, user: 65534, .. })
                ),
                "{error:?}"
            );
            names(&error, &theirs, &["1234", "65534", "trust_owner(1234)"]);
        }
        let wrong = Producer::<[u8]>::open(At::path(&theirs).trust_owner(4321));
        let wrong = wrong.map(drop).map_err(|error| error.error);
        assert!(matches!(wrong, Err(AttachError::Open(OpenError::ForeignOwner { .. }))));
    }
    drop(Producer::<[u8]>::open(At::path(&theirs).trust_owner(1234)).unwrap());
    let mut consumer =
        Consumer::<[u8]>::attach(At::path(&theirs).trust_owner(1234), Start::Earliest).unwrap();
    assert_eq!(&*consumer.try_recv().unwrap(), b"for everybody to see");
    for path in [&theirs, &guarded] {
        let mut observer = Observer::<[u8]>::attach(path, Start::Earliest).unwrap();
        let message = observer.recv().unwrap();
        assert_eq!((&*message, message.kind()), (&b"for everybody to see"[..], 7));
        assert_eq!(observer.try_recv().unwrap_err(), RecvError::Empty);
    }
    // A process that has dropped its privileges can still make rings of its own.
    let own = directory.join("own");
    RingOptions::new(48, 8).create(&own).unwrap();
    drop(Consumer::<[u8]>::attach(&own, Start::Latest).unwrap());
}

#[test]
fn a_second_producer_is_told_which_process_is_the_first() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    small(&path);
    let first = Producer::<[u8]>::open(&path).unwrap();
    let error = Producer::<[u8]>::open(&path).unwrap_err();
    let AttachError::ProducerExists { pid, since_ms, .. } = error.error else { panic!("{error:?}") };
    assert_eq!(pid, u64::from(std::process::id()));
    assert_eq!(Some(since_ms), Ring::open(&path).unwrap().producer_info().map(|info| info.opened_unix_ms));
    names(&error, &path, &[&pid.to_string()]);
    drop(first);
    drop(Producer::<[u8]>::open(&path).unwrap());
}

#[test]
fn a_full_table_names_its_consumers() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    small(&path);
    let _one = ConsumerOptions::new().name("one").attach::<[u8]>(&path).unwrap();
    let two = ConsumerOptions::new().name("two").durable(true).attach::<[u8]>(&path).unwrap();
    for _ in 0..2 {
        let error = Consumer::<[u8]>::attach(&path, Start::Latest).unwrap_err();
        assert!(matches!(error.error, AttachError::TableFull { entries: 2, .. }), "{error:?}");
        names(&error, &path, &["2", "one", "two"]);
    }
    drop(two);
    // A durable consumer keeps its entry while it is away.
    assert!(matches!(
        Consumer::<[u8]>::attach(&path, Start::Latest),
        Err(AtPath { error: AttachError::TableFull { .. }, .. })
    ));
    Ring::open(&path).unwrap().remove_consumer("two").unwrap();
    drop(Consumer::<[u8]>::attach(&path, Start::Latest).unwrap());
}

#[test]
fn a_name_belongs_to_one() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = small(&path);
    let me = u64::from(std::process::id());
    let ephemeral = ConsumerOptions::new().name("twin").attach::<[u8]>(&path).unwrap();
    for error in [
        ConsumerOptions::new().name("twin").attach::<[u8]>(&path).unwrap_err(),
        ConsumerOptions::new().name("twin").durable(true).attach::<[u8]>(&path).unwrap_err(),
        ConsumerOptions::new().name("twin").attach_evictable::<[u8]>(&path).unwrap_err(),
    ] {
        assert!(
            matches!(&error.error, AttachError::NameInUse { name, pid, .. } if name == "twin" && *pid == me),
            "{error:?}"
        );
        names(&error, &path, &["twin", &me.to_string()]);
    }
    drop(ephemeral);
    drop(ConsumerOptions::new().name("twin").durable(true).attach::<[u8]>(&path).unwrap());
    for error in [
        ConsumerOptions::new().name("twin").attach::<[u8]>(&path).unwrap_err(),
        ConsumerOptions::new().name("twin").attach_evictable::<[u8]>(&path).unwrap_err(),
    ] {
        assert!(
            matches!(&error.error, AttachError::NameIsDurable { name, .. } if name == "twin"),
            "{error:?}"
        );
        names(&error, &path, &["twin", "durable(true)"]);
    }
    let error = ring.remove_consumer("nobody").unwrap_err();
    assert!(matches!(&error.error, EntryError::NoSuchConsumer { name, .. } if name == "nobody"), "{error:?}");
    names(&error, &path, &["nobody"]);
}

#[test]
fn names_that_do_not_fit_are_refused() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = small(&path);
    let too_long = "x".repeat(65);
    let attach = |name: &str, durable| {
        ConsumerOptions::new().name(name).durable(durable).attach::<[u8]>(&path).map(drop)
    };
    for (name, durable) in [("", true), (&too_long, false), (&too_long, true), ("nul\0", false)] {
        let error = attach(name, durable).unwrap_err();
        assert!(matches!(&error.error, AttachError::Name(found) if found.name == name), "{error:?}");
        assert!(error.to_string().contains(&format!("{name:?}")) && error.to_string().contains("64"));
        if durable {
            let created = RingOptions::new(48, 8).durable(name).create(dir.file("other"));
            assert!(matches!(created, Err(AtPath { error: CreateError::Name(_), .. })));
        }
    }
    let evictable =
        ConsumerOptions::new().name("both").durable(true).attach_evictable::<[u8]>(&path).unwrap_err();
    assert!(
        matches!(&evictable.error, AttachError::EvictableDurable { name, .. } if name == "both"),
        "{evictable:?}"
    );
    assert_eq!(ring.consumers(), []);
    assert_eq!(entries_of(&dir), 1);
    let longest = "x".repeat(64);
    attach(&longest, true).unwrap();
    assert_eq!(ring.consumers()[0].name, longest);
}

#[test]
fn types_do_not_mix() {
    let dir = TempDir::new();
    let (typed, untyped) = (dir.file("typed"), dir.file("untyped"));
    RingOptions::of::<Quote>(8).create(&typed).unwrap();
    RingOptions::new(size_of::<Quote>(), 8).create(&untyped).unwrap();
    let refused = |error: AtPath<AttachError>, path: &Path, ring: &str, expected: &str| {
        assert!(matches!(error.error, AttachError::Open(OpenError::TypeMismatch { .. })), "{error:?}");
        names(&error, path, &[ring, expected]);
    };
    let (quote, trade) = ("Quote{price:u64,size:u64}", "Trade{price:u64,size:u64}");
    // Bytes of the right size, taken for a type.
    refused(ProducerOptions::new().open::<Quote>(&untyped).unwrap_err(), &untyped, "untyped", quote);
    refused(ConsumerOptions::new().attach::<Quote>(&untyped).unwrap_err(), &untyped, "untyped", quote);
    // Another type of the same shape.
    refused(ProducerOptions::new().open::<Trade>(&typed).unwrap_err(), &typed, quote, trade);
    refused(ConsumerOptions::new().attach::<Trade>(&typed).unwrap_err(), &typed, quote, trade);
    // A message of another length, from a producer of bytes.
    let mut consumer = ConsumerOptions::new().start(Start::Earliest).attach::<Quote>(&typed).unwrap();
    Producer::<[u8]>::open(At::path(&typed).any_type()).unwrap().send(b"short").unwrap();
    let error = consumer.try_recv().unwrap_err();
    assert_eq!(error, RecvError::WrongLength { position: 0, found: 5, expected: 16 });
    assert_eq!(consumer.try_recv().unwrap_err(), RecvError::Empty, "it was skipped");
}

#[test]
fn a_ring_made_anew_is_not_taken_for_the_old_one() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let old = small(&path);
    std::fs::remove_file(&path).unwrap();
    let new = small(&path);
    assert_ne!(old.id(), new.id());
    let id = old.id();
    for error in [
        Producer::<[u8]>::open(At::path(&path).only_ring(id)).unwrap_err(),
        ConsumerOptions::new().attach::<[u8]>(At::path(&path).only_ring(id)).unwrap_err(),
        ConsumerOptions::new().attach_evictable::<[u8]>(At::path(&path).only_ring(id)).unwrap_err(),
        ObserverOptions::new().attach::<[u8]>(At::path(&path).only_ring(id)).unwrap_err(),
        // The handle of the old ring means the old ring.
        Producer::<[u8]>::open(&old).unwrap_err(),
        Consumer::<[u8]>::attach(&old, Start::Latest).unwrap_err(),
    ] {
        let AttachError::Open(OpenError::WrongRing { found, expected, .. }) = error.error else {
            panic!("{error:?}")
        };
        assert_eq!((found, expected), (new.id(), old.id()));
        names(&error, &path, &[&new.id().to_string(), &old.id().to_string(), "Earliest"]);
    }
    let error = old.remove_consumer("x").unwrap_err();
    assert!(matches!(error.error, EntryError::Open(OpenError::WrongRing { .. })), "{error:?}");
    let consumer = ConsumerOptions::new().attach::<[u8]>(At::path(&path).only_ring(new.id())).unwrap();
    assert_eq!(consumer.ring_id().to_string().parse(), Ok(new.id()));
    assert!("0123".parse::<RingId>().is_err() && "+".repeat(32).parse::<RingId>().is_err());
}

#[test]
fn start_positions_that_cannot_be_had_say_which_can() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = small(&path);
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    let mut consumer = Consumer::<[u8]>::attach(&path, Start::Earliest).unwrap();
    for n in 0..11_u8 {
        producer.send(&[n]).unwrap();
        drop(consumer.try_recv().unwrap());
    }
    // The producer took room at position 8, when all eight messages were released: it may write up
    // to 16.
    type Attach = fn(&Path, Start) -> Result<u64, AtPath<AttachError>>;
    let attempts: [(&str, Attach); 3] = [
        ("consumer", |path, start| Consumer::<[u8]>::attach(path, start).map(|it| it.position())),
        ("observer", |path, start| Observer::<[u8]>::attach(path, start).map(|it| it.position())),
        ("evictable", |path, start| {
            ConsumerOptions::new().start(start).attach_evictable::<[u8]>(path).map(|it| it.position())
        }),
    ];
    for (who, attach) in attempts {
        let error = attach(&path, Start::At(2)).expect_err(who);
        let AttachError::Start(StartError::BeforeEarliest { requested: 2, earliest }) = error.error else {
            panic!("{who}: {error:?}")
        };
        assert!((3..=8).contains(&earliest), "{who}: {earliest}");
        names(&error, &path, &["position 2", &earliest.to_string()]);
        assert_eq!(attach(&path, Start::At(earliest)).unwrap(), earliest);

        let error = attach(&path, Start::At(12)).expect_err(who);
        let AttachError::Start(StartError::Ahead { requested: 12, head: 11 }) = error.error else {
            panic!("{who}: {error:?}")
        };
        names(&error, &path, &["position 12", "head, 11"]);
        assert_eq!(attach(&path, Start::At(11)).unwrap(), 11);
        assert!(attach(&path, Start::At(u64::MAX)).is_err());
    }
    // A process that was turned away holds no other up.
    assert_eq!(ring.consumers().len(), 1);
}

#[test]
fn no_attach_waits_for_ever_for_a_table_that_a_stopped_process_holds() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    small(&path);
    let holder = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    lock(&holder, lock_byte::TABLE);
    let error = Consumer::<[u8]>::attach(&path, Start::Latest).unwrap_err();
    let AttachError::Open(OpenError::TableBusy { waited, .. }) = error.error else { panic!("{error:?}") };
    names(&error, &path, &[&format!("{waited:.1?}"), "lslocks"]);
    drop(holder);
    drop(Consumer::<[u8]>::attach(&path, Start::Latest).unwrap());
}

fn lock(file: &File, offset: i64) {
    // SAFETY: `flock` is plain integers.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = i16::try_from(libc::F_WRLCK).unwrap();
    lock.l_start = offset;
    lock.l_len = 1;
    // SAFETY: the pointer is to a `flock` that lives across the call.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) }, 0);
}

#[test]
fn impossible_control_words_are_named_and_never_used() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let fresh = || {
        let _ = std::fs::remove_file(&path);
        RingOptions::new(48, 8).consumers(2).durable("durable").create(&path).unwrap()
    };
    let damaged = |error: AtPath<AttachError>, what: &str, found: u64| {
        assert!(
            matches!(&error.error, AttachError::Open(OpenError::Damaged(source)) if (source.what, source.found) == (what, found)),
            "{error:?}"
        );
        names(&error, &path, &[what, &found.to_string()]);
    };
    for (word, what, values) in [
        (producer::HEAD, "head", [(1 << 63) - (1 << 33) + 1, u64::MAX]),
        (producer::CLAIMED, "claimed", [9, u64::MAX]),
    ] {
        for value in values {
            fresh();
            write(&path, word, &value.to_le_bytes());
            damaged(Producer::<[u8]>::open(&path).unwrap_err(), what, value);
        }
    }
    fresh();
    write(&path, producer::HEAD, &3_u64.to_le_bytes());
    damaged(Producer::<[u8]>::open(&path).unwrap_err(), "claimed", 0);

    // A durable entry without a tail, as a removal that was killed half-way leaves it: there is
    // nothing to resume, and the name can be had again.
    fresh();
    write(&path, FIRST_ENTRY, &u64::MAX.to_le_bytes());
    drop(ConsumerOptions::new().name("durable").durable(true).attach::<[u8]>(&path).unwrap());

    for tail in [1, 1 << 62] {
        fresh();
        write(&path, FIRST_ENTRY, &u64::to_le_bytes(tail));
        damaged(
            ConsumerOptions::new().name("durable").durable(true).attach::<[u8]>(&path).unwrap_err(),
            "durable tail",
            tail,
        );
    }
    // A tail that says it may be evicted: its reader, which reads in place, would not notice.
    fresh();
    write(&path, FIRST_ENTRY, &(1_u64 << 63).to_le_bytes());
    let error = ConsumerOptions::new().name("durable").durable(true).attach::<[u8]>(&path).unwrap_err();
    assert!(
        matches!(&error.error, AttachError::Open(OpenError::Damaged(source)) if source.what == "durable tail"),
        "{error:?}"
    );

    // Only a living producer goes by its limit.
    fresh();
    let living = Producer::<[u8]>::open(&path).unwrap();
    write(&path, producer::LIMIT, &u64::MAX.to_le_bytes());
    damaged(Consumer::<[u8]>::attach(&path, Start::Earliest).unwrap_err(), "limit - capacity", u64::MAX - 8);
    drop(living);
    fresh();
    write(&path, producer::CLAIMED, &u64::MAX.to_le_bytes());
    damaged(Consumer::<[u8]>::attach(&path, Start::Earliest).unwrap_err(), "limit - capacity", u64::MAX - 8);

    // A producer that overwrites what a consumer gates.
    fresh();
    let mut consumer = Consumer::<[u8]>::attach(&path, Start::Earliest).unwrap();
    write(&path, slot::FIRST, &9_u64.to_le_bytes());
    let error = consumer.try_recv().unwrap_err();
    assert!(matches!(error, RecvError::Damaged(Damage { found: 9, high: 1, .. })), "{error:?}");
    assert!(error.to_string().contains("sequence word is 9"));
}

#[test]
fn a_length_beyond_the_block_never_reaches_beyond_the_block() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    small(&path);
    let mut consumer = Consumer::<[u8]>::attach(&path, Start::Earliest).unwrap();
    let mut observer = Observer::<[u8]>::attach(&path, Start::Earliest).unwrap();
    Producer::<[u8]>::open(&path).unwrap().send(b"short").unwrap();
    write(&path, slot::FIRST + 8, &u32::MAX.to_le_bytes());
    assert_eq!(observer.try_recv().unwrap().len(), 48);
    assert_eq!(consumer.try_recv().unwrap().len(), 48);
}

#[test]
fn what_has_no_error_of_its_own_keeps_the_systems() {
    let dir = TempDir::new();
    small(&dir.file("ring"));
    let too_long = dir.file(&"x".repeat(300));
    let through_a_file = dir.file("ring/ring");
    for path in [&too_long, &through_a_file] {
        all_refuse(path, |error| matches!(error, OpenError::Io { .. }), &["cannot open"]);
        let error = RingOptions::new(48, 8).create(path).unwrap_err();
        assert!(matches!(error.error, CreateError::Io { .. }), "{error:?}");
        names(&error, path, &["cannot"]);
    }
    let nul = Path::new("/dev/shm/slipring\0");
    all_refuse(nul, |error| matches!(error, OpenError::Io { .. }), &[]);
}

/// Plays one of the roles of this file.
pub(crate) fn play(role: &str, given: &[String]) {
    let directory = Path::new(&given[0]);
    match role {
        "permission" => meet_permissions(directory),
        "stranger" => meet_a_strangers_file(directory, given[1] == "foreign"),
        "file_size_limit" => create_under_a_file_size_limit(directory),
        _ => panic!("no such role: {role}"),
    }
}
