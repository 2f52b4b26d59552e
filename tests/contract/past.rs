//! The fear: the past vanishes for a reader that comes late, although its bytes are still there.

use slipring::{Consumer, Observer, Producer, Ring, RingOptions, Start};

const CAPACITY: usize = 1024;
/// Positions of the oldest lap that a producer may take away from observers ahead of need.
const AHEAD: u64 = 16;

/// How many messages an observer finds that comes now.
fn retained(ring: &Ring) -> u64 {
    let mut observer = Observer::<[u8]>::attach(ring, Start::Earliest).unwrap();
    let mut found = 0;
    while observer.try_recv().is_ok() {
        found += 1;
    }
    found
}

fn ring() -> (Ring, Consumer) {
    let ring = RingOptions::new(48, CAPACITY).create_in_memory().unwrap();
    let consumer = Consumer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    (ring, consumer)
}

/// Reads all that there is, so that the ring is free for the producer.
fn drain(consumer: &mut Consumer) {
    while consumer.try_recv().is_ok() {}
}

#[test]
fn a_batch_takes_no_more_of_the_past_than_it_fills() {
    let (ring, mut consumer) = ring();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    let whole_lap = CAPACITY as u64;
    for round in 1..=3 * whole_lap / 7 {
        drain(&mut consumer);
        let mut batch = producer.claim_batch(CAPACITY).unwrap();
        match round % 3 {
            0 => (0..7).for_each(|_| assert!(batch.push(b"short").unwrap())),
            1 => (0..7).for_each(|_| assert!(batch.push_with(|_| 3).unwrap())),
            _ => assert_eq!(batch.push_blocks(7, |block| block.fill(1)), 7),
        }
        batch.publish().unwrap();
        let found = retained(&ring);
        assert!(found >= ring.head().min(whole_lap - AHEAD), "{found} of {}", ring.head());
    }
}

#[test]
fn a_producer_that_left_takes_no_part_of_the_past_with_it() {
    let (ring, mut consumer) = ring();
    for round in 1..=3 {
        let mut producer = Producer::<[u8]>::open(&ring).unwrap();
        for _ in 0..CAPACITY / 2 + round {
            producer.send(b"half a lap").unwrap();
        }
        drain(&mut consumer);
        // A whole lap of room is granted, and one message of it used.
        assert!(producer.claim_batch(CAPACITY).unwrap().push(b"one").unwrap());
        drop(producer);
        let late = Consumer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
        let retained = ring.head() - late.position();
        assert!(retained >= ring.head().min(CAPACITY as u64 - AHEAD), "{retained} of {}", ring.head());
    }
}

#[test]
fn a_batch_that_is_given_up_takes_no_more_than_it_had_filled() {
    let (ring, mut consumer) = ring();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    for _ in 0..CAPACITY {
        producer.send(b"a lap").unwrap();
    }
    drain(&mut consumer);
    let mut batch = producer.claim_batch(CAPACITY).unwrap();
    batch.push(b"one").unwrap();
    batch.abort();
    let found = retained(&ring);
    assert!((CAPACITY as u64 - AHEAD..CAPACITY as u64).contains(&found), "{found}");
}
