//! The life of a group's entry: creation, joining, removal, and clearing up after a dead creator.
//!
//! | state | flags | floor |
//! |---|---|---|
//! | free | `FREE` | none |
//! | being created, or removed | `UNFINISHED` | none, or a position |
//! | a group | `TAKEN` | a position |
//!
//! An unfinished group is changed under the table right only. A party that holds the right and
//! finds an unfinished group knows that the group's creator, or remover, died.

use super::{DeliverySnapshot, Group, NOWHERE, members};
use crate::format::{Geometry, Millis, State, group, group_flags};
use crate::memory::{Futex, Liveness, Memory, Right};
use crate::protocol::after;
use crate::protocol::follow::{Followed, Party};
use crate::protocol::membership::{Eviction, RemoveError, Removed};
use crate::protocol::park::Side;
use crate::protocol::recorder;
use crate::protocol::settings::GroupSettings;
use crate::protocol::table::{Start, StartError, join_at};
use crate::protocol::tenure::{succeed, vacate};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;

/// Facts about the moment at which a group is created.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    /// Tag of the machine's boot.
    pub boot: u64,
    /// The system clock, in milliseconds since 1970.
    pub unix_ms: u64,
    /// The clock of the deadlines.
    pub now: Millis,
}

/// The group that a worker asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The group's name.
    pub name: &'a str,
    /// The settings that the group must have; `None`: any, and the default settings for a new
    /// group.
    pub settings: Option<GroupSettings>,
    /// Where a new group begins.
    pub start: Start,
}

/// The group of a worker that joins.
#[derive(Clone, Debug)]
pub struct Joined<M> {
    /// The group.
    pub group: Group<M>,
    /// The floor of the group, if this worker created it.
    pub created: Option<u64>,
}

/// Reasons for which a worker has no group to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupError {
    /// The ring has no room for any group.
    NoGroups,
    /// The group has other settings than the worker insists on.
    Settings(Box<GroupSettings>),
    /// Other groups have all entries; their names.
    Full(Vec<String>),
    /// A new group cannot begin at the requested start.
    Start(StartError),
}

/// Finds the group that a worker asks for, or creates it. The caller holds the table right.
pub fn join<M: Memory + Futex + Clone, L: Liveness>(
    memory: &M,
    geometry: &Geometry,
    rights: &L,
    wanted: &Wanted<'_>,
    birth: Birth,
) -> Result<Joined<M>, GroupError> {
    if geometry.groups() == 0 {
        return Err(GroupError::NoGroups);
    }
    for group in Group::all(memory, geometry) {
        clear_unfinished(&group);
    }
    if let Some(group) = Group::named(memory, geometry, wanted.name) {
        let found = group.settings().settings;
        if wanted.settings.is_some_and(|asked| asked != found) {
            return Err(GroupError::Settings(Box::new(found)));
        }
        after_reboot(&group, rights, birth);
        return Ok(Joined { group, created: None });
    }
    let Some(group) = Group::all(memory, geometry).find(|group| !group.is_taken()) else {
        let names = Group::all(memory, geometry).map(|group| group.name());
        return Err(GroupError::Full(names.collect()));
    };
    let settings = wanted.settings.unwrap_or_default();
    let producer_lives = || rights.is_held(Right::Producer);
    let created = create(&group, wanted.name, &settings, wanted.start, birth, producer_lives);
    // The producer may have gone to sleep over the first, lowest floor.
    wake_producer(memory);
    let created = Some(created.map_err(GroupError::Start)?);
    Ok(Joined { group, created })
}

/// Creates a group in a free entry, gating from `start` on. The caller holds the table right.
///
/// Until the group is complete, its entry says `UNFINISHED`: if this process dies in between, the
/// next holder of the table right clears the entry ([`clear_unfinished`]).
pub fn create<M: Memory>(
    group: &Group<M>,
    name: &str,
    settings: &GroupSettings,
    start: Start,
    birth: Birth,
    producer_lives: impl FnOnce() -> bool,
) -> Result<u64, StartError> {
    let Group { memory, geometry, .. } = group;
    let store = |at, value| memory.store(group.entry_word(at), value, Relaxed);
    store(group::FLAGS, group_flags::UNFINISHED);
    for position in 0..geometry.capacity() {
        let word = geometry.delivery(group.number, position);
        // Looking first leaves pages alone that were never written.
        if memory.load(word, Relaxed) != 0 {
            memory.store(word, 0, Relaxed);
        }
    }
    group.forget_runs();
    group.store_settings(settings, settings.ack_wait_ms);
    recorder::store_name(memory, |at| group.entry_word(group::NAME + at), name);
    store(group::BOOT, birth.boot);
    store(group::CREATED_MS, birth.unix_ms);
    for at in (group::COUNTS..group::SETTINGS).step_by(8) {
        store(at, 0);
    }
    store(group::FRONTIER, 0);
    store(group::RETURNED, NOWHERE);
    store(group::REACHED, 0);
    store(group::SWEPT, 0);
    store(group::SWEEP_AT, 0);
    store(group::BACKFILLED, 0);
    let entry = geometry.group_entry(group.number);
    succeed(memory, entry);
    after::store(memory, entry, &[]);
    let joined = join_at(memory, geometry, entry, start, Eviction::Refused, producer_lives);
    match joined {
        Ok(floor) => {
            store(group::FRONTIER, floor);
            store(group::FLAGS, group_flags::TAKEN);
        }
        Err(_) => store(group::FLAGS, group_flags::FREE),
    }
    joined
}

/// Removes the group with this name, which must have no living worker: it gates no more, and the
/// entries of its dead workers become free. The caller holds the table right.
pub fn remove<M: Memory + Futex + Clone, L: Liveness>(
    memory: &M,
    geometry: &Geometry,
    rights: &L,
    name: &str,
) -> Result<Removed, RemoveError> {
    let group = Group::named(memory, geometry, name).ok_or(RemoveError::NotFound)?;
    let workers: Vec<u32> = members::of(&group).collect();
    let followed = Followed::present(memory, geometry, Party::Group(group.number));
    if let Some(by) = after::follower_of(memory, geometry, rights, followed) {
        return Err(RemoveError::Followed { by });
    }
    // Seize the rights of all workers before any word is changed.
    if let Some(&entry) = workers.iter().find(|&&entry| !rights.seize(Right::Worker(entry))) {
        workers.iter().for_each(|&entry| rights.release(Right::Worker(entry)));
        return Err(RemoveError::InUse { pid: members::pid(memory, geometry, entry) });
    }
    // The stored floor is where the group leaves: followers of it read no further.
    group.help_floor();
    let position = group.stored_floor().unwrap_or(0);
    clear(&group);
    for entry in workers {
        members::free(memory, geometry, entry);
        rights.release(Right::Worker(entry));
    }
    wake_producer(memory);
    Ok(Removed { position, pid: 0 })
}

/// Removes a group that the caller has created in this edit of the tables, so that no worker can
/// have joined it. The caller holds the table right.
pub fn take_back<M: Memory + Futex>(group: &Group<M>) {
    clear(group);
    wake_producer(&group.memory);
}

/// Stops gating and frees the entry. The caller holds the table right and every worker's right.
pub fn clear<M: Memory + Futex>(group: &Group<M>) {
    let Group { memory, geometry, .. } = group;
    memory.store(group.entry_word(group::FLAGS), group_flags::UNFINISHED, Relaxed);
    vacate(memory, geometry.group_entry(group.number));
    memory.store(group.entry_word(group::FLAGS), group_flags::FREE, Relaxed);
    Side::Followers(geometry.group_entry(group.number)).wake_if_asleep(memory);
}

/// Clears the entry of a group whose creator or remover died, and the floor of a free entry, which
/// only a damaged file has and which would hold the producer for ever. True if there was anything
/// to clear. The caller holds the table right.
pub fn clear_unfinished<M: Memory + Futex>(group: &Group<M>) -> bool {
    let unfinished = match group.load(group::FLAGS) {
        group_flags::TAKEN => false,
        group_flags::FREE => group.stored_floor().is_some(),
        _ => true,
    };
    if unfinished {
        clear(group);
    }
    unfinished
}

/// After a reboot the clock began anew: every message that a worker of an earlier boot leased or
/// delayed is due now, and so is every attempt to move a message to the dead-letter ring. Returns
/// the number of such messages. The caller holds the table right.
///
/// The tag of the boot alone proves nothing: a container may have a tag of its own, or none. After
/// a reboot no worker holds its right. So while one worker of the group lives, nothing is changed:
/// a lease belongs to its owner.
///
/// Example: worker 3 lives and has leased position 7. A worker of another container joins, and
/// reads another tag. The kernel says that worker 3 holds its right, so the lease on position 7
/// stays.
pub fn after_reboot<M: Memory, L: Liveness>(group: &Group<M>, rights: &L, birth: Birth) -> u64 {
    if !has_old_deadlines(group, rights, birth.boot) {
        return 0;
    }
    let mut made_due = 0;
    if let Some(floor) = group.floor() {
        for snapshot in group.window(floor) {
            made_due += u64::from(make_due(group, snapshot, birth.now));
        }
    }
    group.memory.store(group.entry_word(group::BOOT), birth.boot, Relaxed);
    made_due
}

/// True if the deadlines of a group are of an earlier boot than the one with this tag, and no
/// worker of the group lives.
pub fn has_old_deadlines<M: Memory, L: Liveness>(group: &Group<M>, rights: &L, boot: u64) -> bool {
    let is_alive = |entry| rights.is_held(Right::Worker(entry));
    group.load(group::BOOT) != boot && !members::of(group).any(is_alive)
}

fn make_due<M: Memory>(group: &Group<M>, snapshot: DeliverySnapshot, now: Millis) -> bool {
    let word = snapshot.word;
    match word.state() {
        State::Leased | State::Delayed => {
            let replaced = group.replace(snapshot, word.returned());
            group.hint_returned(snapshot.position);
            replaced
        }
        State::DeadPending => group.replace(snapshot, word.dead_pending(word.owner(), now)),
        _ => false,
    }
}

fn wake_producer<M: Memory + Futex>(memory: &M) {
    Side::Producer.wake_if_asleep(memory);
}
