//! Memory in which nothing out of range can be touched unnoticed, and no loop can be endless.

use slipring_core::format::{Block, Geometry};
use slipring_core::memory::{BlockWriter, Futex, Memory, Segment, Word};
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Accesses that one step of an honest party stays below, in a ring of a few slots and entries.
const STEP_MAX: u32 = 20_000;

#[derive(Debug)]
struct Words {
    producer: Box<[Cell<u64>]>,
    readers: Box<[Cell<u64>]>,
    /// The writes since the last reset.
    written: RefCell<Vec<Word>>,
    accesses: Cell<u32>,
    block_size: usize,
}

/// The two segments of one ring. Any access outside them is a panic, as is a step that never ends.
#[derive(Clone, Debug)]
pub struct Checked(Rc<Words>);

impl Checked {
    /// Zeroed memory for a ring.
    pub fn new(geometry: &Geometry, producer_len: u64) -> Checked {
        let words = |len: u64| (0..len / 8).map(|_| Cell::new(0)).collect();
        Checked(Rc::new(Words {
            producer: words(producer_len),
            readers: words(geometry.file_len() - producer_len),
            written: RefCell::default(),
            accesses: Cell::new(0),
            block_size: usize::try_from(geometry.block_size()).unwrap(),
        }))
    }

    /// Zeroes whatever was written.
    pub fn reset(&self) {
        for word in self.0.written.take() {
            self.cell(word).set(0);
        }
        self.step();
    }

    /// A new step begins.
    pub fn step(&self) {
        self.0.accesses.set(0);
    }

    fn cell(&self, word: Word) -> &Cell<u64> {
        assert_eq!(word.offset % 8, 0);
        let words = match word.segment {
            Segment::Producer => &self.0.producer,
            Segment::Readers => &self.0.readers,
        };
        &words[usize::try_from(word.offset / 8).unwrap()]
    }

    fn count(&self) {
        let accesses = self.0.accesses.get() + 1;
        assert!(accesses < STEP_MAX, "a step that does not end");
        self.0.accesses.set(accesses);
    }

    /// Writes these bytes of a block, a word at a time.
    fn replace(&self, block: Block, range: Range<usize>, byte: impl Fn(usize) -> u8) {
        for nth in range.start / 8..range.end.div_ceil(8) {
            let word = Word::producer(block.offset() + 8 * nth as u64);
            let mut bytes = self.peek(word).to_le_bytes();
            for at in (8 * nth..8 * nth + 8).filter(|at| range.contains(at)) {
                bytes[at % 8] = byte(at);
            }
            self.store(word, u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
    }

    /// The value of a word, without any check.
    pub fn peek(&self, word: Word) -> u64 {
        self.cell(word).get()
    }

    /// Overwrites a word, as a hostile process would.
    pub fn poke(&self, word: Word, value: u64) {
        self.0.written.borrow_mut().push(word);
        self.cell(word).set(value);
    }
}

// SAFETY: one thread: every access is sequentially consistent. Blocks are not handed out.
unsafe impl Memory for Checked {
    type Read<'a> = ();
    type Blocks = Checked;

    fn load(&self, word: Word, _: Ordering) -> u64 {
        self.count();
        self.peek(word)
    }

    fn store(&self, word: Word, value: u64, _: Ordering) {
        self.count();
        self.poke(word, value);
    }

    fn compare_exchange(
        &self,
        word: Word,
        current: u64,
        new: u64,
        _: Ordering,
        _: Ordering,
    ) -> Result<u64, u64> {
        self.count();
        match self.peek(word) {
            found if found == current => {
                self.poke(word, new);
                Ok(found)
            }
            found => Err(found),
        }
    }

    fn fence(&self, _: Ordering) {}
    fn light_fence(&self) {}
    fn heavy_fence(&self) {}
    fn relax(&self) {}

    unsafe fn read_block(&self, _: Block) {}
    fn blocks(&self) -> Checked {
        self.clone()
    }

    unsafe fn copy_block(&self, block: Block, into: &mut [u8]) {
        for (nth, chunk) in (0..).zip(into.chunks_mut(8)) {
            let word = Word::producer(block.offset() + nth * 8);
            chunk.copy_from_slice(&self.load(word, Ordering::Relaxed).to_le_bytes()[..chunk.len()]);
        }
    }
}

// SAFETY: as above.
unsafe impl BlockWriter for Checked {
    fn block_size(&self) -> usize {
        self.0.block_size
    }

    unsafe fn store_relaxed(&self, word: Word, value: u64) {
        Memory::store(self, word, value, Ordering::Relaxed);
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

impl Futex for Checked {
    fn wait(&self, _: Word, _: u32, _: Duration) {}
    fn wait_any(_: &[(&Checked, Word, u32)], _: Duration) -> bool {
        true
    }
    fn wake_all(&self, _: Word) {}
}
