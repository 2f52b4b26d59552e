//! A System V message queue: msgsnd and msgrcv.

use crate::channel::{AcrossProcesses, Failure, Receiver, Sender, System};
use crate::payload::{Payload, fill};
use crate::place::Place;
use crate::run::Measure;
use std::path::PathBuf;
use std::{fs, io};

/// A queue of the kernel's default size. A file at its place has its number.
#[derive(Debug)]
pub(crate) struct SystemV;

impl System for SystemV {
    const NAME: &'static str = "sysv";
    const ABOUT: &'static str = "a System V message queue, as large as the kernel makes it";
    const MEASURES: &'static [Measure] = &[Measure::Roundtrip, Measure::Stream, Measure::Wake];

    fn largest() -> usize {
        super::kernel_limit("/proc/sys/kernel/msgmax")
    }

    fn remove(place: &Place) {
        if let Ok(queue) = queue(place) {
            // SAFETY: no pointers are read by this command.
            unsafe { libc::msgctl(queue, libc::IPC_RMID, std::ptr::null_mut()) };
        }
    }
}

/// The file that has the queue's number, and has it under a name that no other system's files have.
fn number(place: &Place) -> PathBuf {
    place.file().with_extension("sysv")
}

fn queue(place: &Place) -> Result<libc::c_int, Failure> {
    Ok(fs::read_to_string(number(place))?.trim().parse()?)
}

/// A message as the kernel wants it.
#[derive(Debug)]
#[repr(C)]
struct Envelope<const N: usize> {
    kind: libc::c_long,
    payload: Payload<N>,
}

/// Either end.
#[derive(Debug)]
pub(crate) struct End<const N: usize> {
    queue: libc::c_int,
    envelope: Box<Envelope<N>>,
}

impl<const N: usize> Sender<N> for End<N> {
    #[inline(always)]
    fn send(&mut self, n: u64) -> Result<(), Failure> {
        fill(&mut self.envelope.payload.0, n);
        // SAFETY: a kind, and N bytes behind it.
        let sent = unsafe { libc::msgsnd(self.queue, (&raw const *self.envelope).cast(), N, 0) };
        if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error().into()) }
    }
}

impl<const N: usize> Receiver<N> for End<N> {
    #[inline(always)]
    fn recv<R>(&mut self, read: impl FnOnce(&[u8; N]) -> R) -> Result<R, Failure> {
        // SAFETY: a kind, and room for N bytes behind it.
        let received = unsafe { libc::msgrcv(self.queue, (&raw mut *self.envelope).cast(), N, 0, 0) };
        match usize::try_from(received) {
            Ok(len) if len == N => Ok(read(&self.envelope.payload.0)),
            Ok(len) => Err(format!("a message of {len} bytes came instead of {N}").into()),
            Err(_) => Err(io::Error::last_os_error().into()),
        }
    }
}

fn open<const N: usize>(place: &Place) -> Result<End<N>, Failure> {
    let envelope = Box::new(Envelope { kind: 1, payload: Payload::numbered(0) });
    Ok(End { queue: queue(place)?, envelope })
}

impl<const N: usize> AcrossProcesses<N> for SystemV {
    type Sender = End<N>;
    type Receiver = End<N>;
    fn create(place: &Place) -> Result<(), Failure> {
        // SAFETY: no pointers.
        let queue = unsafe { libc::msgget(libc::IPC_PRIVATE, 0o600) };
        if queue < 0 {
            return Err(io::Error::last_os_error().into());
        }
        Ok(fs::write(number(place), queue.to_string())?)
    }
    fn sender(place: &Place) -> Result<End<N>, Failure> {
        open(place)
    }
    fn receiver(place: &Place) -> Result<End<N>, Failure> {
        open(place)
    }
}
