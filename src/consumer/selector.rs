//! One thread that reads several rings: a program with several producers has one ring for each.

use crate::consumer::raw::RawConsumer;
use crate::consumer::{Consumer, Received};
use crate::error::RecvError;
use crate::message::Message;
use crate::region::Region;
use crate::system;
use crate::wait::{CHECK_UP, Wait, Waiting, longest_sleep, wait_for};
use slipring_core::protocol::park::Side;
use std::time::Duration;

/// Waits on several consumers and serves them in turn: the way to have several producers, each with
/// a ring of its own.
///
/// Fair: after a message from one ring, every other ring is looked at before the same one again.
/// Example, rings 0 to 2: a message came from ring 1, so the next look goes to 2, then 0, then 1.
///
/// ```
/// use slipring::{Consumer, Producer, RingOptions, Selector, Start, Wait};
///
/// let options = RingOptions::new(32, 8);
/// let rings = [options.create_in_memory()?, options.create_in_memory()?];
/// let mut selector = Selector::new(Wait::Park);
/// for ring in &rings {
///     selector.add(Consumer::<[u8]>::attach(ring, Start::Earliest)?);
/// }
/// Producer::<[u8]>::open(&rings[1])?.send(b"to the second")?;
/// let (which, message) = selector.recv()?;
/// assert_eq!((which, &*message), (1, &b"to the second"[..]));
/// # drop(message);
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
pub struct Selector<T: ?Sized + Message = [u8]> {
    consumers: Vec<Member<T>>,
    wait: Wait,
    /// The index at which the next look begins.
    turn: usize,
    /// The index of the member whose message the last look found.
    found: Option<usize>,
}

#[derive(Debug)]
struct Member<T: ?Sized + Message> {
    consumer: Consumer<T>,
    /// Why no message is expected: the stream ended, was replaced, or is damaged.
    ended: Option<RecvError>,
}

impl<T: ?Sized + Message> Selector<T> {
    /// A selector without consumers, which waits as `wait` says; the consumers' own [`Wait`] is not
    /// used.
    pub fn new(wait: Wait) -> Selector<T> {
        Selector { consumers: Vec::new(), wait, turn: 0, found: None }
    }

    /// Adds a consumer and returns its index: 0 for the first, 1 for the second, and so on.
    pub fn add(&mut self, consumer: Consumer<T>) -> usize {
        self.consumers.push(Member { consumer, ended: None });
        self.consumers.len() - 1
    }

    /// The number of consumers that were added.
    pub fn len(&self) -> usize {
        self.consumers.len()
    }

    /// True before the first [`add`](Self::add).
    pub fn is_empty(&self) -> bool {
        self.consumers.is_empty()
    }

    /// The consumer of this index.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut Consumer<T>> {
        self.consumers.get_mut(index).map(|member| &mut member.consumer)
    }

    /// Why no message is expected from the consumer of this index; none while its stream goes on.
    /// Either its stream is closed and drained, its file was replaced, its producer is dead (if its
    /// consumer notices that), or it is damaged. When a new producer continues the stream, the
    /// selector reads it again, and this is none.
    pub fn ended(&self, index: usize) -> Option<&RecvError> {
        self.consumers.get(index)?.ended.as_ref()
    }

    /// The next message of any ring, if one is published, with the consumer's index.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`]; [`RecvError::Closed`] when every stream has ended
    /// ([`ended`](Self::ended) has each reason), or no consumer was added. A call that finds
    /// nothing looks at the paths if none did so for 100 ms.
    pub fn try_recv(&mut self) -> Result<(usize, Received<'_, T>), RecvError> {
        if self.poll()? {
            return self.fetch();
        }
        self.check_closed()?;
        self.check_up_at_times()?;
        Err(RecvError::Empty)
    }

    /// The next message of any ring, with the consumer's index; waits without a limit. The end of
    /// one stream does not end the wait for the others.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`], as [`try_recv`](Self::try_recv).
    pub fn recv(&mut self) -> Result<(usize, Received<'_, T>), RecvError> {
        let how = self.wait;
        wait_for(self, how, None)?;
        self.fetch()
    }

    /// As [`recv`](Self::recv), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// Besides those of `recv`, [`RecvError::TimedOut`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<(usize, Received<'_, T>), RecvError> {
        let how = self.wait;
        wait_for(self, how, Some(timeout))?;
        self.fetch()
    }

    fn fetch(&mut self) -> Result<(usize, Received<'_, T>), RecvError> {
        let index = self.found.take().ok_or(RecvError::Empty)?;
        self.turn = index + 1;
        self.consumers[index].consumer.try_recv().map(|message| (index, message))
    }

    /// The memory of a ring.
    fn region(&self, ring: usize) -> &Region {
        self.consumers[ring].consumer.region()
    }

    /// Asks each member that has not ended; a member that returns an error has ended.
    fn ask(&mut self, question: impl Fn(&mut RawConsumer) -> Result<(), RecvError>) -> Result<(), RecvError> {
        for member in self.consumers.iter_mut().filter(|member| member.ended.is_none()) {
            member.ended = question(member.consumer.raw()).err();
        }
        if self.consumers.iter().all(|member| member.ended.is_some()) {
            Err(RecvError::Closed)
        } else {
            Ok(())
        }
    }
}

impl<T: ?Sized + Message> Waiting for Selector<T> {
    type Error = RecvError;

    fn poll(&mut self) -> Result<bool, RecvError> {
        let count = self.consumers.len();
        for index in (0..count).map(|step| (self.turn + step) % count) {
            let member = &mut self.consumers[index];
            // A member that has ended is looked at, too: a successor of its producer may have
            // continued the stream.
            match member.consumer.raw().can_take() {
                Ok(true) => {
                    member.ended = None;
                    self.found = Some(index);
                    return Ok(true);
                }
                Ok(false) => {}
                Err(error) => member.ended = Some(error),
            }
        }
        Ok(false)
    }

    fn check_closed(&mut self) -> Result<(), RecvError> {
        self.ask(RawConsumer::check_closed)
    }

    fn check_ring(&mut self) -> Result<(), RecvError> {
        self.ask(RawConsumer::check_up)
    }

    fn check_up_at_times(&mut self) -> Result<(), RecvError> {
        self.ask(RawConsumer::check_up_at_times)
    }

    fn sleep(&mut self, at_most: Duration) -> Result<(), RecvError> {
        let bound = longest_sleep(CHECK_UP).min(at_most);
        // Members that have ended are left out: no message is expected from them.
        let open = |index: &usize| self.consumers[*index].ended.is_none();
        let open: Vec<usize> = (0..self.consumers.len()).filter(open).collect();
        let rings = |it: &mut Self| -> Vec<(usize, Side)> {
            open.iter().map(|&ring| (ring, it.consumers[ring].consumer.raw().side())).collect()
        };
        let announced = rings(self);
        let look = |it: &mut Self| -> Result<_, RecvError> {
            it.check_closed()?;
            Ok((!it.poll()? && rings(it) == announced).then_some(bound))
        };
        let slept = Side::sleep_unless_any(self, &announced, Self::region, look)?;
        if !slept {
            system::nap(at_most);
        }
        Ok(())
    }

    fn timed_out(&mut self, waited: Duration) -> RecvError {
        RecvError::TimedOut(waited)
    }
}
