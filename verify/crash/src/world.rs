//! A ring, and the parties that use it besides the victim.

mod verdict;
mod words;
mod work;

use crate::message::{SETUP, SURVIVOR, VICTIM, message};
use crate::trace::Victim;
use kit::raw::Raw;
use slipring::{
    Backoff, Consumer, ConsumerOptions, EvictableConsumer, GroupSettings, Observer, Producer, RecvError,
    Ring, RingOptions, Start, Worker, WorkerOptions,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

pub(crate) const CAPACITY: u64 = 8;
/// The smallest ring in which a producer claims ahead: two positions at once.
const CAPACITY_AHEAD: u64 = 128;
/// Bytes of a block: of one that has a place beside its header, and of one that has not.
pub(crate) const BLOCKS: [usize; 2] = [48, 160];
/// Tells the victim which of them.
pub(crate) const BLOCK_VARIABLE: &str = "SLIPRING_CRASH_BLOCK";
static BLOCK: AtomicUsize = AtomicUsize::new(0);

/// Bytes of a block in this run.
pub(crate) fn block() -> usize {
    match BLOCK.load(Relaxed) {
        0 => std::env::var(BLOCK_VARIABLE).ok().and_then(|bytes| bytes.parse().ok()).unwrap_or(BLOCKS[0]),
        bytes => bytes,
    }
}

/// From here on blocks have so many bytes.
pub(crate) fn set_block(bytes: usize) {
    BLOCK.store(bytes, Relaxed);
}
/// A party that makes no progress within this time is stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// So short that the leases of the other workers run out while the victim is stopped.
const SHORT_LEASE: Duration = Duration::from_millis(30);
const LONG_LEASE: Duration = Duration::from_secs(30);

/// The fate of the victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Kill,
    Freeze,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Kill => "kill",
            Mode::Freeze => "freeze",
        }
    }
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ending {
    /// Newcomers come before the other processes go on; false: after.
    pub(crate) newcomers_first: bool,
    /// It had the message, as far as it got.
    pub(crate) handled: bool,
    /// Result of the operation, if it returned.
    pub(crate) report: Option<String>,
}

impl Ending {
    pub(crate) fn succeeded(&self) -> bool {
        self.report.as_deref().is_some_and(|report| report.starts_with("ok"))
    }
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

/// The parties besides the victim.
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
    /// The ring is so large that the producer claims ahead.
    pub(crate) ahead: bool,
    /// More users may read the ring than write it: it has a lock file.
    pub(crate) readable: bool,
}

impl Shape {
    fn capacity(self) -> u64 {
        if self.ahead { CAPACITY_AHEAD } else { CAPACITY }
    }
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
    /// Another process that was stopped.
    pub(crate) frozen: Option<Victim>,
    readings: Vec<Reading>,
    sleeper: Option<Sleeper>,
    shape: Shape,
    /// By position: which message it is.
    pub(crate) published: Vec<(u64, u8)>,
    /// Settled in `g`, by a worker's own report.
    pub(crate) settled: BTreeSet<u64>,
    /// The victim may have settled these.
    pub(crate) maybe: BTreeSet<u64>,
    /// Positions that must be delivered, with their attempts.
    awaited: BTreeMap<u64, u32>,
    strict: bool,
    /// Letters may have been taken out of the dead-letter ring.
    pub(crate) letters_may_go: bool,
    /// Given up, by a worker's own report.
    pub(crate) given_up: BTreeSet<u64>,
    /// The head when the operation began.
    pub(crate) base: u64,
    /// The victim publishes this message once more.
    pub(crate) redriven: Option<u64>,
    /// The ring is what the victim creates.
    unborn: bool,
    /// The words of the entries when they were last looked at.
    words: Vec<words::Words>,
}

impl World {
    pub(crate) fn empty(directory: &Path, mode: Mode) -> World {
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
            words: Vec::new(),
        }
    }

    /// Before there is a ring.
    pub(crate) fn unborn(directory: &Path, mode: Mode, shape: Shape) -> World {
        World { shape, unborn: true, ..World::empty(directory, mode) }
    }

    pub(crate) fn options(shape: Shape, mode: Mode) -> RingOptions {
        // The witness, and one entry that the victim has or had.
        let mut options = RingOptions::new(block(), usize::try_from(shape.capacity()).unwrap())
            .consumers(2 + u32::from(shape.durable));
        if shape.durable {
            options = options.durable("audit");
        }
        if shape.readable {
            options = options.mode(0o644);
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

    /// The parties of a new ring.
    pub(crate) fn found(directory: &Path, mode: Mode, shape: Shape) -> World {
        let mut world = World { shape, ..World::empty(directory, mode) };
        world.producer = Some(Producer::<[u8]>::open(&world.path).unwrap());
        if shape.witness {
            world.read("witness", Start::Earliest, false);
        }
        if shape.worker {
            world.worker = Some(join(&world.path, "g"));
        }
        world
    }

    pub(crate) fn read(&mut self, who: &'static str, start: Start, durable: bool) {
        let options = ConsumerOptions::new().name(who).start(start).durable(durable);
        let consumer = options.attach::<[u8]>(&self.path).unwrap_or_else(|error| panic!("{who}: {error}"));
        self.add_reading(consumer, who);
    }

    fn add_reading(&mut self, consumer: Consumer, who: &'static str) {
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

    /// Publishes, and lets every party read and settle.
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
            assert_eq!(producer.try_send(&message(position, SETUP)), Ok(position));
            self.published.push((position, SETUP));
            if self.shape.worker {
                self.awaited.insert(position, 1);
            }
        }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.shape.capacity()
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

    /// Published messages beyond the known ones are the victim's.
    fn note_published(&mut self) {
        for position in self.head()..self.raw().head() {
            self.published.push(self.redriven.map_or((position, VICTIM), |origin| (origin, SETUP)));
        }
    }

    /// The victim has published `count` messages or none; not none, if it says so.
    pub(crate) fn victim_published(&mut self, end: &Ending, count: usize) {
        self.note_published();
        let since = &self.published[usize::try_from(self.base).unwrap()..];
        let found = since.iter().filter(|(_, life)| *life != SURVIVOR).count();
        assert!(
            found == count || found == 0 && !end.succeeded(),
            "{found} messages are published, of {count}"
        );
        if self.mode == Mode::Kill {
            let mut observer = Observer::<[u8]>::attach(&self.path, Start::At(self.base)).unwrap();
            let seen = std::iter::from_fn(|| observer.try_recv().ok().map(drop)).count();
            assert_eq!(seen, found, "messages that an observer sees before there is another producer");
        }
    }

    fn expected(&self, position: u64) -> Vec<u8> {
        let known = self.published.get(usize::try_from(position).unwrap());
        let (origin, life) = *known.unwrap_or_else(|| panic!("position {position} was never published"));
        message(origin, life)
    }
}

pub(crate) fn join(path: &Path, group: &str) -> Worker {
    let options = WorkerOptions::new(group).name("survivor").tick(Duration::from_millis(1));
    options.join(path).unwrap_or_else(|error| panic!("worker: {error}"))
}
