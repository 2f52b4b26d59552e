//! Groups that come late, leave, are replaced, and how snapshots show them.

use super::{HOUR, fill, group, hasty, holder, in_memory, join, next, patient, recorded};
use kit::{LONG, TempDir, until};
use slipring::{
    AtPath, Consumer, Delivery, EventKind, HolderRole, JoinError, Kinds, Observer, Producer, RecvError, Ring,
    RingOptions, Start, StartError, Worker, WorkerOptions,
};
use std::time::Duration;

#[test]
fn groups_consumers_and_observers_of_one_ring_do_not_know_of_each_other() {
    let ring =
        RingOptions::new(48, 16).group("mail", patient()).group("sms", patient()).create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    let (mail, sms) = (join(&ring, "mail"), join(&ring, "sms"));
    let mut consumer = Consumer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    let mut observer = Observer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    for n in 0..200_u64 {
        producer.try_send(&n.to_le_bytes()).unwrap();
        let delivery = mail.try_recv().unwrap();
        assert_eq!((delivery.position(), &*delivery), (n, &n.to_le_bytes()[..]));
        if n % 3 == 0 {
            delivery.nack(HOUR).unwrap();
        } else {
            delivery.ack().unwrap();
        }
        let delivery = sms.try_recv().unwrap();
        assert_eq!((delivery.position(), delivery.attempt()), (n, 1));
        delivery.ack().unwrap();
        assert_eq!(&*consumer.try_recv().unwrap(), n.to_le_bytes());
        assert_eq!(&*observer.try_recv().unwrap(), n.to_le_bytes());
        if n % 12 == 11 {
            // The ring is nearly full for the one group only: it begins anew.
            let floors: Vec<u64> = ring.groups().iter().map(|group| group.ack_floor).collect();
            assert_eq!(floors, [n - 11, n + 1]);
            break;
        }
    }
    while producer.try_send(b"x").is_ok() {}
    assert_eq!(holder(&mut producer), (HolderRole::Group, "mail".to_owned(), 16, true));
    while let Ok(delivery) = sms.try_recv() {
        delivery.ack().unwrap();
    }
    // The consumer is behind now, but not as far.
    assert_eq!(holder(&mut producer).1, "mail");
    drop(mail);
    ring.remove_group("mail").unwrap();
    assert_eq!(holder_after_refill(&mut producer), HolderRole::Consumer);
}

/// The role of the party that holds the ring once the producer has sent all that it can.
fn holder_after_refill(producer: &mut Producer) -> HolderRole {
    while producer.try_send(b"x").is_ok() {}
    holder(producer).0
}

#[test]
fn a_late_group_begins_where_it_was_told_to() {
    let ring = RingOptions::new(48, 16).groups(4).first_position(1000).create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    let mut gate = Consumer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    for n in 0..10_u8 {
        producer.try_send(&[n]).unwrap();
    }
    drop(gate.try_recv_batch(3).unwrap());
    let begin = |name: &str, start| WorkerOptions::new(name).start(start).join::<[u8]>(&ring);
    let all = begin("all", Start::Earliest).unwrap();
    let new = begin("new", Start::Latest).unwrap();
    let some = begin("some", Start::At(1004)).unwrap();
    for (worker, first) in [(&all, 1000), (&some, 1004)] {
        let delivery = next(worker);
        assert_eq!(delivery.position(), first);
        delivery.hand_back().unwrap();
    }
    assert_eq!(new.try_recv().unwrap_err(), RecvError::Empty);
    producer.try_send(b"later").unwrap();
    assert_eq!(next(&new).position(), 1010);
    // A group that is there goes on where it is.
    drop(some);
    assert_eq!(next(&begin("some", Start::Latest).unwrap()).position(), 1004);
    let source = |result| match result {
        Err(AtPath { error: JoinError::Start(source), .. }) => source,
        other => panic!("{other:?}"),
    };
    let ahead = source(begin("never", Start::At(1012)));
    assert_eq!(ahead, StartError::Ahead { requested: 1012, head: 1011 });
    let gone = source(begin("never", Start::At(999)));
    assert_eq!(gone, StartError::BeforeEarliest { requested: 999, earliest: 1000 });
    assert_eq!(ring.groups().len(), 3, "a group that could not begin is there");
}

#[test]
fn a_declared_group_gates_before_its_first_worker() {
    let ring = RingOptions::new(48, 4).group("work", patient()).create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    fill(&mut producer, 4);
    assert_eq!(holder(&mut producer), (HolderRole::Group, "work".to_owned(), 4, false));
    let told = producer.try_send(b"x").unwrap_err().to_string();
    assert!(told.contains("group \"work\" has no workers and is 4 messages behind"), "{told}");
    let worker = join(&ring, "work");
    for n in 0..4 {
        assert_eq!(next(&worker)[0], n);
    }
}

#[test]
fn a_removed_group_lets_the_producer_go_on() {
    let ring = RingOptions::new(48, 4).group("gone", patient()).create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    fill(&mut producer, 4);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| producer.send(b"x"));
        until("the producer finds the ring full", || ring.producer_info().unwrap().full_count == 1);
        ring.remove_group("gone").unwrap();
        assert_eq!(waiting.join().unwrap(), Ok(4));
    });
    assert_eq!((ring.groups(), recorded(&ring, EventKind::GroupRemoved)), (Vec::new(), 1));
    // One of the same name begins anew, with settings of its own.
    let worker =
        WorkerOptions::new("gone").settings(hasty()).start(Start::Latest).join::<[u8]>(&ring).unwrap();
    assert_eq!((worker.settings(), group(&ring).ack_floor), (hasty(), 5));
}

/// The old group's delivery words are of this very lap.
#[test]
fn a_group_in_a_removed_ones_place_begins_anew() {
    let (ring, mut producer, worker) = in_memory(16, patient());
    fill(&mut producer, 3);
    next(&worker).ack().unwrap();
    next(&worker).nack(HOUR).unwrap();
    std::mem::forget(next(&worker));
    drop(worker);
    ring.remove_group("work").unwrap();
    let worker = join(&ring, "work");
    let again: Vec<_> = (0..3).map(|_| next(&worker)).collect();
    let told: Vec<_> = again.iter().map(|it| (it.position(), it.attempt())).collect();
    assert_eq!(told, [(0, 1), (1, 1), (2, 1)]);
    let info = group(&ring);
    assert_eq!((info.ack_floor, info.failed, info.worker_died), (0, 0, 0));
}

#[test]
fn what_is_told_of_a_group_is_what_is_so() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    RingOptions::new(48, 16).group("work", patient().max_deliver(9)).create(&path).unwrap();
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    let worker = WorkerOptions::new("work").name("näme of a worker").join::<[u8]>(&path).unwrap();
    let idle = Worker::<[u8]>::join(&path, "work").unwrap();
    let ring = Ring::open(&path).unwrap();
    let numbers = || {
        let it = group(&ring);
        (it.ack_floor, it.num_pending, it.num_ack_pending, it.num_redelivered, it.num_dead_pending)
    };
    assert_eq!((numbers(), group(&ring).oldest_pending), ((0, 0, 0, 0, 0), None));
    for n in 0..10 {
        producer.try_send((n, b"x")).unwrap();
    }
    assert_eq!(numbers(), (0, 10, 0, 0, 0));
    let first = next(&worker);
    assert_eq!(numbers(), (0, 9, 1, 0, 0));
    assert_eq!(group(&ring).workers[0].reading, Some(0));
    let second = next(&worker);
    second.ack().unwrap();
    assert_eq!(numbers(), (0, 8, 1, 0, 0), "the floor is the lowest that is not settled");
    next(&worker).nack(Duration::ZERO).unwrap();
    assert_eq!(numbers(), (0, 7, 2, 0, 0));
    // The failed message is due by the exact clock, so others may come before it.
    let again = worker.recv_kind(Kinds::Equal(2), LONG).unwrap();
    assert_eq!((again.position(), numbers()), (2, (0, 7, 2, 1, 0)));
    first.ack().unwrap();
    assert_eq!(numbers(), (2, 7, 1, 1, 0));
    again.hand_back().unwrap();
    assert_eq!(numbers().3, 0, "a release does not count");
    next(&worker).reject("no").unwrap();
    let info = group(&ring);
    assert_eq!((info.name.as_str(), info.settings), ("work", patient().max_deliver(9)));
    assert_eq!((info.failed, info.handed_back, info.rejected, info.dead_lettered), (1, 1, 1, 1));
    assert!(info.created_unix_ms > 1_600_000_000_000);
    let me = u64::from(std::process::id());
    let workers: Vec<_> = info
        .workers
        .iter()
        .map(|it| {
            (it.name.as_str(), it.pid, it.alive, it.reading, it.delivered, it.acked, it.failed, it.lost)
        })
        .collect();
    // A rejected one was handed back, too.
    assert_eq!(workers, [("näme of a worker", me, true, None, 5, 2, 3, 0), ("", me, true, None, 0, 0, 0, 0)]);
    until("somebody notes how old the oldest is", || {
        drop(idle.recv_timeout(Duration::from_millis(20)).map(Delivery::hand_back));
        group(&ring).oldest_pending.is_some_and(|age| age > Duration::ZERO)
    });
    let all: Vec<_> = std::iter::from_fn(|| worker.try_recv().ok()).collect();
    assert_eq!((group(&ring).num_pending, group(&ring).num_dead_pending), (0, 0));
    assert!(group(&ring).oldest_pending.is_some(), "what is in flight has an age, too");
    drop(all);
    drop((worker, idle));
    assert_eq!(group(&ring).workers, []);
}

#[test]
fn a_worker_for_which_there_is_no_entry_leaves_no_group_behind() {
    let ring = RingOptions::new(16, 8).groups(2).workers(1).create_in_memory().unwrap();
    let _only = join(&ring, "first");
    let refused = Worker::<[u8]>::join(&ring, "second").map(drop);
    assert!(matches!(refused, Err(AtPath { error: JoinError::WorkersFull { workers: 1, .. }, .. })));
    assert_eq!(ring.groups().iter().map(|group| &*group.name).collect::<Vec<_>>(), ["first"]);
    let created = ring.events().iter().filter(|event| event.kind == EventKind::GroupCreated).count();
    assert_eq!(created, 1);
    ring.remove_group("first").unwrap_err(); // it has a worker
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    assert!((0..8).all(|_| producer.try_send(b"m").is_ok()));
    assert_eq!(holder(&mut producer).1, "first");
}
