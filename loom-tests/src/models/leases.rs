//! Leases: the owner of a message, and the effect of a late settlement. Time is an argument: a
//! lease runs out when a worker asks at a later time.

use super::entries::{crew, join};
use super::{kind_of, publish, take_over, words};
use crate::explore::{explore, killed_at_each};
use crate::memory::{LoomMemory, LoomRights, mortal};
use loom::thread;
use slipring_core::format::{Geometry, Meta, Millis, worker_group};
use slipring_core::memory::Memory;
use slipring_core::protocol;
use slipring_core::protocol::group::table::{self, Birth};
use slipring_core::protocol::group::{Group, Kinds, members};
use slipring_core::protocol::lease::Lease;
use slipring_core::protocol::settings::{CurrentSettings, GroupSettings};
use slipring_core::protocol::table::{Start, StartError};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub(super) const NOW: Millis = Millis(1000);
/// When every lease that was taken at [`NOW`] has run out.
pub(super) const LATER: Millis = Millis(1200);
/// A wait that is over in between.
const ACK_WAIT: Duration = Duration::from_millis(100);

pub(super) fn settings() -> GroupSettings {
    GroupSettings::new().ack_wait(ACK_WAIT).max_deliver(None)
}

/// The settings of a model's group, as its workers know them.
pub(super) fn current() -> CurrentSettings {
    CurrentSettings::first(settings())
}

pub(super) fn geometry(capacity: u64) -> Geometry {
    with_a_group(super::geometry(capacity, 1))
}

fn with_a_group(geometry: Geometry) -> Geometry {
    geometry.with_groups(1, 2).expect("a valid geometry")
}

pub(super) fn group(memory: &LoomMemory, geometry: &Geometry) -> Group<LoomMemory> {
    Group::new(memory.clone(), *geometry, 0)
}

/// When a model's group is created.
pub(super) const BIRTH: Birth = Birth { boot: 0, unix_ms: 0, now: NOW };

/// Creates the group, from the earliest message on.
pub(super) fn create(group: &Group<LoomMemory>) -> Result<u64, StartError> {
    table::create(group, "g", &settings(), Start::Earliest, BIRTH, || true)
}

/// An empty ring with one group.
pub(super) fn ring(capacity: u64) -> (Geometry, LoomMemory) {
    ring_on(super::geometry(capacity, 1))
}

/// The same on the slots and blocks of another geometry.
pub(super) fn ring_on(geometry: Geometry) -> (Geometry, LoomMemory) {
    let geometry = with_a_group(geometry);
    let memory = LoomMemory::new(&geometry);
    let created = create(&group(&memory, &geometry));
    assert_eq!(created, Ok(0));
    (geometry, memory)
}

pub(super) fn worker(memory: &LoomMemory, geometry: &Geometry, entry: u32) -> protocol::Worker<LoomMemory> {
    memory.store(worker_group(geometry, entry), 1, Relaxed);
    protocol::Worker::new(group(memory, geometry), entry, current(), 0)
}

/// Leases what may be had, and asserts that it is what it says it is.
pub(super) fn lease(worker: &protocol::Worker<LoomMemory>, now: Millis) -> Option<Lease> {
    let lease = match worker.next(now) {
        Some(lease) => lease,
        None => worker.search(Kinds::Any, now, now == LATER).lease?,
    };
    check(worker, lease);
    Some(lease)
}

/// Reads a leased message in place.
pub(super) fn check(worker: &protocol::Worker<LoomMemory>, lease: Lease) {
    assert_eq!(lease.message.meta, Meta::new(16, kind_of(lease.position)), "length and kind");
    // SAFETY: the block is the ring's; the position is pinned.
    let block = unsafe { worker.memory().read_block(lease.message.block) };
    assert_eq!(block.words(), words(lease.position), "the block of position {}", lease.position);
}

/// Acknowledges, and leaves the floor to another worker.
pub(super) fn settle(worker: &protocol::Worker<LoomMemory>, lease: Lease) -> bool {
    let acked = worker.ack(lease).is_ok();
    worker.unpin(lease.position);
    acked
}

pub(super) fn finish(worker: &protocol::Worker<LoomMemory>, lease: Lease) -> bool {
    let acked = settle(worker, lease);
    worker.settled(lease.position);
    acked
}

/// Leases and acknowledges everything that can be had; how many.
pub(super) fn drain(worker: &protocol::Worker<LoomMemory>) -> usize {
    let mut acked = 0;
    while let Some(found) = worker.search(Kinds::Any, LATER, true).lease {
        check(worker, found);
        assert!(finish(worker, found), "nobody else is about");
        acked += 1;
    }
    acked
}

/// Two workers, and a message that is being published: one looks meanwhile, the other afterwards.
pub(super) fn claim(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(2);
        let mut producer = take_over(&memory, &geometry);
        let [here, there] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        let working = thread::spawn(move || lease(&there, NOW).is_some());
        assert!(publish(&mut producer));
        let ours = lease(&here, NOW).is_some();
        let theirs = working.join().expect("the worker ends");
        assert!(!(ours && theirs), "two workers have leased one message");
        let left = here.search(Kinds::Any, NOW, true).lease.is_some();
        assert!(ours || theirs || left, "nobody can have it");
    })
}

/// A lease has run out. Its holder does one step, while another worker takes the message over.
fn against_expiry(bound: usize, holders_word: fn(&protocol::Worker<LoomMemory>, Lease) -> bool) -> usize {
    explore(bound, move || {
        let (geometry, memory) = ring(1);
        let mut producer = take_over(&memory, &geometry);
        let [here, there] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        assert!(publish(&mut producer));
        let held = lease(&here, NOW).expect("it is there");
        let working = thread::spawn(move || {
            let taken = lease(&there, LATER);
            (taken, there)
        });
        let had_its_way = holders_word(&here, held);
        let (taken, there) = working.join().expect("the worker ends");
        assert_ne!(had_its_way, taken.is_some(), "one of the two has its way");
        if let Some(taken) = taken {
            assert_eq!(taken.word.attempt(), 2);
            assert!(here.ack(held).is_err(), "a late word changed something");
            assert!(finish(&there, taken), "the lease of who took it over is good");
        }
    })
}

pub(super) fn ack_expiry(bound: usize) -> usize {
    against_expiry(bound, finish)
}

pub(super) fn extend_expiry(bound: usize) -> usize {
    against_expiry(bound, |worker, held| match worker.extend(held, LATER) {
        Ok(held) => {
            assert!(finish(worker, held), "what was extended is not held");
            true
        }
        Err(_) => false,
    })
}

/// One worker leases a message, hands it back, and leases it again, while a token of the first
/// lease arrives late, in the hands of a worker that was stopped.
pub(super) fn old_token(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(1);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let [here, stopped] = [0, 0].map(|entry| worker(&memory, &geometry, entry));
        let old = lease(&here, NOW).expect("it is there");
        assert!(here.nack(old, Some(0), NOW).is_ok());
        here.unpin(old.position);
        let late = thread::spawn(move || {
            let changed = stopped.ack(old).is_ok()
                || stopped.extend(old, NOW).is_ok()
                || stopped.nack(old, None, NOW).is_ok()
                || stopped.hand_back(old).is_ok()
                || stopped.reject(old, NOW).is_ok();
            assert!(!changed, "an old token changed something");
        });
        let again = lease(&here, NOW).expect("it was handed back");
        assert_eq!(again.word.attempt(), 2);
        assert!(finish(&here, again), "the second lease is good");
        late.join().expect("the late one ends");
    })
}

/// A worker reads its clock and stops. When it goes on, a message is leased until a time that looks
/// further ahead than any lease lasts: it is left alone. Found again by a later look at the clock,
/// it was not meant.
pub(super) fn late_clock(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(1);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let [here, stopped] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        let going_on = thread::spawn(move || {
            let found = stopped.search(Kinds::Any, NOW, false);
            (stopped, found.lease)
        });
        let ours = here.search(Kinds::Any, LATER, false).lease;
        let (stopped, theirs) = going_on.join().expect("the stopped one ends");
        let Some(ours) = ours else { return };
        if theirs.is_none() {
            check(&here, ours);
            assert!(finish(&here, ours), "the lease is good");
            return;
        }
        // It was taken over at a time when theirs had run out.
        assert_eq!(ours.word.attempt(), 2, "a lease was taken over that had not run out");
        assert!(stopped.ack(theirs.expect("there is one")).is_err());
    })
}

/// A message is handed back while another worker looks for one.
pub(super) fn release_claim(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(1);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let [here, there] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        let held = lease(&here, NOW).expect("it is there");
        let working = thread::spawn(move || {
            let taken = lease(&there, NOW);
            (taken, there)
        });
        assert!(here.hand_back(held).is_ok());
        here.unpin(held.position);
        let (taken, there) = working.join().expect("the worker ends");
        // Neither a hint that came too late nor one that was cleared too early loses it: the hint
        // is asked first, a sweep after that.
        let taken =
            taken.or_else(|| lease(&there, NOW)).or_else(|| there.search(Kinds::Any, NOW, true).lease);
        let taken = taken.expect("it was handed back");
        assert_eq!(taken.word.attempt(), 1, "what is released is not counted");
        assert!(finish(&there, taken));
    })
}

/// Leases the message of a kind, and gives it up.
fn give_up(worker: &protocol::Worker<LoomMemory>, kind: u32) {
    let lease = worker.search(Kinds::Equal(kind), NOW, false).lease.expect("one is of this kind");
    assert!(worker.reject(lease, NOW).is_ok());
    worker.unpin(lease.position);
}

/// Two workers choose by kind, pass messages that neither of them wants, and give up those behind:
/// whoever looks for what was given up looks so far.
pub(super) fn reached(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(4);
        let mut producer = take_over(&memory, &geometry);
        producer.rescan(0);
        for kind in [0, 1, 0, 2] {
            let claimed = producer.claim_next();
            producer.send(claimed, kind, &super::bytes(claimed.position()));
        }
        let [here, there] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        let working = thread::spawn(move || give_up(&there, 2));
        give_up(&here, 1);
        working.join().expect("the worker ends");
        assert_eq!(here.dead_pending(0, NOW).collect::<Vec<u64>>(), [1, 3]);
    })
}

/// A worker died with a lease. One colleague clears up after it while a new worker takes the entry
/// over, and leases: the new one's lease must not go with the old one's.
pub(super) fn entry_reuse(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory, rights) = crew(2);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let dead = rights.party(1);
        let _ = lease(&join(&memory, &geometry, &dead).expect("the entry is free"), NOW);
        dead.drop_all();
        let (memory_there, hand) = (memory.clone(), rights.party(2));
        let reaping = thread::spawn(move || members::reap(&memory_there, &geometry, &hand, 0));
        let hand = rights.party(3);
        if let Some(new) = join(&memory, &geometry, &hand) {
            let leased = lease(&new, NOW).expect("what the dead had was returned");
            assert_eq!(leased.word.attempt(), 2, "the attempt that killed its worker counts");
            reaping.join().expect("the colleague ends");
            assert!(finish(&new, leased), "the new worker's lease was taken for the dead one's");
        } else {
            assert!(reaping.join().expect("the colleague ends"), "the entry was held");
            let new = join(&memory, &geometry, &hand).expect("the entry is free");
            assert_eq!(drain(&new), 1, "what the dead had was returned");
        }
    })
}

/// The killed worker's steps with three messages: each step once.
fn life(worker: &protocol::Worker<LoomMemory>) {
    let done = lease(worker, NOW).expect("three are there");
    finish(worker, done);
    let failed = lease(worker, NOW).expect("two are left");
    let failed = worker.extend(failed, NOW).expect("nobody else is about");
    let _ = worker.nack(failed, Some(1), NOW);
    worker.unpin(failed.position);
    let handed_back = lease(worker, NOW).expect("one is left");
    let _ = worker.hand_back(handed_back);
    worker.unpin(handed_back.position);
    let again = lease(worker, NOW).expect("it was handed back");
    let _ = worker.group().help_floor();
    finish(worker, again);
}

/// A worker is killed before its n-th access, for every n. A colleague returns what it held and
/// finds every message that was not acknowledged, and the producer goes on.
pub(super) fn worker_killed(bound: usize) -> usize {
    killed_at_each(bound, move |accesses| {
        let (geometry, memory) = ring(4);
        let mut producer = take_over(&memory, &geometry);
        for _ in 0..3 {
            assert!(publish(&mut producer));
        }
        let fatal = memory.fatal_after(accesses);
        drop(worker(&memory, &geometry, 0));
        let lived = mortal(|| {
            life(&protocol::Worker::new(group(&fatal, &geometry), 0, current(), 0));
        });
        let colleague = worker(&memory, &geometry, 1);
        let reaped = members::reap(&memory, &geometry, &LoomRights::new(), 0);
        assert!(reaped, "its entry says that it was somebody's");
        assert_eq!(memory.load(worker_group(&geometry, 0), Relaxed), 0, "the entry is free");
        let settled_before = (0..3)
            .filter(|&position| colleague.group().settled_until(position, position + 1) > position)
            .count();
        assert_eq!(drain(&colleague) + settled_before, 3, "a message was lost or doubled");
        assert_eq!(colleague.group().help_floor(), Some(3));
        for _ in 0..4 {
            assert!(publish(&mut producer), "the dead hold nobody up");
        }
        lived.is_some()
    })
}

/// A colleague is killed before each of its accesses while it clears up after a dead worker;
/// another does it again.
pub(super) fn reaper_killed(bound: usize) -> usize {
    killed_at_each(bound, move |accesses| {
        let (geometry, memory) = ring(2);
        let mut producer = take_over(&memory, &geometry);
        for _ in 0..2 {
            assert!(publish(&mut producer));
        }
        let dead = worker(&memory, &geometry, 0);
        for _ in 0..2 {
            let _ = lease(&dead, NOW).expect("two are there");
        }
        drop(dead);
        let fatal = memory.fatal_after(accesses);
        let lived = mortal(|| members::reap(&fatal, &geometry, &LoomRights::new(), 0));
        // Whether there is anything left to do depends on where the first one died.
        members::reap(&memory, &geometry, &LoomRights::new(), 0);
        let colleague = worker(&memory, &geometry, 1);
        for _ in 0..2 {
            let found = colleague.search(Kinds::Any, NOW, true).lease.expect("returned at once");
            assert!(finish(&colleague, found));
        }
        lived.is_some()
    })
}

/// A worker is killed before each of its accesses while a colleague, at a time when every lease has
/// run out, takes over what it can. No message is acknowledged twice, none is lost.
pub(super) fn killed_beside(bound: usize) -> usize {
    killed_at_each(bound, move |accesses| {
        let (geometry, memory) = ring(1);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let fatal = memory.fatal_after(accesses);
        drop(worker(&memory, &geometry, 0));
        let colleague = worker(&memory, &geometry, 1);
        let acked = Arc::new(AtomicBool::new(false));
        let acked_there = Arc::clone(&acked);
        let dying = thread::spawn(move || {
            mortal(|| {
                let victim = protocol::Worker::new(group(&fatal, &geometry), 0, current(), 0);
                let Some(held) = lease(&victim, NOW) else { return };
                let Ok(held) = victim.extend(held, NOW) else { return victim.unpin(held.position) };
                acked_there.store(victim.ack(held).is_ok(), Relaxed);
                victim.unpin(held.position);
            })
        });
        let taken = colleague.search(Kinds::Any, LATER, false).lease;
        let taken_over = taken.is_some_and(|taken| finish(&colleague, taken));
        let lived = dying.join().expect("the victim ends");
        assert!(!(taken_over && acked.load(Relaxed)), "acknowledged by two holders");
        members::reap(&memory, &geometry, &LoomRights::new(), 0);
        let left = drain(&colleague);
        assert!(left + usize::from(taken_over) + usize::from(acked.load(Relaxed)) <= 1, "doubled");
        assert_eq!(colleague.group().help_floor(), Some(1), "lost, or held for ever");
        assert!(publish(&mut producer), "the dead hold nobody up");
        lived.is_some()
    })
}
