//! A producer that finds the ring full looks again, removes dead, expired and evictable entries,
//! waits, and names the party that holds the ring.

use crate::error::{Holder, HolderRole, SendError};
use crate::producer::raw::{Patience, RawProducer};
use crate::region::Region;
use crate::region::clock::{self, SystemClock};
use crate::ring::groups::has_workers;
use crate::wait::{Waiting, longest_sleep, stand_back, wait_for};
use slipring_core::memory::{Liveness, Right};
use slipring_core::protocol::group::Group;
use slipring_core::protocol::make_room::{self, Removal};
use slipring_core::protocol::membership;
use slipring_core::protocol::park::Side;
use slipring_core::protocol::publish::{Gate, Scan, Who};
use slipring_core::protocol::recorder::EventKind;
use std::time::{Duration, Instant};

/// The time between two looks of a sleeping producer at whether the party that gates it is alive.
const LIVENESS_INTERVAL: Duration = Duration::from_millis(10);

/// A producer writes at most one "full" into the flight recorder in this time.
const FULL_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Least room, in messages, that a producer takes at once from a group that holds it up; less in a
/// ring of less than sixteen times as many. Each look takes the lines away that the workers write.
/// Measured between two cores: a worker's message took 1.2 times as long without.
const ROOM_AT_ONCE: u64 = 64;

impl RawProducer {
    /// Looks for room, and waits for it as long as the caller's patience lasts.
    ///
    /// Example, capacity 8, head 8, consumer A at 0:
    ///
    /// 1. A look scans all tails and finds A at 0: no room. A lives, and is not evictable.
    /// 2. The ring has become full: the flight recorder gets "full", with A's name.
    /// 3. The producer waits, and looks every 10 ms whether A lives. A releases message 0: the
    ///    limit is 9, and the producer has room for one message.
    /// 4. Were A dead, the look of step 1 would have freed its entry, and the limit would be 16.
    #[cold]
    pub(crate) fn make_room(&mut self, patience: Patience) -> Result<(), SendError> {
        // Before room is granted: in the zeros that took a lost file's place no entry gates.
        self.glance()?;
        if self.look_for_room() {
            if !matches!(patience, Patience::None) {
                self.look_again();
            }
            return Ok(());
        }
        if self.full_since.is_none() {
            self.became_full();
        }
        let timeout = match patience {
            Patience::None => return Err(self.full_error()),
            Patience::AtMost(timeout) => Some(timeout),
            Patience::Endless => None,
        };
        let how = self.wait;
        wait_for(self, how, timeout)?;
        self.full_since = None;
        self.look_again();
        Ok(())
    }

    /// If a group has made little room, leaves its workers alone for a moment and looks once more.
    fn look_again(&mut self) {
        let enough = (self.attachment.geometry().capacity() / 16).min(ROOM_AT_ONCE);
        if self.protocol.room() >= enough || !self.room.is_gated_by_workers() {
            return;
        }
        stand_back();
        self.look_for_room();
    }

    /// Scans; removes dead and expired entries that gate, and evicts evictable consumers that gate.
    fn look_for_room(&mut self) -> bool {
        let attachment = &self.attachment;
        let log = |removal: Removal| {
            attachment.try_record(removal.kind, removal.position, &removal.name, removal.pid);
        };
        let made = self.room.make_room(&mut self.protocol, &attachment.locks, &SystemClock, log);
        if made {
            self.full_since = None;
            if let Some(stretch) = self.watch.stretch() {
                self.protocol.keep_room(stretch);
            }
        }
        made
    }

    fn became_full(&mut self) {
        let now = Instant::now();
        self.full_since = Some(now);
        self.protocol.count_full();
        // A ring that is full now and then is healthy; its flight recorder has room for 256 events
        // only.
        if self.full_logged.is_some_and(|at| now.saturating_duration_since(at) < FULL_LOG_INTERVAL) {
            return;
        }
        if let Some(gate) = self.protocol.rescan(self.room.policy().required_readers).lowest {
            self.full_logged = Some(now);
            self.log(EventKind::Full, self.in_the_way(gate));
        }
    }

    fn log(&self, kind: EventKind, gate: Gate) {
        let (name, pid) = self.name_and_pid(gate);
        self.attachment.try_record(kind, gate.position, &name, pid);
    }

    /// The party that holds the ring, where the gate only waits for it.
    fn in_the_way(&self, gate: Gate) -> Gate {
        make_room::holder(&self.attachment.region, self.attachment.geometry(), gate)
    }

    fn name_and_pid(&self, gate: Gate) -> (String, u64) {
        make_room::name_and_pid(&self.attachment.region, self.attachment.geometry(), gate.who)
    }

    #[cold]
    fn full_error(&mut self) -> SendError {
        if let Err(error) = self.glance() {
            return error;
        }
        let path = || self.attachment.path().to_path_buf();
        let required = self.room.policy().required_readers;
        let scan: Scan = self.protocol.rescan(required);
        if scan.gates < required {
            return SendError::TooFewReaders { path: path(), attached: scan.gates, required };
        }
        let full_for = self.full_since.map_or(Duration::ZERO, |since| since.elapsed());
        let holder = match scan.lowest {
            Some(gate) => self.holder(self.in_the_way(gate), full_for),
            // The party that gated left between two looks.
            None => Holder {
                role: HolderRole::Consumer,
                name: String::new(),
                pid: 0,
                lag: 0,
                alive: false,
                full_for,
                waits_for: None,
            },
        };
        let (path, capacity) = (self.attachment.path().to_path_buf(), self.attachment.geometry().capacity());
        SendError::Full { path, capacity, holder: Box::new(holder) }
    }

    fn holder(&self, gate: Gate, full_for: Duration) -> Holder {
        let locks = &self.attachment.locks;
        let (role, alive) = match gate.who {
            Who::Consumer(entry, _) => {
                let (region, geometry) = (&self.attachment.region, self.attachment.geometry());
                let durable = membership::flags(region, geometry, entry).is_durable();
                let role = if durable { HolderRole::DurableConsumer } else { HolderRole::Consumer };
                (role, locks.is_held(Right::Consumer(entry)))
            }
            Who::Group(number) => {
                let waits = self.group(number).waits_for_dead_letters(gate.position, clock::now());
                let role = if waits { HolderRole::DeadLetters } else { HolderRole::Group };
                let attachment = &self.attachment;
                (role, has_workers(&attachment.region, attachment.geometry(), locks, number))
            }
            Who::Worker(entry) => (HolderRole::Worker, locks.is_held(Right::Worker(entry))),
        };
        let (name, pid) = self.name_and_pid(gate);
        let waits_for = (role == HolderRole::DeadLetters).then(|| self.attachment.dead_letters_wait_for());
        Holder { role, name, pid, lag: self.protocol.head() - gate.position, alive, full_for, waits_for }
    }

    fn group(&self, number: u32) -> Group<Region> {
        Group::new(self.attachment.region.clone(), *self.attachment.geometry(), number)
    }
}

impl Waiting for RawProducer {
    type Error = SendError;

    fn poll(&mut self) -> Result<bool, SendError> {
        Ok(self.look_for_room())
    }

    fn check_closed(&mut self) -> Result<(), SendError> {
        Ok(())
    }

    fn check_ring(&mut self) -> Result<(), SendError> {
        self.check()
    }

    /// Room in a file that was replaced is of no use.
    fn check_up(&mut self) -> Result<(), SendError> {
        self.check_ring()
    }

    fn sleep(&mut self, at_most: Duration) -> Result<(), SendError> {
        // No party wakes for a death or for a reader that joins; the bound is the liveness check.
        let bound = longest_sleep(LIVENESS_INTERVAL).min(at_most);
        Side::Producer.sleep_unless(
            self,
            |it| &it.attachment.region,
            |it| Ok((!it.look_for_room()).then_some(bound)),
        )
    }

    fn timed_out(&mut self, _waited: Duration) -> SendError {
        self.full_error()
    }
}
