//! The fear: a ring that is made anew from its journal misses messages that were on the disk, makes
//! a reader miss some, or is made of something that is damaged, foreign, unfinished or still in
//! use.

mod messages;

use kit::TempDir;
use messages::message;
use slipring::{
    Ancestor, Backoff, Consumer, ConsumerOptions, DeadLetterPolicy, GroupSettings, Observer, Producer, Ring,
    RingOptions, Start, Worker, WorkerOptions,
};
use slipring_journal::{Ended, HistoryError, Home, JournalOptions, RestoreError, Restored, restore};
use std::path::PathBuf;
use std::time::Duration;

const CAPACITY: u64 = 64;

/// A ring in a file, and a directory for its journal.
struct Scene {
    place: TempDir,
}

impl Scene {
    fn new() -> Scene {
        Scene { place: TempDir::new() }
    }
    fn path(&self) -> PathBuf {
        self.place.file("ring")
    }
    fn directory(&self) -> PathBuf {
        self.place.file("journal")
    }

    fn create(&self, options: &RingOptions) -> Ring {
        options.create(self.path()).unwrap()
    }

    /// Publishes, and puts it on the disk.
    fn publish(&self, messages: u64) -> u64 {
        let mut producer = Producer::<[u8]>::open(self.path()).unwrap();
        for position in producer.head()..producer.head() + messages {
            producer.send((kind(position), &message(position)[..])).unwrap();
            if position % 16 == 0 {
                self.commit();
            }
        }
        self.commit();
        producer.head()
    }

    fn commit(&self) {
        let options = JournalOptions::new().segment_bytes(64 << 10).allow_memory(true);
        let journal = options.attach(self.path(), self.directory()).unwrap();
        journal.handle().stop();
        assert_eq!(journal.run().unwrap(), Ended::Stopped);
    }

    /// The ring's file is gone, as after a power cut.
    fn lose(&self) {
        let dead = self.place.file("ring.dead");
        std::fs::remove_file(self.path()).unwrap();
        if dead.exists() {
            std::fs::remove_file(dead).unwrap();
        }
    }

    fn restore(&self) -> Result<Restored, RestoreError> {
        restore(self.directory(), None, self.path())
    }

    fn home(&self, ring: &Ring) -> Home {
        Home::new(&self.directory(), ring.id())
    }
}

fn kind(position: u64) -> u32 {
    u32::try_from(position % 7).unwrap()
}

fn plain() -> RingOptions {
    RingOptions::new(97, usize::try_from(CAPACITY).unwrap()).durable("journal")
}

fn check(path: &PathBuf, first: u64, end: u64) {
    let mut observer = Observer::<[u8]>::attach(path, Start::At(first)).unwrap();
    for position in first..end {
        let copied = observer.recv().unwrap();
        assert_eq!((copied.position(), copied.kind()), (position, kind(position)));
        assert_eq!(*copied, message(position)[..]);
    }
    assert_eq!(observer.position(), end);
}

#[test]
fn a_lost_ring_is_made_anew_as_it_was() {
    let scene = Scene::new();
    let sms = GroupSettings::new().max_deliver(3).backoff(Backoff::steps(&[Duration::from_millis(7)]));
    let options = plain()
        .durable("audit")
        .durable("act")
        .comes_after("act", ["journal", "sms"])
        .durable("slow")
        .durable_inactive_threshold(Duration::from_secs(9))
        .consumers(9)
        .group("sms", sms)
        .workers(5)
        .dead_letter_capacity(16)
        .dead_letter_policy(DeadLetterPolicy::DropAndCount)
        .first_position(1000)
        .mode(0o640);
    let lost = scene.create(&options);
    assert_eq!(scene.publish(40), 1040);
    let audit = ConsumerOptions::new().name("audit").durable(true);
    let mut consumer = audit.attach::<[u8]>(scene.path()).unwrap();
    (0..30).for_each(|_| drop(consumer.recv().unwrap()));
    drop(consumer);
    let worker: Worker = WorkerOptions::new("sms").join(scene.path()).unwrap();
    (0..20).for_each(|_| worker.recv().unwrap().ack().unwrap());
    drop(worker);
    scene.publish(10);
    // Not on the disk: a consumer has seen it.
    Producer::<[u8]>::open(scene.path()).unwrap().send(b"lost").unwrap();
    scene.lose();

    let restored = scene.restore().unwrap();
    assert_eq!((restored.lost, restored.watermark, restored.first_position), (lost.id(), 1050, 1000));
    assert!(!restored.was_there);
    let ring = &restored.ring;
    assert_ne!(ring.id(), lost.id());
    assert_eq!(ring.ancestors(), [Ancestor { ring: lost.id(), watermark: 1050 }]);
    let same = |ring: &Ring| {
        (
            (ring.block_size(), ring.capacity(), ring.consumer_entries(), ring.worker_entries()),
            (ring.group_entries(), ring.dead_letter_capacity(), ring.dead_letter_policy()),
            (ring.durable_inactive_threshold(), ring.group("sms").unwrap().settings),
        )
    };
    assert_eq!(same(ring), same(&lost));
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(scene.path()).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o640);
    let member = |name: &str| restored.members.iter().find(|member| member.name == name).unwrap();
    assert_eq!((member("audit").begins_at, member("audit").again(1050)), (1030, 20));
    assert_eq!((member("slow").begins_at, member("slow").undone(1050)), (1000, 0));
    assert_eq!((member("sms").begins_at, member("sms").is_group), (1020, true));
    check(&scene.path(), 1000, 1050);
    assert_eq!(audit.attach::<[u8]>(scene.path()).unwrap().position(), 1030);
    assert_eq!(ring.group("sms").unwrap().ack_floor, 1020);
    let act = ring.consumers().into_iter().find(|consumer| consumer.name == "act").unwrap();
    assert_eq!(act.after, ["journal", "sms"]);
    let again = ConsumerOptions::new().name("act").durable(true).after(["journal", "sms"]);
    assert_eq!(again.attach::<[u8]>(scene.path()).unwrap().position(), 1000);
    assert_eq!(ring.check(), []);

    // Once more is the same, and says so.
    let again = scene.restore().unwrap();
    assert!(again.was_there && again.ring.id() == ring.id());
    // It goes on, and its journal has everything.
    scene.publish(10);
    check(&scene.path(), 1000, 1060);
    assert_eq!(ring.consumers()[0].tail, Some(1060));
}

#[test]
fn a_reader_that_was_ahead_of_the_disk_goes_on_at_the_watermark() {
    let scene = Scene::new();
    drop(scene.create(&plain().durable("eager")));
    scene.publish(10);
    let mut producer = Producer::<[u8]>::open(scene.path()).unwrap();
    for _ in 0..5 {
        producer.send(b"on no disk").unwrap();
    }
    let options = ConsumerOptions::new().name("eager").durable(true);
    let mut eager = options.attach::<[u8]>(scene.path()).unwrap();
    (0..15).for_each(|_| drop(eager.recv().unwrap()));
    // Marks are written with the next commit, which tears.
    scene.commit();
    let ring = Ring::open(scene.path()).unwrap();
    let newest = scene.home(&ring).segment(0);
    let journal = slipring_journal::History::open(scene.directory()).unwrap();
    assert_eq!(journal.end().unwrap(), 15);
    drop((eager, producer, journal));
    assert!(newest.exists());
    scene.lose();
    let restored = scene.restore().unwrap();
    let eager = &restored.members[0];
    assert_eq!((eager.begins_at, eager.known, eager.undone(15)), (15, Some(15), 0));
}

#[test]
fn only_as_much_as_a_ring_holds_is_restored_and_no_reader_misses_any() {
    let scene = Scene::new();
    let lost = scene.create(&plain().durable("audit"));
    let audit = ConsumerOptions::new().name("audit").durable(true);
    for _ in 0..5 {
        scene.publish(CAPACITY / 2);
        let mut consumer = audit.attach::<[u8]>(scene.path()).unwrap();
        (0..CAPACITY / 2).for_each(|_| drop(consumer.recv().unwrap()));
    }
    scene.publish(7);
    let end = lost.head();
    scene.lose();
    let restored = scene.restore().unwrap();
    assert_eq!((restored.watermark, restored.first_position), (end, end - CAPACITY));
    // The last marks are those of the last commit, before it had come so far.
    assert!(restored.members[0].begins_at <= end - 7);
    check(&scene.path(), end - CAPACITY, end);
}

#[test]
fn a_ring_that_is_lost_again_is_restored_from_the_journal_that_has_more() {
    let scene = Scene::new();
    let first = scene.create(&plain());
    scene.publish(20);
    scene.lose();
    let second = scene.restore().unwrap().ring;
    // Its journal has described it, and not yet written what it was filled with.
    let options = JournalOptions::new().segment_bytes(64 << 10).allow_memory(true);
    drop(options.attach(scene.path(), scene.directory()).unwrap());
    assert!(scene.home(&second).segments().unwrap().is_empty());
    scene.lose();
    let third = scene.restore().unwrap();
    let line = [(second.id(), 20), (first.id(), 20)].map(|(ring, watermark)| Ancestor { ring, watermark });
    assert_eq!((third.lost, third.watermark, third.ring.ancestors()), (second.id(), 20, line.to_vec()));
    check(&scene.path(), 0, 20);
    // Of the third, the journal has gone on: now it is the one.
    scene.publish(5);
    let third = third.ring;
    scene.lose();
    let fourth = scene.restore().unwrap();
    assert_eq!((fourth.lost, fourth.watermark), (third.id(), 25));
    assert_eq!(fourth.ring.ancestors().len(), 3);
    check(&scene.path(), 0, 25);
    // A position saved of the very first is good up to where it was lost.
    let at = slipring::At::path(scene.path()).continuing(first.id());
    assert_eq!(Consumer::<[u8]>::attach(&at, Start::At(20)).unwrap().position(), 20);
    assert!(Consumer::<[u8]>::attach(&at, Start::At(21)).is_err());
    // If the journal with more is gone, so are its messages, and that is said.
    scene.lose();
    drop(options.attach(scene.restore_then_path(), scene.directory()).unwrap());
    scene.lose();
    std::fs::remove_dir_all(scene.home(&third).path()).unwrap();
    let error = scene.restore().unwrap_err();
    assert!(matches!(error, RestoreError::History(HistoryError::Hole { from: 0, to: 25, .. })), "{error:?}");
}

impl Scene {
    fn restore_then_path(&self) -> PathBuf {
        self.restore().unwrap();
        self.path()
    }
}

#[test]
fn what_is_damaged_foreign_newer_or_in_use_is_refused_and_nothing_is_made() {
    let scene = Scene::new();
    let lost = scene.create(&plain());
    let home = scene.home(&lost);
    scene.publish(40);
    let nothing = || assert!(!scene.path().exists());

    let there = scene.restore().unwrap_err();
    assert!(matches!(there, RestoreError::Occupied { .. }), "{there:?}");
    let options = JournalOptions::new().allow_memory(true);
    let journal = options.attach(scene.path(), scene.directory()).unwrap();
    scene.lose();
    assert!(matches!(scene.restore().unwrap_err(), RestoreError::InUse { .. }));
    nothing();
    drop(journal);

    let segment = home.segment(0);
    let good = std::fs::read(&segment).unwrap();
    let mut damaged = good.clone();
    damaged[4096 + 64] ^= 1;
    std::fs::write(&segment, &damaged).unwrap();
    assert!(matches!(scene.restore().unwrap_err(), RestoreError::History(HistoryError::Damaged { .. })));
    let mut newer = good.clone();
    newer[4096 + 3] = b'9';
    std::fs::write(&segment, &newer).unwrap();
    assert!(matches!(scene.restore().unwrap_err(), RestoreError::History(_)));
    nothing();
    std::fs::write(&segment, &good).unwrap();

    let json = home.path().join("ring.json");
    let described = std::fs::read(&json).unwrap();
    std::fs::write(&json, &described[1..]).unwrap();
    assert!(matches!(scene.restore().unwrap_err(), RestoreError::Description { .. }));
    std::fs::remove_file(&json).unwrap();
    assert!(matches!(scene.restore().unwrap_err(), RestoreError::Description { .. }));
    // Of another ring.
    let other = Scene::new();
    let stranger = other.create(&plain());
    other.publish(1);
    std::fs::copy(other.home(&stranger).path().join("ring.json"), &json).unwrap();
    assert!(matches!(scene.restore().unwrap_err(), RestoreError::Foreign { .. }));
    std::fs::write(&json, &described).unwrap();
    nothing();

    // Two rings, of which neither continues the other.
    std::fs::rename(other.home(&stranger).path(), scene.home(&stranger).path()).unwrap();
    let several = scene.restore().unwrap_err();
    assert!(matches!(several, RestoreError::History(HistoryError::SeveralRings { .. })), "{several:?}");
    let chosen = restore(scene.directory(), Some(lost.id()), scene.path()).unwrap();
    assert_eq!(chosen.watermark, 40);
    scene.lose();
    let none = restore(other.directory(), None, scene.path()).unwrap_err();
    assert!(matches!(none, RestoreError::History(HistoryError::NoJournal { .. })), "{none:?}");
    nothing();
}
