//! shaq: a queue in a file between one producer and one consumer. Needs a compiler newer than this
//! library does.

use crate::channel::{AcrossProcesses, BATCH, Failure, Receiver, Sender, System, capacity};
use crate::payload::{Payload, fill_uninit};
use crate::place::Place;
use crate::run::Measure;
use shaq::spsc::{Consumer, Producer, minimum_file_size};
use std::fs::{File, OpenOptions};
use std::hint::spin_loop;
use std::num::NonZeroUsize;

/// A queue in /dev/shm whose two sides poll.
#[derive(Debug)]
pub(crate) struct Shaq;

impl System for Shaq {
    const NAME: &'static str = "shaq";
    const ABOUT: &'static str = "shaq, its queue of one to one, in /dev/shm, both sides poll";
    const MEASURES: &'static [Measure] = &[Measure::Roundtrip, Measure::Stream, Measure::Batch];
}

/// The producing end.
pub(crate) struct Writer<const N: usize>(Producer<Payload<N>>);
/// The consuming end.
pub(crate) struct Reader<const N: usize>(Consumer<Payload<N>>);

impl<const N: usize> Sender<N> for Writer<N> {
    #[inline(always)]
    fn send(&mut self, n: u64) -> Result<(), Failure> {
        let mut message = Payload::numbered(n);
        while let Err(again) = self.0.try_write(message) {
            message = again;
            spin_loop();
        }
        Ok(())
    }

    /// Messages without room go with the next attempt: a batch publishes what it has when it
    /// is dropped.
    #[inline(always)]
    fn send_batch(&mut self, first: u64) -> Result<(), Failure> {
        let (mut n, end) = (first, first + BATCH as u64);
        while n < end {
            let mut batch = self.0.write_batch();
            while n < end {
                // SAFETY: it is filled at once, and nothing between panics.
                let Some(message) = (unsafe { batch.try_as_mut() }) else { break };
                fill_uninit(message, n);
                n += 1;
            }
        }
        Ok(())
    }
}

impl<const N: usize> Receiver<N> for Reader<N> {
    #[inline(always)]
    fn recv<R>(&mut self, read: impl FnOnce(&[u8; N]) -> R) -> Result<R, Failure> {
        loop {
            if let Some(message) = self.0.try_read() {
                return Ok(read(&message.0));
            }
            spin_loop();
        }
    }

    #[inline(always)]
    fn recv_batch(&mut self, mut read: impl FnMut(&[u8; N])) -> Result<(), Failure> {
        const MOST: NonZeroUsize = NonZeroUsize::new(BATCH).expect("a batch is not empty");
        loop {
            if let Some(batch) = self.0.try_reserve_read_batch(MOST) {
                batch.iter().for_each(|message| read(&message.0));
                return Ok(());
            }
            spin_loop();
        }
    }
}

fn open(place: &Place) -> Result<File, Failure> {
    Ok(OpenOptions::new().read(true).write(true).open(place.file())?)
}

impl<const N: usize> AcrossProcesses<N> for Shaq {
    type Sender = Writer<N>;
    type Receiver = Reader<N>;

    /// The creator of the queue is one of its ends; that end is given up again before there is
    /// another.
    fn create(place: &Place) -> Result<(), Failure> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(place.file())?;
        let len = minimum_file_size::<Payload<N>>(capacity(N));
        file.set_len(len as u64)?;
        // SAFETY: a new file, which only this process knows of.
        drop(unsafe { Producer::<Payload<N>>::create(&file, len) }.map_err(|error| format!("{error:?}"))?);
        Ok(())
    }

    fn sender(place: &Place) -> Result<Writer<N>, Failure> {
        // SAFETY: the one sender of this direction, and both sides run the same program.
        let producer = unsafe { Producer::join(&open(place)?) };
        Ok(Writer(producer.map_err(|error| format!("{error:?}"))?))
    }

    fn receiver(place: &Place) -> Result<Reader<N>, Failure> {
        // SAFETY: the one receiver of this direction, and both sides run the same program.
        let consumer = unsafe { Consumer::join(&open(place)?) };
        Ok(Reader(consumer.map_err(|error| format!("{error:?}"))?))
    }
}
