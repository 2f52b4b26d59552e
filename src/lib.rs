//! A message queue that is a file.
//!
//! One producer process appends fixed-size blocks to a lock-free ring in a memory-mapped file.
//! Other processes attach by path and read the blocks in place: no broker, no daemon, no copy, and
//! no system call on the hot path. A model checker has verified the memory orderings, in the code
//! that ships.
//!
//! * [Quick start](#quick-start)
//! * [Roles](#roles)
//! * [Guarantees](#guarantees)
//! * [Waiting](#waiting)
//! * [Typed messages](#typed-messages)
//! * [Groups of workers](#groups-of-workers)
//! * [Errors](#errors)
//! * [Where to read on](#where-to-read-on)
//!
//! # Quick start
//!
//! ```
//! # let dir = std::env::temp_dir().join(format!("slipring-lib-{}", std::process::id()));
//! # std::fs::create_dir_all(&dir)?;
//! # let path = dir.join("greetings");
//! use slipring::{Consumer, Producer, RingOptions, Start};
//!
//! RingOptions::new(48, 1024).create(&path)?; // 1024 blocks of 48 bytes
//! let mut producer = Producer::<[u8]>::open(&path)?; // in one process
//! let mut consumer = Consumer::<[u8]>::attach(&path, Start::Earliest)?; // in another
//!
//! producer.send(b"hello")?;
//! let message = consumer.recv()?; // a `&[u8]` into the mapping
//! assert_eq!(&*message, b"hello");
//! drop(message); // released: the producer may use the block again
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A ring for threads of one process, or for tests, needs no file:
//! [`RingOptions::create_in_memory`]. The examples of these pages use it.
//!
//! # Roles
//!
//! | role | reads | effect on the producer |
//! |---|---|---|
//! | [`Consumer`] | every message, in order, in place | gates: no message is overwritten before its release |
//! | durable [`Consumer`] | the same; resumes by name | gates, also while the consumer is away |
//! | [`EvictableConsumer`] | every message, by copy | gates until the ring is full; then the consumer is evicted |
//! | [`Observer`] | by copy, from a file it may not write | none; the observer learns how many messages it missed |
//! | [`Worker`] | its share of a group, in place, leased | the group gates until it has settled a message |
//!
//! A ring has one [`Producer`]. A program with several producers has a ring for each, and a
//! [`Selector`] reads all of them in one thread. [`Ring`] looks at a ring and its tables without a
//! role, and [`DeadLetters`] holds the messages that groups gave up.
//!
//! Every role attaches to a [`Place`]: a path, an open [`Ring`], or [`At`], which adds conditions
//! (the ring's id, its owner, its pages, how long to wait for the ring).
//!
//! # Guarantees
//!
//! * Published messages survive the death of any process, at any instruction. They do not survive a
//!   power cut: slipring flushes no page to a disk. Messages in a journal do (the crate
//!   `slipring-journal`), and the ring is made anew from it.
//! * The next process that opens the ring as its producer continues after a dead one; readers
//!   notice nothing. A dead consumer stops gating as soon as the producer needs its room, and a
//!   dead worker's messages go to the other workers.
//! * Each process that may write the file is trusted to run this protocol. Every value that another
//!   process may have damaged is bounded where it is read.
//! * A file that is cut short under running processes ends them with `SIGBUS`, as any mapped file
//!   does. In a process that has called [`handle_sigbus`], the calls return an error instead.
//! * Handles do not survive `fork`: the child has neither the mapping nor the locks. `exec` is
//!   fine.
//!
//! # Waiting
//!
//! Each call has three forms: `try_recv` returns at once, `recv` waits without a limit, and
//! `recv_timeout` waits at most for a [`Duration`](std::time::Duration). [`Wait`] chooses how a
//! handle waits: spinning, with pauses and yields, or asleep in the kernel (the default). A
//! sleeping reader costs the producer one system call for each time that it wakes the reader.
//!
//! ```
//! use slipring::{Consumer, ConsumerOptions, RecvError, RingOptions, Wait};
//! use std::time::Duration;
//!
//! let ring = RingOptions::new(48, 1024).create_in_memory()?;
//! let mut consumer: Consumer = ConsumerOptions::new().wait(Wait::Spin).attach(&ring)?;
//! let error = consumer.recv_timeout(Duration::from_millis(1)).unwrap_err();
//! assert!(matches!(error, RecvError::TimedOut(_)));
//! # Ok::<(), slipring::Error>(())
//! ```
//!
//! # Typed messages
//!
//! Each handle carries bytes, `Consumer<[u8]>`, the default, or values of one type, by the same
//! calls. [`message!`](macro@message) declares a struct whose layout is fixed; its fingerprint is
//! in the ring, and a program with another type cannot attach.
//!
//! ```
//! use slipring::{Consumer, Producer, RingOptions, Start};
//!
//! slipring::message! {
//!     /// The price of an instrument.
//!     struct Quote { instrument: u64, px: f64 }
//! }
//! let ring = RingOptions::of::<Quote>(1024).create_in_memory()?;
//! let mut producer = Producer::<Quote>::open(&ring)?;
//! let mut consumer = Consumer::<Quote>::attach(&ring, Start::Earliest)?;
//!
//! producer.publish_with(|quote| quote.px = 0.5)?; // filled in place
//! producer.publish_slices_with(32, |quotes| quotes.iter_mut().for_each(|quote| quote.px = 1.0))?;
//! assert_eq!(consumer.recv()?.px, 0.5);
//! let sum: f64 = consumer.recv_batch(32)?.slices().flatten().map(|quote| quote.px).sum();
//! assert_eq!(sum, 32.0);
//! # Ok::<(), slipring::Error>(())
//! ```
//!
//! # Groups of workers
//!
//! The [`Worker`]s of a group share the messages. A message is leased to one worker at a time until
//! a worker settles it: with `ack`, or with `reject`, which moves it to the dead-letter ring.
//! `nack`, a dropped [`Delivery`], a lease that runs out and a worker's death lead to another
//! attempt. [`GroupSettings`] has the length of a lease, the limit of attempts and the [`Backoff`].
//!
//! ```
//! use slipring::{GroupSettings, Producer, RingOptions, Worker};
//!
//! let ring = RingOptions::new(48, 1024).group("sms", GroupSettings::new()).create_in_memory()?;
//! Producer::<[u8]>::open(&ring)?.send(b"order 17 is paid")?;
//!
//! let worker = Worker::<[u8]>::join(&ring, "sms")?; // one of several, in any process
//! let delivery = worker.recv()?;
//! assert_eq!(delivery.attempt(), 1);
//! delivery.ack()?;
//! # Ok::<(), slipring::Error>(())
//! ```
//!
//! Delivery is at least once. [`Delivery::id`] is the same at every delivery of a message: a
//! handler that deduplicates by it has each effect exactly once.
//!
//! # Errors
//!
//! Each operation has an enum of its own, and all of them convert into [`Error`]. The text has the
//! path, the numbers and the way out. [`SendError::Full`] names the reader that holds the ring
//! full; [`RecvError::Lagged`] has the number of messages that a copying reader missed.
//!
//! ```
//! use slipring::{Consumer, Error, Start};
//!
//! fn first() -> Result<usize, Error> {
//!     Ok(Consumer::<[u8]>::attach("/dev/shm/no-such-ring", Start::Earliest)?.recv()?.len())
//! }
//! let text = "/dev/shm/no-such-ring: no such ring; create it first, or check the path";
//! assert_eq!(first().unwrap_err().to_string(), text);
//! ```
//!
//! # Where to read on
//!
//! The repository has a [guide](https://github.com/slipring/slipring/tree/main/docs/guide), a
//! [glossary](https://github.com/slipring/slipring/blob/main/docs/glossary.md) of every term of
//! these pages, the [file format](https://github.com/slipring/slipring/blob/main/docs/format.md),
//! and the [evidence](https://github.com/slipring/slipring/blob/main/docs/reliability.md) for the
//! guarantees.

#[cfg(not(all(
    target_os = "linux",
    target_endian = "little",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!(
    "slipring runs on Linux on x86-64 and little-endian aarch64 only: it relies on shared futexes, \
     membarrier and open-file-description locks, and its orderings were verified for these two"
);

mod consumer;
mod copying;
mod dead_letters;
mod error;
mod id;
mod message;
mod producer;
mod progress;
mod region;
mod ring;
mod system;
mod wait;
mod worker;

pub use consumer::selector::Selector;
pub use consumer::{
    AheadBatch, AheadIter, AheadSlices, Batch, BatchIter, Consumer, ConsumerOptions, Item, ReadAhead,
    Received, Slices,
};
pub use copying::CopiedMessage;
pub use copying::evictable::EvictableConsumer;
pub use copying::observer::{Observer, ObserverOptions};
pub use dead_letters::{DeadLetter, DeadLetters};
pub use error::{
    AfterError, AtPath, AttachError, CreateError, EntryError, Error, HandleError, Holder, HolderRole,
    JoinError, LockFileFault, NameError, OpenError, ProgressError, RecvError, RedriveError, SendError,
};
pub use id::{MessageId, ParseMessageIdError, ParseRingIdError, RingId};
pub use message::{Checked, Code, InvalidCode, Message, Outgoing, Schema, Value};
pub use producer::claim::{BatchClaim, Claim, Filled};
pub use producer::{Producer, ProducerOptions};
pub use progress::Progress;
pub use region::pages::Pages;

pub use ring::ancestor::Ancestor;
pub use ring::check::Violation;
pub use ring::companion::DeadLetterPolicy;
pub use ring::groups::{GroupInfo, PendingMessage, PendingState, WorkerInfo};
pub use ring::place::{At, Place};
pub use ring::restoration::Restoration;
pub use ring::salvage::Salvage;
pub use ring::storage::Storage;
pub use ring::{ConsumerInfo, ProducerInfo, Ring, RingOptions};
pub use system::sigbus::handle_sigbus;
pub use wait::Wait;
pub use worker::delivery::{Delivery, Rejected};
pub use worker::{DeliveryBatch, Worker, WorkerOptions};

// Of the core, shown here as this crate's own.

#[doc(inline)]
pub use slipring_core::format::{FORMAT_VERSION, GeometryError, NAME_MAX};
#[doc(inline)]
pub use slipring_core::protocol::Damage;
/// The kinds of messages that a worker asks for.
///
/// ```
/// use slipring::{GroupSettings, Kinds, Producer, RecvError, RingOptions, Worker};
///
/// let ring = RingOptions::of::<u64>(64).group("g", GroupSettings::new()).create_in_memory()?;
/// Producer::<u64>::open(&ring)?.send((3, &7))?;
/// let worker = Worker::<u64>::join(&ring, "g")?;
/// assert!(matches!(worker.try_recv_kind(Kinds::Except(3)), Err(RecvError::Empty)));
/// worker.try_recv_kind(Kinds::AtMost(4))?.ack()?;
/// # Ok::<(), slipring::Error>(())
/// ```
#[doc(inline)]
pub use slipring_core::protocol::group::Kinds;
/// A message was settled after its lease.
///
/// ```
/// use slipring::{GroupSettings, Producer, RingOptions, Worker};
/// use std::time::Duration;
///
/// let settings = GroupSettings::new().ack_wait(Duration::from_millis(1));
/// let ring = RingOptions::of::<u64>(64).group("g", settings).create_in_memory()?;
/// Producer::<u64>::open(&ring)?.send(&7)?;
/// let [slow, quick] = [Worker::<u64>::join(&ring, "g")?, Worker::<u64>::join(&ring, "g")?];
/// let late = slow.recv()?;
/// quick.recv()?.ack()?; // as soon as the lease is over
/// assert_eq!(late.ack().unwrap_err().position, 0);
/// # Ok::<(), slipring::Error>(())
/// ```
#[doc(inline)]
pub use slipring_core::protocol::lease::LeaseLost;
#[doc(inline)]
pub use slipring_core::protocol::recorder::{Event, EventKind};
/// The wait before another attempt.
///
/// ```
/// use slipring::Backoff;
/// use std::time::Duration;
///
/// let backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(10));
/// let third = backoff.delay_ms(0, 3); // of the message at position 0, after its third attempt
/// assert!((200..=400).contains(&third)); // 400 ms, less up to half of it by chance
///
/// let steps = Backoff::steps(&[Duration::from_secs(1), Duration::from_secs(60)]);
/// assert_eq!([1, 2, 3].map(|attempt| steps.delay_ms(0, attempt)), [1000, 60_000, 60_000]);
/// ```
#[doc(inline)]
pub use slipring_core::protocol::settings::Backoff;
/// How a group delivers: leases, attempts, limits.
///
/// ```
/// use slipring::{GroupSettings, RingOptions};
/// use std::time::Duration;
///
/// let sms = GroupSettings::new()
///     .ack_wait(Duration::from_secs(30)) // a lease
///     .max_deliver(5) // then the message is a dead letter
///     .max_ack_pending(64); // delivered and not settled, in all workers together
/// let ring = RingOptions::new(48, 1024).group("sms", sms).create_in_memory()?;
/// assert_eq!(ring.group("sms").map(|group| group.settings), Some(sms));
/// # Ok::<(), slipring::Error>(())
/// ```
#[doc(inline)]
pub use slipring_core::protocol::settings::GroupSettings;
#[doc(inline)]
pub use slipring_core::protocol::settings::{Reason, SettingsError, Steps};
/// Where a reader begins.
///
/// ```
/// use slipring::{Consumer, Producer, RingOptions, Start};
///
/// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
/// Producer::<u64>::open(&ring)?.send_batch(&[1, 2, 3])?;
/// let starts = [Start::Earliest, Start::At(1), Start::Last(2), Start::Last(100), Start::Latest];
/// for (start, position) in starts.into_iter().zip([0, 1, 1, 0, 3]) {
///     assert_eq!(Consumer::<u64>::attach(&ring, start)?.position(), position);
/// }
/// # Ok::<(), slipring::Error>(())
/// ```
#[doc(inline)]
pub use slipring_core::protocol::table::Start;
#[doc(inline)]
pub use slipring_core::protocol::table::StartError;

#[doc(hidden)]
pub use zerocopy;
