//! Bare hardware: the cost of the cache lines that carry a message. No names, no recovery after a
//! death, one reader. The figures of other systems are multiples of this one.
//!
//! * round trips: one line that holds a sequence word and the message behind it, each way; and one
//!   word each way, which is the number of a message and its sequence at once;
//! * a stream: a ring of cache-line aligned slots, each with its sequence word; the reader gives
//!   slots back by its tail, which the writer looks at when it must;
//! * batches: a ring of bare messages, one head for 32 of them; the same with 16 bytes before each,
//!   which is what slots that can be published one by one cost; and the same in the slots of the
//!   stream;
//! * wake-ups: a word, FUTEX_WAIT and FUTEX_WAKE.

use super::shared::{Shared, atomic};
use crate::channel::{AcrossProcesses, BATCH, Failure, Receiver, Sender, System, capacity};
use crate::payload::fill;
use crate::place::Place;
use crate::run::Measure;
use crate::summary::ONE_WORD;
use std::hint::spin_loop;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// The lines of the words that one side writes: two, since hardware fetches pairs.
const LINES: usize = 128;
/// The writer's word, then the reader's, then the messages.
const HEAD: usize = 0;
const TAIL: usize = LINES;
const SLOTS: usize = 2 * LINES;

/// Two lines.
#[derive(Debug)]
pub(crate) struct Line;
/// One word.
#[derive(Debug)]
pub(crate) struct OneWord;
/// A ring with a sequence word per slot.
#[derive(Debug)]
pub(crate) struct Slots;
/// A ring with a head for many; each message behind so many bytes. With 16, slots lie as slipring's
/// do.
#[derive(Debug)]
pub(crate) struct Cursor<const BEFORE: usize>;

impl System for Line {
    const NAME: &'static str = "floor";
    const ABOUT: &'static str = "bare hardware: a sequence word and a message in a shared line, each way";
    const MEASURES: &'static [Measure] = &[Measure::Roundtrip];
}
impl System for OneWord {
    const NAME: &'static str = ONE_WORD;
    const ABOUT: &'static str = "bare hardware: a word each way, and no message";
    const MEASURES: &'static [Measure] = &[Measure::Roundtrip];
    fn largest() -> usize {
        64
    }
}
impl System for Slots {
    const NAME: &'static str = "floor";
    const ABOUT: &'static str = "bare hardware: a ring with a sequence word per slot";
    const MEASURES: &'static [Measure] = &[Measure::Stream, Measure::Attach, Measure::First];
}
impl System for Cursor<16> {
    const NAME: &'static str = "floor-slots";
    const ABOUT: &'static str = "bare hardware: the same as floor, with 16 bytes for a description before each message, laid out as slipring does";
    const MEASURES: &'static [Measure] = &[Measure::Batch];
}
impl System for Cursor<8> {
    const NAME: &'static str = "floor-lines";
    const ABOUT: &'static str =
        "bare hardware: the same as floor, in the slots of the stream's floor: whole lines each";
    const MEASURES: &'static [Measure] = &[Measure::Batch];
}
impl System for Cursor<0> {
    const NAME: &'static str = "floor";
    const ABOUT: &'static str = "bare hardware: a ring with a head for many messages";
    const MEASURES: &'static [Measure] = &[Measure::Batch];
}

/// A writer or a reader of any of them: the mapping, the next message, and the other side's word as
/// last seen.
#[derive(Debug)]
pub(crate) struct End<Layout> {
    shared: Shared,
    next: u64,
    seen: u64,
    layout: std::marker::PhantomData<Layout>,
}

impl Line {
    const MESSAGE: usize = 8;
}

impl<const N: usize> Sender<N> for End<Line> {
    #[inline(always)]
    fn send(&mut self, n: u64) -> Result<(), Failure> {
        // SAFETY: the answer to the last message says that the reader is done with the line.
        fill(unsafe { &mut *self.shared.at::<N>(Line::MESSAGE) }, n);
        self.next += 1;
        atomic(&self.shared, HEAD).store(self.next, Release);
        Ok(())
    }
}

impl<const N: usize> Receiver<N> for End<Line> {
    #[inline(always)]
    fn recv<R>(&mut self, read: impl FnOnce(&[u8; N]) -> R) -> Result<R, Failure> {
        self.next += 1;
        while atomic(&self.shared, HEAD).load(Acquire) != self.next {
            spin_loop();
        }
        // SAFETY: the writer does not touch the line before it has an answer.
        Ok(read(unsafe { &*self.shared.at::<N>(Line::MESSAGE) }))
    }
}

/// The word that carries the number of a message: never the one that is there at first.
#[inline(always)]
const fn word_of(n: u64) -> u64 {
    n.wrapping_add(2)
}

impl<const N: usize> Sender<N> for End<OneWord> {
    #[inline(always)]
    fn send(&mut self, n: u64) -> Result<(), Failure> {
        atomic(&self.shared, HEAD).store(word_of(n), Release);
        Ok(())
    }
}

impl<const N: usize> Receiver<N> for End<OneWord> {
    #[inline(always)]
    fn recv<R>(&mut self, read: impl FnOnce(&[u8; N]) -> R) -> Result<R, Failure> {
        // The message that the loops check is made while the word is under way.
        let mut message = [0; N];
        fill(&mut message, self.next);
        let found = loop {
            let found = atomic(&self.shared, HEAD).load(Acquire);
            if found != self.seen {
                break found;
            }
            spin_loop();
        };
        if found != word_of(self.next) {
            fill(&mut message, found.wrapping_sub(2));
        }
        self.seen = found;
        self.next += 1;
        Ok(read(&message))
    }
}

/// Where in a ring a position is.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "below the capacity")]
const fn index(position: u64, size: usize) -> usize {
    (position & (capacity(size) as u64 - 1)) as usize
}

impl Slots {
    const fn stride(size: usize) -> usize {
        (8 + size).next_multiple_of(64)
    }
    #[inline(always)]
    fn at(size: usize, position: u64) -> usize {
        SLOTS + index(position, size) * Slots::stride(size)
    }
}

impl<const N: usize> Sender<N> for End<Slots> {
    #[inline(always)]
    fn send(&mut self, n: u64) -> Result<(), Failure> {
        while self.next == self.seen + capacity(N) as u64 {
            self.seen = atomic(&self.shared, TAIL).load(Acquire);
        }
        let slot = Slots::at(N, self.next);
        // SAFETY: the reader's tail is less than a ring behind: it is done with this slot.
        fill(unsafe { &mut *self.shared.at::<N>(slot + 8) }, n);
        self.next += 1;
        atomic(&self.shared, slot).store(self.next, Release);
        Ok(())
    }
}

impl<const N: usize> Receiver<N> for End<Slots> {
    #[inline(always)]
    fn recv<R>(&mut self, read: impl FnOnce(&[u8; N]) -> R) -> Result<R, Failure> {
        let slot = Slots::at(N, self.next);
        self.next += 1;
        while atomic(&self.shared, slot).load(Acquire) != self.next {
            spin_loop();
        }
        // SAFETY: the writer does not come back to this slot before the tail below is stored.
        let found = read(unsafe { &*self.shared.at::<N>(slot + 8) });
        atomic(&self.shared, TAIL).store(self.next, Release);
        Ok(found)
    }
}

impl<const BEFORE: usize> Cursor<BEFORE> {
    const fn stride(size: usize) -> usize {
        let len = (BEFORE + size).next_multiple_of(16);
        match BEFORE {
            0 => size,
            8 => Slots::stride(size),
            // As close as goes without touching more lines than need be.
            _ if len % 64 == 48 => len + 16,
            _ => len,
        }
    }
    #[inline(always)]
    fn at(size: usize, position: u64) -> usize {
        SLOTS + index(position, size) * Cursor::<BEFORE>::stride(size) + BEFORE
    }
}

impl<const BEFORE: usize> End<Cursor<BEFORE>> {
    #[inline(always)]
    fn push<const N: usize>(&mut self, first: u64, count: u64) {
        while self.next + count > self.seen + capacity(N) as u64 {
            self.seen = atomic(&self.shared, TAIL).load(Acquire);
        }
        for ahead in 0..count {
            // SAFETY: the reader's tail says that it is done with these slots.
            fill(
                unsafe { &mut *self.shared.at::<N>(Cursor::<BEFORE>::at(N, self.next + ahead)) },
                first.wrapping_add(ahead),
            );
        }
        self.next += count;
        atomic(&self.shared, HEAD).store(self.next, Release);
    }
}

impl<const N: usize, const BEFORE: usize> Sender<N> for End<Cursor<BEFORE>> {
    fn send(&mut self, n: u64) -> Result<(), Failure> {
        self.push::<N>(n, 1);
        Ok(())
    }

    #[inline(always)]
    fn send_batch(&mut self, first: u64) -> Result<(), Failure> {
        self.push::<N>(first, BATCH as u64);
        Ok(())
    }
}

impl<const N: usize, const BEFORE: usize> Receiver<N> for End<Cursor<BEFORE>> {
    fn recv<R>(&mut self, read: impl FnOnce(&[u8; N]) -> R) -> Result<R, Failure> {
        while atomic(&self.shared, HEAD).load(Acquire) == self.next {
            spin_loop();
        }
        // SAFETY: the writer does not come back to this slot before the tail below is stored.
        let found = read(unsafe { &*self.shared.at::<N>(Cursor::<BEFORE>::at(N, self.next)) });
        self.next += 1;
        atomic(&self.shared, TAIL).store(self.next, Release);
        Ok(found)
    }

    #[inline(always)]
    fn recv_batch(&mut self, mut read: impl FnMut(&[u8; N])) -> Result<(), Failure> {
        while self.seen == self.next {
            self.seen = atomic(&self.shared, HEAD).load(Acquire);
            spin_loop();
        }
        let end = self.seen.min(self.next + BATCH as u64);
        for position in self.next..end {
            // SAFETY: as in `recv`.
            read(unsafe { &*self.shared.at::<N>(Cursor::<BEFORE>::at(N, position)) });
        }
        self.next = end;
        atomic(&self.shared, TAIL).store(self.next, Release);
        Ok(())
    }
}

macro_rules! floor {
    ($layout:ty, $len:expr) => {
        impl<const N: usize> AcrossProcesses<N> for $layout {
            type Sender = End<$layout>;
            type Receiver = End<$layout>;
            fn create(place: &Place) -> Result<(), Failure> {
                Shared::create(&place.file(), $len(N))
            }
            fn sender(place: &Place) -> Result<End<$layout>, Failure> {
                Ok(End::open(Shared::open(&place.file())?))
            }
            fn receiver(place: &Place) -> Result<End<$layout>, Failure> {
                Ok(End::open(Shared::open(&place.file())?))
            }
        }
    };
}
floor!(Line, |size: usize| (Line::MESSAGE + size).next_multiple_of(LINES));
floor!(OneWord, |_| LINES);
floor!(Slots, |size: usize| SLOTS + Slots::stride(size) * capacity(size));
floor!(Cursor<0>, |size: usize| SLOTS + Cursor::<0>::stride(size) * capacity(size));
floor!(Cursor<8>, |size: usize| SLOTS + Cursor::<8>::stride(size) * capacity(size));
floor!(Cursor<16>, |size: usize| SLOTS + Cursor::<16>::stride(size) * capacity(size));

impl<Layout> End<Layout> {
    fn open(shared: Shared) -> End<Layout> {
        // The other side of what was made just now is at the beginning, too.
        let seen = atomic(&shared, TAIL).load(Relaxed);
        End { shared, next: 0, seen, layout: std::marker::PhantomData }
    }
}
