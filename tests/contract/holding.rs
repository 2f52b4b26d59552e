//! The fear: a message counts as done although no reader finished it, or as held although no reader
//! holds it.
//!
//! The calls that hold a message, those that release it, and the holder that the producer names,
//! within one process. Then the bytes of blocks: published messages and not a byte more.

use kit::format::{size, slot};
use kit::{LONG, TempDir, panic_quietly, until};
use slipring::{
    AtPath, Consumer, ConsumerOptions, EntryError, Event, EventKind, GroupSettings, HolderRole, Observer,
    Producer, ProducerOptions, RecvError, Ring, RingOptions, SendError, Start, Wait, WorkerOptions,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

fn in_memory(capacity: usize) -> (Ring, Producer, Consumer) {
    let ring = RingOptions::new(48, capacity).consumers(4).create_in_memory().unwrap();
    let producer = Producer::<[u8]>::open(&ring).unwrap();
    let consumer = Consumer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    (ring, producer, consumer)
}

fn fill(producer: &mut Producer, count: u8) {
    for n in 0..count {
        producer.try_send(&[n]).unwrap();
    }
}

#[test]
fn a_panic_is_not_an_acknowledgement() {
    let (_ring, mut producer, mut consumer) = in_memory(4);
    fill(&mut producer, 4);
    for _ in 0..3 {
        let result = catch_unwind(AssertUnwindSafe(|| {
            let message = consumer.try_recv().unwrap();
            assert_eq!(&*message, [0]);
            panic_quietly();
        }));
        assert!(result.is_err());
        assert!(matches!(producer.try_send(b"x"), Err(SendError::Full { .. })), "a panic released it");
    }
    assert_eq!(&*consumer.try_recv().unwrap(), [0]);
    producer.try_send(b"x").unwrap();
}

#[test]
fn a_panic_in_a_batch_releases_what_was_finished_and_no_more() {
    let (_ring, mut producer, mut consumer) = in_memory(8);
    fill(&mut producer, 8);
    drop(consumer.try_recv().unwrap());
    let result = catch_unwind(AssertUnwindSafe(|| {
        let batch = consumer.try_recv_batch(8).unwrap();
        for item in &batch {
            if item[0] == 4 {
                panic_quietly();
            }
        }
    }));
    assert!(result.is_err());
    assert_eq!(consumer.position(), 4);
    let message = consumer.try_recv().unwrap();
    assert_eq!((message.position(), &*message), (4, &[4][..]));
}

#[test]
fn a_batch_releases_what_was_looked_at_and_keeps_the_rest() {
    let (_ring, mut producer, mut consumer) = in_memory(8);
    fill(&mut producer, 8);
    // Two looks: the first finds one message, the second all.
    drop(consumer.try_recv().unwrap());
    let batch = consumer.try_recv_batch(100).unwrap();
    assert_eq!(batch.len(), 7);
    assert_eq!(batch.iter().take(3).map(|item| item[0]).collect::<Vec<_>>(), [1, 2, 3]);
    drop(batch);
    assert_eq!(consumer.position(), 4);
    drop(consumer.try_recv_batch(100).unwrap());
    assert_eq!(consumer.position(), 4, "a batch that nobody looked at was released");
}

#[test]
fn a_guard_that_is_forgotten_only_stalls() {
    let (_ring, mut producer, mut consumer) = in_memory(2);
    fill(&mut producer, 2);
    std::mem::forget(consumer.try_recv().unwrap());
    std::mem::forget(consumer.try_recv_batch(2).unwrap());
    consumer.try_recv().unwrap().keep();
    assert!(matches!(producer.try_send(b"x"), Err(SendError::Full { .. })));
    assert_eq!(&*consumer.try_recv().unwrap(), [0]);
    assert_eq!(producer.try_send(b"y").unwrap(), 2);
}

#[test]
fn a_held_message_keeps_its_bytes_however_full_the_ring_gets() {
    let (ring, mut producer, mut consumer) = in_memory(2);
    producer.send(b"held").unwrap();
    let held = consumer.try_recv().unwrap();
    producer.send(b"next").unwrap();
    for _ in 0..100 {
        assert!(matches!(producer.try_claim(), Err(SendError::Full { .. })));
        assert!(producer.claim_timeout(Duration::ZERO).is_err());
    }
    assert_eq!(&*held, b"held");
    assert_eq!(ring.head(), 2);
}

#[test]
fn an_abandoned_claim_is_seen_by_no_reader() {
    let (ring, mut producer, mut consumer) = in_memory(4);
    let mut claim = producer.try_claim().unwrap();
    claim.fill(0xAA);
    assert_eq!((claim.position(), claim.len()), (0, 48));
    let mut batch = producer.try_claim_batch(4).unwrap();
    batch.push(b"never").unwrap();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let mut batch = producer.try_claim_batch(4).unwrap();
        batch.push(b"neither").unwrap();
        let _ = batch.push_with(|block| -> usize {
            block.fill(0xBB);
            panic_quietly()
        });
    }));
    assert!(unwound.is_err());
    assert_eq!((ring.head(), consumer.try_recv().unwrap_err()), (0, RecvError::Empty));
    assert_eq!(producer.try_send((3, b"seen")).unwrap(), 0);
    let message = consumer.try_recv().unwrap();
    assert_eq!((&*message, message.kind()), (&b"seen"[..], 3));
}

#[test]
fn a_batch_is_whole_or_absent_for_every_kind_of_reader() {
    let ring =
        RingOptions::new(48, 8).consumers(4).group("g", GroupSettings::default()).create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    let mut gating = Consumer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    let mut by_batch = Consumer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    let mut evictable =
        ConsumerOptions::new().start(Start::Earliest).attach_evictable::<[u8]>(&ring).unwrap();
    let mut observer = Observer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    let worker = WorkerOptions::new("g").join::<[u8]>(&ring).unwrap();
    let mut all_see = |what: &[&[u8]]| {
        for message in what {
            assert_eq!(&*gating.try_recv().unwrap(), *message);
            assert_eq!(&*evictable.try_recv().unwrap(), *message);
            assert_eq!(&*observer.try_recv().unwrap(), *message);
            let delivery = worker.try_recv().unwrap();
            assert_eq!(&*delivery, *message);
            delivery.ack().unwrap();
        }
        if !what.is_empty() {
            let batch = by_batch.try_recv_batch(8).unwrap();
            assert!(batch.iter().map(|item| item.to_vec()).eq(what.iter().map(|message| message.to_vec())));
        }
        assert!(matches!(gating.try_recv(), Err(RecvError::Empty)));
        assert!(matches!(by_batch.try_recv_batch(8), Err(RecvError::Empty)));
        assert!(matches!(evictable.try_recv(), Err(RecvError::Empty)));
        assert!(matches!(observer.try_recv(), Err(RecvError::Empty)));
        assert!(matches!(worker.try_recv(), Err(RecvError::Empty)));
        let head = ring.head();
        assert!(matches!(
            Consumer::<[u8]>::attach(&ring, Start::At(head)).unwrap().try_recv(),
            Err(RecvError::Empty)
        ));
        assert!(Consumer::<[u8]>::attach(&ring, Start::At(head + 1)).is_err(), "a start beyond the head");
    };
    // Often enough for every slot to hold batched headers of several laps.
    for round in 0..20 {
        let mut given_up = producer.try_claim_batch(3).unwrap();
        while given_up.push((9, b"given up")).unwrap() {}
        all_see(&[]);
        given_up.abort();
        if round % 3 == 0 {
            drop(producer);
            producer = Producer::<[u8]>::open(&ring).unwrap();
        }
        all_see(&[]);
        producer.try_send(b"single").unwrap();
        all_see(&[b"single"]);
        let mut batch = producer.try_claim_batch(2).unwrap();
        batch.push(b"first").unwrap();
        batch.push(b"second").unwrap();
        all_see(&[]);
        batch.publish().unwrap();
        all_see(&[b"first", b"second"]);
    }
}

#[test]
fn too_large_a_message_is_refused_by_every_call_and_costs_nothing() {
    let (ring, mut producer, mut consumer) = in_memory(4);
    let long = [1; 49];
    let too_large = SendError::TooLarge { len: 49, block_size: 48 };
    assert_eq!(producer.send(&long), Err(too_large.clone()));
    assert_eq!(producer.try_send(&long), Err(too_large.clone()));
    assert_eq!(producer.send_timeout(&long, LONG), Err(too_large.clone()));
    assert_eq!(producer.send_batch(&[&[1; 3][..], &long]), Err(too_large.clone()));
    assert_eq!(producer.claim().unwrap().publish(49), Err(too_large.clone()));
    let mut batch = producer.claim_batch(2).unwrap();
    assert_eq!(batch.push(&long), Err(too_large.clone()));
    assert_eq!(batch.push_with(|_| 49), Err(too_large.clone()));
    assert_eq!(batch.push(b"fits"), Ok(true));
    assert_eq!(batch.publish().unwrap(), 0..1);
    assert_eq!(ring.head(), 1);
    assert_eq!(&*consumer.try_recv().unwrap(), b"fits");
    let text = too_large.to_string();
    assert!(text.contains("49") && text.contains("48"), "{text}");
}

#[test]
fn full_names_the_party_that_holds_the_ring() {
    let ring = RingOptions::new(48, 4).durable("away").create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    let mut fast = ConsumerOptions::new().name("fast").start(Start::Earliest).attach::<[u8]>(&ring).unwrap();
    fill(&mut producer, 4);
    while fast.try_recv().is_ok() {}
    let error = producer.try_send(b"x").unwrap_err();
    let SendError::Full { capacity, holder, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*capacity, holder.name.as_str(), holder.lag), (4, "away", 4));
    assert_eq!(holder.role, HolderRole::DurableConsumer);
    let text = error.to_string();
    for part in ["4 blocks", "durable consumer \"away\"", "4 messages behind"] {
        assert!(text.contains(part), "{text}");
    }

    // The durable consumer comes back and catches up; now another is the slowest.
    let mut back = ConsumerOptions::new().name("away").durable(true).attach::<[u8]>(&ring).unwrap();
    while back.try_recv().is_ok() {}
    fill(&mut producer, 4);
    while back.try_recv().is_ok() {}
    let error = producer.send_timeout(b"x", Duration::from_millis(1)).unwrap_err();
    let SendError::Full { holder, .. } = error else { panic!("{error:?}") };
    assert_eq!((holder.name.as_str(), holder.pid), ("fast", u64::from(std::process::id())));
    assert!(holder.role == HolderRole::Consumer && holder.full_for >= Duration::from_millis(1));
    assert_eq!(ring.producer_info().unwrap().full_count, 2);
}

#[test]
fn every_way_of_waiting_ends_in_time() {
    for wait in [Wait::Spin, Wait::Backoff, Wait::Park] {
        let ring = RingOptions::new(48, 2).create_in_memory().unwrap();
        let mut producer = ProducerOptions::new().wait(wait).open::<[u8]>(&ring).unwrap();
        let options = ConsumerOptions::new().start(Start::Earliest).wait(wait);
        let mut consumer = options.attach::<[u8]>(&ring).unwrap();
        let mut evictable = options.attach_evictable::<[u8]>(&ring).unwrap();
        let mut observer =
            slipring::ObserverOptions::new().wait(wait).start(Start::Earliest).attach::<[u8]>(&ring).unwrap();
        let short = Duration::from_millis(2);
        let start = Instant::now();
        for error in [
            consumer.recv_timeout(short).unwrap_err(),
            consumer.recv_batch_timeout(3, short).unwrap_err(),
            evictable.recv_timeout(short).unwrap_err(),
            observer.recv_timeout(short).unwrap_err(),
        ] {
            assert!(matches!(error, RecvError::TimedOut(waited) if waited >= short), "{error:?}");
        }
        drop(evictable);
        fill(&mut producer, 2);
        assert!(matches!(producer.send_timeout(b"x", short), Err(SendError::Full { .. })));
        assert!(matches!(producer.claim_timeout(short), Err(SendError::Full { .. })));
        assert!(matches!(producer.claim_batch_timeout(3, short), Err(SendError::Full { .. })));
        assert!(start.elapsed() >= short * 7, "somebody gave up early");
        // A message that is there comes at once, and without a look at the clock.
        assert_eq!(consumer.recv_timeout(Duration::ZERO).unwrap().position(), 0);
        assert_eq!(observer.recv_timeout(Duration::MAX).unwrap().position(), 0);
        assert_eq!(producer.send_timeout(b"x", Duration::MAX).unwrap(), 2);
    }
}

#[test]
fn every_way_of_waiting_gets_its_message() {
    for wait in [Wait::Spin, Wait::Backoff, Wait::Park] {
        let ring = RingOptions::new(48, 2).create_in_memory().unwrap();
        let mut consumer =
            ConsumerOptions::new().start(Start::Earliest).wait(wait).attach::<[u8]>(&ring).unwrap();
        let mut producer = ProducerOptions::new().wait(wait).open::<[u8]>(&ring).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let messages: Vec<[u8; 8]> = (0..500_u64).map(u64::to_le_bytes).collect();
                assert_eq!(producer.send_batch(&messages).unwrap(), 0..500);
                producer.close().unwrap();
            });
            for n in 0..500_u64 {
                assert_eq!(&*consumer.recv_timeout(LONG).unwrap(), n.to_le_bytes());
            }
            assert_eq!(consumer.recv().unwrap_err(), RecvError::Closed);
        });
    }
}

#[test]
fn nothing_is_sent_to_fewer_readers_than_required() {
    let ring = RingOptions::new(48, 4).create_in_memory().unwrap();
    let mut producer = ProducerOptions::new().require_readers(2).open::<[u8]>(&ring).unwrap();
    let error = producer.try_send(b"x").unwrap_err();
    assert!(matches!(error, SendError::TooFewReaders { attached: 0, required: 2, .. }), "{error}");
    assert!(error.to_string().contains("finds 0") && error.to_string().contains("requires 2 consumers"));
    let one = Consumer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    let timed_out = producer.send_timeout(b"x", Duration::from_millis(1));
    assert!(matches!(timed_out, Err(SendError::TooFewReaders { attached: 1, required: 2, .. })));
    assert_eq!(ring.head(), 0);
    // Observers do not gate, so they do not count. Durable consumers do, attached or not.
    let _observer = slipring::Observer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    assert!(producer.try_claim().is_err());
    drop(
        ConsumerOptions::new()
            .name("two")
            .durable(true)
            .start(Start::Earliest)
            .attach::<[u8]>(&ring)
            .unwrap(),
    );
    assert_eq!(producer.try_send(b"first").unwrap(), 0);
    // A reader that leaves is missed at the latest a ring later.
    drop(one);
    let sent = (0..5).take_while(|_| producer.try_send(b"more").is_ok()).count();
    assert!(sent < 4);
    let full = producer.try_send(b"x").unwrap_err();
    assert!(matches!(full, SendError::TooFewReaders { attached: 1, required: 2, .. }), "{full}");
}

#[test]
fn without_readers_the_producer_runs_free_and_latecomers_find_the_last_lap() {
    let ring = RingOptions::new(48, 8).create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    for n in 0..100_u64 {
        assert_eq!(producer.try_send(&n.to_le_bytes()).unwrap(), n);
    }
    let mut consumer = Consumer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    assert!((92..=93).contains(&consumer.position()), "{}", consumer.position());
    for n in consumer.position()..100 {
        assert_eq!(&*consumer.try_recv().unwrap(), n.to_le_bytes());
    }
    let declared = RingOptions::new(48, 8).durable("archive").create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&declared).unwrap();
    fill(&mut producer, 8);
    assert!(matches!(producer.try_send(b"x"), Err(SendError::Full { .. })));
}

#[test]
fn a_durable_consumer_that_stays_away_too_long_is_given_up_and_not_before() {
    let threshold = Duration::from_millis(200);
    let options = RingOptions::new(48, 2).durable("gone").durable("here");
    let patient = options.clone().create_in_memory().unwrap();
    let ring = options.durable_inactive_threshold(threshold).create_in_memory().unwrap();
    let mut here = ConsumerOptions::new().name("here").durable(true).attach::<[u8]>(&ring).unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    fill(&mut producer, 2);
    while here.try_recv().is_ok() {}
    let start = Instant::now();
    assert!(producer.send_timeout(b"x", LONG).is_ok(), "never given up");
    // Counted from the creation, which was before `start`; the clocks differ, so this is a wide
    // margin.
    assert!(start.elapsed() < LONG / 2);
    assert_eq!(ring.consumers().iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["here"]);
    let removed: Vec<_> = events(&ring).into_iter().filter(|event| event.1 == EventKind::Removed).collect();
    assert_eq!(removed, [("gone".to_owned(), EventKind::Removed, 0)]);
    // A consumer that is attached is not away, however long it does not read.
    fill(&mut producer, 1);
    let idle = Instant::now();
    while idle.elapsed() < threshold * 2 {
        assert!(matches!(producer.send_timeout(b"x", threshold), Err(SendError::Full { .. })));
    }
    assert_eq!(ring.consumers().len(), 1);
    // A consumer that comes back after its removal begins anew.
    let back =
        ConsumerOptions::new().name("gone").durable(true).start(Start::Latest).attach::<[u8]>(&ring).unwrap();
    assert_eq!(back.position(), ring.head());

    let mut producer = Producer::<[u8]>::open(&patient).unwrap();
    fill(&mut producer, 2);
    assert!(matches!(producer.send_timeout(b"x", threshold * 2), Err(SendError::Full { .. })));
}

#[test]
fn a_removed_consumer_lets_the_producer_go_on() {
    let ring = RingOptions::new(48, 2).durable("gone").create_in_memory().unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    fill(&mut producer, 2);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| producer.send(b"x"));
        until("the producer finds the ring full", || ring.producer_info().unwrap().full_count == 1);
        ring.remove_consumer("gone").unwrap();
        assert_eq!(waiting.join().unwrap(), Ok(2));
    });
    assert!(matches!(
        ring.remove_consumer("gone"),
        Err(AtPath { error: EntryError::NoSuchConsumer { .. }, .. })
    ));
}

#[test]
fn the_evicted_are_counted_and_told_and_the_others_are_not_touched() {
    let (ring, mut producer, mut gating) = in_memory(4);
    let mut evictable =
        ConsumerOptions::new().name("slow").start(Start::Earliest).attach_evictable::<[u8]>(&ring).unwrap();
    for n in 0..10_u8 {
        producer.try_send(&[n]).unwrap();
        assert_eq!(&*gating.try_recv().unwrap(), [n]);
    }
    let info = ring.consumers().into_iter().find(|info| info.name == "slow").unwrap();
    assert_eq!((info.tail, info.evictable, info.durable, info.alive), (None, true, false, true));
    assert_eq!(ring.producer_info().unwrap().evicted_count, 1);
    let Err(RecvError::Lagged { missed }) = evictable.try_recv() else { panic!("not evicted") };
    assert!(missed > 0 && evictable.position() == missed);
    for n in missed..10 {
        let message = evictable.recv().unwrap();
        assert_eq!((message.position(), message[0]), (n, n.to_le_bytes()[0]));
    }
    assert_eq!(evictable.try_recv().unwrap_err(), RecvError::Empty);
    let info = ring.consumers().into_iter().find(|info| info.name == "slow").unwrap();
    assert_eq!((info.tail, info.lag, info.missed), (Some(10), 0, missed));
    // One that keeps up is left alone.
    for n in 10..30_u8 {
        producer.try_send(&[n]).unwrap();
        drop(gating.try_recv().unwrap());
        assert_eq!(evictable.try_recv().unwrap()[0], n);
    }
    assert_eq!(ring.producer_info().unwrap().evicted_count, 1);
}

#[test]
fn a_gating_consumer_is_never_evicted_with_its_neighbour() {
    let (ring, mut producer, mut gating) = in_memory(4);
    let _evictable = ConsumerOptions::new().start(Start::Earliest).attach_evictable::<[u8]>(&ring).unwrap();
    fill(&mut producer, 4);
    for _ in 0..10 {
        let Err(SendError::Full { holder, .. }) = producer.try_send(b"x") else { panic!("lost") };
        assert_eq!(holder.lag, 4);
    }
    for n in 0..4 {
        assert_eq!(&*gating.try_recv().unwrap(), [n]);
    }
}

#[test]
fn consumers_are_described_as_they_are() {
    let (ring, mut producer, _anonymous) = in_memory(8);
    fill(&mut producer, 5);
    let mut named = ConsumerOptions::new().name("näme").start(Start::At(2)).attach::<[u8]>(&ring).unwrap();
    drop(named.try_recv().unwrap());
    drop(
        ConsumerOptions::new()
            .name("away")
            .durable(true)
            .start(Start::Earliest)
            .attach::<[u8]>(&ring)
            .unwrap(),
    );
    let infos = ring.consumers();
    let me = u64::from(std::process::id());
    let summary: Vec<_> = infos
        .iter()
        .map(|it| (it.name.as_str(), it.pid, it.tail, it.lag, it.durable, it.evictable, it.alive, it.missed))
        .collect();
    assert_eq!(
        summary,
        [
            ("", me, Some(0), 5, false, false, true, 0),
            ("näme", me, Some(3), 2, false, false, true, 0),
            ("away", me, Some(0), 5, true, false, false, 0),
        ]
    );
    assert!(infos.iter().all(|info| info.joined_unix_ms > 1_600_000_000_000));
    let producer_info = ring.producer_info().unwrap();
    assert_eq!((producer_info.pid, producer_info.alive, producer_info.epoch), (me, true, 1));
    assert_eq!((producer_info.closed, producer_info.full_count, producer_info.evicted_count), (false, 0, 0));
    drop(named);
    assert_eq!(ring.consumers().len(), 2, "who left is still there");
}

#[test]
fn a_closed_stream_is_drained_and_can_be_opened_again() {
    let (ring, mut producer, mut consumer) = in_memory(4);
    let mut evictable =
        ConsumerOptions::new().start(Start::Earliest).attach_evictable::<[u8]>(&ring).unwrap();
    let mut observer = slipring::Observer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    fill(&mut producer, 3);
    producer.close().unwrap();
    assert!(ring.producer_info().unwrap().closed);
    for n in 0..3 {
        assert_eq!(consumer.recv().unwrap()[0], n);
        assert_eq!(evictable.recv().unwrap()[0], n);
        assert_eq!(observer.recv().unwrap()[0], n);
    }
    for _ in 0..2 {
        assert_eq!(consumer.recv().unwrap_err(), RecvError::Closed);
        assert_eq!(consumer.try_recv().unwrap_err(), RecvError::Closed);
        assert_eq!(consumer.recv_batch(2).unwrap_err(), RecvError::Closed);
        assert_eq!(evictable.recv().unwrap_err(), RecvError::Closed);
        assert_eq!(observer.recv().unwrap_err(), RecvError::Closed);
    }
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    assert_eq!(consumer.try_recv().unwrap_err(), RecvError::Empty);
    assert_eq!(producer.send(b"again").unwrap(), 3);
    assert_eq!(&*consumer.recv().unwrap(), b"again");
    assert_eq!(&*evictable.recv().unwrap(), b"again");
    assert_eq!(&*observer.recv().unwrap(), b"again");
    let info = ring.producer_info().unwrap();
    assert_eq!((info.epoch, info.closed), (2, false));
}

fn events(ring: &Ring) -> Vec<(String, EventKind, u64)> {
    ring.events().into_iter().map(|event| (event.name, event.kind, event.position)).collect()
}

#[test]
fn the_flight_recorder_tells_what_happened_in_order() {
    use EventKind::*;
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = RingOptions::new(48, 2).consumers(2).first_position(100).create(&path).unwrap();
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    let audit = ConsumerOptions::new().name("audit").durable(true).attach::<[u8]>(&path).unwrap();
    fill(&mut producer, 2);
    for _ in 0..3 {
        assert!(producer.try_send(b"x").is_err());
    }
    drop(audit);
    let mut audit = ConsumerOptions::new().name("audit").durable(true).attach::<[u8]>(&path).unwrap();
    while audit.try_recv().is_ok() {}
    let lazy = ConsumerOptions::new().name("lazy").attach_evictable::<[u8]>(&path).unwrap();
    fill(&mut producer, 2);
    while audit.try_recv().is_ok() {}
    fill(&mut producer, 1);
    drop((lazy, audit));
    ring.remove_consumer("audit").unwrap();
    drop(producer);
    Producer::<[u8]>::open(&path).unwrap().close().unwrap();
    Producer::<[u8]>::open(&path).unwrap().close().unwrap();
    let told: Vec<(String, EventKind)> = ring.events().into_iter().map(|it| (it.name, it.kind)).collect();
    let told: Vec<(&str, EventKind)> = told.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
    assert_eq!(
        told,
        [
            ("", Created),
            ("", ProducerOpened),
            ("audit", Attached),
            ("audit", Full),
            ("audit", Detached),
            ("audit", Resumed),
            ("lazy", Attached),
            ("lazy", Evicted),
            ("lazy", Detached),
            ("audit", Detached),
            ("audit", Removed),
            ("", Detached),
            ("", ProducerOpened),
            ("", Closed),
            ("", ProducerOpened),
            ("", Closed),
        ]
    );
    let all: Vec<Event> = ring.events();
    let me = u64::from(std::process::id());
    assert!(all.iter().map(|event| event.number).eq(0..all.len() as u64));
    assert!(all.iter().all(|event| event.pid == me && event.unix_ms > 1_600_000_000_000));
    assert!(all.windows(2).all(|pair| pair[0].unix_ms <= pair[1].unix_ms));
    assert_eq!((all[0].position, all[3].position, all[15].position), (100, 100, 105));
    // Every party that wrote them may be gone: the file alone tells the events.
    drop(ring);
    assert_eq!(Ring::open(&path).unwrap().events(), all);
}

#[test]
fn the_flight_recorder_keeps_the_latest_and_counts_repetitions() {
    let (ring, _producer, _consumer) = in_memory(2);
    for n in 0..400 {
        drop(ConsumerOptions::new().name(format!("visitor {n}")).attach::<[u8]>(&ring).unwrap());
    }
    let events = ring.events();
    assert_eq!(events.len(), 256);
    assert_eq!(events.last().map(|event| event.name.as_str()), Some("visitor 399"));
    assert!(events.windows(2).all(|pair| pair[0].number + 1 == pair[1].number));
    // The attach and the leaving of one name alternate, so only the ring's own repetitions are
    // counted.
    let repeated = RingOptions::new(48, 2).create_in_memory().unwrap();
    for _ in 0..5 {
        drop((
            Consumer::<[u8]>::attach(&repeated, Start::Latest).unwrap(),
            Consumer::<[u8]>::attach(&repeated, Start::Latest).unwrap(),
        ));
    }
    let repeats: Vec<(EventKind, u64)> =
        repeated.events().into_iter().skip(1).map(|event| (event.kind, event.repeats)).collect();
    assert_eq!(repeats, [(EventKind::Attached, 1), (EventKind::Detached, 1)].repeat(5));
}

/// The bytes of block `index` of a file with two blocks of 48 bytes: beside its slot's header, or,
/// if that is batched, in the packed row.
fn block_of(path: &Path, index: usize) -> Vec<u8> {
    let file = std::fs::read(path).unwrap();
    let slot = size(slot::FIRST) + index * 64;
    let batched = file[slot + 7] & 0x80 != 0;
    let start = if batched { 12288 + index * 48 } else { slot + 16 };
    file[start..start + 48].to_vec()
}

fn padded(message: &[u8]) -> Vec<u8> {
    let mut block = message.to_vec();
    block.resize(48, 0);
    block
}

#[test]
fn a_block_holds_its_message_and_nothing_of_the_one_before() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    RingOptions::new(48, 2).create(&path).unwrap();
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    let secret = [0xAA; 48];
    let check = |index, message: &[u8]| assert_eq!(block_of(&path, index), padded(message));

    // Shorter messages after longer ones, by every way of sending.
    producer.send(&secret).unwrap();
    producer.send(&secret).unwrap();
    producer.send(b"short").unwrap();
    check(0, b"short");
    let mut batch = producer.claim_batch(1).unwrap();
    batch.push(b"batch").unwrap();
    batch.publish().unwrap();
    check(1, b"batch");
    producer.send(b"").unwrap();
    check(0, b"");

    // A claim that was filled and published short.
    let mut claim = producer.claim().unwrap();
    claim.copy_from_slice(&secret);
    claim.publish(3).unwrap();
    check(1, &secret[..3]);

    // A claim that was filled and abandoned.
    producer.claim().unwrap().copy_from_slice(&secret);
    producer.send(b"ab").unwrap();
    check(0, b"ab");

    // Claims that were filled and refused, or abandoned with what had been pushed to them.
    let mut claim = producer.claim().unwrap();
    claim.copy_from_slice(&secret);
    assert!(claim.publish(49).is_err());
    producer.send(b"c").unwrap();
    check(1, b"c");
    for _ in 0..2 {
        let mut batch = producer.claim_batch(1).unwrap();
        let refused = batch.push_with(|block| {
            block.copy_from_slice(&secret);
            49
        });
        assert!(refused.is_err());
        batch.push(&secret).unwrap();
    }
    producer.send(b"d").unwrap();
    check(0, b"d");
    let mut batch = producer.claim_batch(1).unwrap();
    batch
        .push_with(|block| {
            block.copy_from_slice(&secret);
            2
        })
        .unwrap();
    batch.publish().unwrap();
    check(1, &secret[..2]);
}

#[test]
fn what_a_producer_abandoned_is_not_left_in_its_successors_messages() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = RingOptions::new(48, 2).create(&path).unwrap();
    let _gate = Consumer::<[u8]>::attach(&path, Start::Earliest).unwrap();
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    producer.claim().unwrap().fill(0xAA);
    drop(producer);
    let mut successor = Producer::<[u8]>::open(&path).unwrap();
    successor.send(b"short").unwrap();
    assert_eq!(ring.head(), 1);
    assert_eq!(block_of(&path, 0), padded(b"short"));
}

#[test]
fn what_a_producer_abandoned_is_out_of_bounds_for_readers_of_its_successors() {
    let (ring, mut producer, mut consumer) = in_memory(64);
    for value in 0..100 {
        producer.send(&[value; 48]).unwrap();
        drop(consumer.recv().unwrap());
    }
    let mut batch = producer.try_claim_batch(32).unwrap();
    while batch.push(&[0xAA; 48]).unwrap() {}
    batch.abort();
    drop(producer);
    // Without readers the successor takes less room than the dirty blocks have.
    drop(consumer);
    let mut successor = Producer::<[u8]>::open(&ring).unwrap();
    successor.send(&[100; 48]).unwrap();
    let mut late = Consumer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    for value in 68..=100 {
        let message = late.try_recv().unwrap();
        assert_eq!((message.position(), &*message), (u64::from(value), &[value; 48][..]));
    }
}
