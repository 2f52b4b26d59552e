//! Batches: sealed messages, which the head publishes all at once or never.

use super::{
    consumer, copied_words, described, geometry, kind_of, leases, producer, publish, read_many, take, words,
    write,
};
use crate::explore::explore;
use crate::memory::LoomMemory;
use loom::thread;
use slipring::layout::{Geometry, Meta};
use slipring::memory::Memory;
use slipring::protocol::lease::Lessee;
use slipring::protocol::observe::{Seen, Watcher};
use slipring::protocol::publish::Publisher;
use slipring::protocol::read::{Copied, CopyingReader, Ready};
use slipring::protocol::table::{self, Start};

/// Claims, fills and seals the next `n` positions.
pub(super) fn seal(publisher: &mut Publisher<LoomMemory>, geometry: &Geometry, n: u64) {
    publisher.claim(n);
    let head = publisher.head();
    for position in head..head + n {
        write(publisher, geometry, position);
        publisher.seal(geometry.slot(position), position, described(position));
    }
}

/// A batch of two with other words than belong there, which is given up.
fn give_up(publisher: &mut Publisher<LoomMemory>, geometry: &Geometry) {
    seal(publisher, geometry, 2);
    for ahead in 0..2 {
        let slot = geometry.slot(publisher.head() + ahead);
        // SAFETY: the index is in range, the position is claimed below the limit.
        unsafe { publisher.memory().write_block(slot) }.fill([7, 7]);
        publisher.describe(slot, Meta::new(7, 7));
    }
}

/// A batch is given up, a message published where it began, and behind that a batch of two.
fn life(mut publisher: Publisher<LoomMemory>, geometry: Geometry) -> Publisher<LoomMemory> {
    publisher.rescan(0);
    give_up(&mut publisher, &geometry);
    assert!(publish(&mut publisher, &geometry));
    if publisher.room() < 2 {
        publisher.rescan(0);
    }
    seal(&mut publisher, &geometry, 2);
    publisher.publish_sealed(2);
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
        for _ in 0..2 {
            take(&mut reader);
        }
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
            give_up(&mut publisher, &geometry);
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
        for _ in 0..2 {
            look();
        }
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
        let tail = table::join(&memory, &geometry, 0, Start::Earliest, true).expect("an empty ring");
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

/// Two workers, who tell each other where to look.
pub(super) fn sealed_claimed(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = leases::ring(4);
        let mut publisher = producer(&memory, &geometry);
        let [here, there] = [0, 1].map(|entry| leases::worker(&memory, &geometry, entry));
        publisher.rescan(0);
        give_up(&mut publisher, &geometry);
        assert!(publish(&mut publisher, &geometry));
        let publishing = thread::spawn(move || {
            seal(&mut publisher, &geometry, 2);
            publisher.publish_sealed(2);
        });
        let working = thread::spawn(move || leased(&there));
        let ours = leased(&here);
        publishing.join().expect("the producer ends");
        let theirs = working.join().expect("the worker ends");
        assert!(ours.is_none() || ours != theirs, "two workers have leased one message");
        let left = leases::drain(&here);
        assert_eq!(left, 3, "every lease has run out: every message can be had");
    })
}
