//! The fear: a reader that wants the newest message, or the last few, gets an older one, a torn
//! one, more than it asked for, or an error because the producer went on meanwhile.

use slipring::{
    At, Consumer, ConsumerOptions, EvictableConsumer, Observer, Producer, RecvError, Ring, RingOptions,
    Start, Worker, WorkerOptions,
};
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn the_newest_message_is_told_whatever_was_read() {
    let ring = RingOptions::of::<u64>(8).first_position(1000).create_in_memory().unwrap();
    let mut producer = Producer::<u64>::open(&ring).unwrap();
    let mut observer = Observer::<u64>::attach(&ring, Start::Earliest).unwrap();
    assert!(observer.latest().unwrap().is_none(), "nothing was published");
    let newest = |observer: &mut Observer<u64>| {
        observer.latest().unwrap().map(|message| (message.position(), message.kind(), *message))
    };
    producer.send((3, &0)).unwrap();
    assert_eq!(newest(&mut observer), Some((1000, 3, 0)));
    producer.send_batch(&[1, 2]).unwrap();
    assert_eq!(newest(&mut observer), Some((1002, 0, 2)));
    // What it has not read stays to be read.
    assert_eq!(*observer.recv().unwrap(), 0);
    for n in 3..20 {
        producer.send(&n).unwrap();
        assert_eq!(newest(&mut observer), Some((1000 + n, 0, n)));
    }
    assert!(matches!(observer.recv(), Err(RecvError::Lagged { .. })));
    let position = observer.position();
    producer.close().unwrap();
    assert_eq!(newest(&mut observer), Some((1019, 0, 19)), "of a closed ring, too");
    assert_eq!(observer.position(), position);
    assert_eq!(*observer.recv().unwrap(), position - 1000);
}

#[test]
fn there_is_no_newest_message_while_the_only_block_is_written() {
    let ring = RingOptions::new(48, 1).create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    let mut observer = Observer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    producer.send(b"old").unwrap();
    assert_eq!(*observer.latest().unwrap().unwrap(), *b"old");
    let claim = producer.claim().unwrap();
    assert!(observer.latest().unwrap().is_none());
    drop(claim);
    assert!(observer.latest().unwrap().is_none(), "its bytes may be anything");
    producer.send(b"new").unwrap();
    assert_eq!(*observer.latest().unwrap().unwrap(), *b"new");
}

#[test]
fn a_newest_message_of_another_type_is_an_error_until_there_is_a_newer_one() {
    let ring = RingOptions::of::<u64>(8).create_in_memory().unwrap();
    let mut observer = Observer::<u64>::attach(&ring, Start::Earliest).unwrap();
    Producer::<[u8]>::open(At::ring(&ring).any_type()).unwrap().send(b"odd").unwrap();
    for _ in 0..2 {
        let error = observer.latest().unwrap_err();
        assert!(matches!(error, RecvError::WrongLength { position: 0, found: 3, expected: 8 }), "{error:?}");
    }
    Producer::<u64>::open(&ring).unwrap().send(&7).unwrap();
    assert_eq!(*observer.latest().unwrap().unwrap(), 7);
}

#[test]
fn the_newest_message_is_whole_and_never_older_than_the_one_before_beside_a_producer_in_full_flow() {
    const MESSAGES: u64 = 200_000;
    let ring = RingOptions::of::<[u64; 8]>(4).create_in_memory().unwrap();
    let (mut producer, done) = (Producer::<[u64; 8]>::open(&ring).unwrap(), AtomicBool::new(false));
    let mut observer = Observer::<[u64; 8]>::attach(&ring, Start::Earliest).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..MESSAGES / 2 {
                producer.send(&[2 * n; 8]).unwrap();
                producer.send_batch(&[[2 * n + 1; 8]]).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        let mut before = 0;
        while !done.load(Ordering::Acquire) {
            if let Some(message) = observer.latest().unwrap() {
                assert_eq!(*message, [message.position(); 8]);
                assert!(message.position() >= before);
                before = message.position();
            }
        }
        assert_eq!(observer.latest().unwrap().unwrap().position(), MESSAGES - 1);
    });
}

type Attach = fn(&Ring, Start) -> u64;

/// Every role that begins somewhere, and where it begins.
const ROLES: [(&str, Attach); 4] = [
    ("consumer", |ring, start| Consumer::<[u8]>::attach(ring, start).unwrap().position()),
    ("durable", |ring, start| {
        let options = ConsumerOptions::new().name("d").durable(true).start(start);
        let position = options.attach::<[u8]>(ring).unwrap().position();
        ring.remove_consumer("d").unwrap();
        position
    }),
    ("evictable", |ring, start| EvictableConsumer::<[u8]>::attach(ring, start).unwrap().position()),
    ("observer", |ring, start| Observer::<[u8]>::attach(ring, start).unwrap().position()),
];

#[test]
fn the_last_messages_are_as_many_as_asked_for_or_as_there_are() {
    let ring = RingOptions::new(48, 8).groups(2).first_position(100).create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    for (who, attach) in ROLES {
        for n in [0, 1, 8, u64::MAX] {
            assert_eq!(attach(&ring, Start::Last(n)), 100, "{who} of none, {n}");
        }
    }
    // It gates, so that the whole lap is certainly there.
    let mut gate = Consumer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    for n in 0..11_u8 {
        producer.send(&[n]).unwrap();
        if n < 3 {
            drop(gate.recv().unwrap());
        }
    }
    for (who, attach) in ROLES {
        for (n, first) in [(0, 111), (1, 110), (5, 106), (8, 103), (9, 103), (u64::MAX, 103)] {
            assert_eq!(attach(&ring, Start::Last(n)), first, "{who}, the last {n}");
        }
    }
    for (n, group) in [(5, "five"), (u64::MAX, "all")] {
        let worker: Worker = WorkerOptions::new(group).start(Start::Last(n)).join(&ring).unwrap();
        assert_eq!(worker.recv().unwrap().position(), 111 - n.min(8));
    }
}

#[test]
fn the_last_messages_can_be_had_at_any_moment_of_a_producer_in_full_flow() {
    let ring = RingOptions::of::<u64>(16).create_in_memory().unwrap();
    let (mut producer, done) = (Producer::<u64>::open(&ring).unwrap(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let head = producer.head();
                producer.send(&head).unwrap();
            }
        });
        for n in (0..20).cycle().take(2000) {
            let before = ring.head();
            let mut consumer = Consumer::<u64>::attach(&ring, Start::Last(n)).unwrap();
            assert!(consumer.position() >= before.saturating_sub(n), "more than {n}");
            let first = consumer.position();
            assert_eq!(*consumer.recv().unwrap(), first);
        }
        done.store(true, Ordering::Release);
    });
}
