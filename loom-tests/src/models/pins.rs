//! Slots and workers that read them in place: pins keep the producer off once a lease is over.

use super::entries::join;
use super::leases::{LATER, NOW, check, drain, finish, group, lease, ring, ring_on, settle, worker};
use super::{batches, explore_layouts, kind_of, publish, take_over};
use crate::explore::explore;
use crate::memory::{LoomMemory, LoomRights};
use loom::thread;
use slipring_core::format::Geometry;
use slipring_core::protocol;
use slipring_core::protocol::group::{Kinds, members};
use slipring_core::protocol::lease::Lease;

/// Publishes a message that will overwrite the first, if the producer may.
pub(super) fn lap(producer: &mut protocol::Producer<LoomMemory>, attempts: usize) {
    for _ in 0..attempts {
        if publish(producer) {
            break;
        }
    }
}

/// A lease runs out while its holder reads in place. Another worker takes the message over and
/// acknowledges it, and the producer wants the slot.
pub(super) fn pin(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(1);
        let mut producer = take_over(&memory, &geometry);
        let [late, other] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        assert!(publish(&mut producer));
        let reading = thread::spawn(move || {
            let Some(held) = lease(&late, NOW) else { return };
            // Reads once more, long after its lease was lost.
            check(&late, held);
            settle(&late, held);
        });
        // One thread is both: what the other worker knows must not be what keeps the producer off.
        if let Some(taken) = other.search(Kinds::Any, LATER, false).lease {
            settle(&other, taken);
        }
        lap(&mut producer, 2);
        reading.join().expect("the late worker ends");
        drain(&other);
        lap(&mut producer, 1);
        assert!(producer.head() >= 2, "nobody reads any more, nothing is unsettled");
    })
}

/// A worker reads on after it has settled its message, a colleague moves the floor over it, and the
/// producer sees nothing but the floor: what the colleague knows of the pin must come with it. The
/// next message is leased, so that the colleague's walk ends without a look at a slot.
pub(super) fn pin_floor(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(2);
        let mut producer = take_over(&memory, &geometry);
        let [late, other] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        for _ in 0..2 {
            assert!(publish(&mut producer));
        }
        let next = other.search(Kinds::Equal(kind_of(1)), NOW, false).lease.expect("it is there");
        assert_eq!(next.position, 1);
        let helper = group(&memory, &geometry);
        let helping = thread::spawn(move || helper.help_floor());
        let publishing = thread::spawn(move || lap(&mut producer, 1));
        let held = late.next(NOW).expect("it is there");
        assert!(late.ack(held).is_ok());
        check(&late, held);
        late.unpin(held.position);
        let floor = helping.join().expect("the helper ends").expect("there is a group");
        publishing.join().expect("the producer ends");
        assert!(floor <= 1, "beyond a message that is leased");
    })
}

/// A worker reads on after it has settled the last unsettled message of a run, a colleague stores
/// how far all is settled, and the producer sees nothing but that: what the colleague knows of the
/// pin must come with it.
pub(super) fn pin_run(bound: usize) -> usize {
    // With two preemptions: some millions of executions.
    explore(bound.min(1), || {
        let (geometry, memory) = ring(2);
        assert_eq!(geometry.run_len(), 2);
        let mut producer = take_over(&memory, &geometry);
        let [late, other] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        for _ in 0..2 {
            assert!(publish(&mut producer));
        }
        let first = lease(&other, NOW).expect("it is there");
        assert!(settle(&other, first));
        let colleague = group(&memory, &geometry);
        let walking = thread::spawn(move || colleague.window(0).learning().next());
        let publishing = thread::spawn(move || (0..2).all(|_| publish(&mut producer)));
        let held = late.next(NOW).expect("it is there");
        assert_eq!(held.position, 1);
        assert!(late.ack(held).is_ok());
        check(&late, held);
        late.unpin(held.position);
        walking.join().expect("the colleague ends");
        publishing.join().expect("the producer ends");
    })
}

/// A message that its holder lost, and that was settled by another, while the holder has yet to
/// read it.
fn lost_lease(
    capacity: u64,
) -> (Geometry, LoomMemory, protocol::Producer<LoomMemory>, protocol::Worker<LoomMemory>, Lease) {
    let (geometry, memory) = ring(capacity);
    let mut producer = take_over(&memory, &geometry);
    let [late, other] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
    for _ in 0..capacity {
        assert!(publish(&mut producer));
    }
    let lost = lease(&late, NOW).expect("it is there");
    let taken = other.search(Kinds::Any, LATER, true).lease.expect("it ran out");
    assert!(taken.position == lost.position && finish(&other, taken));
    (geometry, memory, producer, late, lost)
}

/// A worker whose lease was lost gives the bytes up, and pins the next message at once: a producer
/// that sees only the second pin must know of the reading before the first was taken away.
pub(super) fn pin_moves(bound: usize) -> usize {
    explore(bound, || {
        let (_, _, mut producer, late, lost) = lost_lease(2);
        let working = thread::spawn(move || {
            check(&late, lost);
            late.unpin(lost.position);
            let next = late.next(NOW).expect("nobody else is about");
            check(&late, next);
        });
        lap(&mut producer, 1);
        working.join().expect("the late worker ends");
        lap(&mut producer, 1);
        assert_eq!(producer.head(), 3, "up to the message that is leased");
    })
}

/// A worker leaves while it still holds the bytes of a message whose lease it lost: the program
/// forgot the delivery, which ends with the worker.
pub(super) fn worker_leaves(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory, mut producer, late, lost) = lost_lease(1);
        let leaving = thread::spawn(move || {
            check(&late, lost);
            members::free(&memory, &geometry, 0);
        });
        lap(&mut producer, 1);
        leaving.join().expect("the worker ends");
        lap(&mut producer, 1);
        assert!(producer.head() >= 2, "nobody reads any more, nothing is unsettled");
    })
}

/// A worker died over a claim, and its pin gates the producer. The producer removes the pin while a
/// new worker takes the entry; that worker settles the message, and reads on under its own pin.
pub(super) fn unpin_dead(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = ring(1);
        let mut producer = take_over(&memory, &geometry);
        let rights = LoomRights::new();
        let hands = [1, 2].map(|party| rights.party(party));
        let [dead, colleague] =
            [0, 1].map(|nth: usize| join(&memory, &geometry, &hands[nth]).expect("two entries are free"));
        assert!(publish(&mut producer));
        let held = lease(&dead, NOW).expect("it is there");
        assert!(dead.hand_back(held).is_ok());
        drop(dead);
        hands[0].drop_all();
        let hand = rights.party(3);
        let publishing = thread::spawn(move || {
            for _ in 0..2 {
                if !publish(&mut producer) {
                    members::unpin_dead(producer.memory(), &geometry, &hand, 0);
                }
            }
            producer
        });
        if let Some(new) = join(&memory, &geometry, &rights.party(4)) {
            let held = new.search(Kinds::Any, NOW, false).lease.expect("it was handed back");
            assert!(new.ack(held).is_ok());
            check(&new, held);
            new.unpin(held.position);
        }
        let mut producer = publishing.join().expect("the producer ends");
        drain(&colleague);
        if producer.head() < 2 {
            members::unpin_dead(producer.memory(), &geometry, &rights.party(3), 0);
            assert!(publish(&mut producer), "the dead hold nobody up");
        }
    })
}

/// A worker looks for a message, and is slow about it: meanwhile another settles it, and the
/// producer publishes the next lap's, of which the slot says nothing: it still speaks of the first.
pub(super) fn lap_headerless(bound: usize) -> usize {
    explore_layouts(bound, |layout| {
        let (geometry, memory) = ring_on(layout(2, 1));
        let mut producer = take_over(&memory, &geometry);
        let [slow, quick] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        for _ in 0..2 {
            assert!(publish(&mut producer));
        }
        let first = lease(&quick, NOW).expect("it is there");
        assert!(settle(&quick, first));
        let going_on = thread::spawn(move || {
            let second = quick.next(NOW);
            let was_second = second.is_some();
            if let Some(second) = second {
                settle(&quick, second);
            }
            producer.rescan(0);
            let mut settled = 0;
            if producer.room() == 2 {
                batches::send_headerless(&mut producer, 2);
                while let Some(next) = quick.next(NOW) {
                    settled += usize::from(settle(&quick, next));
                }
            }
            (producer.head(), usize::from(was_second) + settled, quick)
        });
        let mut leased = 0;
        if let Some(found) = slow.next(NOW) {
            leased += usize::from(settle(&slow, found));
        }
        let (head, by_the_other, quick) = going_on.join().expect("the others end");
        let mut left = 0;
        while let Some(found) = quick.search(Kinds::Any, LATER, true).lease {
            assert!(settle(&quick, found));
            left += 1;
        }
        let all = usize::try_from(head).expect("the models are small");
        assert_eq!(1 + leased + by_the_other + left, all, "each message once");
    })
}

/// One slot. A worker looks for a message, and is slow about it: meanwhile another settles this
/// lap's, and the producer publishes the next lap's. Neither a word nor a slot of one lap may be
/// taken for the other's.
pub(super) fn lap_reuse(bound: usize) -> usize {
    explore_layouts(bound.min(2), |layout| {
        let (geometry, memory) = ring_on(layout(1, 1));
        let mut producer = take_over(&memory, &geometry);
        let [slow, quick] = [0, 1].map(|entry| worker(&memory, &geometry, entry));
        assert!(publish(&mut producer));
        let going_on = thread::spawn(move || {
            let first = lease(&quick, NOW);
            if let Some(first) = first {
                settle(&quick, first);
            }
            lap(&mut producer, 1);
            let next = if producer.head() == 2 { lease(&quick, NOW) } else { None };
            if let Some(next) = next {
                settle(&quick, next);
            }
            (producer.head(), [first, next].into_iter().flatten().count(), quick)
        });
        let mut leased = 0;
        if let Some(found) = slow.search(Kinds::Any, NOW, false).lease {
            check(&slow, found);
            assert!(settle(&slow, found));
            leased += 1;
        }
        let (head, by_the_other, quick) = going_on.join().expect("the others end");
        let left = drain(&quick);
        let all = usize::try_from(head).expect("the models are small");
        assert_eq!(leased + by_the_other + left, all, "each message once");
    })
}
