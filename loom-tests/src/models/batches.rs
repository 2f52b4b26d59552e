//! Batches: messages that the head publishes all at once or never.

use super::{
    bytes, check_known, consumer, copied_words, explore_layouts, kind_of, leases, publish, read_many, take,
    take_over, words,
};
use crate::memory::LoomMemory;
use loom::thread;
use slipring_core::format::Meta;
use slipring_core::memory::Memory;
use slipring_core::protocol;
use slipring_core::protocol::batch::Batch;
use slipring_core::protocol::observe::Seen;
use slipring_core::protocol::read::{Copied, Ready};
use slipring_core::protocol::table::{self, Eviction, Start};

/// Fills the next `n` positions.
pub(super) fn fill(producer: &mut protocol::Producer<LoomMemory>, n: u64) -> Batch<LoomMemory> {
    fill_as(producer, n, kind_of, bytes)
}

/// The same with other messages than belong there.
fn fill_as(
    producer: &mut protocol::Producer<LoomMemory>,
    n: u64,
    kind: impl Fn(u64) -> u32,
    bytes: impl Fn(u64) -> [u8; 16],
) -> Batch<LoomMemory> {
    let mut batch = producer.begin_batch(n);
    while let Some(slot) = batch.next_slot(producer) {
        let position = batch.next();
        batch.push(producer, slot, kind(position), &bytes(position));
    }
    batch
}

/// A batch of two with other words than belong there, which is given up.
fn give_up(producer: &mut protocol::Producer<LoomMemory>) {
    fill_as(producer, 2, |_| 7, |_| [7; 16]);
}

/// A batch is given up, a message published where it began, and behind that a batch of two.
fn life(mut producer: protocol::Producer<LoomMemory>) -> protocol::Producer<LoomMemory> {
    producer.rescan(0);
    give_up(&mut producer);
    assert!(publish(&mut producer));
    if producer.room() < 2 {
        producer.rescan(0);
    }
    let batch = fill(&mut producer, 2);
    producer.publish_batch(&batch);
    producer
}

/// A gating reader: nothing of the batch that was given up, and of the other one nothing or all.
pub(super) fn batched(bound: usize) -> usize {
    explore_layouts(bound, |geometry| {
        let geometry = geometry(4, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let producer = take_over(&memory, &geometry);
        let publishing = thread::spawn(move || life(producer));
        for _ in 0..3 {
            if read_many(&mut reader) {
                if reader.tail() == 1 {
                    assert_eq!(reader.poll(), Ok(Ready::Messages(2)), "a batch in pieces");
                }
                reader.release(1);
            }
        }
        let producer = publishing.join().expect("the producer ends");
        while take(&mut reader) {}
        assert_eq!(reader.tail(), producer.head(), "published and read");
    })
}

/// Without any gate, room for a batch of two is an eighth of this.
const UNGATED: u64 = 16;

/// A reader that joins in the middle, without having read what came before.
pub(super) fn batched_join(bound: usize) -> usize {
    explore_layouts(bound, |geometry| {
        let geometry = geometry(UNGATED, 1);
        let memory = LoomMemory::new(&geometry);
        let producer = take_over(&memory, &geometry);
        let publishing = thread::spawn(move || life(producer));
        let mut reader = consumer(&memory, &geometry, 0, Start::Latest);
        take(&mut reader);
        let producer = publishing.join().expect("the producer ends");
        while take(&mut reader) {}
        assert_eq!(reader.tail(), producer.head(), "published and read");
    })
}

/// An observer, which goes where it likes.
pub(super) fn batched_observed(bound: usize) -> usize {
    explore_layouts(bound, |geometry| {
        let geometry = geometry(UNGATED, 1);
        let memory = LoomMemory::new(&geometry);
        let producer = take_over(&memory, &geometry);
        let mut observer = protocol::Observer::new(memory.clone(), geometry, 1);
        let publishing = thread::spawn(move || life(producer));
        let mut buffer = [0; 16];
        let mut look = || match observer.look(&mut buffer) {
            Seen::Empty => false,
            Seen::Missed(_) => panic!("nothing is overwritten"),
            Seen::Message { position, meta } => {
                assert_eq!(meta, Meta::new(16, kind_of(position)), "length and kind");
                assert_eq!(copied_words(&buffer), words(position), "the copy of position {position}");
                true
            }
        };
        for _ in 0..2 {
            look();
        }
        publishing.join().expect("the producer ends");
        while look() {}
        assert_eq!(observer.position(), 3);
    })
}

/// An observer of the lap before, over whose messages a batch is filled and given up.
pub(super) fn batched_lapped(bound: usize) -> usize {
    explore_layouts(bound, |geometry| {
        let geometry = geometry(2, 1);
        let memory = LoomMemory::new(&geometry);
        let mut gate = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut producer = take_over(&memory, &geometry);
        for _ in 0..2 {
            assert!(publish(&mut producer));
            assert!(take(&mut gate));
        }
        let mut observer = protocol::Observer::new(memory.clone(), geometry, 0);
        let publishing = thread::spawn(move || {
            producer.rescan(0);
            give_up(&mut producer);
            assert!(publish(&mut producer));
        });
        let mut buffer = [0; 16];
        let mut look = || match observer.look(&mut buffer) {
            Seen::Empty => false,
            Seen::Missed(_) => true,
            Seen::Message { position, meta } => {
                assert_eq!(meta, Meta::new(16, kind_of(position)), "length and kind");
                assert_eq!(copied_words(&buffer), words(position), "the copy of position {position}");
                true
            }
        };
        look();
        publishing.join().expect("the producer ends");
        while look() {}
        assert_eq!(observer.position(), 3);
    })
}

/// A reader that copies.
pub(super) fn batched_copied(bound: usize) -> usize {
    explore_layouts(bound, |geometry| {
        let geometry = geometry(4, 1);
        let memory = LoomMemory::new(&geometry);
        let tail = table::join(&memory, &geometry, 0, Start::Earliest, Eviction::Agreed, || true)
            .expect("an empty ring");
        let mut reader = protocol::EvictableConsumer::new(memory.clone(), geometry, 0, tail);
        let producer = take_over(&memory, &geometry);
        let publishing = thread::spawn(move || life(producer));
        let mut buffer = [0; 16];
        let mut look = || match reader.take(&mut buffer) {
            Copied::Empty => false,
            Copied::Evicted => panic!("there is room"),
            Copied::Message { position, meta } => {
                assert_eq!(meta, Meta::new(16, kind_of(position)), "length and kind");
                assert_eq!(copied_words(&buffer), words(position), "the copy of position {position}");
                true
            }
        };
        for _ in 0..3 {
            look();
        }
        publishing.join().expect("the producer ends");
        while look() {}
        assert_eq!(reader.tail(), 3);
    })
}

fn leased(worker: &protocol::Worker<LoomMemory>) -> Option<u64> {
    leases::lease(worker, leases::NOW).map(|lease| lease.position)
}

/// A worker leases messages meanwhile, and another worker goes on behind it.
pub(super) fn batched_claimed(bound: usize) -> usize {
    explore_layouts(bound, |layout| {
        let (geometry, memory) = leases::ring_on(layout(4, 1));
        let mut producer = take_over(&memory, &geometry);
        let [here, there] = [0, 1].map(|entry| leases::worker(&memory, &geometry, entry));
        producer.rescan(0);
        give_up(&mut producer);
        assert!(publish(&mut producer));
        let publishing = thread::spawn(move || {
            let batch = fill(&mut producer, 2);
            producer.publish_batch(&batch);
        });
        let ours = [leased(&here), leased(&here)];
        publishing.join().expect("the producer ends");
        let theirs = leased(&there);
        assert!(theirs.is_none() || !ours.contains(&theirs), "two workers have leased one message");
        let left = leases::drain(&here);
        assert_eq!(left, 3, "every lease has run out: every message can be had");
    })
}

/// A batch is given up, and in its place comes one of headerless messages alone.
fn headerless_life(mut producer: protocol::Producer<LoomMemory>) {
    producer.rescan(0);
    give_up(&mut producer);
    send_headerless(&mut producer, 2);
}

/// Publishes a batch of headerless messages.
pub(super) fn send_headerless(producer: &mut protocol::Producer<LoomMemory>, n: u64) {
    let batch = fill_as(producer, n, |_| 0, bytes);
    producer.publish_batch(&batch);
}

fn take_headerless(reader: &mut protocol::Consumer<LoomMemory>) -> bool {
    if reader.poll_many() == Ok(Ready::Empty) {
        return false;
    }
    let message = reader.message(0);
    assert_eq!(message.meta, Meta::new(16, 0), "length and kind");
    assert_eq!(reader.headers_ahead(), 0, "no message has a header");
    // SAFETY: the block is the ring's; the position is gated.
    let block = unsafe { reader.memory().read_block(message.block) }.words();
    assert_eq!(block, words(reader.tail()), "the block of position {}", reader.tail());
    reader.release(1);
    true
}

/// A reader from the first message on.
pub(super) fn headerless(bound: usize) -> usize {
    explore_layouts(bound, |geometry| {
        let geometry = geometry(UNGATED, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let producer = take_over(&memory, &geometry);
        let publishing = thread::spawn(move || headerless_life(producer));
        for _ in 0..2 {
            take_headerless(&mut reader);
        }
        publishing.join().expect("the producer ends");
        while take_headerless(&mut reader) {}
        assert_eq!(reader.tail(), 2, "published and read");
    })
}

/// A reader that begins at the second message, which is headerless: its slot never names it.
pub(super) fn headerless_join(bound: usize) -> usize {
    explore_layouts(bound, |geometry| {
        let geometry = geometry(UNGATED, 1);
        let memory = LoomMemory::new(&geometry);
        let producer = take_over(&memory, &geometry);
        let publishing = thread::spawn(move || {
            let mut producer = producer;
            producer.rescan(0);
            send_headerless(&mut producer, 2);
        });
        let joined = table::join(&memory, &geometry, 0, Start::At(1), Eviction::Refused, || true);
        let reader = joined.ok().map(|tail| protocol::Consumer::new(memory.clone(), geometry, 0, tail));
        if let Some(mut reader) = reader {
            assert!(take_headerless(&mut reader), "the message it joined at was published before");
            assert!(!take_headerless(&mut reader));
        }
        publishing.join().expect("the producer ends");
    })
}

/// Reads and releases all that the head vouches for.
fn take_all(reader: &mut protocol::Consumer<LoomMemory>) -> bool {
    let Ready::Messages(n) = reader.poll_head().expect("a sound ring") else { return false };
    check_known(reader, |_| 0);
    reader.release(n);
    true
}

/// A reader of batches of headerless messages, between which a single one is sent.
pub(super) fn headerless_between(bound: usize) -> usize {
    explore_layouts(bound, |geometry| {
        let geometry = geometry(UNGATED, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut producer = take_over(&memory, &geometry);
        producer.rescan(0);
        let publishing = thread::spawn(move || {
            send_headerless(&mut producer, 2);
            // Of kind 0: its place is all that tells it from a headerless one.
            assert!(publish(&mut producer));
            send_headerless(&mut producer, 2);
        });
        for _ in 0..2 {
            take_all(&mut reader);
        }
        publishing.join().expect("the producer ends");
        while take_all(&mut reader) {}
        assert_eq!(reader.tail(), 5, "published and read");
    })
}

/// A reader that finds a message by its slot, and then asks the head how many there are.
pub(super) fn ahead(bound: usize) -> usize {
    explore_layouts(bound, |geometry| {
        let geometry = geometry(UNGATED, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut producer = take_over(&memory, &geometry);
        producer.rescan(0);
        let publishing = thread::spawn(move || {
            send_headerless(&mut producer, 2);
            assert!(publish(&mut producer));
            let batch = fill(&mut producer, 2);
            producer.publish_batch(&batch);
            producer
        });
        let mut take = || {
            let found = reader.poll().expect("a sound ring") != Ready::Empty;
            if found {
                let known = reader.known();
                reader.look_at_head().expect("a sound ring");
                assert!(reader.known() >= known, "what was known is known");
                check_known(&reader, |position| if position < 2 { 0 } else { kind_of(position) });
                reader.release(1);
            }
            found
        };
        for _ in 0..2 {
            take();
        }
        let producer = publishing.join().expect("the producer ends");
        while take() {}
        assert_eq!(reader.tail(), producer.head(), "published and read");
    })
}

/// An observer at the second place, where first a single message may be, and then a headerless one
/// of the lap behind.
pub(super) fn headerless_observed(bound: usize) -> usize {
    explore_layouts(bound, |geometry| {
        let geometry = geometry(2, 1);
        let memory = LoomMemory::new(&geometry);
        let mut gate = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut producer = take_over(&memory, &geometry);
        let mut observer = protocol::Observer::new(memory.clone(), geometry, 1);
        producer.rescan(0);
        assert!(publish(&mut producer));
        assert!(take(&mut gate));
        let publishing = thread::spawn(move || {
            assert!(publish(&mut producer));
            assert!(take(&mut gate));
            producer.rescan(0);
            send_headerless(&mut producer, 2);
        });
        let mut buffer = [0; 16];
        let mut look = || match observer.look(&mut buffer) {
            Seen::Empty => false,
            Seen::Missed(_) => true,
            Seen::Message { position, meta } => {
                let kind = if position == 1 { kind_of(1) } else { 0 };
                assert_eq!(meta, Meta::new(16, kind), "length and kind of position {position}");
                assert_eq!(copied_words(&buffer), words(position), "the copy of position {position}");
                true
            }
        };
        for _ in 0..2 {
            look();
        }
        publishing.join().expect("the producer ends");
        while look() {}
        assert_eq!(observer.position(), 4);
    })
}
