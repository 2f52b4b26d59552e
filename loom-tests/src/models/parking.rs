//! Sleeping and waking: a lost wake-up is a deadlock of the model.

use super::{consumer, geometry, publish, read, take, take_over};
use crate::explore::explore;
use crate::memory::LoomMemory;
use loom::thread;
use slipring_core::format::{Geometry, readers_page};
use slipring_core::memory::Memory;
use slipring_core::protocol;
use slipring_core::protocol::Damage;
use slipring_core::protocol::park::Side;
use slipring_core::protocol::read::Ready;
use slipring_core::protocol::table::Start;
use std::convert::Infallible;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const NO_LIMIT: Duration = Duration::MAX;

/// Takes one message; sleeps while there is none.
fn receive(reader: &mut protocol::Consumer<LoomMemory>) {
    while !take(reader) {
        sleep(reader);
    }
}

/// As a consumer that waits.
fn sleep(reader: &mut protocol::Consumer<LoomMemory>) {
    let look =
        |reader: &mut protocol::Consumer<_>| Ok::<_, Damage>((!reader.has_news()?).then_some(NO_LIMIT));
    Side::Readers.sleep_unless(reader, protocol::Consumer::memory, look).expect("a sound ring");
}

/// As a producer that waits for room.
pub(super) fn sleep_for_room(producer: &mut protocol::Producer<LoomMemory>) {
    let look = |producer: &mut protocol::Producer<_>| {
        producer.rescan(0);
        Ok::<_, Infallible>((producer.room() == 0).then_some(NO_LIMIT))
    };
    let Ok(()) = Side::Producer.sleep_unless(producer, protocol::Producer::memory, look);
}

fn send(producer: &mut protocol::Producer<LoomMemory>) {
    assert!(publish(producer), "the ring is large enough");
    producer.wake_readers();
}

/// A reader sleeps twice: the clearing of its first announcement must not erase its second.
pub(super) fn park_readers(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(2, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut producer = take_over(&memory, &geometry);
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                send(&mut producer);
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
        let mut producer = take_over(&memory, &geometry);
        let thread = thread::spawn(move || receive(&mut there));
        let producing = thread::spawn(move || send(&mut producer));
        receive(&mut here);
        thread.join().expect("the reader ends");
        producing.join().expect("the producer ends");
    })
}

/// One slot, two readers that hold it: the producer sleeps until both have released, and may be
/// woken by the first in vain.
pub(super) fn park_producer(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 2);
        let memory = LoomMemory::new(&geometry);
        let readers = [0, 1].map(|entry| consumer(&memory, &geometry, entry, Start::Earliest));
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let threads = readers.map(|mut reader| {
            thread::spawn(move || {
                assert!(take(&mut reader), "published before");
                reader.wake_behind();
            })
        });
        while !publish(&mut producer) {
            sleep_for_room(&mut producer);
        }
        for thread in threads {
            thread.join().expect("the reader ends");
        }
    })
}

/// A reader takes a message before the producer wakes for it, and then goes to sleep: the late wake
/// brings the reader nothing, and must not clear its announcement unnoticed.
pub(super) fn park_taken(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(2, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        assert!(take(&mut reader));
        let thread = thread::spawn(move || {
            producer.wake_readers();
            send(&mut producer);
        });
        receive(&mut reader);
        thread.join().expect("the producer ends");
    })
}

/// Sleeps until every reader has released the first message.
struct Sleeper {
    memory: LoomMemory,
    geometry: Geometry,
    has_room: bool,
}

impl Sleeper {
    fn look(&mut self) -> Result<Option<Duration>, Infallible> {
        let mut tails = self.geometry.consumer_entries().map(|entry| self.geometry.tail(entry));
        self.has_room = tails.all(|tail| self.memory.load(tail, Relaxed) == 1);
        Ok((!self.has_room).then_some(NO_LIMIT))
    }
}

/// Three readers hold one message. Two of them release it and see the announcement of a sleeper
/// that was killed; one is slow to wake, and clears the announcement of the next sleeper. That
/// sleeper still waits for the third reader.
pub(super) fn park_slow_waker(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 3);
        let memory = LoomMemory::new(&geometry);
        let readers = [0, 1, 2].map(|entry| consumer(&memory, &geometry, entry, Start::Earliest));
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        memory.store(readers_page::PRODUCER_ASLEEP, 1, Relaxed);
        let [slow, mut quick, last] = readers.map(|mut reader| {
            assert!(read(&mut reader));
            reader
        });
        let release = |reader: &mut protocol::Consumer<LoomMemory>| {
            reader.release(1);
            reader.wake_behind();
        };
        let releasing = |mut reader| thread::spawn(move || release(&mut reader));
        let slow = releasing(slow);
        release(&mut quick);
        let last = releasing(last);
        let mut sleeper = Sleeper { memory, geometry, has_room: false };
        while !sleeper.has_room {
            let Ok(()) = Side::Producer.sleep_unless(&mut sleeper, |it| &it.memory, Sleeper::look);
        }
        for thread in [slow, last] {
            thread.join().expect("the reader ends");
        }
    })
}

/// The stream ends while its reader goes to sleep.
pub(super) fn park_closed(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut producer = take_over(&memory, &geometry);
        let closing = thread::spawn(move || producer.close());
        while !reader.is_drained().expect("a sound ring") {
            sleep(&mut reader);
        }
        closing.join().expect("the producer ends");
    })
}

fn memory_of(readers: &[protocol::Consumer<LoomMemory>; 2], ring: usize) -> &LoomMemory {
    readers[ring].memory()
}

/// Two rings, each with a producer that sends one message, and one reader of both, which sleeps on
/// both at once.
pub(super) fn park_any(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 1);
        let here = LoomMemory::new(&geometry);
        let memories = [here.beside(&geometry), here];
        let mut readers = memories.each_ref().map(|memory| consumer(memory, &geometry, 0, Start::Earliest));
        let threads = memories.map(|memory| {
            let mut producer = take_over(&memory, &geometry);
            thread::spawn(move || send(&mut producer))
        });
        let mut taken = 0;
        while taken < 2 {
            if let Some(reader) = readers.iter_mut().find_map(|reader| take(reader).then_some(reader)) {
                assert_eq!(reader.tail(), 1, "each ring has one message");
                taken += 1;
                continue;
            }
            let look = |readers: &mut [protocol::Consumer<LoomMemory>; 2]| {
                let news = readers.each_mut().map(|reader| reader.poll().map(|ready| ready != Ready::Empty));
                let [one, other] = news;
                Ok::<_, Damage>((!one? && !other?).then_some(NO_LIMIT))
            };
            let slept = Side::sleep_unless_any(
                &mut readers,
                &[0, 1].map(|ring| (ring, Side::Readers)),
                memory_of,
                look,
            );
            assert_eq!(slept, Ok(true));
        }
        for thread in threads {
            thread.join().expect("the producer ends");
        }
    })
}
