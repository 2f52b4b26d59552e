//! The life of a consumer's entry: entering the table, coming back, leaving, and what is done about consumers that
//! died or stay away.
//!
//! | state | flags | tail | right |
//! |---|---|---|---|
//! | free | `FREE` | none | free |
//! | entering | ephemeral or evictable | none, the lowest, or chosen | the consumer's |
//! | a consumer | its kind | its position; none if it was evicted | the consumer's |
//! | a durable consumer that is away, or died | durable | its position | free |
//! | another that died | ephemeral or evictable | its position; none if it was evicted | free |
//!
//! A durable consumer is ephemeral until its joining is done: if its process dies before, the entry is cleared away
//! like any other, and no durable consumer is left with a tail that was never agreed upon. Example: "audit" attaches
//! durably at `Latest`, the head being 700. Its tail is first 0, the lowest. Killed here, it leaves an ephemeral entry
//! at 0, which the producer reaps once it is full. Had the entry said "durable", the ring would be full for ever.

pub use super::table::{Eviction, Start, StartError};

use super::park::Side;
use super::read::CopyingReader;
use super::{Damage, recorder, table, tenure};
use crate::format::producer_page::HEAD;
use crate::format::{EntryFlags, Geometry, POSITION_MAX, Tail, entry};
use crate::memory::{Futex, Liveness, Memory, Right};
use alloc::string::String;
use core::sync::atomic::Ordering::Relaxed;

/// What becomes of a consumer's tail without the consumer.
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
    /// Its name; empty if anonymous.
    pub name: &'a str,
    /// Its process.
    pub pid: u64,
    /// The system clock, in milliseconds since 1970.
    pub unix_ms: u64,
}

/// A consumer that has an entry, and holds the right to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered {
    /// Its entry.
    pub entry: u32,
    /// The position that it reads first.
    pub tail: u64,
    /// It is a durable consumer that came back.
    pub resumed: bool,
}

/// Why a consumer gets no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnterError<E> {
    /// The consumer of this name lives, in this process. A party that only clears up holds an entry for a moment:
    /// try again.
    NameInUse {
        /// Its process.
        pid: u64,
    },
    /// The name is a durable consumer's, and this one is not to be durable.
    NameIsDurable,
    /// Every entry is held, or kept for a durable consumer.
    TableFull,
    /// The consumer cannot begin where it shall.
    Start(StartError),
    /// The kernel cannot tell whether an entry is held.
    Unknown(E),
}

/// An entry that the consumer holds now.
enum Vacancy {
    /// Free, or a dead consumer's.
    Free(u32),
    /// That of a durable consumer, which comes back.
    Own(u32),
}

/// Takes an entry for a consumer: the one of its name, a free one, or a dead consumer's. From the tail on, nothing
/// is overwritten that the consumer has not released. The caller holds the table right.
pub fn enter<M: Memory + Futex, L: Liveness>(
    memory: &M,
    geometry: &Geometry,
    rights: &L,
    kind: ConsumerKind,
    start: Start,
    who: &Identity<'_>,
) -> Result<Entered, EnterError<L::Error>> {
    let (entry, resumed, tail) = match seize_entry(memory, geometry, rights, kind, who.name)? {
        Vacancy::Own(entry) => (entry, true, resume(memory, geometry, entry, who)),
        Vacancy::Free(entry) => (entry, false, settle(memory, geometry, entry, kind, start, who)),
    };
    match tail {
        Ok(tail) => Ok(Entered { entry, tail, resumed }),
        Err(error) => {
            rights.release(Right::Consumer(entry));
            Err(EnterError::Start(error))
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
    // Free entries first; then those whose consumers died.
    for dead in [false, true] {
        for entry in geometry.consumer_entries() {
            let flags = flags(memory, geometry, entry);
            if flags.is_taken() == dead && !flags.is_kept() && seize(entry)? {
                return Ok(Vacancy::Free(entry));
            }
        }
    }
    Err(EnterError::TableFull)
}

/// Without a tail there is nothing to resume, whatever the flags say.
fn can_be_resumed<M: Memory>(memory: &M, geometry: &Geometry, entry: u32) -> bool {
    let tail = Tail(memory.load(geometry.tail(entry), Relaxed));
    flags(memory, geometry, entry).is_kept() && tail.position().is_some()
}

/// Fills a seized entry and joins.
fn settle<M: Memory + Futex>(
    memory: &M,
    geometry: &Geometry,
    entry: u32,
    kind: ConsumerKind,
    start: Start,
    who: &Identity<'_>,
) -> Result<u64, StartError> {
    free(memory, geometry, entry);
    tenure::succeed(memory, geometry.consumer_entry(entry));
    describe(memory, geometry, entry, who);
    memory.store(geometry.flags(entry), kind.flags_while_entering().0, Relaxed);
    let joined = table::join(memory, geometry, entry, start, kind.eviction());
    let flags = if joined.is_ok() { kind.flags() } else { EntryFlags::FREE };
    memory.store(geometry.flags(entry), flags.0, Relaxed);
    // The producer may have gone to sleep over the first, lowest tail.
    wake_producer(memory);
    joined
}

/// The tail of a durable consumer that comes back: it never stopped gating.
fn resume<M: Memory>(
    memory: &M,
    geometry: &Geometry,
    entry: u32,
    who: &Identity<'_>,
) -> Result<u64, StartError> {
    let tail = table::resume(memory, geometry, entry)?;
    memory.store(geometry.entry_word(entry, entry::PID), who.pid, Relaxed);
    memory.store(geometry.entry_word(entry, entry::DETACHED_MS), 0, Relaxed);
    Ok(tail)
}

/// Writes what an entry tells people of its consumer, and whose name it is.
fn describe<M: Memory>(memory: &M, geometry: &Geometry, entry: u32, who: &Identity<'_>) {
    let word = |at| geometry.entry_word(entry, at);
    recorder::store_name(memory, |at| word(entry::NAME + at), who.name);
    memory.store(word(entry::PID), who.pid, Relaxed);
    memory.store(word(entry::JOINED_MS), who.unix_ms, Relaxed);
    memory.store(word(entry::DETACHED_MS), 0, Relaxed);
    memory.store(word(entry::MISSED), 0, Relaxed);
}

/// Declares a durable consumer in a ring that no other party can see yet: it gates from the ring's first position
/// on, and is away.
pub fn declare<M: Memory>(memory: &M, geometry: &Geometry, entry: u32, who: &Identity<'_>) {
    describe(memory, geometry, entry, &Identity { pid: 0, ..*who });
    memory.store(geometry.entry_word(entry, entry::DETACHED_MS), who.unix_ms, Relaxed);
    let gating = geometry.consumer_entry(entry);
    tenure::succeed(memory, gating);
    tenure::count_entry(memory, gating.used(), entry);
    memory.store(gating.tail(), Tail::at(geometry.first_position(), false).0, Relaxed);
    memory.store(geometry.flags(entry), ConsumerKind::Durable.flags().0, Relaxed);
}

/// An evicted consumer joins again in its own entry, and returns how many messages it missed: none, if it came back
/// before the producer used the room.
///
/// It goes on at its position if that is still there, and at the earliest otherwise: a reader never goes back.
pub fn rejoin<M: Memory>(reader: &mut CopyingReader<M>) -> Result<u64, Damage> {
    let (geometry, entry, old) = (*reader.geometry(), reader.entry(), reader.tail());
    let memory = reader.memory();
    let join = |start| table::join(memory, &geometry, entry, start, Eviction::Agreed);
    let joined = match join(Start::At(old)) {
        Err(StartError::Gone { .. }) => join(Start::Earliest),
        joined => joined,
    };
    let tail = joined.map_err(|error| match error {
        StartError::Damaged(damage) => damage,
        // The head lies below the position that this consumer has read up to.
        _ => Damage::new("head", memory.load(HEAD, Relaxed), old, POSITION_MAX),
    })?;
    let missed = tail.saturating_sub(old);
    let word = geometry.entry_word(entry, entry::MISSED);
    memory.store(word, memory.load(word, Relaxed).saturating_add(missed), Relaxed);
    reader.rejoined(tail);
    Ok(missed)
}

/// A consumer goes. Its entry is free, or, if it is durable, waits for it. Returns the position that it leaves at.
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

/// Stops gating and frees the entry. The caller holds the right to it.
pub fn free<M: Memory>(memory: &M, geometry: &Geometry, entry: u32) {
    // First of all ephemeral: killed between the steps, it is cleared away like any other.
    memory.store(geometry.flags(entry), ConsumerKind::Ephemeral.flags().0, Relaxed);
    tenure::vacate(memory, geometry.consumer_entry(entry));
    memory.store(geometry.flags(entry), EntryFlags::FREE.0, Relaxed);
}

/// Frees the entry of a consumer that died. False if the consumer lives, or is durable: then its tail waits for it.
///
/// Holding the right while writing keeps a new consumer from taking the entry in between.
pub fn reap<M: Memory, L: Liveness>(memory: &M, geometry: &Geometry, rights: &L, entry: u32) -> bool {
    let right = Right::Consumer(entry);
    if !rights.seize(right) {
        return false;
    }
    let reaped = !flags(memory, geometry, entry).is_kept();
    if reaped {
        free(memory, geometry, entry);
    }
    rights.release(right);
    reaped
}

/// Removes a durable consumer that has been away for longer than `threshold_ms`; 0 is for ever. False if it stays.
///
/// A consumer that was killed could not say when it went: its absence counts from the first look at it.
pub fn expire<M: Memory, L: Liveness>(
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
    /// The position at which it gated.
    pub position: u64,
    /// The process that had its entry last.
    pub pid: u64,
}

/// Why a member cannot be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoveError {
    /// There is none of this name.
    NotFound,
    /// A process is attached to it. A party that only clears up holds an entry for a moment: try again.
    InUse {
        /// The process.
        pid: u64,
    },
}

/// Removes the consumer of this name, which is not attached: what it gated is free. The caller holds the table
/// right.
pub fn remove<M: Memory + Futex, L: Liveness>(
    memory: &M,
    geometry: &Geometry,
    rights: &L,
    name: &str,
) -> Result<Removed, RemoveError> {
    let entry = named(memory, geometry, name).ok_or(RemoveError::NotFound)?;
    let pid = pid(memory, geometry, entry);
    if !rights.seize(Right::Consumer(entry)) {
        return Err(RemoveError::InUse { pid });
    }
    let position = position(memory, geometry, entry);
    free(memory, geometry, entry);
    rights.release(Right::Consumer(entry));
    wake_producer(memory);
    Ok(Removed { position, pid })
}

/// The entry of the consumer of this name. An anonymous consumer has none that can be found.
fn named<M: Memory>(memory: &M, geometry: &Geometry, name: &str) -> Option<u32> {
    let is_named = |&entry: &u32| {
        flags(memory, geometry, entry).is_taken() && self::name(memory, geometry, entry) == name
    };
    geometry.consumer_entries().find(is_named).filter(|_| !name.is_empty())
}

/// What an entry's flags say.
pub fn flags<M: Memory>(memory: &M, geometry: &Geometry, entry: u32) -> EntryFlags {
    EntryFlags(memory.load(geometry.flags(entry), Relaxed))
}

/// The name of the consumer that has, or last had this entry.
pub fn name<M: Memory>(memory: &M, geometry: &Geometry, entry: u32) -> String {
    recorder::load_name(memory, |at| geometry.entry_word(entry, entry::NAME + at))
}

/// The process of the consumer that has, or last had this entry.
pub fn pid<M: Memory>(memory: &M, geometry: &Geometry, entry: u32) -> u64 {
    memory.load(geometry.entry_word(entry, entry::PID), Relaxed)
}

/// Where an entry gates; the head, if it does not.
fn position<M: Memory>(memory: &M, geometry: &Geometry, entry: u32) -> u64 {
    let tail = Tail(memory.load(geometry.tail(entry), Relaxed));
    tail.position().unwrap_or_else(|| memory.load(HEAD, Relaxed))
}

fn wake_producer<M: Memory + Futex>(memory: &M) {
    Side::Producer.wake_if_asleep(memory);
}
