//! Leases: what happens when one is over, and which message keeps its bytes meanwhile.

use super::{HOUR, fill, group, hasty, holder, in_memory, join, next, patient, take_over};
use kit::{TempDir, until};
use slipring::{Delivery, HolderRole, Producer, RecvError, RingOptions, WorkerOptions};
use std::time::Duration;

#[test]
fn a_worker_that_comes_too_late_changes_nothing() {
    let (ring, mut producer, early) = in_memory(8, hasty());
    let late = join(&ring, "work");
    let ways: [fn(Delivery<'_>) -> Option<String>; 6] = [
        |lost| lost.ack().err().map(|error| error.to_string()),
        |lost| lost.nack(None).err().map(|error| error.to_string()),
        |lost| lost.nack(HOUR).err().map(|error| error.to_string()),
        |lost| lost.hand_back().err().map(|error| error.to_string()),
        |lost| lost.reject("too late").err().map(|error| error.to_string()),
        |mut lost| {
            let error = lost.extend().err().map(|error| error.to_string());
            assert_eq!(lost.len(), 1, "the bytes can still be read");
            error
        },
    ];
    for (n, settle) in (0_u64..).zip(ways) {
        producer.try_send(&n.to_le_bytes()[..1]).unwrap();
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
    assert_eq!(
        (info.lost, info.failed, info.handed_back, info.rejected, info.dead_lettered),
        (7, 0, 0, 0, 0)
    );
    assert_eq!((info.ack_floor, info.num_ack_pending), (6, 0));
    let losses: Vec<u64> = info.workers.iter().map(|worker| worker.lost).collect();
    assert_eq!(losses, [6, 0], "of deliveries");
}

#[test]
fn a_lease_that_is_over_is_not_lost_before_another_worker_takes_it() {
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
    // The other delivery keeps the bytes: its twin's end must not let the producer at them.
    for _ in 0..3 {
        producer.try_send(b"more").unwrap();
    }
    assert_eq!(holder(&mut producer).2, 4);
    assert_eq!(&*fresh, [0]);
    fresh.ack().unwrap();
    assert_eq!(producer.try_send(b"x"), Ok(4));
    assert_eq!(group(&ring).expired, 1);
}

#[test]
fn a_message_whose_lease_was_lost_keeps_its_bytes_while_the_producer_goes_on() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = RingOptions::new(48, 4).group("work", hasty()).create(&path).unwrap();
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    let slow = WorkerOptions::new("work").name("slow").join::<[u8]>(&path).unwrap();
    let quick = join(&ring, "work");
    producer.try_send(b"held").unwrap();
    let held = next(&slow);
    take_over(&quick).ack().unwrap();
    let mut sent = 1;
    for _ in 0..10 {
        while producer.try_send(b"more").is_ok() {
            sent += 1;
        }
        while let Ok(delivery) = quick.try_recv() {
            delivery.ack().unwrap();
        }
    }
    assert_eq!((sent, group(&ring).ack_floor), (4, 4));
    assert_eq!(holder(&mut producer), (HolderRole::Worker, "slow".to_owned(), 4, true));
    let told = producer.try_send(b"x").unwrap_err().to_string();
    assert!(told.contains("worker \"slow\" (process ") && told.contains("reads in place"), "{told}");
    assert_eq!(&*held, b"held");
    assert_eq!(group(&ring).workers[0].reading, Some(0));
    assert!(held.ack().is_err());
    assert_eq!(group(&ring).workers[0].reading, None);
    for n in 4..12 {
        assert_eq!(producer.try_send(b"x"), Ok(n));
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
    assert_eq!(producer.try_send(b"x"), Ok(4));
    assert_eq!(group(&ring).worker_died, 1);
}
