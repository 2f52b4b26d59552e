//! The life of a consumer's entry: entering the table, coming back, leaving, and clearing up after
//! consumers that died or stay away.
//!
//! | state | flags | tail | right |
//! |---|---|---|---|
//! | free | `FREE` | none | free |
//! | entering | ephemeral or evictable | none, the lowest, or chosen | the consumer's |
//! | a consumer | its kind | its position; none if it was evicted | the consumer's |
//! | a durable consumer that is away, or died | durable | its position | free |
//! | another consumer that died | ephemeral or evictable | its position; none if it was evicted | free |
//!
//! A durable consumer is ephemeral until it has joined. If its process dies before, the entry is
//! cleared like any other, and no durable consumer is left with a tail that it never chose.
//!
//! Example: "audit" attaches durably at `Latest`, the head being 700.
//!
//! 1. Its tail is first 0, the lowest, and the flags say "ephemeral".
//! 2. Killed here, it leaves an ephemeral entry at 0, which the producer reaps once it is full. If
//!    the flags said "durable", the ring would stay full for ever.
//! 3. Its tail becomes 700; only then the flags become "durable".

pub use super::entry::{flags, free, name, pid, reap};
pub use super::table::{Eviction, Start, StartError};

use super::after::{self, AfterError};
use super::entry::named;
use super::follow::{Followed, Party};
use super::park::Side;
use super::read::EvictableConsumer;
use super::{Damage, recorder, table, tenure};
use crate::format::producer_page::HEAD;
use crate::format::{EntryFlags, Geometry, POSITION_MAX, Tail, entry};
use crate::memory::{Futex, Liveness, Memory, Right};
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;

/// Kinds of consumers, by the fate of their tails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerKind {
    /// The tail goes with the consumer.
    Ephemeral,
    /// The tail survives the consumer.
    Durable,
    /// The tail goes with the consumer, and the producer may take it away before.
    Evictable,
}

impl ConsumerKind {
    const fn flags(self) -> EntryFlags {
        EntryFlags::taken(matches!(self, ConsumerKind::Durable), matches!(self, ConsumerKind::Evictable))
    }

    /// Until the consumer has joined.
    const fn flags_while_entering(self) -> EntryFlags {
        EntryFlags::taken(false, matches!(self, ConsumerKind::Evictable))
    }

    const fn eviction(self) -> Eviction {
        match self {
            ConsumerKind::Ephemeral | ConsumerKind::Durable => Eviction::Refused,
            ConsumerKind::Evictable => Eviction::Agreed,
        }
    }
}

/// A party as its entry shows it.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The party's name; empty if it is anonymous.
    pub name: &'a str,
    /// The party's process number.
    pub pid: u64,
    /// The system clock, in milliseconds since 1970.
    pub unix_ms: u64,
    /// Names of the parties that it follows; for a durable consumer that comes back, those that it
    /// followed before, or none. Workers have none: their group has.
    pub after: &'a [String],
}

/// A consumer that has an entry, and holds the right to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entered {
    /// Number of the consumer's entry.
    pub entry: u32,
    /// The position that the consumer reads first.
    pub tail: u64,
    /// True if the consumer is durable and came back.
    pub resumed: bool,
    /// The parties that it follows.
    pub after: Vec<Followed>,
}

/// Reasons for which a consumer gets no entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnterError<E> {
    /// The consumer of this name lives. A party that only clears up holds an entry for a moment:
    /// try again.
    NameInUse {
        /// Process number of that consumer.
        pid: u64,
    },
    /// The name belongs to a durable consumer, and this consumer is not durable.
    NameIsDurable,
    /// Every entry is held, or kept for a durable consumer.
    TableFull,
    /// The consumer cannot begin at the requested start.
    Start(StartError),
    /// The consumer cannot follow those that it named.
    After(AfterError),
    /// The kernel cannot tell whether a process holds an entry.
    Unknown(E),
}

/// An entry, held by the consumer from now on.
enum Vacancy {
    /// A free entry, or a dead consumer's.
    Free(u32),
    /// The entry of a durable consumer, which comes back.
    Own(u32),
}

/// Takes an entry for a consumer: the entry with its name, a free one, or a dead consumer's. From
/// the returned tail on, the producer overwrites nothing that the consumer has not released. The
/// caller holds the table right.
pub fn enter<M: Memory + Futex + Clone, L: Liveness>(
    memory: &M,
    geometry: &Geometry,
    rights: &L,
    kind: ConsumerKind,
    start: Start,
    who: &Identity<'_>,
) -> Result<Entered, EnterError<L::Error>> {
    // Before the consumer has an entry of its own: it cannot follow itself.
    let keeps = kind == ConsumerKind::Durable;
    let after = after::find(memory, geometry, rights, who.after, keeps).map_err(EnterError::After)?;
    let entered = match seize_entry(memory, geometry, rights, kind, who.name)? {
        Vacancy::Own(entry) => (entry, true, resume(memory, geometry, entry, who, after)),
        Vacancy::Free(entry) => {
            let tail = settle(memory, geometry, rights, entry, kind, start, who, &after);
            (entry, false, tail.map(|tail| (tail, after)).map_err(EnterError::Start))
        }
    };
    match entered {
        (entry, resumed, Ok((tail, after))) => Ok(Entered { entry, tail, resumed, after }),
        (entry, _, Err(error)) => {
            rights.release(Right::Consumer(entry));
            Err(error)
        }
    }
}

fn seize_entry<M: Memory, L: Liveness>(
    memory: &M,
    geometry: &Geometry,
    rights: &L,
    kind: ConsumerKind,
    name: &str,
) -> Result<Vacancy, EnterError<L::Error>> {
    let seize = |entry| rights.try_seize(Right::Consumer(entry)).map_err(EnterError::Unknown);
    if let Some(entry) = named(memory, geometry, name) {
        if !seize(entry)? {
            return Err(EnterError::NameInUse { pid: pid(memory, geometry, entry) });
        }
        if !can_be_resumed(memory, geometry, entry) {
            return Ok(Vacancy::Free(entry));
        }
        if kind != ConsumerKind::Durable {
            rights.release(Right::Consumer(entry));
            return Err(EnterError::NameIsDurable);
        }
        return Ok(Vacancy::Own(entry));
    }
    // Free entries first; then entries of dead consumers. An entry whose last owner is followed
    // comes last: it says where that owner left.
    let followed = after::followed_consumers(memory, geometry);
    for (is_followed, dead) in [(false, false), (false, true), (true, false), (true, true)] {
        let entries = geometry.consumer_entries().filter(|entry| followed.contains(entry) == is_followed);
        for entry in entries {
            let flags = flags(memory, geometry, entry);
            if flags.is_taken() == dead && !flags.is_kept() && seize(entry)? {
                return Ok(Vacancy::Free(entry));
            }
        }
    }
    Err(EnterError::TableFull)
}

/// Without a tail there is nothing to resume, even if the flags say "durable".
fn can_be_resumed<M: Memory>(memory: &M, geometry: &Geometry, entry: u32) -> bool {
    let tail = Tail(memory.load(geometry.tail(entry), Relaxed));
    flags(memory, geometry, entry).is_kept() && tail.position().is_some()
}

/// Fills a seized entry and joins.
#[expect(clippy::too_many_arguments, reason = "the parts of one call of `enter`")]
fn settle<M: Memory + Futex>(
    memory: &M,
    geometry: &Geometry,
    rights: &impl Liveness,
    entry: u32,
    kind: ConsumerKind,
    start: Start,
    who: &Identity<'_>,
    after: &[Followed],
) -> Result<u64, StartError> {
    free(memory, geometry, entry);
    tenure::succeed(memory, geometry.consumer_entry(entry));
    describe(memory, geometry, entry, who);
    after::store(memory, geometry.consumer_entry(entry), after);
    memory.store(geometry.flags(entry), kind.flags_while_entering().0, Relaxed);
    let producer_lives = || rights.is_held(Right::Producer);
    let joined = table::join(memory, geometry, entry, start, kind.eviction(), producer_lives);
    let flags = if joined.is_ok() { kind.flags() } else { EntryFlags::FREE };
    memory.store(geometry.flags(entry), flags.0, Relaxed);
    // The producer may have gone to sleep over the first, lowest tail.
    wake_producer(memory);
    joined
}

/// The tail of a durable consumer that comes back, and the parties that it follows: it never
/// stopped gating, and `asked` are the same parties or none.
fn resume<M: Memory + Clone, E>(
    memory: &M,
    geometry: &Geometry,
    entry: u32,
    who: &Identity<'_>,
    asked: Vec<Followed>,
) -> Result<(u64, Vec<Followed>), EnterError<E>> {
    let after = after::resume(memory, geometry, geometry.consumer_entry(entry), &asked);
    let after = after.map_err(EnterError::After)?;
    let tail = table::resume(memory, geometry, entry).map_err(|damage| EnterError::Start(damage.into()))?;
    memory.store(geometry.entry_word(entry, entry::PID), who.pid, Relaxed);
    memory.store(geometry.entry_word(entry, entry::DETACHED_MS), 0, Relaxed);
    Ok((tail, after))
}

/// Writes the consumer's identity into its entry.
fn describe<M: Memory>(memory: &M, geometry: &Geometry, entry: u32, who: &Identity<'_>) {
    let word = |at| geometry.entry_word(entry, at);
    recorder::store_name(memory, |at| word(entry::NAME + at), who.name);
    memory.store(word(entry::PID), who.pid, Relaxed);
    memory.store(word(entry::JOINED_MS), who.unix_ms, Relaxed);
    memory.store(word(entry::DETACHED_MS), 0, Relaxed);
    memory.store(word(entry::MISSED), 0, Relaxed);
}

/// Declares a durable consumer in a new ring that no other party can see yet: the consumer gates
/// from `position` on, up to which the ring has messages, and is away.
pub fn declare<M: Memory>(
    memory: &M,
    geometry: &Geometry,
    entry: u32,
    who: &Identity<'_>,
    position: u64,
) -> Result<(), StartError> {
    let (earliest, head) = (geometry.first_position(), memory.load(HEAD, Relaxed));
    if position < earliest {
        return Err(StartError::BeforeEarliest { requested: position, earliest });
    }
    if position > head {
        return Err(StartError::Ahead { requested: position, head });
    }
    describe(memory, geometry, entry, &Identity { pid: 0, ..*who });
    memory.store(geometry.entry_word(entry, entry::DETACHED_MS), who.unix_ms, Relaxed);
    let gating = geometry.consumer_entry(entry);
    tenure::succeed(memory, gating);
    after::store(memory, gating, &[]);
    tenure::count_entry(memory, gating.used(), entry);
    memory.store(gating.tail(), Tail::at(position, false).0, Relaxed);
    memory.store(geometry.flags(entry), ConsumerKind::Durable.flags().0, Relaxed);
    Ok(())
}

/// Lets an evicted consumer join again in its own entry, and returns the number of messages that it
/// missed: 0 if it came back before the producer used the room.
///
/// The consumer continues at its position if that is still there, and at the earliest otherwise: a
/// reader never goes back.
///
/// Example, capacity 4, the consumer stood at 2 and was evicted for position 6. While `LIMIT` is 6
/// the earliest message is 2: nothing was missed. Once the producer has raised `LIMIT` to 8, the
/// earliest is 4: the consumer missed 2.
pub fn rejoin<M: Memory>(
    reader: &mut EvictableConsumer<M>,
    producer_lives: impl Fn() -> bool,
) -> Result<u64, Damage> {
    let (geometry, entry, old) = (*reader.geometry(), reader.entry(), reader.tail());
    let memory = reader.memory();
    let join = |start| table::join(memory, &geometry, entry, start, Eviction::Agreed, &producer_lives);
    let joined = match join(Start::At(old)) {
        Err(StartError::BeforeEarliest { .. }) => join(Start::Earliest),
        joined => joined,
    };
    let tail = joined.map_err(|error| match error {
        StartError::Damaged(damage) => damage,
        // The head lies below the position up to which this consumer has read.
        _ => Damage::new("head", memory.load(HEAD, Relaxed), old, POSITION_MAX),
    })?;
    let missed = tail.saturating_sub(old);
    let word = geometry.entry_word(entry, entry::MISSED);
    memory.store(word, memory.load(word, Relaxed).saturating_add(missed), Relaxed);
    reader.rejoined(tail);
    Ok(missed)
}

/// Lets a consumer leave. Its entry becomes free; a durable consumer's entry stays. Returns the
/// position at which the consumer leaves.
pub fn leave<M: Memory + Futex, L: Liveness>(
    memory: &M,
    geometry: &Geometry,
    rights: &L,
    entry: u32,
    kind: ConsumerKind,
    unix_ms: u64,
) -> u64 {
    let position = position(memory, geometry, entry);
    memory.store(geometry.entry_word(entry, entry::DETACHED_MS), unix_ms, Relaxed);
    if kind != ConsumerKind::Durable {
        free(memory, geometry, entry);
    }
    rights.release(Right::Consumer(entry));
    wake_producer(memory);
    position
}

/// Removes a durable consumer that has been away for longer than `threshold_ms`; 0 means for ever.
/// False if the consumer stays.
///
/// A consumer that was killed could not record when it went: the time that it is away counts from
/// the first look.
pub fn expire<M: Memory + Futex, L: Liveness>(
    memory: &M,
    geometry: &Geometry,
    rights: &L,
    entry: u32,
    threshold_ms: u64,
    unix_ms: u64,
) -> bool {
    let right = Right::Consumer(entry);
    if threshold_ms == 0 || !rights.seize(right) {
        return false;
    }
    let detached = geometry.entry_word(entry, entry::DETACHED_MS);
    let since = memory.load(detached, Relaxed);
    let is_kept = flags(memory, geometry, entry).is_kept();
    if is_kept && since == 0 {
        memory.store(detached, unix_ms, Relaxed);
    }
    let expired = is_kept && since != 0 && unix_ms.saturating_sub(since) > threshold_ms;
    if expired {
        free(memory, geometry, entry);
    }
    rights.release(right);
    expired
}

/// A member that was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The position at which the member gated.
    pub position: u64,
    /// Process number of the member's last owner.
    pub pid: u64,
}

/// Reasons for which a member cannot be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoveError {
    /// No member has this name.
    NotFound,
    /// A process is attached. A party that only clears up holds an entry for a moment: try again.
    InUse {
        /// Number of that process.
        pid: u64,
    },
    /// A consumer or a group follows the member: it would get no more messages.
    Followed {
        /// Its name; empty if it is anonymous.
        by: String,
    },
}

/// Removes the consumer with this name, which must not be attached: its messages no longer gate.
/// The caller holds the table right.
pub fn remove<M: Memory + Futex + Clone, L: Liveness>(
    memory: &M,
    geometry: &Geometry,
    rights: &L,
    name: &str,
) -> Result<Removed, RemoveError> {
    let found =
        if name.is_empty() { nameless_durable(memory, geometry) } else { named(memory, geometry, name) };
    let entry = found.ok_or(RemoveError::NotFound)?;
    let pid = pid(memory, geometry, entry);
    let followed = Followed::present(memory, geometry, Party::Consumer(entry));
    if let Some(by) = after::follower_of(memory, geometry, rights, followed) {
        return Err(RemoveError::Followed { by });
    }
    if !rights.seize(Right::Consumer(entry)) {
        return Err(RemoveError::InUse { pid });
    }
    let position = position(memory, geometry, entry);
    free(memory, geometry, entry);
    rights.release(Right::Consumer(entry));
    wake_producer(memory);
    Ok(Removed { position, pid })
}

/// The entry of a durable consumer without a name. slipring makes none: a damaged entry looks so,
/// and would hold the ring for ever, since no consumer can resume it. The empty name removes it.
fn nameless_durable<M: Memory>(memory: &M, geometry: &Geometry) -> Option<u32> {
    let is_nameless =
        |&entry: &u32| flags(memory, geometry, entry).is_kept() && name(memory, geometry, entry).is_empty();
    geometry.consumer_entries().find(is_nameless)
}

/// The position at which an entry gates; the head if it does not gate.
fn position<M: Memory>(memory: &M, geometry: &Geometry, entry: u32) -> u64 {
    let tail = Tail(memory.load(geometry.tail(entry), Relaxed));
    tail.position().unwrap_or_else(|| memory.load(HEAD, Relaxed))
}

fn wake_producer<M: Memory + Futex>(memory: &M) {
    Side::Producer.wake_if_asleep(memory);
}
