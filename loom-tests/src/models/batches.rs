//! Batches: sealed messages, which the head publishes all at once or never.

use super::{
    bytes, check_known, consumer, copied_words, geometry, kind_of, leases, producer, publish, read_many,
    take, words,
};
use crate::explore::explore;
use crate::memory::LoomMemory;
use loom::thread;
use slipring_core::format::{Geometry, Meta};
use slipring_core::memory::Memory;
use slipring_core::protocol::batch::Batch;
use slipring_core::protocol::lease::Lessee;
use slipring_core::protocol::observe::{Seen, Watcher};
use slipring_core::protocol::publish::Publisher;
use slipring_core::protocol::read::{Copied, CopyingReader, Reader, Ready};
use slipring_core::protocol::table::{self, Eviction, Start};

/// Claims, fills and seals the next `n` positions.
pub(super) fn seal(publisher: &mut Publisher<LoomMemory>, n: u64) -> Batch<LoomMemory> {
    seal_as(publisher, n, kind_of, bytes)
}

/// The same with other messages than belong there.
fn seal_as(
    publisher: &mut Publisher<LoomMemory>,
    n: u64,
    kind: impl Fn(u64) -> u32,
    bytes: impl Fn(u64) -> [u8; 16],
) -> Batch<LoomMemory> {
    publisher.claim(n);
    let mut batch = publisher.begin_batch(n);
    while let Some(slot) = batch.next_slot() {
        let position = batch.next();
        batch.push(publisher, slot, kind(position), &bytes(position));
    }
    batch
}

/// A batch of two with other words than belong there, which is given up.
fn give_up(publisher: &mut Publisher<LoomMemory>) {
    seal_as(publisher, 2, |_| 7, |_| [7; 16]);
}

/// A batch is given up, a message published where it began, and behind that a batch of two.
fn life(mut publisher: Publisher<LoomMemory>, geometry: Geometry) -> Publisher<LoomMemory> {
    publisher.rescan(0);
    give_up(&mut publisher);
    assert!(publish(&mut publisher, &geometry));
    if publisher.room() < 2 {
        publisher.rescan(0);
    }
    let batch = seal(&mut publisher, 2);
    publisher.publish_batch(&batch);
    publisher
}

/// A gating reader: nothing of the batch that was given up, and of the other one nothing or all.
pub(super) fn sealed(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(4, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let publisher = producer(&memory, &geometry);
        let publishing = thread::spawn(move || life(publisher, geometry));
        for _ in 0..3 {
            if read_many(&mut reader) {
                if reader.tail() == 1 {
                    assert_eq!(reader.poll(), Ok(Ready::Messages(2)), "a batch in pieces");
                }
                reader.release(1);
            }
        }
        let publisher = publishing.join().expect("the producer ends");
        while take(&mut reader) {}
        assert_eq!(reader.tail(), publisher.head(), "published and read");
    })
}

/// As long as nobody gates, room for a batch of two is an eighth of this.
const UNGATED: u64 = 16;

/// A reader that joins in the middle, without having read what came before.
pub(super) fn sealed_join(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(UNGATED, 1);
        let memory = LoomMemory::new(&geometry);
        let publisher = producer(&memory, &geometry);
        let publishing = thread::spawn(move || life(publisher, geometry));
        let mut reader = consumer(&memory, &geometry, 0, Start::Latest);
        take(&mut reader);
        let publisher = publishing.join().expect("the producer ends");
        while take(&mut reader) {}
        assert_eq!(reader.tail(), publisher.head(), "published and read");
    })
}

/// An observer, which goes where it likes.
pub(super) fn sealed_observed(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(UNGATED, 1);
        let memory = LoomMemory::new(&geometry);
        let publisher = producer(&memory, &geometry);
        let mut watcher = Watcher::new(memory.clone(), geometry, 1);
        let publishing = thread::spawn(move || life(publisher, geometry));
        let mut buffer = [0; 16];
        let mut look = || match watcher.look(&mut buffer) {
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
        assert_eq!(watcher.position(), 3);
    })
}

/// An observer of the lap before, over whose messages a batch is filled and given up.
pub(super) fn sealed_lapped(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(2, 1);
        let memory = LoomMemory::new(&geometry);
        let mut gate = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut publisher = producer(&memory, &geometry);
        for _ in 0..2 {
            assert!(publish(&mut publisher, &geometry));
            assert!(take(&mut gate));
        }
        let mut watcher = Watcher::new(memory.clone(), geometry, 0);
        let publishing = thread::spawn(move || {
            publisher.rescan(0);
            give_up(&mut publisher);
            assert!(publish(&mut publisher, &geometry));
        });
        let mut buffer = [0; 16];
        let mut look = || match watcher.look(&mut buffer) {
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
        assert_eq!(watcher.position(), 3);
    })
}

/// A reader that copies.
pub(super) fn sealed_copied(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(4, 1);
        let memory = LoomMemory::new(&geometry);
        let tail =
            table::join(&memory, &geometry, 0, Start::Earliest, Eviction::Agreed).expect("an empty ring");
        let mut reader = CopyingReader::new(memory.clone(), geometry, 0, tail);
        let publisher = producer(&memory, &geometry);
        let publishing = thread::spawn(move || life(publisher, geometry));
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

fn leased(worker: &Lessee<LoomMemory>) -> Option<u64> {
    leases::lease(worker, leases::NOW).map(|lease| lease.position)
}

/// A worker, who leases what it finds meanwhile, and another one, who goes on behind it.
pub(super) fn sealed_claimed(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = leases::ring(4);
        let mut publisher = producer(&memory, &geometry);
        let [here, there] = [0, 1].map(|entry| leases::worker(&memory, &geometry, entry));
        publisher.rescan(0);
        give_up(&mut publisher);
        assert!(publish(&mut publisher, &geometry));
        let publishing = thread::spawn(move || {
            let batch = seal(&mut publisher, 2);
            publisher.publish_batch(&batch);
        });
        let ours = [leased(&here), leased(&here)];
        publishing.join().expect("the producer ends");
        let theirs = leased(&there);
        assert!(theirs.is_none() || !ours.contains(&theirs), "two workers have leased one message");
        let left = leases::drain(&here);
        assert_eq!(left, 3, "every lease has run out: every message can be had");
    })
}

/// A batch is given up, and in its place comes one whose messages are all bare.
fn bare_life(mut publisher: Publisher<LoomMemory>) {
    publisher.rescan(0);
    give_up(&mut publisher);
    send_bare(&mut publisher, 2);
}

/// Publishes a batch of bare messages.
pub(super) fn send_bare(publisher: &mut Publisher<LoomMemory>, n: u64) {
    let batch = seal_as(publisher, n, |_| 0, bytes);
    publisher.publish_batch(&batch);
}

fn take_bare(reader: &mut Reader<LoomMemory>) -> bool {
    if reader.poll_many() == Ok(Ready::Empty) {
        return false;
    }
    let message = reader.message(0);
    assert_eq!(message.meta, Meta::new(16, 0), "length and kind");
    assert_eq!(reader.described(), 0, "nothing was described");
    // SAFETY: the block is the ring's; the position is gated.
    let block = unsafe { reader.memory().read_block(message.block) }.words();
    assert_eq!(block, words(reader.tail()), "the block of position {}", reader.tail());
    reader.release(1);
    true
}

/// A reader from the first message on.
pub(super) fn bare(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(UNGATED, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let publisher = producer(&memory, &geometry);
        let publishing = thread::spawn(move || bare_life(publisher));
        for _ in 0..2 {
            take_bare(&mut reader);
        }
        publishing.join().expect("the producer ends");
        while take_bare(&mut reader) {}
        assert_eq!(reader.tail(), 2, "published and read");
    })
}

/// A reader from the second message on, whose slot says nothing of it, and never will.
pub(super) fn bare_join(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(UNGATED, 1);
        let memory = LoomMemory::new(&geometry);
        let publisher = producer(&memory, &geometry);
        let publishing = thread::spawn(move || {
            let mut publisher = publisher;
            publisher.rescan(0);
            send_bare(&mut publisher, 2);
        });
        let joined = table::join(&memory, &geometry, 0, Start::At(1), Eviction::Refused);
        let reader = joined.ok().map(|tail| Reader::new(memory.clone(), geometry, 0, tail));
        if let Some(mut reader) = reader {
            assert!(take_bare(&mut reader), "the message it joined at was published before");
            assert!(!take_bare(&mut reader));
        }
        publishing.join().expect("the producer ends");
    })
}

/// Reads and releases all that the head vouches for.
fn take_all(reader: &mut Reader<LoomMemory>) -> bool {
    let Ready::Messages(n) = reader.poll_head().expect("a sound ring") else { return false };
    check_known(reader, |_| 0);
    reader.release(n);
    true
}

/// A reader of batches of bare messages, between which a single one is sent.
pub(super) fn bare_between(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(UNGATED, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut publisher = producer(&memory, &geometry);
        publisher.rescan(0);
        let publishing = thread::spawn(move || {
            send_bare(&mut publisher, 2);
            // Of kind 0: its place is all that tells it from a bare one.
            assert!(publish(&mut publisher, &geometry));
            send_bare(&mut publisher, 2);
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
    explore(bound, || {
        let geometry = geometry(UNGATED, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut publisher = producer(&memory, &geometry);
        publisher.rescan(0);
        let publishing = thread::spawn(move || {
            send_bare(&mut publisher, 2);
            assert!(publish(&mut publisher, &geometry));
            let batch = seal(&mut publisher, 2);
            publisher.publish_batch(&batch);
            publisher
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
        let publisher = publishing.join().expect("the producer ends");
        while take() {}
        assert_eq!(reader.tail(), publisher.head(), "published and read");
    })
}

/// An observer at the second place, where first a single message may be, and then a bare one of the lap behind.
pub(super) fn bare_observed(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(2, 1);
        let memory = LoomMemory::new(&geometry);
        let mut gate = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut publisher = producer(&memory, &geometry);
        let mut watcher = Watcher::new(memory.clone(), geometry, 1);
        publisher.rescan(0);
        assert!(publish(&mut publisher, &geometry));
        assert!(take(&mut gate));
        let publishing = thread::spawn(move || {
            assert!(publish(&mut publisher, &geometry));
            assert!(take(&mut gate));
            publisher.rescan(0);
            send_bare(&mut publisher, 2);
        });
        let mut buffer = [0; 16];
        let mut look = || match watcher.look(&mut buffer) {
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
        assert_eq!(watcher.position(), 4);
    })
}
