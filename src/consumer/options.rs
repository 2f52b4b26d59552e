//! How a consumer attaches.

use super::raw::RawConsumer;
use super::{Consumer, Membership};
use crate::error::{AtPath, AttachError};
use crate::message::Message;
use crate::ring::place::Place;
use crate::wait::Wait;
use slipring_core::protocol::table::Start;
use std::marker::PhantomData;

/// How a consumer attaches.
///
/// ```
/// use slipring::{ConsumerOptions, RingOptions, Start, Wait};
///
/// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
/// let options = ConsumerOptions::new().name("audit").start(Start::Latest).wait(Wait::Spin);
/// let consumer = options.attach::<u64>(&ring)?;
/// assert_eq!(consumer.position(), ring.head());
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ConsumerOptions {
    pub(crate) name: String,
    pub(crate) durable: bool,
    pub(super) start: Start,
    pub(super) wait: Wait,
    pub(super) notice_producer_away: bool,
    pub(super) after: Vec<String>,
}

impl ConsumerOptions {
    /// The defaults: anonymous, ephemeral, from [`Start::Earliest`], [`Wait::Park`].
    pub fn new() -> ConsumerOptions {
        ConsumerOptions::default()
    }

    /// A name of 1 to 64 bytes, which only one living consumer of a ring may have.
    /// [`SendError::Full`](crate::SendError::Full) names it.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> ConsumerOptions {
        self.name = name.into();
        self
    }

    /// A durable consumer's entry survives its process: the next consumer of its name resumes at
    /// the first message that was not released, and while the consumer is away, its tail gates the
    /// producer. Needs a name. Default false.
    #[must_use]
    pub fn durable(mut self, durable: bool) -> ConsumerOptions {
        self.durable = durable;
        self
    }

    /// Names of up to four consumers or groups of the ring that this consumer comes after: it gets
    /// a message once all of them have released it (a group: settled it), and sees what they did
    /// before. They are consumers of any kind that are attached or durable, and may come after
    /// others. Default: none.
    ///
    /// The list stays the same for the life of the consumer's entry: a durable consumer that comes
    /// back names the same, or none. A durable consumer can only come after durable ones and
    /// groups.
    ///
    /// If one of them is gone, and all that it released was received, the calls return
    /// [`UpstreamLost`](crate::RecvError::UpstreamLost). The death of an ephemeral one is noticed
    /// within 100 ms. While a durable one is away, the calls wait for it.
    ///
    /// ```
    /// use slipring::{Consumer, ConsumerOptions, Producer, RecvError, RingOptions};
    ///
    /// let ring = RingOptions::of::<u64>(64).durable("journal").create_in_memory()?;
    /// let mut journal: Consumer<u64> =
    ///     ConsumerOptions::new().name("journal").durable(true).attach(&ring)?;
    /// let mut act: Consumer<u64> = ConsumerOptions::new().after(["journal"]).attach(&ring)?;
    /// Producer::<u64>::open(&ring)?.send(&7)?;
    ///
    /// assert!(matches!(act.try_recv(), Err(RecvError::Empty))); // not in the journal yet
    /// let order = journal.recv()?; // write it to the disk, then
    /// drop(order);
    /// assert_eq!(*act.recv()?, 7);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    #[must_use]
    pub fn after(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> ConsumerOptions {
        self.after = names.into_iter().map(Into::into).collect();
        self
    }

    /// The position to begin at; default [`Start::Earliest`]. A durable consumer that resumes
    /// ignores it.
    #[must_use]
    pub fn start(mut self, start: Start) -> ConsumerOptions {
        self.start = start;
        self
    }

    /// How the waiting calls wait. Default [`Wait::Park`].
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> ConsumerOptions {
        self.wait = wait;
        self
    }

    /// Waiting calls return [`ProducerAway`](crate::RecvError::ProducerAway) when every message was
    /// received and the producer is away: it died, or left without closing. Default false: the
    /// calls wait for a successor. The calls notice it within 100 ms.
    #[must_use]
    pub fn notice_producer_away(mut self, notice: bool) -> ConsumerOptions {
        self.notice_producer_away = notice;
        self
    }

    /// Attaches. The producer goes on at full speed meanwhile; from the consumer's
    /// [`position`](Consumer::position) on, it misses no message.
    ///
    /// ```
    /// use slipring::{Consumer, ConsumerOptions, RingOptions, Start};
    ///
    /// let ring = RingOptions::of::<u64>(1024).create_in_memory()?;
    /// let options = ConsumerOptions::new().name("audit").durable(true).start(Start::Earliest);
    /// let consumer: Consumer<u64> = options.attach(&ring)?;
    /// assert_eq!(ring.consumers()[0].name, "audit");
    /// # drop(consumer);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`AttachError::Start`] if the position of [`Start::At`] was overwritten or is not published
    /// yet; [`AttachError::TableFull`]; [`AttachError::NameInUse`]; [`AttachError::NameIsDurable`];
    /// [`AttachError::Name`]; [`AttachError::After`]; [`AttachError::Open`] as
    /// [`Ring::open`](crate::Ring::open).
    pub fn attach<T: ?Sized + Message>(&self, place: impl Place) -> Result<Consumer<T>, AtPath<AttachError>> {
        let membership = Membership::take(place.at().carrying::<T>(), self, false)?;
        Ok(Consumer { raw: RawConsumer::new(membership), carries: PhantomData })
    }
}
