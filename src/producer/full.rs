//! What a producer does when the ring is full: look again, remove who may be removed, wait, and say who holds
//! it.

use crate::error::{Holder, HolderRole, SendError};
use crate::producer::Producer;
use crate::region::rights::Locks;
use crate::system;
use crate::wait::{CHECK_UP, NAP, Waiting, wait_for};
use slipring_core::format::{EntryFlags, entry, group as group_entry, producer_page, worker};
use slipring_core::memory::{Liveness, Memory, Right, Word};
use slipring_core::protocol::group::{self, Group};
use slipring_core::protocol::park::Side;
use slipring_core::protocol::publish::{Gate, Scan, Who};
use slipring_core::protocol::recorder::{self, EventKind};
use slipring_core::protocol::table;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long a proof that who gates lives is believed.
const LIVENESS_INTERVAL: Duration = Duration::from_millis(10);

/// A producer writes at most one "full" into the flight recorder in this time.
const FULL_LOG_INTERVAL: Duration = Duration::from_secs(10);

impl Producer {
    #[cold]
    pub(crate) fn make_room(&mut self, timeout: Option<Duration>, wait: bool) -> Result<(), SendError> {
        if self.look_for_room() {
            return Ok(());
        }
        if self.full_since.is_none() {
            self.became_full();
        }
        if wait {
            let how = self.wait;
            wait_for(self, how, timeout)?;
        } else {
            return Err(self.full_error());
        }
        self.full_since = None;
        Ok(())
    }

    /// Scans, and removes from the way whoever may be removed: the dead and the evictable.
    fn look_for_room(&mut self) -> bool {
        let geometry = self.attachment.geometry();
        // Each turn frees an entry or is the last. Who fills them again meanwhile does not hold this up.
        let turns = 1 + geometry.consumers() + geometry.groups() + geometry.workers();
        for _ in 0..turns {
            let scan = self.publisher.rescan(self.required_readers);
            if self.publisher.room() > 0 {
                self.full_since = None;
                return true;
            }
            if scan.gates < self.required_readers || !scan.lowest.is_some_and(|gate| self.dislodge(gate)) {
                return false;
            }
        }
        false
    }

    /// Removes from the way whoever may be removed. False if that one stays.
    fn dislodge(&mut self, gate: Gate) -> bool {
        if let Who::Consumer(_, tail) = gate.who {
            if tail.is_evictable() {
                // If the tail moved instead, there is room.
                if self.publisher.evict(gate) {
                    self.log(EventKind::Evicted, gate);
                }
                return true;
            }
        }
        let now = Instant::now();
        let proved = self.checked.is_some_and(|(who, at)| {
            who == gate.who && now.saturating_duration_since(at) < LIVENESS_INTERVAL
        });
        if proved {
            return false;
        }
        let (name, pid) = self.name_and_pid(gate);
        let (region, geometry) = (&self.attachment.region, *self.attachment.geometry());
        let locks: &Locks = &self.attachment.locks;
        let (kind, removed) = match gate.who {
            Who::Consumer(entry, _) if self.flags(entry).is_kept() => {
                (EventKind::Removed, self.expire_durable(entry))
            }
            Who::Consumer(entry, _) => (EventKind::Died, table::reap(region, &geometry, locks, entry)),
            Who::Worker(entry) => (EventKind::Died, group::unpin_dead(region, &geometry, locks, entry)),
            Who::Group(number) => (EventKind::Removed, self.clear_unfinished(number)),
        };
        self.checked = (!removed).then_some((gate.who, now));
        if removed {
            self.attachment.try_record(kind, gate.position, &name, pid);
        }
        removed
    }

    /// Removes a group whose creator died over it.
    fn clear_unfinished(&self, number: u32) -> bool {
        let locks: &Locks = &self.attachment.locks;
        let group = Group::new(self.attachment.region.clone(), *self.attachment.geometry(), number);
        if !locks.seize(Right::Table) {
            return false;
        }
        let cleared = group::clear_unfinished(&group);
        locks.release(Right::Table);
        cleared
    }

    /// Removes a durable consumer that has been away for longer than the ring allows.
    fn expire_durable(&self, entry: u32) -> bool {
        let threshold = self.attachment.header.durable_inactive_ms;
        let locks: &Locks = &self.attachment.locks;
        if threshold == 0 || !locks.seize(Right::Consumer(entry)) {
            return false;
        }
        let region = &self.attachment.region;
        let detached = self.attachment.geometry().entry_word(entry, entry::DETACHED_MS);
        let (now, since) = (system::unix_now_ms(), region.load(detached, Relaxed));
        if since == 0 {
            // It was killed: its absence counts from now.
            region.store(detached, now, Relaxed);
        }
        let expired = since != 0 && now.saturating_sub(since) > threshold;
        if expired {
            table::leave(region, self.attachment.geometry(), entry, false);
        }
        locks.release(Right::Consumer(entry));
        expired
    }

    fn became_full(&mut self) {
        let now = Instant::now();
        self.full_since = Some(now);
        let region = &self.attachment.region;
        let count = region.load(producer_page::FULL_COUNT, Relaxed);
        region.store(producer_page::FULL_COUNT, count.wrapping_add(1), Relaxed);
        // A ring that is full now and then is at work; its recorder is for rarer things.
        if self.full_logged.is_some_and(|at| now.saturating_duration_since(at) < FULL_LOG_INTERVAL) {
            return;
        }
        if let Some(gate) = self.publisher.rescan(self.required_readers).lowest {
            self.full_logged = Some(now);
            self.log(EventKind::Full, gate);
        }
    }

    fn log(&self, kind: EventKind, gate: Gate) {
        let (name, pid) = self.name_and_pid(gate);
        self.attachment.try_record(kind, gate.position, &name, pid);
    }

    fn flags(&self, entry: u32) -> EntryFlags {
        EntryFlags(self.attachment.region.load(self.attachment.geometry().flags(entry), Relaxed))
    }

    /// The name of who gates, and the process; 0 for a group.
    fn name_and_pid(&self, gate: Gate) -> (String, u64) {
        let (region, geometry) = (&self.attachment.region, self.attachment.geometry());
        let name = |word: &dyn Fn(u64) -> Word| recorder::load_name(region, word);
        let load = |word| region.load(word, Relaxed);
        match gate.who {
            Who::Consumer(entry, _) => (
                name(&|at| geometry.entry_word(entry, entry::NAME + at)),
                load(geometry.entry_word(entry, entry::PID)),
            ),
            Who::Group(number) => (name(&|at| geometry.group_word(number, group_entry::NAME + at)), 0),
            Who::Worker(entry) => (
                name(&|at| geometry.worker_word(entry, worker::NAME + at)),
                load(geometry.worker_word(entry, worker::PID)),
            ),
        }
    }

    #[cold]
    fn full_error(&mut self) -> SendError {
        let path = || self.attachment.path().to_path_buf();
        if self.attachment.region.is_lost() {
            return SendError::Truncated { path: path() };
        }
        let scan: Scan = self.publisher.rescan(self.required_readers);
        if scan.gates < self.required_readers {
            let (path, attached, required) = (path(), scan.gates, self.required_readers);
            return SendError::TooFewReaders { path, attached, required };
        }
        let full_for = self.full_since.map_or(Duration::ZERO, |since| since.elapsed());
        let holder = match scan.lowest {
            Some(gate) => self.holder(gate, full_for),
            // It left between two looks.
            None => Holder {
                role: HolderRole::Consumer,
                name: String::new(),
                pid: 0,
                lag: 0,
                alive: false,
                full_for,
            },
        };
        let (path, capacity) = (self.attachment.path().to_path_buf(), self.attachment.geometry().capacity());
        SendError::Full { path, capacity, holder: Box::new(holder) }
    }

    fn holder(&self, gate: Gate, full_for: Duration) -> Holder {
        let locks = &self.attachment.locks;
        let (role, alive) = match gate.who {
            Who::Consumer(entry, _) => {
                let durable = self.flags(entry).is_durable();
                let role = if durable { HolderRole::DurableConsumer } else { HolderRole::Consumer };
                (role, locks.is_held(Right::Consumer(entry)))
            }
            Who::Group(number) => (HolderRole::Group, self.has_workers(number)),
            Who::Worker(entry) => (HolderRole::Worker, locks.is_held(Right::Worker(entry))),
        };
        let (name, pid) = self.name_and_pid(gate);
        Holder { role, name, pid, lag: self.publisher.head() - gate.position, alive, full_for }
    }

    fn has_workers(&self, number: u32) -> bool {
        let (region, geometry) = (&self.attachment.region, self.attachment.geometry());
        let workers = u32::try_from(geometry.workers()).unwrap_or(u32::MAX);
        (0..workers).any(|entry| {
            region.load(geometry.worker_word(entry, worker::GROUP), Relaxed) == u64::from(number) + 1
                && self.attachment.locks.is_held(Right::Worker(entry))
        })
    }
}

impl Waiting for Producer {
    type Error = SendError;

    fn look(&mut self) -> Result<bool, SendError> {
        Ok(self.look_for_room())
    }

    fn glance(&mut self) -> Result<(), SendError> {
        Ok(())
    }

    fn check_up(&mut self) -> Result<(), SendError> {
        if self.attachment.region.is_lost() {
            return Err(SendError::Truncated { path: self.attachment.path().to_path_buf() });
        }
        if self.attachment.is_replaced() {
            return Err(SendError::Replaced { path: self.attachment.path().to_path_buf() });
        }
        Ok(())
    }

    fn sleep(&mut self, at_most: Duration) -> Result<(), SendError> {
        let ticket = Side::Producer.announce(&self.attachment.region);
        if !self.look_for_room() {
            // Nobody wakes for a death or for a reader that joins; the bound is the liveness check.
            let bound = if system::membarrier_works() { LIVENESS_INTERVAL } else { NAP };
            Side::Producer.sleep(&self.attachment.region, ticket, at_most.min(bound).min(CHECK_UP));
        }
        Ok(())
    }

    fn timed_out(&mut self, _waited: Duration) -> SendError {
        self.full_error()
    }
}
