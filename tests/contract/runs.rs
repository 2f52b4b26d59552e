//! The fear: a reader that learns from the head how many messages there are takes one for another,
//! skips one, or gets one twice.
//!
//! Messages of every making, one after another and more of them than a reader looks for one by one,
//! are received by all calls in turn.

use slipring::{Consumer, Producer, RecvError, RingOptions, Start};

const BLOCK: usize = 16;
const CAPACITY: usize = 256;
/// Rings full.
const LAPS: u64 = 40;

/// Its number in whole words, of a length that differs from message to message, whole blocks among
/// them.
fn message(position: u64) -> Vec<u8> {
    let len = if position % 5 < 3 { BLOCK } else { 1 + usize::try_from(position).unwrap() % BLOCK };
    position.to_le_bytes().into_iter().cycle().take(len).collect()
}

fn kind(position: u64) -> u32 {
    u32::from(position % 11 == 0)
}

/// Fills the ring, or a part of it: longer and longer runs of single messages, and batches between
/// them.
fn fill(producer: &mut Producer, round: &mut usize, turns: usize) {
    for _ in 0..turns {
        *round += 1;
        for _ in 0..*round % 50 {
            let position = producer.head();
            if producer.try_send((kind(position), &message(position))).is_err() {
                return;
            }
        }
        let first = producer.head();
        let Ok(mut batch) = producer.try_claim_batch(1 + *round % 7) else { return };
        while batch.remaining() > 0 {
            let position = first + batch.len() as u64;
            batch.push((kind(position), &message(position))).unwrap();
        }
        batch.publish().unwrap();
    }
}

fn check(bytes: &[u8], of_kind: u32, at: u64, position: u64) {
    assert_eq!(at, position, "the position");
    assert_eq!(of_kind, kind(position), "the kind of message {position}");
    assert_eq!(bytes, message(position), "the bytes of message {position}");
}

#[test]
fn a_long_run_is_received_in_order_whatever_it_is_made_of() {
    let ring = RingOptions::new(BLOCK, CAPACITY).create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    let mut consumer = Consumer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    let (mut round, mut next) = (0, 0);
    while next < LAPS * CAPACITY as u64 {
        let turns = if round % 2 == 0 { usize::MAX } else { 1 };
        fill(&mut producer, &mut round, turns);
        while next < producer.head() {
            if next % 97 == 0 {
                let batch = consumer.recv_batch(9).unwrap();
                for item in &batch {
                    check(&item, item.kind(), item.position(), next);
                    next += 1;
                }
                continue;
            }
            let received = if next % 31 == 0 { consumer.try_recv() } else { consumer.recv() }.unwrap();
            check(&received, received.kind(), received.position(), next);
            if next % 13 == 0 {
                received.keep();
                let again = consumer.recv().unwrap();
                check(&again, again.kind(), again.position(), next);
            }
            next += 1;
        }
        assert!(matches!(consumer.try_recv(), Err(RecvError::Empty)), "nothing is left");
    }
    producer.close().unwrap();
    assert!(matches!(consumer.recv().map(drop), Err(RecvError::Closed)));
}
