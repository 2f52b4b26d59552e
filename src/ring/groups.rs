//! Snapshots of a ring's groups and workers, and the removal of a group.

use crate::error::{AtPath, EntryError};
use crate::region::clock;
use crate::region::{Access, Region};
use crate::ring::Ring;
use crate::ring::attach::Attachment;
use crate::system;
use slipring_core::format::{Count, Geometry, State, group as group_entry, worker};
use slipring_core::memory::{Liveness, Memory, Right};
use slipring_core::protocol::eligibility::Eligibility;
use slipring_core::protocol::group::{self, Group, members, table};
use slipring_core::protocol::membership::{RemoveError, Removed};
use slipring_core::protocol::recorder::{self, EventKind};
use slipring_core::protocol::settings::GroupSettings;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A snapshot of a group. The numbers are counted by looking at every message in the ring that the
/// group has not settled.
///
/// ```
/// use slipring::{GroupSettings, Producer, RingOptions, Worker};
///
/// let ring = RingOptions::of::<u64>(64).group("g", GroupSettings::new()).create_in_memory()?;
/// Producer::<u64>::open(&ring)?.send_batch(&[1, 2, 3])?;
/// let worker = Worker::<u64>::join(&ring, "g")?;
/// worker.recv()?.ack()?;
/// let held = worker.recv()?;
/// let group = ring.group("g").expect("declared above");
/// assert_eq!((group.ack_floor, group.num_ack_pending, group.num_pending), (1, 1, 1));
/// assert_eq!(group.workers[0].acked, 1);
/// held.ack()?;
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupInfo {
    /// The group's name.
    pub name: String,
    /// How the group delivers.
    pub settings: GroupSettings,
    /// The lowest position that the group has not settled. It gates the producer as a tail does.
    pub ack_floor: u64,
    /// Messages that were never delivered.
    pub num_pending: u64,
    /// Messages that were delivered and are not settled: leased, or waiting for another attempt.
    pub num_ack_pending: u64,
    /// Of `num_ack_pending`, the messages that were delivered more than once.
    pub num_redelivered: u64,
    /// Messages that will not be delivered again and wait for room in the dead-letter ring.
    pub num_dead_pending: u64,
    /// Messages that are settled: acknowledged, moved to the dead-letter ring or given up. Those
    /// before the group began count, too. Never falls.
    pub num_settled: u64,
    /// How long the message at the ack floor has been in the ring, at least: up to a third too
    /// little. None if every message is settled, or if no worker has looked at the group since that
    /// message came.
    pub oldest_pending: Option<Duration>,
    /// Leases that ran out, over the group's whole life.
    pub expired: u64,
    /// Deliveries that a worker failed at, over the group's whole life: `nack`, or a dropped
    /// delivery.
    pub failed: u64,
    /// Leases whose worker died, or left without settling the message.
    pub worker_died: u64,
    /// Deliveries handed back unprocessed.
    pub handed_back: u64,
    /// Messages that were rejected.
    pub rejected: u64,
    /// Messages copied to the dead-letter ring.
    pub dead_lettered: u64,
    /// Messages that the dead-letter ring could not take and that were dropped, as the ring's
    /// [policy](crate::DeadLetterPolicy) says.
    pub dropped: u64,
    /// Settlements that came after the lease: the calls returned [`LeaseLost`](crate::LeaseLost).
    pub lost: u64,
    /// The time of the group's creation, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// The group's workers, alive or dead.
    pub workers: Vec<WorkerInfo>,
}

impl GroupInfo {
    /// True if messages that were never delivered wait only because as many as the group
    /// [allows](GroupSettings::max_ack_pending) are in flight: no worker gets a new one before one
    /// of those is settled. Dead-pending messages do not count.
    ///
    /// ```
    /// use slipring::{GroupSettings, Producer, RingOptions, Worker};
    ///
    /// let one = GroupSettings::new().max_ack_pending(1);
    /// let ring = RingOptions::of::<u64>(64).group("g", one).create_in_memory()?;
    /// Producer::<u64>::open(&ring)?.send_batch(&[1, 2])?;
    /// let worker = Worker::<u64>::join(&ring, "g")?;
    /// let held = worker.recv()?;
    /// assert!(ring.group("g").is_some_and(|group| group.is_at_limit()));
    /// held.ack()?;
    /// assert!(ring.group("g").is_some_and(|group| !group.is_at_limit()));
    /// # Ok::<(), slipring::Error>(())
    /// ```
    #[must_use]
    pub fn is_at_limit(&self) -> bool {
        self.num_pending > 0 && self.num_ack_pending >= self.settings.max_ack_pending
    }
}

/// A snapshot of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// The worker's name; empty if anonymous.
    pub name: String,
    /// The worker's process number, in its own pid namespace.
    pub pid: u64,
    /// True if a process holds the worker's lock; false: the worker is dead.
    pub alive: bool,
    /// The lowest position that the worker may be reading in place: its pin.
    pub reading: Option<u64>,
    /// Messages that the worker leased.
    pub delivered: u64,
    /// Messages that the worker acknowledged.
    pub acked: u64,
    /// Deliveries that the worker ended without an acknowledgement: failed, handed back, rejected.
    pub failed: u64,
    /// Messages that the worker settled after its lease.
    pub lost: u64,
    /// The time at which the worker joined, in milliseconds since 1970.
    pub joined_unix_ms: u64,
}

/// The state of a message that a group has delivered and not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PendingState {
    /// A worker has leased the message.
    Leased {
        /// The worker's process, in its own pid namespace.
        pid: u64,
        /// How long the lease still lasts; zero: it ran out, and another worker can lease the
        /// message.
        time_left: Duration,
    },
    /// The attempt failed; the message is delivered again after this time.
    Delayed(Duration),
    /// The message was handed back, or its worker died: the next worker that asks gets it.
    Returned,
    /// Dead-pending: the message will not be delivered again and waits for room in the dead-letter
    /// ring.
    DeadPending,
}

/// A snapshot of a message that was delivered and is not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingMessage {
    /// The message's position.
    pub position: u64,
    /// How often the message was delivered.
    pub attempt: u32,
    /// Its state in the group.
    pub state: PendingState,
}

impl Ring {
    /// The group of this name, if the ring has it. Looks at every message that the group has not
    /// settled, as [`groups`](Self::groups) does: for displays, not for tight loops.
    pub fn group(&self, name: &str) -> Option<GroupInfo> {
        let (region, geometry) = (&self.attachment.region, self.attachment.geometry());
        Group::named(region, geometry, name).and_then(|group| self.group_info(&group))
    }

    /// The messages that this group has delivered and not settled, oldest first. Reads only.
    ///
    /// ```
    /// use slipring::{GroupSettings, PendingState, Producer, RingOptions, Worker};
    ///
    /// let ring = RingOptions::of::<u64>(64).group("g", GroupSettings::new()).create_in_memory()?;
    /// Producer::<u64>::open(&ring)?.send(&7)?;
    /// let worker = Worker::<u64>::join(&ring, "g")?;
    /// let delivery = worker.recv()?;
    /// let pending = ring.pending("g")?;
    /// assert_eq!((pending[0].position, pending[0].attempt), (0, 1));
    /// assert!(matches!(pending[0].state, PendingState::Leased { .. }));
    /// delivery.ack()?;
    /// assert!(ring.pending("g")?.is_empty());
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`EntryError::NoSuchGroup`].
    pub fn pending(&self, name: &str) -> Result<Vec<PendingMessage>, AtPath<EntryError>> {
        let (region, geometry) = (&self.attachment.region, self.attachment.geometry());
        let found = Group::named(region, geometry, name);
        let floor = found.as_ref().and_then(Group::stored_floor);
        let (Some(group), Some(floor)) = (found, floor) else {
            return Err(self.attachment.at_path(EntryError::NoSuchGroup { name: name.to_owned() }));
        };
        let settings = group.settings();
        let now = clock::now();
        let delivered = group.window(floor).filter(|snapshot| snapshot.word.attempt() > 0);
        Ok(delivered
            .filter_map(|snapshot| {
                let (position, attempt) = (snapshot.position, snapshot.word.attempt());
                let eligibility = settings.eligibility(position, snapshot.word, now);
                let state = match (eligibility, snapshot.word.state()) {
                    (Eligibility::Settled, _) => return None,
                    (Eligibility::DeadPending(_) | Eligibility::Exhausted(_), _) => PendingState::DeadPending,
                    (Eligibility::Later(_) | Eligibility::Ready, State::Leased) => {
                        let owner =
                            u64::from(snapshot.word.owner()).min(geometry.workers().saturating_sub(1));
                        let entry = u32::try_from(owner).unwrap_or(0);
                        let longest = settings.longest_ack_wait_ms.saturating_add(64);
                        let left_ms = snapshot.word.deadline().ahead_of(now, longest);
                        PendingState::Leased {
                            pid: members::pid(region, geometry, entry),
                            time_left: Duration::from_millis(left_ms.into()),
                        }
                    }
                    (Eligibility::Later(ms), _) => PendingState::Delayed(Duration::from_millis(ms.into())),
                    (Eligibility::Ready, _) => PendingState::Returned,
                };
                Some(PendingMessage { position, attempt, state })
            })
            .collect())
    }

    /// How many messages were given up by their groups and wait for the dead-letter ring, and why
    /// the last one that a worker tried to move there did; none if none waits. The reason is as old
    /// as that attempt, and cut to 64 bytes.
    ///
    /// ```
    /// use slipring::{GroupSettings, HolderRole, Producer, RingOptions, SendError, Worker};
    ///
    /// let options = RingOptions::of::<u64>(2).group("g", GroupSettings::new());
    /// let ring = options.dead_letter_capacity(1).create_in_memory()?;
    /// let mut producer = Producer::<u64>::open(&ring)?;
    /// producer.send_batch(&[1, 2])?;
    /// let worker = Worker::<u64>::join(&ring, "g")?;
    /// worker.recv()?.reject("no such customer")?;
    /// worker.recv()?.reject("no such customer")?; // stays: the dead-letter ring is full
    /// let (count, why) = ring.dead_letters_wait().expect("one waits");
    /// assert!(count == 1 && why.contains("full"));
    ///
    /// producer.send(&3)?;
    /// let full = producer.try_send(&4).unwrap_err();
    /// let SendError::Full { holder, .. } = full else { panic!("another error") };
    /// assert_eq!(holder.role, HolderRole::DeadLetters);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    pub fn dead_letters_wait(&self) -> Option<(u64, String)> {
        let waiting = self.groups().iter().map(|group| group.num_dead_pending).sum();
        (waiting > 0).then(|| (waiting, self.attachment.dead_letters_wait_for()))
    }

    /// Every group of the ring.
    pub fn groups(&self) -> Vec<GroupInfo> {
        let (region, geometry) = (&self.attachment.region, self.attachment.geometry());
        Group::all(region, geometry).filter_map(|group| self.group_info(&group)).collect()
    }

    fn group_info(&self, group: &Group<Region>) -> Option<GroupInfo> {
        if !group.is_taken() {
            return None;
        }
        let counts = group.window_counts(clock::now())?;
        let count = |what: Count| group.load(group_entry::COUNTS + what as u64 * 8);
        Some(GroupInfo {
            name: group.name(),
            settings: group.settings().settings,
            ack_floor: counts.floor,
            num_pending: counts.pending,
            num_ack_pending: counts.ack_pending,
            num_redelivered: counts.redelivered,
            num_dead_pending: counts.dead_pending,
            num_settled: counts.settled,
            oldest_pending: counts.oldest_age_ms.map(|ms| Duration::from_millis(ms.into())),
            expired: count(Count::Expired),
            failed: count(Count::Failed),
            worker_died: count(Count::WorkerDied),
            handed_back: count(Count::HandedBack),
            rejected: count(Count::Rejected),
            dead_lettered: count(Count::DeadLettered),
            dropped: count(Count::Dropped),
            lost: count(Count::Lost),
            created_unix_ms: group.load(group_entry::CREATED_MS),
            workers: self.workers_of(group),
        })
    }

    fn workers_of(&self, group: &Group<Region>) -> Vec<WorkerInfo> {
        let (region, geometry) = (&self.attachment.region, self.attachment.geometry());
        members::of(group)
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

    /// Changes the settings of a group, under its workers: `change` gets the present settings and
    /// returns those that shall be in force from now on. Returns the latter. Needs write
    /// permission.
    ///
    /// A worker finds the old settings or the new ones, never some of each. It takes them up at its
    /// next look for a message that comes a [tick](crate::WorkerOptions::tick) (10 ms) or more
    /// after an earlier one, when it extends a lease, and when it fails at a message. A lease that
    /// was given before lasts as long as it was meant to. A message that was delivered as often as
    /// a lower `max_deliver` allows becomes a dead letter at the next sweep.
    ///
    /// ```
    /// use slipring::{GroupSettings, RingOptions, Worker};
    /// use std::time::Duration;
    ///
    /// let ring = RingOptions::new(48, 64).group("g", GroupSettings::new()).create_in_memory()?;
    /// ring.change_group("g", |settings| settings.ack_wait(Duration::from_secs(5)))?;
    /// let settings = Worker::<[u8]>::join(&ring, "g")?.settings();
    /// assert_eq!((settings.ack_wait_ms, settings.max_deliver), (5000, 5));
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`EntryError::NoSuchGroup`]; [`EntryError::Settings`] if one is out of range: then nothing
    /// was changed; [`EntryError::Open`] as [`Ring::open`].
    pub fn change_group(
        &self,
        name: &str,
        change: impl FnOnce(GroupSettings) -> GroupSettings,
    ) -> Result<GroupSettings, AtPath<EntryError>> {
        let attachment = Attachment::open(self.place(), Access::Readers)?;
        attachment.with_table(|| {
            let found = Group::named(&attachment.region, attachment.geometry(), name);
            let group = found.ok_or_else(|| EntryError::NoSuchGroup { name: name.to_owned() })?;
            let settings = change(group.settings().settings);
            settings.check().map_err(|error| EntryError::Settings { group: name.to_owned(), error })?;
            group.change_settings(&settings);
            let floor = group.stored_floor().unwrap_or(0);
            attachment.record(EventKind::GroupChanged, floor, name, system::process_id().into());
            Ok(settings)
        })
    }

    /// Removes a group without living workers: its unsettled messages are no longer delivered, and
    /// it no longer gates the producer. Needs write permission.
    ///
    /// ```
    /// use slipring::{GroupSettings, RingOptions};
    ///
    /// let ring = RingOptions::new(48, 64).group("g", GroupSettings::new()).create_in_memory()?;
    /// ring.remove_group("g")?;
    /// assert!(ring.groups().is_empty());
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`EntryError::NoSuchGroup`]; [`EntryError::GroupInUse`]; [`EntryError::Followed`] while
    /// another reader comes after it; [`EntryError::Open`] as [`Ring::open`].
    pub fn remove_group(&self, name: &str) -> Result<(), AtPath<EntryError>> {
        self.remove_entry(
            |it| table::remove(&it.region, it.geometry(), &it.locks, name),
            |it, Removed { position, .. }| {
                it.record(EventKind::GroupRemoved, position, name, system::process_id().into());
            },
            |error| match error {
                RemoveError::NotFound => EntryError::NoSuchGroup { name: name.to_owned() },
                RemoveError::InUse { pid } => EntryError::GroupInUse { group: name.to_owned(), pid },
                RemoveError::Followed { by } => EntryError::Followed { name: name.to_owned(), by },
            },
        )
    }
}

/// True if a process is attached as a worker of this group.
pub(crate) fn has_workers(region: &Region, geometry: &Geometry, locks: &impl Liveness, number: u32) -> bool {
    let group = Group::new(region.clone(), *geometry, number);
    members::of(&group).any(|entry| locks.is_held(Right::Worker(entry)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Producer, RingOptions, Worker};

    #[test]
    fn pending_messages_say_what_they_wait_for() {
        let settings = GroupSettings::new().max_deliver(2);
        let ring = RingOptions::new(16, 8).group("g", settings).create_in_memory().unwrap();
        let mut producer = Producer::<[u8]>::open(&ring).unwrap();
        for _ in 0..5 {
            producer.send(b"m").unwrap();
        }
        let worker = Worker::<[u8]>::join(&ring, "g").unwrap();
        worker.recv().unwrap().ack().unwrap();
        worker.recv().unwrap().nack(Duration::from_secs(20)).unwrap();
        let _leased = worker.recv().unwrap();
        worker.recv().unwrap().nack(Duration::ZERO).unwrap();
        let pending = ring.pending("g").unwrap();
        let positions: Vec<u64> = pending.iter().map(|message| message.position).collect();
        assert_eq!(positions, [1, 2, 3], "4 was never delivered");
        assert!(pending.iter().all(|message| message.attempt == 1));
        // Longer by the clock's grain, and no more than that.
        let within = |left: Duration, ms: u128| left.as_millis() <= ms + 64 && left.as_millis() > ms / 2;
        assert!(matches!(pending[0].state, PendingState::Delayed(left) if within(left, 20_000)));
        let pid = u64::from(system::process_id());
        assert!(matches!(
            pending[1].state,
            PendingState::Leased { pid: by, time_left } if by == pid && within(time_left, 30_000)
        ));
        assert_eq!(pending[2].state, PendingState::Returned);
        assert!(matches!(ring.pending("h"), Err(AtPath { error: EntryError::NoSuchGroup { .. }, .. })));
    }
}
