//! Sleeping and waking: a lost wake-up is a deadlock of the model.

use super::{consumer, geometry, producer, publish, take};
use crate::explore::explore;
use crate::memory::LoomMemory;
use loom::thread;
use slipring_core::format::Geometry;
use slipring_core::protocol::park::Side;
use slipring_core::protocol::publish::Publisher;
use slipring_core::protocol::read::Reader;
use slipring_core::protocol::table::Start;
use std::time::Duration;

const NO_LIMIT: Duration = Duration::MAX;

/// Takes one message; sleeps while there is none.
fn receive(reader: &mut Reader<LoomMemory>) {
    while !take(reader) {
        let ticket = Side::Readers.announce(reader.memory());
        if take(reader) {
            break;
        }
        Side::Readers.sleep(reader.memory(), ticket, NO_LIMIT);
    }
}

fn send(publisher: &mut Publisher<LoomMemory>, geometry: &Geometry) {
    assert!(publish(publisher, geometry), "the ring is large enough");
    if publisher.readers_asleep() {
        publisher.wake_readers();
    }
}

/// A reader sleeps twice: the clearing of its first announcement must not erase its second.
pub(super) fn park_readers(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(2, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut publisher = producer(&memory, &geometry);
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                send(&mut publisher, &geometry);
            }
        });
        for _ in 0..2 {
            receive(&mut reader);
        }
        thread.join().expect("the producer ends");
    })
}

pub(super) fn park_two_readers(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 2);
        let memory = LoomMemory::new(&geometry);
        let [mut here, mut there] = [0, 1].map(|entry| consumer(&memory, &geometry, entry, Start::Earliest));
        let mut publisher = producer(&memory, &geometry);
        let thread = thread::spawn(move || receive(&mut there));
        let producing = thread::spawn(move || send(&mut publisher, &geometry));
        receive(&mut here);
        thread.join().expect("the reader ends");
        producing.join().expect("the producer ends");
    })
}

/// One slot, two readers that hold it: the producer sleeps until both have released, and may be woken by
/// the first in vain.
pub(super) fn park_producer(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 2);
        let memory = LoomMemory::new(&geometry);
        let readers = [0, 1].map(|entry| consumer(&memory, &geometry, entry, Start::Earliest));
        let mut publisher = producer(&memory, &geometry);
        assert!(publish(&mut publisher, &geometry));
        let threads = readers.map(|mut reader| {
            thread::spawn(move || {
                assert!(take(&mut reader), "published before");
                if reader.producer_asleep() {
                    reader.wake_producer();
                }
            })
        });
        while !publish(&mut publisher, &geometry) {
            let ticket = Side::Producer.announce(publisher.memory());
            if publish(&mut publisher, &geometry) {
                break;
            }
            Side::Producer.sleep(publisher.memory(), ticket, NO_LIMIT);
        }
        for thread in threads {
            thread.join().expect("the reader ends");
        }
    })
}
