//! Dead letters: where they go, when there is no room for them, and how they come back.

use super::{fill, group, holder, join, next, patient, recorded, text};
use kit::{TempDir, until};
use slipring::{
    AtPath, AttachError, CreateError, DeadLetterPolicy, DeadLetters, Delivery, EventKind, GroupSettings,
    HolderRole, OpenError, Producer, RecvError, RedriveError, Rejected, Ring, RingOptions, WorkerOptions,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the dead letters of the ring at `path` go.
fn dead(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.dead", path.display()))
}

#[test]
fn dead_letters_that_find_no_room_wait_and_nothing_is_lost() {
    let options = RingOptions::new(48, 8).group("work", patient()).dead_letter_capacity(2);
    let ring = options.create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    let worker = join(&ring, "work");
    fill(&mut producer, 3);
    let rejected: Vec<Rejected> = (0..3).map(|_| next(&worker).reject("full").unwrap()).collect();
    assert_eq!(rejected, [Rejected::Settled, Rejected::Settled, Rejected::Waiting]);
    let info = group(&ring);
    assert_eq!((info.num_dead_pending, info.dead_lettered, info.dropped, info.ack_floor), (1, 2, 0, 2));
    assert_eq!(recorded(&ring, EventKind::DeadLettersFull), 1);
    // The message is not delivered, and not settled.
    assert!(matches!(worker.recv_timeout(Duration::from_millis(20)), Err(RecvError::TimedOut(_))));
    let filled = (0..20_u8).take_while(|_| producer.try_send(b"more").is_ok()).count();
    assert_eq!((filled, holder(&mut producer).0), (7, HolderRole::DeadLetters));
    let mut letters = DeadLetters::open(&ring).unwrap();
    assert_eq!(letters.purge(1).unwrap(), 1);
    until("there is room, and the move is tried again", || {
        drop(worker.recv_timeout(Duration::from_millis(1)).map(Delivery::hand_back));
        group(&ring).dead_lettered == 3
    });
    assert_eq!(group(&ring).num_dead_pending, 0);
    let left: Vec<Vec<u8>> = ring.dead_letters().unwrap().into_iter().map(|letter| letter.bytes).collect();
    assert_eq!(left, [[1], [2]]);
    producer.try_send(b"x").unwrap();
}

/// Two groups give the same message up while there is no room, each with its note; other workers
/// move it later.
#[test]
fn the_note_of_a_rejection_waits_with_its_message() {
    let options = RingOptions::new(48, 8).group("work", patient()).group("other", patient());
    let ring = options.dead_letter_capacity(1).create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    fill(&mut producer, 3);
    for name in ["work", "other"] {
        let worker = join(&ring, name);
        for (note, n) in [("no room", 0), ("no such number", 1), ("", 2)] {
            next(&worker)
                .reject(&if n == 1 { format!("{note} in {name}") } else { note.to_owned() })
                .unwrap();
        }
    }
    assert_eq!(recorded(&ring, EventKind::RejectedWaits), 3);
    let (work, other) = (join(&ring, "work"), join(&ring, "other"));
    let mut letters = DeadLetters::open(&ring).unwrap();
    let mut found = Vec::new();
    until("every letter came", || {
        for worker in [&work, &other] {
            assert!(matches!(worker.try_recv(), Err(RecvError::Empty)));
        }
        while let Some(letter) = letters.take().unwrap() {
            found.push((letter.id.position, letter.group, letter.note));
        }
        found.len() == 6
    });
    found.sort();
    let expected = [
        (0, "other", "no room"),
        (0, "work", "no room"),
        (1, "other", "no such number in other"),
        (1, "work", "no such number in work"),
        (2, "other", ""),
        (2, "work", ""),
    ];
    assert_eq!(found, expected.map(|(position, group, note)| (position, group.to_owned(), note.to_owned())));
}

#[test]
fn dead_letters_that_find_no_room_are_counted_if_that_is_the_policy() {
    let ring = RingOptions::new(48, 8)
        .group("work", patient())
        .dead_letter_capacity(2)
        .dead_letter_policy(DeadLetterPolicy::DropAndCount)
        .create_in_memory()
        .unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    let worker = join(&ring, "work");
    fill(&mut producer, 5);
    for _ in 0..5 {
        assert_eq!(next(&worker).reject("full").unwrap(), Rejected::Settled);
    }
    let info = group(&ring);
    assert_eq!((info.num_dead_pending, info.dead_lettered, info.dropped, info.ack_floor), (0, 2, 3, 5));
    assert_eq!(recorded(&ring, EventKind::DeadLetterDropped), 3);
    let left: Vec<Vec<u8>> = ring.dead_letters().unwrap().into_iter().map(|letter| letter.bytes).collect();
    assert_eq!(left, [[0], [1]]);
}

#[test]
fn a_dead_letter_ring_that_was_removed_is_made_again() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let options = RingOptions::new(48, 8).group("work", patient()).mode(0o640);
    let ring = options.dead_letter_capacity(4).create(&path).unwrap();
    let before = Ring::open(dead(&path)).unwrap();
    assert_eq!((before.capacity(), before.block_size()), (4, 48 + 192));
    std::fs::remove_file(dead(&path)).unwrap();
    assert!(matches!(
        ring.dead_letters(),
        Err(AtPath { error: AttachError::Open(OpenError::NoDeadLetterRing), .. })
    ));
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    let worker = join(&ring, "work");
    fill(&mut producer, 1);
    assert_eq!(next(&worker).reject("anew").unwrap(), Rejected::Settled);
    let after = Ring::open(dead(&path)).unwrap();
    assert_ne!(after.id(), before.id());
    assert_eq!((after.capacity(), after.block_size()), (4, 48 + 192));
    assert_eq!(ring.dead_letters().unwrap()[0].note, "anew");
}

#[test]
fn a_strangers_file_in_the_dead_letters_place_is_not_touched() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = RingOptions::new(48, 8).group("work", patient()).create(&path).unwrap();
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    let worker = join(&ring, "work");

    let other = RingOptions::new(48, 8).group("work", patient()).create(dir.file("other")).unwrap();
    let plain = RingOptions::new(300, 8).create(dir.file("plain")).unwrap();
    std::fs::write(dir.file("text"), "not a ring at all").unwrap();
    let strangers = [
        (dead(&dir.file("other")), format!(", but the dead letters of ring {}", other.id())),
        (dir.file("plain"), String::new()),
    ];
    for (n, (stranger, whose)) in (0..).zip(strangers) {
        // The stranger's stream has ended: a producer that opens it would begin anew.
        Producer::<[u8]>::open(&stranger).unwrap().close().unwrap();
        let before = std::fs::read(&stranger).unwrap();
        std::fs::rename(&stranger, dead(&path)).unwrap();
        fill(&mut producer, 1);
        assert_eq!(next(&worker).reject("where to?").unwrap(), Rejected::Waiting);
        let said = format!(
            "does not hold the dead letters of ring {}{whose}; move it away, and slipring creates a new one when it \
             is needed",
            ring.id()
        );
        assert_eq!(text(ring.dead_letters()), said);
        assert_eq!(text(DeadLetters::open(&path)), said);
        assert!(std::fs::read(dead(&path)).unwrap() == before, "stranger {n} was written to");
        assert_eq!(group(&ring).num_dead_pending, n + 1);
    }
    drop((plain, other));
    std::fs::rename(dir.file("text"), dead(&path)).unwrap();
    fill(&mut producer, 1);
    assert_eq!(next(&worker).reject("where to?").unwrap(), Rejected::Waiting);
    assert_eq!(std::fs::read_to_string(dead(&path)).unwrap(), "not a ring at all");
    // Moved away, as the error says.
    std::fs::remove_file(dead(&path)).unwrap();
    until("all are dead letters after all", || {
        assert!(worker.recv_timeout(Duration::from_millis(1)).is_err());
        group(&ring).dead_lettered == 3
    });
}

#[test]
fn a_ring_whose_dead_letters_would_mix_with_anothers_is_not_created() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let options = RingOptions::new(48, 8).group("work", patient());
    let refused = |what: &str| {
        let before = std::fs::read(dead(&path)).unwrap();
        let Err(AtPath { path: taken, error: CreateError::AlreadyExists, .. }) = options.create(&path) else {
            panic!("{what}")
        };
        assert_eq!(taken, dead(&path), "{what}");
        assert!(!path.exists(), "{what}: half a ring was left");
        assert!(std::fs::read(dead(&path)).unwrap() == before, "{what} was touched");
    };
    std::fs::write(dead(&path), "somebody's notes").unwrap();
    refused("a text");
    std::fs::remove_file(dead(&path)).unwrap();

    let ring = options.create(&path).unwrap();
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    fill(&mut producer, 1);
    next(&join(&ring, "work")).reject("keep me").unwrap();
    drop((producer, ring));
    std::fs::remove_file(&path).unwrap();
    refused("letters of a ring that is gone");
    std::fs::remove_file(dead(&path)).unwrap();

    RingOptions::new(48, 8).create(dead(&path)).unwrap();
    refused("an empty ring of another kind");
    std::fs::remove_file(dead(&path)).unwrap();

    // A creator that was killed between the two names has left its dead-letter ring, empty.
    options.create(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let left = Ring::open(dead(&path)).unwrap().id();
    let ring = options.create(&path).unwrap();
    assert_ne!(Ring::open(dead(&path)).unwrap().id(), left);
    assert_eq!(ring.dead_letters().unwrap(), []);
    // The ring that is there, and its letters, are left alone.
    assert!(
        matches!(options.create(&path), Err(AtPath { path: taken, error: CreateError::AlreadyExists, .. }) if taken == path)
    );
    assert_eq!(ring.dead_letters().unwrap(), []);
}

#[test]
fn dead_letters_are_looked_at_redriven_and_purged_by_one_at_a_time() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = RingOptions::new(48, 16).group("work", patient()).create(&path).unwrap();
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    let worker = join(&ring, "work");
    for n in 0..6_u8 {
        producer.try_send((n.into(), &[n])).unwrap();
        assert_eq!(next(&worker).reject(&format!("note {n}")).unwrap(), Rejected::Settled);
    }
    let mut letters = DeadLetters::open(&path).unwrap();
    assert!(matches!(DeadLetters::open(&path), Err(AtPath { error: AttachError::NameInUse { .. }, .. })));
    for _ in 0..3 {
        let letter = letters.peek().unwrap().unwrap();
        assert_eq!((letter.bytes, letter.note.as_str(), letter.kind), (vec![0], "note 0", 0));
    }
    assert_eq!(letters.take().unwrap().unwrap().bytes, [0]);
    assert_eq!(letters.redrive(&mut producer, 2).unwrap(), 2);
    let edited = letters.redrive_with(&mut producer, 1, |letter, bytes| {
        assert_eq!((letter.kind, bytes.as_slice()), (3, &[3][..]));
        bytes.extend_from_slice(letter.id.to_string().as_bytes());
        bytes.truncate(8);
    });
    assert_eq!(edited.unwrap(), 1);
    let too_long = letters.redrive_with(&mut producer, 9, |_, bytes| bytes.resize(49, 0));
    assert!(too_long.unwrap_err().to_string().contains("49 bytes"));
    // A letter that was not published stays.
    assert_eq!(ring.dead_letters().unwrap().len(), 2);
    assert_eq!(letters.purge(1).unwrap(), 1);
    drop(letters);
    let mut letters = DeadLetters::open(&path).unwrap();
    assert_eq!(letters.peek().unwrap().unwrap().bytes, [5], "who comes next goes on there");
    assert_eq!(letters.purge(u64::MAX).unwrap(), 1);
    assert_eq!((letters.peek().unwrap(), letters.take().unwrap(), letters.purge(1)), (None, None, Ok(0)));
    assert_eq!(letters.redrive(&mut producer, u64::MAX).unwrap(), 0);
    // They are new messages, with new positions and the old kinds.
    for (position, kind) in [(6, 1), (7, 2), (8, 3)] {
        let delivery = next(&worker);
        assert_eq!((delivery.position(), delivery.kind(), delivery.attempt()), (position, kind, 1));
        assert_eq!(
            (delivery[0], delivery.len()),
            (position.to_le_bytes()[0] - 5, if kind == 3 { 8 } else { 1 })
        );
        delivery.ack().unwrap();
    }
    assert_eq!(ring.dead_letters().unwrap(), []);
}

#[test]
fn what_is_given_up_again_during_a_redrive_waits_for_the_next() {
    let ring = RingOptions::new(48, 16).group("g", GroupSettings::new()).create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    let worker = WorkerOptions::new("g").join::<[u8]>(&ring).unwrap();
    for message in [b"a", b"b"] {
        producer.send(message).unwrap();
        worker.recv().unwrap().reject("").unwrap();
    }
    let mut dead = DeadLetters::open(&ring).unwrap();
    let mut again = 0;
    let redriven = dead.redrive_with(&mut producer, 100, |_, _| {
        if let Ok(delivery) = worker.try_recv() {
            delivery.reject("again").unwrap();
            again += 1;
        }
    });
    assert_eq!((redriven.unwrap(), again), (2, 1));
    assert_eq!(dead.purge(u64::MAX).unwrap(), 1);
}

#[test]
fn what_a_batch_has_not_handed_out_counts_no_attempt() {
    let ring = RingOptions::new(48, 16).group("work", patient()).create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    fill(&mut producer, 10);
    let worker = join(&ring, "work");
    for _ in 0..3 {
        let handled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut batch = worker.recv_batch(10).unwrap();
            let _delivery = batch.next();
            std::panic::resume_unwind(Box::new("the handler fails"));
        }));
        assert!(handled.is_err());
    }
    let attempts: Vec<u32> = worker.recv_batch(16).unwrap().map(|delivery| delivery.attempt()).collect();
    assert_eq!(attempts, [1; 7], "three were tried, and rest");
    assert_eq!(worker.try_recv_batch(0).unwrap().len(), 0);
}

#[test]
fn a_redrive_into_a_ring_that_waits_for_the_dead_letter_ring_ends() {
    let options = RingOptions::new(48, 4).group("work", patient()).dead_letter_capacity(2);
    let ring = options.create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    let worker = join(&ring, "work");
    while producer.try_send(b"m").is_ok() {
        next(&worker).reject("no").unwrap();
    }
    let mut letters = DeadLetters::open(&ring).unwrap();
    letters.set_patience(Duration::from_millis(10));
    let error = letters.redrive(&mut producer, 8).unwrap_err();
    assert!(matches!(error, RedriveError::NoRoom { redriven: 0, .. }), "{error}");
    assert_eq!(ring.dead_letters().unwrap().len(), 2, "no letter was lost");
    // The way out: take one letter out, and redrive once its room is used.
    assert!(letters.take().unwrap().is_some());
    until("a message moves", || {
        drop(worker.recv_timeout(Duration::from_millis(1)).map(Delivery::hand_back));
        group(&ring).dead_lettered == 3
    });
    assert_eq!(letters.redrive(&mut producer, 1).unwrap(), 1);
}

/// Neither a refusal to open it nor a file of another ring is a dead-letter ring that is full.
#[test]
fn a_dead_letter_ring_that_cannot_be_opened_costs_no_letter() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = RingOptions::new(48, 8)
        .group("work", patient())
        .dead_letter_policy(DeadLetterPolicy::DropAndCount)
        .create(&path)
        .unwrap();
    std::fs::remove_file(dead(&path)).unwrap();
    std::fs::create_dir(dead(&path)).unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    let worker = join(&ring, "work");
    fill(&mut producer, 1);
    assert_eq!(next(&worker).reject("no").unwrap(), Rejected::Waiting);
    assert_eq!((group(&ring).dropped, group(&ring).num_dead_pending), (0, 1));
    assert_eq!(recorded(&ring, EventKind::DeadLettersUnavailable), 1);
}

/// Two groups and a consumer: the redriven message is for the group that gave it up.
#[test]
fn a_redriven_message_goes_back_to_the_one_group_that_gave_it_up() {
    let options = RingOptions::new(48, 16).group("mail", patient()).group("sms", patient());
    let ring = options.groups(3).create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    let [mail, sms] = ["mail", "sms"].map(|name| join(&ring, name));
    producer.send((7, b"hello")).unwrap();
    next(&mail).ack().unwrap();
    let first = next(&sms).id();
    until("sms fails at it", || match sms.recv_timeout(Duration::from_millis(1)) {
        Ok(delivery) if delivery.attempt() < 3 => false,
        Ok(delivery) => delivery.reject("no such number").is_ok(),
        Err(_) => false,
    });
    let mut letters = DeadLetters::open(&ring).unwrap();
    for round in 1..4_u32 {
        let letter = letters.peek().unwrap().unwrap();
        assert_eq!((letter.id, letter.group.as_str(), letter.kind), (first, "sms", 7));
        assert_eq!(letter.attempts, 2 + round, "the attempts before the redrive count, too");
        assert_eq!(letters.redrive(&mut producer, 9).unwrap(), 1);
        let again = next(&sms);
        assert_eq!((&*again, again.kind(), again.attempt(), again.id()), (&b"hello"[..], 7, 1, first));
        assert_eq!(again.position(), round.into());
        assert!(matches!(mail.try_recv(), Err(RecvError::Empty)), "it has done its part");
        again.reject("still none").unwrap();
    }
    // A group that begins now is not meant either, and nothing is held up.
    let late = join(&ring, "late");
    let delivery = next(&late);
    assert_eq!((delivery.position(), delivery.id()), (0, first));
    delivery.ack().unwrap();
    assert!(matches!(late.try_recv(), Err(RecvError::Empty)));
    assert!(ring.groups().iter().all(|group| group.num_pending + group.num_ack_pending == 0));
    // To all, on request: a new message.
    letters.set_to_all(true);
    letters.redrive(&mut producer, 1).unwrap();
    for worker in [&mail, &sms, &late] {
        let delivery = next(worker);
        assert_eq!((&*delivery, delivery.id().position), (&b"hello"[..], 4));
        delivery.ack().unwrap();
    }
    assert_eq!(ring.check(), []);
}

#[test]
fn a_letter_of_a_group_that_is_gone_or_was_made_anew_stays_until_it_is_told_where_to() {
    let ring = RingOptions::new(48, 16).group("g", patient()).groups(2).create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    producer.send(b"hello").unwrap();
    next(&join(&ring, "g")).reject("").unwrap();
    let mut letters = DeadLetters::open(&ring).unwrap();
    let mut refused = |letters: &mut DeadLetters| {
        let error = letters.redrive(&mut producer, 1).unwrap_err();
        assert!(
            matches!(&error, RedriveError::NoSuchGroup { letter: 0, group, .. } if group == "g"),
            "{error}"
        );
        assert!(letters.peek().unwrap().is_some());
    };
    ring.remove_group("g").unwrap();
    refused(&mut letters);
    let anew = join(&ring, "g");
    next(&anew).ack().unwrap();
    refused(&mut letters);
    letters.set_to_all(true);
    assert_eq!(letters.redrive(&mut producer, 1).unwrap(), 1);
    assert_eq!(&*next(&anew), b"hello");
}

/// The group goes while the message that is redriven to it waits in the ring.
#[test]
fn a_group_in_the_place_of_another_gets_none_of_its_redriven_messages() {
    let ring = RingOptions::new(48, 4).group("g", patient()).groups(1).create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    producer.send(b"hello").unwrap();
    next(&join(&ring, "g")).reject("").unwrap();
    assert_eq!(DeadLetters::open(&ring).unwrap().redrive(&mut producer, 1).unwrap(), 1);
    ring.remove_group("g").unwrap();
    let other = join(&ring, "other");
    assert_eq!(next(&other).position(), 0);
    drop(other);
    ring.remove_group("other").unwrap();
    let latest = WorkerOptions::new("other").start(slipring::Start::At(1)).join::<[u8]>(&ring).unwrap();
    assert!(matches!(latest.try_recv(), Err(RecvError::Empty)));
    for _ in 0..9 {
        producer.send_timeout(b"more", kit::LONG).unwrap();
        next(&latest).ack().unwrap();
    }
}
