//! A ring, those who use it besides the victim, and what must be true of both when it is gone.

use crate::raw::{Delivery, Raw, dead_path};
use crate::trace::Victim;
use slipring::{
    Backoff, Consumer, Error, EvictableConsumer, GroupSettings, Holder, HolderRole, Producer, RecvError,
    Ring, RingOptions, SendError, Start, Worker, WorkerOptions,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

pub(crate) const CAPACITY: u64 = 8;
pub(crate) const BLOCK: usize = 48;
/// Who does not get on within this time does not get on.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Leases of the others run out while the victim is stopped.
const SHORT_LEASE: Duration = Duration::from_millis(30);
const LONG_LEASE: Duration = Duration::from_secs(30);

/// Whose message it is.
pub(crate) const SETUP: u8 = 0;
pub(crate) const VICTIM: u8 = 1;
pub(crate) const SURVIVOR: u8 = 2;

/// What is done to the victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Kill,
    Freeze,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ending {
    /// After so many instructions.
    pub(crate) at: u64,
    /// What its operation returned, if it did.
    pub(crate) report: Option<String>,
}

impl Ending {
    pub(crate) fn succeeded(&self) -> bool {
        self.report.as_deref().is_some_and(|report| report.starts_with("ok"))
    }
}

/// The message of a position and a life: both, then bytes that follow from them, of varying length.
pub(crate) fn message(position: u64, life: u8) -> Vec<u8> {
    let len = 9 + usize::try_from((position * 11 + u64::from(life) * 17) % 40).unwrap();
    let mut bytes = position.to_le_bytes().to_vec();
    bytes.push(life);
    let mut dice = (position + 1) << 8 | u64::from(life);
    while bytes.len() < len {
        dice = (dice ^ dice >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ dice >> 27;
        bytes.push(dice.to_le_bytes()[3]);
    }
    bytes
}

/// A reader that was there before, or came after.
#[derive(Debug)]
struct Reading {
    consumer: Consumer,
    next: u64,
    who: &'static str,
}

/// A reader that sleeps in a thread of its own.
#[derive(Debug)]
struct Sleeper {
    received: mpsc::Receiver<(u64, Vec<u8>)>,
    next: u64,
    _wanted: Arc<()>,
}

/// What there is besides the victim.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shape {
    /// A group `g`, and room for another.
    pub(crate) group: bool,
    /// A durable consumer `audit`.
    pub(crate) durable: bool,
    /// A reader and its producer are in this process, before and after.
    pub(crate) witness: bool,
    pub(crate) worker: bool,
    /// Leases run out soon, whatever is done to the victim.
    pub(crate) short: bool,
    pub(crate) deliver: u32,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) path: PathBuf,
    pub(crate) mode: Mode,
    pub(crate) producer: Option<Producer>,
    pub(crate) worker: Option<Worker>,
    /// A worker of the second group, if there is one.
    pub(crate) second: Option<Worker>,
    pub(crate) evictable: Option<EvictableConsumer>,
    /// Somebody else who was stopped.
    pub(crate) frozen: Option<Victim>,
    readings: Vec<Reading>,
    sleeper: Option<Sleeper>,
    shape: Shape,
    /// By position: which message it is.
    pub(crate) published: Vec<(u64, u8)>,
    /// Settled in `g`, says somebody who did it.
    pub(crate) settled: BTreeSet<u64>,
    /// The victim may have settled these.
    pub(crate) maybe: BTreeSet<u64>,
    /// What must be delivered, and as which attempt.
    awaited: BTreeMap<u64, u32>,
    strict: bool,
    /// Letters may have been taken out of the dead-letter ring.
    pub(crate) letters_may_go: bool,
    /// Given up, says somebody who knows.
    pub(crate) given_up: BTreeSet<u64>,
    /// The head when the operation began.
    pub(crate) base: u64,
    /// What the victim publishes is this message once more.
    pub(crate) redriven: Option<u64>,
    /// The ring is what the victim creates.
    unborn: bool,
}

impl World {
    pub(crate) fn bare(directory: &Path, mode: Mode) -> World {
        World {
            path: directory.join("ring"),
            mode,
            producer: None,
            worker: None,
            second: None,
            evictable: None,
            frozen: None,
            readings: Vec::new(),
            sleeper: None,
            shape: Shape::default(),
            published: Vec::new(),
            settled: BTreeSet::new(),
            maybe: BTreeSet::new(),
            awaited: BTreeMap::new(),
            strict: false,
            letters_may_go: false,
            given_up: BTreeSet::new(),
            base: 0,
            redriven: None,
            unborn: false,
        }
    }

    /// Before there is a ring.
    pub(crate) fn unborn(directory: &Path, mode: Mode, shape: Shape) -> World {
        World { shape, unborn: true, ..World::bare(directory, mode) }
    }

    pub(crate) fn options(shape: Shape, mode: Mode) -> RingOptions {
        // The witness, and one entry that the victim has or had.
        let mut options = RingOptions::new(BLOCK, 8).consumers(2 + u32::from(shape.durable));
        if shape.durable {
            options = options.durable("audit");
        }
        if shape.group {
            let short = shape.short || mode == Mode::Freeze;
            let settings = GroupSettings::new()
                .ack_wait(if short { SHORT_LEASE } else { LONG_LEASE })
                .max_deliver(if shape.deliver == 0 { 5 } else { shape.deliver })
                .backoff(Backoff::None);
            options = options.groups(2).workers(2 + u32::from(shape.short)).group("g", settings);
        }
        options
    }

    pub(crate) fn new(directory: &Path, mode: Mode, shape: Shape) -> World {
        World::options(shape, mode).create(directory.join("ring")).unwrap();
        World::found(directory, mode, shape)
    }

    /// Those who use a new ring.
    pub(crate) fn found(directory: &Path, mode: Mode, shape: Shape) -> World {
        let mut world = World { shape, ..World::bare(directory, mode) };
        world.producer = Some(Producer::open(&world.path).unwrap());
        if shape.witness {
            world.read("witness", Start::Earliest, false);
        }
        if shape.worker {
            world.worker = Some(join(&world.path, "g"));
        }
        world
    }

    pub(crate) fn read(&mut self, who: &'static str, start: Start, durable: bool) {
        let options = Consumer::options().name(who).start(start).durable(durable);
        let consumer = options.attach(&self.path).unwrap_or_else(|error| panic!("{who}: {error}"));
        let next = consumer.position();
        self.readings.push(Reading { consumer, next, who });
    }

    /// Puts the witness to sleep in a thread of its own, until it reads something.
    pub(crate) fn put_to_sleep(&mut self) {
        let Reading { mut consumer, next, .. } = self.readings.pop().unwrap();
        let (sender, received) = mpsc::channel();
        let wanted = Arc::new(());
        let still_wanted = Arc::downgrade(&wanted);
        std::thread::spawn(move || {
            while still_wanted.strong_count() > 0 {
                match consumer.recv_timeout(Duration::from_secs(1)) {
                    Ok(message) => drop(sender.send((message.position(), message.to_vec()))),
                    Err(RecvError::TimedOut(_)) => {}
                    Err(_) => return,
                }
            }
        });
        self.sleeper = Some(Sleeper { received, next, _wanted: wanted });
        // Until it sleeps.
        let start = Instant::now();
        while Raw::open(&self.path).unwrap().readers_asleep() == 0 {
            assert!(start.elapsed() < PATIENCE, "the witness does not fall asleep");
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(1));
    }

    /// Publishes and has everybody read and settle it.
    pub(crate) fn publish_and_settle(&mut self, count: u64) {
        for _ in 0..count {
            self.publish(1);
            self.drain();
            let start = Instant::now();
            while !self.awaited.is_empty() {
                assert!(start.elapsed() < PATIENCE, "setup");
                self.drain();
            }
        }
    }

    pub(crate) fn publish(&mut self, count: u64) {
        for _ in 0..count {
            let position = self.published.len() as u64;
            let producer = self.producer.as_mut().unwrap();
            assert_eq!(producer.try_send(0, &message(position, SETUP)), Ok(position));
            self.published.push((position, SETUP));
            if self.shape.worker {
                self.awaited.insert(position, 1);
            }
        }
    }

    pub(crate) fn raw(&self) -> Raw {
        Raw::open(&self.path).unwrap()
    }

    pub(crate) fn ring(&self) -> Ring {
        Ring::open(&self.path).unwrap()
    }

    pub(crate) fn head(&self) -> u64 {
        self.published.len() as u64
    }

    /// What the file shows published beyond what is known is the victim's.
    fn note_published(&mut self) {
        for position in self.head()..self.raw().head() {
            self.published.push(self.redriven.map_or((position, VICTIM), |origin| (origin, SETUP)));
        }
    }

    /// The victim has published up to `most` messages; all, if it says so.
    pub(crate) fn victim_published(&mut self, end: &Ending, most: usize) {
        self.note_published();
        let since = &self.published[usize::try_from(self.base).unwrap()..];
        let count = since.iter().filter(|(_, life)| *life != SURVIVOR).count();
        let least = if end.succeeded() { most } else { 0 };
        assert!((least..=most).contains(&count), "{count} messages are published, of {least}..={most}");
    }

    fn expected(&self, position: u64) -> Vec<u8> {
        let known = self.published.get(usize::try_from(position).unwrap());
        let (origin, life) = *known.unwrap_or_else(|| panic!("position {position} was never published"));
        message(origin, life)
    }

    /// Everybody reads and settles what is there. True if there was anything.
    pub(crate) fn drain(&mut self) -> bool {
        let mut any = false;
        let mut readings = std::mem::take(&mut self.readings);
        for Reading { consumer, next, who } in &mut readings {
            while let Some(message) = received(consumer.try_recv(), who) {
                assert_eq!(message.position(), *next, "{who}: lost or doubled");
                assert_eq!(&*message, self.expected(*next), "{who}: position {next}");
                drop(message);
                *next += 1;
                any = true;
            }
        }
        self.readings = readings;
        if let Some(mut sleeper) = self.sleeper.take() {
            while let Ok((position, bytes)) = sleeper.received.try_recv() {
                assert_eq!(position, sleeper.next, "sleeper: lost or doubled");
                assert_eq!(bytes, self.expected(position), "sleeper: position {position}");
                sleeper.next += 1;
                any = true;
            }
            self.sleeper = Some(sleeper);
        }
        if let Some(mut evictable) = self.evictable.take() {
            loop {
                match evictable.try_recv() {
                    Ok(message) => assert_eq!(&*message, self.expected(message.position()), "evictable"),
                    Err(RecvError::Evicted { missed }) => assert!(missed > 0, "evicted, and missed nothing"),
                    Err(RecvError::Empty | RecvError::Closed) => break,
                    Err(error) => panic!("evictable: {error}"),
                }
                any = true;
            }
            self.evictable = Some(evictable);
        }
        if let Some(worker) = self.worker.take() {
            while let Some(delivery) = received(worker.try_recv(), "worker") {
                let (position, attempt) = (delivery.position(), delivery.attempt());
                assert_eq!(&*delivery, self.expected(position), "worker: position {position}");
                assert!(!self.settled.contains(&position), "position {position} was settled, and came again");
                let awaited = self.awaited.remove(&position);
                if self.strict {
                    assert_eq!(
                        Some(attempt),
                        awaited,
                        "the attempt at position {position}, and the expected one"
                    );
                }
                delivery.ack().unwrap_or_else(|error| panic!("worker: {error}"));
                self.settled.insert(position);
                any = true;
            }
            self.worker = Some(worker);
        }
        if let Some(second) = self.second.take() {
            while let Some(delivery) = received(second.try_recv(), "second group") {
                assert_eq!(&*delivery, self.expected(delivery.position()), "second group");
                delivery.ack().unwrap_or_else(|error| panic!("second group: {error}"));
                any = true;
            }
            self.second = Some(second);
        }
        any
    }

    /// Publishes one message, by whoever is the producer, while the others make room.
    fn send(&mut self, producer: &mut Producer) -> Result<(), Box<Holder>> {
        let position = producer.head();
        let start = Instant::now();
        let bytes = message(position, SURVIVOR);
        let patience = if self.strict { PATIENCE } else { Duration::from_millis(200) };
        loop {
            match producer.try_send(0, &bytes) {
                Ok(at) => {
                    assert_eq!((at, position), (self.head(), self.head()), "the producer skipped a position");
                    self.published.push((position, SURVIVOR));
                    if self.shape.group {
                        self.awaited.insert(position, 1);
                    }
                    return Ok(());
                }
                Err(SendError::Full { holder, .. }) => {
                    if !self.drain() && start.elapsed() > patience {
                        return Err(holder);
                    }
                }
                Err(error) => panic!("producer: {error}"),
            }
        }
    }

    /// The victim is stopped, the others go on for two laps; or they are told that the victim holds them.
    pub(crate) fn others_go_on(&mut self, victim: u64) {
        if !self.path.exists() {
            let created = World::options(self.shape, self.mode).create(&self.path);
            assert!(matches!(created, Ok(_) | Err(Error::AlreadyExists { .. })), "{created:?}");
            return;
        }
        if self.unborn {
            // Just created by the victim, and used by nobody yet.
            return;
        }
        let raw = self.raw();
        self.shows_no_damage();
        self.note_published();
        if self.shape.group {
            // Longer than any lease.
            std::thread::sleep(SHORT_LEASE + Duration::from_millis(25));
        }
        self.drain();
        if raw.has_producer() && self.producer.is_none() {
            match Producer::open(&self.path) {
                Err(Error::ProducerExists { .. }) => return,
                other => panic!("beside a stopped producer: {other:?}"),
            }
        }
        let mut producer = self.take_producer();
        for _ in 0..2 * CAPACITY {
            if let Err(holder) = self.send(&mut producer) {
                let Holder { role, name, pid, .. } = &*holder;
                let names_victim = *pid == victim || ["child", "audit", "gone", "h"].contains(&name.as_str());
                // A message that waits for its burial, which the victim is at.
                let burial = *role == HolderRole::Group
                    && Raw::open(&dead_path(&self.path)).is_ok_and(|dead| dead.has_producer());
                assert!(names_victim || burial, "beside a stopped process {victim}: {holder}");
                break;
            }
        }
        self.drain();
        self.producer = Some(producer);
    }

    fn take_producer(&mut self) -> Producer {
        let mine = self.producer.take();
        mine.unwrap_or_else(|| Producer::open(&self.path).unwrap_or_else(|error| panic!("producer: {error}")))
    }

    /// Nobody can attach while a stopped process edits the tables, and is told so in time.
    pub(crate) fn table_is_busy(&self) {
        let start = Instant::now();
        let refused = Consumer::attach(&self.path, Start::Latest);
        let waited = start.elapsed();
        assert!(matches!(refused, Err(Error::TableBusy { .. })), "beside a stopped editor: {refused:?}");
        assert!(waited < 2 * PATIENCE, "told after {waited:?}");
    }

    /// What the file says at this moment has no damage; what a dead one left behind is not any.
    fn shows_no_damage(&self) {
        let damage: Vec<_> = self.ring().check().into_iter().filter(|found| !found.repairable).collect();
        assert!(damage.is_empty(), "damage: {damage:?}");
    }

    /// The victim is gone. Everybody else goes on at once, and nothing is lost, doubled or made up.
    pub(crate) fn go_on(&mut self, end: &Ending) {
        let start = Instant::now();
        let raw = self.raw();
        self.shows_no_damage();
        let head = raw.head();
        assert_eq!(self.head(), head, "published messages: said to be, and shown");
        for position in raw.claimed().saturating_sub(CAPACITY).max(raw.first_position())..head {
            let (bytes, clean) = raw.message(position);
            assert_eq!(bytes, self.expected(position), "position {position} in the file");
            assert!(clean, "position {position}: its block holds more than was published");
        }
        self.strict = true;
        let mut dead = BTreeSet::new();
        if self.shape.group {
            dead = self.await_unsettled(&raw);
        }
        let early = end.at % 2 == 0;
        if early {
            self.newcomers_come();
        }
        if self.shape.durable {
            self.read("audit", Start::Latest, true);
        }
        let mut producer = self.take_producer();
        assert_eq!(producer.head(), head, "the head after the takeover");
        for _ in 0..2 * CAPACITY {
            self.send(&mut producer)
                .unwrap_or_else(|holder| panic!("full: {holder}; {:?}", self.ring().groups()));
        }
        while !self.is_drained() {
            self.drain();
            assert!(
                start.elapsed() < PATIENCE,
                "not delivered: {:?}; {:?}",
                self.awaited,
                self.ring().groups()
            );
        }
        if !early {
            self.newcomers_come();
            self.send(&mut producer)
                .unwrap_or_else(|holder| panic!("full: {holder}; {:?}", self.ring().groups()));
            while !self.is_drained() {
                self.drain();
                assert!(start.elapsed() < PATIENCE, "not delivered: {:?}", self.awaited);
            }
        }
        if self.shape.group {
            self.letters_are_right(&dead);
        }
        self.readings.truncate(1);
        let ring = self.ring();
        ring.repair().unwrap();
        let left: Vec<_> = ring.check();
        assert!(left.is_empty(), "left after the repair: {left:?}");
        assert!(start.elapsed() < PATIENCE, "went on, but took {:?}", start.elapsed());
    }

    /// What the words say that is not settled must come, once, as the next attempt.
    fn await_unsettled(&mut self, raw: &Raw) -> BTreeSet<u64> {
        self.awaited.clear();
        let mut dead = BTreeSet::new();
        for position in self.head().saturating_sub(CAPACITY)..self.head() {
            let delivery = raw.delivery(0, position);
            let may_be = self.settled.contains(&position) || self.maybe.contains(&position);
            if delivery.is_settled() {
                assert!(may_be, "position {position} is settled, and nobody acknowledged it");
            } else {
                assert!(
                    !self.settled.contains(&position),
                    "position {position} was settled, and is {delivery:?}"
                );
            }
            let most = if self.shape.deliver == 0 { 5 } else { self.shape.deliver };
            match delivery {
                Delivery::Open(attempts) | Delivery::Leased(attempts) if attempts >= most => {
                    dead.insert(position);
                }
                Delivery::Fresh => drop(self.awaited.insert(position, 1)),
                Delivery::Open(attempts) | Delivery::Leased(attempts) => {
                    self.awaited.insert(position, attempts + 1);
                }
                Delivery::Doomed | Delivery::Dead => {
                    dead.insert(position);
                }
                Delivery::Acked => {}
            }
        }
        dead
    }

    fn is_drained(&self) -> bool {
        let head = self.head();
        let read = self.readings.iter().all(|reading| reading.next == head);
        let slept = self.sleeper.as_ref().is_none_or(|sleeper| sleeper.next == head);
        let settled = !self.shape.group
            || self.awaited.is_empty() && self.ring().groups().iter().all(|group| group.ack_floor == head);
        read && slept && settled
    }

    /// Every message that was given up is among the dead letters, and no other.
    fn letters_are_right(&self, dead: &BTreeSet<u64>) {
        if dead.is_empty() && !dead_path(&self.path).exists() {
            return;
        }
        let letters = self.ring().dead_letters().unwrap();
        for letter in &letters {
            assert_eq!(letter.bytes, self.expected(letter.id.position), "a dead letter");
            let position = letter.id.position;
            let known = dead.contains(&position) || self.given_up.contains(&position);
            assert!(known, "a dead letter of a message that lives: {letter:?}");
        }
        for position in dead {
            let copies = letters.iter().filter(|letter| letter.id.position == *position).count();
            assert!(
                self.letters_may_go || (1..=2).contains(&copies),
                "position {position} was given up; copies among the dead letters: {copies}"
            );
        }
    }

    /// The dead one's entries can be had.
    fn newcomers_come(&mut self) {
        self.read("child", Start::Latest, false);
        if self.shape.group {
            if self.worker.is_none() {
                self.worker = Some(join(&self.path, "g"));
            }
            if self.second.is_none() {
                drop(Worker::join(&self.path, "g").unwrap_or_else(|error| panic!("new worker: {error}")));
            }
        }
    }
}

pub(crate) fn join(path: &Path, group: &str) -> Worker {
    let options = WorkerOptions::new(group).name("survivor").tick(Duration::from_millis(1));
    options.join(path).unwrap_or_else(|error| panic!("worker: {error}"))
}

/// What was received, if there was anything.
fn received<T>(result: Result<T, RecvError>, who: &str) -> Option<T> {
    match result {
        Ok(received) => Some(received),
        Err(RecvError::Empty | RecvError::Closed) => None,
        Err(error) => panic!("{who}: {error}"),
    }
}
