//! Writes the words of a new ring, before any other party can see it.

use super::after;
use super::entry;
use super::follow::{Followed, Party};
use super::group::table::{self, Birth};
use super::group::{self, Group};
use super::membership::{self, Identity};
use super::publish::Producer;
use super::recorder::{self, EventKind};
use super::settings::GroupSettings;
use super::table::{Start, StartError};
use super::{Damage, tenure};
use crate::format::Geometry;
use crate::format::producer_page::{CLAIMED, EPOCH, HEAD, LIMIT};
use crate::memory::Memory;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;

/// The members that a ring has before any other party can see it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Declared<'a> {
    /// Durable consumers, at most as many as the ring has consumer entries.
    pub durables: &'a [Durable],
    /// Groups, at most as many as the ring has group entries.
    pub groups: &'a [Staff],
}

/// A durable consumer of a new ring.
#[derive(Clone, Debug)]
pub struct Durable {
    /// The consumer's name.
    pub name: String,
    /// The position that it reads first; none: the ring's first.
    pub begins_at: Option<u64>,
    /// The durable consumers that are declared before it, and the groups, that it comes after; at
    /// most four.
    pub after: Vec<String>,
}

/// A group of a new ring.
#[derive(Clone, Debug)]
pub struct Staff {
    /// The group's name.
    pub name: String,
    /// The group's settings.
    pub settings: GroupSettings,
    /// The first position that is not settled; none: the ring's first.
    pub begins_at: Option<u64>,
}

/// Fills the control pages of a ring without messages; all words are zero before.
pub fn furnish<M: Memory + Clone>(
    memory: &M,
    geometry: &Geometry,
    declared: Declared<'_>,
    pid: u64,
    birth: Birth,
) -> Result<(), StartError> {
    lay_out(memory, geometry);
    declare(memory, geometry, declared, pid, birth)
}

/// The control words of an empty ring without members.
fn lay_out<M: Memory>(memory: &M, geometry: &Geometry) {
    for word in [CLAIMED, HEAD, LIMIT] {
        memory.store(word, geometry.first_position(), Relaxed);
    }
    for (word, value) in tenure::words(geometry).into_iter().chain(group::words(geometry)) {
        memory.store(word, value, Relaxed);
    }
}

/// The members, each from its position on.
fn declare<M: Memory + Clone>(
    memory: &M,
    geometry: &Geometry,
    declared: Declared<'_>,
    pid: u64,
    birth: Birth,
) -> Result<(), StartError> {
    let (first, unix_ms) = (geometry.first_position(), birth.unix_ms);
    for (entry, Durable { name, begins_at, .. }) in geometry.consumer_entries().zip(declared.durables) {
        let who = Identity { name, pid, unix_ms, after: &[] };
        membership::declare(memory, geometry, entry, &who, begins_at.unwrap_or(first))?;
    }
    for (number, Staff { name, settings, begins_at }) in geometry.group_entries().zip(declared.groups) {
        let group = Group::new(memory.clone(), *geometry, number);
        let start = Start::At(begins_at.unwrap_or(first));
        table::create(&group, name, settings, start, birth, || false)?;
    }
    for (entry, Durable { after, .. }) in geometry.consumer_entries().zip(declared.durables) {
        let parties = after.iter().filter_map(|name| party(memory, geometry, name));
        let followed: Vec<_> = parties.map(|party| Followed::present(memory, geometry, party)).collect();
        after::store(memory, geometry.consumer_entry(entry), &followed);
    }
    let position = memory.load(HEAD, Relaxed);
    let created = recorder::NewEvent { kind: EventKind::Created, position, pid, unix_ms, name: "" };
    recorder::record(memory, geometry, created);
    Ok(())
}

/// The declared member of this name.
fn party<M: Memory + Clone>(memory: &M, geometry: &Geometry, name: &str) -> Option<Party> {
    let group = || Group::named(memory, geometry, name).map(|group| Party::Group(group.number));
    entry::named(memory, geometry, name).map(Party::Consumer).or_else(group)
}

/// Fills a ring that no other party can see yet with the messages of a ring that is lost.
///
/// The members come last, so that none of them gates the filling.
#[derive(Debug)]
pub struct Refill<M> {
    producer: Producer<M>,
}

impl<M: Memory + Clone> Refill<M> {
    /// Of a ring whose words are all zero.
    pub fn new(memory: M, geometry: Geometry) -> Result<Refill<M>, Damage> {
        lay_out(&memory, &geometry);
        // No position is claimed that no message comes to.
        Ok(Refill { producer: Producer::take_over(memory, geometry)?.claiming_ahead(1) })
    }

    /// The position of the next message.
    pub fn position(&self) -> u64 {
        self.producer.head()
    }

    /// Appends a message, at most a block long. False if the ring is full.
    pub fn push(&mut self, kind: u32, message: &[u8]) -> bool {
        let producer = &mut self.producer;
        if producer.head() - producer.geometry().first_position() == producer.geometry().capacity() {
            return false;
        }
        if producer.room() == 0 {
            producer.rescan(0);
        }
        let claimed = producer.claim_next();
        producer.send(claimed, kind, message);
        true
    }

    /// Declares the members. The ring is then as one that never had a producer.
    pub fn finish(self, declared: Declared<'_>, pid: u64, birth: Birth) -> Result<(), StartError> {
        let (memory, geometry) = (self.producer.memory(), self.producer.geometry());
        memory.store(LIMIT, self.producer.head(), Relaxed);
        memory.store(EPOCH, 0, Relaxed);
        declare(memory, geometry, declared, pid, birth)
    }
}
