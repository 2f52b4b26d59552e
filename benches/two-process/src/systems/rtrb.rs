//! rtrb: a ring between two threads.

use crate::channel::{AcrossThreads, BATCH, Failure, Receiver, Sender, System, capacity};
use crate::payload::{Payload, fill_uninit};
use crate::run::Measure;
use rtrb::{Consumer, Producer, PushError, RingBuffer};
use std::hint::spin_loop;

/// A ring whose two sides poll.
#[derive(Debug)]
pub(crate) struct Rtrb;

impl System for Rtrb {
    const NAME: &'static str = "rtrb";
    const ABOUT: &'static str = "rtrb, between two threads of one process, both poll";
    const MEASURES: &'static [Measure] = &[Measure::Roundtrip, Measure::Stream, Measure::Batch];
}

impl<const N: usize> Sender<N> for Producer<Payload<N>> {
    #[inline(always)]
    fn send(&mut self, n: u64) -> Result<(), Failure> {
        let mut message = Payload::numbered(n);
        while let Err(PushError::Full(again)) = self.push(message) {
            message = again;
            spin_loop();
        }
        Ok(())
    }

    #[inline(always)]
    fn send_batch(&mut self, first: u64) -> Result<(), Failure> {
        loop {
            if let Ok(mut chunk) = self.write_chunk_uninit(BATCH) {
                let (before_the_edge, behind_it) = chunk.as_mut_slices();
                for (message, n) in before_the_edge.iter_mut().chain(behind_it).zip(first..) {
                    fill_uninit(message, n);
                }
                // SAFETY: the slices together were all of it, and fewer than the numbers.
                unsafe { chunk.commit_all() };
                return Ok(());
            }
            spin_loop();
        }
    }
}

impl<const N: usize> Receiver<N> for Consumer<Payload<N>> {
    #[inline(always)]
    fn recv<R>(&mut self, read: impl FnOnce(&[u8; N]) -> R) -> Result<R, Failure> {
        loop {
            if let Ok(message) = self.pop() {
                return Ok(read(&message.0));
            }
            spin_loop();
        }
    }

    #[inline(always)]
    fn recv_batch(&mut self, mut read: impl FnMut(&[u8; N])) -> Result<(), Failure> {
        loop {
            let ready = self.slots().min(BATCH);
            if ready > 0 {
                let chunk = self.read_chunk(ready)?;
                let (before_the_edge, behind_it) = chunk.as_slices();
                before_the_edge.iter().chain(behind_it).for_each(|message| read(&message.0));
                chunk.commit_all();
                return Ok(());
            }
            spin_loop();
        }
    }
}

impl<const N: usize> AcrossThreads<N> for Rtrb {
    fn pair() -> (impl Sender<N> + Send, impl Receiver<N> + Send) {
        RingBuffer::<Payload<N>>::new(capacity(N))
    }
}
