//! What can be seen of a ring's groups and workers, and the removal of a group.

use crate::attach::{Attachment, Demands};
use crate::clock;
use crate::error::Error;
use crate::layout::{Count, group as group_entry, group_flags, worker};
use crate::mapping::{Access, Region};
use crate::memory::{Liveness, Memory, Right};
use crate::protocol::group::{self, Group};
use crate::protocol::park::Side;
use crate::protocol::recorder::{self, EventKind};
use crate::protocol::settings::GroupSettings;
use crate::ring::Ring;
use crate::worker::{all_groups, worker_entries};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A group, as seen at one moment. The numbers are counted by looking at every message in the ring that the
/// group has not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupInfo {
    /// Its name.
    pub name: String,
    /// How it delivers.
    pub settings: GroupSettings,
    /// The lowest position that is not settled. It gates the producer as a tail does.
    pub ack_floor: u64,
    /// Messages that were never delivered.
    pub num_pending: u64,
    /// Messages that were delivered and are not settled: leased, or waiting for another attempt.
    pub num_ack_pending: u64,
    /// Of those, messages that were delivered more than once.
    pub num_redelivered: u64,
    /// Messages that will not be delivered again and wait for room in the dead-letter ring.
    pub num_doomed: u64,
    /// How long the message at the ack floor has been in the ring, to within a third or so, from below. None if
    /// nothing is unsettled, or if no worker has looked at the group since that message came.
    pub oldest_pending: Option<Duration>,
    /// Leases that ran out, over the group's whole life.
    pub expired: u64,
    /// Deliveries that a worker failed at, over the group's whole life: `nack`, or a dropped delivery.
    pub failed: u64,
    /// Leases that ended with their worker's death, or leave-taking.
    pub abandoned: u64,
    /// Deliveries handed back unprocessed.
    pub released: u64,
    /// Messages that were rejected.
    pub rejected: u64,
    /// Messages copied to the dead-letter ring.
    pub dead_lettered: u64,
    /// Messages that the dead-letter ring could not take and that were given up, as the ring's
    /// [policy](crate::DeadLetterPolicy) says.
    pub dropped: u64,
    /// Settlements that came too late.
    pub lost: u64,
    /// When it was created, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// Its workers, alive or not.
    pub workers: Vec<WorkerInfo>,
}

/// A worker, as seen at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// Its name; empty if anonymous.
    pub name: String,
    /// Its process, in its own pid namespace.
    pub pid: u64,
    /// Its process lives, says the kernel.
    pub alive: bool,
    /// The lowest position that it may be reading in place.
    pub reading: Option<u64>,
    /// Messages that it got.
    pub delivered: u64,
    /// Messages that it acknowledged.
    pub acked: u64,
    /// Messages that it handed back.
    pub failed: u64,
    /// Messages that it settled too late.
    pub lost: u64,
    /// When it joined, in milliseconds since 1970.
    pub joined_unix_ms: u64,
}

impl Ring {
    /// The group of this name, if there is one. Looks at every message that the group has not settled, as
    /// [`groups`](Self::groups) does: for people, not for tight loops.
    pub fn group(&self, name: &str) -> Option<GroupInfo> {
        let (region, geometry) = (&self.attachment.region, self.attachment.geometry());
        all_groups(region, geometry)
            .find(|group| {
                name_of(region, group) == name && group.load(group_entry::FLAGS) == group_flags::TAKEN
            })
            .and_then(|group| self.group_info(&group))
    }

    /// Every group of the ring.
    pub fn groups(&self) -> Vec<GroupInfo> {
        let (region, geometry) = (&self.attachment.region, self.attachment.geometry());
        all_groups(region, geometry).filter_map(|group| self.group_info(&group)).collect()
    }

    fn group_info(&self, group: &Group<Region>) -> Option<GroupInfo> {
        if group.load(group_entry::FLAGS) != group_flags::TAKEN {
            return None;
        }
        let region = &self.attachment.region;
        let census = group.census(clock::now())?;
        let count = |what: Count| group.load(group_entry::COUNTS + what as u64 * 8);
        Some(GroupInfo {
            name: name_of(region, group),
            settings: GroupSettings::load(region, |at| group.entry_word(at)),
            ack_floor: census.floor,
            num_pending: census.pending,
            num_ack_pending: census.ack_pending,
            num_redelivered: census.redelivered,
            num_doomed: census.doomed,
            oldest_pending: census.oldest_age_ms.map(|ms| Duration::from_millis(ms.into())),
            expired: count(Count::Expired),
            failed: count(Count::Failed),
            abandoned: count(Count::Abandoned),
            released: count(Count::Released),
            rejected: count(Count::Rejected),
            dead_lettered: count(Count::DeadLettered),
            dropped: count(Count::Dropped),
            lost: count(Count::Lost),
            created_unix_ms: group.load(group_entry::CREATED_MS),
            workers: self.workers_of(group.number),
        })
    }

    fn workers_of(&self, number: u32) -> Vec<WorkerInfo> {
        let (region, geometry) = (&self.attachment.region, self.attachment.geometry());
        let entries = worker_entries(geometry)
            .filter(|&entry| belongs(region, geometry.worker_word(entry, worker::GROUP), number));
        entries
            .map(|entry| {
                let load = |at| region.load(geometry.worker_word(entry, at), Relaxed);
                WorkerInfo {
                    name: recorder::load_name(region, |at| geometry.worker_word(entry, worker::NAME + at)),
                    pid: load(worker::PID),
                    alive: self.attachment.locks.is_held(Right::Worker(entry)),
                    reading: group::pin(region, geometry, entry),
                    delivered: load(worker::DELIVERED),
                    acked: load(worker::ACKED),
                    failed: load(worker::FAILED),
                    lost: load(worker::LOST),
                    joined_unix_ms: load(worker::JOINED_MS),
                }
            })
            .collect()
    }

    /// Removes a group without living workers: what it has not settled is given up, and it gates no more. Needs
    /// write permission.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchGroup`], [`Error::GroupInUse`]; those of any attach.
    pub fn remove_group(&self, name: &str) -> Result<(), Error> {
        let attachment = Attachment::open(self.source_of(), Access::Readers, Demands::default())?;
        let path = || attachment.path().to_path_buf();
        let (region, geometry) = (&attachment.region, *attachment.geometry());
        attachment.with_table(|| {
            let found = all_groups(region, &geometry).find(|group| {
                group.load(group_entry::FLAGS) == group_flags::TAKEN && name_of(region, group) == name
            });
            let Some(group) = found else {
                return Err(Error::NoSuchGroup { path: path(), name: name.to_owned() });
            };
            let members: Vec<u32> = worker_entries(&geometry)
                .filter(|&entry| belongs(region, geometry.worker_word(entry, worker::GROUP), group.number))
                .collect();
            // All of them, before anything is changed.
            if let Some(&entry) = members.iter().find(|&&n| !attachment.locks.seize(Right::Worker(n))) {
                let pid = region.load(geometry.worker_word(entry, worker::PID), Relaxed);
                members.iter().for_each(|&n| attachment.locks.release(Right::Worker(n)));
                return Err(Error::GroupInUse { path: path(), group: name.to_owned(), pid });
            }
            let floor = group.stored_floor().unwrap_or(0);
            group::remove(&group);
            for &entry in &members {
                group::free_worker(region, &geometry, entry);
                attachment.locks.release(Right::Worker(entry));
            }
            attachment.record(EventKind::GroupRemoved, floor, name, std::process::id().into());
            Ok(())
        })?;
        if Side::Producer.is_asleep(region) {
            Side::Producer.wake(region);
        }
        Ok(())
    }
}

fn belongs(region: &Region, word: crate::memory::Word, number: u32) -> bool {
    region.load(word, Relaxed) == u64::from(number) + 1
}

pub(crate) fn name_of(region: &Region, group: &Group<Region>) -> String {
    recorder::load_name(region, |at| group.entry_word(group_entry::NAME + at))
}
