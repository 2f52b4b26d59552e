//! The flight recorder: the last few hundred life-cycle events of a ring, readable when everybody is dead.
//!
//! Written under the table right and never on the hot path. A writer killed half-way leaves a record whose
//! number is 0, which readers skip and the next writer writes over.

use crate::format::{Geometry, NAME_MAX, event, readers_page::NEXT_EVENT};
use crate::memory::{Liveness, Memory, Right, Word};
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u64)]
pub enum EventKind {
    /// The ring was created.
    Created = 1,
    /// A producer opened the ring.
    ProducerOpened = 2,
    /// A producer opened the ring after one that had died without closing it.
    ProducerTookOver = 3,
    /// The producer closed the stream.
    Closed = 4,
    /// A consumer attached.
    Attached = 5,
    /// A durable consumer came back to its position.
    Resumed = 6,
    /// A consumer left.
    Detached = 7,
    /// A consumer was found dead and its entry freed.
    Died = 8,
    /// The ring became full; the name is that of who held it.
    Full = 9,
    /// A consumer that had agreed to it was evicted.
    Evicted = 10,
    /// A durable consumer was removed, by hand or for its inactivity.
    Removed = 11,
    /// A producer or a consumer went away without closing or leaving.
    Abandoned = 12,
    /// Something in shared memory was found to be impossible.
    DamageFound = 13,
    /// A group was created by its first worker.
    GroupCreated = 14,
    /// A group was removed.
    GroupRemoved = 15,
    /// A worker joined the group that is named.
    WorkerJoined = 16,
    /// A worker of the group that is named left.
    WorkerLeft = 17,
    /// A worker of the group that is named was found dead, and its leases were returned.
    WorkerDied = 18,
    /// A message was copied to the dead-letter ring.
    DeadLettered = 19,
    /// A message was given up that the dead-letter ring could not take.
    DeadLetterDropped = 20,
    /// The dead-letter ring is full, or cannot be written: a message waits for its burial.
    DeadLettersFull = 21,
    /// A kind that this version does not know.
    Unknown = 0,
}

impl EventKind {
    fn from_word(word: u64) -> EventKind {
        use EventKind::*;
        const ALL: [EventKind; 21] = [
            Created,
            ProducerOpened,
            ProducerTookOver,
            Closed,
            Attached,
            Resumed,
            Detached,
            Died,
            Full,
            Evicted,
            Removed,
            Abandoned,
            DamageFound,
            GroupCreated,
            GroupRemoved,
            WorkerJoined,
            WorkerLeft,
            WorkerDied,
            DeadLettered,
            DeadLetterDropped,
            DeadLettersFull,
        ];
        ALL.into_iter().find(|kind| *kind as u64 == word).unwrap_or(Unknown)
    }
}

/// One event of the flight recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Events are numbered from 0 over the ring's whole life.
    pub number: u64,
    /// What happened.
    pub kind: EventKind,
    /// The position it happened at: the head, or the tail of the reader concerned.
    pub position: u64,
    /// The process concerned; numbers are reused, so this is for people.
    pub pid: u64,
    /// When it last happened, in milliseconds since 1970 by the system clock.
    pub unix_ms: u64,
    /// How often it happened again, directly after one another, to the same name.
    pub repeats: u64,
    /// The reader concerned; empty for the producer.
    pub name: String,
}

/// What to write into the recorder.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What happened.
    pub kind: EventKind,
    /// Where.
    pub position: u64,
    /// To whom.
    pub pid: u64,
    /// When.
    pub unix_ms: u64,
    /// The reader's name, cut to what fits.
    pub name: &'a str,
}

/// Writes an event. The caller holds the table right.
pub fn record<M: Memory>(memory: &M, geometry: &Geometry, entry: Entry<'_>) {
    // Another process wrote it. Numbers that cannot be reached start over.
    let next = Some(memory.load(NEXT_EVENT, Relaxed)).filter(|&next| next < u64::MAX - 2).unwrap_or(0);
    let entries = geometry.recorder_entries();
    if let Some(last) = next.checked_sub(1) {
        let word = |at| geometry.event_word(last % entries, at);
        let same = memory.load(word(event::NUMBER), Relaxed) == next
            && memory.load(word(event::KIND), Relaxed) == entry.kind as u64
            && load_name(memory, |at| word(event::NAME + at)) == entry.name;
        if same {
            memory.store(word(event::UNIX_MS), entry.unix_ms, Relaxed);
            memory.store(
                word(event::REPEATS),
                memory.load(word(event::REPEATS), Relaxed).saturating_add(1),
                Relaxed,
            );
            return;
        }
    }
    let word = |at| geometry.event_word(next % entries, at);
    memory.store(word(event::NUMBER), 0, Relaxed);
    memory.fence(Release); // LOG
    memory.store(word(event::KIND), entry.kind as u64, Relaxed);
    memory.store(word(event::POSITION), entry.position, Relaxed);
    memory.store(word(event::PID), entry.pid, Relaxed);
    memory.store(word(event::UNIX_MS), entry.unix_ms, Relaxed);
    memory.store(word(event::REPEATS), 0, Relaxed);
    store_name(memory, |at| word(event::NAME + at), entry.name);
    memory.store(word(event::NUMBER), next + 1, Release); // LOGGED
    memory.store(NEXT_EVENT, next + 1, Relaxed);
}

/// Writes an event if the table right is to be had at once: a recorder must never hold up the flight.
pub fn try_record<M: Memory, L: Liveness>(memory: &M, geometry: &Geometry, rights: &L, entry: Entry<'_>) {
    if rights.seize(Right::Table) {
        record(memory, geometry, entry);
        rights.release(Right::Table);
    }
}

/// The event of this number, unless it was written over, is being written, or never was.
pub fn event<M: Memory>(memory: &M, geometry: &Geometry, number: u64) -> Option<Event> {
    let word = |at| geometry.event_word(number % geometry.recorder_entries(), at);
    if memory.load(word(event::NUMBER), Relaxed) != number + 1 {
        return None;
    }
    memory.fence(Acquire); // LOGGED
    let event = Event {
        number,
        kind: EventKind::from_word(memory.load(word(event::KIND), Relaxed)),
        position: memory.load(word(event::POSITION), Relaxed),
        pid: memory.load(word(event::PID), Relaxed),
        unix_ms: memory.load(word(event::UNIX_MS), Relaxed),
        repeats: memory.load(word(event::REPEATS), Relaxed),
        name: load_name(memory, |at| word(event::NAME + at)),
    };
    memory.fence(Acquire); // LOG
    (memory.load(word(event::NUMBER), Relaxed) == number + 1).then_some(event)
}

/// Every event that is still there, oldest first.
pub fn events<M: Memory>(memory: &M, geometry: &Geometry) -> Vec<Event> {
    // The table right may be held by somebody else, or nobody: one event more than counted may be whole.
    let next = memory.load(NEXT_EVENT, Relaxed).min(u64::MAX - 2);
    (next.saturating_sub(geometry.recorder_entries())..=next)
        .filter_map(|number| event(memory, geometry, number))
        .collect()
}

/// Every word of some records, for a backend that wants to know its words beforehand.
pub fn words_of(geometry: &Geometry, records: &[u64]) -> Vec<Word> {
    let words = |&index: &u64| (0..event::LEN).step_by(8).map(move |at| geometry.event_word(index, at));
    records.iter().flat_map(words).collect()
}

/// Stores a name of at most [`NAME_MAX`] bytes, cut at a character boundary, zero-padded.
pub fn store_name<M: Memory>(memory: &M, word: impl Fn(u64) -> Word, name: &str) {
    let mut bytes = [0_u8; NAME_MAX];
    let cut = (0..=name.len().min(NAME_MAX)).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
    bytes[..cut].copy_from_slice(&name.as_bytes()[..cut]);
    for (chunk, at) in bytes.chunks_exact(8).zip((0..).step_by(8)) {
        let value = chunk.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
        memory.store(word(at), value, Relaxed);
    }
}

/// Loads a name. Whatever is there becomes text: another process wrote it.
pub fn load_name<M: Memory>(memory: &M, word: impl Fn(u64) -> Word) -> String {
    let bytes: Vec<u8> = (0..NAME_MAX as u64)
        .step_by(8)
        .flat_map(|at| memory.load(word(at), Relaxed).to_le_bytes())
        .take_while(|&byte| byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
