//! The interface of a system that is measured. One file in `systems` implements this for each;
//! everything is monomorphised per system and size, so no measured loop calls through a pointer.

use crate::place::Place;
use crate::run::Measure;

/// Why something could not be measured.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Messages of a batch.
pub(crate) const BATCH: usize = 32;

/// Blocks of a ring, or room of a queue, wherever it can be chosen: 1024 messages, or 4 MiB of
/// them, but no fewer than two batches.
pub(crate) const fn capacity(size: usize) -> usize {
    let fits = (4 << 20) / size;
    if fits > 1024 {
        1024
    } else if fits < 2 * BATCH {
        2 * BATCH
    } else {
        fits
    }
}

/// The sending end of a channel of messages of `N` bytes. Both calls wait for room.
pub(crate) trait Sender<const N: usize> {
    /// Called once when both ends exist, before the first message.
    fn meet(&mut self) -> Result<(), Failure> {
        Ok(())
    }
    /// Makes and sends message number `n`.
    fn send(&mut self, n: u64) -> Result<(), Failure>;
    /// Makes and sends [`BATCH`] messages, from number `first` on, at once.
    fn send_batch(&mut self, first: u64) -> Result<(), Failure> {
        (first..first + BATCH as u64).try_for_each(|n| self.send(n))
    }
}

/// The receiving end.
pub(crate) trait Receiver<const N: usize> {
    /// Called once when both ends exist, before the first message.
    fn meet(&mut self) -> Result<(), Failure> {
        Ok(())
    }
    /// Waits for the next message and shows it to `read`.
    fn recv<R>(&mut self, read: impl FnOnce(&[u8; N]) -> R) -> Result<R, Failure>;
    /// Waits for the next messages, at most [`BATCH`], takes them together and shows them to
    /// `read`.
    fn recv_batch(&mut self, mut read: impl FnMut(&[u8; N])) -> Result<(), Failure> {
        self.recv(&mut read)
    }
}

/// A system, whatever the size of its messages.
pub(crate) trait System {
    /// As it is called on the command line and in tables.
    const NAME: &'static str;
    /// One line for people.
    const ABOUT: &'static str;
    /// The measures that the system supports.
    const MEASURES: &'static [Measure];
    /// The largest message that it carries on this machine.
    fn largest() -> usize {
        usize::MAX
    }
    /// Removes what the kernel keeps beside the files at `place`.
    fn remove(_place: &Place) {}
}

/// A system whose ends are in different processes.
pub(crate) trait AcrossProcesses<const N: usize>: System {
    /// Its sending end.
    type Sender: Sender<N>;
    /// Its receiving end.
    type Receiver: Receiver<N>;
    /// Makes what must exist before there can be ends.
    fn create(place: &Place) -> Result<(), Failure>;
    /// Opens the sending end.
    fn sender(place: &Place) -> Result<Self::Sender, Failure>;
    /// Opens the receiving end.
    fn receiver(place: &Place) -> Result<Self::Receiver, Failure>;
}

/// A system whose ends are in different threads of one process.
pub(crate) trait AcrossThreads<const N: usize>: System {
    /// Makes a channel.
    fn pair() -> (impl Sender<N> + Send, impl Receiver<N> + Send);
}
