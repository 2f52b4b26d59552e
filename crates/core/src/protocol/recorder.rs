//! The flight recorder: the last few hundred life-cycle events of a ring, readable when every party
//! is dead.
//!
//! Written under the table right and never on the hot path. A writer that is killed half-way leaves
//! a record with number 0; readers skip the record, and the next writer overwrites it.

use crate::format::{Geometry, NAME_MAX, event, readers_page::NEXT_EVENT};
use crate::memory::{Liveness, Memory, Right, Word};
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Kinds of events.
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
    /// A producer or a consumer left.
    Detached = 7,
    /// The producer found a consumer dead and freed its entry, or a worker, and removed its pin.
    Died = 8,
    /// The ring became full. The event has the name of the party that gates it.
    Full = 9,
    /// The producer evicted an evictable consumer.
    Evicted = 10,
    /// A durable consumer was removed, by a call or after its inactivity.
    Removed = 11,
    /// The producer died without closing the stream. Its successor writes this.
    ProducerDied = 12,
    /// A party found an impossible value in shared memory.
    DamageFound = 13,
    /// A group was created by its first worker.
    GroupCreated = 14,
    /// A group was removed.
    GroupRemoved = 15,
    /// A worker joined the named group.
    WorkerJoined = 16,
    /// A worker of the named group left.
    WorkerLeft = 17,
    /// A worker of the named group was found dead, and its leases were returned.
    WorkerDied = 18,
    /// A worker copied a message to the dead-letter ring.
    DeadLettered = 19,
    /// A worker gave up a message that the full dead-letter ring could not take.
    DeadLetterDropped = 20,
    /// The dead-letter ring is full: a message waits to be copied there.
    DeadLettersFull = 21,
    /// A worker cannot open or write the dead-letter ring: a message waits to be moved there. The
    /// name is the reason.
    DeadLettersUnavailable = 22,
    /// The settings of the named group were changed.
    GroupChanged = 23,
    /// A worker rejected a message that did not reach the dead-letter ring at once. The name is its
    /// note, which the letter gets from here.
    RejectedWaits = 24,
    /// A kind that this version does not know.
    Unknown = 0,
}

impl EventKind {
    fn from_word(word: u64) -> EventKind {
        use EventKind::*;
        const ALL: [EventKind; 24] = [
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
            ProducerDied,
            DamageFound,
            GroupCreated,
            GroupRemoved,
            WorkerJoined,
            WorkerLeft,
            WorkerDied,
            DeadLettered,
            DeadLetterDropped,
            DeadLettersFull,
            DeadLettersUnavailable,
            GroupChanged,
            RejectedWaits,
        ];
        ALL.into_iter().find(|kind| *kind as u64 == word).unwrap_or(Unknown)
    }
}

/// One event of the flight recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Number of the event. Events are numbered from 0 over the ring's whole life.
    pub number: u64,
    /// The kind.
    pub kind: EventKind,
    /// The position at which it happened: the head, or the tail of the consumer concerned.
    pub position: u64,
    /// Number of the process concerned. The kernel reuses such numbers, so this is for display
    /// only.
    pub pid: u64,
    /// Time of the latest repeat, in milliseconds since 1970 by the system clock.
    pub unix_ms: u64,
    /// Times that the same event with the same name happened again directly afterwards.
    pub repeats: u64,
    /// Name of the consumer or group concerned, or a reason or a note; empty for the producer.
    pub name: String,
    /// Number of the group concerned, of a note.
    pub(super) group: Option<u64>,
}

/// An event to be recorded.
#[derive(Clone, Copy, Debug)]
pub struct NewEvent<'a> {
    /// The kind.
    pub kind: EventKind,
    /// The position at which it happened.
    pub position: u64,
    /// Number of the process concerned.
    pub pid: u64,
    /// Time, in milliseconds since 1970.
    pub unix_ms: u64,
    /// Name of the consumer or group concerned; the recorder cuts it to 64 bytes.
    pub name: &'a str,
}

/// Writes an event. The caller holds the table right.
///
/// Example, 256 records, `NEXT_EVENT` is 300. The writer uses record 44 (300 modulo 256), which has
/// number 45, of event 44:
///
/// 1. It stores number 0: a reader of event 44 skips the record.
/// 2. It fills the record, and stores number 301, then `NEXT_EVENT` 301.
/// 3. Killed in between, it leaves number 0, or 301 with `NEXT_EVENT` 300: the next writer uses
///    record 44 again, and readers see event 300 only if it is whole.
pub fn record<M: Memory>(memory: &M, geometry: &Geometry, event: NewEvent<'_>) {
    record_of(memory, geometry, event, 0);
}

/// Writes the note of a message that a group's worker rejected. The caller holds the table right.
pub fn record_note<M: Memory>(memory: &M, geometry: &Geometry, group: u32, note: NewEvent<'_>) {
    record_of(memory, geometry, note, u64::from(group) + 1);
}

/// The note that [`record_note`] wrote, unless so many events came since that it was overwritten.
pub fn note<M: Memory>(memory: &M, geometry: &Geometry, group: u32, position: u64) -> Option<String> {
    let is_its = |event: &Event| {
        let of = (event.kind, event.position, event.group);
        of == (EventKind::RejectedWaits, position, Some(group.into()))
    };
    events(memory, geometry).into_iter().rev().find(is_its).map(|event| event.name)
}

/// `group` is 0 where none is concerned, else its number + 1.
fn record_of<M: Memory>(memory: &M, geometry: &Geometry, event: NewEvent<'_>, group: u64) {
    // Another process wrote the number. An impossible one starts over at 0.
    let next = Some(memory.load(NEXT_EVENT, Relaxed)).filter(|&next| next < u64::MAX - 2).unwrap_or(0);
    let entries = geometry.recorder_entries();
    if let Some(last) = next.checked_sub(1) {
        let word = |at| geometry.event_word(last % entries, at);
        let same = group == 0
            && memory.load(word(event::NUMBER), Relaxed) == next
            && memory.load(word(event::KIND), Relaxed) == event.kind as u64
            && load_name(memory, |at| word(event::NAME + at)) == event.name;
        if same {
            memory.store(word(event::UNIX_MS), event.unix_ms, Relaxed);
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
    memory.store(word(event::KIND), event.kind as u64, Relaxed);
    memory.store(word(event::POSITION), event.position, Relaxed);
    memory.store(word(event::PID), event.pid, Relaxed);
    memory.store(word(event::UNIX_MS), event.unix_ms, Relaxed);
    memory.store(word(event::REPEATS), 0, Relaxed);
    store_name(memory, |at| word(event::NAME + at), event.name);
    memory.store(word(event::GROUP), group, Relaxed);
    memory.store(word(event::NUMBER), next + 1, Release); // LOGGED
    memory.store(NEXT_EVENT, next + 1, Relaxed);
}

/// Writes an event if the table right is free at this moment; else drops the event, since the
/// recorder must never delay the ring.
pub fn try_record<M: Memory, L: Liveness>(memory: &M, geometry: &Geometry, rights: &L, event: NewEvent<'_>) {
    if rights.seize(Right::Table) {
        record(memory, geometry, event);
        rights.release(Right::Table);
    }
}

/// The event of this number, unless it was overwritten, is being written, or never happened.
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
        group: memory.load(word(event::GROUP), Relaxed).checked_sub(1),
    };
    memory.fence(Acquire); // LOG
    (memory.load(word(event::NUMBER), Relaxed) == number + 1).then_some(event)
}

/// Every event that is still there, oldest first.
pub fn events<M: Memory>(memory: &M, geometry: &Geometry) -> Vec<Event> {
    // Another party may hold the table right and be writing: one event beyond the count may be
    // whole.
    let next = memory.load(NEXT_EVENT, Relaxed).min(u64::MAX - 2);
    (next.saturating_sub(geometry.recorder_entries())..=next)
        .filter_map(|number| event(memory, geometry, number))
        .collect()
}

/// Every word of the given records, for a backend that needs its words beforehand.
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

/// Loads a name. Another process wrote it: invalid UTF-8 is replaced.
pub fn load_name<M: Memory>(memory: &M, word: impl Fn(u64) -> Word) -> String {
    let bytes: Vec<u8> = (0..NAME_MAX as u64)
        .step_by(8)
        .flat_map(|at| memory.load(word(at), Relaxed).to_le_bytes())
        .take_while(|&byte| byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
