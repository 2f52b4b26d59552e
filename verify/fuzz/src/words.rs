//! All roles at work, step by step, while the input overwrites any shared word between two steps.

use crate::input::Input;
use crate::memory::Checked;
use slipring::{Backoff, GroupSettings};
use slipring_core::protocol;
use slipring_core::format::readers_page::{USED_CONSUMERS, USED_GROUPS, USED_WORKERS};
use slipring_core::format::{Geometry, Meta, Millis, producer_page};
use slipring_core::memory::{Clock, Liveness, Memory, Right, Segment, Word};
use slipring_core::protocol::furnish::{Declared, furnish};
use slipring_core::protocol::dead_letter::Overflow;
use slipring_core::protocol::group::table::{self, Birth, Wanted};
use slipring_core::protocol::group::{Group, Kinds, members};
use slipring_core::protocol::lease::Lease;
use slipring_core::protocol::make_room::{Policy, Removal, RoomMaker};
use slipring_core::protocol::membership::{self, ConsumerKind, Entered, Identity};
use slipring_core::protocol::observe::Seen;
use slipring_core::protocol::read::{Copied, Ready};
use slipring_core::protocol::recorder::{self, EventKind};
use slipring_core::protocol::table::Start;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

/// Bytes of a block: of one that has a place beside its header, and of one that has not.
const BLOCKS: [u64; 2] = [48, 160];
const BLOCK_MAX: usize = 160;
const CAPACITY: u64 = 4;
const CONSUMERS: u64 = 3;
const PRODUCER_LEN: u64 = 65536;
const RECORDER: u64 = 4096 + CONSUMERS * 256;
const GROUPS: u64 = (RECORDER + 256 * 128).next_multiple_of(4096);
const WORKERS: u64 = GROUPS + 2 * 1280;
const DELIVERIES: u64 = GROUPS + 4096;
/// A batch of so many is filled and not published.
const GIVEN_UP: u64 = 4;
/// When everything begins.
const BIRTH: Birth = Birth { boot: 1, unix_ms: 1, now: Millis(1) };
/// Consumers, by how they read.
const IN_PLACE: ConsumerKind = ConsumerKind::Ephemeral;
const BY_COPY: ConsumerKind = ConsumerKind::Evictable;
const DURABLE: ConsumerKind = ConsumerKind::Durable;
/// A durable consumer may be away for so long, in milliseconds.
const AWAY_MAX: u64 = 1000;

thread_local! {
    static MEMORIES: [Checked; 2] = BLOCKS.map(|block| Checked::new(&geometry(block, 0), PRODUCER_LEN));
}

/// Which of the block sizes the first byte of an input chooses.
fn block_of(draw: u8) -> usize {
    usize::from(draw / 4 % 2)
}

fn geometry(block: u64, first: u64) -> Geometry {
    let geometry = Geometry::plan(block, CAPACITY, CONSUMERS).and_then(|it| it.with_groups(2, 2));
    geometry.and_then(|it| it.starting_at(first)).unwrap()
}

/// The living parties: one bit each.
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
    type Error = Infallible;

    fn try_seize(&self, right: Right) -> Result<bool, Infallible> {
        Ok(self.0.get() & Alive::bit(right) == 0)
    }
    /// The producer may live at any time.
    fn is_held(&self, right: Right) -> bool {
        right == Right::Producer || self.0.get() & Alive::bit(right) != 0
    }
    fn release(&self, right: Right) {
        self.0.set(self.0.get() & !Alive::bit(right));
    }
}

impl Alive {
    /// The holder of this right lives until it releases the right.
    fn born(&self, right: Right) {
        self.0.set(self.0.get() | Alive::bit(right));
    }
}

/// The lease clock is the system clock, too.
struct Time(Millis);

impl Clock for Time {
    fn now(&self) -> Millis {
        self.0
    }
    fn unix_ms(&self) -> u64 {
        self.0.0.into()
    }
}

struct Ring {
    memory: Checked,
    geometry: Geometry,
    alive: Alive,
    now: Millis,
    producer: Option<protocol::Producer<Checked>>,
    room: RoomMaker,
    consumer: Option<protocol::Consumer<Checked>>,
    copying: Option<protocol::EvictableConsumer<Checked>>,
    durable: Option<protocol::Consumer<Checked>>,
    observer: protocol::Observer<Checked>,
    workers: [protocol::Worker<Checked>; 2],
    leases: RefCell<VecDeque<(usize, Lease)>>,
    /// The input wrote into what only the producer writes, or into a consumer's own word.
    forged: bool,
    /// It wrote into what holds the producer up for a group: a worker may then be given what is
    /// being overwritten.
    let_go: bool,
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    MEMORIES.with(|memories| {
        let memory = &memories[block_of(bytes.first().copied().unwrap_or_default())];
        memory.reset();
        let mut ring = Ring::new(memory.clone(), &mut input);
        while !input.is_empty() {
            memory.step();
            ring.step(&mut input);
        }
    });
}

/// Every third message is headerless, if it is sent in a batch.
fn meta_of(geometry: &Geometry, position: u64) -> Meta {
    if position % 3 == 0 { Meta::new(geometry.block_size() as u32, 0) } else { Meta::new(8, position as u32) }
}

/// As many bytes as that says, which begin with this.
fn bytes(geometry: &Geometry, position: u64, says: u64) -> Vec<u8> {
    let mut bytes = vec![0; meta_of(geometry, position).len()];
    bytes[..8].copy_from_slice(&says.to_le_bytes());
    bytes
}

impl Ring {
    fn new(memory: Checked, input: &mut Input<'_>) -> Ring {
        let draw = input.byte();
        let block = BLOCKS[block_of(draw)];
        let first = match draw % 4 {
            0 => 0,
            1 => (1 << 32) - 3,
            2 => CAPACITY * 4096 - 3,
            _ => (1 << 63) - (1 << 40),
        };
        let geometry = geometry(block, first);
        furnish(&memory, &geometry, Declared::default(), 1, BIRTH).unwrap();
        let settings = GroupSettings::new()
            .ack_wait(Duration::from_millis(100))
            .max_deliver(3)
            .max_ack_pending(3)
            .backoff(Backoff::exponential(Duration::from_millis(2), Duration::from_millis(50)));
        let alive = Alive(Cell::new(0));
        let workers = [0, 1].map(|n| {
            let group = Group::new(memory.clone(), geometry, n % 2 * u32::from(input.byte() % 2 == 0));
            if !group.is_taken() {
                let _ = table::create(&group, "g", &settings, Start::Earliest, BIRTH, || true);
            }
            let (entry, settings) = (enlist(&group, &alive), group.settings());
            protocol::Worker::new(group, entry, settings, 0)
        });
        let mut ring = Ring {
            producer: protocol::Producer::take_over(memory.clone(), geometry).ok(),
            consumer: None,
            copying: None,
            durable: None,
            observer: protocol::Observer::new(memory.clone(), geometry, first),
            workers,
            leases: RefCell::default(),
            alive,
            room: RoomMaker::new(Policy { required_readers: 0, durable_inactive_ms: AWAY_MAX }),
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
            6 if input.byte() % 4 == 0 => self.read_ahead(input),
            6 => self.read(input.below(6)),
            7 => self.read_by_copy(),
            8 => self.observe(),
            9 | 10 => self.lease(input),
            11 | 12 => self.settle(input),
            13 => self.give_up(input),
            14 => self.now = self.now.after(1 << (input.byte() % 32)),
            15 => self.die(input),
            16 => {
                let start = self.start(input);
                self.join(if input.byte() % 2 == 0 { IN_PLACE } else { BY_COPY }, start);
            }
            17 => self.join(DURABLE, Start::Earliest),
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
            3 => Word::readers(128 * nth(input, 5) + 8 * nth(input, 3)),
            4 | 5 => Word::readers(4096 + 128 * nth(input, 2 * CONSUMERS)),
            6 => Word::readers(GROUPS + 8 * nth(input, 256)),
            7 => Word::readers(GROUPS + 1280 * nth(input, 2) + 128 * nth(input, 3) + 8 * nth(input, 2)),
            8 => Word::readers(WORKERS + 128 * nth(input, 4)),
            9 | 10 => Word::readers(DELIVERIES + 128 * nth(input, 2) + 8 * nth(input, CAPACITY)),
            _ => Word::readers(8 * nth(input, (DELIVERIES + 256) / 8)),
        };
        let owned = [0, 1, 2].map(|n| self.geometry.tail(n));
        // An entry that is not counted gates no position.
        let is_owned = owned.contains(&word) || word == USED_CONSUMERS;
        self.forged |= word.segment == Segment::Producer || is_owned;
        let is_of_groups = word.offset >= GROUPS || [USED_GROUPS, USED_WORKERS].contains(&word);
        self.let_go |= word.segment == Segment::Readers && is_of_groups;
        let old = self.memory.peek(word);
        self.memory.poke(word, input.value(old));
    }

    /// As a producer does that finds the ring full: it removes from the way what may be removed.
    fn send(&mut self, want: u64) {
        let Some(producer) = &mut self.producer else { return };
        let log = |Removal { kind, position, name, pid }: Removal| {
            let entry = recorder::NewEvent { kind, position, pid, unix_ms: 1, name: &name };
            recorder::try_record(&self.memory, &self.geometry, &self.alive, entry);
        };
        if producer.room() == 0 {
            self.room.make_room(producer, &self.alive, &Time(self.now), log);
        }
        assert!(producer.rescan(0).lowest.is_none_or(|gate| gate.position <= producer.head()));
        let count = producer.room().min(want);
        if want > 1 {
            let mut batch = producer.begin_batch(count);
            while let Some(slot) = batch.next_slot(producer) {
                let position = batch.next();
                let says = if want == GIVEN_UP { !position } else { position };
                batch.push(producer, slot, meta_of(&self.geometry, position).kind(), &bytes(&self.geometry, position, says));
            }
            if want != GIVEN_UP {
                producer.publish_batch(&batch);
            }
        } else if count > 0 {
            producer.claim(1);
            let claimed = producer.claimed_slot(0);
            let position = claimed.position();
            producer.send(claimed, meta_of(&self.geometry, position).kind(), &bytes(&self.geometry, position, position));
        }
        assert!(producer.head() <= producer.claimed());
        producer.wake_readers();
    }

    /// A length never reaches beyond a block; a message that the input did not forge is the
    /// published one.
    fn saw(&self, position: u64, meta: Meta, bytes: &[u8]) {
        assert!(self.geometry.index(position) < CAPACITY);
        if !self.forged {
            assert_eq!(meta, meta_of(&self.geometry, position));
            assert_eq!(bytes.get(..8), Some(&position.to_le_bytes()[..]));
        }
    }

    fn read_one(&self, reader: &mut protocol::Consumer<Checked>, want: u64) {
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
                if ahead < reader.headers_ahead() { reader.message(ahead) } else { reader.headerless_message(ahead) };
            // SAFETY: the block is of this geometry, and 8 bytes are less than a block.
            unsafe { self.memory.copy_block(message.block, &mut bytes) };
            self.saw(position, message.meta, &bytes);
        }
        reader.release(count);
        reader.wake_behind();
    }

    fn read(&mut self, want: u64) {
        for kind in [IN_PLACE, DURABLE] {
            let Some(mut reader) = self.in_place(kind).take() else { continue };
            self.read_one(&mut reader, want);
            *self.in_place(kind) = Some(reader);
        }
    }

    /// A cursor never finds more than a ring, and nothing that lies outside of it.
    fn read_ahead(&mut self, input: &mut Input<'_>) {
        for kind in [IN_PLACE, DURABLE] {
            let Some(mut reader) = self.in_place(kind).take() else { continue };
            let mut ahead = reader.ahead();
            for _ in 0..input.below(4) {
                if ahead.poll_many().is_err() {
                    break;
                }
                let window = ahead.window(input.below(6));
                for (index, position) in (0..window.count()).zip(window.positions()) {
                    let (message, mut bytes) = (window.message(&self.memory, index), [0; 8]);
                    // SAFETY: the block is of this geometry, and 8 bytes are less than a block.
                    unsafe { self.memory.copy_block(message.block, &mut bytes) };
                    self.saw(position, message.meta, &bytes);
                }
                ahead.pass(&window);
                let tail = ahead.tail();
                let _ = ahead.seek(input.value(ahead.cursor()));
                assert!((tail..=tail + CAPACITY).contains(&ahead.cursor()));
                ahead.release_to(tail + input.below(ahead.cursor() - tail + 1));
                ahead.wake_behind();
            }
            let _ = ahead.is_drained();
            *self.in_place(kind) = Some(reader);
        }
    }

    fn in_place(&mut self, kind: ConsumerKind) -> &mut Option<protocol::Consumer<Checked>> {
        if kind == DURABLE { &mut self.durable } else { &mut self.consumer }
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
            // Without a tail it is in the table no more.
            Copied::Evicted if membership::rejoin(&mut reader, || true).is_err() => {
                return self.alive.release(Right::Consumer(reader.entry()));
            }
            Copied::Evicted => {}
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
        if let Ok(Some((position, meta))) = self.observer.latest(buffer) {
            assert!(meta.len() <= buffer.len());
            self.saw(position, meta, buffer);
        }
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
                assert_eq!(lease.message.meta, meta_of(&self.geometry, lease.position));
            }
            self.leases.borrow_mut().push_back((number, lease));
        }
        if worker.has_withdrawn() {
            worker.wake_behind();
        }
    }

    fn settle(&mut self, input: &mut Input<'_>) {
        let Some((number, lease)) = self.leases.borrow_mut().pop_front() else { return };
        let (worker, now) = (&self.workers[number], self.now);
        let _ = match input.byte() % 6 {
            0 => worker.nack(lease, None, now),
            1 => worker.nack(lease, Some(u32::from(input.byte())), now),
            2 => worker.hand_back(lease),
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

    fn give_up(&mut self, input: &mut Input<'_>) {
        let worker = &self.workers[usize::from(input.byte() % 2)];
        let from = worker.group().floor().unwrap_or(0);
        let dead_pending: Vec<u64> = worker.dead_pending(from, self.now).take(3).collect();
        for position in dead_pending {
            let mut buffer = [0; BLOCK_MAX];
            let buffer = &mut buffer[..self.geometry.block_size() as usize];
            let draw = input.byte() % 3;
            let overflow = if draw == 0 { Overflow::Retry(1000) } else { Overflow::Drop };
            let publish = |_: &_, _: &[u8]| if draw == 1 { Ok(()) } else { Err(overflow) };
            worker.move_to_dead_letters(position, self.now, buffer, publish);
        }
    }

    /// A party dies, or comes back; the producer has a successor.
    fn die(&mut self, input: &mut Input<'_>) {
        match input.byte() % 6 {
            0 => self.producer = protocol::Producer::take_over(self.memory.clone(), self.geometry).ok(),
            1 => self.kill(input),
            2 => {
                let worker = &self.workers[usize::from(input.byte() % 2)];
                members::reap_all(worker.group(), &self.alive, worker.entry(), true, |_| {});
            }
            3 => {
                self.leases.borrow_mut().clear();
                self.workers.iter().for_each(|it| self.alive.release(Right::Worker(it.entry())));
                self.workers = [0, 1].map(|_| self.worker());
            }
            4 => drop(self.producer.as_mut().map(protocol::Producer::close)),
            _ => {
                let start = self.start(input);
                let name = ["g", "h"][usize::from(input.byte() % 2)];
                let birth = Birth { boot: input.byte().into(), ..BIRTH };
                let wanted = Wanted { name, settings: None, start };
                let _ = table::join(&self.memory, &self.geometry, &self.alive, &wanted, birth);
            }
        }
    }

    /// A consumer dies: its handle is not used again, and its entry may be cleared.
    fn kill(&mut self, input: &mut Input<'_>) {
        let kind = [IN_PLACE, BY_COPY, DURABLE][usize::from(input.byte() % 3)];
        if let Some(entry) = self.vacate(kind) {
            self.alive.release(Right::Consumer(entry));
        }
    }

    /// This consumer's handle is not used again.
    fn vacate(&mut self, kind: ConsumerKind) -> Option<u32> {
        match kind {
            BY_COPY => self.copying.take().map(|reader| reader.entry()),
            _ => self.in_place(kind).take().map(|reader| reader.entry()),
        }
    }

    /// As a worker that joins: it takes the group's settings from the group.
    fn worker(&self) -> protocol::Worker<Checked> {
        let group = Group::new(self.memory.clone(), self.geometry, 0);
        let (entry, settings) = (enlist(&group, &self.alive), group.settings());
        protocol::Worker::new(group, entry, settings, 10)
    }

    fn start(&self, input: &mut Input<'_>) -> Start {
        match input.byte() % 4 {
            0 => Start::Earliest,
            1 => Start::Latest,
            2 => Start::Last(input.value(8)),
            _ => Start::At(input.value(self.memory.peek(producer_page::HEAD))),
        }
    }

    /// A consumer goes, if it is there, and comes, or comes back.
    fn join(&mut self, kind: ConsumerKind, start: Start) {
        let (memory, geometry) = (self.memory.clone(), self.geometry);
        let unix_ms = Time(self.now).unix_ms();
        if let Some(entry) = self.vacate(kind) {
            membership::leave(&memory, &geometry, &self.alive, entry, kind, unix_ms);
        }
        let name = if kind == DURABLE { "audit" } else { "" };
        let who = Identity { name, pid: 1, unix_ms, after: &[] };
        let entered = membership::enter(&memory, &geometry, &self.alive, kind, start, &who);
        let Ok(Entered { entry, tail, .. }) = entered else { return };
        self.alive.born(Right::Consumer(entry));
        match kind {
            BY_COPY => self.copying = Some(protocol::EvictableConsumer::new(memory, geometry, entry, tail)),
            _ => *self.in_place(kind) = Some(protocol::Consumer::new(memory, geometry, entry, tail)),
        }
    }

    /// Whatever only looks.
    fn look(&mut self, input: &mut Input<'_>) {
        let group = Group::new(self.memory.clone(), self.geometry, u32::from(input.byte() % 2));
        let _ = (group.floor(), group.window_counts(self.now), group.help_floor());
        let (earliest, head) = protocol::Observer::window(&self.memory, &self.geometry);
        // As an observer that attaches.
        const POSITION_MAX: u64 = slipring_core::format::POSITION_MAX;
        if head <= POSITION_MAX && earliest <= POSITION_MAX {
            let position = if input.byte() % 2 == 0 { earliest } else { head };
            self.observer = protocol::Observer::new(self.memory.clone(), self.geometry, position);
        }
    }

    fn record(&mut self, input: &mut Input<'_>) {
        let name = String::from_utf8_lossy(&[input.byte(); 70]).into_owned();
        let entry = recorder::NewEvent { kind: EventKind::Died, position: 1, pid: 2, unix_ms: 3, name: &name };
        recorder::record(&self.memory, &self.geometry, entry);
        if input.byte() % 8 == 0 {
            recorder::events(&self.memory, &self.geometry);
        }
    }
}

/// Two entries and two workers: there is always one for the next.
fn enlist(group: &Group<Checked>, alive: &Alive) -> u32 {
    let who = Identity { name: "w", pid: 1, unix_ms: 1, after: &[] };
    let entry = members::enlist(group, alive, &who).expect("an entry whose worker is dead");
    alive.born(Right::Worker(entry));
    entry
}
