//! Writes the words of a new ring, before any other party can see it.

use super::group::table::{self, Birth};
use super::group::{self, Group};
use super::membership::{self, Identity};
use super::recorder::{self, EventKind};
use super::settings::GroupSettings;
use super::table::{Start, StartError};
use super::tenure;
use crate::format::Geometry;
use crate::format::producer_page::{CLAIMED, HEAD, LIMIT};
use crate::memory::Memory;
use alloc::string::String;
use core::sync::atomic::Ordering::Relaxed;

/// The members that a ring has from its first message on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Declared<'a> {
    /// Names of durable consumers, at most as many as the ring has consumer entries.
    pub durables: &'a [String],
    /// Groups by name, at most as many as the ring has group entries.
    pub groups: &'a [(String, GroupSettings)],
}

/// Fills the control pages of a ring; all words are zero before.
pub fn furnish<M: Memory + Clone>(
    memory: &M,
    geometry: &Geometry,
    declared: Declared<'_>,
    pid: u64,
    birth: Birth,
) -> Result<(), StartError> {
    let (first, unix_ms) = (geometry.first_position(), birth.unix_ms);
    for word in [CLAIMED, HEAD, LIMIT] {
        memory.store(word, first, Relaxed);
    }
    for (word, value) in tenure::words(geometry).into_iter().chain(group::words(geometry)) {
        memory.store(word, value, Relaxed);
    }
    for (entry, name) in geometry.consumer_entries().zip(declared.durables) {
        membership::declare(memory, geometry, entry, &Identity { name, pid, unix_ms });
    }
    for (number, (name, settings)) in geometry.group_entries().zip(declared.groups) {
        let group = Group::new(memory.clone(), *geometry, number);
        table::create(&group, name, settings, Start::At(first), birth, || false)?;
    }
    let created = recorder::NewEvent { kind: EventKind::Created, position: first, pid, unix_ms, name: "" };
    recorder::record(memory, geometry, created);
    Ok(())
}
