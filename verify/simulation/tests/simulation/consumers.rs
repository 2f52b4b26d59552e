//! Broadcast readers: what `Consumer`, `EvictableConsumer` and `Observer` do with the protocol.

use crate::memory::{BLOCK_MAX, SimMemory, block_of, ends};
use crate::oracle::{Message, Oracle};
use crate::world::{Actor, Turn};
use slipring_core::format::{EntryFlags, Geometry, Meta, Tail};
use slipring_core::memory::{Liveness, Memory, Right};
use slipring_core::protocol::observe::{Seen, Watcher};
use slipring_core::protocol::read::{Copied, CopyingReader, Reader, Ready};
use slipring_core::protocol::table::{self, Start, StartError};
use std::sync::atomic::Ordering::Relaxed;

/// Entries that belong to the durable ones.
const RESERVED: u32 = 2;

fn any_start(turn: &mut Turn<'_>) -> Start {
    let (first, end) = (turn.geometry().first_position(), turn.oracle().end());
    match turn.dice.roll(3) {
        0 => Start::Earliest,
        1 => Start::Latest,
        _ => Start::At(first + turn.dice.roll(end - first + 2)),
    }
}

/// Takes a free entry, or that of one who died.
fn find_entry(memory: &SimMemory, geometry: &Geometry) -> Option<u32> {
    let entries = RESERVED..u32::try_from(geometry.consumers()).unwrap();
    for dead in [false, true] {
        for entry in entries.clone() {
            let flags = EntryFlags(memory.load(geometry.flags(entry), Relaxed));
            if flags.is_taken() == dead && memory.seize(Right::Consumer(entry)) {
                return Some(entry);
            }
        }
    }
    None
}

/// Joins with a seized entry; until it is done, it is ephemeral.
fn settle(turn: &mut Turn<'_>, entry: u32, durable: bool, evictable: bool) -> Option<u64> {
    let (memory, geometry) = (turn.memory, turn.geometry());
    let start = any_start(turn);
    table::leave(memory, &geometry, entry, false);
    memory.store(geometry.flags(entry), EntryFlags::taken(false, evictable).0, Relaxed);
    let joined = table::join(memory, &geometry, entry, start, evictable);
    if let (Ok(position), Start::At(asked)) = (joined, start) {
        assert_eq!(position, asked);
    }
    assert!(!matches!(joined, Err(StartError::Damaged(_))), "{joined:?}");
    // From here on nothing is overwritten, unless it was evicted already.
    let evicted = memory.shared.word(geometry.tail(entry)).get() == Tail::EVICTED.0;
    if let (Ok(position), false) = (joined, evicted) {
        turn.oracle().begins(entry, position, evictable);
    }
    let flags = joined.map_or(EntryFlags::FREE, |_| EntryFlags::taken(durable, evictable));
    memory.store(geometry.flags(entry), flags.0, Relaxed);
    if joined.is_err() {
        memory.release(Right::Consumer(entry));
    }
    joined.ok()
}

/// A reader in place, ephemeral or durable.
pub(crate) struct InPlace {
    durable: Option<u32>,
    entry: Option<u32>,
    reader: Option<Reader<SimMemory>>,
    /// Positions that it holds, from its tail on.
    held: Vec<u64>,
    /// Where a durable one stood before the release during which it may have died.
    before_release: Option<u64>,
    /// It is in the table as a durable one: nothing is forgotten any more.
    agreed: bool,
}

impl InPlace {
    pub(crate) fn plain() -> InPlace {
        InPlace {
            durable: None,
            entry: None,
            reader: None,
            held: Vec::new(),
            before_release: None,
            agreed: false,
        }
    }

    pub(crate) fn durable(entry: u32) -> InPlace {
        InPlace { durable: Some(entry), agreed: entry == 0, ..InPlace::plain() }
    }

    fn join(&mut self, turn: &mut Turn<'_>) {
        let (memory, geometry) = (turn.memory.clone(), turn.geometry());
        if !memory.seize(Right::Table) {
            return;
        }
        let tail = match self.durable {
            Some(entry) if memory.seize(Right::Consumer(entry)) => {
                self.entry = Some(entry);
                let flags = EntryFlags(memory.load(geometry.flags(entry), Relaxed));
                let tail = Tail(memory.load(geometry.tail(entry), Relaxed));
                if flags.is_taken() && flags.is_durable() && tail.position().is_some() {
                    Some(self.resume(turn, entry))
                } else {
                    let tail = settle(turn, entry, true, false);
                    self.agreed = tail.is_some();
                    tail
                }
            }
            Some(_) => None,
            None => {
                self.entry = find_entry(&memory, &geometry);
                self.entry.and_then(|entry| settle(turn, entry, false, false))
            }
        };
        memory.release(Right::Table);
        // Without a tail it has no entry either: somebody else may take it.
        self.entry = self.entry.filter(|_| tail.is_some());
        self.reader = tail.zip(self.entry).map(|(tail, entry)| Reader::new(memory, geometry, entry, tail));
    }

    /// Where it stopped, or before what it was just releasing.
    fn resume(&mut self, turn: &Turn<'_>, entry: u32) -> u64 {
        let tail = table::resume(turn.memory, &turn.geometry(), entry).expect("a sound ring");
        let mut oracle = turn.oracle();
        let reader = oracle.readers[entry as usize].as_mut().expect("a durable one is never forgotten");
        assert!(tail == reader.next || Some(tail) == self.before_release, "resumed at {tail}: {reader:?}");
        reader.next = tail;
        tail
    }

    fn read(&mut self, turn: &mut Turn<'_>) {
        let Some(reader) = &mut self.reader else { return };
        let ready = if turn.dice.hits(2) { reader.poll() } else { reader.poll_many() };
        let Ready::Messages(mut n) = ready.expect("a sound ring") else { return };
        if turn.dice.hits(2) {
            reader.look_at_head().expect("a sound ring");
            n = reader.known();
        }
        for ahead in self.held.len() as u64..1 + turn.dice.roll(n) {
            let position = reader.tail() + ahead;
            let message = match ahead {
                0 if turn.dice.hits(2) => match reader.next_single() {
                    Some(message) => message,
                    None => reader.next_of_batch().expect("a sound ring"),
                },
                _ if ahead >= reader.described() => reader.bare_message(ahead),
                _ => reader.message(ahead),
            };
            // SAFETY: the block is of this geometry; the tail gates.
            let words = unsafe { reader.memory().read_block(message.block) }.words();
            turn.oracle().read(position, Message { words, meta: message.meta.0 });
            turn.oracle().hold(position);
            self.held.push(position);
        }
    }

    fn release(&mut self, turn: &mut Turn<'_>) {
        let Some(reader) = self.reader.as_mut().filter(|_| !self.held.is_empty()) else { return };
        let n = 1 + turn.dice.roll(self.held.len() as u64);
        self.before_release = Some(reader.tail());
        for position in self.held.drain(..usize::try_from(n).unwrap()) {
            turn.oracle().unhold(position);
        }
        let entry = reader.entry() as usize;
        turn.oracle().readers[entry].as_mut().expect("it joined").next += n;
        reader.release(n);
        self.before_release = None;
        if reader.producer_asleep() {
            reader.wake_producer();
        }
    }

    fn leave(&mut self, turn: &mut Turn<'_>) {
        let Some(reader) = self.reader.take() else { return };
        self.entry = None;
        let entry = reader.entry();
        self.held.drain(..).for_each(|position| turn.oracle().unhold(position));
        if self.durable.is_none() {
            turn.oracle().readers[entry as usize] = None;
        }
        table::leave(turn.memory, &turn.geometry(), entry, self.durable.is_some());
        turn.memory.release(Right::Consumer(entry));
    }
}

impl Actor for InPlace {
    fn act(&mut self, turn: &mut Turn<'_>) {
        match turn.dice.roll(12) {
            _ if self.reader.is_none() => self.join(turn),
            0 if !turn.calm() => self.leave(turn),
            0..6 => self.read(turn),
            _ => self.release(turn),
        }
    }

    fn died(&mut self, oracle: &mut Oracle) {
        self.held.drain(..).for_each(|position| oracle.unhold(position));
        self.reader = None;
        // Until its joining is done, a durable one is like any other.
        if let Some(entry) = self.entry.take().filter(|_| !self.agreed) {
            oracle.readers[entry as usize] = None;
        }
    }

    fn may_be_missed(&self) -> bool {
        self.durable.is_none()
    }

    fn is_done(&self, oracle: &Oracle) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.tail() == oracle.end())
    }

    fn name(&self) -> &'static str {
        if self.durable.is_some() { "durable consumer" } else { "consumer" }
    }
}

#[derive(Default)]
pub(crate) struct EvictableReader {
    entry: Option<u32>,
    reader: Option<CopyingReader<SimMemory>>,
}

impl EvictableReader {
    /// Goes on where it was, or at the earliest that is left.
    fn rejoin(turn: &Turn<'_>, reader: &mut CopyingReader<SimMemory>) {
        let (memory, geometry, entry, old) = (turn.memory, turn.geometry(), reader.entry(), reader.tail());
        let join = |start| table::join(memory, &geometry, entry, start, true);
        let joined = match join(Start::At(old)) {
            Err(StartError::Gone { .. }) => join(Start::Earliest),
            joined => joined,
        };
        let tail = joined.expect("an earliest one can always be had");
        assert!(tail >= old, "a reader never goes back");
        if memory.shared.word(geometry.tail(entry)).get() != Tail::EVICTED.0 {
            turn.oracle().begins(entry, tail, true);
        }
        reader.rejoined(tail);
    }
}

impl Actor for EvictableReader {
    fn act(&mut self, turn: &mut Turn<'_>) {
        let (memory, geometry) = (turn.memory.clone(), turn.geometry());
        let Some(reader) = &mut self.reader else {
            if memory.seize(Right::Table) {
                self.entry = find_entry(&memory, &geometry);
                let tail = self.entry.and_then(|entry| settle(turn, entry, false, true));
                memory.release(Right::Table);
                self.entry = self.entry.filter(|_| tail.is_some());
                self.reader = tail
                    .zip(self.entry)
                    .map(|(tail, entry)| CopyingReader::new(memory, geometry, entry, tail));
            }
            return;
        };
        let mut buffer = [0; BLOCK_MAX];
        let buffer = block_of(&geometry, &mut buffer);
        match reader.take(buffer) {
            Copied::Message { position, meta } => turn.oracle().read(position, copied(buffer, meta)),
            Copied::Empty => {}
            Copied::Evicted => EvictableReader::rejoin(turn, reader),
        }
    }

    fn died(&mut self, oracle: &mut Oracle) {
        self.reader = None;
        if let Some(entry) = self.entry.take() {
            oracle.readers[entry as usize] = None;
        }
    }

    fn may_be_missed(&self) -> bool {
        true
    }

    fn is_done(&self, oracle: &Oracle) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.tail() == oracle.end())
    }

    fn name(&self) -> &'static str {
        "evictable consumer"
    }
}

fn copied(buffer: &[u8], meta: Meta) -> Message {
    Message { words: ends(&buffer[..meta.len()]), meta: meta.0 }
}

#[derive(Default)]
pub(crate) struct Onlooker {
    watcher: Option<Watcher<SimMemory>>,
}

impl Actor for Onlooker {
    fn act(&mut self, turn: &mut Turn<'_>) {
        let (memory, geometry) = (turn.memory.clone(), turn.geometry());
        let Some(watcher) = &mut self.watcher else {
            let (earliest, head) = Watcher::window(&memory, &geometry);
            let position = if turn.dice.hits(2) { earliest } else { head };
            self.watcher = Some(Watcher::new(memory, geometry, position));
            return;
        };
        let mut buffer = [0; BLOCK_MAX];
        let buffer = block_of(&geometry, &mut buffer);
        let before = watcher.position();
        match watcher.look(buffer) {
            Seen::Message { position, meta } => {
                assert_eq!(position, before);
                turn.oracle().read(position, copied(buffer, meta));
            }
            Seen::Empty => assert_eq!(watcher.position(), before),
            Seen::Missed(n) => assert!(n > 0 && before + n == watcher.position()),
        }
        assert!(watcher.position() <= turn.oracle().end(), "an observer stands where nothing is yet");
    }

    fn died(&mut self, _oracle: &mut Oracle) {
        self.watcher = None;
    }

    fn may_be_missed(&self) -> bool {
        true
    }

    fn is_done(&self, oracle: &Oracle) -> bool {
        self.watcher.as_ref().is_some_and(|watcher| watcher.position() == oracle.end())
    }

    fn name(&self) -> &'static str {
        "observer"
    }
}
