//! How things end: a closed stream, a killed producer, and what the flight recorder says of it.

use super::{LAYOUTS, Plan, batches, consumer, geometry, publish, read, read_many, take, take_over};
use crate::explore::{explore, killed_at_each};
use crate::memory::{LoomMemory, mortal};
use loom::thread;
use slipring_core::format::producer_page::HEAD;
use slipring_core::format::readers_page::NEXT_EVENT;
use slipring_core::memory::Memory;
use slipring_core::protocol;
use slipring_core::protocol::recorder::{self, EventKind, NewEvent};
use slipring_core::protocol::table::Start;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// One message, then the end. A reader that sees the end has seen the message.
pub(super) fn close(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(2, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut producer = take_over(&memory, &geometry);
        let thread = thread::spawn(move || {
            publish(&mut producer);
            producer.close();
        });
        for _ in 0..2 {
            if !take(&mut reader) && reader.is_drained().expect("a sound ring") {
                assert_eq!(reader.tail(), 1, "drained, but a message is left");
            }
        }
        thread.join().expect("the producer ends");
        while take(&mut reader) {}
        assert_eq!(reader.tail(), 1);
        assert!(reader.is_drained().expect("a sound ring"));
    })
}

/// The stream was closed, and a successor has opened it again.
pub(super) fn reopened(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        take_over(&memory, &geometry).close();
        assert!(reader.is_drained().expect("a sound ring"));
        take_over(&memory, &geometry);
        assert!(!reader.is_drained().expect("a sound ring"), "its producer is there");
    })
}

/// The killed producer's steps: a batch of two, one that is given up, a message, the end.
fn life(producer: &mut protocol::Producer<LoomMemory>) {
    producer.rescan(0);
    let batch = batches::fill(producer, 2);
    producer.publish_batch(&batch);
    batches::fill(producer, 2);
    // Given up.
    publish(producer);
    producer.close();
}

/// The producer is killed before its n-th access, for every n; a reader reads all the while; a
/// successor takes over and goes on.
pub(super) fn takeover(bound: usize) -> usize {
    // With three preemptions: seven times as many executions, and nothing more to be seen.
    LAYOUTS.into_iter().map(|layout| takeover_in(bound.min(2), layout)).sum()
}

fn takeover_in(bound: usize, layout: Plan) -> usize {
    killed_at_each(bound, move |accesses| {
        let geometry = layout(4, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        drop(take_over(&memory, &geometry));
        let fatal = memory.fatal_after(accesses);
        let successor = memory.clone();
        // One thread is both: that the one comes after the other is what the kernel's lock
        // says.
        let producers = thread::spawn(move || {
            let lived = mortal(|| life(&mut take_over(&fatal, &geometry))).is_some();
            (lived, take_over(&successor, &geometry))
        });
        // Each look is at all that the head vouches for: the successor's store of it publishes
        // what the dead one wrote.
        for _ in 0..2 {
            if read_many(&mut reader) {
                reader.release(1);
            }
        }
        let seen = reader.tail();
        let (lived, mut successor) = producers.join().expect("the successor ends");
        assert!(successor.head() >= seen, "something was read that was never published");
        assert!([0, 2, 3].contains(&successor.head()), "a batch in pieces");
        assert_eq!(memory.load(HEAD, Relaxed), successor.head(), "what joiners and observers go by");
        assert!(!reader.is_drained().expect("a sound ring"), "the stream is open again");
        while take(&mut reader) {}
        assert_eq!(reader.tail(), successor.head(), "published and read");
        assert!(publish(&mut successor), "three of four blocks at most are in use");
        assert!(take(&mut reader), "the reader goes on without doing anything");
        lived
    })
}

/// One party, no interleaving: a producer killed before each of its accesses, then its successor
/// killed before each of its own, then a third.
pub(super) fn takeover_killed(bound: usize) -> usize {
    LAYOUTS.into_iter().map(|layout| takeover_killed_in(bound, layout)).sum()
}

fn takeover_killed_in(bound: usize, layout: Plan) -> usize {
    let mut executions = 0;
    for first in 0.. {
        let mut first_survived = false;
        for second in 0.. {
            let survived = Arc::new((AtomicBool::new(false), AtomicBool::new(false)));
            let outcome = Arc::clone(&survived);
            executions += explore(bound, move || {
                let geometry = layout(4, 1);
                let memory = LoomMemory::new(&geometry);
                let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
                let fatal = memory.fatal_after(first);
                let lived = mortal(|| life(&mut take_over(&fatal, &geometry))).is_some();
                // A message that a reader can read now must stay readable.
                let mut witness = 0;
                while read(&mut reader) {
                    reader.release(1);
                    witness += 1;
                }
                let fatal = memory.fatal_after(second);
                let took_over = mortal(|| take_over(&fatal, &geometry).head()).is_some();
                let mut third = take_over(&memory, &geometry);
                assert_eq!(third.head(), witness, "lost or invented by a killed takeover");
                assert!(publish(&mut third));
                assert!(take(&mut reader));
                outcome.0.store(lived, Relaxed);
                outcome.1.store(took_over, Relaxed);
            });
            first_survived = survived.0.load(Relaxed);
            if survived.1.load(Relaxed) {
                break;
            }
        }
        if first_survived {
            break;
        }
    }
    executions
}

/// Event 256 overwrites event 0 while a reader reads the record.
pub(super) fn recorder(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 1);
        let memory = LoomMemory::with_words(&geometry, &recorder::words_of(&geometry, &[0, 255]));
        let entry = |value: u64| NewEvent {
            kind: if value == 1 { EventKind::Attached } else { EventKind::Died },
            position: value,
            pid: value,
            unix_ms: value,
            name: if value == 1 { "a" } else { "b" },
        };
        for _ in 0..2 {
            recorder::record(&memory, &geometry, entry(1));
        }
        memory.store(NEXT_EVENT, 256, Relaxed);
        let writer = memory.clone();
        let thread = thread::spawn(move || recorder::record(&writer, &geometry, entry(2)));
        for (number, value) in [(0, 1), (256, 2)] {
            if let Some(event) = recorder::event(&memory, &geometry, number) {
                assert_eq!(event.kind, entry(value).kind, "a torn record");
                assert_eq!([event.position, event.pid, event.unix_ms], [value; 3], "a torn record");
            }
        }
        thread.join().expect("the writer ends");
        let event = recorder::event(&memory, &geometry, 256).expect("it is whole");
        assert_eq!((event.repeats, event.name.as_str()), (0, "b"), "nothing of the event before");
        assert_eq!(memory.load(NEXT_EVENT, Relaxed), 257);
    })
}
