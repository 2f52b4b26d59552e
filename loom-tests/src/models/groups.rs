//! Groups and the producer: what it may overwrite, and what it must leave alone.

use super::leases::{LATER, NOW, check, drain, finish, geometry, group, lease, ring, settings, worker};
use super::{copied_words, producer, publish, words};
use crate::explore::explore;
use crate::memory::{LoomMemory, mortal};
use loom::thread;
use slipring::layout::{Geometry, Millis};
use slipring::memory::Liveness;
use slipring::protocol::group::{self, Kinds};
use slipring::protocol::lease::Lessee;
use slipring::protocol::park::Side;
use slipring::protocol::publish::Publisher;
use slipring::protocol::table::Start;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

const NO_LIMIT: std::time::Duration = std::time::Duration::MAX;

/// Publishes a message that will overwrite the first, if the producer may.
fn lap(publisher: &mut Publisher<LoomMemory>, geometry: &Geometry, attempts: usize) {
    for _ in 0..attempts {
        if publish(publisher, geometry) {
            break;
        }
    }
}

/// A lease runs out while its holder reads in place. Another worker takes the message over and acknowledges it,
/// and the producer wants the slot.
pub(super) fn pin(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(1);
        let mut publisher = producer(&memory, &geometry);
        let [late, other] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        assert!(publish(&mut publisher, &geometry));
        let reading = thread::spawn(move || {
            let Some(held) = lease(&late, NOW) else { return };
            // Reads once more, long after its lease was lost.
            check(&late, held);
            finish(&late, held);
        });
        // One thread is both: what the other worker knows must not be what keeps the producer off.
        if let Some(taken) = other.search(Kinds::Any, LATER, false).lease {
            finish(&other, taken);
        }
        lap(&mut publisher, &geometry, 2);
        reading.join().expect("the late worker ends");
        drain(&other);
        lap(&mut publisher, &geometry, 1);
        assert!(publisher.head() >= 2, "nobody reads any more, nothing is unsettled");
    })
}

/// A worker acknowledges and goes on reading, somebody else moves the floor, and all that the producer looks at
/// is the floor.
pub(super) fn pin_floor(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(1);
        let mut publisher = producer(&memory, &geometry);
        let worker = worker(&memory, &geometry, 0);
        assert!(publish(&mut publisher, &geometry));
        let helper = group(&memory, &geometry);
        let working = thread::spawn(move || {
            let held = lease(&worker, NOW).expect("it is there");
            assert!(worker.ack(held).is_ok());
            check(&worker, held);
            worker.unpin(held.position);
        });
        let helping = thread::spawn(move || {
            helper.help_floor();
        });
        lap(&mut publisher, &geometry, 1);
        working.join().expect("the worker ends");
        helping.join().expect("the helper ends");
        lap(&mut publisher, &geometry, 1);
        assert!(publisher.head() >= 2);
    })
}

/// A worker leaves without having given up what it has just read in place. A colleague settles the message.
pub(super) fn worker_leaves(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(1);
        let mut publisher = producer(&memory, &geometry);
        let [here, there] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        assert!(publish(&mut publisher, &geometry));
        let held = lease(&here, NOW).expect("it is there");
        let going_on = thread::spawn(move || {
            if let Some(taken) = there.search(Kinds::Any, LATER, false).lease {
                finish(&there, taken);
            }
            lap(&mut publisher, &geometry, 1);
            (publisher, there)
        });
        check(&here, held);
        group::free_worker(&memory, &geometry, 0);
        let (mut publisher, there) = going_on.join().expect("the others end");
        drain(&there);
        lap(&mut publisher, &geometry, 1);
        assert!(publisher.head() >= 2, "who left holds nobody up");
    })
}

/// Two messages, settled by two workers, each of whom then moves the floor.
pub(super) fn floor(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(2);
        let mut publisher = producer(&memory, &geometry);
        let [here, there] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        for _ in 0..2 {
            assert!(publish(&mut publisher, &geometry));
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
        let mut publisher = producer(&memory, &geometry);
        let here = worker(&memory, &geometry, 0);
        for _ in 0..2 {
            assert!(publish(&mut publisher, &geometry));
        }
        let [first, second] = [0, 1].map(|_| lease(&here, NOW).expect("two are there"));
        let publishing = thread::spawn(move || {
            lap(&mut publisher, &geometry, 1);
            publisher
        });
        finish(&here, second);
        check(&here, first);
        finish(&here, first);
        let _ = here.group().help_floor();
        let mut publisher = publishing.join().expect("the producer ends");
        while publisher.head() < 4 {
            assert!(publish(&mut publisher, &geometry), "there is room for two more");
        }
        assert_eq!(drain(&here), 2);
    })
}

/// One slot. A worker looks for a message, and is slow about it: meanwhile another settles this lap's, and the
/// producer publishes the next lap's. Neither a word nor a slot of one lap may be taken for the other's.
pub(super) fn lap_reuse(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(1);
        let mut publisher = producer(&memory, &geometry);
        let [slow, quick] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        assert!(publish(&mut publisher, &geometry));
        let going_on = thread::spawn(move || {
            let first = lease(&quick, NOW);
            if let Some(first) = first {
                finish(&quick, first);
            }
            lap(&mut publisher, &geometry, 1);
            let next = if publisher.head() == 2 { lease(&quick, NOW) } else { None };
            if let Some(next) = next {
                finish(&quick, next);
            }
            (publisher.head(), [first, next].into_iter().flatten().count(), quick)
        });
        let mut leased = 0;
        if let Some(found) = slow.search(Kinds::Any, NOW, false).lease {
            check(&slow, found);
            assert!(finish(&slow, found));
            leased += 1;
        }
        let (head, by_the_other, quick) = going_on.join().expect("the others end");
        let left = drain(&quick);
        let all = usize::try_from(head).expect("the models are small");
        assert_eq!(leased + by_the_other + left, all, "each message once");
    })
}

/// A group begins while the producer laps the ring.
pub(super) fn group_join(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1);
        let memory = LoomMemory::new(&geometry);
        let mut publisher = producer(&memory, &geometry);
        assert!(publish(&mut publisher, &geometry));
        let publishing = thread::spawn(move || {
            for _ in 0..2 {
                publish(&mut publisher, &geometry);
            }
            publisher
        });
        let group = group(&memory, &geometry);
        let floor =
            group::create(&group, "g", &settings(), Start::Earliest, 0, 0).expect("can always be had");
        let worker = worker(&memory, &geometry, 0);
        let held = lease(&worker, NOW);
        let publisher = publishing.join().expect("the producer ends");
        let mut settled = 0;
        if let Some(held) = held {
            check(&worker, held);
            assert!(finish(&worker, held));
            settled += 1;
        }
        settled += drain(&worker) as u64;
        assert_eq!(floor + settled, publisher.head(), "everything from the floor on was delivered");
    })
}

/// The creator of a group is killed before each of its accesses. Whoever comes next clears up, and the producer
/// goes on.
pub(super) fn creator_killed(bound: usize) -> usize {
    let mut executions = 0;
    for accesses in 0.. {
        let survived = Arc::new(AtomicBool::new(false));
        let outcome = Arc::clone(&survived);
        executions += explore(bound, move || {
            let geometry = geometry(1);
            let memory = LoomMemory::new(&geometry);
            let mut publisher = producer(&memory, &geometry);
            assert!(publish(&mut publisher, &geometry));
            let doomed = group(&memory.doomed(accesses), &geometry);
            let lived = mortal(|| group::create(&doomed, "g", &settings(), Start::Earliest, 0, 0).is_ok());
            outcome.store(lived.is_some(), Relaxed);
            let group = group(&memory, &geometry);
            let complete = !group::clear_unfinished(&group) && group.stored_floor().is_some();
            assert!(lived.is_none() || complete);
            assert_ne!(publish(&mut publisher, &geometry), complete, "only a whole group gates");
        });
        if survived.load(Relaxed) {
            break;
        }
    }
    executions
}

/// A doomed message is copied by a keeper who was stopped, while another buries it and the producer takes its
/// slot. A copy that is believed is whole.
pub(super) fn exhume(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(1);
        let mut publisher = producer(&memory, &geometry);
        let [here, stopped] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        assert!(publish(&mut publisher, &geometry));
        let held = lease(&here, NOW).expect("it is there");
        assert!(here.reject(held, NOW).is_ok());
        here.unpin(held.position);
        let copying = thread::spawn(move || {
            let mut buffer = [0; 16];
            if stopped.exhume(0, NOW, &mut buffer).is_some() {
                assert_eq!(copied_words(&buffer), words(0), "the copy is torn");
            }
        });
        let mut buffer = [0; 16];
        let doomed = here.exhume(0, NOW, &mut buffer).expect("it is doomed");
        assert!(here.bury(doomed, true));
        lap(&mut publisher, &geometry, 1);
        assert_eq!(publisher.head(), 2, "what is buried gates no more");
        copying.join().expect("the stopped keeper ends");
    })
}

/// A worker is killed before each of its accesses from a rejection to the burial. The message is settled only
/// after the copy was made, and whoever comes next finds it otherwise.
pub(super) fn burial_killed(bound: usize) -> usize {
    let mut executions = 0;
    for accesses in 0.. {
        let survived = Arc::new(AtomicBool::new(false));
        let outcome = Arc::clone(&survived);
        executions += explore(bound, move || {
            let (geometry, memory) = ring(1);
            let mut publisher = producer(&memory, &geometry);
            assert!(publish(&mut publisher, &geometry));
            let copied = AtomicBool::new(false);
            drop(worker(&memory, &geometry, 0));
            let doomed = memory.doomed(accesses);
            let lived = mortal(|| {
                let keeper = Lessee::new(group(&doomed, &geometry), 0, settings(), 0);
                let held = lease(&keeper, NOW).expect("it is there");
                let _ = keeper.reject(held, NOW);
                keeper.unpin(held.position);
                let mut buffer = [0; 16];
                if let Some(doomed) = keeper.exhume(held.position, NOW, &mut buffer) {
                    copied.store(true, Relaxed);
                    keeper.bury(doomed, true);
                }
            });
            outcome.store(lived.is_some(), Relaxed);
            group::reap_worker(&memory, &geometry, &crate::memory::LoomRights::new(), 0);
            let colleague = worker(&memory, &geometry, 1);
            let mut buffer = [0; 16];
            if let Some(doomed) = colleague.exhume(0, NOW, &mut buffer) {
                assert_eq!(copied_words(&buffer), words(0));
                assert!(colleague.bury(doomed, true));
            } else if drain(&colleague) == 0 {
                assert!(copied.load(Relaxed), "settled, and nobody has it");
            }
            assert!(publish(&mut publisher, &geometry), "the dead hold nobody up");
        });
        if survived.load(Relaxed) {
            break;
        }
    }
    executions
}

/// The producer sleeps until a worker settles the message in the only slot, and is done reading it.
pub(super) fn park_group(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(1);
        let mut publisher = producer(&memory, &geometry);
        let worker = worker(&memory, &geometry, 0);
        assert!(publish(&mut publisher, &geometry));
        let working = thread::spawn(move || {
            let held = lease(&worker, NOW).expect("it is there");
            finish(&worker, held);
            if worker.producer_asleep() {
                worker.wake_producer();
            }
        });
        while !publish(&mut publisher, &geometry) {
            let ticket = Side::Producer.announce(publisher.memory());
            if publish(&mut publisher, &geometry) {
                break;
            }
            Side::Producer.sleep(publisher.memory(), ticket, NO_LIMIT);
        }
        working.join().expect("the worker ends");
    })
}

/// The producer finds a dead worker's pin in its way, and takes it away while a new worker takes the entry.
pub(super) fn unpin_dead(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(1);
        let mut publisher = producer(&memory, &geometry);
        let rights = crate::memory::LoomRights::new();
        let [dead, colleague] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        assert!(publish(&mut publisher, &geometry));
        let _ = lease(&dead, NOW).expect("it is there");
        drop(dead);
        let taken = colleague.search(Kinds::Any, LATER, true).lease.expect("the lease ran out");
        finish(&colleague, taken);
        let hand = rights.party(1);
        let publishing = thread::spawn(move || {
            for _ in 0..2 {
                if !publish(&mut publisher, &geometry) {
                    group::unpin_dead(publisher.memory(), &geometry, &hand, 0);
                }
            }
            publisher
        });
        let hand = rights.party(2);
        let entry = slipring::memory::Right::Worker(0);
        let new = hand.seize(entry).then(|| {
            group::free_worker(&memory, &geometry, 0);
            worker(&memory, &geometry, 0)
        });
        let held = new.as_ref().and_then(|new| Some((new, lease(new, Millis(LATER.0 + 1))?)));
        if let Some((new, held)) = held {
            check(new, held);
            finish(new, held);
        }
        let mut publisher = publishing.join().expect("the producer ends");
        drain(&colleague);
        if publisher.head() < 2 {
            group::unpin_dead(publisher.memory(), &geometry, &rights.party(1), 0);
            assert!(publish(&mut publisher, &geometry), "the dead hold nobody up");
        }
    })
}
