//! The fear: a message is done although nobody finished it, comes back although somebody did, or is gone
//! although nobody gave it up.
//!
//! Point by point, what may become of a delivery, of a group and of a dead letter, and what the producer and
//! whoever looks on are told about it. Within one process; [`group_kills`](../group_kills/index.html) has
//! several, and kills them.

mod common;

use common::TempDir;
use slipring::{
    Backoff, Consumer, DeadLetterPolicy, DeadLetters, Delivery, Error, EventKind, GroupInfo, GroupSettings,
    HolderRole, JoinError, Kinds, Observer, Producer, Reason, RecvError, Rejected, Ring, RingOptions,
    SendError, Start, Worker, WorkerOptions,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Waits until something is so; a minute is for ever.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LONG, "never: {what}");
        std::thread::yield_now();
    }
}

/// A lease that nothing in a test outlives.
fn patient() -> GroupSettings {
    GroupSettings::new().ack_wait(HOUR)
}

/// A lease that is over at once.
fn hasty() -> GroupSettings {
    GroupSettings::new().ack_wait(Duration::from_millis(1)).deliver_without_end()
}

fn join(ring: &Ring, group: &str) -> Worker {
    WorkerOptions::new(group).tick(Duration::from_millis(1)).join(ring).unwrap()
}

/// A ring with the group "work".
fn in_memory(capacity: usize, settings: GroupSettings) -> (Ring, Producer, Worker) {
    let ring = RingOptions::new(48, capacity).group("work", settings).create_in_memory().unwrap();
    let producer = Producer::open(&ring).unwrap();
    let worker = join(&ring, "work");
    (ring, producer, worker)
}

/// Messages of one byte each: 0, 1, 2, ...
fn fill(producer: &mut Producer, count: u8) {
    for n in 0..count {
        producer.try_send(0, &[n]).unwrap();
    }
}

/// The next delivery, however long it rests.
fn next(worker: &Worker) -> Delivery<'_> {
    worker.recv_timeout(LONG).unwrap()
}

fn group(ring: &Ring) -> GroupInfo {
    let mut groups = ring.groups();
    assert_eq!(groups.len(), 1);
    groups.remove(0)
}

/// Who holds the ring full.
fn holder(producer: &mut Producer) -> (HolderRole, String, u64, bool) {
    match producer.try_send(0, b"x") {
        Err(SendError::Full { holder, .. }) => (holder.role, holder.name, holder.lag, holder.alive),
        other => panic!("{other:?}"),
    }
}

fn recorded(ring: &Ring, kind: EventKind) -> u64 {
    ring.events().iter().filter(|event| event.kind == kind).map(|event| 1 + event.repeats).sum()
}

/// A panic, without its message on the terminal.
fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("on purpose"))
}

/// Takes the message over from whoever had it, once the lease is over.
fn take_over(worker: &Worker) -> Delivery<'_> {
    let mut taken = None;
    until("the lease runs out", || {
        taken = worker.try_recv().ok();
        taken.is_some()
    });
    taken.unwrap()
}

#[test]
fn what_is_acknowledged_never_comes_back_and_what_is_not_always_does() {
    let (ring, mut producer, worker) = in_memory(8, patient().max_deliver(20));
    producer.send_kind(7, b"work").unwrap();
    let first = worker.try_recv().unwrap();
    assert_eq!((first.position(), first.kind(), first.attempt(), &*first), (0, 7, 1, &b"work"[..]));
    assert!(first.time_left() > Duration::ZERO && first.time_left() <= HOUR + Duration::from_millis(64));
    let id = first.id();
    assert_eq!((id.ring, id.position), (ring.id(), 0));

    // Failed: counts.
    first.nack(None).unwrap();
    let second = next(&worker);
    assert_eq!((second.position(), second.kind(), second.attempt(), &*second), (0, 7, 2, &b"work"[..]));
    assert_eq!(second.id(), id);
    second.nack(Duration::from_millis(2)).unwrap();

    // Handed back: does not count.
    for _ in 0..5 {
        let third = next(&worker);
        assert_eq!(third.attempt(), 3);
        third.release().unwrap();
    }

    // Still at it: does not count either.
    let mut third = next(&worker);
    for _ in 0..5 {
        third.extend().unwrap();
    }
    assert_eq!(third.attempt(), 3);

    // Dropped, on purpose or not: hands back, and counts.
    drop(third);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let fourth = next(&worker);
        assert_eq!(fourth.attempt(), 4);
        panic_quietly();
    }));
    assert!(result.is_err());
    let fifth = next(&worker);
    assert_eq!((fifth.attempt(), &*fifth), (5, &b"work"[..]));
    fifth.ack().unwrap();
    assert_eq!(worker.try_recv().unwrap_err(), RecvError::Empty);
    let info = group(&ring);
    assert_eq!((info.ack_floor, info.failed, info.released, info.lost, info.expired), (1, 4, 5, 0, 0));
    let me = &info.workers[0];
    assert_eq!((me.delivered, me.acked, me.failed, me.lost), (10, 1, 9, 0));
}

#[test]
fn a_message_that_rests_holds_up_no_other() {
    let (ring, mut producer, worker) = in_memory(8, patient());
    fill(&mut producer, 3);
    next(&worker).nack(HOUR).unwrap();
    for n in 1..3 {
        let delivery = next(&worker);
        assert_eq!((delivery[0], delivery.attempt()), (n, 1));
        delivery.ack().unwrap();
    }
    assert!(matches!(worker.recv_timeout(Duration::from_millis(20)), Err(RecvError::TimedOut(_))));
    let info = group(&ring);
    assert_eq!((info.ack_floor, info.num_ack_pending, info.num_pending), (0, 1, 0));
}

#[test]
fn a_failure_rests_as_long_as_the_group_says_unless_the_worker_knows_better() {
    let backoff = Backoff::steps(&[Duration::ZERO, HOUR]);
    let (ring, mut producer, worker) = in_memory(8, patient().backoff(backoff));
    fill(&mut producer, 1);
    next(&worker).nack(None).unwrap();
    // After the second attempt it would rest for an hour.
    let second = next(&worker);
    assert_eq!(second.attempt(), 2);
    second.nack(Duration::ZERO).unwrap();
    let third = next(&worker);
    assert_eq!(third.attempt(), 3);
    drop(third);
    assert!(matches!(worker.recv_timeout(Duration::from_millis(20)), Err(RecvError::TimedOut(_))));
    assert_eq!(group(&ring).num_ack_pending, 1);
    let exponential = Backoff::exponential(Duration::from_millis(1), Duration::from_millis(4));
    let (_ring, mut producer, worker) = in_memory(8, patient().backoff(exponential).max_deliver(20));
    fill(&mut producer, 1);
    for attempt in 1..10 {
        let delivery = next(&worker);
        assert_eq!(delivery.attempt(), attempt);
        delivery.nack(None).unwrap();
    }
}

#[test]
fn whoever_comes_too_late_changes_nothing() {
    let (ring, mut producer, early) = in_memory(8, hasty());
    let late = join(&ring, "work");
    let ways: [fn(Delivery<'_>) -> Option<String>; 6] = [
        |lost| lost.ack().err().map(|error| error.to_string()),
        |lost| lost.nack(None).err().map(|error| error.to_string()),
        |lost| lost.nack(HOUR).err().map(|error| error.to_string()),
        |lost| lost.release().err().map(|error| error.to_string()),
        |lost| lost.reject("too late").err().map(|error| error.to_string()),
        |mut lost| {
            let error = lost.extend().err().map(|error| error.to_string());
            assert_eq!(lost.len(), 1, "the bytes can still be read");
            error
        },
    ];
    for (n, settle) in (0_u64..).zip(ways) {
        producer.try_send(0, &n.to_le_bytes()[..1]).unwrap();
        let lost = next(&early);
        let held = take_over(&late);
        assert_eq!((held.position(), held.attempt(), &*held), (n, lost.attempt() + 1, &*lost));
        let told = settle(lost).expect("a lost lease was as good as any");
        assert!(told.contains(&format!("position {n} was lost")), "{told}");
        // The other's lease is good, however late it is, and so is its word.
        held.ack().unwrap();
        assert_eq!(early.try_recv().unwrap_err(), RecvError::Empty);
    }
    let info = group(&ring);
    // The extension that was refused was counted, and so was its drop.
    assert_eq!((info.lost, info.failed, info.released, info.rejected, info.dead_lettered), (7, 0, 0, 0, 0));
    assert_eq!((info.ack_floor, info.num_ack_pending), (6, 0));
    let losses: Vec<u64> = info.workers.iter().map(|worker| worker.lost).collect();
    assert_eq!(losses, [6, 0], "of deliveries");
}

#[test]
fn a_lease_that_is_over_is_not_lost_before_somebody_takes_it() {
    let (ring, mut producer, worker) = in_memory(8, hasty());
    fill(&mut producer, 2);
    let first = worker.try_recv().unwrap();
    until("its time is up", || first.time_left() == Duration::ZERO);
    first.ack().unwrap();
    let mut second = worker.try_recv().unwrap();
    until("its time is up", || second.time_left() == Duration::ZERO);
    // Longer than the coarse clock's step, so that some time is left whenever this thread runs.
    until("it has time again", || {
        second.extend().unwrap();
        second.time_left() > Duration::ZERO
    });
    assert_eq!(second.attempt(), 1);
    second.ack().unwrap();
    assert_eq!(group(&ring).expired, 0);
}

#[test]
fn a_worker_may_get_again_what_it_let_run_out_and_only_the_last_lease_counts() {
    let (ring, mut producer, worker) = in_memory(4, hasty());
    fill(&mut producer, 1);
    let stale = worker.try_recv().unwrap();
    let fresh = take_over(&worker);
    assert_eq!((stale.position(), fresh.position(), fresh.attempt()), (0, 0, 2));
    assert!(stale.ack().is_err());
    // What is left keeps the bytes: its twin's end must not let the producer at them.
    for _ in 0..3 {
        producer.try_send(0, b"more").unwrap();
    }
    assert_eq!(holder(&mut producer).2, 4);
    assert_eq!(&*fresh, [0]);
    fresh.ack().unwrap();
    assert_eq!(producer.try_send(0, b"x"), Ok(4));
    assert_eq!(group(&ring).expired, 1);
}

#[test]
fn a_message_whose_lease_was_lost_keeps_its_bytes_while_the_producer_goes_on() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = RingOptions::new(48, 4).group("work", hasty()).create(&path).unwrap();
    let mut producer = Producer::open(&path).unwrap();
    let slow = WorkerOptions::new("work").name("slow").join(&path).unwrap();
    let quick = join(&ring, "work");
    producer.try_send(0, b"held").unwrap();
    let held = next(&slow);
    take_over(&quick).ack().unwrap();
    let mut sent = 1;
    for _ in 0..10 {
        while producer.try_send(0, b"more").is_ok() {
            sent += 1;
        }
        while let Ok(delivery) = quick.try_recv() {
            delivery.ack().unwrap();
        }
    }
    assert_eq!((sent, group(&ring).ack_floor), (4, 4));
    assert_eq!(holder(&mut producer), (HolderRole::Worker, "slow".to_owned(), 4, true));
    let told = producer.try_send(0, b"x").unwrap_err().to_string();
    assert!(told.contains("worker \"slow\" (process ") && told.contains("reads in place"), "{told}");
    assert_eq!(&*held, b"held");
    assert_eq!(group(&ring).workers[0].reading, Some(0));
    assert!(held.ack().is_err());
    assert_eq!(group(&ring).workers[0].reading, None);
    for n in 4..12 {
        assert_eq!(producer.try_send(0, b"x"), Ok(n));
        next(&quick).ack().unwrap();
    }
}

#[test]
fn a_forgotten_delivery_only_stalls() {
    let (ring, mut producer, worker) = in_memory(4, patient());
    fill(&mut producer, 4);
    std::mem::forget(worker.try_recv().unwrap());
    for n in 1..4 {
        let delivery = worker.try_recv().unwrap();
        assert_eq!(delivery[0], n);
        delivery.ack().unwrap();
    }
    assert_eq!(holder(&mut producer), (HolderRole::Group, "work".to_owned(), 4, true));
    // With its worker goes the lease, and the hold on the bytes.
    drop(worker);
    assert_eq!(holder(&mut producer), (HolderRole::Group, "work".to_owned(), 4, false));
    let heir = join(&ring, "work");
    let again = heir.try_recv().unwrap();
    assert_eq!((again[0], again.attempt()), (0, 2));
    again.ack().unwrap();
    assert_eq!(producer.try_send(0, b"x"), Ok(4));
    assert_eq!(group(&ring).abandoned, 1);
}

#[test]
fn one_stuck_message_delays_nothing_but_the_reuse_of_its_slot() {
    let (ring, mut producer, worker) = in_memory(16, patient());
    let colleague = join(&ring, "work");
    fill(&mut producer, 1);
    let stuck = worker.try_recv().unwrap();
    for n in 1..16_u8 {
        producer.try_send(0, &[n]).unwrap();
        let delivery = colleague.try_recv().unwrap();
        assert_eq!((delivery.position(), &*delivery), (n.into(), &[n][..]));
        delivery.ack().unwrap();
    }
    assert_eq!(holder(&mut producer), (HolderRole::Group, "work".to_owned(), 16, true));
    let told = producer.try_send(0, b"x").unwrap_err().to_string();
    assert!(told.contains("group \"work\" is 16 messages behind"), "{told}");
    assert_eq!(recorded(&ring, EventKind::Full), 1);
    assert_eq!(group(&ring).ack_floor, 0);
    stuck.ack().unwrap();
    assert_eq!(group(&ring).ack_floor, 16);
    // The whole ring is free again, at once.
    fill(&mut producer, 16);
    assert_eq!(holder(&mut producer).2, 16);
}

/// A slot was reused and its new message settled before anybody had moved the floor over the old one.
#[test]
fn a_floor_left_behind_by_the_ring_finds_its_way() {
    for laps in 1..4_u64 {
        let (ring, mut producer, worker) = in_memory(16, patient());
        for lap in 0..laps {
            while producer.try_send(1, b"old").is_ok() {}
            worker.try_recv().unwrap().ack().unwrap();
            producer.try_send(2, b"new").unwrap();
            worker.try_recv_kind(Kinds::Equal(2)).unwrap().ack().unwrap();
            while let Ok(delivery) = worker.try_recv() {
                delivery.ack().unwrap();
            }
            let info = group(&ring);
            assert_eq!((info.ack_floor, info.num_pending), (17 * (lap + 1), 0));
        }
        fill(&mut producer, 16);
        while let Ok(delivery) = worker.try_recv() {
            delivery.ack().unwrap();
        }
        producer.close();
        assert_eq!(worker.try_recv().unwrap_err(), RecvError::Closed);
    }
}

#[test]
fn no_more_is_in_flight_than_the_group_allows_and_a_stuck_one_takes_one_place() {
    let (ring, mut producer, worker) = in_memory(64, patient().max_ack_pending(3));
    let colleague = join(&ring, "work");
    fill(&mut producer, 40);
    let stuck = worker.try_recv().unwrap();
    let second = worker.try_recv().unwrap();
    let third = colleague.try_recv().unwrap();
    for nobody in [&worker, &colleague] {
        assert_eq!(nobody.try_recv().unwrap_err(), RecvError::Empty);
        assert_eq!(nobody.try_recv_kind(Kinds::Equal(0)).unwrap_err(), RecvError::Empty);
    }
    assert_eq!(group(&ring).num_ack_pending, 3);
    third.ack().unwrap();
    let fourth = worker.try_recv().unwrap();
    assert_eq!(fourth[0], 3);
    assert_eq!(colleague.try_recv().unwrap_err(), RecvError::Empty);
    // What was handed back is in flight already, and can be had.
    second.release().unwrap();
    let second = colleague.try_recv().unwrap();
    assert_eq!((second[0], second.attempt()), (1, 1));
    second.ack().unwrap();
    fourth.ack().unwrap();
    for n in 4..40 {
        let delivery = colleague.try_recv().unwrap();
        assert_eq!(delivery[0], n);
        delivery.ack().unwrap();
    }
    assert_eq!(group(&ring).ack_floor, 0);
    // A message that rests is in flight, too.
    stuck.nack(HOUR).unwrap();
    fill(&mut producer, 3);
    let rest = [worker.try_recv().unwrap(), worker.try_recv().unwrap()];
    assert_eq!(worker.try_recv().unwrap_err(), RecvError::Empty);
    drop(rest);
}

#[test]
fn a_message_that_keeps_failing_is_given_up_with_all_that_is_known_of_it() {
    let (ring, mut producer, worker) = in_memory(16, patient().max_deliver(2));
    // Its last attempt failed.
    producer.send_kind(1, b"fails").unwrap();
    for attempt in 1..=2 {
        let delivery = next(&worker);
        assert_eq!(delivery.attempt(), attempt);
        delivery.nack(None).unwrap();
    }
    assert!(matches!(worker.recv_timeout(Duration::from_millis(20)), Err(RecvError::TimedOut(_))));
    // Somebody rejected it.
    producer.send_kind(2, b"bad").unwrap();
    assert_eq!(next(&worker).reject("not äccepted").unwrap(), Rejected::Settled);
    // The worker that had its last attempt is gone.
    producer.send_kind(3, b"lonely").unwrap();
    next(&worker).nack(Duration::ZERO).unwrap();
    std::mem::forget(next(&worker));
    drop(worker);
    let heir = join(&ring, "work");
    until("it is given up", || {
        assert_eq!(heir.try_recv().unwrap_err(), RecvError::Empty);
        group(&ring).dead_lettered == 3
    });

    let letters = ring.dead_letters().unwrap();
    let summary: Vec<_> = letters
        .iter()
        .map(|it| (it.id.position, it.kind, it.attempts, it.reason, it.note.as_str(), it.bytes.as_slice()))
        .collect();
    assert_eq!(
        summary,
        [
            (0, 1, 2, Reason::Failed, "", &b"fails"[..]),
            (1, 2, 1, Reason::Rejected, "not äccepted", b"bad"),
            (2, 3, 2, Reason::WorkerDied, "", b"lonely"),
        ]
    );
    assert!(letters.iter().all(|it| it.id.ring == ring.id() && it.group == "work"));
    assert!(letters.iter().all(|it| it.buried_unix_ms > 1_600_000_000_000));
    assert!(letters.iter().map(|it| it.position).eq(0..3));
    assert!(letters.iter().all(|it| it.seen_unix_ms.is_none_or(|seen| seen <= it.buried_unix_ms)));
    let info = group(&ring);
    assert_eq!((info.ack_floor, info.num_doomed, info.rejected, info.abandoned), (3, 0, 1, 1));
    assert_eq!(recorded(&ring, EventKind::DeadLettered), 3);
}

#[test]
fn a_message_that_nobody_finishes_in_time_is_given_up() {
    let settings = GroupSettings::new().ack_wait(Duration::from_millis(1)).max_deliver(3);
    let (ring, mut producer, worker) = in_memory(16, settings);
    fill(&mut producer, 1);
    // Three leases at once, of which two are lost, and the last one ran out.
    let held = [take_over(&worker), take_over(&worker), take_over(&worker)];
    assert_eq!(held.each_ref().map(Delivery::attempt), [1, 2, 3]);
    until("it is given up", || {
        assert_eq!(worker.try_recv().unwrap_err(), RecvError::Empty);
        group(&ring).dead_lettered == 1
    });
    let letter = ring.dead_letters().unwrap().remove(0);
    assert_eq!((letter.attempts, letter.reason, letter.bytes), (3, Reason::Expired, vec![0]));
    for late in held {
        assert!(late.ack().is_err(), "it is in the dead-letter ring");
    }
    let info = group(&ring);
    assert_eq!((info.expired, info.lost, info.ack_floor), (3, 3, 1));
}

#[test]
fn a_note_is_cut_between_characters() {
    let (ring, mut producer, worker) = in_memory(4, patient());
    fill(&mut producer, 1);
    let long = format!("{}ää", "x".repeat(63));
    assert_eq!(next(&worker).reject(&long).unwrap(), Rejected::Settled);
    assert_eq!(ring.dead_letters().unwrap()[0].note, "x".repeat(63));
}
