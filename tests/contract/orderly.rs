//! The fear: a reader joins at the very moment at which the producer grants itself the room that
//! the reader was promised.
//!
//! Readers come and go as fast as they can, at every kind of start, while the producer runs through
//! tiny rings. Each message that a reader was given must be there and stay for as long as the
//! reader looks at it.

use slipring::{
    AtPath, AttachError, Consumer, ConsumerOptions, Observer, Producer, RecvError, Ring, RingOptions, Start,
    StartError,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

const BLOCK: usize = 256;
const VISITS: u64 = 12_000;

/// Fills a block: every word says which position it belongs to.
fn fill(block: &mut [u8], position: u64) {
    for (word, n) in block.chunks_exact_mut(8).zip(0..) {
        word.copy_from_slice(&(position ^ n).to_le_bytes());
    }
}

fn check(message: &[u8], position: u64) {
    assert_eq!(message.len(), BLOCK);
    for (word, n) in message.chunks_exact(8).zip(0..) {
        let found = u64::from_le_bytes(word.try_into().unwrap()) ^ n;
        assert_eq!(found, position, "word {n} belongs to another message");
    }
}

/// For as long as an attach takes, which excludes other visitors anyway. The producer never asks
/// for it.
fn lock(shared: &Mutex<Ring>) -> MutexGuard<'_, Ring> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends until told to stop.
fn run(mut producer: Producer, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let position = producer.head();
        match producer.try_claim_batch(3) {
            Ok(mut batch) => {
                while batch.remaining() > 0 {
                    let at = position + batch.len() as u64;
                    batch
                        .push_with(|block| {
                            fill(block, at);
                            BLOCK
                        })
                        .unwrap();
                }
                batch.publish().unwrap();
            }
            Err(_) => std::thread::yield_now(),
        }
    }
    producer.close().unwrap();
}

/// Three starts in turn; a start at a position asks for one that may just be going.
fn start(visit: u64, head: u64, capacity: u64) -> Start {
    match visit % 3 {
        0 => Start::Earliest,
        1 => Start::Latest,
        _ => Start::At(head.saturating_sub(visit % (capacity + 2))),
    }
}

/// True if the attach failed as a start at a position may.
fn was_late(error: AtPath<AttachError>, asked: Start) {
    match (error.error, asked) {
        (AttachError::Start(StartError::BeforeEarliest { requested, earliest }), Start::At(at)) => {
            assert!(requested == at && requested < earliest);
        }
        (error, _) => panic!("{error:?}"),
    }
}

fn visit_in_place(shared: &Mutex<Ring>, salt: u64) {
    let capacity = lock(shared).capacity();
    let mut read = 0;
    for visit in salt..salt + VISITS {
        let head = lock(shared).head();
        let asked = start(visit, head, capacity);
        let attached = Consumer::<[u8]>::attach(&*lock(shared), asked);
        let mut consumer = match attached {
            Ok(consumer) => consumer,
            Err(error) => {
                was_late(error, asked);
                continue;
            }
        };
        let first = consumer.position();
        if let Start::At(at) = asked {
            assert_eq!(first, at);
        }
        for expected in first..first + visit % 4 {
            let message = consumer.recv().unwrap();
            assert_eq!(message.position(), expected);
            check(&message, expected);
            std::thread::yield_now();
            check(&message, expected);
            read += 1;
        }
    }
    assert!(read > VISITS / 2, "hardly anything was read: {read}");
}

fn visit_by_copy(shared: &Mutex<Ring>, salt: u64) {
    let capacity = lock(shared).capacity();
    for visit in salt..salt + VISITS {
        let head = lock(shared).head();
        let asked = start(visit, head, capacity);
        let options = ConsumerOptions::new().start(asked);
        let attached = options.attach_evictable::<[u8]>(&*lock(shared));
        match attached {
            Ok(mut consumer) => {
                let mut next = consumer.position();
                for _ in 0..visit % 4 {
                    match consumer.try_recv() {
                        Ok(message) => {
                            assert_eq!(message.position(), next);
                            check(&message, next);
                            next += 1;
                        }
                        Err(RecvError::Lagged { missed }) => next += missed,
                        Err(error) => assert_eq!(error, RecvError::Empty),
                    }
                }
            }
            Err(error) => was_late(error, asked),
        }
        if visit % 8 == 0 {
            let mut observer = Observer::<[u8]>::attach(&*lock(shared), Start::Earliest).unwrap();
            let mut next = observer.position();
            for _ in 0..4 {
                match observer.try_recv() {
                    Ok(message) => {
                        assert_eq!(message.position(), next);
                        check(&message, next);
                        next += 1;
                    }
                    Err(RecvError::Lagged { missed }) => next += missed,
                    Err(error) => assert_eq!(error, RecvError::Empty),
                }
            }
        }
    }
}

fn crowd(ring: Ring) {
    let producer = Producer::<[u8]>::open(&ring).unwrap();
    let shared = &Mutex::new(ring);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        let running = scope.spawn(move || run(producer, stop));
        let visitors = [
            scope.spawn(|| visit_in_place(shared, 0)),
            scope.spawn(|| visit_in_place(shared, 1)),
            scope.spawn(|| visit_by_copy(shared, 2)),
        ];
        let failed = visitors.into_iter().filter_map(|visitor| visitor.join().err()).next();
        stop.store(true, Ordering::Relaxed);
        running.join().unwrap();
        if let Some(failure) = failed {
            std::panic::resume_unwind(failure);
        }
    });
    assert_eq!(lock(shared).consumers(), [], "a visitor left a place behind");
}

#[test]
fn a_reader_that_joins_at_full_speed_gets_what_it_was_promised() {
    for (capacity, first) in [(1, 0), (2, (1 << 32) - 3), (8, 0), (64, 1 << 62)] {
        let options = RingOptions::new(BLOCK, capacity).consumers(4).first_position(first);
        crowd(options.create_in_memory().unwrap());
    }
}

#[test]
fn an_evictable_reader_never_goes_back() {
    let ring = RingOptions::new(BLOCK, 1).consumers(2).create_in_memory().unwrap();
    let producer = Producer::<[u8]>::open(&ring).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        let running = scope.spawn(move || run(producer, stop));
        let visitor = scope.spawn(move || {
            for _ in 0..10 * VISITS {
                // The producer may evict the consumer before it has attached.
                let mut consumer = ConsumerOptions::new().attach_evictable::<[u8]>(&ring).unwrap();
                let mut next = consumer.position();
                for _ in 0..4 {
                    match consumer.try_recv() {
                        Ok(message) => {
                            assert_eq!(message.position(), next);
                            check(&message, next);
                            next += 1;
                        }
                        Err(RecvError::Lagged { missed }) => next += missed,
                        Err(error) => assert_eq!(error, RecvError::Empty),
                    }
                    assert_eq!(consumer.position(), next);
                }
            }
        });
        let outcome = visitor.join();
        stop.store(true, Ordering::Relaxed);
        running.join().unwrap();
        outcome.unwrap();
    });
}
