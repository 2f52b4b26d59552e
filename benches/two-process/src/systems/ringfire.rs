//! ringfire: values of a type, copied into the ring and out of it, in its lossless mode.

use crate::channel::{AcrossProcesses, BATCH, Failure, Receiver, Sender, System, capacity};
use crate::payload::Payload;
use crate::place::Place;
use crate::run::Measure;
use ringfire::{CleanupMode, FlowControl, RingConsumer, RingProducer, RingProducerBuilder};
use std::hint::spin_loop;

/// A ring whose reader polls; the sender waits for room as the crate does it.
#[derive(Debug)]
pub(crate) struct Ringfire;

impl System for Ringfire {
    const NAME: &'static str = "ringfire";
    const ABOUT: &'static str = "ringfire, LosslessBackpressure, a ring in /dev/shm, the reader polls";
    const MEASURES: &'static [Measure] =
        &[Measure::Roundtrip, Measure::Stream, Measure::Batch, Measure::Attach];

    /// It copies values word by word, which compilers unroll: at 64 KiB they take minutes. Its way
    /// for messages of that size is another ring, which is not lossless.
    fn largest() -> usize {
        1024
    }
}

/// A writer, and room to gather a batch in.
#[derive(Debug)]
pub(crate) struct Writer<const N: usize> {
    ring: RingProducer<Payload<N>>,
    batch: Vec<Payload<N>>,
}

/// A reader, and room to receive a batch in.
#[derive(Debug)]
pub(crate) struct Reader<const N: usize> {
    ring: RingConsumer<Payload<N>>,
    batch: Vec<Payload<N>>,
}

impl<const N: usize> Sender<N> for Writer<N> {
    #[inline(always)]
    fn send(&mut self, n: u64) -> Result<(), Failure> {
        self.ring.push(&Payload::numbered(n));
        Ok(())
    }

    #[inline(always)]
    fn send_batch(&mut self, first: u64) -> Result<(), Failure> {
        for (message, n) in self.batch.iter_mut().zip(first..) {
            *message = Payload::numbered(n);
        }
        self.ring.push_batch(&self.batch);
        Ok(())
    }
}

impl<const N: usize> Receiver<N> for Reader<N> {
    #[inline(always)]
    fn recv<R>(&mut self, read: impl FnOnce(&[u8; N]) -> R) -> Result<R, Failure> {
        loop {
            if let Some(message) = self.ring.try_recv() {
                return Ok(read(&message.0));
            }
            spin_loop();
        }
    }

    #[inline(always)]
    fn recv_batch(&mut self, mut read: impl FnMut(&[u8; N])) -> Result<(), Failure> {
        loop {
            let count = self.ring.recv_batch(&mut self.batch);
            if count > 0 {
                self.batch[..count].iter().for_each(|message| read(&message.0));
                return Ok(());
            }
            spin_loop();
        }
    }
}

impl<const N: usize> AcrossProcesses<N> for Ringfire {
    type Sender = Writer<N>;
    type Receiver = Reader<N>;

    /// The writer makes the file.
    fn create(_place: &Place) -> Result<(), Failure> {
        Ok(())
    }

    fn sender(place: &Place) -> Result<Writer<N>, Failure> {
        let ring = RingProducerBuilder::new(capacity(N) as u64)
            .flow_control(FlowControl::LosslessBackpressure)
            .cleanup_mode(CleanupMode::Persistent)
            .build(place.file())?;
        Ok(Writer { ring, batch: vec![Payload::numbered(0); BATCH] })
    }

    fn receiver(place: &Place) -> Result<Reader<N>, Failure> {
        let ring = RingConsumer::builder().start_from_oldest().attach::<[u8]>(place.file())?;
        Ok(Reader { ring, batch: vec![Payload::numbered(0); BATCH] })
    }
}
