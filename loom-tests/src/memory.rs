//! The protocol's memory interface over loom's atomics.
//!
//! * Every access to a word is preceded by a `notify_one` on a private condition variable that
//!   no thread waits on. loom's partial-order reduction keeps one last access per atomic, so that a
//!   thread's own load hides another's later store from exploration; the shadow makes the two
//!   dependent again, and orders nothing. (A relaxed read-modify-write on a shadow word does the
//!   former too, but fences synchronise through it, which would hide outcomes of just the kind that
//!   fences are there for.) `litmus_hidden_store` is the proof: without the shadow its outcome is
//!   not explored.
//! * loom's acquire fence goes through all atomics in the order of their creation and acquires
//!   the stores that this thread has read, and also those that a thread had read whose work it has
//!   just acquired. A
//!   hand-over by a third party that forgets its own acquire is hidden that way, unless what the
//!   third party reads was created before what it writes. So words are created in that order:
//!   slots, deliveries, floors.
//! * A block is relaxed atomic words, so that copying readers may race with the producer as they do
//!   on the machine, and a tracked cell, so that an in-place reader that overlaps with the producer
//!   is found.
//! * A party can be given a fuse: it stops for good before its n-th access, and whatever its
//!   destructors would do has no effect, as after SIGKILL.
//! * Sleeping has no time-out: a lost wake-up is a deadlock, which loom reports.

use crate::sites::{Change, Operation, changed, note_difference, remembers};
use loom::cell::{ConstPtr, UnsafeCell};
use loom::sync::atomic::{AtomicU64, fence};
use loom::sync::{Condvar, Mutex};
use loom::thread::ThreadId;
use slipring_core::format::{Block, Geometry, producer_page as page, readers_page};
use slipring_core::memory::{BlockWriter, Futex, Liveness, Memory, Right, Word};
use slipring_core::protocol::{group, statistic::is_statistic, tenure};
use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::Range;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::Ordering::{self, Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

/// Bytes of a block in most models: two words, so that a torn copy can be told.
pub const BLOCK_SIZE: u64 = 16;

struct Shadowed {
    value: AtomicU64,
    shadow: Condvar,
}

struct Bytes {
    in_place: UnsafeCell<()>,
    words: Vec<AtomicU64>,
}

struct Shared {
    words: HashMap<Word, Shadowed>,
    /// Words that only tell people something: outside the model, or they would multiply its
    /// executions.
    statistics: std::sync::Mutex<HashMap<Word, u64>>,
    /// The value of a word that each thread has seen.
    known: std::sync::Mutex<HashMap<(ThreadId, Word), u64>>,
    latest: std::sync::Mutex<HashMap<Word, u64>>,
    geometry: Geometry,
    blocks: HashMap<Block, Bytes>,
    kernel: Arc<Kernel>,
}

/// The condition variables of the sleepers.
struct Kernel {
    lock: Mutex<()>,
    readers_bed: Condvar,
    producer_bed: Condvar,
    /// Of those that wait for one consumer or group, whichever it is.
    followers_bed: Condvar,
}

impl Kernel {
    fn new() -> Kernel {
        Kernel {
            lock: Mutex::new(()),
            readers_bed: Condvar::new(),
            producer_bed: Condvar::new(),
            followers_bed: Condvar::new(),
        }
    }
}

/// The payload with which a killed party unwinds.
#[derive(Debug)]
pub struct Killed;

/// Burns down with every access of its party.
#[derive(Debug)]
pub struct Fuse {
    left: AtomicUsize,
    dead: AtomicBool,
}

/// One party's view of the memory of a model.
#[derive(Clone)]
pub struct LoomMemory {
    shared: Arc<Shared>,
    fuse: Option<Arc<Fuse>>,
    /// Copies count as reads in place: for models in which every copy is accepted.
    copies_in_place: bool,
    /// Stores are exchanges: see [`LoomMemory::storing_by_exchange`].
    stores_by_exchange: bool,
}

impl std::fmt::Debug for LoomMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoomMemory").field("fuse", &self.fuse).finish_non_exhaustive()
    }
}

impl LoomMemory {
    /// The memory of an empty ring, as its creator leaves it.
    pub fn new(geometry: &Geometry) -> LoomMemory {
        LoomMemory::with_words(geometry, &[])
    }

    /// As [`new`](Self::new), with further words, all zero.
    pub fn with_words(geometry: &Geometry, more: &[Word]) -> LoomMemory {
        LoomMemory::on(Arc::new(Kernel::new()), geometry, more)
    }

    /// The memory of another ring. A party may sleep on this ring and on that one at once.
    pub fn beside(&self, geometry: &Geometry) -> LoomMemory {
        LoomMemory::on(Arc::clone(&self.shared.kernel), geometry, &[])
    }

    fn on(kernel: Arc<Kernel>, geometry: &Geometry, more: &[Word]) -> LoomMemory {
        let mut words = HashMap::new();
        let mut add = |word, value| {
            words.insert(word, Shadowed { value: AtomicU64::new(value), shadow: Condvar::new() });
        };
        for word in [
            page::CLAIMED,
            page::HEAD,
            page::HEADERS_UNTIL,
            page::LIMIT,
            page::WAKE,
            page::CLOSED,
            page::EPOCH,
            page::WAKE_COUNT,
            page::EVICTED_COUNT,
            readers_page::READERS_ASLEEP,
            readers_page::PRODUCER_ASLEEP,
            readers_page::ROOM,
            readers_page::NEXT_EVENT,
        ] {
            add(word, 0);
        }
        for index in 0..geometry.capacity() {
            add(geometry.slot(index).sequence(), 0);
            add(geometry.slot(index).meta(), 0);
        }
        for (word, value) in tenure::words(geometry) {
            add(word, value);
        }
        // Before the floors: see above.
        for number in (0..).take(usize::try_from(geometry.groups()).unwrap_or(0)) {
            for position in 0..geometry.capacity() {
                add(geometry.delivery(number, position), 0);
            }
            for position in (0..geometry.capacity()).step_by(usize::try_from(geometry.run_len()).unwrap_or(1))
            {
                add(geometry.run_end(number, position), 0);
            }
        }
        for (word, value) in group::words(geometry) {
            add(word, value);
        }
        for &word in more {
            add(word, 0);
        }
        let slots = geometry.slots();
        let places = (0..geometry.capacity()).map(|index| slots.at(index));
        let places = places.flat_map(|slot| [slots.single(slot), slots.packed(slot)]);
        let words_of_a_block = geometry.block_size().div_ceil(8);
        let bytes = || Bytes {
            in_place: UnsafeCell::new(()),
            words: (0..words_of_a_block).map(|_| AtomicU64::new(0)).collect(),
        };
        #[expect(
            clippy::arc_with_non_send_sync,
            reason = "loom runs its threads on one, and its types say so"
        )]
        LoomMemory {
            shared: Arc::new(Shared {
                words,
                statistics: std::sync::Mutex::default(),
                known: std::sync::Mutex::default(),
                latest: std::sync::Mutex::default(),
                geometry: *geometry,
                blocks: places.map(|block| (block, bytes())).collect(),
                kernel,
            }),
            fuse: None,
            copies_in_place: false,
            stores_by_exchange: false,
        }
    }

    /// The view of a party that is killed before its access number `accesses` (from 0).
    pub fn fatal_after(&self, accesses: usize) -> LoomMemory {
        let fuse = Fuse { left: AtomicUsize::new(accesses), dead: AtomicBool::new(false) };
        LoomMemory { fuse: Some(Arc::new(fuse)), ..self.clone() }
    }

    /// A view whose copies count as reads in place, so that a copy that overlaps with the
    /// producer's writing is found. For models in which no copy is ever thrown away. (loom does not
    /// explore load buffering, so that the values of a copy that was overtaken by its own release
    /// cannot show it.)
    pub fn copying_in_place(&self) -> LoomMemory {
        LoomMemory { copies_in_place: true, ..self.clone() }
    }

    /// The ring's geometry.
    pub fn geometry(&self) -> &Geometry {
        &self.shared.geometry
    }

    /// A view for the party that has the other one: it is killed in both at once.
    pub fn sharing_fate_of(&self, other: &LoomMemory) -> LoomMemory {
        LoomMemory { fuse: other.fuse.clone(), ..self.clone() }
    }

    /// A view whose stores are exchanges. loom does not know that the value that an exchange stores
    /// comes right behind the value that it has read: it lets a store of another thread come
    /// between, which is a false alarm where a store and a compare-exchange of one word meet. (An
    /// exchange carries release sequences on, which a store ends: not for models in which that
    /// matters.)
    pub fn storing_by_exchange(&self) -> LoomMemory {
        LoomMemory { stores_by_exchange: true, ..self.clone() }
    }

    /// False when the party is dead and the access has no effect. Kills it when its time has come.
    fn lives(&self) -> bool {
        let Some(fuse) = &self.fuse else { return true };
        if fuse.dead.load(Relaxed) {
            return false;
        }
        if fuse.left.load(Relaxed) == 0 {
            fuse.dead.store(true, Relaxed);
            std::panic::resume_unwind(Box::new(Killed));
        }
        fuse.left.fetch_sub(1, Relaxed);
        true
    }

    /// The values of words that only inform people; `None` for any other word.
    fn statistic(&self, word: Word) -> Option<std::sync::MutexGuard<'_, HashMap<Word, u64>>> {
        let modelled = self.shared.words.contains_key(&word);
        (!modelled && is_statistic(&self.shared.geometry, word))
            .then(|| self.shared.statistics.lock().expect("no model panics in here"))
    }

    /// The value of a word that this thread last loaded or stored.
    fn known(&self, word: Word) -> Option<u64> {
        let known = self.shared.known.lock().expect("no model panics in here");
        known.get(&(loom::thread::current().id(), word)).copied()
    }

    /// Notes it if a word holds something else by now than a thread knows.
    fn compare_with_latest(&self, word: Word, known: u64) {
        let latest = self.shared.latest.lock().expect("no model panics in here");
        if latest.get(&word).is_some_and(|latest| *latest != known) {
            note_difference();
        }
    }

    /// Keeps what a word holds now, and that this thread knows it.
    fn store_known(&self, word: Word, value: u64) -> u64 {
        if remembers() {
            self.shared.latest.lock().expect("no model panics in here").insert(word, value);
        }
        self.learn(word, value)
    }

    /// Keeps what this thread knows of a word, for a load that gives what was known.
    fn learn(&self, word: Word, value: u64) -> u64 {
        if remembers() {
            let mut known = self.shared.known.lock().expect("no model panics in here");
            known.insert((loom::thread::current().id(), word), value);
        }
        value
    }

    fn word(&self, word: Word) -> &AtomicU64 {
        let shadowed = self.shared.words.get(&word);
        let shadowed = shadowed.unwrap_or_else(|| panic!("the model has no word at {word:?}"));
        shadowed.shadow.notify_one();
        &shadowed.value
    }

    fn block(&self, block: Block) -> &Bytes {
        &self.shared.blocks[&block]
    }

    /// Writes these bytes of a block, a word at a time; overlapping with a reader in place is an
    /// error of the model.
    fn replace(&self, block: Block, range: Range<usize>, byte: impl Fn(usize) -> u8) {
        let block = self.block(block);
        let _access = block.in_place.get_mut();
        for nth in range.start / 8..range.end.div_ceil(8) {
            if !self.lives() {
                return;
            }
            let is_whole = range.start <= 8 * nth && 8 * nth + 8 <= range.end;
            // Of a part, the rest is what this producer, or one before it, wrote there.
            let mut bytes = if is_whole { [0; 8] } else { block.words[nth].load(Relaxed).to_le_bytes() };
            for at in (8 * nth..8 * nth + 8).filter(|at| range.contains(at)) {
                bytes[at % 8] = byte(at);
            }
            block.words[nth].store(u64::from_le_bytes(bytes), Relaxed);
        }
    }

    fn bed(&self, word: Word) -> &Condvar {
        match word {
            page::WAKE => &self.shared.kernel.readers_bed,
            readers_page::ROOM => &self.shared.kernel.producer_bed,
            _ => &self.shared.kernel.followers_bed,
        }
    }
}

/// Runs a party that may be killed. None if it was.
pub fn mortal<T>(life: impl FnOnce() -> T) -> Option<T> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(life)) {
        Ok(result) => Some(result),
        Err(payload) if payload.is::<Killed>() => None,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

/// Reads a block in place; overlapping with a writer is an error of the model.
pub struct ReadInPlace<'a> {
    _access: ConstPtr<()>,
    block: &'a Bytes,
}

impl std::fmt::Debug for ReadInPlace<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReadInPlace")
    }
}

impl ReadInPlace<'_> {
    /// The block's first two words.
    pub fn words(&self) -> [u64; 2] {
        [self.block.words[0].load(Relaxed), self.block.words[1].load(Relaxed)]
    }

    /// All bytes of the block.
    pub fn bytes(&self) -> Vec<u8> {
        self.block.words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect()
    }
}

// SAFETY: words are loom's atomics, one each; blocks are the model's own.
unsafe impl BlockWriter for LoomMemory {
    fn block_size(&self) -> usize {
        usize::try_from(self.shared.geometry.block_size()).expect("a small block")
    }

    unsafe fn store_relaxed(&self, word: Word, value: u64) {
        Memory::store(self, word, value, Relaxed);
    }

    unsafe fn write(&self, block: Block, bytes: &[u8]) {
        assert!(bytes.len() <= self.block_size());
        self.replace(block, 0..bytes.len(), |at| bytes[at]);
    }

    unsafe fn zero(&self, block: Block, bytes: Range<usize>) {
        assert!(bytes.end <= self.block_size());
        self.replace(block, bytes, |_| 0);
    }
}

/// The ordering of an access to which something is done.
fn ordering(change: Option<Change>, own: Ordering) -> Ordering {
    if let Some(Change::Weakened(to)) = change { to } else { own }
}

// SAFETY: words are loom's atomics, one each; blocks are the model's own.
unsafe impl Memory for LoomMemory {
    type Read<'a> = ReadInPlace<'a>;
    type Blocks = LoomMemory;

    fn load(&self, word: Word, order: Ordering) -> u64 {
        if let Some(statistics) = self.statistic(word) {
            return statistics.get(&word).copied().unwrap_or(0);
        }
        let change = changed(Location::caller(), Operation::Load, order);
        if !self.lives() {
            return 0;
        }
        if let Some(value) = change.filter(|change| *change == Change::Remembered).and(self.known(word)) {
            self.compare_with_latest(word, value);
            return value;
        }
        self.learn(word, self.word(word).load(ordering(change, order)))
    }

    fn store(&self, word: Word, value: u64, order: Ordering) {
        if let Some(mut statistics) = self.statistic(word) {
            statistics.insert(word, value);
            return;
        }
        let change = changed(Location::caller(), Operation::Store, order);
        if !self.lives() || change == Some(Change::Skipped) {
            return;
        }
        self.store_known(word, value);
        if self.stores_by_exchange {
            self.word(word).swap(value, ordering(change, order));
        } else {
            self.word(word).store(value, ordering(change, order));
        }
    }

    fn compare_exchange(
        &self,
        word: Word,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        if let Some(mut statistics) = self.statistic(word) {
            statistics.insert(word, new);
            return Ok(current);
        }
        let change = changed(Location::caller(), Operation::Exchange, success);
        if !self.lives() {
            return Err(0);
        }
        let success = ordering(change, success);
        match change {
            Some(Change::Skipped) => return Ok(current),
            Some(Change::Blind) => {
                self.word(word).swap(self.learn(word, new), success);
                return Ok(current);
            }
            _ => {}
        }
        let exchanged = self.word(word).compare_exchange(current, new, success, failure);
        match exchanged {
            Ok(_) => self.store_known(word, new),
            Err(found) => self.learn(word, found),
        };
        exchanged
    }

    fn fence(&self, order: Ordering) {
        let change = changed(Location::caller(), Operation::Fence, order);
        let order = ordering(change, order);
        if self.lives() && order != Relaxed {
            fence(order);
        }
    }

    fn light_fence(&self) {
        let change = changed(Location::caller(), Operation::LightFence, SeqCst);
        if self.lives() && change.is_none() {
            fence(SeqCst);
        }
    }

    fn heavy_fence(&self) {
        let change = changed(Location::caller(), Operation::HeavyFence, SeqCst);
        if self.lives() && change.is_none() {
            fence(SeqCst);
        }
    }

    fn relax(&self) {
        loom::thread::yield_now();
    }

    unsafe fn read_block(&self, block: Block) -> ReadInPlace<'_> {
        let block = self.block(block);
        ReadInPlace { _access: block.in_place.get(), block }
    }

    fn blocks(&self) -> LoomMemory {
        self.clone()
    }

    unsafe fn copy_block(&self, block: Block, into: &mut [u8]) {
        let block = self.block(block);
        let _access = self.copies_in_place.then(|| block.in_place.get());
        for (word, chunk) in block.words.iter().zip(into.chunks_mut(8)) {
            if self.lives() {
                chunk.copy_from_slice(&word.load(Relaxed).to_le_bytes()[..chunk.len()]);
            }
        }
    }
}

impl Futex for LoomMemory {
    #[expect(clippy::cast_possible_truncation, reason = "a futex compares the low half")]
    fn wait(&self, word: Word, expected: u32, _timeout: Duration) {
        if !self.lives() {
            return;
        }
        // The kernel compares under a lock of its own, which the waker takes too.
        let kernel = self.shared.kernel.lock.lock().expect("no model panics in the kernel");
        if self.word(word).load(Relaxed) as u32 == expected {
            drop(self.bed(word).wait(kernel));
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a futex compares the low half")]
    fn wait_any(words: &[(&LoomMemory, Word, u32)], _timeout: Duration) -> bool {
        let Some((first, word, _)) = words.first() else { return false };
        if !first.lives() {
            return true;
        }
        let kernel = first.shared.kernel.lock.lock().expect("no model panics in the kernel");
        let unchanged = |(memory, word, expected): &(&LoomMemory, Word, u32)| {
            memory.word(*word).load(Relaxed) as u32 == *expected
        };
        if words.iter().all(unchanged) {
            drop(first.bed(*word).wait(kernel));
        }
        true
    }

    fn wake_all(&self, word: Word) {
        if self.lives() {
            let _kernel = self.shared.kernel.lock.lock().expect("no model panics in the kernel");
            self.bed(word).notify_all();
        }
    }
}

/// The holder of each right, with the happens-before edge that the kernel's lock carries.
#[derive(Clone)]
pub struct LoomRights {
    holders: Arc<Mutex<HashMap<Right, u32>>>,
    party: u32,
}

impl std::fmt::Debug for LoomRights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoomRights").field("party", &self.party).finish_non_exhaustive()
    }
}

impl LoomRights {
    /// No right is held; this is the hand of party 0.
    pub fn new() -> LoomRights {
        LoomRights { holders: Arc::new(Mutex::new(HashMap::new())), party: 0 }
    }

    /// The hand of another party.
    pub fn party(&self, party: u32) -> LoomRights {
        LoomRights { holders: Arc::clone(&self.holders), party }
    }

    /// This party is dead: the kernel takes everything away from it.
    pub fn drop_all(&self) {
        let mut holders = self.holders.lock().expect("no model panics in the kernel");
        holders.retain(|_, holder| *holder != self.party);
    }
}

impl Default for LoomRights {
    fn default() -> LoomRights {
        LoomRights::new()
    }
}

impl Liveness for LoomRights {
    type Error = Infallible;

    fn try_seize(&self, right: Right) -> Result<bool, Infallible> {
        let mut holders = self.holders.lock().expect("no model panics in the kernel");
        Ok(*holders.entry(right).or_insert(self.party) == self.party)
    }

    /// The producers of the models hold no right, and live as long as the model.
    fn is_held(&self, right: Right) -> bool {
        let holders = self.holders.lock().expect("no model panics in the kernel");
        right == Right::Producer || holders.get(&right).is_some_and(|holder| *holder != self.party)
    }

    fn release(&self, right: Right) {
        let mut holders = self.holders.lock().expect("no model panics in the kernel");
        if holders.get(&right) == Some(&self.party) {
            holders.remove(&right);
        }
    }
}
