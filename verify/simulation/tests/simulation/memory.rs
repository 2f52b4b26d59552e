//! The protocol's memory on the heap, for one thread. Before each access its party may be killed,
//! or another party may get its turn; each write is shown to the oracle.

use crate::oracle::{Intent, Oracle};
use loom_tests::sites::{Change, Operation, changed, remembers};
use slipring_core::format::{Block, Geometry, Millis};
use slipring_core::memory::{BlockWriter, Clock, Futex, Liveness, Memory, Right, Segment, Word};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::Range;
use std::panic::Location;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The payload with which a killed party unwinds.
pub(crate) struct Killed;

/// The clock, and the order in which parties get their turn.
pub(crate) struct Machine {
    pub(crate) now: Cell<Millis>,
    /// The latest that the clock ever showed.
    pub(crate) latest: Cell<Millis>,
    /// A digest of every write: two plays of a seed have the same.
    pub(crate) history: Cell<u64>,
    talkative: bool,
    /// After so many accesses another party gets its turn.
    pub(crate) interrupt: Cell<Option<u32>>,
    pub(crate) others: RefCell<Option<Rc<dyn Fn()>>>,
}

impl Machine {
    pub(crate) fn new(now: Millis, talkative: bool) -> Machine {
        Machine {
            now: Cell::new(now),
            latest: Cell::new(now),
            history: Cell::new(0),
            talkative,
            interrupt: Cell::new(None),
            others: RefCell::new(None),
        }
    }

    /// The clock goes on, or back.
    pub(crate) fn set_clock(&self, now: Millis) {
        self.now.set(now);
        if now.ahead_of(self.latest.get(), 1 << 30) > 0 {
            self.latest.set(now);
        }
    }

    fn record(&self, party: u32, word: Word, old: u64, new: u64) {
        if self.talkative {
            println!("        {party}: {:?} {:#x}: {old:#x} -> {new:#x}", word.segment, word.offset);
        }
        let parts = [party.into(), self.now.get().0.into(), word.offset, old, new];
        let digest = parts.into_iter().fold(self.history.get(), |digest, part: u64| {
            (digest ^ part).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
        });
        self.history.set(digest);
    }
}

/// The state of a ring that all its parties share: its words and blocks, and the kernel's locks.
pub(crate) struct Shared {
    pub(crate) geometry: Geometry,
    pub(crate) oracle: RefCell<Oracle>,
    pub(crate) machine: Rc<Machine>,
    rights: RefCell<HashMap<Right, u32>>,
    segments: [Vec<Cell<u64>>; 2],
}

impl Shared {
    pub(crate) fn new(geometry: Geometry, oracle: Oracle, machine: &Rc<Machine>) -> Shared {
        let slots = geometry.slots();
        let last = slots.end();
        // More than there is: no party here looks at where the segment begins in the file.
        let readers = geometry.file_len();
        let words = |bytes: u64| vec![Cell::new(0); usize::try_from(bytes / 8).unwrap()];
        Shared {
            geometry,
            oracle: RefCell::new(oracle),
            machine: Rc::clone(machine),
            rights: RefCell::default(),
            segments: [words(last), words(readers)],
        }
    }

    pub(crate) fn word(&self, word: Word) -> &Cell<u64> {
        let segment = &self.segments[usize::from(word.segment == Segment::Readers)];
        &segment[usize::try_from(word.offset / 8).unwrap()]
    }

    fn block_word(&self, block: Block, nth: u64) -> &Cell<u64> {
        self.word(Word::producer(block.offset() + 8 * nth))
    }

    pub(crate) fn block(&self, block: Block) -> Vec<u64> {
        (0..self.block_words()).map(|nth| self.block_word(block, nth).get()).collect()
    }

    fn block_words(&self) -> u64 {
        self.geometry.block_size() / 8
    }

    /// The bytes of a segment from this word on.
    pub(crate) fn bytes(&self, from: Word) -> Vec<u8> {
        let segment = &self.segments[usize::from(from.segment == Segment::Readers)];
        let words = &segment[usize::try_from(from.offset / 8).unwrap()..];
        words.iter().flat_map(|word| word.get().to_le_bytes()).collect()
    }

    pub(crate) fn holder(&self, right: Right) -> Option<u32> {
        self.rights.borrow().get(&right).copied()
    }

    /// The kernel takes everything away from a dead process.
    pub(crate) fn drop_rights(&self, party: u32) {
        self.rights.borrow_mut().retain(|_, holder| *holder != party);
    }
}

/// One process.
pub(crate) struct Life {
    pub(crate) party: u32,
    /// It dies before the access after so many.
    pub(crate) fuse: Cell<Option<u32>>,
    pub(crate) dead: Cell<bool>,
    pub(crate) intent: Cell<Intent>,
    /// The value of a word that this process last saw.
    known: RefCell<HashMap<*const Cell<u64>, u64>>,
}

/// One process's view of a ring's memory. Also its hand for the kernel's locks.
#[derive(Clone)]
pub(crate) struct SimMemory {
    pub(crate) shared: Rc<Shared>,
    pub(crate) life: Rc<Life>,
}

impl SimMemory {
    pub(crate) fn of(shared: &Rc<Shared>, party: u32) -> SimMemory {
        let (fuse, dead, intent) = (Cell::new(None), Cell::new(false), Cell::new(Intent::Nothing));
        let known = RefCell::default();
        SimMemory { shared: Rc::clone(shared), life: Rc::new(Life { party, fuse, dead, intent, known }) }
    }

    /// The same process's view of another ring.
    pub(crate) fn on(&self, shared: &Rc<Shared>) -> SimMemory {
        SimMemory { shared: Rc::clone(shared), life: Rc::clone(&self.life) }
    }

    /// One step of this process. False when it is dead, and nothing it does has an effect.
    pub(crate) fn step(&self) -> bool {
        if self.life.dead.get() {
            return false;
        }
        if let Some(left) = self.life.fuse.get() {
            let Some(left) = left.checked_sub(1) else {
                self.life.dead.set(true);
                std::panic::resume_unwind(Box::new(Killed));
            };
            self.life.fuse.set(Some(left));
        }
        let machine = &self.shared.machine;
        if let Some(left) = machine.interrupt.get() {
            let left = left.checked_sub(1);
            machine.interrupt.set(left);
            if left.is_none() {
                let others = machine.others.borrow().clone();
                others.expect("the world is made")();
            }
        }
        true
    }

    fn write(&self, word: Word, new: u64) {
        let old = self.shared.word(word).replace(new);
        self.shared.machine.record(self.life.party, word, old, new);
        self.shared.oracle.borrow_mut().wrote(&self.shared, &self.life, word, old, new);
    }

    /// Messages are whole words.
    fn write_words(&self, block: Block, first: usize, words: impl Iterator<Item = u64>) {
        for (nth, word) in (first as u64..).zip(words) {
            if self.step() {
                self.shared.oracle.borrow().overwrites(block.index());
                self.shared.block_word(block, nth).set(word);
            }
        }
    }

    /// Keeps what this party knows of a word, for a load that gives what was known.
    fn learn(&self, word: Word, value: u64) {
        if remembers() {
            self.life.known.borrow_mut().insert(self.shared.word(word), value);
        }
    }

    /// This party's next step, for the oracle.
    pub(crate) fn meaning<T>(&self, intent: Intent, act: impl FnOnce() -> T) -> T {
        self.life.intent.set(intent);
        let result = act();
        self.life.intent.set(Intent::Nothing);
        result
    }
}

/// A block that is read in place.
pub(crate) struct ReadInPlace<'a>(&'a SimMemory, Block);

impl ReadInPlace<'_> {
    pub(crate) fn words(&self) -> Vec<u64> {
        let word = |nth| if self.0.step() { self.0.shared.block_word(self.1, nth).get() } else { 0 };
        (0..self.0.shared.block_words()).map(word).collect()
    }
}

// SAFETY: words are cells of their own; blocks lie in their own slots.
unsafe impl BlockWriter for SimMemory {
    fn block_size(&self) -> usize {
        usize::try_from(self.shared.geometry.block_size()).unwrap()
    }

    unsafe fn store_relaxed(&self, word: Word, value: u64) {
        Memory::store(self, word, value, Ordering::Relaxed);
    }

    unsafe fn write(&self, block: Block, bytes: &[u8]) {
        let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        self.write_words(block, 0, words);
    }

    unsafe fn zero(&self, block: Block, bytes: Range<usize>) {
        self.write_words(block, bytes.start / 8, std::iter::repeat_n(0, bytes.len() / 8));
    }
}

// SAFETY: words are cells of their own, and one thread uses them; blocks lie in their own slots.
unsafe impl Memory for SimMemory {
    type Read<'a> = ReadInPlace<'a>;
    type Blocks = SimMemory;

    fn load(&self, word: Word, order: Ordering) -> u64 {
        let change = changed(Location::caller(), Operation::Load, order);
        if !self.step() {
            return 0;
        }
        let cell = self.shared.word(word);
        let known = || self.life.known.borrow().get(&std::ptr::from_ref(cell)).copied();
        let value = change.and_then(|_| known()).unwrap_or_else(|| cell.get());
        self.learn(word, value);
        value
    }

    fn store(&self, word: Word, value: u64, order: Ordering) {
        let change = changed(Location::caller(), Operation::Store, order);
        if self.step() && change.is_none() {
            self.learn(word, value);
            self.write(word, value);
        }
    }

    fn compare_exchange(
        &self,
        word: Word,
        current: u64,
        new: u64,
        success: Ordering,
        _failure: Ordering,
    ) -> Result<u64, u64> {
        let change = changed(Location::caller(), Operation::Exchange, success);
        if !self.step() {
            return Err(0);
        }
        if change == Some(Change::Skipped) {
            return Ok(current);
        }
        let found = self.shared.word(word).get();
        if found != current && change.is_none() {
            self.learn(word, found);
            return Err(found);
        }
        self.learn(word, new);
        self.write(word, new);
        Ok(current)
    }

    fn fence(&self, _order: Ordering) {}
    fn light_fence(&self) {}
    fn heavy_fence(&self) {}
    fn relax(&self) {}

    unsafe fn read_block(&self, block: Block) -> ReadInPlace<'_> {
        ReadInPlace(self, block)
    }

    fn blocks(&self) -> SimMemory {
        self.clone()
    }

    unsafe fn copy_block(&self, block: Block, into: &mut [u8]) {
        for (nth, chunk) in (0..).zip(into.chunks_mut(8)) {
            if self.step() {
                let word = self.shared.block_word(block, nth).get();
                chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
            }
        }
    }
}

/// No party sleeps: an idle party is asked again.
impl Futex for SimMemory {
    fn wait(&self, _word: Word, _expected: u32, _timeout: Duration) {}
    fn wait_any(_: &[(&SimMemory, Word, u32)], _: Duration) -> bool {
        true
    }
    fn wake_all(&self, _word: Word) {}
}

impl Liveness for SimMemory {
    type Error = Infallible;

    fn try_seize(&self, right: Right) -> Result<bool, Infallible> {
        let seize = || *self.shared.rights.borrow_mut().entry(right).or_insert(self.life.party);
        Ok(self.step() && seize() == self.life.party)
    }

    fn is_held(&self, right: Right) -> bool {
        self.step() && self.shared.holder(right).is_some_and(|holder| holder != self.life.party)
    }

    fn release(&self, right: Right) {
        if self.step() && self.shared.holder(right) == Some(self.life.party) {
            self.shared.rights.borrow_mut().remove(&right);
        }
    }
}

/// The system clock is the lease clock here: it leaps, and is set back.
impl Clock for SimMemory {
    fn now(&self) -> Millis {
        self.shared.machine.now.get()
    }

    fn unix_ms(&self) -> u64 {
        u64::from(self.now().0) + 1
    }
}

/// Runs something that may be killed. False if it was.
pub(crate) fn survives(life: impl FnOnce()) -> bool {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(life)) {
        Ok(()) => true,
        Err(payload) if payload.is::<Killed>() => false,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}
