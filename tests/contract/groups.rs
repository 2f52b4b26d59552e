//! The fear: a message is done although nobody finished it, comes back although somebody did, or is gone
//! although nobody gave it up.
//!
//! Point by point, what may become of a delivery, of a group and of a dead letter, and what the producer and
//! whoever looks on are told about it. Within one process; [`group_kills`](../group_kills/index.html) has
//! several, and kills them.

use kit::TempDir;
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

/// What is written into the word is a little longer: the clock is read in steps.
#[test]
fn the_longest_rest_there_is_is_no_rest_that_cannot_be() {
    let longest = Duration::from_millis(1 << 30);
    let settings = patient().backoff(Backoff::steps(&[longest]));
    for delay in [None, Some(longest), Some(Duration::MAX)] {
        let (_ring, mut producer, worker) = in_memory(8, settings);
        fill(&mut producer, 1);
        next(&worker).nack(delay).unwrap();
        let again = worker.recv_timeout(Duration::from_millis(20));
        assert!(matches!(again, Err(RecvError::TimedOut(_))), "{again:?} after {delay:?}");
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
fn of_several_messages_that_are_held_the_lowest_keeps_its_bytes_whichever_goes_first() {
    let (ring, mut producer, worker) = in_memory(8, patient());
    fill(&mut producer, 4);
    let mut held: Vec<_> = (0..4).map(|_| Some(next(&worker))).collect();
    for (position, lowest) in [(2, Some(0)), (0, Some(1)), (1, Some(3)), (3, None)] {
        held[position].take().unwrap().ack().unwrap();
        assert_eq!(group(&ring).workers[0].reading, lowest, "after {position}");
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
    assert_eq!(info.expired, 0, "no lease ran out");
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

#[test]
fn several_at_once_are_several_leases() {
    let (ring, mut producer, worker) = in_memory(16, hasty());
    let colleague = join(&ring, "work");
    assert!(matches!(worker.try_recv_batch(4), Err(RecvError::Empty)));
    assert!(matches!(worker.recv_batch_timeout(4, Duration::from_millis(5)), Err(RecvError::TimedOut(_))));
    fill(&mut producer, 4);
    let mut batch = worker.recv_batch(4).unwrap();
    assert_eq!(batch.iter().map(|delivery| delivery[0]).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let taken = take_over(&colleague);
    let lost_one = batch.iter().position(|delivery| delivery.position() == taken.position()).unwrap();
    batch.swap(0, lost_one);
    let lost = worker.ack_all(batch).unwrap_err();
    assert_eq!(lost.iter().map(|lost| lost.position).collect::<Vec<_>>(), [taken.position()]);
    taken.ack().unwrap();
    assert_eq!(group(&ring).ack_floor, 4);
    fill(&mut producer, 2);
    let rest = worker.recv_batch_timeout(100, LONG).unwrap();
    assert_eq!(rest.iter().map(|delivery| delivery[0]).collect::<Vec<_>>(), [0, 1]);
    worker.ack_all(rest).unwrap();
    assert_eq!(
        worker.recv_timeout(Duration::ZERO).unwrap_err().to_string().find("nothing to receive"),
        Some(0)
    );
    assert_eq!(group(&ring).ack_floor, 6);
}

#[test]
fn a_batch_is_no_larger_than_asked_for() {
    let (_ring, mut producer, worker) = in_memory(8, patient());
    fill(&mut producer, 5);
    for (max, got) in [(2, 2), (1, 1), (10, 2)] {
        let batch = worker.try_recv_batch(max).unwrap();
        assert_eq!(batch.len(), got, "of at most {max}");
        worker.ack_all(batch).unwrap();
    }
}

#[test]
fn a_worker_that_chooses_leaves_the_rest_to_others_in_order() {
    let (ring, mut producer, worker) = in_memory(16, patient());
    let other = join(&ring, "work");
    for kind in [3, 1, 2, 3, 1, 2] {
        producer.send_kind(kind, b"x").unwrap();
    }
    let get = |who: &Worker, kinds| {
        let delivery = who.try_recv_kind(kinds).map_err(|error| error.to_string());
        delivery.map(|delivery| {
            let got = (delivery.position(), delivery.kind());
            delivery.ack().unwrap();
            got
        })
    };
    let nothing = Err("nothing to receive yet".to_owned());
    assert_eq!(get(&worker, Kinds::Equal(2)), Ok((2, 2)));
    assert_eq!(get(&other, Kinds::AtMost(2)), Ok((1, 1)));
    assert_eq!(get(&worker, Kinds::Except(3)), Ok((4, 1)));
    assert_eq!(get(&other, Kinds::Equal(9)), nothing);
    assert_eq!(get(&other, Kinds::AtMost(1)), nothing);
    assert_eq!(get(&worker, Kinds::Any), Ok((0, 3)));
    assert_eq!(get(&other, Kinds::Any), Ok((3, 3)));
    assert!(matches!(
        worker.recv_kind(Kinds::Equal(3), Duration::from_millis(5)),
        Err(RecvError::TimedOut(_))
    ));
    assert_eq!(get(&worker, Kinds::Except(3)), Ok((5, 2)));
    assert_eq!(get(&worker, Kinds::Any), nothing);
}

#[test]
fn what_was_handed_back_comes_before_what_is_new_in_order() {
    let ring = RingOptions::new(48, 16).group("work", patient()).create_in_memory().unwrap();
    let mut producer = Producer::open(&ring).unwrap();
    // It never sweeps by itself: what it finds, it was pointed at.
    let worker = WorkerOptions::new("work").tick(HOUR).join(&ring).unwrap();
    fill(&mut producer, 6);
    let first: Vec<_> = (0..4).map(|_| next(&worker)).collect();
    first.into_iter().for_each(|delivery| delivery.release().unwrap());
    let again: Vec<_> = (0..6).map(|_| next(&worker)).collect();
    assert_eq!(again.iter().map(Delivery::position).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn the_stream_ends_when_all_is_settled_and_not_before() {
    let (ring, mut producer, worker) = in_memory(8, patient().max_deliver(3));
    let colleague = join(&ring, "work");
    fill(&mut producer, 3);
    producer.close();
    let first = worker.try_recv().unwrap();
    let second = worker.try_recv().unwrap();
    let third = worker.try_recv().unwrap();
    let goes_on = || {
        for who in [&worker, &colleague] {
            assert_eq!(who.try_recv().unwrap_err(), RecvError::Empty);
            assert!(matches!(who.recv_timeout(Duration::from_millis(2)), Err(RecvError::TimedOut(_))));
            assert_eq!(who.try_recv_kind(Kinds::Equal(9)).unwrap_err(), RecvError::Empty);
        }
    };
    goes_on();
    third.ack().unwrap();
    second.nack(HOUR).unwrap();
    goes_on();
    first.release().unwrap();
    // Who wants another kind waits, since somebody may hand back one of those.
    assert_eq!(colleague.try_recv_kind(Kinds::Equal(9)).unwrap_err(), RecvError::Empty);
    next(&colleague).ack().unwrap();
    // The message that rests comes back to a group that was made anew: nobody else can end its rest.
    goes_on();
    assert_eq!(group(&ring).ack_floor, 1);

    let (_ring, mut producer, worker) = in_memory(8, patient());
    fill(&mut producer, 2);
    producer.close();
    next(&worker).ack().unwrap();
    assert_eq!(next(&worker).reject("no").unwrap(), Rejected::Settled);
    for _ in 0..2 {
        assert_eq!(worker.try_recv().unwrap_err(), RecvError::Closed);
        assert_eq!(worker.recv().unwrap_err(), RecvError::Closed);
        assert_eq!(worker.recv_timeout(LONG).unwrap_err(), RecvError::Closed);
        assert_eq!(worker.recv_batch(3).unwrap_err(), RecvError::Closed);
        assert_eq!(worker.recv_kind(Kinds::Equal(9), None).unwrap_err(), RecvError::Closed);
    }
}

#[test]
fn whoever_waits_wakes_for_what_was_handed_back_and_for_the_end() {
    let (ring, mut producer, worker) = in_memory(8, patient());
    fill(&mut producer, 1);
    let held = worker.try_recv().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let colleague = WorkerOptions::new("work").join(&ring).unwrap();
            let delivery = colleague.recv().unwrap();
            assert_eq!((delivery[0], delivery.attempt()), (0, 1));
            delivery.ack().unwrap();
            colleague.recv().map(|delivery| delivery.position()).unwrap_err()
        });
        until("the colleague is there", || group(&ring).workers.len() == 2);
        held.release().unwrap();
        until("it was done", || group(&ring).ack_floor == 1);
        producer.close();
        assert_eq!(waiting.join().unwrap(), RecvError::Closed);
    });
}

/// The text of an error, without the path.
fn text(result: Result<impl Sized, Error>) -> String {
    let told = result.map(drop).unwrap_err().to_string();
    told.split_once(": ").map(|(_, what)| what.to_owned()).unwrap()
}

#[test]
fn every_refusal_says_what_is_and_what_to_do() {
    let none = RingOptions::new(48, 8).create_in_memory().unwrap();
    let said = "has no groups; create it anew with room for some";
    assert_eq!(text(Worker::join(&none, "work")), said);
    assert_eq!(text(DeadLetters::open(&none)), said);
    assert_eq!(none.groups(), []);
    assert_eq!(none.dead_letters().unwrap(), []);
    assert_eq!(text(none.remove_group("work")), "no group is named \"work\"");

    let ring = RingOptions::new(48, 8).groups(2).workers(2).create_in_memory().unwrap();
    let one = Worker::join(&ring, "one").unwrap();
    let asked = GroupSettings::new().max_deliver(3).backoff(Backoff::steps(&[Duration::from_millis(7)]));
    let refused = WorkerOptions::new("one").settings(asked).join(&ring);
    let Err(Error::GroupSettings { found, asked: wanted, .. }) = &refused else { panic!("{refused:?}") };
    assert_eq!((**found, **wanted), (GroupSettings::new(), asked));
    assert_eq!(
        text(refused),
        "group \"one\" has ack_wait 30000 ms, max_deliver 5, max_ack_pending 1000, backoff none; asked for was \
         ack_wait 30000 ms, max_deliver 3, max_ack_pending 1000, backoff [7] ms; join without settings, with \
         the same, or remove the group first"
    );
    let same = WorkerOptions::new("one").settings(GroupSettings::new()).join(&ring).unwrap();
    assert_eq!((same.settings(), same.group(), same.ring_id()), (&GroupSettings::new(), "one", ring.id()));
    let full = "all 2 worker entries are taken; stop one, or create the ring with more `workers`";
    assert_eq!(text(Worker::join(&ring, "one")), full);
    assert_eq!(text(Worker::join(&ring, "two")), full);
    drop(same);
    let two = Worker::join(&ring, "two").unwrap();
    let me = std::process::id();
    assert_eq!(
        text(ring.remove_group("two")),
        format!("group \"two\" has a living worker, process {me}; stop its workers first")
    );
    drop(one);
    assert_eq!(
        text(Worker::join(&ring, "three")),
        "all 2 groups are taken (\"one\", \"two\"); join one of them, remove one, or create the ring with more \
         `groups`"
    );
    assert_eq!(text(ring.remove_group("three")), "no group is named \"three\"");
    ring.remove_group("one").unwrap();
    drop((Worker::join(&ring, "three").unwrap(), two));
    let names: Vec<String> = ring.groups().into_iter().map(|group| group.name).collect();
    assert_eq!(names, ["three", "two"]);

    assert!(matches!(Worker::join(&ring, ""), Err(Error::BadName { .. })));
    let zero = GroupSettings::new().max_ack_pending(0);
    let said = "max_ack_pending is 0, and must be from 1 to 18446744073709551615";
    assert_eq!(text(WorkerOptions::new("four").settings(zero).join(&ring)), said);
    assert_eq!(text(RingOptions::new(48, 8).group("four", zero).create_in_memory()), said);
}

#[test]
fn groups_consumers_and_observers_of_one_ring_do_not_know_of_each_other() {
    let ring =
        RingOptions::new(48, 16).group("mail", patient()).group("sms", patient()).create_in_memory().unwrap();
    let mut producer = Producer::open(&ring).unwrap();
    let (mail, sms) = (join(&ring, "mail"), join(&ring, "sms"));
    let mut consumer = Consumer::attach(&ring, Start::Earliest).unwrap();
    let mut observer = Observer::attach(&ring, Start::Earliest).unwrap();
    for n in 0..200_u64 {
        producer.try_send(0, &n.to_le_bytes()).unwrap();
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
    while producer.try_send(0, b"x").is_ok() {}
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

/// Who holds the ring when all is sent that can be.
fn holder_after_refill(producer: &mut Producer) -> HolderRole {
    while producer.try_send(0, b"x").is_ok() {}
    holder(producer).0
}

#[test]
fn a_late_group_begins_where_it_was_told_to() {
    let ring = RingOptions::new(48, 16).groups(4).first_position(1000).create_in_memory().unwrap();
    let mut producer = Producer::open(&ring).unwrap();
    let mut gate = Consumer::attach(&ring, Start::Earliest).unwrap();
    for n in 0..10_u8 {
        producer.try_send(0, &[n]).unwrap();
    }
    drop(gate.try_recv_batch(3).unwrap());
    let begin = |name: &str, start| WorkerOptions::new(name).start(start).join(&ring);
    let all = begin("all", Start::Earliest).unwrap();
    let new = begin("new", Start::Latest).unwrap();
    let some = begin("some", Start::At(1004)).unwrap();
    for (worker, first) in [(&all, 1000), (&some, 1004)] {
        let delivery = next(worker);
        assert_eq!(delivery.position(), first);
        delivery.release().unwrap();
    }
    assert_eq!(new.try_recv().unwrap_err(), RecvError::Empty);
    producer.try_send(0, b"later").unwrap();
    assert_eq!(next(&new).position(), 1010);
    // A group that is there goes on where it is.
    drop(some);
    assert_eq!(next(&begin("some", Start::Latest).unwrap()).position(), 1004);
    let source = |result| match result {
        Err(Error::Start { source, .. }) => source,
        other => panic!("{other:?}"),
    };
    let ahead = source(begin("never", Start::At(1012)));
    assert_eq!(ahead, JoinError::Ahead { requested: 1012, head: 1011 });
    let gone = source(begin("never", Start::At(999)));
    assert_eq!(gone, JoinError::Gone { requested: 999, earliest: 1000 });
    assert_eq!(ring.groups().len(), 3, "a group that could not begin is there");
}

#[test]
fn a_declared_group_gates_before_its_first_worker() {
    let ring = RingOptions::new(48, 4).group("work", patient()).create_in_memory().unwrap();
    let mut producer = Producer::open(&ring).unwrap();
    fill(&mut producer, 4);
    assert_eq!(holder(&mut producer), (HolderRole::Group, "work".to_owned(), 4, false));
    let told = producer.try_send(0, b"x").unwrap_err().to_string();
    assert!(told.contains("group \"work\" has no workers and is 4 messages behind"), "{told}");
    let worker = join(&ring, "work");
    for n in 0..4 {
        assert_eq!(next(&worker)[0], n);
    }
}

#[test]
fn a_removed_group_lets_the_producer_go_on() {
    let ring = RingOptions::new(48, 4).group("gone", patient()).create_in_memory().unwrap();
    let mut producer = Producer::open(&ring).unwrap();
    fill(&mut producer, 4);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| producer.send(b"x"));
        until("the producer finds the ring full", || ring.producer_info().unwrap().full_count == 1);
        ring.remove_group("gone").unwrap();
        assert_eq!(waiting.join().unwrap(), Ok(4));
    });
    assert_eq!((ring.groups(), recorded(&ring, EventKind::GroupRemoved)), (Vec::new(), 1));
    // One of the same name begins anew, with settings of its own.
    let worker = WorkerOptions::new("gone").settings(hasty()).start(Start::Latest).join(&ring).unwrap();
    assert_eq!((worker.settings(), group(&ring).ack_floor), (&hasty(), 5));
}

/// What is left of the old one in the words of its deliveries is of this very lap.
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
    assert_eq!((info.ack_floor, info.failed, info.abandoned), (0, 0, 0));
}

#[test]
fn what_is_told_of_a_group_is_what_is_so() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    RingOptions::new(48, 16).group("work", patient().max_deliver(9)).create(&path).unwrap();
    let mut producer = Producer::open(&path).unwrap();
    let worker = WorkerOptions::new("work").name("näme of a worker").join(&path).unwrap();
    let idle = Worker::join(&path, "work").unwrap();
    let ring = Ring::open(&path).unwrap();
    let numbers = || {
        let it = group(&ring);
        (it.ack_floor, it.num_pending, it.num_ack_pending, it.num_redelivered, it.num_doomed)
    };
    assert_eq!((numbers(), group(&ring).oldest_pending), ((0, 0, 0, 0, 0), None));
    for n in 0..10 {
        producer.try_send(n, b"x").unwrap();
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
    // What failed is due by the exact clock, so others may come before it.
    let again = worker.recv_kind(Kinds::Equal(2), LONG).unwrap();
    assert_eq!((again.position(), numbers()), (2, (0, 7, 2, 1, 0)));
    first.ack().unwrap();
    assert_eq!(numbers(), (2, 7, 1, 1, 0));
    again.release().unwrap();
    assert_eq!(numbers().3, 0, "a release does not count");
    next(&worker).reject("no").unwrap();
    let info = group(&ring);
    assert_eq!((info.name.as_str(), info.settings), ("work", patient().max_deliver(9)));
    assert_eq!((info.failed, info.released, info.rejected, info.dead_lettered), (1, 1, 1, 1));
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
        drop(idle.recv_timeout(Duration::from_millis(20)).map(Delivery::release));
        group(&ring).oldest_pending.is_some_and(|age| age > Duration::ZERO)
    });
    let all: Vec<_> = std::iter::from_fn(|| worker.try_recv().ok()).collect();
    assert_eq!((group(&ring).num_pending, group(&ring).num_doomed), (0, 0));
    assert!(group(&ring).oldest_pending.is_some(), "what is in flight has an age, too");
    drop(all);
    drop((worker, idle));
    assert_eq!(group(&ring).workers, []);
}

/// Where the dead letters of the ring at `path` go.
fn dead(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.dead", path.display()))
}

#[test]
fn dead_letters_that_find_no_room_wait_and_nothing_is_lost() {
    let options = RingOptions::new(48, 8).group("work", patient()).dead_letter_capacity(2);
    let ring = options.create_in_memory().unwrap();
    let mut producer = Producer::open(&ring).unwrap();
    let worker = join(&ring, "work");
    fill(&mut producer, 3);
    let rejected: Vec<Rejected> = (0..3).map(|_| next(&worker).reject("full").unwrap()).collect();
    assert_eq!(rejected, [Rejected::Settled, Rejected::Settled, Rejected::Waiting]);
    let info = group(&ring);
    assert_eq!((info.num_doomed, info.dead_lettered, info.dropped, info.ack_floor), (1, 2, 0, 2));
    assert_eq!(recorded(&ring, EventKind::DeadLettersFull), 1);
    // It is not delivered, and it is not settled.
    assert!(matches!(worker.recv_timeout(Duration::from_millis(20)), Err(RecvError::TimedOut(_))));
    let filled = (0..20_u8).take_while(|_| producer.try_send(0, b"more").is_ok()).count();
    assert_eq!((filled, holder(&mut producer).0), (7, HolderRole::Group));
    let mut letters = DeadLetters::open(&ring).unwrap();
    assert_eq!(letters.purge(1).unwrap(), 1);
    until("there is room, and the burial is tried again", || {
        drop(worker.recv_timeout(Duration::from_millis(1)).map(Delivery::release));
        group(&ring).dead_lettered == 3
    });
    assert_eq!(group(&ring).num_doomed, 0);
    let left: Vec<Vec<u8>> = ring.dead_letters().unwrap().into_iter().map(|letter| letter.bytes).collect();
    assert_eq!(left, [[1], [2]]);
    producer.try_send(0, b"x").unwrap();
}

#[test]
fn dead_letters_that_find_no_room_are_counted_if_that_is_the_policy() {
    let ring = RingOptions::new(48, 8)
        .group("work", patient())
        .dead_letter_capacity(2)
        .dead_letter_policy(DeadLetterPolicy::DropAndCount)
        .create_in_memory()
        .unwrap();
    let mut producer = Producer::open(&ring).unwrap();
    let worker = join(&ring, "work");
    fill(&mut producer, 5);
    for _ in 0..5 {
        assert_eq!(next(&worker).reject("full").unwrap(), Rejected::Settled);
    }
    let info = group(&ring);
    assert_eq!((info.num_doomed, info.dead_lettered, info.dropped, info.ack_floor), (0, 2, 3, 5));
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
    assert!(matches!(ring.dead_letters(), Err(Error::NotFound { .. })));
    let mut producer = Producer::open(&path).unwrap();
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
    let mut producer = Producer::open(&path).unwrap();
    let worker = join(&ring, "work");

    let other = RingOptions::new(48, 8).group("work", patient()).create(dir.file("other")).unwrap();
    let plain = RingOptions::new(300, 8).create(dir.file("plain")).unwrap();
    std::fs::write(dir.file("text"), "not a ring at all").unwrap();
    let strangers = [
        (dead(&dir.file("other")), format!(", but those of ring {}", other.id())),
        (dir.file("plain"), String::new()),
    ];
    for (n, (stranger, whose)) in (0..).zip(strangers) {
        // It had an end: whoever writes it would begin anew.
        Producer::open(&stranger).unwrap().close();
        let before = std::fs::read(&stranger).unwrap();
        std::fs::rename(&stranger, dead(&path)).unwrap();
        fill(&mut producer, 1);
        assert_eq!(next(&worker).reject("where to?").unwrap(), Rejected::Waiting);
        let said = format!(
            "is not where the dead letters of ring {} go{whose}; move it away, a new one is made when it is \
             needed",
            ring.id()
        );
        assert_eq!(text(ring.dead_letters()), said);
        assert_eq!(text(DeadLetters::open(&path)), said);
        assert!(std::fs::read(dead(&path)).unwrap() == before, "stranger {n} was written to");
        assert_eq!(group(&ring).num_doomed, n + 1);
    }
    drop((plain, other));
    std::fs::rename(dir.file("text"), dead(&path)).unwrap();
    fill(&mut producer, 1);
    assert_eq!(next(&worker).reject("where to?").unwrap(), Rejected::Waiting);
    assert_eq!(std::fs::read_to_string(dead(&path)).unwrap(), "not a ring at all");
    // Moved away, as the error says.
    std::fs::remove_file(dead(&path)).unwrap();
    until("all are buried after all", || {
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
        let Err(Error::AlreadyExists { path: taken }) = options.create(&path) else { panic!("{what}") };
        assert_eq!(taken, dead(&path), "{what}");
        assert!(!path.exists(), "{what}: half a ring was left");
        assert!(std::fs::read(dead(&path)).unwrap() == before, "{what} was touched");
    };
    std::fs::write(dead(&path), "somebody's notes").unwrap();
    refused("a text");
    std::fs::remove_file(dead(&path)).unwrap();

    let ring = options.create(&path).unwrap();
    let mut producer = Producer::open(&path).unwrap();
    fill(&mut producer, 1);
    next(&join(&ring, "work")).reject("keep me").unwrap();
    drop((producer, ring));
    std::fs::remove_file(&path).unwrap();
    refused("letters of a ring that is gone");
    std::fs::remove_file(dead(&path)).unwrap();

    RingOptions::new(48, 8).create(dead(&path)).unwrap();
    refused("an empty ring of another kind");
    std::fs::remove_file(dead(&path)).unwrap();

    // What a creator left that was killed between the two names: its dead-letter ring, empty.
    options.create(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let left = Ring::open(dead(&path)).unwrap().id();
    let ring = options.create(&path).unwrap();
    assert_ne!(Ring::open(dead(&path)).unwrap().id(), left);
    assert_eq!(ring.dead_letters().unwrap(), []);
    // The ring that is there, and its letters, are left alone.
    assert!(matches!(options.create(&path), Err(Error::AlreadyExists { path: taken }) if taken == path));
    assert_eq!(ring.dead_letters().unwrap(), []);
}

#[test]
fn dead_letters_are_looked_at_redriven_and_purged_by_one_at_a_time() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = RingOptions::new(48, 16).group("work", patient()).create(&path).unwrap();
    let mut producer = Producer::open(&path).unwrap();
    let worker = join(&ring, "work");
    for n in 0..6_u8 {
        producer.try_send(n.into(), &[n]).unwrap();
        assert_eq!(next(&worker).reject(&format!("note {n}")).unwrap(), Rejected::Settled);
    }
    let mut letters = DeadLetters::open(&path).unwrap();
    assert!(matches!(DeadLetters::open(&path), Err(Error::NameInUse { .. })));
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
    // What was not published stays.
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
fn positions_may_begin_anywhere_and_laps_may_wrap() {
    const CAPACITY: u64 = 4;
    // A lap has 12 bits in a delivery's word: this is more than all of them.
    const COUNT: u64 = CAPACITY * 4200;
    for first in [
        0,
        CAPACITY * 4096 - 6,
        (1 << 32) - COUNT / 2,
        (1 << 40) * CAPACITY - COUNT / 2,
        (1 << 63) - (1 << 40),
    ] {
        let ring = RingOptions::new(8, 4)
            .group("work", patient())
            .group("more", patient())
            .first_position(first)
            .create_in_memory()
            .unwrap();
        let mut producer = Producer::open(&ring).unwrap();
        let (worker, more) = (join(&ring, "work"), join(&ring, "more"));
        for start in (first..first + COUNT).step_by(4) {
            for position in start..start + CAPACITY {
                assert_eq!(producer.try_send(0, &position.to_le_bytes()), Ok(position));
            }
            let Err(SendError::Full { holder, .. }) = producer.try_send(0, b"x") else { panic!("lost") };
            assert_eq!((holder.role, holder.lag), (HolderRole::Group, CAPACITY));
            let held: Vec<Delivery<'_>> = (0..4).map(|_| worker.try_recv().unwrap()).collect();
            assert_eq!(worker.try_recv().unwrap_err(), RecvError::Empty);
            // Settled from the last to the first.
            let positions = (start..start + CAPACITY).rev();
            for (delivery, position) in held.into_iter().rev().zip(positions) {
                assert_eq!((delivery.position(), delivery.attempt()), (position, 1));
                assert_eq!(&*delivery, position.to_le_bytes());
                delivery.ack().unwrap();
            }
            for position in start..start + CAPACITY {
                let delivery = more.try_recv().unwrap();
                assert_eq!((delivery.position(), delivery.attempt()), (position, 1));
                delivery.ack().unwrap();
            }
        }
        for group in ring.groups() {
            assert_eq!((group.ack_floor, group.num_pending, group.num_ack_pending), (first + COUNT, 0, 0));
        }
    }
}

#[test]
fn what_is_given_up_again_during_a_redrive_waits_for_the_next() {
    let ring = RingOptions::new(48, 16).group("g", GroupSettings::new()).create_in_memory().unwrap();
    let mut producer = Producer::open(&ring).unwrap();
    let worker = WorkerOptions::new("g").join(&ring).unwrap();
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
