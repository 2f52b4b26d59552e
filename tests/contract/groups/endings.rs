//! The end of the stream, and the workers that wait for it.

use super::{HOUR, fill, group, in_memory, join, next, patient};
use kit::{LONG, until};
use slipring::{Kinds, RecvError, Rejected, WorkerOptions};
use std::time::Duration;

#[test]
fn the_stream_ends_when_all_is_settled_and_not_before() {
    let (ring, mut producer, worker) = in_memory(8, patient().max_deliver(3));
    let colleague = join(&ring, "work");
    fill(&mut producer, 3);
    producer.close().unwrap();
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
    first.hand_back().unwrap();
    // A worker that wants another kind waits, since a colleague may hand back one of those.
    assert_eq!(colleague.try_recv_kind(Kinds::Equal(9)).unwrap_err(), RecvError::Empty);
    next(&colleague).ack().unwrap();
    // The message that rests comes back to a group that was made anew: no colleague can end its
    // rest.
    goes_on();
    assert_eq!(group(&ring).ack_floor, 1);

    let (_ring, mut producer, worker) = in_memory(8, patient());
    fill(&mut producer, 2);
    producer.close().unwrap();
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
fn a_waiting_worker_wakes_for_a_message_that_was_handed_back_and_for_the_end() {
    let (ring, mut producer, worker) = in_memory(8, patient());
    fill(&mut producer, 1);
    let held = worker.try_recv().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let colleague = WorkerOptions::new("work").join::<[u8]>(&ring).unwrap();
            let delivery = colleague.recv().unwrap();
            assert_eq!((delivery[0], delivery.attempt()), (0, 1));
            delivery.ack().unwrap();
            colleague.recv().map(|delivery| delivery.position()).unwrap_err()
        });
        until("the colleague is there", || group(&ring).workers.len() == 2);
        held.hand_back().unwrap();
        until("it was done", || group(&ring).ack_floor == 1);
        producer.close().unwrap();
        assert_eq!(waiting.join().unwrap(), RecvError::Closed);
    });
}
