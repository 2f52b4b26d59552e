//! This library, with its default options but for how it waits; blocks are filled and read in
//! place.

use crate::channel::{AcrossProcesses, BATCH, Failure, Receiver, Sender, System, capacity};
use crate::payload::fill;
use crate::place::Place;
use crate::run::Measure;
use slipring::{Consumer, ConsumerOptions, Observer, Producer, ProducerOptions, RingOptions, Start, Wait};

/// A ring whose two sides spin.
#[derive(Debug)]
pub(crate) struct Spinning;
/// A ring whose two sides sleep when there is nothing to do.
#[derive(Debug)]
pub(crate) struct Parking;

impl System for Spinning {
    const NAME: &'static str = "slipring";
    const ABOUT: &'static str = "this library, a ring in /dev/shm, both sides with Wait::Spin";
    const MEASURES: &'static [Measure] =
        &[Measure::Roundtrip, Measure::Stream, Measure::Batch, Measure::Attach, Measure::First];
}

impl System for Parking {
    const NAME: &'static str = "slipring-park";
    const ABOUT: &'static str = "the same with Wait::Park, the default: sleeps when there is nothing to do";
    const MEASURES: &'static [Measure] =
        &[Measure::Roundtrip, Measure::Stream, Measure::Batch, Measure::Wake];
}

/// A ring whose producer's process has many handles besides.
#[derive(Debug)]
pub(crate) struct AmongMany;

/// Observers, which take no entry of the ring: what differs is the process, not the table.
const MANY: usize = 6000;

impl System for AmongMany {
    const NAME: &'static str = "slipring-among-6000";
    const ABOUT: &'static str = "the same in a process that has 6000 other handles";
    const MEASURES: &'static [Measure] = &[Measure::Attach];
}

/// A producer and the other handles of its process.
#[derive(Debug)]
pub(crate) struct Crowd {
    producer: Producer,
    _others: Vec<Observer>,
}

impl<const N: usize> Sender<N> for Crowd {
    fn send(&mut self, n: u64) -> Result<(), Failure> {
        Sender::<N>::send(&mut self.producer, n)
    }
}

impl<const N: usize> AcrossProcesses<N> for AmongMany {
    type Sender = Crowd;
    type Receiver = Consumer;
    fn create(place: &Place) -> Result<(), Failure> {
        create(place, N)
    }
    fn sender(place: &Place) -> Result<Crowd, Failure> {
        let producer = producer(place, Wait::Spin)?;
        let others = (0..MANY).map(|_| Observer::attach(place.file(), Start::Latest));
        Ok(Crowd { producer, _others: others.collect::<Result<_, _>>()? })
    }
    fn receiver(place: &Place) -> Result<Consumer, Failure> {
        consumer(place, Wait::Spin)
    }
}

impl<const N: usize> Sender<N> for Producer {
    #[inline(always)]
    fn send(&mut self, n: u64) -> Result<(), Failure> {
        let mut claim = self.claim()?;
        fill::<N>((&mut claim[..]).try_into()?, n);
        claim.publish(N)?;
        Ok(())
    }

    #[inline(always)]
    fn send_batch(&mut self, first: u64) -> Result<(), Failure> {
        let mut n = first;
        let mut left = BATCH;
        while left > 0 {
            let mut batch = self.claim_batch(left)?;
            let mut failed = None;
            left -= batch.push_blocks(left, |block| match block.try_into() {
                Ok(block) => {
                    fill::<N>(block, n);
                    n += 1;
                }
                Err(error) => failed = Some(error),
            });
            if let Some(error) = failed {
                return Err(Failure::from(error));
            }
            batch.publish()?;
        }
        Ok(())
    }
}

impl<const N: usize> Receiver<N> for Consumer {
    #[inline(always)]
    fn recv<R>(&mut self, read: impl FnOnce(&[u8; N]) -> R) -> Result<R, Failure> {
        let message = Consumer::recv(self)?;
        Ok(read((&message[..]).try_into()?))
    }

    #[inline(always)]
    fn recv_batch(&mut self, mut read: impl FnMut(&[u8; N])) -> Result<(), Failure> {
        let mut failed = None;
        Consumer::recv_batch(self, BATCH)?.iter().for_each(|message| match (&message[..]).try_into() {
            Ok(message) => read(message),
            Err(error) => failed = Some(error),
        });
        failed.map_or(Ok(()), |error: std::array::TryFromSliceError| Err(error.into()))
    }
}

fn create(place: &Place, size: usize) -> Result<(), Failure> {
    RingOptions::new(size, capacity(size)).create(place.file())?;
    Ok(())
}

fn producer(place: &Place, wait: Wait) -> Result<Producer, Failure> {
    Ok(ProducerOptions::new().wait(wait).open::<[u8]>(place.file())?)
}

fn consumer(place: &Place, wait: Wait) -> Result<Consumer, Failure> {
    Ok(ConsumerOptions::new().start(Start::Earliest).wait(wait).attach::<[u8]>(place.file())?)
}

macro_rules! ring {
    ($system:ty, $wait:expr) => {
        impl<const N: usize> AcrossProcesses<N> for $system {
            type Sender = Producer;
            type Receiver = Consumer;
            fn create(place: &Place) -> Result<(), Failure> {
                create(place, N)
            }
            fn sender(place: &Place) -> Result<Producer, Failure> {
                producer(place, $wait)
            }
            fn receiver(place: &Place) -> Result<Consumer, Failure> {
                consumer(place, $wait)
            }
        }
    };
}
ring!(Spinning, Wait::Spin);
ring!(Parking, Wait::Park);
