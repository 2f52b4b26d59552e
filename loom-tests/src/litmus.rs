//! Outcomes that the checker itself must see, and must not see. A checker that misses one of these
//! would pass protocols that are wrong.

use crate::explore::{Model, explore};
use crate::memory::{LoomMemory, LoomRights};
use loom::thread;
use slipring_core::format::Geometry;
use slipring_core::format::producer_page::{CLAIMED, HEAD};
use slipring_core::memory::{BlockWriter, Futex as _, Liveness, Memory, Right};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{self, Acquire, Relaxed, Release, SeqCst};

/// The litmus tests, to be run before any model.
pub const LITMUS: &[Model] = &[
    Model {
        name: "litmus_message_passing",
        question: "is a relaxed message seen stale, and an ordered one never?",
        executions: 16,
        run: message_passing,
    },
    Model {
        name: "litmus_fences",
        question: "do fences order relaxed accesses around them?",
        executions: 16,
        run: fences,
    },
    Model {
        name: "litmus_store_buffering",
        question: "do both sides miss the other without SeqCst fences, and never with them?",
        executions: 44,
        run: store_buffering,
    },
    Model {
        name: "litmus_hidden_store",
        question: "is a store explored between two loads of a thread that had loaded before?",
        executions: 74,
        run: hidden_store,
    },
    Model {
        name: "litmus_load_then_exchange",
        question: "is a store explored between another thread's load and its compare-exchange?",
        executions: 32,
        run: load_then_exchange,
    },
    Model {
        name: "litmus_in_place",
        question: "is a reader in place that overlaps with the writer found?",
        executions: 1,
        run: overlap_in_place,
    },
    Model {
        name: "litmus_death",
        question: "does taking a dead party's right show everything it wrote?",
        executions: 4,
        run: death,
    },
];

fn geometry() -> Geometry {
    Geometry::plan(16, 1, 1).expect("a valid geometry")
}

fn memory() -> LoomMemory {
    LoomMemory::new(&geometry())
}

/// How often an outcome was seen over all executions of a scenario.
fn outcomes(bound: usize, scenario: impl Fn() -> bool + Sync + Send + 'static) -> (usize, usize) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let executions = explore(bound, move || {
        counter.fetch_add(usize::from(scenario()), Relaxed);
    });
    (executions, seen.load(Relaxed))
}

fn message_passing(bound: usize) -> usize {
    let stale = |store: Ordering, load: Ordering| {
        outcomes(bound, move || {
            let memory = memory();
            let writer = memory.clone();
            let thread = thread::spawn(move || {
                writer.store(CLAIMED, 1, Relaxed);
                writer.store(HEAD, 1, store);
            });
            let stale = memory.load(HEAD, load) == 1 && memory.load(CLAIMED, Relaxed) == 0;
            thread.join().expect("the writer ends");
            stale
        })
    };
    let (ordered, never) = stale(Release, Acquire);
    assert_eq!(never, 0, "release and acquire do not carry the message");
    for (store, load) in [(Relaxed, Acquire), (Release, Relaxed), (Relaxed, Relaxed)] {
        assert_ne!(stale(store, load).1, 0, "the stale message is not explored");
    }
    ordered
}

fn fences(bound: usize) -> usize {
    let (executions, stale) = outcomes(bound, || {
        let memory = memory();
        let writer = memory.clone();
        let thread = thread::spawn(move || {
            writer.store(CLAIMED, 1, Relaxed);
            writer.fence(Release);
            writer.store(HEAD, 1, Relaxed);
        });
        let seen = memory.load(HEAD, Relaxed) == 1;
        memory.fence(Acquire);
        let stale = seen && memory.load(CLAIMED, Relaxed) == 0;
        thread.join().expect("the writer ends");
        stale
    });
    assert_eq!(stale, 0, "fences do not carry the message");
    executions
}

fn store_buffering(bound: usize) -> usize {
    let both_missed = |fence: Ordering| {
        outcomes(bound, move || {
            let memory = memory();
            let other = memory.clone();
            let thread = thread::spawn(move || {
                other.store(CLAIMED, 1, Relaxed);
                other.fence(fence);
                other.load(HEAD, Relaxed)
            });
            memory.store(HEAD, 1, Relaxed);
            memory.fence(fence);
            let here = memory.load(CLAIMED, Relaxed);
            here == 0 && thread.join().expect("the other side ends") == 0
        })
    };
    assert_ne!(both_missed(std::sync::atomic::Ordering::AcqRel).1, 0, "store buffering is not explored");
    let (executions, missed) = both_missed(SeqCst);
    assert_eq!(missed, 0, "SeqCst fences do not forbid store buffering");
    executions
}

/// The outcome that loom 0.7 does not explore without the shadow of [`LoomMemory`]: found by
/// comparing the outcomes of random small programs with and without it.
fn hidden_store(bound: usize) -> usize {
    let (executions, seen) = outcomes(bound, || {
        let memory = memory();
        let other = memory.clone();
        let thread = thread::spawn(move || {
            let read = [other.load(HEAD, Relaxed), other.load(CLAIMED, Relaxed)];
            other.fence(Release);
            other.store(HEAD, 3, Relaxed);
            read
        });
        let read = [memory.load(HEAD, Relaxed), memory.load(HEAD, Relaxed), memory.load(HEAD, Acquire)];
        thread.join().expect("the other side ends") == [0, 0] && read == [0, 0, 3]
    });
    assert_ne!(seen, 0, "the store between the loads is not explored");
    executions
}

/// The shape of a word that one party changes by load and compare-exchange and another stores to.
fn load_then_exchange(bound: usize) -> usize {
    let (executions, between) = outcomes(bound, || {
        let memory = memory();
        let other = memory.clone();
        let thread = thread::spawn(move || other.store(HEAD, 7, Relaxed));
        let seen = memory.load(HEAD, Relaxed);
        let lost = seen == 0 && memory.compare_exchange(HEAD, 0, 1, Relaxed, Relaxed) == Err(7);
        thread.join().expect("the other side ends");
        lost
    });
    assert_ne!(between, 0, "the store between load and compare-exchange is not explored");
    executions
}

fn overlap_in_place(bound: usize) -> usize {
    // The panic is the wanted outcome: it need not be printed. No other thread runs yet.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = std::panic::catch_unwind(|| {
        explore(bound, || {
            let (memory, slots) = (memory(), geometry().slots());
            let block = slots.single(slots.at(0));
            let writer = memory.clone();
            let thread = thread::spawn(move || {
                // SAFETY: none, on purpose: this is the overlap that must be found.
                unsafe { writer.write(block, &[1; 16]) };
            });
            // SAFETY: as above.
            let _ = unsafe { memory.read_block(block) }.words();
            thread.join().expect("the writer ends");
        })
    });
    std::panic::set_hook(hook);
    assert!(found.is_err(), "an overlap in place was not found");
    1
}

fn death(bound: usize) -> usize {
    explore(bound, || {
        let (memory, rights) = (memory(), LoomRights::new());
        assert!(rights.party(1).seize(Right::Producer));
        let (victim, victim_rights) = (memory.clone(), rights.party(1));
        let thread = thread::spawn(move || {
            victim.store(CLAIMED, 1, Relaxed);
            victim_rights.release(Right::Producer);
        });
        if rights.seize(Right::Producer) {
            assert_eq!(memory.load(CLAIMED, Relaxed), 1, "the dead party's store is not seen");
        }
        memory.wake_all(slipring_core::format::producer_page::WAKE);
        thread.join().expect("the victim ends");
    })
}
