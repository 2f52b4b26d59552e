//! What a group costs, in words that are read: independent of how many messages lie between its
//! floor and its frontier.

use slipring_core::format::{Block, Geometry, Millis, Word};
use slipring_core::memory::{BlockWriter, Memory};
use slipring_core::protocol::furnish::{Declared, Staff, furnish};
use slipring_core::protocol::group::table::Birth;
use slipring_core::protocol::group::{self, Group, Kinds};
use slipring_core::protocol::lease::{Lease, SWEEP_STEPS};
use slipring_core::protocol::settings::GroupSettings;
use slipring_core::protocol::{Producer, Worker};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// Words of one thread, which counts its loads.
#[derive(Clone, Default)]
struct Counting(Rc<Words>);

#[derive(Default)]
struct Words {
    values: RefCell<HashMap<Word, u64>>,
    loads: Cell<u64>,
}

impl Counting {
    /// The loads of a call, and its result.
    fn count<T>(&self, call: impl FnOnce() -> T) -> (u64, T) {
        let before = self.0.loads.get();
        let result = call();
        (self.0.loads.get() - before, result)
    }
}

// SAFETY: words are values of a map, used by one thread; no block is read in place.
unsafe impl Memory for Counting {
    type Read<'a> = ();
    type Blocks = Counting;

    fn load(&self, word: Word, _: Ordering) -> u64 {
        self.0.loads.set(self.0.loads.get() + 1);
        self.0.values.borrow().get(&word).copied().unwrap_or(0)
    }
    fn store(&self, word: Word, value: u64, _: Ordering) {
        self.0.values.borrow_mut().insert(word, value);
    }
    fn compare_exchange(
        &self,
        word: Word,
        current: u64,
        new: u64,
        order: Ordering,
        _: Ordering,
    ) -> Result<u64, u64> {
        match self.load(word, order) {
            found if found == current => {
                self.store(word, new, order);
                Ok(found)
            }
            found => Err(found),
        }
    }
    fn fence(&self, _: Ordering) {}
    fn light_fence(&self) {}
    fn heavy_fence(&self) {}
    fn relax(&self) {}
    unsafe fn read_block(&self, _: Block) {}
    fn blocks(&self) -> Counting {
        self.clone()
    }
    unsafe fn copy_block(&self, _: Block, _: &mut [u8]) {}
}

// SAFETY: no byte is written.
unsafe impl BlockWriter for Counting {
    fn block_size(&self) -> usize {
        16
    }
    unsafe fn store_relaxed(&self, word: Word, value: u64) {
        Memory::store(self, word, value, Ordering::Relaxed);
    }
    unsafe fn write(&self, _: Block, _: &[u8]) {}
    unsafe fn zero(&self, _: Block, _: Range<usize>) {}
}

const CAPACITY: u64 = 1 << 12;
const NOW: Millis = Millis(1000);
const GROUP: &str = "g";

struct Ring {
    memory: Counting,
    geometry: Geometry,
    producer: Producer<Counting>,
}

impl Ring {
    /// A ring that is full of messages that no worker has leased.
    fn full(settings: GroupSettings) -> Ring {
        let mut ring = Ring::empty(CAPACITY, settings);
        (0..CAPACITY).for_each(|_| assert!(ring.publish(0)));
        ring
    }

    fn empty(capacity: u64, settings: GroupSettings) -> Ring {
        let geometry = Geometry::plan(16, capacity, 1).and_then(|plan| plan.with_groups(1, 4)).unwrap();
        let memory = Counting::default();
        let groups = [Staff { name: GROUP.to_owned(), settings, begins_at: None }];
        let declared = Declared { groups: &groups, durables: &[] };
        furnish(&memory, &geometry, declared, 1, Birth { boot: 0, unix_ms: 0, now: NOW }).unwrap();
        Ring { producer: Producer::take_over(memory.clone(), geometry).unwrap(), memory, geometry }
    }

    fn publish(&mut self, kind: u32) -> bool {
        if self.producer.room() == 0 {
            self.producer.rescan(0);
        }
        if self.producer.room() == 0 {
            return false;
        }
        let claimed = self.producer.claim_next();
        self.producer.send(claimed, kind, &[7; 16]);
        true
    }

    fn group(&self) -> Group<Counting> {
        Group::new(self.memory.clone(), self.geometry, 0)
    }

    fn worker(&self, entry: u32) -> Worker<Counting> {
        let settings = self.group().settings();
        let word = slipring_core::format::worker_group(&self.geometry, entry);
        self.memory.store(word, 1, Ordering::Relaxed);
        Worker::new(self.group(), entry, settings, 0)
    }
}

fn lease(worker: &Worker<Counting>) -> Option<Lease> {
    worker.next(NOW).or_else(|| worker.search(Kinds::Any, NOW, false).lease)
}

/// Leases and acknowledges so many messages; the loads of each.
fn work(ring: &Ring, worker: &Worker<Counting>, messages: u64) -> u64 {
    let (loads, ()) = ring.memory.count(|| {
        for _ in 0..messages {
            ack(worker, lease(worker).unwrap());
        }
    });
    loads / messages
}

fn ack(worker: &Worker<Counting>, lease: Lease) {
    worker.ack(lease).unwrap();
    worker.unpin(lease.position);
    worker.settled(lease.position);
}

fn a_lap_beside(held: u64, settings: GroupSettings) -> (u64, u64) {
    let ring = Ring::full(settings);
    let [stuck, worker] = [0, 1].map(|entry| ring.worker(entry));
    for _ in 0..held {
        lease(&stuck).unwrap();
    }
    let first = work(&ring, &worker, 500);
    work(&ring, &worker, CAPACITY - held - 1000);
    (first, work(&ring, &worker, 500))
}

#[test]
fn a_message_costs_the_same_however_much_was_settled_beside_a_stuck_one() {
    let settings = GroupSettings::new().max_ack_pending(100);
    let (alone, _) = a_lap_beside(0, settings);
    let (early, late) = a_lap_beside(1, settings);
    assert!(late <= early + 1 && late <= alone + 4, "{late} loads late, {early} early, {alone} alone");
}

#[test]
fn a_sweep_the_gate_and_the_counts_cost_what_is_in_flight() {
    let mut ring = Ring::full(GroupSettings::new());
    let [stuck, worker, idle] = [0, 1, 2].map(|entry| ring.worker(entry));
    let held = lease(&stuck).unwrap();
    work(&ring, &worker, CAPACITY - 1);
    // It remembers what is settled.
    idle.search(Kinds::Any, NOW, true);
    let (sweep, found) = ring.memory.count(|| idle.search(Kinds::Any, NOW, true));
    assert!(found.lease.is_none() && found.outstanding);
    let (stat, counts) = ring.memory.count(|| ring.group().window_counts(NOW).unwrap());
    assert_eq!((counts.floor, counts.pending, counts.ack_pending), (0, 0, 1));
    assert!(!ring.publish(0), "the stuck message gates");
    // It is settled, and no worker moves the floor.
    stuck.ack(held).unwrap();
    stuck.unpin(held.position);
    let (gate, at) = ring.memory.count(|| group::gate(&ring.memory, &ring.geometry, 0, CAPACITY));
    assert_eq!(at, Some(CAPACITY));
    for (what, loads) in [("a sweep", sweep), ("stat", stat), ("the gate", gate)] {
        assert!(loads < 200, "{what} takes {loads} loads");
    }
    assert!(ring.publish(0));
}

#[test]
fn a_limited_worker_looks_at_no_backlog() {
    let ring = Ring::full(GroupSettings::new().max_ack_pending(3));
    let [stuck, idle] = [0, 1].map(|entry| ring.worker(entry));
    let leases: Vec<Lease> = (0..3).map(|_| lease(&stuck).unwrap()).collect();
    for sweep in [false, true] {
        let (loads, found) = ring.memory.count(|| idle.search(Kinds::Any, NOW, sweep));
        assert!(found.lease.is_none() && found.limited);
        assert!(loads < 150, "a search takes {loads} loads");
    }
    let (loads, counts) = ring.memory.count(|| ring.group().window_counts(NOW).unwrap());
    assert_eq!((counts.pending, counts.ack_pending), (CAPACITY - 3, 3));
    assert!(loads < 150, "stat takes {loads} loads");
    // What is settled makes room for as many, in the middle, too.
    stuck.ack(leases[1]).unwrap();
    stuck.unpin(leases[1].position);
    assert_eq!(lease(&idle).unwrap().position, 3);
    assert!(lease(&idle).is_none());
}

#[test]
fn a_worker_that_chooses_hides_no_lease_from_a_limited_one() {
    let settings = GroupSettings::new().max_ack_pending(2);
    let ring = Ring::full(settings);
    let [chooser, idle] = [0, 1].map(|entry| ring.worker(entry));
    assert!(chooser.search(Kinds::Except(0), NOW, false).lease.is_none(), "every message is of kind 0");
    let held = lease(&chooser).unwrap();
    assert_eq!(held.position, 0);
    let _beside = lease(&idle).unwrap();
    assert!(lease(&idle).is_none());
}

#[test]
fn one_worker_per_tick_sweeps_for_all() {
    let ring = Ring::full(GroupSettings::new());
    let workers = [0, 1, 2, 3].map(|entry| ring.worker(entry));
    let sweeps = |at: u32, tick| {
        workers.iter().filter(|worker| worker.begin_sweep(Millis(at), tick).is_some()).count()
    };
    assert_eq!([5000, 5005, 5009, 5010, 5019, 5021].map(|at| sweeps(at, 10)), [1, 0, 0, 1, 0, 1]);
    // A message that is due earlier, and a worker that looks more often.
    workers[0].expect_sweep(Millis(5021), 3);
    assert_eq!([5023, 5024, 5025].map(|at| sweeps(at, 10)), [0, 1, 0]);
    assert_eq!((sweeps(5026, 2), sweeps(5027, 2)), (1, 0));
    assert_eq!(workers[3].next_sweep_ms(Millis(5028), 10), 8);
    // Times of another boot.
    assert_eq!(sweeps(1, 10), 1);
}

/// Larger than what one sweep looks at, by far.
const LARGE: u64 = 1 << 14;
/// The sweeps of a whole pass over as many messages in flight, and one until it begins.
const PASS: u64 = LARGE / SWEEP_STEPS + 1;
/// The loads of a sweep: three for a fresh message, and those that do not depend on what it finds.
const SWEEP_LOADS: u64 = 2 * SWEEP_STEPS + 200;
const HOUR: Millis = Millis(NOW.0 + 3_600_000);

/// A ring with so many messages of kind 0 that all wait for their next attempt.
fn retries(messages: u64, delay_ms: impl Fn(u64) -> u32) -> (Ring, Worker<Counting>) {
    let mut ring = Ring::empty(LARGE, GroupSettings::new().max_ack_pending(LARGE));
    let worker = ring.worker(0);
    for _ in 0..messages {
        assert!(ring.publish(0));
        let lease = lease(&worker).unwrap();
        worker.nack(lease, Some(delay_ms(lease.position)), NOW).unwrap();
        worker.unpin(lease.position);
    }
    (ring, worker)
}

#[test]
fn an_idle_worker_costs_the_same_however_much_is_in_flight() {
    let (ring, worker) = retries(LARGE, |_| 3_600_000);
    for _ in 0..2 * PASS {
        let (loads, found) = ring.memory.count(|| worker.search(Kinds::Any, NOW, true));
        assert!(found.lease.is_none() && found.outstanding && loads <= SWEEP_LOADS, "a sweep takes {loads}");
        let (loads, _) = ring.memory.count(|| worker.search(Kinds::Any, NOW, false));
        assert!(loads < 30, "a search takes {loads} loads");
    }
    // Leases far from each other.
    let ring = Ring::full(GroupSettings::new().max_ack_pending(CAPACITY));
    let [stuck, worker] = [0, 1].map(|entry| ring.worker(entry));
    for _ in 0..CAPACITY / 32 {
        lease(&stuck).unwrap();
        work(&ring, &worker, 31);
    }
    for _ in 0..8 {
        let (loads, _) = ring.memory.count(|| worker.search(Kinds::Any, NOW, true));
        assert!(loads <= SWEEP_LOADS, "a sweep takes {loads} loads");
    }
}

#[test]
fn a_message_that_falls_due_is_found_within_a_pass_wherever_it_is() {
    for due in [0, 1, SWEEP_STEPS - 1, SWEEP_STEPS, LARGE / 2 + 7, LARGE - 1] {
        let (_, worker) = retries(LARGE, |position| if position == due { 5000 } else { 3_600_000 });
        // Somewhere within a pass.
        for _ in 0..due % 5 {
            worker.search(Kinds::Any, NOW, true);
        }
        let found = (0..PASS).find_map(|_| worker.search(Kinds::Any, Millis(NOW.0 + 5000), true).lease);
        assert_eq!(found.map(|lease| lease.position), Some(due));
    }
}

#[test]
fn a_lease_that_ran_out_is_found_within_a_pass() {
    let (mut ring, worker) = retries(LARGE - 8, |_| 3_600_000);
    let stuck = ring.worker(1);
    (0..8).for_each(|_| assert!(ring.publish(0)));
    let lost = lease(&stuck).unwrap();
    let later = Millis(NOW.0 + 31_000);
    work(&ring, &worker, 7);
    let found = (0..PASS).find_map(|_| worker.search(Kinds::Any, later, true).lease);
    assert_eq!(found.map(|lease| lease.position), Some(lost.position));
}

#[test]
fn a_lease_that_ran_out_is_found_however_much_others_settle_between_two_sweeps() {
    let mut ring = Ring::empty(LARGE, GroupSettings::new());
    let [stuck, worker] = [0, 1].map(|entry| ring.worker(entry));
    (0..LARGE).for_each(|_| assert!(ring.publish(0)));
    let lost = lease(&stuck).unwrap();
    for _ in 0..3 {
        work(&ring, &worker, 5000);
        let (loads, found) = ring.memory.count(|| worker.search(Kinds::Any, NOW, true));
        found.lease.into_iter().for_each(|lease| ack(&worker, lease));
        assert!(loads < 5000 + 1000, "what was settled since is looked at once: {loads} loads");
    }
    let later = Millis(NOW.0 + 31_000);
    let found = worker.search(Kinds::Any, later, true).lease;
    assert_eq!(found.map(|lease| lease.position), Some(lost.position));
}

#[test]
fn messages_that_fall_due_together_need_one_sweep() {
    let (ring, worker) = retries(LARGE, |_| 3_600_000);
    let first = worker.search(Kinds::Any, HOUR, true).lease.unwrap();
    assert_eq!(first.position, 0);
    for position in 1..LARGE {
        let (loads, found) = ring.memory.count(|| worker.search(Kinds::Any, HOUR, false));
        assert_eq!(found.lease.map(|lease| lease.position), Some(position));
        assert!(loads < 30, "a search takes {loads} loads");
    }
}

#[test]
fn what_is_handed_back_is_found_at_once_and_costs_no_walk() {
    let mut ring = Ring::empty(LARGE, GroupSettings::new().max_ack_pending(LARGE));
    let [worker, other] = [0, 1].map(|entry| ring.worker(entry));
    (0..LARGE).for_each(|_| assert!(ring.publish(0)));
    let mut back = lease(&worker).unwrap();
    while let Some(lease) = lease(&other) {
        other.nack(lease, Some(3_600_000), NOW).unwrap();
        other.unpin(lease.position);
    }
    for _ in 0..10 {
        worker.hand_back(back).unwrap();
        worker.unpin(back.position);
        let (loads, found) = ring.memory.count(|| worker.search(Kinds::Any, NOW, false));
        assert!(found.lease.is_some() && loads < 30, "{found:?}, {loads} loads");
        back = found.lease.unwrap();
        // There may be more behind it: some are looked at, once.
        for most in [300, 30] {
            let (loads, found) = ring.memory.count(|| worker.search(Kinds::Any, NOW, false));
            assert!(found.lease.is_none() && loads < most, "{found:?}, {loads} loads");
        }
    }
}

#[test]
fn a_worker_looks_at_what_it_does_not_want_once() {
    for max in [1000, LARGE] {
        let mut ring = Ring::empty(LARGE, GroupSettings::new().max_ack_pending(max));
        let worker = ring.worker(0);
        (0..LARGE - 100).for_each(|_| assert!(ring.publish(0)));
        for kind in [7, 8] {
            assert!(worker.search(Kinds::Equal(kind), NOW, true).lease.is_none());
        }
        for turn in 0..100 {
            let kind = 7 + turn % 2;
            assert!(ring.publish(kind));
            for wanted in [15 - kind, kind] {
                let (loads, found) = ring.memory.count(|| worker.search(Kinds::Equal(wanted), NOW, false));
                assert_eq!(found.lease.is_some(), wanted == kind);
                assert!(loads < if turn == 0 { 3 * LARGE } else { 60 }, "a search takes {loads} loads");
                found.lease.into_iter().for_each(|lease| ack(&worker, lease));
            }
            let (loads, _) = ring.memory.count(|| worker.search(Kinds::Equal(7), NOW, true));
            assert!(loads <= SWEEP_LOADS + 60, "a sweep takes {loads} loads");
        }
    }
}

#[test]
fn near_the_limit_a_message_costs_what_it_costs_elsewhere() {
    let ring = Ring::full(GroupSettings::new().max_ack_pending(100));
    let [stuck, worker] = [0, 1].map(|entry| ring.worker(entry));
    let alone = work(&ring, &worker, 500);
    let held: Vec<Lease> = (0..98)
        .map(|_| {
            work(&ring, &worker, 15);
            lease(&stuck).unwrap()
        })
        .collect();
    work(&ring, &worker, 10);
    let near = work(&ring, &worker, 500);
    assert!(near <= alone + 2, "{near} loads near the limit, {alone} elsewhere");
    // At the limit.
    let last = [lease(&stuck).unwrap(), lease(&stuck).unwrap()];
    for sweep in [false, false, true] {
        let (loads, found) = ring.memory.count(|| worker.search(Kinds::Any, NOW, sweep));
        assert!(found.lease.is_none() && found.limited && loads < SWEEP_LOADS + 700, "{loads} loads");
    }
    // Every place that becomes free is found.
    for lease in held.into_iter().chain(last) {
        ack(&stuck, lease);
        assert_eq!(work(&ring, &worker, 3) / 200, 0);
    }
}

#[test]
fn the_highest_limit_is_no_limit() {
    let ring = Ring::full(GroupSettings::new().max_ack_pending(u64::MAX));
    let [worker, other] = [0, 1].map(|entry| ring.worker(entry));
    let _held = lease(&other).unwrap();
    work(&ring, &worker, CAPACITY - 1);
}

#[test]
fn what_others_lease_below_counts_for_a_worker_that_chooses() {
    let mut ring = Ring::empty(LARGE, GroupSettings::new().max_ack_pending(50));
    let [chooser, other] = [0, 1].map(|entry| ring.worker(entry));
    (0..1000).for_each(|_| assert!(ring.publish(0)));
    (0..60).for_each(|_| assert!(ring.publish(7)));
    let seven = |now| chooser.search(Kinds::Equal(7), now, false).lease;
    (0..20).for_each(|_| assert!(seven(NOW).is_some()));
    let below: Vec<Lease> = (0..30).map(|_| lease(&other).unwrap()).collect();
    assert_eq!(seven(NOW), None, "50 are in flight");
    for lease in &below[..10] {
        ack(&other, *lease);
    }
    let later = Millis(NOW.0 + 1000);
    let again = (0..30).filter(|_| seven(later).is_some()).count();
    assert_eq!(again, 10);
}

#[test]
fn what_is_handed_back_above_a_message_that_is_not_wanted_is_found() {
    let mut ring = Ring::empty(LARGE, GroupSettings::new().max_ack_pending(LARGE));
    let [any, seven] = [0, 1].map(|entry| ring.worker(entry));
    for position in 0..LARGE {
        assert!(ring.publish(if position == LARGE - 2 { 7 } else { 0 }));
    }
    let leases: Vec<Lease> = (0..LARGE).map(|_| lease(&any).unwrap()).collect();
    assert!(seven.search(Kinds::Equal(7), NOW, false).lease.is_none());
    for position in [3, LARGE - 2] {
        any.hand_back(leases[usize::try_from(position).unwrap()]).unwrap();
    }
    let mut found = None;
    for tick in 1..=u32::try_from(PASS).unwrap() {
        let now = Millis(NOW.0 + 10 * tick);
        let (loads, looked) = ring.memory.count(|| seven.search(Kinds::Equal(7), now, false));
        found = found.or(looked.lease);
        let (again, _) = ring.memory.count(|| seven.search(Kinds::Equal(7), now, false));
        assert!(loads <= SWEEP_LOADS && again < 40, "{loads} and {again} loads");
    }
    assert_eq!(found.map(|lease| lease.position), Some(LARGE - 2));
    assert_eq!(lease(&any).unwrap().position, 3);
}
