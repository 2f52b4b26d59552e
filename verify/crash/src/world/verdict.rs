//! Conditions on the file and on the other parties while the victim is stopped, and after it is
//! gone.

use super::{Ending, PATIENCE, SHORT_LEASE, World, join};
use kit::raw::{Delivery, Raw, dead_path};
use slipring::{
    AtPath, AttachError, Consumer, ConsumerOptions, CreateError, Holder, HolderRole, OpenError, Producer,
    Start, Worker,
};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const RIVAL: &str = "rival";

impl World {
    /// The victim is stopped, and the other processes go on for two laps; or an error tells them
    /// that the victim holds them up.
    pub(crate) fn others_go_on(&mut self, victim: u64) {
        if !self.path.exists() {
            let created = World::options(self.shape, self.mode).create(&self.path);
            assert!(
                matches!(created, Ok(_) | Err(AtPath { error: CreateError::AlreadyExists, .. })),
                "{created:?}"
            );
            return;
        }
        if self.unborn {
            // Just created by the victim, and not yet used.
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
            match Producer::<[u8]>::open(&self.path) {
                Err(AtPath { error: AttachError::ProducerExists { .. }, .. }) => return,
                other => panic!("beside a stopped producer: {other:?}"),
            }
        }
        let mut producer = self.take_producer();
        for _ in 0..2 * self.capacity() {
            if let Err(holder) = self.send(&mut producer) {
                let Holder { role, name, pid, .. } = &*holder;
                let names_victim = *pid == victim || ["child", "audit", "gone", "h"].contains(&name.as_str());
                // A message that waits for the victim to move it to the dead-letter ring.
                let moving = matches!(role, HolderRole::Group | HolderRole::DeadLetters)
                    && Raw::open(&dead_path(&self.path)).is_ok_and(|dead| dead.has_producer());
                assert!(names_victim || moving, "beside a stopped process {victim}: {holder}");
                break;
            }
        }
        self.drain();
        self.producer = Some(producer);
    }

    fn take_producer(&mut self) -> Producer {
        let mine = self.producer.take();
        mine.unwrap_or_else(|| {
            Producer::<[u8]>::open(&self.path).unwrap_or_else(|error| panic!("producer: {error}"))
        })
    }

    /// No process can attach while a stopped one edits the tables, and each gets the error in time.
    pub(crate) fn table_is_busy(&self) {
        let start = Instant::now();
        let refused = Consumer::<[u8]>::attach(&self.path, Start::Latest);
        let waited = start.elapsed();
        assert!(
            matches!(refused, Err(AtPath { error: AttachError::Open(OpenError::TableBusy { .. }), .. })),
            "beside a stopped editor: {refused:?}"
        );
        assert!(waited < 2 * PATIENCE, "told after {waited:?}");
    }

    /// Another takes the name of the stopped victim, unless the victim has it.
    pub(crate) fn rival_comes(&mut self) {
        let rival = ConsumerOptions::new().name("child").start(Start::Latest).attach::<[u8]>(&self.path);
        match rival {
            Ok(consumer) => self.add_reading(consumer, RIVAL),
            Err(AtPath { error: AttachError::NameInUse { .. }, .. }) => {}
            Err(error) => panic!("beside a stopped one of the same name: {error}"),
        }
    }

    /// True if it had come.
    pub(crate) fn rival_leaves(&mut self) -> bool {
        let before = self.readings.len();
        self.readings.retain(|reading| reading.who != RIVAL);
        self.readings.len() < before
    }

    /// The file has no damage at this moment; traces of a dead party are not damage.
    fn shows_no_damage(&self) {
        let damage: Vec<_> = self.ring().check().into_iter().filter(|found| !found.repairable).collect();
        assert!(damage.is_empty(), "damage: {damage:?}");
    }

    /// The file has the messages of the last lap, and nothing behind them in their blocks.
    fn shows_what_was_published(&self, raw: &Raw) {
        for position in raw.claimed().saturating_sub(self.capacity()).max(raw.first_position())..raw.head() {
            let (bytes, clean) = raw.message(position);
            assert_eq!(bytes, self.expected(position), "position {position} in the file");
            assert!(clean, "position {position}: its block holds more than was published");
        }
    }

    /// The victim is dead. All other processes go on at once; no message is lost, doubled or made
    /// up.
    pub(crate) fn go_on(&mut self, end: &Ending) {
        let start = Instant::now();
        let raw = self.raw();
        self.shows_no_damage();
        let head = raw.head();
        assert_eq!(self.head(), head, "published messages: said to be, and shown");
        self.shows_what_was_published(&raw);
        self.strict = true;
        let mut dead = BTreeSet::new();
        if self.shape.group {
            dead = self.await_unsettled(&raw);
        }
        if end.newcomers_first {
            self.newcomers_come();
        }
        if self.shape.durable {
            self.read("audit", Start::Latest, true);
        }
        let mut producer = self.take_producer();
        assert_eq!(producer.head(), head, "the head after the takeover");
        for _ in 0..2 * self.capacity() {
            self.send(&mut producer)
                .unwrap_or_else(|holder| panic!("full: {holder}; {:?}", self.ring().groups()));
            self.shows_what_was_published(&raw);
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
        if !end.newcomers_first {
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

    /// Each message that its delivery word calls unsettled must come, once, as the next attempt.
    fn await_unsettled(&mut self, raw: &Raw) -> BTreeSet<u64> {
        self.awaited.clear();
        let mut dead = BTreeSet::new();
        for position in self.head().saturating_sub(self.capacity())..self.head() {
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
                Delivery::DeadPending | Delivery::Dead => {
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
        self.words_never_go_back();
        self.read("child", Start::Latest, false);
        self.words_follow(true);
        if self.shape.group {
            if self.worker.is_none() {
                self.worker = Some(join(&self.path, "g"));
            }
            if self.second.is_none() {
                drop(
                    Worker::<[u8]>::join(&self.path, "g")
                        .unwrap_or_else(|error| panic!("new worker: {error}")),
                );
            }
        }
    }
}
