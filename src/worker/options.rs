//! How a worker joins its group, and how a group begins.

use super::Worker;
use super::raw::RawWorker;
use crate::error::{AtPath, JoinError, NameError, OpenError};
use crate::message::Message;
use crate::region::clock;
use crate::region::{Access, Region};
use crate::ring::attach::{Attachment, patiently};
use crate::ring::birth;
use crate::ring::place::Place;
use crate::system;
use crate::wait::Wait;
use slipring_core::protocol;
use slipring_core::protocol::group::Group;
use slipring_core::protocol::group::members::{self, EnlistError};
use slipring_core::protocol::group::table::{self, GroupError, Joined, Wanted};
use slipring_core::protocol::membership::Identity;
use slipring_core::protocol::recorder::EventKind;
use slipring_core::protocol::settings::GroupSettings;
use slipring_core::protocol::table::Start;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::time::Duration;

/// How a worker joins its group.
///
/// ```
/// use slipring::{GroupSettings, RingOptions, Worker, WorkerOptions};
/// use std::time::Duration;
///
/// let ring = RingOptions::of::<u64>(1024).groups(1).create_in_memory()?;
/// let settings = GroupSettings::new().ack_wait(Duration::from_secs(5)).max_deliver(3);
/// let options = WorkerOptions::new("sms").name("sms-1").settings(settings);
/// let worker: Worker<u64> = options.join(&ring)?; // creates the group
/// assert_eq!(worker.settings().attempts_max(), Some(3));
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    group: String,
    name: String,
    settings: Option<GroupSettings>,
    start: Start,
    wait: Wait,
    tick: Duration,
    notice_producer_away: bool,
}

impl WorkerOptions {
    /// A worker of the group of this name (1 to 64 bytes), with the defaults: anonymous, any
    /// settings of the group, [`Wait::Park`].
    pub fn new(group: impl Into<String>) -> WorkerOptions {
        WorkerOptions {
            group: group.into(),
            name: String::new(),
            settings: None,
            start: Start::Earliest,
            wait: Wait::default(),
            tick: Duration::from_millis(10),
            notice_producer_away: false,
        }
    }

    /// A name for display, up to 64 bytes. Workers may share one.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> WorkerOptions {
        self.name = name.into();
        self
    }

    /// Insists on these settings: a new group is created with them, and joining a group with other
    /// settings is an error. Default: any settings of an existing group, and
    /// [`GroupSettings::default`] for a new one.
    #[must_use]
    pub fn settings(mut self, settings: GroupSettings) -> WorkerOptions {
        self.settings = Some(settings);
        self
    }

    /// The position at which a group begins that this worker creates; default [`Start::Earliest`].
    /// An existing group goes on where it is.
    #[must_use]
    pub fn start(mut self, start: Start) -> WorkerOptions {
        self.start = start;
        self
    }

    /// How the waiting calls wait. Default [`Wait::Park`].
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> WorkerOptions {
        self.wait = wait;
        self
    }

    /// How often this worker looks for leases that ran out, for messages that are due, and for
    /// workers that died; default 10 ms, at least 1 ms. A waiting worker looks that often as long
    /// as a message is in flight: a redelivery is late by up to a tick. One look takes in some 2000
    /// messages in flight, and the next one goes on from there: among 100,000, a redelivery is late
    /// by up to 50 ticks.
    #[must_use]
    pub fn tick(mut self, tick: Duration) -> WorkerOptions {
        self.tick = tick.max(Duration::from_millis(1));
        self
    }

    /// As [`ConsumerOptions::notice_producer_away`](crate::ConsumerOptions::notice_producer_away).
    #[must_use]
    pub fn notice_producer_away(mut self, notice: bool) -> WorkerOptions {
        self.notice_producer_away = notice;
        self
    }

    /// Joins the group; creates it if the ring does not have it. The producer goes on at full speed
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// [`JoinError::OtherSettings`] shows the group's settings and those asked for;
    /// [`JoinError::NoGroups`], [`JoinError::GroupsFull`], [`JoinError::WorkersFull`] where there
    /// is no room; [`JoinError::Open`] as [`Ring::open`](crate::Ring::open).
    pub fn join<T: ?Sized + Message>(&self, place: impl Place) -> Result<Worker<T>, AtPath<JoinError>> {
        let at = place.at().carrying::<T>();
        self.check().map_err(|error| at.at_path(error))?;
        let attachment = Attachment::open(at, Access::Readers)?;
        let (group, entry) = attachment.with_table(|| {
            let Joined { group, created } = self.join_group(&attachment)?;
            let enlisted = self.enlist(&attachment, &group);
            // Without its first worker, the group would hold the producer for ever.
            let entry = enlisted.inspect_err(|_| created.iter().for_each(|_| table::take_back(&group)))?;
            self.record(&attachment, &group, created);
            Ok::<_, JoinError>((group, entry))
        })?;
        let settings = group.settings();
        let raw = RawWorker {
            protocol: protocol::Worker::new(group, entry, settings, clock::grain_ms()),
            group_name: self.group.clone(),
            wait: self.wait,
            tick_ms: u32::try_from(self.tick.as_millis()).unwrap_or(1000).clamp(1, 1000),
            notice_producer_away: self.notice_producer_away,
            swept: Cell::new(clock::coarse_now()),
            obstacle: RefCell::default(),
            limited: Cell::new(false),
            attachment,
        };
        Ok(Worker { raw, carries: PhantomData })
    }

    /// Checks names and settings as far as that needs no ring.
    fn check(&self) -> Result<(), JoinError> {
        NameError::check(&self.group)?;
        if !self.name.is_empty() {
            NameError::check(&self.name)?;
        }
        let checked = self.settings.map_or(Ok(()), |settings| settings.check());
        checked.map_err(|error| JoinError::Settings { group: self.group.clone(), error })
    }

    /// Finds the group, or creates it. The table right is held.
    fn join_group(&self, attachment: &Attachment) -> Result<Joined<Region>, JoinError> {
        attachment.check_start(self.start)?;
        let wanted = Wanted { name: &self.group, settings: self.settings, start: self.start };
        let joined =
            table::join(&attachment.region, attachment.geometry(), &attachment.locks, &wanted, birth());
        joined.map_err(|error| self.refusal(attachment, error))
    }

    /// Records that the worker has joined, and whether it created the group. The table right is
    /// held.
    fn record(&self, attachment: &Attachment, group: &Group<Region>, created: Option<u64>) {
        let pid = system::process_id().into();
        if let Some(floor) = created {
            attachment.record(EventKind::GroupCreated, floor, &self.group, pid);
        }
        attachment.record(EventKind::WorkerJoined, group.stored_floor().unwrap_or(0), &self.group, pid);
    }

    fn refusal(&self, attachment: &Attachment, error: GroupError) -> JoinError {
        match error {
            GroupError::NoGroups => JoinError::NoGroups,
            GroupError::Settings(found) => {
                let asked = Box::new(self.settings.unwrap_or_default());
                JoinError::OtherSettings { group: self.group.clone(), found, asked }
            }
            GroupError::Full(names) => {
                let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
                JoinError::GroupsFull { groups: attachment.geometry().groups(), names: names.join(", ") }
            }
            GroupError::Start(error) => error.into(),
        }
    }

    /// Takes an entry. The table right is held.
    fn enlist(&self, attachment: &Attachment, group: &Group<Region>) -> Result<u32, JoinError> {
        let (pid, unix_ms) = (u64::from(system::process_id()), system::unix_now_ms());
        let who = Identity { name: &self.name, pid, unix_ms, after: &[] };
        let enlisted = patiently(
            || members::enlist(group, &attachment.locks, &who),
            |error| matches!(error, EnlistError::Full),
        );
        enlisted.map_err(|error| match error {
            EnlistError::Full => JoinError::WorkersFull { workers: attachment.geometry().workers() },
            EnlistError::Unknown(error) => OpenError::io("lock a worker entry", error).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::boot_tag;
    use crate::{Producer, RingOptions};
    use slipring_core::format::group as group_entry;
    use slipring_core::memory::Memory;
    use std::sync::atomic::Ordering::Relaxed;

    fn attempts(worker: &Worker) -> Vec<(u64, u32)> {
        let all = std::iter::from_fn(|| worker.try_recv().ok());
        let leave = |delivery: crate::Delivery<'_>| {
            let seen = (delivery.position(), delivery.attempt());
            std::mem::forget(delivery);
            seen
        };
        all.map(leave).collect()
    }

    /// A container may read another boot id. Two messages: one that a living worker leases, and one
    /// that rests.
    #[test]
    fn a_worker_that_reads_another_boot_takes_no_lease_of_a_living_one() {
        let hour = Duration::from_secs(3600);
        let settings = GroupSettings::new().ack_wait(hour);
        let ring = RingOptions::new(16, 8).group("g", settings).create_in_memory().unwrap();
        let mut producer = Producer::<[u8]>::open(&ring).unwrap();
        (0..2).for_each(|_| assert!(producer.send(b"m").is_ok()));
        let alive = Worker::<[u8]>::join(&ring, "g").unwrap();
        let leased = alive.try_recv().unwrap();
        alive.try_recv().unwrap().nack(hour).unwrap();
        let group = alive.raw.protocol().group();
        let set_boot = || group.memory.store(group.entry_word(group_entry::BOOT), !boot_tag(), Relaxed);
        set_boot();
        let stranger = Worker::<[u8]>::join(&ring, "g").unwrap();
        assert_eq!(attempts(&stranger), []);
        leased.ack().unwrap();
    }

    /// The clock began anew: a deadline of the boot before may lie weeks ahead of it.
    #[test]
    fn after_a_reboot_every_rest_is_over() {
        let hour = Duration::from_secs(3600);
        let ring = RingOptions::new(16, 8).group("g", GroupSettings::new()).create_in_memory().unwrap();
        let mut producer = Producer::<[u8]>::open(&ring).unwrap();
        (0..2).for_each(|_| assert!(producer.send(b"m").is_ok()));
        let before = Worker::<[u8]>::join(&ring, "g").unwrap();
        before.try_recv().unwrap().nack(hour).unwrap();
        before.try_recv().unwrap().ack().unwrap();
        let group = before.raw.protocol().group().clone();
        drop(before);
        group.memory.store(group.entry_word(group_entry::BOOT), !boot_tag(), Relaxed);
        let after = Worker::<[u8]>::join(&ring, "g").unwrap();
        assert_eq!(attempts(&after), [(0, 2)]);
    }

    /// A message that waited for the dead-letter ring when the machine went down.
    #[test]
    fn after_a_reboot_a_dead_pending_message_is_due_and_check_and_repair_know_it() {
        let options = RingOptions::new(16, 8).group("g", GroupSettings::new()).dead_letter_capacity(1);
        let ring = options.create_in_memory().unwrap();
        let mut producer = Producer::<[u8]>::open(&ring).unwrap();
        (0..2).for_each(|_| assert!(producer.send(b"m").is_ok()));
        let before = Worker::<[u8]>::join(&ring, "g").unwrap();
        (0..2).for_each(|_| assert!(before.recv().unwrap().reject("").is_ok()));
        let group = before.raw.protocol().group().clone();
        assert_eq!(ring.group("g").unwrap().num_dead_pending, 1);
        // Days ahead, by the clock that began anew.
        let snapshot = group.snapshot(1);
        let far = clock::now().after(1 << 29);
        assert!(group.replace(snapshot, snapshot.word.dead_pending(snapshot.word.owner(), far)));
        group.memory.store(group.entry_word(group_entry::BOOT), !boot_tag(), Relaxed);
        assert_eq!(ring.check(), [], "a living worker keeps its deadlines");
        drop(before);
        let [found] = ring.check().try_into().unwrap();
        assert!(found.to_be_cleared && found.what.contains("earlier boot"), "{found}");
        crate::DeadLetters::open(&ring).unwrap().purge(1).unwrap();
        // By a worker that joins, or by a repair.
        assert_eq!(ring.repair().unwrap().len(), 1);
        assert_eq!((ring.check(), ring.repair().unwrap()), (vec![], vec![]));
        let after = Worker::<[u8]>::join(&ring, "g").unwrap();
        assert!(after.recv_timeout(Duration::from_millis(500)).is_err());
        assert_eq!(ring.group("g").unwrap().num_dead_pending, 0, "it was due at once");
    }
}
