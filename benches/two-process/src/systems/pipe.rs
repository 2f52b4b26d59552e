//! A pipe. It has no borders between messages: both sides know the size.

use crate::channel::{AcrossProcesses, BATCH, Failure, Receiver, Sender, System};
use crate::payload::{Payload, fill};
use crate::place::Place;
use crate::run::Measure;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;

/// A pipe with a name, of the kernel's default size.
#[derive(Debug)]
pub(crate) struct Pipe;

impl System for Pipe {
    const NAME: &'static str = "pipe";
    const ABOUT: &'static str = "a pipe; a batch is one write and one read of 32 messages";
    const MEASURES: &'static [Measure] =
        &[Measure::Roundtrip, Measure::Stream, Measure::Batch, Measure::Wake];
}

/// Either end, and room for a batch.
#[derive(Debug)]
pub(crate) struct End<const N: usize> {
    file: File,
    batch: Vec<[u8; N]>,
    /// Bytes of a batch that were read.
    read: usize,
}

impl<const N: usize> Sender<N> for End<N> {
    #[inline(always)]
    fn send(&mut self, n: u64) -> Result<(), Failure> {
        Ok(self.file.write_all(&Payload::<N>::numbered(n).0)?)
    }

    #[inline(always)]
    fn send_batch(&mut self, first: u64) -> Result<(), Failure> {
        for (message, n) in self.batch.iter_mut().zip(first..) {
            fill(message, n);
        }
        Ok(self.file.write_all(self.batch.as_flattened())?)
    }
}

impl<const N: usize> Receiver<N> for End<N> {
    #[inline(always)]
    fn recv<R>(&mut self, read: impl FnOnce(&[u8; N]) -> R) -> Result<R, Failure> {
        self.file.read_exact(&mut self.batch[0])?;
        Ok(read(&self.batch[0]))
    }

    /// Takes what is there, up to a batch; the rest of a message that came in part is kept for the
    /// next time.
    #[inline(always)]
    fn recv_batch(&mut self, mut read: impl FnMut(&[u8; N])) -> Result<(), Failure> {
        while self.read < N {
            self.read += self.file.read(&mut self.batch.as_flattened_mut()[self.read..])?;
        }
        let whole = self.read / N;
        self.batch[..whole].iter().for_each(&mut read);
        self.batch.as_flattened_mut().copy_within(whole * N..self.read, 0);
        self.read -= whole * N;
        Ok(())
    }
}

fn open<const N: usize>(place: &Place) -> Result<End<N>, Failure> {
    // For both, so that neither side waits for the other to open it.
    let file = OpenOptions::new().read(true).write(true).open(place.file())?;
    Ok(End { file, batch: vec![[0; N]; BATCH], read: 0 })
}

impl<const N: usize> AcrossProcesses<N> for Pipe {
    type Sender = End<N>;
    type Receiver = End<N>;
    fn create(place: &Place) -> Result<(), Failure> {
        let path = CString::new(place.file().as_os_str().as_bytes())?;
        // SAFETY: the path ends with a zero.
        let made = unsafe { libc::mkfifo(path.as_ptr(), 0o600) };
        if made == 0 { Ok(()) } else { Err(io::Error::last_os_error().into()) }
    }
    fn sender(place: &Place) -> Result<End<N>, Failure> {
        open(place)
    }
    fn receiver(place: &Place) -> Result<End<N>, Failure> {
        open(place)
    }
}
