//! The fates of a delivery: acknowledged, failed, handed back, rejected, chosen by kind, one
//! or several at once.

use super::{HOUR, fill, group, hasty, in_memory, join, next, patient, take_over};
use kit::{LONG, panic_quietly};
use slipring::{
    Backoff, Delivery, HolderRole, Kinds, Producer, RecvError, RingOptions, SendError, Worker, WorkerOptions,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

#[test]
fn what_is_acknowledged_never_comes_back_and_what_is_not_always_does() {
    let (ring, mut producer, worker) = in_memory(8, patient().max_deliver(20));
    producer.send((7, b"work")).unwrap();
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
        third.hand_back().unwrap();
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
    assert_eq!((info.ack_floor, info.failed, info.handed_back, info.lost, info.expired), (1, 4, 5, 0, 0));
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

/// A worker writes a little more into the word: it reads the clock in steps.
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
fn several_at_once_are_several_leases() {
    let (ring, mut producer, worker) = in_memory(16, hasty());
    let colleague = join(&ring, "work");
    assert!(matches!(worker.try_recv_batch(4), Err(RecvError::Empty)));
    assert!(matches!(worker.recv_batch_timeout(4, Duration::from_millis(5)), Err(RecvError::TimedOut(_))));
    fill(&mut producer, 4);
    let batch = worker.recv_batch(4).unwrap();
    assert_eq!(batch.iter().map(|delivery| delivery[0]).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let taken = take_over(&colleague);
    let (mut batch, held): (Vec<_>, Vec<_>) =
        batch.partition(|delivery| delivery.position() == taken.position());
    batch.extend(held);
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
        producer.send((kind, b"x")).unwrap();
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
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    // The worker never sweeps by itself: a hint pointed at each message that it finds.
    let worker = WorkerOptions::new("work").tick(HOUR).join::<[u8]>(&ring).unwrap();
    fill(&mut producer, 6);
    let first: Vec<_> = (0..4).map(|_| next(&worker)).collect();
    first.into_iter().for_each(|delivery| delivery.hand_back().unwrap());
    let again: Vec<_> = (0..6).map(|_| next(&worker)).collect();
    assert_eq!(again.iter().map(Delivery::position).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
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
        let mut producer = Producer::<[u8]>::open(&ring).unwrap();
        let (worker, more) = (join(&ring, "work"), join(&ring, "more"));
        for start in (first..first + COUNT).step_by(4) {
            for position in start..start + CAPACITY {
                assert_eq!(producer.try_send(&position.to_le_bytes()), Ok(position));
            }
            let Err(SendError::Full { holder, .. }) = producer.try_send(b"x") else { panic!("lost") };
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
