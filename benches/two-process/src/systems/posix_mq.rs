//! A POSIX message queue: mq_send and mq_receive.

use crate::channel::{AcrossProcesses, Failure, Receiver, Sender, System};
use crate::payload::Payload;
use crate::place::Place;
use crate::run::Measure;
use std::ffi::CString;
use std::io;

/// A queue of as many messages as the kernel lets users have.
#[derive(Debug)]
pub(crate) struct PosixQueue;

impl System for PosixQueue {
    const NAME: &'static str = "posix-mq";
    const ABOUT: &'static str = "a POSIX message queue, as many messages as the kernel allows";
    const MEASURES: &'static [Measure] = &[Measure::Roundtrip, Measure::Stream, Measure::Wake];

    fn largest() -> usize {
        super::kernel_limit("/proc/sys/fs/mqueue/msgsize_max")
    }

    fn remove(place: &Place) {
        if let Ok(name) = name(place) {
            // SAFETY: the name ends with a zero.
            unsafe { libc::mq_unlink(name.as_ptr()) };
        }
    }
}

fn name(place: &Place) -> Result<CString, Failure> {
    Ok(CString::new(format!("/{}", place.name()))?)
}

/// Either end.
#[derive(Debug)]
pub(crate) struct End<const N: usize> {
    queue: libc::mqd_t,
    message: Payload<N>,
}

impl<const N: usize> End<N> {
    fn of(queue: libc::mqd_t) -> End<N> {
        End { queue, message: Payload([0; N]) }
    }
}

impl<const N: usize> Sender<N> for End<N> {
    #[inline(always)]
    fn send(&mut self, n: u64) -> Result<(), Failure> {
        let message = Payload::<N>::numbered(n);
        // SAFETY: the buffer has N bytes.
        let sent = unsafe { libc::mq_send(self.queue, message.0.as_ptr().cast(), N, 0) };
        if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error().into()) }
    }
}

impl<const N: usize> Receiver<N> for End<N> {
    #[inline(always)]
    fn recv<R>(&mut self, read: impl FnOnce(&[u8; N]) -> R) -> Result<R, Failure> {
        let any_priority = std::ptr::null_mut();
        let message = &mut self.message.0;
        // SAFETY: the buffer has N bytes.
        let received = unsafe { libc::mq_receive(self.queue, message.as_mut_ptr().cast(), N, any_priority) };
        match usize::try_from(received) {
            Ok(len) if len == N => Ok(read(message)),
            Ok(len) => Err(format!("a message of {len} bytes came instead of {N}").into()),
            Err(_) => Err(io::Error::last_os_error().into()),
        }
    }
}

impl<const N: usize> Drop for End<N> {
    fn drop(&mut self) {
        // SAFETY: this end's own descriptor.
        unsafe { libc::mq_close(self.queue) };
    }
}

fn open<const N: usize>(place: &Place) -> Result<End<N>, Failure> {
    // SAFETY: the name ends with a zero.
    let queue = unsafe { libc::mq_open(name(place)?.as_ptr(), libc::O_RDWR) };
    if queue < 0 { Err(io::Error::last_os_error().into()) } else { Ok(End::of(queue)) }
}

impl<const N: usize> AcrossProcesses<N> for PosixQueue {
    type Sender = End<N>;
    type Receiver = End<N>;

    fn create(place: &Place) -> Result<(), Failure> {
        // SAFETY: a structure of numbers.
        let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
        attributes.mq_maxmsg = super::kernel_limit("/proc/sys/fs/mqueue/msg_max").min(1024).try_into()?;
        attributes.mq_msgsize = N.try_into()?;
        let (flags, mode) = (libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o600 as libc::mode_t);
        // SAFETY: the name ends with a zero, and the attributes are ours.
        let queue = unsafe { libc::mq_open(name(place)?.as_ptr(), flags, mode, &raw const attributes) };
        if queue < 0 {
            return Err(io::Error::last_os_error().into());
        }
        drop(End::<N>::of(queue));
        Ok(())
    }
    fn sender(place: &Place) -> Result<End<N>, Failure> {
        open(place)
    }
    fn receiver(place: &Place) -> Result<End<N>, Failure> {
        open(place)
    }
}
