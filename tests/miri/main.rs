//! The fear: undefined behaviour that no assertion can see.
//!
//! Small tests on heap rings, made for Miri, which explores schedules and weak memory and checks
//! every access against Rust's model. They run natively too. No observer and no evictable consumer
//! races with a producer here: their copies, like those of every sequence lock, are outside of
//! Rust's model.
//!
//! ```text
//! MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-tree-borrows -Zmiri-many-seeds=0..8" \
//!   cargo +nightly miri test -p slipring-tests --test miri
//! ```

use slipring::{
    Consumer, ConsumerOptions, Observer, Producer, ProducerOptions, RecvError, Ring, RingOptions, Selector,
    SendError, Start, Wait, message,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Miri runs a thousand times slower, over many seeds.
const COUNT: u64 = if cfg!(miri) { 12 } else { 5000 };

message! {
    struct Pair {
        left: u64,
        right: u64,
    }
}

fn ring(capacity: usize) -> Ring {
    RingOptions::new(16, capacity).consumers(3).create_in_memory().unwrap()
}

fn bytes(n: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    bytes[8..].copy_from_slice(&(!n).to_le_bytes());
    bytes
}

fn send_all(mut producer: Producer) {
    for n in 0..COUNT {
        match n % 3 {
            0 => assert_eq!(producer.send(&bytes(n)).unwrap(), n),
            1 => {
                let mut claim = producer.claim().unwrap();
                claim.copy_from_slice(&bytes(n));
                claim.publish(16).unwrap();
            }
            _ => {
                producer.claim().unwrap().fill(0xEE);
                assert_eq!(producer.send((1, &bytes(n))).unwrap(), n);
            }
        }
    }
    producer.close().unwrap();
}

fn read_all(mut consumer: Consumer) {
    let mut next = 0;
    loop {
        match consumer.recv() {
            Ok(message) => assert_eq!(&*message, bytes(next)),
            Err(RecvError::Closed) => break,
            Err(error) => panic!("{error:?}"),
        }
        next += 1;
    }
    assert_eq!(next, COUNT);
}

#[test]
fn messages_pass_between_threads_whole() {
    // Not `Wait::Spin`: three threads that only spin take a scheduler's turn for each message.
    for wait in [Wait::Backoff, Wait::Park] {
        let ring = ring(2);
        let options = ConsumerOptions::new().start(Start::Earliest).wait(wait);
        let (one, two) = (options.attach::<[u8]>(&ring).unwrap(), options.attach::<[u8]>(&ring).unwrap());
        let producer = ProducerOptions::new().wait(wait).open::<[u8]>(&ring).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| send_all(producer));
            scope.spawn(|| read_all(one));
            read_all(two);
        });
    }
}

#[test]
fn batches_pass_between_threads_whole() {
    let ring = ring(4);
    let mut consumer =
        ConsumerOptions::new().start(Start::Earliest).wait(Wait::Backoff).attach::<[u8]>(&ring).unwrap();
    let mut producer = ProducerOptions::new().wait(Wait::Backoff).open::<[u8]>(&ring).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut n = 0;
            while n < COUNT {
                let mut batch = producer.claim_batch(3).unwrap();
                while batch.remaining() > 0 && n < COUNT {
                    batch
                        .push_with(|block| {
                            block.copy_from_slice(&bytes(n));
                            16
                        })
                        .unwrap();
                    n += 1;
                }
                batch.publish().unwrap();
            }
        });
        let mut next = 0;
        while next < COUNT {
            let batch = consumer.recv_batch(3).unwrap();
            // Two references at once, of which one is looked at again after the other.
            let items: Vec<_> = batch.iter().collect();
            for item in items.iter().rev().chain(&items) {
                assert_eq!(**item, bytes(item.position()));
            }
            next += items.len() as u64;
        }
    });
}

#[test]
fn readers_join_and_leave_while_the_producer_runs() {
    let ring = ring(2);
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    std::thread::scope(|scope| {
        let joiner = scope.spawn(move || {
            for turn in 0..COUNT / 3 {
                let start = if turn % 2 == 0 { Start::Earliest } else { Start::Latest };
                let mut consumer = Consumer::<[u8]>::attach(&ring, start).unwrap();
                let mut next = consumer.position();
                for _ in 0..2 {
                    if let Ok(message) = consumer.try_recv() {
                        assert_eq!((message.position(), &*message), (next, &bytes(next)[..]));
                        next += 1;
                    }
                }
            }
        });
        let mut n = 0;
        while !joiner.is_finished() {
            if producer.try_send(&bytes(n)).is_ok() {
                n += 1;
            }
            std::thread::yield_now();
        }
    });
}

#[test]
fn copies_are_sound_in_one_thread() {
    let ring = ring(2);
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    let mut evictable =
        ConsumerOptions::new().start(Start::Earliest).attach_evictable::<[u8]>(&ring).unwrap();
    let mut observer = Observer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    for n in 0..2 {
        producer.try_send(&bytes(n)).unwrap();
        assert_eq!(*evictable.try_recv().unwrap(), bytes(n));
        assert_eq!(*observer.try_recv().unwrap(), bytes(n));
    }
    for n in 2..7 {
        producer.try_send(&bytes(n)).unwrap();
    }
    let Err(RecvError::Lagged { missed }) = evictable.try_recv() else { panic!("not evicted") };
    assert_eq!(evictable.position(), 2 + missed);
    assert_eq!(observer.try_recv().unwrap_err(), RecvError::Lagged { missed: 3 });
    let message = observer.try_recv().unwrap();
    assert_eq!((message.position(), &*message), (5, &bytes(5)[..]));
}

fn typed(capacity: usize) -> (Producer<Pair>, Consumer<Pair>) {
    let ring = RingOptions::of::<Pair>(capacity).create_in_memory().unwrap();
    let producer = Producer::open(&ring).unwrap();
    (producer, Consumer::attach(&ring, Start::Earliest).unwrap())
}

#[test]
fn typed_values_are_read_in_place() {
    let (mut producer, mut consumer) = typed(2);
    for n in 0..5 {
        let mut claim = producer.claim().unwrap();
        claim.left = n;
        claim.right = !claim.left;
        assert_eq!(claim.left, n);
        claim.publish().unwrap();
        let pair = consumer.try_recv().unwrap();
        let (left, right) = (&pair.left, &pair.right);
        assert_eq!((*left, *right), (n, !n));
    }
}

#[test]
fn typed_slices_are_filled_and_read_in_place() {
    let (mut producer, mut consumer) = typed(4);
    for n in 0..5 {
        let mut batch = producer.try_claim_batch(3).unwrap();
        let added = batch.push_in_place(3, |pairs| {
            for pair in pairs {
                (pair.left, pair.right) = (n, !n);
            }
        });
        assert_eq!((added, batch.publish().unwrap().count()), (3, 3));
        let batch = consumer.try_recv_batch(3).unwrap();
        let slices: Vec<&[Pair]> = batch.slices().collect();
        assert_eq!(slices.iter().map(|pairs| pairs.len()).sum::<usize>(), 3);
        for pair in slices.into_iter().flatten() {
            let (left, right) = (&pair.left, &pair.right);
            assert_eq!((*left, *right), (n, !n));
        }
    }
}

#[test]
fn a_panic_leaves_the_ring_whole() {
    let ring = ring(2);
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    let mut consumer = Consumer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    producer.try_send(&bytes(0)).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _held = consumer.try_recv().unwrap();
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(panicked.is_err());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut claim = producer.try_claim().unwrap();
        claim.fill(1);
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(panicked.is_err());
    producer.try_send(&bytes(1)).unwrap();
    assert!(matches!(producer.try_send(&bytes(2)), Err(SendError::Full { .. })));
    assert_eq!(&*consumer.try_recv().unwrap(), bytes(0));
    assert_eq!(&*consumer.try_recv().unwrap(), bytes(1));
}

#[test]
fn handles_outlive_the_ring_they_came_from() {
    let ring = ring(2);
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    let mut consumer = Consumer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    drop(ring);
    producer.send(&bytes(0)).unwrap();
    drop(producer);
    let message = consumer.recv().unwrap();
    std::mem::forget(message);
    assert_eq!(&*consumer.recv().unwrap(), bytes(0));
}

#[test]
fn a_selector_reads_in_place() {
    let rings = [ring(2), ring(2)];
    let mut selector = Selector::new(Wait::Backoff);
    for ring in &rings {
        selector.add(Consumer::<[u8]>::attach(ring, Start::Earliest).unwrap());
    }
    std::thread::scope(|scope| {
        for ring in &rings {
            let producer = ProducerOptions::new().wait(Wait::Backoff).open::<[u8]>(ring).unwrap();
            scope.spawn(move || send_all(producer));
        }
        let mut next = [0; 2];
        while let Ok((which, message)) = selector.recv() {
            assert_eq!(&*message, bytes(next[which]));
            next[which] += 1;
        }
        assert_eq!(next, [COUNT; 2]);
    });
}
