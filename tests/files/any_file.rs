//! The fear: a file that was damaged after its creation crashes, hangs or misleads its users.
//!
//! Every single bit of a ring's control words and of its slots is flipped in turn, pages are
//! overwritten by noise, and every operation of a ring is tried on the result. Each step must be
//! refused with an error or work, in a bounded number of operations; a message that a producer
//! publishes into such a ring must reach every reader that takes it as it was published. A child
//! process does the work, so that a signal or an endless loop is seen for what it is, and says at
//! which damage it happened.
//!
//! The header, lengths, and what is not a file at all are in `attach_errors.rs`. At the end stands
//! what was found this way, each by itself.

use kit::format::{consumer, group, producer, readers, record, size, slot, worker};
use kit::{Child, Dice, TempDir};
use slipring::{
    AttachError, Consumer, ConsumerOptions, DeadLetters, Delivery, Error, GroupSettings, Observer, OpenError,
    Producer, RecvError, Ring, RingOptions, SendError, Start, Worker, WorkerOptions,
};
use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

// Offsets in the file of a ring with two entries of each kind.
const READERS_PAGE: u64 = readers::SEGMENT_OF_SMALL;
const CONSUMERS: u64 = READERS_PAGE + readers::CONSUMERS;
const RECORDER: u64 = CONSUMERS + 2 * consumer::LEN;
const GROUPS: u64 = READERS_PAGE + 40960;
const WORKERS: u64 = GROUPS + 2 * group::LEN;
const DELIVERIES: u64 = GROUPS + 4096;
const DELIVERIES_LEN: u64 = 128;
const FILE_LEN: u64 = DELIVERIES + 4096;

const CAPACITY: u64 = 4;

/// How the slots lie: with blocks that have a place beside their header, and with longer ones.
#[derive(Clone, Copy)]
struct Layout {
    block: usize,
    slot_len: u64,
    /// Bytes of a slot that say something: its header, and what lies beside it.
    slot_used: u64,
}
const LAYOUTS: [Layout; 2] =
    [Layout { block: 48, slot_len: 64, slot_used: 40 }, Layout { block: 160, slot_len: 16, slot_used: 16 }];

/// More than any honest loop over this ring takes.
const ENOUGH: u64 = 64;
/// Generous: the work takes seconds.
const WATCHDOG: Duration = Duration::from_secs(300);

/// The bytes of the message at a position, whichever producer sends it.
fn message(position: u64) -> [u8; 24] {
    let mut bytes = [0; 24];
    for (nth, chunk) in (1_u64..).zip(bytes.chunks_exact_mut(8)) {
        chunk.copy_from_slice(&position.wrapping_mul(0x9E37_79B9_7F4A_7C15 | nth).to_le_bytes());
    }
    bytes
}

/// A ring with a past: two laps published, a durable consumer in the middle of them, a group with
/// messages in several states. No process is attached.
fn furnish(path: &Path, block: usize) {
    let settings = GroupSettings::new().ack_wait(Duration::from_secs(600)).max_deliver(3);
    let ring = RingOptions::new(block, 4)
        .consumers(2)
        .durable("durable")
        .group("group", settings)
        .groups(2)
        .workers(2)
        .dead_letter_capacity(4)
        .create(path)
        .unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    let mut durable = ConsumerOptions::new().name("durable").durable(true).attach::<[u8]>(&ring).unwrap();
    let worker = WorkerOptions::new("group").name("worker").join::<[u8]>(&ring).unwrap();
    for position in 0..8 {
        match position {
            6 => {
                let mut batch = producer.try_claim_batch(2).unwrap();
                for position in 6..8 {
                    assert!(batch.push((7, &message(position))).unwrap());
                }
                batch.publish().unwrap();
            }
            7 => {}
            _ => drop(producer.try_send((7, &message(position))).unwrap()),
        }
        if position < 6 {
            drop(durable.try_recv().unwrap());
        }
        match position {
            0..5 => worker.try_recv().unwrap().ack().unwrap(),
            5 => worker.try_recv().unwrap().nack(Duration::from_secs(600)).unwrap(),
            6 => drop(worker.try_recv().unwrap().hand_back()),
            _ => {}
        }
    }
    let mut given_up = producer.try_claim_batch(1).unwrap();
    assert!(given_up.push((7, b"given up")).unwrap());
    given_up.abort();
    assert_eq!(ring.check(), []);
    assert_eq!(ring.file_len(), FILE_LEN);
}

/// A damaged copy, and how the file becomes the next one.
struct Victim {
    path: PathBuf,
    layout: Layout,
    file: File,
    dead: File,
    /// The parent process reads here which trial was under way.
    progress: File,
    /// A slot may say by itself that it holds the next message, and no reader can know better.
    forged: Cell<bool>,
    image: Vec<u8>,
    dead_image: Vec<u8>,
}

impl Victim {
    fn new(directory: &Path, layout: Layout) -> Victim {
        let path = directory.join("ring");
        furnish(&path, layout.block);
        let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path).unwrap();
        let dead_path = directory.join("ring.dead");
        Victim {
            layout,
            file: open(&path),
            dead: open(&dead_path),
            progress: File::create(directory.join("progress")).unwrap(),
            forged: Cell::new(false),
            image: std::fs::read(&path).unwrap(),
            dead_image: std::fs::read(dead_path).unwrap(),
            path,
        }
    }

    /// The sound file again, but for `bytes` at `offset`.
    fn damage(&self, what: &str, offset: u64, bytes: &[u8]) {
        self.progress.write_all_at(format!("{what} at {offset}\n{:120}", "").as_bytes(), 0).unwrap();
        self.file.write_all_at(&self.image[..12288], 0).unwrap();
        self.file.write_all_at(&self.image[size(READERS_PAGE)..], READERS_PAGE).unwrap();
        self.dead.write_all_at(&self.dead_image, 0).unwrap();
        self.forged.set(false);
        self.write(offset, bytes);
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.path.with_file_name(name)
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        let in_slots = (slot::FIRST..slot::FIRST + CAPACITY * self.layout.slot_len).contains(&offset)
            && !bytes.is_empty();
        self.forged.set(self.forged.get() || in_slots);
        self.file.write_all_at(bytes, offset).unwrap();
    }
}

/// How often what happened.
#[derive(Debug, Default)]
struct Tally {
    tried: u64,
    refused: u64,
    violations: u64,
    received: u64,
    acked: u64,
}

/// Looks at one message. This producer's messages are as it published them; older ones may be
/// damaged.
fn look(victim: &Victim, who: &str, position: u64, bytes: &[u8], first_new: u64) {
    assert!(bytes.len() <= victim.layout.block, "{who}: {} bytes", bytes.len());
    if position >= first_new {
        assert_eq!(bytes, message(position), "{who}: position {position}");
    }
}

/// One reader's next message, if it is there: position and bytes.
type Next<'r> = Box<dyn FnMut() -> Result<u64, RecvError> + 'r>;

/// Everything that can be done with a ring, each step refused or done.
fn try_all(victim: &Victim, tally: &mut Tally) {
    let path = victim.path.as_path();
    tally.tried += 1;
    let mut note = |error: Error| {
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        tally.refused += 1;
    };
    let Some(ring) = Ring::open(path).map_err(|error| note(error.into())).ok() else { return };
    inspect(&ring);
    let mut producer = Producer::<[u8]>::open(path).map_err(|error| note(error.into())).ok();
    let first_new = producer.as_ref().filter(|_| !victim.forged.get()).map_or(u64::MAX, Producer::head);
    let consumer = ConsumerOptions::new().name("new").start(Start::Earliest).attach::<[u8]>(path);
    let mut consumer = consumer.map_err(|error| note(error.into())).ok();
    let mut observer =
        Observer::<[u8]>::attach(path, Start::Earliest).map_err(|error| note(error.into())).ok();
    let worker = WorkerOptions::new("group").join::<[u8]>(path).map_err(|error| note(error.into())).ok();
    let acked = Cell::new(0);
    for _ in 0..2 * CAPACITY {
        if let Some(producer) = &mut producer {
            let bytes = message(producer.head());
            match producer.try_send((7, &bytes)) {
                Ok(_) | Err(SendError::Full { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let mut readers: Vec<Next<'_>> = Vec::new();
        readers.extend(consumer.iter_mut().map(|consumer| -> Next<'_> {
            Box::new(|| {
                let message = consumer.try_recv()?;
                look(victim, "consumer", message.position(), &message, first_new);
                Ok(message.position())
            })
        }));
        readers.extend(observer.iter_mut().map(|observer| -> Next<'_> {
            Box::new(|| {
                let message = observer.try_recv()?;
                look(victim, "observer", message.position(), &message, first_new);
                Ok(message.position())
            })
        }));
        readers.extend(worker.iter().map(|worker| -> Next<'_> {
            let acked = &acked;
            Box::new(move || {
                let mut delivery = worker.try_recv()?;
                let position = delivery.position();
                look(victim, "worker", position, &delivery, first_new);
                // No other worker is about: a lease that was just taken is not lost.
                delivery.extend().unwrap();
                delivery.ack().unwrap();
                acked.set(acked.get() + 1);
                Ok(position)
            })
        }));
        for next in &mut readers {
            let mut last = None;
            for turn in 0.. {
                assert!(turn < ENOUGH, "a reader goes on for ever");
                match next() {
                    Ok(position) => assert!(last.replace(position) != Some(position), "twice"),
                    Err(_) => break,
                }
                tally.received += 1;
            }
        }
    }
    tally.acked += acked.get();
    wait_a_little(&mut producer, &mut consumer, &mut observer, worker.as_ref());
    if let Some(worker) = &worker {
        if let Ok(delivery) = worker.try_recv() {
            let _ = delivery.reject("no");
        }
    }
    drop((consumer, worker));
    resume_and_evict(victim, first_new, &mut |error| {
        tally.refused += 1;
        drop(error);
    });
    if let Some(producer) = producer {
        producer.close().unwrap();
    }
    tally.violations += u64::from(!ring.check().is_empty());
    ring.repair().unwrap();
    let left = ring.check();
    assert!(left.iter().all(|violation| !violation.repairable), "not repaired: {left:?}");
    inspect(&ring);
    if let Ok(mut dead) = DeadLetters::open(path) {
        assert!(dead.purge(ENOUGH).is_ok_and(|purged| purged < ENOUGH));
    }
    ring.groups().iter().for_each(|group| drop(ring.remove_group(&group.name)));
    ring.consumers().iter().for_each(|consumer| drop(ring.remove_consumer(&consumer.name)));
}

/// Waiting calls that have no time to wait.
fn wait_a_little(
    producer: &mut Option<Producer>,
    consumer: &mut Option<Consumer>,
    observer: &mut Option<Observer>,
    worker: Option<&Worker>,
) {
    if let Some(producer) = producer {
        let bytes = message(producer.head());
        let _ = producer.send_timeout((7, &bytes), Duration::ZERO);
        let _ = producer.try_claim_batch(3).map(|batch| batch.abort());
    }
    if let Some(consumer) = consumer {
        let _ = consumer.recv_timeout(Duration::ZERO).map(drop);
        let _ = consumer.try_recv_batch(9).map(|batch| batch.iter().map(|item| item.len()).sum::<usize>());
    }
    if let Some(observer) = observer {
        let _ = observer.recv_timeout(Duration::ZERO).map(|message| message.len());
    }
    if let Some(worker) = worker {
        drop(worker.recv_timeout(Duration::ZERO));
    }
}

/// The durable consumer comes back, and one that may be evicted comes.
fn resume_and_evict(victim: &Victim, first_new: u64, refused: &mut dyn FnMut(Error)) {
    let path = victim.path.as_path();
    match ConsumerOptions::new().name("durable").durable(true).start(Start::Earliest).attach::<[u8]>(path) {
        Ok(mut durable) => {
            let mut turns = 0;
            while let Ok(message) = durable.try_recv() {
                look(victim, "durable", message.position(), &message, first_new);
                turns += 1;
                assert!(turns < ENOUGH);
            }
        }
        Err(error) => refused(error.into()),
    }
    match ConsumerOptions::new().start(Start::Earliest).attach_evictable::<[u8]>(path) {
        Ok(mut evictable) => {
            let mut turns = 0;
            while let Ok(message) = evictable.try_recv() {
                look(victim, "evictable", message.position(), &message, first_new);
                turns += 1;
                assert!(turns < ENOUGH);
            }
        }
        Err(error) => refused(error.into()),
    }
}

/// Every call that only looks.
fn inspect(ring: &Ring) {
    ring.check();
    ring.events();
    ring.producer_info();
    ring.head();
    let texts = (ring.consumers(), ring.groups(), ring.dead_letters().map(|letters| letters.len()));
    assert!(!format!("{texts:?}").is_empty());
}

/// Every bit of these ranges, one at a time. No single bit makes a slot look like the next message.
fn flip_all(victim: &Victim, what: &str, ranges: &[std::ops::Range<u64>]) -> Tally {
    let mut tally = Tally::default();
    for offset in ranges.iter().cloned().flatten() {
        let byte = victim.image[size(offset)];
        for bit in 0..8 {
            victim.damage(&format!("{what}, bit {bit}"), offset, &[byte ^ 1 << bit]);
            victim.forged.set(false);
            try_all(victim, &mut tally);
        }
    }
    tally
}

fn every(start: u64, step: u64, count: u64, len: u64) -> Vec<std::ops::Range<u64>> {
    (0..count).map(|n| start + n * step..start + n * step + len).collect()
}

/// The words of the control pages lie at the start of a line; the bytes between have no use.
fn flip_control(victim: &Victim) {
    let used = every(producer::PAGE, 128, 6, 32);
    report(victim, "producer's page", &flip_all(victim, "producer's page", &used), true);
    let mut used = every(READERS_PAGE, 128, 4, 8);
    used.push(READERS_PAGE + 512..READERS_PAGE + 512 + 3 * 8);
    let tally = flip_all(victim, "readers' page", &used);
    assert!(tally.violations > 0, "no count of used entries is ever doubted");
    report(victim, "readers' page", &tally, false);
    // One bit of every third byte that has no meaning.
    let mut tally = Tally::default();
    for page in [producer::PAGE, READERS_PAGE] {
        for offset in
            (page..page + 4096).step_by(3).filter(|offset| offset % 128 >= 32 || offset - page >= 768)
        {
            victim.damage("nobody's", offset, &[1 << (offset % 8)]);
            try_all(victim, &mut tally);
        }
    }
    assert_eq!(tally.refused, 0, "{tally:?}");
    report(victim, "nobody's bytes", &tally, false);
}

fn flip_consumers(victim: &Victim) {
    let entries = flip_all(victim, "consumer", &every(CONSUMERS, consumer::LEN, 2, consumer::LEN));
    report(victim, "consumer table", &entries, true);
    report(
        victim,
        "recorder",
        &flip_all(victim, "recorder", &every(RECORDER, record::LEN, 1, record::LEN)),
        false,
    );
}

fn flip_groups(victim: &Victim) {
    // The second entry is free: of most of its bits nothing is ever read.
    let mut entries = every(GROUPS, group::LEN, 1, group::LEN);
    entries.extend(every(GROUPS + group::LEN, 128, 3, 40));
    report(victim, "group table", &flip_all(victim, "group", &entries), false);
    let mut workers = every(WORKERS, worker::LEN, 1, worker::LEN);
    workers.extend(every(WORKERS + worker::LEN, 128, 2, 16));
    report(victim, "worker table", &flip_all(victim, "worker", &workers), false);
}

fn flip_slots(victim: &Victim) {
    report(
        victim,
        "deliveries",
        &flip_all(victim, "delivery", &every(DELIVERIES, DELIVERIES_LEN, 2, 32)),
        false,
    );
    let Layout { slot_len, slot_used, .. } = victim.layout;
    report(
        victim,
        "slots",
        &flip_all(victim, "slot", &every(slot::FIRST, slot_len, CAPACITY, slot_used)),
        false,
    );
}

/// Whole pages, entries and words of noise, of ones, of zeros, and of the numbers at which sums
/// wrap.
fn overwrite(victim: &Victim) {
    let mut dice = Dice::new(1);
    let mut tally = Tally::default();
    let pages: Vec<u64> = (producer::PAGE..12288).chain(READERS_PAGE..FILE_LEN).step_by(4096).collect();
    for round in 0..40 {
        for &page in &pages {
            let mut bytes = victim.image[size(page)..size(page + 4096)].to_vec();
            // Sparse noise gets further than dense noise, which is found out at once.
            for chunk in bytes.chunks_exact_mut(8) {
                if round < 4 || dice.hits(8) {
                    chunk.copy_from_slice(&odd_value(&mut dice).to_le_bytes());
                }
            }
            victim.damage("noise", page, &bytes);
            try_all(victim, &mut tally);
        }
    }
    for _ in 0..4000 {
        let words: Vec<u64> =
            (producer::PAGE..slot::FIRST + 256).chain(READERS_PAGE..FILE_LEN).step_by(8).collect();
        victim.damage("words", producer::PAGE, &[]);
        for _ in 0..1 + dice.roll(6) {
            // Half of them where there is something to damage.
            let word = dice.pick(&words);
            let word = if dice.hits(2) { word } else { word - word % 128 };
            victim.write(word, &odd_value(&mut dice).to_le_bytes());
        }
        try_all(victim, &mut tally);
    }
    for fill in [0, 0xFF] {
        for &page in &pages {
            victim.damage("filled", page, &[fill; 4096]);
            try_all(victim, &mut tally);
        }
    }
    report(victim, "pages and words", &tally, true);
}

/// Any number, small numbers, and the neighbourhoods of those at which something wraps.
fn odd_value(dice: &mut Dice) -> u64 {
    let near = dice.roll(16);
    match dice.roll(8) {
        0 => dice.any(),
        1 | 2 => near,
        3 => u64::MAX - near,
        4 => (1_u64 << 63).wrapping_add(near).wrapping_sub(8),
        5 => (1_u64 << 63) - (1 << 33) + near - 8,
        6 => dice.any() & 0xFFF0_0000_0000_000F,
        _ => 1 << dice.roll(64),
    }
}

fn report(victim: &Victim, what: &str, tally: &Tally, refuses: bool) {
    assert!(tally.received > 0 && tally.acked > 0, "{what}: nothing was ever done: {tally:?}");
    assert!(!refuses || (tally.refused > 0 && tally.violations > 0), "{what}: all passed: {tally:?}");
    let Tally { tried, refused, violations, .. } = tally;
    let mut results = OpenOptions::new().create(true).append(true).open(victim.beside("results")).unwrap();
    writeln!(results, "{what}: {tried} tried, {refused} refusals, {violations} seen by check").unwrap();
}

/// Runs a role in a child that must end by itself, and well: once with each layout.
fn guarded(role: &str) {
    (0..LAYOUTS.len()).for_each(|layout| guarded_with(role, layout));
}

fn guarded_with(role: &str, layout: usize) {
    let dir = TempDir::new();
    let start = Instant::now();
    let given = [dir.as_ref().to_str().unwrap(), &layout.to_string()];
    let mut child = Child::start(&format!("any_file/{role}"), &given);
    let read = |name| std::fs::read_to_string(dir.file(name)).unwrap_or_default();
    let status = loop {
        if let Some(status) = child.process.try_wait().unwrap() {
            break status;
        }
        assert!(start.elapsed() < WATCHDOG, "{role} hangs: {}", read("progress"));
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{role}: {status}, at {}", read("progress"));
    child.finish();
    println!("{}", read("results"));
}

#[test]
fn every_bit_of_the_control_pages_may_be_wrong() {
    guarded("control");
}

#[test]
fn every_bit_of_the_consumer_table_and_the_recorder_may_be_wrong() {
    guarded("consumers");
}

#[test]
fn every_bit_of_the_groups_and_their_workers_may_be_wrong() {
    guarded("groups");
}

#[test]
fn every_bit_of_a_slot_and_of_a_delivery_may_be_wrong() {
    guarded("slots");
}

#[test]
fn pages_and_words_may_hold_anything() {
    guarded("overwrite");
}

/// A ring of which one word of the file is changed before a process attaches.
fn with_word(directory: &TempDir, offset: u64, value: u64) -> PathBuf {
    with_word_and_blocks(directory, LAYOUTS[0].block, offset, value)
}

fn with_word_and_blocks(directory: &TempDir, block: usize, offset: u64, value: u64) -> PathBuf {
    let path = directory.file("ring");
    let settings = GroupSettings::new().ack_wait(Duration::from_secs(600));
    let options = RingOptions::new(block, 4).consumers(2).durable("durable").group("group", settings);
    options.groups(2).workers(2).create(&path).unwrap();
    write_word(&path, offset, value);
    path
}

fn write_word(path: &Path, offset: u64, value: u64) {
    kit::format::write(path, offset, &value.to_le_bytes());
}

/// Sends two laps, while every reader keeps up.
fn is_not_held_up(path: &Path, durable: bool) {
    let attach = || ConsumerOptions::new().name("durable").durable(true).attach::<[u8]>(path).unwrap();
    let mut durable = durable.then(attach);
    let worker = Worker::<[u8]>::join(path, "group").unwrap();
    let mut producer = Producer::<[u8]>::open(path).unwrap();
    for position in 0..2 * CAPACITY {
        producer.try_send(&message(position)).unwrap();
        let _ = durable.as_mut().map(|durable| durable.try_recv().map(drop));
        worker.try_recv().unwrap().ack().unwrap();
    }
}

#[test]
fn a_floor_of_a_free_entry_holds_no_producer_up() {
    let dir = TempDir::new();
    let path = with_word(&dir, GROUPS + group::LEN, 0);
    let ring = Ring::open(&path).unwrap();
    assert!(ring.check()[0].repairable);
    is_not_held_up(&path, true);
    write_word(&path, GROUPS + group::LEN, 3);
    assert_eq!(ring.repair().unwrap().len(), 1);
    assert_eq!(ring.check(), []);
}

/// The entry's flags say "durable", and that the entry is free.
#[test]
fn a_tail_of_a_free_entry_holds_no_producer_up() {
    let dir = TempDir::new();
    let path = with_word(&dir, CONSUMERS + consumer::FLAGS, 2);
    let ring = Ring::open(&path).unwrap();
    assert!(ring.check()[0].repairable);
    is_not_held_up(&path, false);
}

#[test]
fn a_count_that_wraps_stops_no_party() {
    let dir = TempDir::new();
    let path = with_word(&dir, producer::PAGE + 5 * 128 + 16, u64::MAX);
    let _evictable = ConsumerOptions::new().attach_evictable::<[u8]>(&path).unwrap();
    is_not_held_up(&path, true);
}

/// Positions near 2^64 would wrap in the sums that are made of them.
#[test]
fn a_position_that_cannot_be_is_no_start() {
    let dir = TempDir::new();
    let path = with_word(&dir, producer::PAGE, u64::MAX - 1);
    let error = Observer::<[u8]>::attach(&path, Start::Earliest).unwrap_err();
    assert!(
        matches!(&error.error, AttachError::Open(OpenError::Damaged(source)) if source.what == "claimed - capacity"),
        "{error}"
    );

    write_word(&path, producer::PAGE, 0);
    write_word(&path, producer::HEAD, u64::MAX);
    write_word(&path, CONSUMERS, u64::MAX - 3);
    let error = ConsumerOptions::new().name("durable").durable(true).attach::<[u8]>(&path).unwrap_err();
    assert!(
        matches!(&error.error, AttachError::Open(OpenError::Damaged(source)) if source.what == "head"),
        "{error}"
    );
}

#[test]
fn a_worker_gets_nothing_from_beyond_the_head() {
    for Layout { block, slot_len, .. } in LAYOUTS {
        let dir = TempDir::new();
        let path = with_word_and_blocks(&dir, block, slot::FIRST + 3 * slot_len, (1 << 14) + 4);
        let mut durable = ConsumerOptions::new().name("durable").durable(true).attach::<[u8]>(&path).unwrap();
        let worker = Worker::<[u8]>::join(&path, "group").unwrap();
        let mut producer = Producer::<[u8]>::open(&path).unwrap();
        for position in 0..3 {
            producer.try_send(&message(position)).unwrap();
            drop(durable.try_recv().unwrap());
            worker.try_recv().unwrap().ack().unwrap();
        }
        assert_eq!(worker.try_recv().map(|delivery| delivery.position()).ok(), None);
    }
}

#[test]
fn a_worker_gets_nothing_from_below_the_first_position() {
    let dir = TempDir::new();
    // The floor, where new messages begin, and the lowest that was handed back.
    for (number, (word, layout)) in [0, 128, 136].into_iter().zip(LAYOUTS.into_iter().cycle()).enumerate() {
        let path = dir.file(&format!("ring{number}"));
        let options =
            RingOptions::new(layout.block, 4).consumers(2).group("group", GroupSettings::new()).groups(2);
        options.workers(2).first_position(100).create(&path).unwrap();
        let worker = Worker::<[u8]>::join(&path, "group").unwrap();
        let mut producer = Producer::<[u8]>::open(&path).unwrap();
        let mut batch = producer.try_claim_batch(2).unwrap();
        while batch.push(b"not published").unwrap() {}
        batch.abort();
        // A lap below what the batch would have been.
        write_word(&path, GROUPS + word, 96);
        let position = |received: Result<Delivery<'_>, RecvError>| received.map(|it| it.position()).ok();
        assert_eq!(position(worker.try_recv()), None, "word {word}");
        // A worker that waits sweeps.
        assert_eq!(position(worker.recv_timeout(Duration::from_millis(50))), None, "word {word}, swept");
        // Nor does it hold up a producer that has not looked before.
        drop(producer);
        Producer::<[u8]>::open(&path).unwrap().try_send(&message(100)).unwrap();
        assert_eq!(position(worker.try_recv()), Some(100), "word {word}");
    }
}

#[test]
fn check_names_what_claims_more_than_can_be() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    for Layout { block, slot_len, .. } in LAYOUTS {
        for (offset, value, place) in [
            (slot::FIRST, 1 << 63, "slot"),
            // Two messages ahead of the head; one may be published and not counted.
            (slot::FIRST + slot_len, 2, "slot"),
            (CONSUMERS, 2, "consumer 0"),
        ] {
            let ring = RingOptions::new(block, 4).consumers(2).durable("durable").create(&path).unwrap();
            assert_eq!(ring.check(), []);
            write_word(&path, offset, value);
            let found = ring.check();
            let named = found.iter().any(|violation| violation.place == place);
            assert!(named, "{value:#x} at {offset}: {found:?}");
            std::fs::remove_file(&path).unwrap();
        }
    }
    let ring = RingOptions::new(LAYOUTS[0].block, 4).create(&path).unwrap();
    write_word(&path, slot::FIRST, 1);
    assert_eq!(ring.check(), [], "published, and not counted");
}

/// A deadline that no clock of this ring has written: the lease does not count, though its worker
/// lives.
#[test]
fn a_lease_that_would_last_for_days_holds_its_message_for_a_moment() {
    let dir = TempDir::new();
    let path = with_word(&dir, producer::PAGE, 0);
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    producer.try_send(&message(0)).unwrap();
    let holder = Worker::<[u8]>::join(&path, "group").unwrap();
    let lease = holder.try_recv().unwrap();
    let mut word = [0; 8];
    File::open(&path).unwrap().read_exact_at(&mut word, DELIVERIES).unwrap();
    // The deadline is the low half.
    let mut deadline = [0; 4];
    deadline.copy_from_slice(&word[..4]);
    word[..4].copy_from_slice(&u32::from_le_bytes(deadline).wrapping_add(1 << 30).to_le_bytes());
    write_word(&path, DELIVERIES, u64::from_le_bytes(word));
    let other = Worker::<[u8]>::join(&path, "group").unwrap();
    let again = other.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!((again.position(), again.attempt()), (0, 2));
    assert!(lease.ack().is_err());
}

/// Plays one of the roles of this file.
pub(crate) fn play(role: &str, given: &[String]) {
    let victim = Victim::new(Path::new(&given[0]), LAYOUTS[given[1].parse::<usize>().unwrap()]);
    try_all(&victim, &mut Tally::default());
    match role {
        "control" => flip_control(&victim),
        "consumers" => flip_consumers(&victim),
        "groups" => flip_groups(&victim),
        "slots" => flip_slots(&victim),
        "overwrite" => overwrite(&victim),
        _ => panic!("no such role: {role}"),
    }
}
