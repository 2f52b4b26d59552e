//! What a group costs, in words that are read: independent of how many messages lie between its
//! floor and its frontier.

use slipring_core::format::{Block, Geometry, Millis, Word};
use slipring_core::memory::{BlockWriter, Memory};
use slipring_core::protocol::furnish::{Declared, Staff, furnish};
use slipring_core::protocol::group::table::Birth;
use slipring_core::protocol::group::{self, Group, Kinds};
use slipring_core::protocol::lease::Lease;
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
        let geometry = Geometry::plan(16, CAPACITY, 1).and_then(|plan| plan.with_groups(1, 4)).unwrap();
        let memory = Counting::default();
        let groups = [Staff { name: GROUP.to_owned(), settings, begins_at: None }];
        let declared = Declared { groups: &groups, durables: &[] };
        furnish(&memory, &geometry, declared, 1, Birth { boot: 0, unix_ms: 0, now: NOW }).unwrap();
        let mut ring =
            Ring { producer: Producer::take_over(memory.clone(), geometry).unwrap(), memory, geometry };
        (0..CAPACITY).for_each(|_| assert!(ring.publish()));
        ring
    }

    fn publish(&mut self) -> bool {
        if self.producer.room() == 0 {
            self.producer.rescan(0);
        }
        if self.producer.room() == 0 {
            return false;
        }
        let claimed = self.producer.claim_next();
        self.producer.send(claimed, 0, &[7; 16]);
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
            let lease = lease(worker).unwrap();
            worker.ack(lease).unwrap();
            worker.unpin(lease.position);
            worker.settled(lease.position);
        }
    });
    loads / messages
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
    idle.search(Kinds::Any, NOW, true);
    let (sweep, found) = ring.memory.count(|| idle.search(Kinds::Any, NOW, true));
    assert!(found.lease.is_none() && found.outstanding);
    let (stat, counts) = ring.memory.count(|| ring.group().window_counts(NOW).unwrap());
    assert_eq!((counts.floor, counts.pending, counts.ack_pending), (0, 0, 1));
    assert!(!ring.publish(), "the stuck message gates");
    // It is settled, and no worker moves the floor.
    stuck.ack(held).unwrap();
    stuck.unpin(held.position);
    let (gate, at) = ring.memory.count(|| group::gate(&ring.memory, &ring.geometry, 0, CAPACITY));
    assert_eq!(at, Some(CAPACITY));
    for (what, loads) in [("a sweep", sweep), ("stat", stat), ("the gate", gate)] {
        assert!(loads < 200, "{what} takes {loads} loads");
    }
    assert!(ring.publish());
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
