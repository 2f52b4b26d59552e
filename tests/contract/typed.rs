//! The fear: values that are sent and received as slices lie where other readers do not look for
//! them.
//!
//! Slices go around the ring's edge, stand beside values that were sent by themselves, and end
//! before a message that is none.

use slipring::{
    At, Consumer, ConsumerOptions, EvictableConsumer, GroupSettings, Observer, Producer, RecvError,
    RingOptions, Start, Worker,
};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

const CAPACITY: usize = 8;

fn ends<T: slipring::Value>() -> (Producer<T>, Consumer<T>) {
    let ring = RingOptions::of::<T>(CAPACITY).create_in_memory().unwrap();
    let producer = Producer::open(&ring).unwrap();
    (producer, Consumer::attach(&ring, Start::Earliest).unwrap())
}

/// Sends so many values, numbered from `first` on, and says in slices of which lengths they went.
fn send<T: slipring::Value>(
    producer: &mut Producer<T>,
    count: usize,
    first: u64,
    value: impl Fn(u64) -> T,
) -> Vec<usize> {
    let (mut lengths, mut number) = (Vec::new(), first);
    let mut batch = producer.try_claim_batch(count).unwrap();
    let added = batch.push_in_place(usize::MAX, |values| {
        lengths.push(values.len());
        for slot in values {
            *slot = value(number);
            number += 1;
        }
    });
    assert_eq!((added, batch.remaining()), (count, 0));
    batch.publish().unwrap();
    lengths
}

#[test]
fn slices_are_as_long_as_the_ring_allows_on_both_sides() {
    let (mut producer, mut consumer) = ends::<u64>();
    let (mut next, mut at) = (0, 0);
    for count in [3, 8, 7, 1, 5, 8] {
        let edge = CAPACITY - at % CAPACITY;
        let expected = if count > edge { vec![edge, count - edge] } else { vec![count] };
        assert_eq!(send(&mut producer, count, next, |n| n), expected, "{count} from {next}");
        let batch = consumer.try_recv_batch(usize::MAX).unwrap();
        let received: Vec<&[u64]> = batch.slices().collect();
        assert_eq!(received.iter().map(|values| values.len()).collect::<Vec<_>>(), expected);
        assert!(received.concat().into_iter().eq(next..next + count as u64));
        next += count as u64;
        at += count;
    }
}

#[test]
fn values_with_gaps_between_their_blocks_come_one_by_one() {
    let (mut producer, mut consumer) = ends::<[u8; 120]>();
    for lap in 0..3 {
        let lengths = send(&mut producer, CAPACITY, lap, |n| [n.to_le_bytes()[0]; 120]);
        assert_eq!(lengths, [1; CAPACITY]);
        let batch = consumer.try_recv_batch(CAPACITY).unwrap();
        for (values, n) in batch.slices().zip(lap..) {
            assert_eq!(values, [[n.to_le_bytes()[0]; 120]]);
        }
    }
}

#[test]
fn a_batch_has_singles_kinds_and_slices_in_order() {
    let (mut producer, mut consumer) = ends::<u64>();
    for lap in 0..3 {
        let first = lap * 8;
        producer.try_send((3, &first)).unwrap();
        assert_eq!(producer.send_batch(&[first + 1, first + 2]).unwrap(), first + 1..first + 3);
        let mut batch = producer.try_claim_batch(5).unwrap();
        assert!(batch.push(&(first + 3)).unwrap() && batch.push((9, &(first + 4))).unwrap());
        assert_eq!(batch.push_slice(&[first + 5, first + 6, first + 7, 0]), 3);
        assert!(!batch.push(&0).unwrap());
        batch.publish().unwrap();

        let batch = consumer.try_recv_batch(usize::MAX).unwrap();
        let one_by_one: Vec<_> = batch.iter().map(|item| (*item, item.position(), item.kind())).collect();
        let mut folded = Vec::new();
        batch.iter().for_each(|item| folded.push((*item, item.position(), item.kind())));
        let kind = |n| match n % 8 {
            0 => 3,
            4 => 9,
            _ => 0,
        };
        assert!(one_by_one.iter().copied().eq((first..first + 8).map(|n| (n, n, kind(n)))), "{one_by_one:?}");
        assert_eq!(folded, one_by_one);
        let slices: Vec<&[u64]> = batch.slices().collect();
        assert!(slices.concat().into_iter().eq(first..first + 8));
        assert_eq!(slices.last().map(|values| values.len()), Some(3), "behind the last with a kind");
    }
}

#[test]
fn a_batch_ends_before_what_is_no_value() {
    let ring = RingOptions::of::<u64>(CAPACITY).create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(At::ring(&ring).any_type()).unwrap();
    let mut consumer = ConsumerOptions::new().start(Start::Earliest).attach::<u64>(&ring).unwrap();
    producer
        .send_batch(&[&1_u64.to_ne_bytes()[..], &2_u64.to_ne_bytes(), b"none", &3_u64.to_ne_bytes()])
        .unwrap();
    assert_eq!(consumer.try_recv_batch(9).unwrap().slices().collect::<Vec<_>>().concat(), [1, 2]);
    let error = consumer.try_recv_batch(9).map(|batch| batch.len()).unwrap_err();
    assert_eq!(error, RecvError::WrongLength { position: 2, found: 4, expected: 8 });
    assert_eq!(consumer.try_recv_batch(9).unwrap().slices().collect::<Vec<_>>().concat(), [3]);
    assert!(matches!(consumer.try_recv_batch(9).map(|batch| batch.len()), Err(RecvError::Empty)));
}

#[test]
fn what_was_handed_out_together_is_finished_together() {
    let (mut producer, mut consumer) = ends::<u64>();
    send(&mut producer, 6, 0, |n| n);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let batch = consumer.try_recv_batch(9).unwrap();
        assert_eq!(batch.slices().next(), Some(&[0, 1, 2, 3, 4, 5][..]));
        resume_unwind(Box::new("not done"));
    }));
    assert!(outcome.is_err());
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let batch = consumer.try_recv_batch(9).unwrap();
        batch.iter().for_each(|item| {
            if *item == 2 {
                resume_unwind(Box::new("not done"))
            }
        });
    }));
    assert!(outcome.is_err());
    let batch = consumer.try_recv_batch(9).unwrap();
    assert_eq!(batch.slices().collect::<Vec<_>>().concat(), [2, 3, 4, 5]);
    batch.keep();
    assert_eq!(consumer.try_recv_batch(1).unwrap().iter().map(|item| *item).collect::<Vec<_>>(), [2]);
}

/// Types differ: neither a producer nor a reader gets at the ring, unless it says that any type is
/// right.
#[test]
fn other_types_are_refused_unless_they_are_asked_for() {
    let ring = RingOptions::of::<u64>(CAPACITY).group("g", GroupSettings::new()).create_in_memory().unwrap();
    fn is_refused<T, E: std::fmt::Display>(attached: Result<T, E>, expected: &str) {
        let text = attached.err().expect("the types differ").to_string();
        assert!(text.contains("carries u64") && text.contains(&format!("expects {expected};")), "{text}");
    }
    is_refused(Producer::<[u8]>::open(&ring), "untyped bytes");
    is_refused(Consumer::<[u8]>::attach(&ring, Start::Earliest), "untyped bytes");
    is_refused(EvictableConsumer::<[u8]>::attach(&ring, Start::Earliest), "untyped bytes");
    is_refused(Observer::<[u8]>::attach(&ring, Start::Earliest), "untyped bytes");
    is_refused(Worker::<[u8]>::join(&ring, "g"), "untyped bytes");
    is_refused(Producer::<i64>::open(&ring), "i64");
    is_refused(Consumer::<[u8; 8]>::attach(&ring, Start::Earliest), "[u8;8]");
    is_refused(Worker::<i64>::join(&ring, "g"), "i64");

    let any = At::ring(&ring).any_type();
    Producer::<i64>::open(&any).unwrap().send(&-1).unwrap();
    assert_eq!(*Consumer::<u64>::attach(&ring, Start::Earliest).unwrap().recv().unwrap(), u64::MAX);
    assert_eq!(*Observer::<[u8]>::attach(&any, Start::Earliest).unwrap().recv().unwrap(), [0xFF; 8]);
    // A value needs blocks of its length, whatever their type.
    is_refused(Consumer::<u32>::attach(&any, Start::Earliest), "u32");
    is_refused(Producer::<[u64; 2]>::open(&any), "[u64;2]");
}

/// Every role passes bytes that are no value once: they must not stop a reader for ever.
#[test]
fn every_role_goes_on_behind_what_is_no_value() {
    let settings = GroupSettings::new();
    let ring = RingOptions::of::<u64>(CAPACITY).group("g", settings).create_in_memory().unwrap();
    let worker = Worker::<u64>::join(&ring, "g").unwrap();
    let mut consumer = Consumer::<u64>::attach(&ring, Start::Earliest).unwrap();
    let mut evictable = EvictableConsumer::<u64>::attach(&ring, Start::Earliest).unwrap();
    let mut observer = Observer::<u64>::attach(&ring, Start::Earliest).unwrap();
    let mut producer = Producer::<[u8]>::open(At::ring(&ring).any_type()).unwrap();
    for message in [&b"none"[..], &7_u64.to_ne_bytes()] {
        producer.send(message).unwrap();
    }
    let passed = RecvError::WrongLength { position: 0, found: 4, expected: 8 };
    assert_eq!(consumer.try_recv().unwrap_err(), passed);
    assert_eq!(*consumer.try_recv().unwrap(), 7);
    assert_eq!(evictable.try_recv().unwrap_err(), passed);
    assert_eq!(*evictable.try_recv().unwrap(), 7);
    assert_eq!(observer.try_recv().unwrap_err(), passed);
    assert_eq!(*observer.try_recv().unwrap(), 7);
    assert_eq!(worker.try_recv().unwrap_err(), passed);
    let delivery = worker.try_recv().unwrap();
    assert_eq!((*delivery, delivery.position()), (7, 1));
    delivery.ack().unwrap();
    assert_eq!(worker.try_recv().unwrap_err(), RecvError::Empty);
    let letters = ring.dead_letters().unwrap();
    assert_eq!(letters.iter().map(|letter| &letter.bytes[..]).collect::<Vec<_>>(), [b"none"]);
}
