//! Limits of a group: how much is in flight, how often a message is delivered, what is refused and
//! why.

use super::{HOUR, fill, group, holder, in_memory, join, next, patient, recorded, take_over, text};
use kit::until;
use slipring::{
    AtPath, Backoff, DeadLetters, Delivery, EventKind, GroupSettings, HolderRole, JoinError, Kinds, Reason,
    RecvError, Rejected, RingOptions, Worker, WorkerOptions,
};
use std::time::Duration;

#[test]
fn one_stuck_message_delays_nothing_but_the_reuse_of_its_slot() {
    let (ring, mut producer, worker) = in_memory(16, patient());
    let colleague = join(&ring, "work");
    fill(&mut producer, 1);
    let stuck = worker.try_recv().unwrap();
    for n in 1..16_u8 {
        producer.try_send(&[n]).unwrap();
        let delivery = colleague.try_recv().unwrap();
        assert_eq!((delivery.position(), &*delivery), (n.into(), &[n][..]));
        delivery.ack().unwrap();
    }
    assert_eq!(holder(&mut producer), (HolderRole::Group, "work".to_owned(), 16, true));
    let told = producer.try_send(b"x").unwrap_err().to_string();
    assert!(told.contains("group \"work\" is 16 messages behind"), "{told}");
    assert_eq!(recorded(&ring, EventKind::Full), 1);
    assert_eq!(group(&ring).ack_floor, 0);
    stuck.ack().unwrap();
    assert_eq!(group(&ring).ack_floor, 16);
    // The whole ring is free again, at once.
    fill(&mut producer, 16);
    assert_eq!(holder(&mut producer).2, 16);
}

/// A slot was reused and its new message settled before a worker had moved the floor over the old
/// one.
#[test]
fn a_floor_left_behind_by_the_ring_finds_its_way() {
    for laps in 1..4_u64 {
        let (ring, mut producer, worker) = in_memory(16, patient());
        for lap in 0..laps {
            while producer.try_send((1, b"old")).is_ok() {}
            worker.try_recv().unwrap().ack().unwrap();
            producer.try_send((2, b"new")).unwrap();
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
        producer.close().unwrap();
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
        assert_eq!(nobody.limit_reached(), Some(3));
    }
    assert_eq!(group(&ring).num_ack_pending, 3);
    assert!(group(&ring).is_at_limit());
    third.ack().unwrap();
    let fourth = worker.try_recv().unwrap();
    assert_eq!(fourth[0], 3);
    assert_eq!(colleague.try_recv().unwrap_err(), RecvError::Empty);
    // A message that was handed back is in flight already, and a colleague may lease it.
    second.hand_back().unwrap();
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
fn a_message_that_waits_for_the_dead_letter_ring_takes_no_place_among_those_in_flight() {
    let options =
        RingOptions::new(48, 64).group("work", patient().max_ack_pending(4)).dead_letter_capacity(1);
    let ring = options.create_in_memory().unwrap();
    let mut producer = slipring::Producer::<[u8]>::open(&ring).unwrap();
    let worker = join(&ring, "work");
    fill(&mut producer, 10);
    for n in 0..5 {
        let became = next(&worker).reject("unreadable").unwrap();
        assert_eq!(became, if n == 0 { Rejected::Settled } else { Rejected::Waiting });
    }
    assert_eq!((group(&ring).num_dead_pending, group(&ring).num_ack_pending), (4, 0));
    let held: Vec<Delivery<'_>> = (0..4).map(|_| worker.try_recv().unwrap()).collect();
    assert_eq!(held.iter().map(|delivery| delivery[0]).collect::<Vec<_>>(), [5, 6, 7, 8]);
    assert_eq!(worker.try_recv().unwrap_err(), RecvError::Empty);
    assert_eq!((worker.limit_reached(), group(&ring).is_at_limit()), (Some(4), true));
    for delivery in held {
        delivery.ack().unwrap();
    }
    next(&worker).ack().unwrap();
    // Four are dead-pending, and no message is left that the limit could hold back.
    assert_eq!(worker.try_recv().unwrap_err(), RecvError::Empty);
    assert_eq!((worker.limit_reached(), group(&ring).is_at_limit()), (None, false));
}

#[test]
fn a_message_that_keeps_failing_is_given_up_with_all_that_is_known_of_it() {
    let (ring, mut producer, worker) = in_memory(16, patient().max_deliver(2));
    // Its last attempt failed.
    producer.send((1, b"fails")).unwrap();
    for attempt in 1..=2 {
        let delivery = next(&worker);
        assert_eq!(delivery.attempt(), attempt);
        delivery.nack(None).unwrap();
    }
    assert!(matches!(worker.recv_timeout(Duration::from_millis(20)), Err(RecvError::TimedOut(_))));
    // A worker rejects a message.
    producer.send((2, b"bad")).unwrap();
    assert_eq!(next(&worker).reject("not äccepted").unwrap(), Rejected::Settled);
    // The worker that had its last attempt is gone.
    producer.send((3, b"lonely")).unwrap();
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
    assert!(letters.iter().all(|it| it.dead_lettered_unix_ms > 1_600_000_000_000));
    assert!(letters.iter().map(|it| it.position).eq(0..3));
    assert!(letters.iter().all(|it| it.seen_unix_ms.is_none_or(|seen| seen <= it.dead_lettered_unix_ms)));
    let info = group(&ring);
    assert_eq!((info.ack_floor, info.num_dead_pending, info.rejected, info.worker_died), (3, 0, 1, 1));
    assert_eq!(info.expired, 0, "no lease ran out");
    assert_eq!(recorded(&ring, EventKind::DeadLettered), 3);
}

#[test]
fn a_message_that_no_worker_finishes_in_time_is_given_up() {
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
fn every_refusal_says_what_is_and_what_to_do() {
    let none = RingOptions::new(48, 8).create_in_memory().unwrap();
    let said = "has no groups; create it anew with room for some (`groups`)";
    assert_eq!(text(Worker::<[u8]>::join(&none, "work")), said);
    assert_eq!(text(DeadLetters::open(&none)), said);
    assert_eq!(none.groups(), []);
    assert_eq!(none.dead_letters().unwrap(), []);
    assert_eq!(
        text(none.remove_group("work")),
        "no group is named \"work\"; check the name (`slipring group ls PATH` lists all)"
    );

    let ring = RingOptions::new(48, 8).groups(2).workers(2).create_in_memory().unwrap();
    let one = Worker::<[u8]>::join(&ring, "one").unwrap();
    let asked = GroupSettings::new().max_deliver(3).backoff(Backoff::steps(&[Duration::from_millis(7)]));
    let refused = WorkerOptions::new("one").settings(asked).join::<[u8]>(&ring);
    let Err(AtPath { error: JoinError::OtherSettings { found, asked: wanted, .. }, .. }) = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!((**found, **wanted), (GroupSettings::new(), asked));
    assert_eq!(
        text(refused),
        "group \"one\" has ack_wait 30000 ms, max_deliver 5, max_ack_pending 1000, backoff none; the worker asked for \
         ack_wait 30000 ms, max_deliver 3, max_ack_pending 1000, backoff [7] ms; join without settings, with \
         the same, or remove the group first (`slipring group rm PATH one`)"
    );
    let same = WorkerOptions::new("one").settings(GroupSettings::new()).join::<[u8]>(&ring).unwrap();
    assert_eq!((same.settings(), same.group(), same.ring_id()), (GroupSettings::new(), "one", ring.id()));
    let full = "all 2 worker entries are taken; stop one, or create the ring with more `workers`";
    assert_eq!(text(Worker::<[u8]>::join(&ring, "one")), full);
    assert_eq!(text(Worker::<[u8]>::join(&ring, "two")), full);
    drop(same);
    let two = Worker::<[u8]>::join(&ring, "two").unwrap();
    let me = std::process::id();
    assert_eq!(
        text(ring.remove_group("two")),
        format!("group \"two\" has a living worker, process {me}; stop its workers first")
    );
    drop(one);
    assert_eq!(
        text(Worker::<[u8]>::join(&ring, "three")),
        "all 2 groups are taken (\"one\", \"two\"); join one of them, remove one (`slipring group rm PATH \
         NAME`), or create the ring with more `groups`"
    );
    assert_eq!(
        text(ring.remove_group("three")),
        "no group is named \"three\"; check the name (`slipring group ls PATH` lists all)"
    );
    ring.remove_group("one").unwrap();
    drop((Worker::<[u8]>::join(&ring, "three").unwrap(), two));
    let names: Vec<String> = ring.groups().into_iter().map(|group| group.name).collect();
    assert_eq!(names, ["three", "two"]);

    assert!(matches!(Worker::<[u8]>::join(&ring, ""), Err(AtPath { error: JoinError::Name(_), .. })));
    let zero = GroupSettings::new().max_ack_pending(0);
    let said = "group \"four\": max_ack_pending is 0, and must be from 1 to 18446744073709551615";
    assert_eq!(text(WorkerOptions::new("four").settings(zero).join::<[u8]>(&ring)), said);
    assert_eq!(text(RingOptions::new(48, 8).group("four", zero).create_in_memory()), said);
}
