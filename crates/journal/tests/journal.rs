//! The fear: a journal releases what is not on the disk, goes on at the wrong place, or lets
//! messages go that somebody needs; a reader of the history is given something else than was
//! published, or takes a gap for the end.

mod messages;

use kit::TempDir;
use messages::message;
use slipring::{Producer, Ring, RingOptions, Start};
use slipring_journal::{
    Ended, Finding, History, HistoryError, Home, Journal, JournalError, JournalOptions, MergeError, Method,
    Notice, Origin, Sizes, Writer, check, readers,
};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// A ring in memory, a directory for its journal, and what was published.
struct Scene {
    ring: Ring,
    producer: Producer,
    place: TempDir,
}

/// Small segments: of 16 pages, the head included.
const SEGMENT: u64 = 64 << 10;

impl Scene {
    fn new() -> Scene {
        let ring = RingOptions::new(97, 1024).durable("journal").create_in_memory().unwrap();
        let producer = Producer::open(&ring).unwrap();
        Scene { ring, producer, place: TempDir::new() }
    }

    fn options() -> JournalOptions {
        JournalOptions::new().segment_bytes(SEGMENT).allow_memory(true)
    }

    fn publish(&mut self, messages: u64) {
        let from = self.producer.head();
        for position in from..from + messages {
            self.producer.send((kind(position), &message(position)[..])).unwrap();
        }
    }

    fn attach(&self) -> Result<Journal, JournalError> {
        Scene::options().attach(&self.ring, &self.place)
    }

    /// Journals what is published.
    fn commit(&self) {
        let journal = self.attach().unwrap();
        journal.handle().stop();
        assert_eq!(journal.run().unwrap(), Ended::Stopped);
        assert_eq!(self.tail(), self.ring.head());
    }

    /// Journals so many messages, one commit each.
    fn commit_each(&mut self, messages: u64) {
        let journal = self.attach().unwrap();
        let handle = journal.handle();
        std::thread::scope(|scope| {
            let running = scope.spawn(|| journal.run());
            for _ in 0..messages {
                self.publish(1);
                let end = self.producer.head();
                kit::until("it is on the disk", || handle.status().durable == end);
            }
            handle.stop();
            running.join().unwrap().unwrap();
        });
    }

    fn tail(&self) -> u64 {
        self.ring.consumers()[0].tail.unwrap()
    }

    fn home(&self) -> Home {
        Home::new(self.place.as_ref(), self.ring.id())
    }

    fn history(&self) -> History {
        History::open(&self.place).unwrap()
    }

    /// A writer that goes on here, as a journal that is killed before it releases.
    fn writer(&self, next: u64) -> Writer {
        Writer::new(&self.home(), Sizes::new(97, SEGMENT), Method::Synchronous, next, 0, false).unwrap()
    }

    fn segments(&self) -> Vec<u64> {
        self.home().segments().unwrap()
    }

    fn change(&self, first: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.home().segment(first);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    }
}

fn kind(position: u64) -> u32 {
    u32::try_from(position % 5).unwrap()
}

/// Reads up to the end or an error; every message is what was published there.
fn read(history: &mut History, from: u64) -> (u64, Option<HistoryError>) {
    let mut next = from;
    loop {
        match history.next() {
            Ok(Some(found)) => {
                let expected = (next, kind(next), &message(next)[..]);
                assert_eq!((found.position, found.kind, found.bytes), expected);
                next += 1;
            }
            Ok(None) => return (next, None),
            Err(error) => return (next, Some(error)),
        }
    }
}

/// Offsets of the frames of a segment.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut offsets = Vec::new();
    slipring_journal::scan::Segment::open(bytes)
        .unwrap()
        .walk(|head, _| offsets.push(usize::try_from(head.offset).unwrap()))
        .unwrap();
    offsets
}

#[test]
fn what_was_published_is_read_from_any_position_on() {
    let mut scene = Scene::new();
    for messages in [1, 700, 5, 0, 1000, 90] {
        scene.publish(messages);
        scene.commit();
    }
    let end = scene.ring.head();
    assert!(scene.segments().len() > 2, "{:?}", scene.segments());
    for from in (0..end).step_by(7).chain([end - 1, end]) {
        let mut history = scene.history();
        history.seek(Start::At(from)).unwrap();
        let (next, error) = read(&mut history, from);
        assert!(next == end && error.is_none(), "{error:?}");
    }
    let mut history = scene.history();
    assert_eq!(history.end().unwrap(), end);
    history.seek(Start::Latest).unwrap();
    // The same reader sees what comes later.
    scene.publish(3);
    scene.commit();
    let (next, error) = read(&mut history, end);
    assert!(next == end + 3 && error.is_none());
}

#[test]
fn nothing_is_released_before_it_is_written() {
    let mut scene = Scene::new();
    scene.publish(10);
    let journal = scene.attach().unwrap();
    assert_eq!(scene.tail(), 0);
    let handle = journal.handle();
    handle.stop();
    journal.run().unwrap();
    let status = handle.status();
    assert_eq!((status.durable, status.messages, status.in_write_for), (10, 10, None));
    assert_eq!((scene.tail(), scene.history().end().unwrap()), (10, 10));
}

#[test]
fn a_journal_that_was_killed_before_it_released_goes_on_behind_what_is_on_the_disk() {
    let mut scene = Scene::new();
    scene.publish(10);
    scene.commit();
    scene.publish(30);
    let mut writer = scene.writer(10);
    for position in 10..25 {
        writer.push(kind(position), &message(position));
    }
    writer.commit(1, false).unwrap();
    drop(writer);
    let journal = scene.attach().unwrap();
    assert_eq!((journal.position(), scene.tail()), (25, 25));
    drop(journal);
    scene.commit();
    assert!(matches!(read(&mut scene.history(), 0), (40, None)));
}

#[test]
fn a_ring_that_is_older_than_its_journal_is_refused_and_its_positions_are_not_given_out_twice() {
    let mut scene = Scene::new();
    scene.publish(10);
    scene.commit();
    // The ring came back as it was then; its journal has come to 30.
    let mut writer = scene.writer(10);
    (10..30).for_each(|position| writer.push(kind(position), &message(position)));
    writer.commit(1, false).unwrap();
    let error = scene.attach().unwrap_err();
    assert!(matches!(error, JournalError::RingBehind { found: 30, head: 10, .. }), "{error}");
    assert!(Scene::options().begin_here(true).attach(&scene.ring, &scene.place).is_err());
    // A producer went on in the old ring, and gave the positions to other messages.
    scene.publish(15);
    scene.producer.send(b"another").unwrap();
    scene.publish(10);
    let error = scene.attach().unwrap_err();
    assert!(matches!(error, JournalError::Rewritten { position: 25, .. }), "{error}");
    assert!(matches!(read(&mut scene.history(), 0), (30, None)), "what is there stays");
    // Elsewhere it may go on.
    let other = TempDir::new();
    let journal = Scene::options().begin_here(true).attach(&scene.ring, &other).unwrap();
    assert!(journal.position() >= 10);
}

#[test]
fn a_disk_that_lost_what_it_had_confirmed_is_refused_with_the_numbers() {
    let mut scene = Scene::new();
    scene.publish(10);
    scene.commit();
    scene.publish(10);
    scene.commit();
    scene.change(0, |bytes| {
        let last = frames(bytes)[2];
        bytes[last..].fill(0);
    });
    let error = scene.attach().unwrap_err();
    assert!(matches!(error, JournalError::DiskLost { found: 10, confirmed: 20, .. }), "{error}");
    scene.publish(1);
    let journal = Scene::options().begin_here(true).attach(&scene.ring, &scene.place).unwrap();
    journal.handle().stop();
    journal.run().unwrap();
    let mut history = scene.history();
    let (next, error) = read(&mut history, 0);
    assert!(next == 10 && matches!(error, Some(HistoryError::Damaged { from: 10, to: 20, .. })), "{error:?}");
    history.skip_gap();
    assert!(matches!(read(&mut history, 20), (21, None)));
}

#[test]
fn an_empty_place_is_not_taken_for_a_beginning() {
    let mut scene = Scene::new();
    scene.publish(10);
    scene.commit();
    let other = TempDir::new();
    let error = Scene::options().attach(&scene.ring, &other).unwrap_err();
    assert!(
        matches!(error, JournalError::NotBegun { tail: 10, .. })
            && error.to_string().contains("--begin-here")
    );
    assert!(std::fs::read_dir(&other).unwrap().next().is_none(), "nothing was made there");
    let elsewhere = other.file("no/such/place");
    assert!(Scene::options().begin_here(true).attach(&scene.ring, elsewhere).is_err());
    assert!(Scene::options().begin_here(true).attach(&scene.ring, &other).is_ok());
}

#[test]
fn a_filesystem_that_keeps_nothing_is_refused_unless_told() {
    let scene = Scene::new();
    let error = JournalOptions::new().attach(&scene.ring, &scene.place).unwrap_err();
    assert!(
        matches!(&error, JournalError::Filesystem { filesystem, .. } if filesystem == "tmpfs"),
        "{error}"
    );
}

#[test]
fn of_two_journals_the_second_is_told_who_has_it() {
    let scene = Scene::new();
    let _first = scene.attach().unwrap();
    // The ring.
    let other = TempDir::new();
    let error = Scene::options().attach(&scene.ring, &other).unwrap_err();
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    assert!(std::fs::read_dir(&other).unwrap().next().is_none(), "nothing was made there");
    // Two rings share a directory.
    let second = Scene::new();
    assert!(Scene::options().attach(&second.ring, &scene.place).is_ok());
    assert!(matches!(History::open(&scene.place), Err(HistoryError::SeveralRings { .. })));
    assert!(History::open_ring(&scene.place, second.ring.id()).is_ok());
}

#[test]
fn a_torn_last_commit_is_written_over() {
    let mut scene = Scene::new();
    scene.publish(10);
    scene.commit();
    scene.publish(20);
    // Half of a frame, from a journal that was killed.
    let before = scene.home().segment(0);
    let copy = scene.place.file("copy");
    std::fs::copy(&before, &copy).unwrap();
    scene.change(0, |bytes| {
        let end = frames(bytes).last().unwrap() + 4096;
        bytes[end..end + 900].fill(0xAB);
    });
    scene.commit();
    assert_eq!(scene.segments(), [0]);
    assert!(matches!(read(&mut scene.history(), 0), (30, None)));
}

#[test]
fn after_a_failed_write_a_new_segment_begins_and_each_position_is_read_once() {
    let mut scene = Scene::new();
    scene.publish(10);
    scene.commit();
    // The write was reported as failed, and is on the disk nevertheless.
    let mut writer = scene.writer(10);
    (10..14).for_each(|position| writer.push(kind(position), &message(position)));
    writer.commit(1, false).unwrap();
    drop(writer);
    let failed = scene.home().path().join(format!("{:020}.failed", 10));
    std::fs::write(failed, "planted").unwrap();
    scene.publish(20);
    scene.commit();
    assert_eq!(scene.segments(), [0, 10, 14]);
    assert!(matches!(read(&mut scene.history(), 0), (30, None)));
    // A segment that begins before the end of the one before it: the later one counts.
    let mut writer = scene.writer(29);
    writer.push(kind(29), &message(29));
    writer.push(kind(30), &message(30));
    writer.commit(1, false).unwrap();
    assert_eq!(scene.segments(), [0, 10, 14, 29]);
    assert!(matches!(read(&mut scene.history(), 0), (31, None)));
}

#[test]
fn starting_again_and_again_makes_no_segments() {
    let mut scene = Scene::new();
    scene.publish(5);
    for _ in 0..40 {
        scene.commit();
    }
    // Nor does it fill one, with marks that say nothing new.
    assert_eq!(scene.segments(), [0]);
    scene.publish(5);
    scene.commit();
    assert!(matches!(read(&mut scene.history(), 0), (10, None)));
}

#[test]
fn damage_is_final_exact_and_never_an_end_also_in_the_last_frame_of_a_segment() {
    let mut scene = Scene::new();
    scene.commit_each(40);
    let segments = scene.segments();
    assert!(segments.len() >= 3, "{segments:?}");
    let (second, third) = (segments[1], segments[2]);
    scene.change(second, |bytes| {
        let last = *frames(bytes).last().unwrap();
        bytes[last + 70] ^= 4;
    });
    let mut history = scene.history();
    let (next, error) = read(&mut history, 0);
    assert!(next == third - 1, "{next} {segments:?}");
    assert!(
        matches!(error, Some(HistoryError::Damaged { from, to, .. }) if (from, to) == (third - 1, third)),
        "{error:?}"
    );
    for _ in 0..3 {
        assert!(history.next().is_err(), "final");
    }
    history.skip_gap();
    assert!(matches!(read(&mut history, third), (40, None)));
    // The journal goes on nevertheless.
    scene.publish(1);
    scene.commit();
    // A whole segment is missing, and the first.
    std::fs::remove_file(scene.home().segment(second)).unwrap();
    let mut history = scene.history();
    let (next, error) = read(&mut history, 0);
    assert!(
        next == second
            && matches!(error, Some(HistoryError::Hole { from, to, .. }) if (from, to) == (second, third))
    );
    std::fs::remove_file(scene.home().segment(0)).unwrap();
    let mut history = scene.history();
    assert_eq!(history.position(), third);
    history.seek(Start::At(1)).unwrap();
    let error = history.next().unwrap_err();
    assert!(
        matches!(error, HistoryError::Gone { next: 1, first, missed, .. } if first == third && missed == third - 1)
    );
}

/// Journals, with these options, until so many messages more are durable, one commit each; then
/// until retention has come to rest.
fn run(
    scene: &mut Scene,
    options: &JournalOptions,
    messages: u64,
    rest: impl Fn(&[u64]) -> bool,
) -> Vec<Notice> {
    let mut journal = options.attach(&scene.ring, &scene.place).unwrap();
    let said = Arc::new(Mutex::new(Vec::new()));
    let saying = said.clone();
    journal.on_notice(move |notice| saying.lock().unwrap().push(notice));
    let handle = journal.handle();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| journal.run());
        for _ in 0..messages {
            scene.publish(1);
            let end = scene.producer.head();
            kit::until("it is on the disk", || handle.status().durable == end);
        }
        kit::until("retention has come to rest", || rest(&scene.segments()));
        handle.stop();
        running.join().unwrap().unwrap();
    });
    Arc::try_unwrap(said).unwrap().into_inner().unwrap()
}

#[test]
fn retention_by_bytes_keeps_what_it_says_and_a_reader_that_is_overtaken_is_told() {
    let mut scene = Scene::new();
    let options = Scene::options().keep_bytes(3 * SEGMENT);
    scene.commit_each(20);
    let mut slow = scene.history();
    assert!(slow.next().unwrap().is_some());
    run(&mut scene, &options, 100, |segments| segments.len() == 3);
    let first = scene.segments()[0];
    // The segment that it has open is still whole.
    let (next, error) = read(&mut slow, 1);
    let Some(HistoryError::Gone { next: at, first: there, missed, .. }) = error else { panic!("{error:?}") };
    assert!(
        next == at && there == first && missed == first - next && next < 20,
        "{next} {at} {there} {missed}"
    );
    slow.skip_gap();
    assert!(matches!(read(&mut slow, first), (120, None)));
    // The file of a retired segment is used again: there are no more than four in all.
    let files = std::fs::read_dir(scene.home().path()).unwrap().filter_map(Result::ok);
    let large: Vec<PathBuf> =
        files.filter(|file| file.metadata().unwrap().len() == SEGMENT).map(|file| file.path()).collect();
    assert!(large.len() <= 4, "{large:?}");
}

#[test]
fn a_named_reader_holds_what_it_needs_up_to_a_limit() {
    let mut scene = Scene::new();
    let options = Scene::options().keep_bytes(2 * SEGMENT).hold_bytes(2 * SEGMENT);
    scene.commit_each(3);
    readers::note(&scene.home(), "audit", 2).unwrap();
    let said = run(&mut scene, &options, 50, |segments| segments.len() == 4);
    assert!(matches!(&said[..], [Notice::HeldFor(reader)] if reader.name == "audit"), "{said:?}");
    assert_eq!(scene.segments()[0], 0);
    let said = run(&mut scene, &options, 40, |segments| segments.len() == 4 && segments[0] > 2);
    assert!(
        said.iter().any(|notice| matches!(notice, Notice::Overrun(reader, _) if reader.name == "audit")),
        "{said:?}"
    );
    assert!(
        readers::forget(&scene.home(), "audit").unwrap() && !readers::forget(&scene.home(), "audit").unwrap()
    );
    run(&mut scene, &options, 1, |segments| segments.len() == 2);
    assert!(readers::note(&scene.home(), "../x", 1).is_err());
}

#[test]
fn on_a_quiet_ring_too_messages_grow_old() {
    let mut scene = Scene::new();
    let options = Scene::options().keep_age(Duration::from_millis(800));
    // A message every time that the last one's segment was closed; never is a segment full.
    run(&mut scene, &options, 1, |segments| segments == [0, 1]);
    run(&mut scene, &options, 1, |segments| segments == [2]);
    let mut history = scene.history();
    assert!(matches!(read(&mut history, 2), (2, None)));
}

#[test]
fn a_hard_link_of_a_segment_keeps_its_content() {
    let mut scene = Scene::new();
    scene.commit_each(20);
    let copy = scene.place.file("backup");
    std::fs::hard_link(scene.home().segment(0), &copy).unwrap();
    let before = std::fs::read(&copy).unwrap();
    run(&mut scene, &Scene::options().keep_bytes(SEGMENT), 60, |segments| segments.len() == 1);
    assert!(std::fs::read(&copy).unwrap() == before);
}

#[test]
fn a_seek_by_time_finds_the_first_message_that_is_not_older() {
    let mut scene = Scene::new();
    scene.commit_each(50);
    let mut stamps = Vec::new();
    let mut history = scene.history();
    while let Some(message) = history.next().unwrap() {
        stamps.push(message.committed);
    }
    assert!(stamps.is_sorted() && stamps.len() == 50);
    for time in
        stamps.iter().copied().chain([SystemTime::UNIX_EPOCH, SystemTime::now() + Duration::from_secs(9)])
    {
        let expected = stamps.partition_point(|stamp| *stamp < time) as u64;
        let sought = history.seek_time(time).unwrap();
        assert_eq!((sought.position, sought.clock_was_behind), (expected, false));
        assert!(matches!(read(&mut history, expected), (50, None)));
    }
}

#[test]
fn stamps_never_fall_when_the_clock_does_and_a_seek_says_so() {
    let mut scene = Scene::new();
    scene.commit_each(3);
    // The last stamp of an earlier boot, an hour ahead of the clock.
    let ahead = SystemTime::now() + Duration::from_secs(3600);
    let ns = u64::try_from(ahead.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos()).unwrap();
    let sizes = Sizes::new(97, SEGMENT);
    let mut writer = Writer::new(&scene.home(), sizes, Method::Synchronous, 3, ns, false).unwrap();
    writer.push(kind(3), &message(3));
    writer.commit(1, false).unwrap();
    scene.publish(2);
    scene.commit();
    let mut history = scene.history();
    let sought = history.seek_time(ahead - Duration::from_secs(60)).unwrap();
    assert_eq!((sought.position, sought.clock_was_behind), (3, true));
    assert!(matches!(read(&mut history, 3), (5, None)));
}

#[test]
fn a_later_version_is_neither_written_over_nor_taken_for_an_end() {
    let mut scene = Scene::new();
    scene.publish(5);
    scene.commit();
    scene.change(0, |bytes| {
        let last = *frames(bytes).last().unwrap();
        let seed = slipring_journal::scan::Segment::open(&bytes[..]).unwrap().head().seed();
        bytes[last + 44] |= 0x40;
        let sum = seed.sum(&bytes[last..last + 60]);
        bytes[last + 60..last + 64].copy_from_slice(&sum.to_le_bytes());
    });
    let error = scene.attach().unwrap_err();
    assert!(matches!(error, JournalError::History(HistoryError::Unknown { .. })), "{error}");
    assert!(matches!(read(&mut scene.history(), 0), (5, Some(HistoryError::Unknown { .. }))));
}

/// A producer at full speed, small segments, retention that retires most of them, and readers that
/// begin all the time.
#[test]
fn history_goes_over_to_live_without_a_gap_or_a_double_while_everything_moves() {
    let total = 200_000;
    let Scene { ring, mut producer, place } = Scene::new();
    let options = Scene::options().keep_bytes(40 * SEGMENT).until_closed(true);
    let journal = options.attach(&ring, &place).unwrap();
    let handle = journal.handle();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| journal.run());
        let (ring, place) = (&ring, place.as_ref());
        let readers: Vec<_> = (0..3_u64)
            .map(|n| {
                let handle = handle.clone();
                scope.spawn(move || {
                    kit::until("some are durable", || handle.status().durable > n * 30_000);
                    follow(History::open(place).unwrap().then_live(ring).unwrap())
                })
            })
            .collect();
        for position in 0..total {
            producer.send((kind(position), &message(position)[..])).unwrap();
        }
        producer.close().unwrap();
        let origins: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        assert_eq!(running.join().unwrap().unwrap(), Ended::Closed);
        for (from_history, last) in &origins {
            assert_eq!(*last, total);
            assert!(*from_history < total);
        }
        assert!(origins.iter().any(|(from_history, _)| *from_history > 0), "{origins:?}");
    });
}

/// Reads to the end of the stream. Returns the number of messages from the history, and the end.
fn follow(mut merged: slipring_journal::Merged) -> (u64, u64) {
    let (mut next, mut from_history, mut was_live) = (merged.position(), 0, false);
    loop {
        let error = match merged.next() {
            Ok(found) => {
                assert_eq!((found.position, found.kind, &*found), (next, kind(next), &message(next)[..]));
                next += 1;
                let is_history = found.origin == Origin::History;
                assert_eq!(found.committed.is_some(), is_history);
                assert!(!(is_history && was_live), "history comes first");
                was_live = !is_history;
                from_history += u64::from(is_history);
                continue;
            }
            Err(error) => error,
        };
        match error {
            MergeError::Receive(slipring::RecvError::Closed) => return (from_history, next),
            // Retention was faster than the reader: it says so, and goes on.
            MergeError::History(HistoryError::Gone { next: at, first, .. }) => {
                assert!(at == next && first > next);
                next = first;
                merged.skip_gap();
            }
            error => panic!("{error}"),
        }
    }
}

#[test]
fn a_reader_that_the_ring_overtakes_holds_it_in_the_end() {
    let mut scene = Scene::new();
    scene.publish(10);
    scene.commit();
    // The journal of a ring that has gone on: the reader is behind by more than the ring holds, and
    // sees the end of the segments, again and again, with the ring beyond it.
    let mut merged = scene.history().then_live(&scene.ring).unwrap();
    assert_eq!(merged.origin(), Origin::Live, "the ring has all of it");
    drop(merged);
    for _ in 0..4 {
        scene.publish(1000);
        scene.commit();
    }
    let mut history = scene.history();
    history.seek(Start::At(0)).unwrap();
    merged = history.then_live(&scene.ring).unwrap();
    assert_eq!(merged.origin(), Origin::History);
    let Scene { ring, producer, place } = scene;
    producer.close().unwrap();
    assert_eq!(follow(merged).1, 4010);
    // The durable consumer was removed, and the ring went on without a journal.
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    let mut merged = History::open(&place).unwrap().then_live(&ring).unwrap();
    ring.remove_consumer("journal").unwrap();
    for position in 4010..7000 {
        producer.send((kind(position), &message(position)[..])).unwrap();
    }
    for _ in 0..4010 {
        merged.next().unwrap();
    }
    let error = merged.next_timeout(Duration::ZERO).map(|found| found.position).unwrap_err();
    let MergeError::Apart { end: 4010, earliest } = error else { panic!("{error}") };
    merged.skip_gap();
    assert_eq!(merged.next().unwrap().position, earliest);
}

#[test]
fn a_check_finds_all_of_it_and_a_repair_only_moves() {
    let mut scene = Scene::new();
    scene.commit_each(60);
    let home = scene.home();
    let report = check(&home, |_| ()).unwrap();
    assert!(report.is_sound() && (report.messages, report.first, report.end) == (60, 0, 60), "{report:?}");
    let segments = scene.segments();
    let (second, third) = (segments[1], segments[2]);
    scene.change(second, |bytes| {
        let frames = frames(bytes);
        bytes[frames[3] + 70] ^= 4;
        bytes[frames.last().unwrap() + 70] ^= 4;
    });
    scene.change(third, |bytes| bytes[9] ^= 1);
    std::fs::remove_file(home.path().join("ring.json")).unwrap();
    let report = check(&home, |_| ()).unwrap();
    let end = segments[3];
    let found: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(matches!(report.findings[0], Finding::Description { .. }), "{found:?}");
    assert!(
        matches!(report.findings[1], Finding::Damaged { from, to, .. } if (from, to) == (second + 3, second + 4)),
        "{found:?}"
    );
    assert!(
        matches!(report.findings[2], Finding::Damaged { from, to, .. } if (from, to) == (third - 1, third)),
        "{found:?}"
    );
    assert!(
        matches!(report.findings[3], Finding::Head { first, to: Some(to), .. } if (first, to) == (third, end)),
        "{found:?}"
    );
    assert_eq!((report.findings.len(), report.messages), (4, 60 - 2 - (end - third)), "{found:?}");
    let all = || {
        let entries = std::fs::read_dir(home.path())
            .unwrap()
            .chain(std::fs::read_dir(home.path().join("aside")).into_iter().flatten());
        entries
            .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "seg"))
            .count()
    };
    let before = all();
    assert_eq!(report.repair(false).unwrap(), [home.segment(third)]);
    assert_eq!(scene.segments(), segments);
    report.repair(true).unwrap();
    assert_eq!(all(), before);
    let mut history = scene.history();
    let mut gaps = Vec::new();
    loop {
        match read(&mut history, gaps.last().map_or(0, |(_, to)| *to)) {
            (_, None) => break,
            (_, Some(HistoryError::Damaged { from, to, .. } | HistoryError::Hole { from, to, .. })) => {
                gaps.push((from, to))
            }
            (_, Some(error)) => panic!("{error}"),
        }
        history.skip_gap();
    }
    assert_eq!(gaps, [(second + 3, second + 4), (third - 1, end)]);
}
