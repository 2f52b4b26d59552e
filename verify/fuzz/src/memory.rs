//! Memory in which nothing out of range can be touched unnoticed, and no loop can be endless.

use slipring_core::format::{Block, Geometry};
use slipring_core::memory::{Futex, Memory, Segment, Word};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Accesses that one step of an honest party stays below, in a ring of a few slots and entries.
const STEP_MAX: u32 = 20_000;

#[derive(Debug)]
struct Words {
    producer: Box<[Cell<u64>]>,
    readers: Box<[Cell<u64>]>,
    /// What was written since the last reset.
    written: RefCell<Vec<Word>>,
    accesses: Cell<u32>,
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

    /// What a word is, whoever asks.
    pub fn peek(&self, word: Word) -> u64 {
        self.cell(word).get()
    }

    /// Writes a word behind everybody's back.
    pub fn poke(&self, word: Word, value: u64) {
        self.0.written.borrow_mut().push(word);
        self.cell(word).set(value);
    }
}

// SAFETY: one thread: every access is sequentially consistent. Blocks are not handed out.
unsafe impl Memory for Checked {
    type Read<'a> = ();
    type Write<'a> = ();

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
    unsafe fn write_block(&self, _: Block) {}

    unsafe fn copy_block(&self, block: Block, into: &mut [u8]) {
        for (nth, chunk) in (0..).zip(into.chunks_mut(8)) {
            let word = Word::producer(block.offset() + nth * 8);
            chunk.copy_from_slice(&self.load(word, Ordering::Relaxed).to_le_bytes()[..chunk.len()]);
        }
    }
}

impl Futex for Checked {
    fn wait(&self, _: Word, _: u32, _: Duration) {}
    fn wake_all(&self, _: Word) {}
}
