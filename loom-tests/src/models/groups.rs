//! Groups and the producer: the floor, how a group begins and ends, and dead letters.

use super::leases::{
    NOW, check, create, current, drain, finish, geometry, group, lease, ring, settings, settle, worker,
};
use super::pins::lap;
use super::{claim, consumer, publish, take_over, words};
use crate::explore::{explore, killed_at_each};
use crate::memory::{LoomMemory, LoomRights, mortal};
use loom::thread;
use slipring_core::format::{Geometry, group as group_entry, group_flags, worker_group};
use slipring_core::memory::{Memory, Word};
use slipring_core::protocol;
use slipring_core::protocol::dead_letter::Overflow;
use slipring_core::protocol::group::{Kinds, members, table};
use slipring_core::protocol::lease::Lease;
use slipring_core::protocol::membership::Start;
use slipring_core::protocol::read::Ready;
use slipring_core::protocol::settings::CurrentSettings;
use std::sync::atomic::Ordering::Relaxed;

/// Two messages, settled by two workers; each worker then moves the floor.
pub(super) fn floor(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(2);
        let mut producer = take_over(&memory, &geometry);
        let [here, there] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        for _ in 0..2 {
            assert!(publish(&mut producer));
        }
        let first = lease(&here, NOW).expect("two are there");
        let second = lease(&there, NOW).expect("one is left");
        let working = thread::spawn(move || {
            finish(&there, second);
            let floor = there.group().help_floor().expect("there is a group");
            assert_ne!(floor, 1, "the floor stands at a settled message that this worker knows of");
        });
        finish(&here, first);
        let floor = here.group().help_floor().expect("there is a group");
        assert!(floor >= 1, "what this worker settled itself");
        working.join().expect("the worker ends");
        assert_eq!(here.group().help_floor(), Some(2), "all is settled");
    })
}

/// One of two messages is settled, the later one first, while the producer wants their slots.
pub(super) fn floor_gate(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(2);
        let mut producer = take_over(&memory, &geometry);
        let here = worker(&memory, &geometry, 0);
        for _ in 0..2 {
            assert!(publish(&mut producer));
        }
        let [first, second] = [0, 1].map(|_| lease(&here, NOW).expect("two are there"));
        let publishing = thread::spawn(move || {
            lap(&mut producer, 1);
            producer
        });
        settle(&here, second);
        // Neither leased nor pinned for a while: only that it is not settled keeps the producer
        // off.
        assert!(here.nack(first, Some(0), NOW).is_ok());
        here.unpin(first.position);
        let again = here.search(Kinds::Any, NOW, false).lease.expect("it was handed back");
        assert_eq!(again.position, 0);
        check(&here, again);
        finish(&here, again);
        let mut producer = publishing.join().expect("the producer ends");
        while producer.head() < 4 {
            assert!(publish(&mut producer), "there is room for two more");
        }
        assert_eq!(drain(&here), 2);
    })
}

/// No worker moves the floor, and the ring is lapped: the producer knows that overwritten positions
/// are settled.
pub(super) fn floor_unmoved(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(2);
        let mut producer = take_over(&memory, &geometry);
        let worker = worker(&memory, &geometry, 0);
        for _ in 0..2 {
            assert!(publish(&mut producer));
        }
        let work = |worker: &protocol::Worker<LoomMemory>| {
            lease(worker, NOW).is_some_and(|held| settle(worker, held))
        };
        assert!(work(&worker), "two are there");
        let working = thread::spawn(move || {
            let settled = 1 + usize::from(work(&worker));
            (worker, settled)
        });
        publish(&mut producer);
        let (worker, mut settled) = working.join().expect("the worker ends");
        loop {
            while work(&worker) {
                settled += 1;
            }
            if producer.head() == 5 {
                break;
            }
            assert!(publish(&mut producer), "what was overwritten was settled");
        }
        assert_eq!((worker.group().stored_floor(), settled), (Some(0), 5));
        assert_eq!(worker.group().floor(), Some(5), "one walk finds the floor, however far it lies behind");
    })
}

/// A producer is killed before each of its accesses over the first message of the next lap, while
/// the stored floor lies a lap behind. The message may be published although the head does not
/// count it: a worker leases it, and the floor is exact all the same.
pub(super) fn floor_uncounted(bound: usize) -> usize {
    killed_at_each(bound, move |accesses| {
        let (geometry, memory) = ring(1);
        let mut producer = take_over(&memory, &geometry);
        let worker = worker(&memory, &geometry, 0);
        assert!(publish(&mut producer));
        let first = lease(&worker, NOW).expect("it is there");
        assert!(settle(&worker, first));
        drop(producer);
        let fatal = memory.fatal_after(accesses);
        let lived = mortal(|| publish(&mut take_over(&fatal, &geometry))).is_some();
        let second = lease(&worker, NOW);
        assert_eq!(worker.group().floor(), Some(1), "the first is settled, the second is not");
        if let Some(second) = second {
            assert!(settle(&worker, second));
            assert_eq!(worker.group().floor(), Some(2), "both are settled");
        }
        lived
    })
}

/// A group allows two messages in flight: a worker leases no third one, neither by the quick way
/// nor by a search, until it has settled one of the two.
pub(super) fn limit(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(4);
        let mut producer = take_over(&memory, &geometry);
        for _ in 0..4 {
            assert!(publish(&mut producer));
        }
        memory.store(worker_group(&geometry, 0), 1, Relaxed);
        let two = CurrentSettings::first(settings().max_ack_pending(2));
        let worker = protocol::Worker::new(group(&memory, &geometry), 0, two, 0);
        let assert_limited = || {
            assert_eq!(worker.next(NOW), None, "by the quick way");
            let found = worker.search(Kinds::Any, NOW, false);
            assert!(found.lease.is_none() && found.limited, "{found:?}");
        };
        let [first, second] = [(); 2].map(|()| lease(&worker, NOW).expect("two may be in flight"));
        assert_limited();
        assert!(finish(&worker, second));
        let third = lease(&worker, NOW).expect("one is in flight");
        assert_limited();
        for held in [first, third] {
            assert!(finish(&worker, held));
        }
        assert_eq!(drain(&worker), 1);
    })
}

/// A group allows two messages in flight. A worker of kind 1 holds one, behind a fresh one of kind
/// 0, which another worker leases meanwhile: once that is done, the first one leases no third.
pub(super) fn backfill(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(4);
        let mut producer = take_over(&memory, &geometry);
        producer.rescan(0);
        for kind in [0, 1, 1, 1] {
            let claimed = producer.claim_next();
            producer.send(claimed, kind, &super::bytes(claimed.position()));
        }
        let two = CurrentSettings::first(settings().max_ack_pending(2));
        let [here, there] = [0, 1].map(|entry| {
            memory.store(worker_group(&geometry, entry), 1, Relaxed);
            protocol::Worker::new(group(&memory, &geometry), entry, two, 0)
        });
        let of_kind_1 = || here.search(Kinds::Equal(1), NOW, false);
        assert_eq!(of_kind_1().lease.map(|lease| lease.position), Some(1));
        let working =
            thread::spawn(move || there.search(Kinds::Any, NOW, false).lease.map(|lease| lease.position));
        // At this very moment it may exceed the limit by one.
        of_kind_1();
        assert_eq!(working.join().expect("the worker ends"), Some(0));
        let found = of_kind_1();
        assert!(found.lease.is_none() && found.limited, "{found:?}");
    })
}

/// A worker stops between settling a message and moving the floor. Meanwhile the slot is reused,
/// and the next lap's message leased: the word at the stored floor speaks of another lap then.
pub(super) fn floor_lag(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(2);
        let mut producer = take_over(&memory, &geometry);
        let [slow, quick] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        for _ in 0..2 {
            assert!(publish(&mut producer));
        }
        let first = lease(&slow, NOW).expect("two are there");
        let second = lease(&quick, NOW).expect("one is left");
        let going_on = thread::spawn(move || {
            lap(&mut producer, 1);
            let third = lease(&quick, NOW);
            finish(&quick, second);
            if let Some(third) = third {
                finish(&quick, third);
            }
            (producer, quick)
        });
        assert!(finish(&slow, first));
        let (mut producer, quick) = going_on.join().expect("the others end");
        drain(&quick);
        assert_eq!(quick.group().help_floor(), Some(producer.head()), "the floor is stuck");
        for _ in 0..2 {
            assert!(publish(&mut producer), "all is settled");
        }
    })
}

/// A group begins while the producer overwrites the message at which it may begin.
pub(super) fn group_join(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1);
        let memory = LoomMemory::new(&geometry);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let publishing = thread::spawn(move || {
            publish(&mut producer);
            producer
        });
        let group = group(&memory, &geometry);
        let floor = create(&group).expect("can always be had");
        let worker = worker(&memory, &geometry, 0);
        let held = lease(&worker, NOW);
        let producer = publishing.join().expect("the producer ends");
        let mut settled = 0;
        if let Some(held) = held {
            check(&worker, held);
            assert!(finish(&worker, held));
            settled += 1;
        }
        settled += drain(&worker) as u64;
        assert_eq!(floor + settled, producer.head(), "everything from the floor on was delivered");
    })
}

/// A worker reads a message, settles nothing, and goes; the group is removed, which lets the
/// producer go on.
pub(super) fn group_leave(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(1);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let worker = worker(&memory, &geometry, 0);
        let publishing = thread::spawn(move || {
            lap(&mut producer, 1);
            producer
        });
        let held = worker.next(NOW).expect("it is there");
        check(&worker, held);
        worker.unpin(held.position);
        table::clear(worker.group());
        let mut producer = publishing.join().expect("the producer ends");
        assert!(publish(&mut producer), "nobody gates any more");
    })
}

fn flags_of(geometry: &Geometry) -> Word {
    geometry.group_word(0, group_entry::FLAGS)
}

/// The creator of a group is killed before each of its accesses. The next holder of the table right
/// clears up, and the producer goes on.
pub(super) fn creator_killed(bound: usize) -> usize {
    killed_at_each(bound, move |accesses| {
        let geometry = geometry(1);
        let memory = LoomMemory::new(&geometry);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let fatal = group(&memory.fatal_after(accesses), &geometry);
        let lived = mortal(|| create(&fatal).is_ok());
        let group = group(&memory, &geometry);
        let complete = memory.load(flags_of(&geometry), Relaxed) == group_flags::TAKEN;
        table::clear_unfinished(&group);
        assert!(lived.is_none() || complete);
        assert_ne!(publish(&mut producer), complete, "only a whole group gates");
        lived.is_some()
    })
}

/// The remover of a group is killed before each of its accesses. The next holder of the table right
/// clears up: either the group is whole, or its entry is free and gates no position.
pub(super) fn remover_killed(bound: usize) -> usize {
    killed_at_each(bound, move |accesses| {
        let (geometry, memory) = ring(1);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let lived = mortal(|| table::clear(&group(&memory.fatal_after(accesses), &geometry)));
        let flags = || memory.load(flags_of(&geometry), Relaxed);
        assert!(lived.is_none() || flags() == group_flags::FREE);
        table::clear_unfinished(&group(&memory, &geometry));
        let whole = flags() == group_flags::TAKEN;
        assert!(whole || flags() == group_flags::FREE);
        assert_eq!(
            group(&memory, &geometry).stored_floor().is_some(),
            whole,
            "only a whole group has a floor"
        );
        assert_ne!(publish(&mut producer), whole, "only a whole group gates");
        lived.is_some()
    })
}

/// Publishes the copy of a message that was given up in the dead-letter ring.
fn publish_copy(dead: &LoomMemory, bytes: &[u8]) -> bool {
    let mut producer = take_over(dead, dead.geometry());
    let Some(claimed) = claim(&mut producer) else { return false };
    producer.send(claimed, 0, bytes);
    producer.wake_readers();
    true
}

/// A worker that was stopped copies a message that was given up, while another settles it and the
/// producer takes its slot. A copy that is believed is whole.
pub(super) fn dead_letter_copy(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(1);
        let mut producer = take_over(&memory, &geometry);
        let [here, stopped] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        assert!(publish(&mut producer));
        let held = lease(&here, NOW).expect("it is there");
        assert!(here.reject(held, NOW).is_ok());
        here.unpin(held.position);
        let copying = thread::spawn(move || {
            let check = |_: &Lease, bytes: &[u8]| {
                assert_eq!(bytes, super::bytes(0), "the copy is torn");
                Err(Overflow::Drop)
            };
            stopped.move_to_dead_letters(0, NOW, &mut [0; 16], check);
        });
        let moved = here.move_to_dead_letters(0, NOW, &mut [0; 16], |_, _| Ok(()));
        if moved.is_some() {
            lap(&mut producer, 1);
        }
        copying.join().expect("the stopped worker ends");
    })
}

/// A worker is killed before each of its accesses to two rings, from a rejection until the message
/// is settled: the message is settled only once the dead-letter ring has a copy, and otherwise the
/// next worker finds it.
pub(super) fn dead_letter_killed(bound: usize) -> usize {
    killed_at_each(bound, move |accesses| {
        let (geometry, memory) = ring(1);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let beyond = super::geometry(2, 1);
        let dead = memory.beside(&beyond);
        let mut letters = consumer(&dead, &beyond, 0, Start::Earliest);
        drop(worker(&memory, &geometry, 0));
        let victim = memory.fatal_after(accesses);
        let victims_dead = dead.sharing_fate_of(&victim);
        let lived = mortal(|| {
            let giving_up = protocol::Worker::new(group(&victim, &geometry), 0, current(), 0);
            let held = lease(&giving_up, NOW).expect("it is there");
            let _ = giving_up.reject(held, NOW);
            giving_up.unpin(held.position);
            let publish = |_: &Lease, bytes: &[u8]| {
                publish_copy(&victims_dead, bytes).then_some(()).ok_or(Overflow::Retry(1))
            };
            giving_up.move_to_dead_letters(0, NOW, &mut [0; 16], publish);
        });
        members::reap(&memory, &geometry, &LoomRights::new(), 0);
        let colleague = worker(&memory, &geometry, 1);
        let again =
            |_: &Lease, bytes: &[u8]| publish_copy(&dead, bytes).then_some(()).ok_or(Overflow::Retry(1));
        let moved = colleague.move_to_dead_letters(0, NOW, &mut [0; 16], again);
        let worked = drain(&colleague);
        // The dead-letter ring as its next producer finds it.
        drop(take_over(&dead, &beyond));
        let mut copies = 0;
        while letters.poll() != Ok(Ready::Empty) {
            let message = letters.message(0);
            // SAFETY: the block is the ring's; the position is gated.
            let found = unsafe { dead.read_block(message.block) }.words();
            assert_eq!(found, words(0), "the copy");
            letters.release(1);
            copies += 1;
        }
        assert!(copies <= 2, "one for each worker");
        assert!(worked + copies > 0, "settled, and nobody has it");
        assert!(moved.is_none() || copies > 0, "{moved:?}, and there is no copy");
        assert!(publish(&mut producer), "the dead hold nobody up");
        lived.is_some()
    })
}

/// Publishes a message; sleeps while there is no room for it.
fn sleep_until_published(producer: &mut protocol::Producer<LoomMemory>) {
    while !publish(producer) {
        super::parking::sleep_for_room(producer);
    }
}

/// The producer sleeps until a worker settles the message in the only slot, and is done reading it.
pub(super) fn park_group(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(1);
        let mut producer = take_over(&memory, &geometry);
        let worker = worker(&memory, &geometry, 0);
        assert!(publish(&mut producer));
        let working = thread::spawn(move || {
            let held = lease(&worker, NOW).expect("it is there");
            finish(&worker, held);
            worker.wake_behind();
        });
        sleep_until_published(&mut producer);
        working.join().expect("the worker ends");
    })
}

/// Two workers want the only message. The worker that gets it sleeps until its slot is free; the
/// pin of the other worker's failed claim may be the last gate.
pub(super) fn park_claims(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(1);
        let mut producer = take_over(&memory, &geometry);
        let [here, there] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        assert!(publish(&mut producer));
        let working = thread::spawn(move || {
            let found = there.next(NOW);
            if let Some(held) = found {
                finish(&there, held);
            }
            if found.is_some() || there.has_withdrawn() {
                there.wake_behind();
            }
        });
        // One thread is both.
        if let Some(held) = here.next(NOW) {
            finish(&here, held);
        }
        sleep_until_published(&mut producer);
        working.join().expect("the worker ends");
    })
}
