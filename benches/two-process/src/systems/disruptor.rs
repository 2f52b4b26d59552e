//! disruptor: a ring between threads, events filled and read in place.

use crate::channel::{AcrossThreads, BATCH, Failure, Receiver, Sender, System, capacity};
use crate::payload::{Payload, fill};
use crate::run::Measure;
use disruptor::{
    BusySpin, EventGuard, EventPoller, Polling, Producer, SingleConsumerBarrier, SingleProducer,
    SingleProducerBarrier, build_single_producer,
};
use std::hint::spin_loop;

/// One producer, and one event poller in a thread of ours.
#[derive(Debug)]
pub(crate) struct Disruptor;

impl System for Disruptor {
    const NAME: &'static str = "disruptor";
    const ABOUT: &'static str = "disruptor, an event poller, between two threads of one process, both poll";
    const MEASURES: &'static [Measure] = &[Measure::Roundtrip, Measure::Stream, Measure::Batch];
}

/// The producing end.
pub(crate) struct Writer<const N: usize>(SingleProducer<Payload<N>, SingleConsumerBarrier>);
/// The polling end.
pub(crate) struct Reader<const N: usize>(EventPoller<Payload<N>, SingleProducerBarrier>);

impl<const N: usize> Sender<N> for Writer<N> {
    #[inline(always)]
    fn send(&mut self, n: u64) -> Result<(), Failure> {
        self.0.publish(|event| fill(&mut event.0, n));
        Ok(())
    }

    #[inline(always)]
    fn send_batch(&mut self, first: u64) -> Result<(), Failure> {
        self.0.batch_publish(BATCH, |events| {
            for (event, n) in events.zip(first..) {
                fill(&mut event.0, n);
            }
        });
        Ok(())
    }
}

type Guard<'a, const N: usize> = EventGuard<'a, Payload<N>, SingleProducerBarrier>;

impl<const N: usize> Reader<N> {
    #[inline(always)]
    fn take<R>(&mut self, limit: u64, read: impl FnOnce(&mut Guard<'_, N>) -> R) -> Result<R, Failure> {
        loop {
            match self.0.take(limit) {
                Ok(mut events) => return Ok(read(&mut events)),
                Err(Polling::NoEvents) => spin_loop(),
                Err(Polling::Shutdown) => return Err("the producer is gone".into()),
            }
        }
    }
}

impl<const N: usize> Receiver<N> for Reader<N> {
    #[inline(always)]
    fn recv<R>(&mut self, read: impl FnOnce(&[u8; N]) -> R) -> Result<R, Failure> {
        let mut read = Some(read);
        let found =
            self.take(1, |mut events| events.next().zip(read.take()).map(|(event, read)| read(&event.0)))?;
        found.ok_or_else(|| "an event is not there".into())
    }

    #[inline(always)]
    fn recv_batch(&mut self, mut read: impl FnMut(&[u8; N])) -> Result<(), Failure> {
        self.take(BATCH as u64, |events| events.for_each(|event| read(&event.0)))
    }
}

impl<const N: usize> AcrossThreads<N> for Disruptor {
    fn pair() -> (impl Sender<N> + Send, impl Receiver<N> + Send) {
        let builder = build_single_producer(capacity(N), || Payload::numbered(0), BusySpin);
        let (poller, builder) = builder.new_event_poller();
        (Writer(builder.build()), Reader(poller))
    }
}
