//! crossbeam-channel: a bounded channel between two threads, of many to many.

use crate::channel::{AcrossThreads, Failure, Receiver, Sender, System, capacity};
use crate::payload::Payload;
use crate::run::Measure;

/// A bounded channel, with its blocking calls.
#[derive(Debug)]
pub(crate) struct Crossbeam;

impl System for Crossbeam {
    const NAME: &'static str = "crossbeam-channel";
    const ABOUT: &'static str = "crossbeam-channel, bounded, between two threads of one process";
    const MEASURES: &'static [Measure] = &[Measure::Roundtrip, Measure::Stream, Measure::Wake];
}

impl<const N: usize> Sender<N> for crossbeam_channel::Sender<Payload<N>> {
    #[inline(always)]
    fn send(&mut self, n: u64) -> Result<(), Failure> {
        crossbeam_channel::Sender::send(self, Payload::numbered(n)).map_err(|_| "the receiver is gone".into())
    }
}

impl<const N: usize> Receiver<N> for crossbeam_channel::Receiver<Payload<N>> {
    #[inline(always)]
    fn recv<R>(&mut self, read: impl FnOnce(&[u8; N]) -> R) -> Result<R, Failure> {
        Ok(read(&crossbeam_channel::Receiver::recv(self)?.0))
    }
}

impl<const N: usize> AcrossThreads<N> for Crossbeam {
    fn pair() -> (impl Sender<N> + Send, impl Receiver<N> + Send) {
        crossbeam_channel::bounded::<Payload<N>>(capacity(N))
    }
}
