//! The fear: a program that comes first, or beside another, finds no ring, a half-made one, or one
//! that is not what it needs.

use kit::TempDir;
use slipring::{
    At, AtPath, AttachError, Backoff, CreateError, Error, GroupSettings, OpenError, Producer, Ring,
    RingOptions,
};
use std::sync::Barrier;
use std::time::Duration;

#[test]
fn a_ring_that_comes_later_is_waited_for_and_one_that_does_not_come_is_named() {
    let dir = TempDir::new();
    let path = dir.file("late");
    let gone = Producer::<[u8]>::open(At::path(&path).wait(Duration::from_millis(5))).unwrap_err();
    assert!(
        matches!(&gone, AtPath { error: AttachError::Open(OpenError::NotFound), path: at, .. } if *at == path)
    );
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Producer::<[u8]>::open(At::path(&path).wait(Duration::from_secs(60))));
        RingOptions::new(48, 8).create(&path).unwrap();
        waiting.join().unwrap().unwrap().send(b"there").unwrap();
    });
    assert_eq!(Ring::open(&path).unwrap().head(), 1);
}

#[test]
fn of_many_that_open_or_create_all_get_the_same_ring() {
    let dir = TempDir::new();
    for round in 0..20 {
        let (path, options) = (dir.file(&format!("ring{round}")), RingOptions::new(48, 8).groups(1));
        let start = &Barrier::new(4);
        let ids: Vec<_> = std::thread::scope(|scope| {
            let open = || {
                start.wait();
                options.open_or_create(&path).map(|ring| ring.id())
            };
            let all: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            all.into_iter().map(|one| one.join().unwrap().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}

#[test]
fn a_ring_that_is_there_must_be_what_was_asked_for() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let settings = GroupSettings::new().backoff(Backoff::None);
    let options = || RingOptions::of::<u64>(8).durable("audit").group("g", settings).groups(1).consumers(7);
    options().open_or_create(&path).unwrap();
    // Capacities are rounded up, and whatever is there besides does not matter.
    let fewer = RingOptions::of::<u64>(5).groups(1).consumers(7);
    for same in [options(), fewer, options().mode(0o640).first_position(3)] {
        same.open_or_create(&path).unwrap();
    }
    let differs = |other: RingOptions, expected: &[&str]| {
        let error = other.open_or_create(&path).unwrap_err();
        let CreateError::Differs { differences, .. } = &error.error else { panic!("{error}") };
        assert_eq!(differences, expected);
        assert!(expected.iter().all(|what| error.to_string().contains(what)), "{error}");
    };
    differs(options().consumers(8), &["number of consumer entries is 7, not 8"]);
    differs(options().workers(8), &["number of worker entries is 64, not 8"]);
    differs(options().groups(2), &["number of group entries is 1, not 2"]);
    differs(options().dead_letter_capacity(64), &["dead-letter capacity is 8, not 64"]);
    differs(options().durable("backup"), &["durable consumer \"backup\" is not declared"]);
    differs(RingOptions::of::<i64>(8).groups(1).consumers(7), &["type is u64, not i64"]);
    differs(
        RingOptions::new(16, 16).groups(1).consumers(7),
        &[
            "block size is 8, not 16",
            "capacity is 8, not 16",
            "type is u64, not untyped",
            "dead-letter capacity is 8, not 16",
        ],
    );
    let other = GroupSettings::new().ack_wait(Duration::from_secs(9));
    differs(options().group("g", other), &[&format!("group \"g\" has {settings}, not {other}")]);
    assert_eq!(Ring::open(&path).unwrap().head(), 0);
}

/// A new ring would have another id, and the positions that were saved beside the old one would
/// name messages that never were.
#[test]
fn a_ring_that_must_be_a_certain_one_is_not_created_in_its_place() {
    let dir = TempDir::new();
    let (path, options) = (dir.file("ring"), RingOptions::new(16, 4));
    let id = options.create(&path).unwrap().id();
    std::fs::remove_file(&path).unwrap();
    let refused = options.open_or_create(At::path(&path).only_ring(id));
    assert!(Error::from(refused.unwrap_err()).is_not_found());
    assert!(!path.exists());
}

/// Found last, it would cost the ring's space a hundred times: `open_or_create` tries again, since
/// another program may be creating both files.
#[test]
fn a_file_in_the_place_of_the_dead_letters_is_found_before_space_is_reserved() {
    let dir = TempDir::new();
    let (path, dead) = (dir.file("ring"), dir.file("ring.dead"));
    std::fs::write(&dead, "another program's").unwrap();
    // More than there is: a reservation would be another error.
    let huge = RingOptions::new(1 << 20, 1 << 26).group("g", GroupSettings::new());
    for refused in [huge.create(&path), huge.open_or_create(&path)] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused.error, CreateError::AlreadyExists), "{refused}");
        assert_eq!(refused.path, dead);
    }
    assert_eq!(std::fs::read(&dead).unwrap(), b"another program's");
}
