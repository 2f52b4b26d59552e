//! Everybody at work, step by step, while the input overwrites any shared word between two steps.

use crate::input::Input;
use crate::memory::Checked;
use slipring::{Backoff, GroupSettings};
use slipring_core::format::{
    EntryFlags, Geometry, Meta, Millis, Tail, group_flags, producer_page, worker_group,
};
use slipring_core::memory::{Liveness, Memory, Right, Segment, Word};
use slipring_core::protocol::group::{self, Group, Kinds};
use slipring_core::protocol::lease::{Lease, Lessee};
use slipring_core::protocol::observe::{Seen, Watcher};
use slipring_core::protocol::publish::{Publisher, Who};
use slipring_core::protocol::read::{Copied, CopyingReader, Reader, Ready};
use slipring_core::protocol::recorder::{self, EventKind};
use slipring_core::protocol::table::{self, Start, StartError};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Bytes of a block: of one that has a place beside its header, and of one that has not.
const BLOCKS: [u64; 2] = [48, 160];
const BLOCK_MAX: usize = 160;
const CAPACITY: u64 = 4;
const CONSUMERS: u64 = 3;
const PRODUCER_LEN: u64 = 65536;
const RECORDER: u64 = 4096 + CONSUMERS * 256;
const GROUPS: u64 = (RECORDER + 256 * 128).next_multiple_of(4096);
const WORKERS: u64 = GROUPS + 2 * 1024;
const DELIVERIES: u64 = GROUPS + 4096;
/// A batch of so many is filled and not published.
const GIVEN_UP: u64 = 4;
/// Consumer entries, by what reads from them.
const IN_PLACE: u32 = 0;
const BY_COPY: u32 = 1;
const DURABLE: u32 = 2;

thread_local! {
    static MEMORY: Checked = Checked::new(&geometry(BLOCKS[0], 0), PRODUCER_LEN);
}

fn geometry(block: u64, first: u64) -> Geometry {
    let geometry = Geometry::plan(block, CAPACITY, CONSUMERS).and_then(|it| it.with_groups(2, 2));
    geometry.and_then(|it| it.starting_at(first)).unwrap()
}

/// Nobody else is alive but those whose bit is set.
struct Alive(Cell<u32>);

impl Alive {
    fn bit(right: Right) -> u32 {
        match right {
            Right::Producer | Right::Table => 0,
            Right::Consumer(n) => 1 << n,
            Right::Worker(n) => 1 << (8 + n),
        }
    }
}

impl Liveness for Alive {
    fn seize(&self, right: Right) -> bool {
        self.0.get() & Alive::bit(right) == 0
    }
    fn release(&self, _: Right) {}
}

struct Ring {
    memory: Checked,
    geometry: Geometry,
    alive: Alive,
    now: Millis,
    producer: Option<Publisher<Checked>>,
    consumer: Option<Reader<Checked>>,
    copying: Option<CopyingReader<Checked>>,
    durable: Option<Reader<Checked>>,
    observer: Watcher<Checked>,
    workers: [Lessee<Checked>; 2],
    leases: RefCell<VecDeque<(usize, Lease)>>,
    /// The input wrote into what only the producer writes, or into a consumer's own word.
    forged: bool,
    /// It wrote into what holds the producer up for a group: a worker may then be given what is being overwritten.
    let_go: bool,
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    MEMORY.with(|memory| {
        memory.reset();
        let mut ring = Ring::new(memory.clone(), &mut input);
        while !input.is_empty() {
            memory.step();
            ring.step(&mut input);
        }
    });
}

fn stores(memory: &Checked, pairs: &[(Word, u64)]) {
    pairs.iter().for_each(|&(word, value)| memory.poke(word, value));
}

/// Every third message is bare, if it is sent in a batch.
fn described(geometry: &Geometry, position: u64) -> Meta {
    if position % 3 == 0 { Meta::new(geometry.block_size() as u32, 0) } else { Meta::new(8, position as u32) }
}

impl Ring {
    fn new(memory: Checked, input: &mut Input<'_>) -> Ring {
        let draw = input.byte();
        let block = BLOCKS[usize::from(draw / 4 % 2)];
        let first = match draw % 4 {
            0 => 0,
            1 => (1 << 32) - 3,
            2 => CAPACITY * 4096 - 3,
            _ => (1 << 63) - (1 << 40),
        };
        let geometry = geometry(block, first);
        use producer_page::{CLAIMED, HEAD, LIMIT};
        stores(&memory, &[CLAIMED, HEAD, LIMIT].map(|word| (word, first)));
        stores(&memory, &[0, 1, 2].map(|n| (geometry.tail(n), Tail::NONE.0)));
        stores(&memory, &group::words(&geometry));
        let settings = GroupSettings::new()
            .ack_wait(Duration::from_millis(100))
            .max_deliver(3)
            .max_ack_pending(3)
            .backoff(Backoff::exponential(Duration::from_millis(2), Duration::from_millis(50)));
        let workers = [0, 1].map(|n| {
            let group = Group::new(memory.clone(), geometry, n % 2 * u32::from(input.byte() % 2 == 0));
            if memory.peek(Word::readers(GROUPS + u64::from(group_number(&memory, n)) * 1024)) == Tail::NONE.0
            {
                let _ = group::create(&group, "g", &settings, Start::Earliest, 1, 1);
            }
            memory.poke(worker_group(&geometry, n), 1);
            Lessee::new(group, n, settings, 0)
        });
        let mut ring = Ring {
            producer: Publisher::take_over(memory.clone(), geometry).ok(),
            consumer: None,
            copying: None,
            durable: None,
            observer: Watcher::new(memory.clone(), geometry, first),
            workers,
            leases: RefCell::default(),
            alive: Alive(Cell::new(u32::MAX)),
            now: Millis(7),
            forged: false,
            let_go: false,
            memory,
            geometry,
        };
        ring.join(IN_PLACE, Start::Earliest);
        ring.join(BY_COPY, Start::Earliest);
        ring
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 20 {
            0..3 => self.overwrite(input),
            3..6 => self.send(input.below(6)),
            6 => self.read(input.below(6)),
            7 => self.read_by_copy(),
            8 => self.observe(),
            9 | 10 => self.lease(input),
            11 | 12 => self.settle(input),
            13 => self.bury(input),
            14 => self.now = self.now.after(1 << (input.byte() % 32)),
            15 => self.die(input),
            16 => {
                let start = self.start(input);
                self.join(u32::from(input.byte() % 2), start);
            }
            17 => self.resume(),
            18 => self.look(input),
            _ => self.record(input),
        }
    }

    /// Any word but the header's; those that decide something more often.
    fn overwrite(&mut self, input: &mut Input<'_>) {
        let nth = |input: &mut Input<'_>, end| input.below(end);
        let word = match input.byte() % 12 {
            0 => Word::producer(4096 + 128 * nth(input, 6) + 8 * nth(input, 3)),
            1 | 2 => {
                let slot = self.geometry.slot(nth(input, CAPACITY));
                if nth(input, 2) == 0 { slot.sequence() } else { slot.meta() }
            }
            3 => Word::readers(128 * nth(input, 4)),
            4 | 5 => Word::readers(4096 + 128 * nth(input, 2 * CONSUMERS)),
            6 => Word::readers(GROUPS + 8 * nth(input, 256)),
            7 => Word::readers(GROUPS + 1024 * nth(input, 2) + 128 * nth(input, 3) + 8 * nth(input, 2)),
            8 => Word::readers(WORKERS + 128 * nth(input, 4)),
            9 | 10 => Word::readers(DELIVERIES + 128 * nth(input, 2) + 8 * nth(input, CAPACITY)),
            _ => Word::readers(8 * nth(input, (DELIVERIES + 256) / 8)),
        };
        let owned = [IN_PLACE, BY_COPY, DURABLE].map(|n| self.geometry.tail(n));
        self.forged |= word.segment == Segment::Producer || owned.contains(&word);
        self.let_go |= word.segment == Segment::Readers && word.offset >= GROUPS;
        let old = self.memory.peek(word);
        self.memory.poke(word, input.value(old));
    }

    /// As a producer does that finds the ring full: it removes from the way whoever may be removed.
    fn send(&mut self, want: u64) {
        let Some(producer) = &mut self.producer else { return };
        for _ in 0..8 {
            if producer.room() > 0 {
                break;
            }
            let scan = producer.rescan(0);
            let Some(gate) = scan.lowest else { break };
            assert!(gate.position <= producer.head());
            let gone = producer.room() > 0
                || match gate.who {
                    Who::Consumer(n, tail) if tail.is_evictable() => producer.evict(gate) || n < 3,
                    Who::Consumer(n, _) => table::reap(&self.memory, &self.geometry, &self.alive, n),
                    Who::Worker(n) => group::unpin_dead(&self.memory, &self.geometry, &self.alive, n),
                    Who::Group(n) => {
                        group::clear_unfinished(&Group::new(self.memory.clone(), self.geometry, n))
                    }
                };
            if !gone {
                break;
            }
        }
        let count = producer.room().min(want);
        producer.claim(count);
        let slots = self.geometry.slots();
        if want > 1 {
            let mut batch = producer.begin_batch(count);
            for position in (producer.head()..).take(count as usize) {
                let slot = slots.at(position);
                let says = if want == GIVEN_UP { !position } else { position };
                self.memory.store(Word::producer(slots.packed(slot).offset()), says, Relaxed);
                batch.add(slot, described(&self.geometry, position), |word, value| {
                    self.memory.store(word, value, Relaxed)
                });
            }
            if want != GIVEN_UP {
                producer.publish_batch(&batch);
            }
        } else if count > 0 {
            let position = producer.head();
            let slot = slots.at(position);
            self.memory.store(Word::producer(slots.single(slot).offset()), position, Relaxed);
            producer.describe(slot, described(&self.geometry, position));
            producer.publish(slot, position);
        }
        assert!(producer.head() <= producer.claimed());
        if producer.readers_asleep() {
            producer.wake_readers();
        }
    }

    /// Lengths never reach beyond a block; what nobody forged is what was published.
    fn saw(&self, position: u64, meta: Meta, bytes: &[u8]) {
        assert!(self.geometry.index(position) < CAPACITY);
        if !self.forged {
            assert_eq!(meta, described(&self.geometry, position));
            assert_eq!(bytes.get(..8), Some(&position.to_le_bytes()[..]));
        }
    }

    fn read_one(&self, reader: &mut Reader<Checked>, want: u64) {
        let Ok(Ready::Messages(ready)) = reader.poll_many() else {
            let _ = reader.is_drained();
            return;
        };
        assert!((1..=CAPACITY).contains(&ready));
        let _ = reader.look_at_head();
        assert!((1..=CAPACITY).contains(&reader.known()));
        let count = want.min(reader.known());
        for ahead in 0..count {
            let position = reader.tail() + ahead;
            let mut bytes = [0; 8];
            let message =
                if ahead < reader.described() { reader.message(ahead) } else { reader.bare_message(ahead) };
            // SAFETY: the block is of this geometry, and 8 bytes are less than a block.
            unsafe { self.memory.copy_block(message.block, &mut bytes) };
            self.saw(position, message.meta, &bytes);
        }
        reader.release(count);
        if reader.producer_asleep() {
            reader.wake_producer();
        }
    }

    fn read(&mut self, want: u64) {
        for which in [IN_PLACE, DURABLE] {
            let slot = if which == IN_PLACE { &mut self.consumer } else { &mut self.durable };
            let Some(mut reader) = slot.take() else { continue };
            self.read_one(&mut reader, want);
            let slot = if which == IN_PLACE { &mut self.consumer } else { &mut self.durable };
            *slot = Some(reader);
        }
    }

    fn read_by_copy(&mut self) {
        let Some(mut reader) = self.copying.take() else { return };
        let mut buffer = [0; BLOCK_MAX];
        let buffer = &mut buffer[..self.geometry.block_size() as usize];
        match reader.take(buffer) {
            Copied::Message { position, meta } => {
                assert!(meta.len() <= buffer.len());
                self.saw(position, meta, buffer);
            }
            Copied::Empty => drop(reader.is_drained()),
            Copied::Evicted => {
                let join = |start| table::join(&self.memory, &self.geometry, BY_COPY, start, true);
                let joined = match join(Start::At(reader.tail())) {
                    Err(StartError::Gone { .. }) => join(Start::Earliest),
                    joined => joined,
                };
                match joined {
                    Ok(tail) => reader.rejoined(tail),
                    Err(_) => return,
                }
            }
        }
        self.copying = Some(reader);
    }

    fn observe(&mut self) {
        let mut buffer = [0; BLOCK_MAX];
        let buffer = &mut buffer[..self.geometry.block_size() as usize];
        let before = self.observer.position();
        match self.observer.look(buffer) {
            Seen::Message { position, meta } => {
                assert!(meta.len() <= buffer.len());
                self.saw(position, meta, buffer);
            }
            Seen::Empty => drop(self.observer.is_drained()),
            Seen::Missed(n) => assert_eq!(self.observer.position(), before + n),
        }
        assert!(self.observer.position() >= before);
    }

    fn lease(&mut self, input: &mut Input<'_>) {
        let number = usize::from(input.byte() % 2);
        let worker = &self.workers[number];
        let kinds = match input.byte() % 6 {
            0 => Kinds::Equal(input.byte().into()),
            1 => Kinds::AtMost(input.byte().into()),
            2 => Kinds::Except(input.byte().into()),
            _ => Kinds::Any,
        };
        let leased = match input.byte() % 3 {
            0 => worker.next(self.now),
            sweep => worker.search(kinds, self.now, sweep == 1).lease,
        };
        if let Some(lease) = leased {
            if !self.forged && !self.let_go {
                assert_eq!(lease.message.meta, described(&self.geometry, lease.position));
            }
            self.leases.borrow_mut().push_back((number, lease));
        }
        if worker.has_withdrawn() && worker.producer_asleep() {
            worker.wake_producer();
        }
    }

    fn settle(&mut self, input: &mut Input<'_>) {
        let Some((number, lease)) = self.leases.borrow_mut().pop_front() else { return };
        let (worker, now) = (&self.workers[number], self.now);
        let _ = match input.byte() % 6 {
            0 => worker.nack(lease, None, now),
            1 => worker.nack(lease, Some(u32::from(input.byte())), now),
            2 => worker.release(lease),
            3 => worker.reject(lease, now),
            4 => {
                if let Ok(lease) = worker.extend(lease, now) {
                    self.leases.borrow_mut().push_back((number, lease));
                    return;
                }
                Ok(())
            }
            _ => worker.ack(lease),
        };
        worker.unpin(lease.position);
        worker.settled(lease.position);
    }

    fn bury(&mut self, input: &mut Input<'_>) {
        let worker = &self.workers[usize::from(input.byte() % 2)];
        let from = worker.group().floor().unwrap_or(0);
        let doomed: Vec<u64> = worker.doomed(from, self.now).take(3).collect();
        for position in doomed {
            let mut buffer = [0; BLOCK_MAX];
            let buffer = &mut buffer[..self.geometry.block_size() as usize];
            if let Some(letter) = worker.exhume(position, self.now, buffer) {
                assert!(letter.message.meta.len() <= buffer.len());
                match input.byte() % 3 {
                    0 => worker.defer(letter, 1000, self.now),
                    copied => drop(worker.bury(letter, copied == 1)),
                }
            }
        }
    }

    /// Somebody dies, or comes back; the producer has a successor.
    fn die(&mut self, input: &mut Input<'_>) {
        match input.byte() % 6 {
            0 => self.producer = Publisher::take_over(self.memory.clone(), self.geometry).ok(),
            1 => self.kill(input),
            2 => {
                let entry = u32::from(input.byte() % 2);
                group::reap_worker(&self.memory, &self.geometry, &self.alive, entry);
            }
            3 => {
                self.leases.borrow_mut().clear();
                for n in 0..2 {
                    group::free_worker(&self.memory, &self.geometry, n);
                    self.workers[n as usize] = self.worker(n);
                    self.memory.poke(worker_group(&self.geometry, n), 1);
                }
            }
            4 => drop(self.producer.as_mut().map(Publisher::close)),
            _ => {
                let start = self.start(input);
                let number = input.byte() % 2;
                let group = Group::new(self.memory.clone(), self.geometry, number.into());
                group::clear_unfinished(&group);
                // Nobody makes a group where there is one.
                if self.memory.peek(flags(number)) != group_flags::TAKEN {
                    let _ = group::create(&group, "h", &GroupSettings::new(), start, 1, 1);
                } else {
                    group::after_reboot(&group, u64::from(input.byte()));
                }
            }
        }
    }

    /// A consumer dies: nobody uses its handle any more, and it may be cleared away.
    fn kill(&mut self, input: &mut Input<'_>) {
        let entry = u32::from(input.byte() % 3);
        match entry {
            IN_PLACE => self.consumer = None,
            BY_COPY => self.copying = None,
            _ => self.durable = None,
        }
        self.alive.0.set(self.alive.0.get() & !(1 << entry));
    }

    /// As a worker that joins: it takes the group's settings from the group.
    fn worker(&self, n: u32) -> Lessee<Checked> {
        let group = Group::new(self.memory.clone(), self.geometry, 0);
        let settings = GroupSettings::load(&self.memory, |at| Word::readers(GROUPS + at));
        Lessee::new(group, n, settings, 10)
    }

    fn start(&self, input: &mut Input<'_>) -> Start {
        match input.byte() % 4 {
            0 => Start::Earliest,
            1 => Start::Latest,
            _ => Start::At(input.value(self.memory.peek(producer_page::HEAD))),
        }
    }

    fn join(&mut self, entry: u32, start: Start) {
        let evictable = entry == BY_COPY;
        self.alive.0.set(self.alive.0.get() | 1 << entry);
        table::leave(&self.memory, &self.geometry, entry, false);
        self.memory.store(self.geometry.flags(entry), EntryFlags::taken(false, evictable).0, Relaxed);
        let joined = table::join(&self.memory, &self.geometry, entry, start, evictable).ok();
        let memory = || self.memory.clone();
        if evictable {
            self.copying = joined.map(|tail| CopyingReader::new(memory(), self.geometry, entry, tail));
        } else {
            self.consumer = joined.map(|tail| Reader::new(memory(), self.geometry, entry, tail));
        }
    }

    fn resume(&mut self) {
        self.alive.0.set(self.alive.0.get() | 1 << DURABLE);
        self.memory.store(self.geometry.flags(DURABLE), EntryFlags::taken(true, false).0, Relaxed);
        if Tail(self.memory.peek(self.geometry.tail(DURABLE))).position().is_none() {
            let _ = table::join(&self.memory, &self.geometry, DURABLE, Start::Earliest, false);
        }
        let resumed = table::resume(&self.memory, &self.geometry, DURABLE).ok();
        self.durable = resumed.map(|tail| Reader::new(self.memory.clone(), self.geometry, DURABLE, tail));
    }

    /// Whatever only looks.
    fn look(&mut self, input: &mut Input<'_>) {
        let group = Group::new(self.memory.clone(), self.geometry, u32::from(input.byte() % 2));
        let _ = (group.floor(), group.census(self.now), group.help_floor());
        let (earliest, head) = Watcher::window(&self.memory, &self.geometry);
        // As an observer that attaches.
        const POSITION_MAX: u64 = slipring_core::format::POSITION_MAX;
        if head <= POSITION_MAX && earliest <= POSITION_MAX {
            let position = if input.byte() % 2 == 0 { earliest } else { head };
            self.observer = Watcher::new(self.memory.clone(), self.geometry, position);
        }
    }

    fn record(&mut self, input: &mut Input<'_>) {
        let name = String::from_utf8_lossy(&[input.byte(); 70]).into_owned();
        let entry = recorder::Entry { kind: EventKind::Died, position: 1, pid: 2, unix_ms: 3, name: &name };
        recorder::record(&self.memory, &self.geometry, entry);
        if input.byte() % 8 == 0 {
            recorder::events(&self.memory, &self.geometry);
        }
    }
}

fn flags(number: u8) -> Word {
    Word::readers(GROUPS + 1024 * u64::from(number) + 256)
}

/// The group that a worker begins in: there is one, or one for each.
fn group_number(memory: &Checked, n: u32) -> u32 {
    if memory.peek(flags(0)) == group_flags::TAKEN { n } else { 0 }
}
