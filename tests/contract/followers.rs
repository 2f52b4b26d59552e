//! The fear: a reader acts on a message before the reader that it comes after has recorded it,
//! follows a stranger, or waits for one that is gone.

use slipring::{
    AfterError, AttachError, Consumer, ConsumerOptions, CreateError, EntryError, EvictableConsumer,
    GroupSettings, MessageId, Producer, ProgressError, RecvError, Ring, RingId, RingOptions, Selector,
    SendError, Start, Wait, Worker,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);

fn ring(capacity: usize) -> (Ring, Producer<u64>) {
    let ring = RingOptions::of::<u64>(capacity).durable("journal").create_in_memory().unwrap();
    let producer = Producer::open(&ring).unwrap();
    (ring, producer)
}

fn journal(ring: &Ring) -> Consumer<u64> {
    ConsumerOptions::new().name("journal").durable(true).attach(ring).unwrap()
}

fn named(name: &str, after: &[&str]) -> ConsumerOptions {
    ConsumerOptions::new().name(name).after(after.iter().copied())
}

fn refused(ring: &Ring, options: &ConsumerOptions) -> AfterError {
    match options.attach::<u64>(ring).unwrap_err().error {
        AttachError::After(error) => error,
        other => panic!("{other}"),
    }
}

/// All that may be received now.
fn all(consumer: &mut Consumer<u64>) -> Vec<u64> {
    std::iter::from_fn(|| consumer.try_recv().ok().map(|message| *message)).collect()
}

#[test]
fn a_diamond_reads_what_both_sides_have_released() {
    let (ring, mut producer) = ring(16);
    let mut journal = journal(&ring);
    let mut risk: Consumer<u64> = named("risk", &["journal"]).attach(&ring).unwrap();
    let mut act: Consumer<u64> = named("act", &["journal", "risk"]).attach(&ring).unwrap();
    for n in 0..4 {
        producer.send(&n).unwrap();
    }
    producer.send_batch(&[4, 5, 6]).unwrap();
    assert_eq!((all(&mut risk), all(&mut act)), (vec![], vec![]), "nothing is in the journal");
    (0..3).for_each(|n| assert_eq!(*journal.recv().unwrap(), n));
    assert_eq!((all(&mut act), all(&mut risk), all(&mut act)), (vec![], vec![0, 1, 2], vec![0, 1, 2]));
    // A batch releases what was handed out, no more.
    let batch = journal.recv_batch(32).unwrap();
    assert_eq!(batch.iter().take(2).map(|value| *value).collect::<Vec<_>>(), [3, 4]);
    drop(batch);
    assert_eq!((all(&mut risk), all(&mut act)), (vec![3, 4], vec![3, 4]));
    // A message that was looked at and kept is not released.
    journal.recv().unwrap().keep();
    assert_eq!(all(&mut risk), []);
    assert_eq!(all(&mut journal), [5, 6]);
    let batch = risk.try_recv_batch(32).unwrap();
    assert_eq!(batch.slices().flatten().copied().collect::<Vec<_>>(), [5, 6]);
    drop(batch);
    assert_eq!(all(&mut act), [5, 6]);
}

#[test]
fn what_an_upstream_did_is_seen_by_who_comes_after_it() {
    const COUNT: u64 = 20_000;
    let (ring, mut producer) = ring(64);
    let mut journal = journal(&ring);
    let mut act: Consumer<u64> = named("act", &["journal"]).attach(&ring).unwrap();
    let written = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..COUNT).for_each(|n| assert_eq!(producer.send(&n).unwrap(), n)));
        scope.spawn(|| {
            for n in 0..COUNT {
                let message = journal.recv_timeout(LONG).unwrap();
                written.store(*message + 1, Ordering::Relaxed);
                assert_eq!(*message, n);
            }
        });
        for n in 0..COUNT {
            let message = act.recv_timeout(LONG).unwrap();
            assert!(
                *message == n && written.load(Ordering::Relaxed) > n,
                "message {n} was acted on too early"
            );
        }
    });
}

#[test]
fn the_end_of_the_stream_is_reached_through_the_chain() {
    let (ring, mut producer) = ring(16);
    let mut journal = journal(&ring);
    let mut act: Consumer<u64> = named("act", &["journal"]).attach(&ring).unwrap();
    producer.send_batch(&[1, 2]).unwrap();
    producer.close().unwrap();
    assert!(matches!(act.try_recv(), Err(RecvError::Empty)), "the journal has them still");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let received = [1, 2].map(|n| *act.recv_timeout(LONG).unwrap() == n);
            assert_eq!(received, [true, true]);
            matches!(act.recv_timeout(LONG), Err(RecvError::Closed))
        });
        assert_eq!(all(&mut journal), [1, 2]);
        assert!(matches!(journal.recv(), Err(RecvError::Closed)));
        assert!(waiting.join().unwrap());
    });
}

#[test]
fn an_upstream_that_leaves_is_drained_and_then_missed_and_no_stranger_is_followed() {
    let (ring, mut producer) = ring(16);
    let mut journal = journal(&ring);
    let mut risk: Consumer<u64> = named("risk", &[]).attach(&ring).unwrap();
    let mut act: Consumer<u64> = named("act", &["risk", "journal"]).attach(&ring).unwrap();
    let mut copying: EvictableConsumer<u64> = named("copy", &["risk"]).attach_evictable(&ring).unwrap();
    producer.send_batch(&[0, 1, 2, 3]).unwrap();
    (0..2).for_each(|_| drop(risk.recv().unwrap()));
    drop(risk);
    // The next in its entry, and by its name, reads further.
    let mut other: Consumer<u64> = named("risk", &[]).attach(&ring).unwrap();
    assert_eq!(all(&mut other).len(), 4);
    assert_eq!(all(&mut act), [], "nothing is in the journal");
    assert!(matches!(act.try_recv(), Err(RecvError::Empty)), "and it may come there");
    assert_eq!(all(&mut journal).len(), 4);
    assert_eq!(all(&mut act), [0, 1]);
    let lost =
        |error: RecvError| matches!(error, RecvError::UpstreamLost { name, at: 2, .. } if name == "risk");
    assert!(lost(act.try_recv().unwrap_err()) && lost(act.recv().unwrap_err()));
    assert!(lost(act.recv_batch(8).unwrap_err()) && lost(act.recv_timeout(LONG).unwrap_err()));
    let copied = [copying.recv().map(|it| *it), copying.recv().map(|it| *it)];
    assert_eq!(copied, [Ok(0), Ok(1)]);
    assert!(lost(copying.recv().unwrap_err()) && lost(copying.try_recv().unwrap_err()));
    // Again after the new one, from where it was.
    let at = act.position();
    drop(act);
    let mut act: Consumer<u64> =
        named("act", &["risk", "journal"]).start(Start::At(at)).attach(&ring).unwrap();
    assert_eq!(all(&mut act), [2, 3]);
}

/// Three entries: the next reader must take that of the one that left. The one that comes after it
/// reads what it had seen released, and no more.
#[test]
fn an_upstream_whose_entry_was_taken_is_missed_where_it_was_last_seen() {
    let ring = RingOptions::of::<u64>(16).consumers(3).create_in_memory().unwrap();
    let mut producer = Producer::<u64>::open(&ring).unwrap();
    let mut risk: Consumer<u64> = named("risk", &[]).attach(&ring).unwrap();
    let mut act: Consumer<u64> = named("act", &["risk"]).attach(&ring).unwrap();
    let _third: Consumer<u64> = named("third", &[]).attach(&ring).unwrap();
    producer.send_batch(&[0, 1, 2, 3]).unwrap();
    drop(risk.recv().unwrap());
    assert_eq!(all(&mut act), [0]);
    drop(risk.recv().unwrap());
    drop(risk);
    let mut other: Consumer<u64> = named("other", &[]).attach(&ring).unwrap();
    assert_eq!(all(&mut other).len(), 4);
    assert!(matches!(act.recv(), Err(RecvError::UpstreamLost { name, at: 1, .. }) if name == "risk"));
}

#[test]
fn a_list_names_readers_that_are_there_and_stays_the_same() {
    let (ring, mut producer) = ring(16);
    let risk: Consumer<u64> = named("risk", &["journal"]).attach(&ring).unwrap();
    let not_found = |error, of: &str| matches!(error, AfterError::NotFound { name, .. } if name == of);
    assert!(not_found(refused(&ring, &named("act", &["journal", "nobody"])), "nobody"));
    assert!(not_found(refused(&ring, &named("act", &[""])), ""));
    assert!(not_found(refused(&ring, &named("act", &["act"])), "act"), "itself");
    let durable = |after: &[&str]| named("act", after).durable(true);
    assert!(
        matches!(refused(&ring, &durable(&["risk"])), AfterError::Ephemeral { name, .. } if name == "risk")
    );
    let names = ["a", "b", "c", "d"];
    let others = names.map(|name| named(name, &[]).attach::<u64>(&ring).unwrap());
    let five = ["journal", "a", "b", "c", "d"];
    assert!(matches!(refused(&ring, &named("act", &five)), AfterError::TooMany { asked: 5, .. }));
    drop(named("act", &["a", "a", "b", "c", "d", "a"]).attach::<u64>(&ring).unwrap());
    drop(others);
    assert_eq!(ring.consumers().len(), 2, "no refusal left an entry");

    drop(durable(&["journal"]).attach::<u64>(&ring).unwrap());
    let found = |error, these: &[&str]| matches!(error, AfterError::Others { found, .. } if found == these);
    let wide = ConsumerOptions::new().name("wide").durable(true);
    drop(wide.attach::<u64>(&ring).unwrap());
    assert!(found(refused(&ring, &durable(&["wide"])), &["journal"]));
    assert!(found(refused(&ring, &durable(&["journal", "wide"])), &["journal"]));
    assert!(found(refused(&ring, &wide.clone().after(["journal"])), &[]));
    producer.send(&7).unwrap();
    for again in [durable(&["journal"]), durable(&[])] {
        assert_eq!(all(&mut again.attach(&ring).unwrap()), [], "it still comes after the journal");
    }
    // Nobody is left without its upstream by a removal.
    let followed = |name: &str| match ring.remove_consumer(name).unwrap_err().error {
        EntryError::Followed { by, .. } => by,
        other => panic!("{other}"),
    };
    assert!(["risk", "act"].contains(&followed("journal").as_str()));
    drop(risk);
    assert_eq!(followed("journal"), "act");
    ring.remove_consumer("act").unwrap();
    ring.remove_consumer("journal").unwrap();
}

#[test]
fn a_group_is_followed_by_what_it_has_settled() {
    let groups = RingOptions::of::<u64>(256).group("sms", GroupSettings::new()).durable("both");
    let ring = groups.group("both", GroupSettings::new()).create_in_memory().unwrap();
    assert!(
        matches!(refused(&ring, &named("x", &["both"])), AfterError::Ambiguous { name, .. } if name == "both")
    );
    let mut producer = Producer::<u64>::open(&ring).unwrap();
    let worker = Worker::<u64>::join(&ring, "sms").unwrap();
    let mut act: Consumer<u64> = named("act", &["sms"]).attach(&ring).unwrap();
    producer.send_batch(&[0, 1, 2]).unwrap();
    let [first, second, third] = [(); 3].map(|()| worker.recv().unwrap());
    second.ack().unwrap();
    assert_eq!(all(&mut act), [], "the first is not settled");
    first.ack().unwrap();
    assert_eq!(all(&mut act), [0, 1]);
    assert!(matches!(
        ring.remove_group("sms").unwrap_err().error,
        EntryError::GroupInUse { .. } | EntryError::Followed { .. }
    ));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| *act.recv_timeout(LONG).unwrap());
        third.ack().unwrap();
        assert_eq!(waiting.join().unwrap(), 2);
    });
}

#[test]
fn evictable_readers_follow_and_are_followed() {
    let ring = RingOptions::of::<u64>(4).create_in_memory().unwrap();
    let mut producer = Producer::<u64>::open(&ring).unwrap();
    let mut first: EvictableConsumer<u64> = named("first", &[]).attach_evictable(&ring).unwrap();
    let mut last: EvictableConsumer<u64> = named("last", &["first"]).attach_evictable(&ring).unwrap();
    producer.send_batch(&[0, 1, 2, 3]).unwrap();
    assert!(matches!(last.try_recv(), Err(RecvError::Empty)));
    assert_eq!((*first.recv().unwrap(), *last.recv().unwrap()), (0, 0));
    assert!(matches!(last.try_recv(), Err(RecvError::Empty)));
    // The producer goes on without both, and they come back.
    (4..10).for_each(|n| assert_eq!(producer.send(&n).unwrap(), n));
    assert!(matches!(last.try_recv(), Err(RecvError::Lagged { .. } | RecvError::Empty)));
    let Err(RecvError::Lagged { missed }) = first.recv() else { panic!("it was evicted") };
    assert_eq!(*first.recv().unwrap(), 1 + missed);
    let seen = loop {
        match last.recv_timeout(LONG) {
            Ok(message) => break *message,
            Err(error) => assert!(matches!(error, RecvError::Lagged { .. }), "{error}"),
        }
    };
    assert!(seen <= 1 + missed, "no further than the first");
}

/// The upstream reads ahead of what it releases, and so does its follower.
#[test]
fn reading_ahead_follows_and_is_followed_by_what_is_released() {
    let (ring, mut producer) = ring(16);
    let mut journal = journal(&ring);
    let mut act: Consumer<u64> = named("act", &["journal"]).attach(&ring).unwrap();
    producer.send_batch(&[0, 1, 2, 3]).unwrap();
    producer.send(&4).unwrap();
    let mut written = journal.read_ahead();
    assert_eq!(written.recv_batch(32).unwrap().len(), 5);
    let mut acted = act.read_ahead();
    assert!(matches!(acted.try_recv(), Err(RecvError::Empty)), "nothing is released");
    written.release_to(2);
    assert_eq!(acted.recv_batch(32).unwrap().iter().map(|it| *it).collect::<Vec<_>>(), [0, 1]);
    assert!(matches!(acted.try_recv_batch(32), Err(RecvError::Empty)));
    acted.release_to(1);
    written.release_to(5);
    assert_eq!((*acted.recv().unwrap(), *acted.try_recv().unwrap(), *acted.recv().unwrap()), (2, 3, 4));
    acted.seek(1).unwrap();
    assert_eq!(acted.recv_batch(32).unwrap().positions(), 1..5);
    producer.send(&5).unwrap();
    assert!(acted.seek(6).is_err(), "not released by its upstream");
    producer.close().unwrap();
    assert!(matches!(acted.try_recv(), Err(RecvError::Empty)));
    std::thread::scope(|scope| {
        let waiting =
            scope.spawn(move || (*acted.recv_timeout(LONG).unwrap(), acted.recv_timeout(LONG).map(|_| ())));
        assert_eq!(*written.recv().unwrap(), 5);
        written.release_to(6);
        assert!(matches!(written.recv(), Err(RecvError::Closed)));
        assert_eq!(waiting.join().unwrap(), (5, Err(RecvError::Closed)));
    });
}

#[test]
fn a_selector_waits_for_the_right_one_of_each_ring() {
    let rings = [ring(16), ring(16)];
    let mut journals = rings.each_ref().map(|(ring, _)| journal(ring));
    let mut selector = Selector::<u64>::new(Wait::Park);
    for (ring, _) in &rings {
        selector.add(named("act", &["journal"]).attach(ring).unwrap());
    }
    let [(_, mut one), (_, mut other)] = rings;
    one.send(&1).unwrap();
    other.send(&2).unwrap();
    assert!(matches!(selector.try_recv(), Err(RecvError::Empty)));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let (which, message) = selector.recv_timeout(LONG).unwrap();
            (which, *message)
        });
        assert_eq!(all(&mut journals[1]), [2]);
        assert_eq!(waiting.join().unwrap(), (1, 2));
    });
}

/// Each wait begins before what it waits for: the waiting one sleeps most of the time.
#[test]
fn a_follower_that_sleeps_is_woken_by_its_upstream() {
    let (ring, mut producer) = ring(16);
    let mut journal = journal(&ring);
    let mut act: Consumer<u64> = named("act", &["journal"]).attach(&ring).unwrap();
    const ROUNDS: u64 = 20;
    let mut waited = Duration::ZERO;
    std::thread::scope(|scope| {
        let acting = scope.spawn(move || {
            (0..ROUNDS).for_each(|n| assert_eq!(*act.recv_timeout(LONG).unwrap(), n));
        });
        for n in 0..ROUNDS {
            producer.send(&n).unwrap();
            let start = Instant::now();
            drop(journal.recv().unwrap());
            waited += start.elapsed();
        }
        acting.join().unwrap();
    });
}

#[test]
fn a_declared_follower_comes_after_others_from_the_first_message_on() {
    let options =
        RingOptions::of::<u64>(8).durable("journal").durable("act").group("g", GroupSettings::new());
    let ring = options.clone().comes_after("act", ["journal", "g"]).create_in_memory().unwrap();
    assert_eq!(ring.consumers()[1].after, ["journal", "g"]);
    Producer::<u64>::open(&ring).unwrap().send_batch(&[1, 2]).unwrap();
    let act = ConsumerOptions::new().name("act").durable(true);
    let mut act: Consumer<u64> = act.after(["g", "journal"]).attach(&ring).unwrap();
    assert_eq!(act.try_recv().unwrap_err(), RecvError::Empty);
    let mut journal: Consumer<u64> =
        ConsumerOptions::new().name("journal").durable(true).attach(&ring).unwrap();
    drop(journal.recv().unwrap());
    assert_eq!(act.try_recv().unwrap_err(), RecvError::Empty, "the group has not settled it");
    Worker::<u64>::join(&ring, "g").unwrap().recv().unwrap().ack().unwrap();
    assert_eq!(*act.recv().unwrap(), 1);
    assert_eq!(act.try_recv().unwrap_err(), RecvError::Empty);

    let refused = |options: RingOptions| options.create_in_memory().unwrap_err().error;
    // One that is declared later, one that is not, too many, and a follower that is not.
    for wrong in [
        options.clone().comes_after("journal", ["act"]),
        options.clone().comes_after("act", ["nobody"]),
        options.clone().comes_after("act", ["act"]),
        options.clone().comes_after("nobody", ["act"]),
    ] {
        let error = refused(wrong);
        let missing = matches!(error, CreateError::After { error: AfterError::NotFound { .. }, .. });
        assert!(missing, "{error:?}");
    }
    let many = refused(options.comes_after("act", ["journal", "journal", "g", "g", "g"]));
    assert!(
        matches!(many, CreateError::After { error: AfterError::TooMany { asked: 5, .. }, .. }),
        "{many:?}"
    );
}

fn passed(error: ProgressError) -> u64 {
    match error {
        ProgressError::TimedOut { passed, .. } => passed,
        other => panic!("{other}"),
    }
}

#[test]
fn progress_says_yes_below_the_watermark_and_not_yet_from_there_on() {
    let (ring, mut producer) = ring(16);
    let mut progress = ring.progress("journal").unwrap();
    assert_eq!((progress.passed(), progress.ring_id(), progress.name()), (0, ring.id(), "journal"));
    let no_time = Duration::ZERO;
    let away = progress.wait(0, no_time).unwrap_err();
    assert!(
        matches!(away, ProgressError::TimedOut { attended: false, passed: 0, position: 0, .. }),
        "{away}"
    );
    let mut journal = journal(&ring);
    assert!(matches!(progress.wait(0, no_time), Err(ProgressError::TimedOut { attended: true, .. })));
    producer.send_batch(&[0, 1, 2]).unwrap();
    (0..2).for_each(|_| drop(journal.recv().unwrap()));
    assert_eq!((progress.wait(0, None), progress.wait(1, no_time), progress.passed()), (Ok(()), Ok(()), 2));
    assert_eq!(
        [2, 3, u64::MAX].map(|position| passed(progress.wait(position, no_time).unwrap_err())),
        [2; 3]
    );
    // It goes and comes back: the same reader.
    drop(journal);
    assert_eq!(passed(progress.wait(2, no_time).unwrap_err()), 2);
    drop(self::journal(&ring).recv().unwrap());
    progress.wait(2, no_time).unwrap();
    producer.close().unwrap();
    assert!(matches!(progress.wait(3, None), Err(ProgressError::Closed { position: 3, head: 3, .. })));
    ring.remove_consumer("journal").unwrap();
    assert_eq!(progress.wait(2, None), Ok(()), "it had passed this one");
    let lost = progress.wait(3, None).unwrap_err();
    assert!(matches!(lost, ProgressError::Lost { at: 3, position: 3, .. }), "{lost}");
    // Another of the same name is another one.
    let mut other: Consumer<u64> = named("journal", &[]).start(Start::Latest).attach(&ring).unwrap();
    assert!(matches!(other.try_recv(), Err(RecvError::Closed)));
    assert!(matches!(progress.wait(3, None), Err(ProgressError::Lost { .. })));
    assert!(matches!(ring.progress("nobody").unwrap_err().error, EntryError::NoSuchReader { .. }));
}

#[test]
fn a_position_is_asked_for_in_its_own_ring() {
    let ring = RingOptions::of::<u64>(16).first_position(100).durable("journal").create_in_memory().unwrap();
    let mut progress = ring.progress("journal").unwrap();
    let before = progress.wait(99, None).unwrap_err();
    assert!(matches!(before, ProgressError::BeforeFirst { position: 99, first: 100, .. }), "{before}");
    let message = |ring| MessageId { ring, position: 100 };
    assert_eq!(passed(progress.wait_for(message(ring.id()), Duration::ZERO).unwrap_err()), 100);
    let other = RingId::from_bytes([7; 16]);
    let error = progress.wait_for(message(other), None).unwrap_err();
    assert!(matches!(error, ProgressError::OtherRing { asked, .. } if asked == other), "{error}");
}

/// Many wait for one commit, some for what is not in it, and the reader goes.
#[test]
fn all_that_wait_are_told_the_truth_and_soon() {
    let ring = RingOptions::of::<u64>(64).group("sms", GroupSettings::new()).create_in_memory().unwrap();
    let mut producer = Producer::<u64>::open(&ring).unwrap();
    let mut journal: Consumer<u64> = named("journal", &[]).attach(&ring).unwrap();
    let worker = Worker::<u64>::join(&ring, "sms").unwrap();
    producer.send_batch(&[0, 1, 2, 3]).unwrap();
    std::thread::scope(|scope| {
        let wait = |name: &'static str, position| {
            let mut progress = ring.progress(name).unwrap();
            scope.spawn(move || progress.wait(position, LONG))
        };
        let below: Vec<_> = (0..10).map(|_| wait("journal", 2)).collect();
        let above: Vec<_> = (3..13).map(|position| wait("journal", position)).collect();
        let settled = wait("sms", 1);
        let [first, second] = [(); 2].map(|()| worker.recv().unwrap());
        second.ack().unwrap();
        first.ack().unwrap();
        settled.join().unwrap().unwrap();
        (0..3).for_each(|_| drop(journal.recv().unwrap()));
        below.into_iter().for_each(|waiting| waiting.join().unwrap().unwrap());
        drop(journal);
        for (waiting, position) in above.into_iter().zip(3..) {
            let error = waiting.join().unwrap().unwrap_err();
            let asked = position;
            assert!(
                matches!(error, ProgressError::Lost { position, at: 3, .. } if position == asked),
                "{error}"
            );
        }
    });
}

/// Three readers stand at the same message: the first of the chain holds the ring.
#[test]
fn the_error_of_a_full_ring_names_the_reader_that_holds_the_chain_up() {
    let (ring, mut producer) = ring(4);
    let _risk: Consumer<u64> = named("risk", &["journal"]).attach(&ring).unwrap();
    let mut act: Consumer<u64> = named("act", &["risk"]).attach(&ring).unwrap();
    let mut journal = journal(&ring);
    producer.send_batch(&[0, 1, 2, 3]).unwrap();
    let mut holder = || match producer.try_send(&4).unwrap_err() {
        SendError::Full { holder, .. } => holder.name,
        other => panic!("{other}"),
    };
    assert_eq!(holder(), "journal");
    drop(journal.recv().unwrap());
    assert_eq!(holder(), "risk", "it may read on, and does not");
    assert!(act.try_recv().is_err());
    let waits = |name: &str| ring.consumers().into_iter().find(|it| it.name == name).unwrap().waits_for;
    assert_eq!((waits("act").as_deref(), waits("risk")), (Some("risk"), None));
}
