//! The list of an entry: whom it follows. How far its owner may read by that is
//! [`follow`](super::follow).

use super::Damage;
use super::entry as consumers;
use super::follow::{Followed, Party, Upstreams};
use super::group::Group;
use crate::format::gating::UPSTREAMS_MAX;
use crate::format::{GatingEntry, Geometry, Tail};
use crate::memory::{Futex, Liveness, Memory};
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;

/// Marks the lane of a group.
const GROUP: u64 = 1 << 15;
/// Bits of a lane.
const LANE_BITS: usize = 16;
/// The number of an entry, plus 1.
const NUMBER: u64 = (1 << 13) - 1;

const fn lane_of(party: Party) -> u64 {
    match party {
        Party::Consumer(entry) => entry as u64 + 1,
        Party::Group(number) => (number as u64 + 1) | GROUP,
    }
}

/// The party of a lane that is not empty, if there is such an entry.
fn party_of(lane: u64, geometry: &Geometry) -> Option<Party> {
    let number = u32::try_from((lane & NUMBER).checked_sub(1)?).ok()?;
    let is_group = lane & GROUP != 0;
    let entries = if is_group { geometry.group_entries() } else { geometry.consumer_entries() };
    let party = if is_group { Party::Group(number) } else { Party::Consumer(number) };
    (entries.contains(&number) && lane_of(party) == lane).then_some(party)
}

/// Reasons for which a party cannot follow those it named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterError {
    /// No consumer and no group has this name.
    NotFound(String),
    /// A consumer and a group have this name.
    Ambiguous(String),
    /// The follower outlives its process, and this upstream does not.
    Ephemeral(String),
    /// So many are more than an entry has room for.
    TooMany(usize),
    /// The follower comes back, or is a group that is there already, and follows these.
    Others(Vec<String>),
    /// The words that say whom the entry follows are damaged.
    Damaged(Damage),
}

/// Finds the parties with these names. `keeps`: the follower outlives its process, so that an
/// upstream which does not would leave it without one. The caller holds the table right.
pub fn find<M: Memory + Futex + Clone, L: Liveness>(
    memory: &M,
    geometry: &Geometry,
    rights: &L,
    names: &[String],
    keeps: bool,
) -> Result<Vec<Followed>, AfterError> {
    let mut found = Vec::new();
    for name in names {
        let party = find_one(memory, geometry, rights, name)?;
        let is_kept = match party {
            Party::Consumer(entry) => consumers::flags(memory, geometry, entry).is_kept(),
            Party::Group(_) => true,
        };
        if keeps && !is_kept {
            return Err(AfterError::Ephemeral(name.clone()));
        }
        let followed = Followed::present(memory, geometry, party);
        if !found.contains(&followed) {
            found.push(followed);
        }
    }
    if found.len() > UPSTREAMS_MAX { Err(AfterError::TooMany(found.len())) } else { Ok(found) }
}

/// The party with this name.
pub fn find_one<M: Memory + Futex + Clone, L: Liveness>(
    memory: &M,
    geometry: &Geometry,
    rights: &L,
    name: &str,
) -> Result<Party, AfterError> {
    let consumer = consumers::named(memory, geometry, name)
        // A dead consumer would be an upstream that never moves.
        .filter(|&entry| !consumers::reap(memory, geometry, rights, entry));
    let group = Group::named(memory, geometry, name).filter(|_| !name.is_empty());
    match (consumer, group) {
        (Some(entry), None) => Ok(Party::Consumer(entry)),
        (None, Some(group)) => Ok(Party::Group(group.number)),
        (None, None) => Err(AfterError::NotFound(name.into())),
        (Some(_), Some(_)) => Err(AfterError::Ambiguous(name.into())),
    }
}

/// Stores whom an entry follows. The caller holds the right to the entry, which does not gate yet.
pub fn store<M: Memory>(memory: &M, entry: GatingEntry, after: &[Followed]) {
    let mut lanes = 0;
    for (nth, followed) in after.iter().enumerate().take(UPSTREAMS_MAX) {
        lanes |= lane_of(followed.party) << (LANE_BITS * nth);
        memory.store(entry.after_generation(nth), followed.generation, Relaxed);
    }
    memory.store(entry.after(), lanes, Relaxed);
}

/// The parties that an entry follows. The caller holds the right to the entry, or only displays
/// the answer.
pub fn load<M: Memory>(memory: &M, geometry: &Geometry, entry: GatingEntry) -> Result<Vec<Followed>, Damage> {
    let lanes = memory.load(entry.after(), Relaxed);
    let lane = |nth: usize| (lanes >> (LANE_BITS * nth)) & ((1 << LANE_BITS) - 1);
    let followed = |nth| {
        let party = party_of(lane(nth), geometry).ok_or(Damage::new("upstream", lane(nth), 0, NUMBER))?;
        Ok(Followed { party, generation: memory.load(entry.after_generation(nth), Relaxed) })
    };
    (0..UPSTREAMS_MAX).filter(|&nth| lane(nth) != 0).map(followed).collect()
}

/// The parties that an entry follows whose owner comes back; an error if `asked` names others. The
/// caller holds the right to the entry.
pub fn resume<M: Memory + Clone>(
    memory: &M,
    geometry: &Geometry,
    entry: GatingEntry,
    asked: &[Followed],
) -> Result<Vec<Followed>, AfterError> {
    let after = load(memory, geometry, entry).map_err(AfterError::Damaged)?;
    let is_same = asked.len() == after.len() && asked.iter().all(|followed| after.contains(followed));
    if asked.is_empty() || is_same {
        return Ok(after);
    }
    Err(AfterError::Others(names(memory, geometry, &after)))
}

/// The names of these parties. A party that is gone has none.
pub fn names<M: Memory + Clone>(memory: &M, geometry: &Geometry, after: &[Followed]) -> Vec<String> {
    let name = |followed: &Followed| match followed.is_there(memory, geometry) {
        true => followed.party.name(memory, geometry),
        false => String::new(),
    };
    after.iter().map(name).collect()
}

/// The consumer entries whose present, or last, owner another party follows. The caller holds the
/// table right.
pub(super) fn followed_consumers<M: Memory>(memory: &M, geometry: &Geometry) -> Vec<u32> {
    let consumers = geometry.consumer_entries().map(Party::Consumer);
    let groups = geometry.group_entries().map(Party::Group);
    let lists = consumers.chain(groups).filter_map(|party| {
        let entry = party.entry(geometry);
        // Most entries follow nobody.
        let follows = memory.load(entry.after(), Relaxed) != 0;
        let gates = || Tail(memory.load(entry.tail(), Relaxed)) != Tail::NONE;
        (follows && gates()).then(|| load(memory, geometry, entry).unwrap_or_default())
    });
    let is_there = |followed: &Followed| followed.is_there(memory, geometry);
    let consumer = |followed: Followed| match followed.party {
        Party::Consumer(entry) => Some(entry),
        Party::Group(_) => None,
    };
    lists.flatten().filter(is_there).filter_map(consumer).collect()
}

/// Name of a party that follows this one, and lives or is kept: removing this one would leave it
/// without its upstream. The caller holds the table right.
pub(super) fn follower_of<M: Memory + Futex + Clone, L: Liveness>(
    memory: &M,
    geometry: &Geometry,
    rights: &L,
    followed: Followed,
) -> Option<String> {
    let follows = |party: &Party| {
        let after = load(memory, geometry, party.entry(geometry));
        after.is_ok_and(|after| after.contains(&followed))
    };
    let is_consumer = |entry: &u32| {
        consumers::flags(memory, geometry, *entry).is_taken()
            && follows(&Party::Consumer(*entry))
            && !consumers::reap(memory, geometry, rights, *entry)
    };
    let is_group = |group: &Group<M>| group.is_taken() && follows(&Party::Group(group.number));
    let consumer = geometry.consumer_entries().find(is_consumer).map(Party::Consumer);
    let group = || Group::all(memory, geometry).find(is_group).map(|group| Party::Group(group.number));
    consumer.or_else(group).map(|by| by.name(memory, geometry))
}

/// The upstream that holds a party up which stands at `at`; none if all of its upstreams are
/// beyond, or if it follows nobody. For displays.
pub fn held_up_by<M: Memory + Clone>(
    memory: &M,
    geometry: &Geometry,
    party: Party,
    at: u64,
) -> Option<Followed> {
    let after = load(memory, geometry, party.entry(geometry)).unwrap_or_default();
    let mut upstreams = Upstreams::new(memory, geometry, &after)?;
    (upstreams.look(memory) <= at).then(|| upstreams.last().followed())
}
