//! The floor of the wake-ups: a shared word to sleep on, one that says what was received, and one
//! message.

use super::shared::{Shared, atomic};
use crate::channel::{AcrossProcesses, Failure, Receiver, Sender, System};
use crate::payload::fill;
use crate::place::Place;
use crate::run::Measure;
use std::hint::spin_loop;
use std::io;
use std::sync::atomic::Ordering::{Acquire, Release};

const WORD: usize = 0;
const RECEIVED: usize = 128;
const MESSAGE: usize = 256;

/// Room for one message, and a word to sleep on until it is there.
#[derive(Debug)]
pub(crate) struct Futex;

impl System for Futex {
    const NAME: &'static str = "floor";
    const ABOUT: &'static str = "bare kernel: FUTEX_WAIT and FUTEX_WAKE on a shared word";
    const MEASURES: &'static [Measure] = &[Measure::Wake];
}

/// Either end.
#[derive(Debug)]
pub(crate) struct End {
    shared: Shared,
    count: u64,
}

impl<const N: usize> Sender<N> for End {
    #[inline(always)]
    fn send(&mut self, n: u64) -> Result<(), Failure> {
        while atomic(&self.shared, RECEIVED).load(Acquire) != self.count {
            spin_loop();
        }
        // SAFETY: the reader has received the last message, and waits for the next.
        fill(unsafe { &mut *self.shared.at::<N>(MESSAGE) }, n);
        self.count += 1;
        atomic(&self.shared, WORD).store(self.count, Release);
        futex(&self.shared, libc::FUTEX_WAKE, 1)
    }
}

impl<const N: usize> Receiver<N> for End {
    #[inline(always)]
    fn recv<R>(&mut self, read: impl FnOnce(&[u8; N]) -> R) -> Result<R, Failure> {
        while atomic(&self.shared, WORD).load(Acquire) == self.count {
            futex(&self.shared, libc::FUTEX_WAIT, low_half(self.count))?;
        }
        self.count += 1;
        // SAFETY: the writer does not come back before the word below is stored.
        let found = read(unsafe { &*self.shared.at::<N>(MESSAGE) });
        atomic(&self.shared, RECEIVED).store(self.count, Release);
        Ok(found)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "futexes are words of 32 bits")]
fn low_half(count: u64) -> u32 {
    count as u32
}

fn futex(shared: &Shared, operation: libc::c_int, value: u32) -> Result<(), Failure> {
    let word = atomic(shared, WORD).as_ptr();
    let no_timeout = std::ptr::null::<libc::timespec>();
    // SAFETY: the word is in the mapping; its low half comes first.
    let result = unsafe { libc::syscall(libc::SYS_futex, word, operation, value, no_timeout) };
    let error = io::Error::last_os_error();
    let is_harmless = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR));
    if result < 0 && !is_harmless { Err(error.into()) } else { Ok(()) }
}

impl<const N: usize> AcrossProcesses<N> for Futex {
    type Sender = End;
    type Receiver = End;
    fn create(place: &Place) -> Result<(), Failure> {
        Shared::create(&place.file(), MESSAGE + N)
    }
    fn sender(place: &Place) -> Result<End, Failure> {
        Ok(End { shared: Shared::open(&place.file())?, count: 0 })
    }
    fn receiver(place: &Place) -> Result<End, Failure> {
        <Futex as AcrossProcesses<N>>::sender(place)
    }
}
