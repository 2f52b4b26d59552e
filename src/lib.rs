//! A message queue that is a file.
//!
//! One producer process appends fixed-size blocks to a lock-free ring in a memory-mapped file; any
//! number of other processes attach by path and read them in place: no broker, no daemon, no copy
//! and no system call on the hot path. The memory orderings are verified by a model checker, over
//! the code that ships.
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
//! | role | how it reads | what it does to the producer |
//! |---|---|---|
//! | [`Consumer`] | every message, in order, in place | gates it: nothing is overwritten that it has not released |
//! | durable [`Consumer`] | the same, and resumes by name | gates it also while away |
//! | [`EvictableConsumer`] | every message, by copy, until it holds the ring full | loses its place instead of holding it up |
//! | [`Observer`] | by copy, from a file it may not write | nothing; it may miss messages and is told how many |
//! | [`Worker`] | its share of a group's messages, in place, under a lease | the group gates it with what is not settled |
//!
//! Each role carries bytes, `Consumer<[u8]>`, the default, or values of one type, by the same calls:
//!
//! ```
//! use slipring::{Consumer, Producer, RingOptions, Start};
//!
//! slipring::message! {
//!     /// What an instrument is traded at.
//!     struct Quote { instrument: u64, px: f64 }
//! }
//! let ring = RingOptions::of::<Quote>(1024).create_in_memory()?; // a ring among threads
//! let mut producer = Producer::<Quote>::open(&ring)?;
//! let mut consumer = Consumer::<Quote>::attach(&ring, Start::Earliest)?;
//!
//! producer.publish_with(|quote| quote.px = 0.5)?; // filled where it lies
//! producer.publish_slices_with(32, |quotes| quotes.iter_mut().for_each(|quote| quote.px = 1.0))?;
//! assert_eq!(consumer.recv()?.px, 0.5);
//! let sum: f64 = consumer.recv_batch(32)?.slices().flatten().map(|quote| quote.px).sum();
//! assert_eq!(sum, 32.0);
//! # Ok::<(), slipring::Error>(())
//! ```
//!
//! # What holds
//!
//! * Published messages survive the death of any process, at any instruction. A power cut they do
//!   not: nothing is flushed.
//! * A producer that dies is replaced by whoever opens the ring next, readers notice nothing; a
//!   consumer that dies stops gating as soon as the producer needs its room.
//! * Everybody who may write the file is trusted to run this protocol. Values that others may have
//!   damaged are bounded wherever they are read.
//! * A file that is cut short under running processes ends them with `SIGBUS`, as any mapped file
//!   does, unless they [ask for an error](handle_sigbus).
//! * Handles do not survive `fork`: the mapping is not in the child, nor are the locks. `exec` is
//!   fine.

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
mod region;
mod ring;
mod system;
mod wait;
mod worker;

pub use consumer::selector::Selector;
pub use consumer::{Batch, BatchIter, Consumer, ConsumerOptions, Item, Received, Slices};
pub use copying::CopiedMessage;
pub use copying::evictable::EvictableConsumer;
pub use copying::observer::{Observer, ObserverOptions};
pub use dead_letters::{DeadLetter, DeadLetters};
pub use error::{
    AtPath, AttachError, CreateError, EntryError, Error, Holder, HolderRole, JoinError, NameError, OpenError,
    RecvError, RedriveError, SendError,
};
pub use id::{MessageId, ParseMessageIdError, ParseRingIdError, RingId};
pub use message::{Checked, Code, InvalidCode, Message, Outgoing, Schema, Value};
pub use producer::claim::{BatchClaim, Claim, Filled};
pub use producer::{Producer, ProducerOptions};
pub use region::pages::Pages;

pub use ring::check::Violation;
pub use ring::companion::DeadLetterPolicy;
pub use ring::groups::{GroupInfo, PendingMessage, PendingState, WorkerInfo};
pub use ring::place::{At, Place};
pub use ring::{ConsumerInfo, ProducerInfo, Ring, RingOptions};
pub use slipring_core::format::{FORMAT_VERSION, GeometryError, NAME_MAX};
pub use slipring_core::protocol::Damage;
pub use slipring_core::protocol::group::Kinds;
pub use slipring_core::protocol::lease::LeaseLost;
pub use slipring_core::protocol::recorder::{Event, EventKind};
pub use slipring_core::protocol::settings::{Backoff, GroupSettings, Reason, SettingsError, Steps};
pub use slipring_core::protocol::table::{Start, StartError};
pub use system::sigbus::handle_sigbus;
pub use wait::Wait;
pub use worker::delivery::{Delivery, Rejected};
pub use worker::{Worker, WorkerOptions};
#[doc(hidden)]
pub use zerocopy;
