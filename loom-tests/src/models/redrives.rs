//! Messages that are redriven to the one group that gave them up.

use super::leases::{BIRTH, NOW, check, current, settings, settle};
use super::{bytes, claim, kind_of, publish, take_over};
use crate::explore::{explore, killed_at_each};
use crate::memory::{LoomMemory, mortal};
use loom::thread;
use slipring_core::format::{Geometry, worker_group};
use slipring_core::memory::Memory;
use slipring_core::protocol::group::{Group, Kinds, table};
use slipring_core::protocol::lease::Lease;
use slipring_core::protocol::redrive::Redriven;
use slipring_core::protocol::table::Start;
use slipring_core::protocol::{Producer, Worker};
use std::sync::atomic::Ordering::Relaxed;

/// The first position of what is redriven.
const FIRST: u64 = 70;

/// An empty ring of one block, and two workers, each of the group with this number.
fn ring(members: [u32; 2]) -> (Geometry, LoomMemory, [Worker<LoomMemory>; 2]) {
    let groups = 1 + members[1];
    let geometry = super::geometry(1, 1).with_groups(groups.into(), 2).expect("a valid geometry");
    let memory = LoomMemory::with_words(&geometry, &[0, 1].map(|nth| geometry.redriven(0, nth)));
    for number in 0..groups {
        let group = Group::new(memory.clone(), geometry, number);
        table::create(&group, "g", &settings(), Start::Earliest, BIRTH, || true).expect("an empty ring");
    }
    let workers = [0, 1].map(|entry| {
        let number = members[entry as usize];
        memory.store(worker_group(&geometry, entry), u64::from(number) + 1, Relaxed);
        Worker::new(Group::new(memory.clone(), geometry, number), entry, current(), 0)
    });
    (geometry, memory, workers)
}

/// Redrives the next message to a group, if there is room for it.
fn redrive(producer: &mut Producer<LoomMemory>, group: u32) -> bool {
    let Some(claimed) = claim(producer) else { return false };
    let position = claimed.position();
    let redriven = Redriven { group, generation: 1, first: FIRST + position, attempts: 3 };
    producer.redrive(claimed, kind_of(position), &bytes(position), redriven);
    true
}

fn look(worker: &Worker<LoomMemory>) -> Option<Lease> {
    worker.next(NOW).or_else(|| worker.search(Kinds::Any, NOW, false).lease)
}

/// Leases what is for the worker's group, and settles it; its first position.
fn work(worker: &Worker<LoomMemory>) -> Option<u64> {
    let held = look(worker)?;
    let plain = Lease { message: super::plain(held.message), ..held };
    check(worker, plain);
    let redriven = worker.group().redriven(held.position).expect("nothing else is published");
    assert_eq!((redriven.group, redriven.attempts), (worker.group().number, 3), "not for this group");
    assert!(settle(worker, held));
    Some(redriven.first)
}

/// A message for the second group, while a worker of the first looks; then one for the first in
/// the same slot. Each group gets its own, once, and the producer waits for both.
pub(super) fn redriven(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory, [of_first, of_second]) = ring([0, 1]);
        let mut producer = take_over(&memory, &geometry);
        let looking = thread::spawn(move || {
            let found = of_first.search(Kinds::Any, NOW, false);
            assert_eq!(found.lease, None, "it is not for the first group");
            of_first
        });
        assert!(redrive(&mut producer, 1));
        let of_first = looking.join().expect("the looking one ends");
        assert_eq!((work(&of_first), work(&of_second)), (None, Some(FIRST)));
        assert!(redrive(&mut producer, 0), "both groups have settled it");
        assert_eq!((work(&of_first), work(&of_second)), (Some(FIRST + 1), None));
        assert!(publish(&mut producer), "both groups have settled all");
    })
}

/// The party that redrives is killed before each of its accesses. Another producer goes on: no
/// group gets what is not for it, and nothing is held up.
pub(super) fn redriven_killed(bound: usize) -> usize {
    killed_at_each(bound, |accesses| {
        let (geometry, memory, [of_first, of_second]) = ring([0, 1]);
        let lived = mortal(|| redrive(&mut take_over(&memory.fatal_after(accesses), &geometry), 1));
        let mut producer = take_over(&memory, &geometry);
        let is_out = producer.head() == 1;
        assert!(is_out || lived.is_none());
        assert_eq!(work(&of_first), None);
        assert_eq!(work(&of_second), is_out.then_some(FIRST));
        assert!(publish(&mut producer), "all that is out is settled");
        for worker in [of_first, of_second] {
            let held = look(&worker).expect("a message for all");
            check(&worker, held);
            assert_eq!(worker.group().redriven(held.position), None);
            assert!(settle(&worker, held));
        }
        lived.is_some()
    })
}

/// One slot, two workers of one group, and two laps: a message for another group, which a worker
/// settles without a delivery, before or after a message for all. Meanwhile, a worker looks, and is
/// slow about it. Neither a word nor a slot of one lap may be taken for the other's.
pub(super) fn redriven_lap(bound: usize) -> usize {
    [true, false].into_iter().map(|is_first_for_another| laps(bound.min(2), is_first_for_another)).sum()
}

fn laps(bound: usize, is_first_for_another: bool) -> usize {
    let send = |producer: &mut Producer<LoomMemory>, is_for_another| {
        if is_for_another { redrive(producer, 1) } else { publish(producer) }
    };
    explore(bound, move || {
        let (geometry, memory, [slow, quick]) = ring([0, 0]);
        let mut producer = take_over(&memory, &geometry);
        assert!(send(&mut producer, is_first_for_another));
        let going_on = thread::spawn(move || {
            let mut settled = 0;
            settled += usize::from(look(&quick).is_some_and(|held| settle(&quick, held)));
            let is_out = send(&mut producer, !is_first_for_another);
            settled += usize::from(look(&quick).is_some_and(|held| settle(&quick, held)));
            (settled, !is_first_for_another || is_out, quick)
        });
        let mut settled = 0;
        if let Some(held) = slow.search(Kinds::Any, NOW, false).lease {
            settled += usize::from(settle(&slow, held));
        }
        let (by_the_other, is_out, quick) = going_on.join().expect("the others end");
        settled += by_the_other;
        while let Some(held) = look(&quick) {
            settled += usize::from(settle(&quick, held));
        }
        assert_eq!(settled, usize::from(is_out), "the message for all, once");
    })
}
