//! The fear: a message that was read ahead is overwritten before its sink has it, released although
//! the sink does not have it, or lost when the reader ends in between.

use slipring::{
    AheadBatch, At, Consumer, ConsumerOptions, Producer, RecvError, Ring, RingOptions, SendError, Start,
    StartError,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

fn ring(capacity: usize) -> (Ring, Producer<u64>, Consumer<u64>) {
    let ring = RingOptions::of::<u64>(capacity).create_in_memory().unwrap();
    let consumer = Consumer::attach(&ring, Start::Earliest).unwrap();
    let producer = Producer::open(&ring).unwrap();
    (ring, producer, consumer)
}

#[test]
fn what_was_read_ahead_stays_until_it_is_released() {
    let (ring, mut producer, mut consumer) = ring(4);
    for n in 0..4 {
        producer.send(&n).unwrap();
    }
    let mut ahead = consumer.read_ahead();
    let messages: Vec<_> = (0..4).map(|_| ahead.recv().unwrap()).collect();
    assert!(matches!(producer.try_send(&4), Err(SendError::Full { .. })));
    assert_eq!(ring.consumers()[0].lag, 4);
    for wait in [None, Some(Duration::ZERO)] {
        let error = match wait {
            None => ahead.recv().map(drop),
            Some(_) => ahead.try_recv_batch(9).map(drop),
        };
        assert_eq!(error.unwrap_err(), RecvError::Unreleased { unreleased: 4 }, "nobody could end the wait");
    }
    assert_eq!(messages.iter().map(|message| **message).collect::<Vec<_>>(), [0, 1, 2, 3]);
    ahead.release_to(1);
    assert_eq!((ahead.released(), ahead.position(), ring.consumers()[0].lag), (1, 4, 3));
    producer.try_send(&4).unwrap();
    assert!(matches!(producer.try_send(&5), Err(SendError::Full { .. })));
    let fifth = ahead.recv().unwrap();
    assert_eq!((*fifth, fifth.position()), (4, 4));
    ahead.release_to(0); // was released already
    ahead.release_to(1);
    assert_eq!(ahead.released(), 1);
    ahead.release_to(ahead.position());
    assert!(matches!(ahead.try_recv(), Err(RecvError::Empty)));
    assert!(matches!(ahead.recv_timeout(Duration::from_millis(1)), Err(RecvError::TimedOut(_))));
    drop(ahead);
    assert_eq!(consumer.position(), 5);
}

#[test]
fn what_was_not_released_is_received_again_however_the_reader_ended() {
    type End = fn(&mut Consumer<u64>);
    let ends: [(&str, End); 4] = [
        ("dropped", |consumer| {
            let mut ahead = consumer.read_ahead();
            assert_eq!(ahead.recv_batch(9).unwrap().len(), 3);
            ahead.release_to(1);
        }),
        ("forgotten", |consumer| {
            let mut ahead = consumer.read_ahead();
            assert_eq!(ahead.recv_batch(9).unwrap().len(), 3);
            ahead.release_to(1);
            // The view has no destructor that could be left out: nothing depends on one.
            let _ = std::mem::ManuallyDrop::new(ahead);
        }),
        ("panicked", |consumer| {
            let failed = catch_unwind(AssertUnwindSafe(|| {
                let mut ahead = consumer.read_ahead();
                assert_eq!(ahead.recv_batch(9).unwrap().len(), 3);
                ahead.release_to(1);
                panic!("the sink failed");
            }));
            assert!(failed.is_err());
        }),
        ("released too far", |consumer| {
            let mut ahead = consumer.read_ahead();
            ahead.recv().unwrap();
            ahead.release_to(1);
            let failed = catch_unwind(AssertUnwindSafe(|| ahead.release_to(2)));
            let told = *failed.unwrap_err().downcast::<String>().unwrap();
            assert_eq!(told, "release up to 2, but messages were read up to 1 only");
        }),
    ];
    for (how, end) in ends {
        let (_ring, mut producer, mut consumer) = ring(4);
        producer.send_batch(&[0, 1, 2]).unwrap();
        end(&mut consumer);
        assert_eq!(consumer.position(), 1, "{how}");
        let again: Vec<u64> = consumer.recv_batch(9).unwrap().iter().map(|value| *value).collect();
        assert_eq!(again, [1, 2], "{how}");
    }
}

#[test]
fn the_successor_of_a_durable_reader_gets_what_was_not_released() {
    let ring = RingOptions::of::<u64>(8).durable("disk").create_in_memory().unwrap();
    Producer::<u64>::open(&ring).unwrap().send_batch(&[0, 1, 2]).unwrap();
    let disk = ConsumerOptions::new().name("disk").durable(true);
    let mut first = disk.attach::<u64>(&ring).unwrap();
    let mut ahead = first.read_ahead();
    assert_eq!(ahead.recv_batch(9).unwrap().positions(), 0..3);
    ahead.release_to(2);
    drop(first);
    assert_eq!(*disk.attach::<u64>(&ring).unwrap().recv().unwrap(), 2);
}

#[test]
fn the_end_of_the_stream_is_told_while_the_last_release_is_owed() {
    let (ring, mut producer, mut consumer) = ring(4);
    producer.send_batch(&[0, 1]).unwrap();
    producer.close().unwrap();
    let mut ahead = consumer.read_ahead();
    assert_eq!(ahead.recv_batch(9).unwrap().len(), 2);
    assert_eq!(ahead.recv().unwrap_err(), RecvError::Closed);
    assert_eq!(ahead.try_recv().unwrap_err(), RecvError::Closed);
    assert_eq!(ring.consumers()[0].lag, 2);
    ahead.release_to(2);
    assert_eq!(ring.consumers()[0].lag, 0);
}

#[test]
fn the_cursor_goes_back_and_forth_over_what_is_there() {
    let (_ring, mut producer, mut consumer) = ring(8);
    producer.send_batch(&[0, 1, 2, 3, 4]).unwrap();
    let mut ahead = consumer.read_ahead();
    ahead.seek(4).unwrap();
    assert_eq!(*ahead.recv().unwrap(), 4);
    ahead.release_to(2);
    ahead.seek(2).unwrap();
    assert_eq!(*ahead.recv().unwrap(), 2, "from the middle of a batch");
    let gone = ahead.seek(1).unwrap_err();
    assert_eq!(gone, RecvError::Start(StartError::BeforeEarliest { requested: 1, earliest: 2 }));
    let unborn = ahead.seek(6).unwrap_err();
    assert_eq!(unborn, RecvError::Start(StartError::Ahead { requested: 6, head: 5 }));
    assert_eq!(ahead.position(), 3, "as it was");
    producer.send(&5).unwrap();
    ahead.seek(6).unwrap();
    assert!(ahead.seek(u64::MAX).is_err());
    assert_eq!(ahead.try_recv().unwrap_err(), RecvError::Empty);
}

#[test]
fn a_message_of_another_type_is_told_and_released_like_any() {
    let (ring, mut producer, mut consumer) = ring(8);
    producer.send(&0).unwrap();
    drop(producer);
    Producer::<[u8]>::open(At::ring(&ring).any_type()).unwrap().send(b"odd").unwrap();
    let mut producer = Producer::<u64>::open(&ring).unwrap();
    producer.send_batch(&[2, 3]).unwrap();
    let mut ahead = consumer.read_ahead();
    assert_eq!(ahead.recv_batch(9).unwrap().positions(), 0..1);
    let odd = RecvError::WrongLength { position: 1, found: 3, expected: 8 };
    assert_eq!(ahead.recv_batch(9).unwrap_err(), odd);
    assert_eq!(ahead.recv_batch(9).unwrap().positions(), 2..4);
    ahead.seek(1).unwrap();
    assert_eq!(ahead.try_recv().unwrap_err(), odd);
    ahead.release_to(2);
    assert_eq!(ahead.released(), 2);
}

/// Lengths and kinds of all sorts, from its position.
fn message(position: u64) -> (u32, Vec<u8>) {
    let len = if position % 5 < 3 { 16 } else { 1 + usize::try_from(position % 16).unwrap() };
    (u32::from(position % 11 == 0), position.to_le_bytes().into_iter().cycle().take(len).collect())
}

fn check(batch: &AheadBatch<'_>) {
    let by_next = batch.iter().map(|item| (item.position(), item.kind(), item.to_vec())).collect::<Vec<_>>();
    let mut by_fold = Vec::new();
    batch.iter().for_each(|item| by_fold.push((item.position(), item.kind(), item.to_vec())));
    let expected = batch.positions().map(|position| {
        let (kind, bytes) = message(position);
        (position, kind, bytes)
    });
    let expected: Vec<_> = expected.collect();
    assert_eq!(by_next, expected);
    assert_eq!(by_fold, expected);
}

/// Sends what there is room for, up to so many, singly or as a batch.
fn fill(producer: &mut Producer, n: u64, batched: bool) {
    if batched {
        let first = producer.head();
        let Ok(mut batch) = producer.try_claim_batch(usize::try_from(n).unwrap()) else { return };
        while batch.remaining() > 0 {
            let (kind, bytes) = message(first + batch.len() as u64);
            batch.push((kind, &bytes)).unwrap();
        }
        batch.publish().unwrap();
        return;
    }
    for _ in 0..n {
        let (kind, bytes) = message(producer.head());
        if producer.try_send((kind, &bytes)).is_err() {
            return;
        }
    }
}

#[test]
fn every_message_is_there_until_its_release_in_whatever_order_things_happen() {
    for capacity in [1, 2, 16, 64] {
        let ring = RingOptions::new(16, capacity).create_in_memory().unwrap();
        let mut producer = Producer::<[u8]>::open(&ring).unwrap();
        let mut consumer = Consumer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
        let mut random = 7_u64;
        let mut roll = |n: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % n
        };
        let mut released = 0;
        while released < 20_000 {
            let mut ahead = consumer.read_ahead();
            assert_eq!((ahead.position(), ahead.released()), (released, released));
            for _ in 0..roll(20) {
                fill(&mut producer, roll(capacity as u64 + 1), roll(2) == 0);
                let (first, second) = (
                    ahead.try_recv_batch(1 + usize::try_from(roll(9)).unwrap()),
                    ahead.try_recv_batch(1 + usize::try_from(roll(9)).unwrap()),
                );
                // Nothing of what is held is overwritten.
                fill(&mut producer, roll(capacity as u64 + 1), roll(2) == 0);
                first.iter().chain(&second).for_each(check);
                let position = ahead.position();
                if roll(4) == 0 {
                    ahead.seek(released + roll(position - released + 1)).unwrap();
                    let position = ahead.position();
                    if let Ok(item) = ahead.try_recv() {
                        assert_eq!((item.kind(), item.to_vec()), message(position));
                    }
                }
                released += roll(ahead.position() - released + 1);
                ahead.release_to(released);
            }
            drop(ahead);
            // And in between as any consumer.
            if let Ok(received) = consumer.try_recv() {
                assert_eq!((received.kind(), received.to_vec()), message(released));
                released += 1;
            }
        }
    }
}

#[test]
fn values_come_in_slices_over_the_end_of_the_ring() {
    let (_ring, mut producer, mut consumer) = ring(8);
    producer.send_batch(&[0, 1, 2, 3, 4, 5]).unwrap();
    let mut ahead = consumer.read_ahead();
    let read = ahead.recv_batch(9).unwrap();
    assert_eq!(read.slices().flatten().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    ahead.release_to(6);
    producer.send_batch(&[6, 7, 8, 9]).unwrap();
    let read = ahead.recv_batch(9).unwrap();
    let lengths: Vec<usize> = read.slices().map(<[u64]>::len).collect();
    assert_eq!(read.slices().flatten().copied().collect::<Vec<_>>(), [6, 7, 8, 9]);
    assert_eq!(lengths.iter().sum::<usize>(), read.iter().len());
}

#[test]
fn a_sink_beside_a_producer_in_full_flow_loses_nothing() {
    const MESSAGES: u64 = 100_000;
    let (_ring, mut producer, mut consumer) = ring(64);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..MESSAGES {
                producer.send(&n).unwrap();
            }
            producer.close().unwrap();
        });
        let mut ahead = consumer.read_ahead();
        let (mut written, mut turn) = (Vec::new(), 0);
        loop {
            turn += 1;
            let read = ahead.recv_batch(1 + turn % 40);
            match read {
                Ok(batch) => written.extend(batch.iter().map(|value| *value)),
                Err(RecvError::Closed) => break,
                Err(RecvError::Unreleased { unreleased: 64 }) => {}
                Err(error) => panic!("{error}"),
            }
            // The answer for a part of it has come.
            let done = ahead.released() + (ahead.position() - ahead.released()) / 2;
            ahead.release_to(done.max(ahead.position().saturating_sub(63)));
        }
        assert!(written.iter().copied().eq(0..MESSAGES));
    });
}
