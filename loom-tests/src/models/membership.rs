//! Joining, leaving, being evicted, and being cleared away.

use super::entries::enter;
use super::{consumer, copied_words, fill, geometry, kind_of, leases, publish, read, take, take_over, words};
use crate::explore::{explore, killed_at_each};
use crate::memory::{LoomMemory, LoomRights, mortal};
use loom::sync::{Arc, Mutex};
use loom::thread;
use slipring_core::format::{EntryFlags, Meta, Tail};
use slipring_core::memory::{Liveness, Memory, Right};
use slipring_core::protocol;
use slipring_core::protocol::membership::{self, ConsumerKind, EnterError};
use slipring_core::protocol::read::Copied;
use slipring_core::protocol::table::{self, Eviction, Start, StartError};
use slipring_core::protocol::tenure::{self, Tenure};
use std::cell::Cell;
use std::sync::atomic::Ordering::Relaxed;

/// A reader joins while the producer laps the ring. From its start on, nothing may be overwritten,
/// and everything must be found.
fn join(bound: usize, start: Start) -> usize {
    explore(bound, move || {
        let geometry = geometry(1, 1);
        let memory = LoomMemory::new(&geometry);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                publish(&mut producer);
            }
            producer
        });
        let joined = table::join(&memory, &geometry, 0, start, Eviction::Refused, || true);
        let mut reader = match joined {
            Ok(tail) => Some(protocol::Consumer::new(memory.clone(), geometry, 0, tail)),
            Err(StartError::BeforeEarliest { requested, earliest }) => {
                assert!(requested < earliest);
                None
            }
            Err(error) => panic!("{error}"),
        };
        if let Some(reader) = &mut reader {
            // In place, and not released: the producer must keep off.
            read(reader);
        }
        let mut producer = thread.join().expect("the producer ends");
        match &mut reader {
            Some(reader) => {
                if let Start::At(position) = start {
                    assert_eq!(reader.tail(), position);
                }
                while take(reader) {}
                assert_eq!(reader.tail(), producer.head(), "published and read");
            }
            None => assert!(publish(&mut producer), "an error must not leave a tail that gates"),
        }
    })
}

pub(super) fn join_earliest(bound: usize) -> usize {
    join(bound, Start::Earliest)
}

pub(super) fn join_latest(bound: usize) -> usize {
    join(bound, Start::Latest)
}

pub(super) fn join_at(bound: usize) -> usize {
    join(bound, Start::At(0))
}

/// A predecessor claimed and wrote a slot of the lap before, and went. A reader joins while its
/// successor scans, which may hope for more than it grants, and for less than was claimed: the
/// reader must not begin at what was written.
pub(super) fn join_takeover(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(16, 1);
        let memory = LoomMemory::new(&geometry);
        let mut predecessor = take_over(&memory, &geometry);
        for _ in 0..15 {
            assert!(publish(&mut predecessor));
        }
        predecessor.rescan(0);
        fill(&mut predecessor, 2);
        drop(predecessor);
        let successor = memory.clone();
        let scanning = thread::spawn(move || {
            let mut producer = take_over(&successor, &geometry);
            producer.rescan(0);
            producer
        });
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        read(&mut reader);
        let producer = scanning.join().expect("the successor ends");
        while take(&mut reader) {}
        assert_eq!(reader.tail(), producer.head(), "published and read");
    })
}

/// A reader joins while a producer goes and another one comes: while there is none, the reader does
/// not ask for the limit.
///
/// The lock stands for the kernel's, under which the right is asked for and given.
pub(super) fn join_left(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 1);
        let memory = LoomMemory::new(&geometry);
        let right = Arc::new(Mutex::new(true));
        let set = |right: &Mutex<bool>, is_held| *right.lock().expect("no model panics there") = is_held;
        let mut predecessor = take_over(&memory, &geometry);
        assert!(publish(&mut predecessor));
        let kernel = Arc::clone(&right);
        let leaving = thread::spawn(move || {
            publish(&mut predecessor);
            set(&kernel, false);
        });
        let (its_memory, kernel) = (memory.clone(), Arc::clone(&right));
        let coming = thread::spawn(move || {
            leaving.join().expect("the predecessor ends");
            set(&kernel, true);
            let mut producer = take_over(&its_memory, &geometry);
            publish(&mut producer);
            producer
        });
        let lives = || *right.lock().expect("no model panics there");
        let tail = table::join(&memory, &geometry, 0, Start::Earliest, Eviction::Refused, lives)
            .expect("the earliest can always be had");
        let mut reader = protocol::Consumer::new(memory.clone(), geometry, 0, tail);
        read(&mut reader);
        let producer = coming.join().expect("the producer ends");
        while take(&mut reader) {}
        assert_eq!(reader.tail(), producer.head(), "published and read");
    })
}

/// A reader joins beside one that is reading: the limit then falls at times, from what a scan hoped
/// for to what it granted.
pub(super) fn join_beside(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 2);
        let memory = LoomMemory::new(&geometry);
        let mut other = consumer(&memory, &geometry, 1, Start::Earliest);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let producing = thread::spawn(move || {
            for _ in 0..2 {
                publish(&mut producer);
            }
            producer
        });
        let reading = thread::spawn(move || {
            take(&mut other);
            other
        });
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        read(&mut reader);
        let producer = producing.join().expect("the producer ends");
        let mut other = reading.join().expect("the reader ends");
        for reader in [&mut reader, &mut other] {
            while take(reader) {}
            assert_eq!(reader.tail(), producer.head(), "published and read");
        }
    })
}

/// A reader joins a ring that nothing has gated for more than a lap. The producer's limit lies
/// beyond what the joiner's first tail allows; a scan that finds this tail must not lower the
/// limit.
pub(super) fn join_ungated(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 1);
        let memory = LoomMemory::new(&geometry);
        let mut producer = take_over(&memory, &geometry);
        for _ in 0..2 {
            assert!(publish(&mut producer));
        }
        let producing = thread::spawn(move || {
            publish(&mut producer);
            assert!(producer.room() <= 1, "there is one slot");
            producer
        });
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        read(&mut reader);
        let producer = producing.join().expect("the producer ends");
        while take(&mut reader) {}
        assert_eq!(reader.tail(), producer.head(), "published and read");
    })
}

/// A reader joins while the limit falls. Another joiner is killed after its first store, which the
/// second look of a scan finds; the producer clears its entry before the next scan.
pub(super) fn join_falling(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 2);
        let (memory, rights) = (LoomMemory::new(&geometry), LoomRights::new());
        let mut producer = take_over(&memory, &geometry);
        for _ in 0..2 {
            assert!(publish(&mut producer));
        }
        tenure::count_entry(&memory, geometry.consumer_entry(1).used(), 1);
        memory.store(geometry.flags(1), EntryFlags::taken(false, false).0, Relaxed);
        let (its_memory, its_hand) = (memory.clone(), rights.party(1));
        assert!(its_hand.seize(Right::Consumer(1)));
        let killed = thread::spawn(move || {
            its_memory.store(geometry.tail(1), Tail::at(0, false).0, Relaxed);
            its_hand.drop_all();
        });
        let joining = memory.clone();
        let joined = thread::spawn(move || {
            let mut reader = consumer(&joining, &geometry, 0, Start::Earliest);
            read(&mut reader);
            reader
        });
        if !publish(&mut producer) && membership::reap(&memory, &geometry, &rights.party(2), 1) {
            publish(&mut producer);
        }
        killed.join().expect("the killed joiner ends");
        let mut reader = joined.join().expect("the reader ends");
        while take(&mut reader) {}
        assert_eq!(reader.tail(), producer.head(), "published and read");
    })
}

/// A reader leaves without releasing what it has just read in place.
pub(super) fn leave(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                publish(&mut producer);
            }
            producer
        });
        memory.store(geometry.flags(0), EntryFlags::taken(false, false).0, Relaxed);
        assert!(read(&mut reader));
        membership::free(&memory, &geometry, 0);
        let mut producer = thread.join().expect("the producer ends");
        assert!(publish(&mut producer), "nobody gates any more");
        assert_eq!(memory.load(geometry.flags(0), Relaxed), EntryFlags::FREE.0, "the entry is free");
    })
}

/// A durable consumer is removed by a process that is killed before each of its accesses. Either it
/// is still there and gates, or its entry is cleared away like any other.
pub(super) fn leaver_killed(bound: usize) -> usize {
    killed_at_each(bound, move |accesses| {
        let geometry = geometry(1, 1);
        let memory = LoomMemory::new(&geometry);
        drop(consumer(&memory, &geometry, 0, Start::Earliest));
        memory.store(geometry.flags(0), EntryFlags::taken(true, false).0, Relaxed);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let fatal = memory.fatal_after(accesses);
        let lived = mortal(|| membership::free(&fatal, &geometry, 0));
        let reaped = membership::reap(&memory, &geometry, &LoomRights::new(), 0);
        assert_eq!(
            reaped,
            accesses > 0 || lived.is_some(),
            "a durable consumer stays until its removal began"
        );
        assert_eq!(publish(&mut producer), reaped, "who stays gates");
        lived.is_some()
    })
}

/// One slot and a reader that agreed to be evicted; the producer needs the slot. Exactly one of the
/// two gets the tail.
pub(super) fn eviction(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 1);
        let memory = LoomMemory::new(&geometry);
        let tail = table::join(&memory, &geometry, 0, Start::Earliest, Eviction::Agreed, || true)
            .expect("an empty ring");
        let mut reader = protocol::EvictableConsumer::new(memory.clone(), geometry, 0, tail);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let thread = thread::spawn(move || {
            while !publish(&mut producer) {
                if let Some(gate) = producer.rescan(0).lowest {
                    producer.evict(gate);
                }
            }
            producer
        });
        let mut next = 0;
        let mut missed = 0;
        let mut seen = 0;
        let mut look = |reader: &mut protocol::EvictableConsumer<LoomMemory>| {
            let mut buffer = [0; 16];
            match reader.take(&mut buffer) {
                Copied::Empty => false,
                Copied::Message { position, meta } => {
                    assert_eq!(position, next, "in order");
                    assert_eq!(meta, Meta::new(16, kind_of(position)), "length and kind");
                    assert_eq!(copied_words(&buffer), words(position), "the copy of position {position}");
                    next += 1;
                    seen += 1;
                    true
                }
                Copied::Evicted => {
                    // It may have come back before the producer used what it had taken.
                    let lost = membership::rejoin(reader, || true).expect("the earliest can always be had");
                    assert_eq!(reader.tail(), next + lost, "a reader never goes back");
                    missed += lost;
                    next = reader.tail();
                    true
                }
            }
        };
        look(&mut reader);
        let producer = thread.join().expect("the producer ends");
        while look(&mut reader) {}
        assert_eq!(producer.head(), 2);
        assert_eq!(seen + missed, 2, "every message is read or counted as missed");
    })
}

/// If an evictable reader gets a message, it is the right one.
fn take_copy(reader: &mut protocol::EvictableConsumer<LoomMemory>) {
    let mut buffer = [0; 16];
    if let Copied::Message { position, meta } = reader.take(&mut buffer) {
        assert_eq!(meta, Meta::new(16, kind_of(position)), "length and kind");
        assert_eq!(copied_words(&buffer), words(position), "the copy of position {position}");
    }
}

/// Publishes a message; evicts the gate if the ring is full.
fn evict_and_publish(producer: &mut protocol::Producer<LoomMemory>) {
    if producer.room() == 0 {
        let scan = producer.rescan(0);
        if let Some(gate) = scan.lowest.filter(|_| producer.room() == 0) {
            producer.evict(gate);
        }
    }
    publish(producer);
}

/// A reader that may be evicted is evicted between the two stores of its joining.
pub(super) fn join_evicted(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 1);
        let memory = LoomMemory::new(&geometry);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let publishing = thread::spawn(move || evict_and_publish(&mut producer));
        let joined = table::join(&memory, &geometry, 0, Start::Earliest, Eviction::Agreed, || true);
        let mut reader =
            protocol::EvictableConsumer::new(memory.clone(), geometry, 0, joined.expect("can always be had"));
        take_copy(&mut reader);
        publishing.join().expect("the producer ends");
    })
}

/// The producer is slow to evict a reader: meanwhile the reader leaves, and another reader, which
/// reads in place, takes its entry.
pub(super) fn evict_reuse(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 1);
        let memory = LoomMemory::new(&geometry).storing_by_exchange();
        table::join(&memory, &geometry, 0, Start::Earliest, Eviction::Agreed, || true)
            .expect("an empty ring");
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let publishing = thread::spawn(move || {
            evict_and_publish(&mut producer);
            producer
        });
        membership::free(&memory, &geometry, 0);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        read(&mut reader);
        let producer = publishing.join().expect("the producer ends");
        while take(&mut reader) {}
        assert_eq!(reader.tail(), producer.head(), "published and read");
    })
}

/// As `reuse`, for a reader that copies: the exchange that releases a message carries that the copy
/// is done.
pub(super) fn copy_release(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 1);
        let memory = LoomMemory::new(&geometry).copying_in_place();
        let tail = table::join(&memory, &geometry, 0, Start::Earliest, Eviction::Agreed, || true)
            .expect("an empty ring");
        let mut reader = protocol::EvictableConsumer::new(memory.clone(), geometry, 0, tail);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let thread = thread::spawn(move || {
            publish(&mut producer);
        });
        let mut buffer = [0; 16];
        assert!(matches!(reader.take(&mut buffer), Copied::Message { position: 0, .. }));
        assert_eq!(copied_words(&buffer), words(0));
        thread.join().expect("the producer ends");
    })
}

/// A durable reader takes a message before the producer has counted it, goes, and comes back while
/// the producer goes on, into the same slot.
pub(super) fn resume(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut producer = take_over(&memory, &geometry);
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                publish(&mut producer);
            }
            producer
        });
        take(&mut reader);
        let left = reader.tail();
        drop(reader);
        let tail = table::resume(&memory, &geometry, 0).expect("a sound ring");
        assert_eq!(tail, left);
        let mut reader = protocol::Consumer::new(memory.clone(), geometry, 0, tail);
        let producer = thread.join().expect("the producer ends");
        while take(&mut reader) {}
        assert_eq!(reader.tail(), producer.head(), "published and read");
    })
}

/// A reader died. The producer clears its entry away while a new reader takes it: the new one must
/// gate.
pub(super) fn reap(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 1);
        let memory = LoomMemory::new(&geometry);
        let rights = LoomRights::new();
        let mut producer = take_over(&memory, &geometry);
        let dead = rights.party(1);
        enter(&memory, &geometry, &dead, ConsumerKind::Ephemeral).expect("the entry is free");
        dead.drop_all();
        assert!(publish(&mut producer));
        let hand = rights.party(2);
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                if !publish(&mut producer) {
                    membership::reap(producer.memory(), &geometry, &hand, 0);
                }
            }
            publish(&mut producer);
            producer
        });
        let entered = enter(&memory, &geometry, &rights.party(3), ConsumerKind::Ephemeral);
        let mut reader = entered.map(|entered| {
            let mut reader = protocol::Consumer::new(memory.clone(), geometry, entered.entry, entered.tail);
            read(&mut reader);
            reader
        });
        let producer = thread.join().expect("the producer ends");
        match &mut reader {
            Ok(reader) => {
                while take(reader) {}
                assert_eq!(reader.tail(), producer.head(), "published and read");
            }
            Err(error) => {
                assert_eq!(*error, EnterError::TableFull, "the producer held the entry");
                assert_eq!(memory.load(geometry.flags(0), Relaxed), EntryFlags::FREE.0, "the entry is free");
            }
        }
    })
}

/// A reader takes an entry that was never used. A party that sees its tail finds the entry counted,
/// and taken.
pub(super) fn used(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(2, 1);
        let memory = LoomMemory::new(&geometry);
        let joining = memory.clone();
        let thread = thread::spawn(move || {
            tenure::succeed(&joining, geometry.consumer_entry(0));
            table::join(&joining, &geometry, 0, Start::Earliest, Eviction::Refused, || true)
                .expect("an empty ring");
        });
        let seen = tenure::look_at(&memory, geometry.consumer_entry(0));
        if seen.tail.position().is_some() {
            assert!(seen.is_counted, "a tail that the producer does not see");
            assert_eq!(seen.generation, 1, "a tail of nobody");
        }
        thread.join().expect("the joiner ends");
    })
}

/// Two readers take entries that were never used: both are counted.
pub(super) fn used_by_two(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(2, 2);
        let memory = LoomMemory::new(&geometry);
        let count = move |memory: &LoomMemory, entry| {
            tenure::count_entry(memory, geometry.consumer_entry(entry).used(), entry);
        };
        let other = memory.clone();
        let thread = thread::spawn(move || count(&other, 1));
        count(&memory, 0);
        thread.join().expect("the other ends");
        assert_eq!(memory.load(geometry.consumer_entry(0).used(), Relaxed), 2);
    })
}

/// The same of workers and their pins, seen by the producer alone.
pub(super) fn used_worker(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = leases::ring(1);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let thread = thread::spawn(move || {
            let worker = leases::worker(&memory, &geometry, 1);
            if let Some(held) = leases::lease(&worker, leases::NOW) {
                assert!(worker.ack(held).is_ok());
                leases::check(&worker, held);
                worker.unpin(held.position);
            }
        });
        publish(&mut producer);
        thread.join().expect("the worker ends");
        assert!(publish(&mut producer) || producer.head() == 2, "nothing is unsettled");
    })
}

/// A reader leaves its entry to a successor, which reads further and leaves too. A party that knows
/// the first reader's generation, and finds the same generation, believes the first reader's words,
/// and none of the successor's.
pub(super) fn succeed(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(4, 1);
        let memory = LoomMemory::new(&geometry);
        let entry = geometry.consumer_entry(0);
        let mut producer = take_over(&memory, &geometry);
        for _ in 0..2 {
            assert!(publish(&mut producer));
        }
        tenure::succeed(&memory, entry);
        let mut first = consumer(&memory, &geometry, 0, Start::At(1));
        let owners = memory.clone();
        let thread = thread::spawn(move || {
            assert!(take(&mut first));
            membership::free(&owners, &geometry, 0);
            tenure::succeed(&owners, entry);
            consumer(&owners, &geometry, 0, Start::At(0));
            membership::free(&owners, &geometry, 0);
        });
        let seen = tenure::look_at(&memory, entry);
        if seen.generation == 1 {
            believe_of_the_first(seen);
        }
        thread.join().expect("the owners end");
        let end = tenure::look_at(&memory, entry);
        assert_eq!((end.generation, end.tail, end.left_at), (2, Tail::NONE, Some(0)));
    })
}

/// The owner of generation 1 began at 1 and left at 2.
fn believe_of_the_first(seen: Tenure) {
    match seen.tail.position() {
        Some(position) => assert!([1, 2].contains(&position), "a position of the successor's: {position}"),
        None => assert_eq!(seen.left_at, Some(2), "gone, and not where it left"),
    }
}

/// An owner is killed before each of its accesses, from taking the entry to leaving it, and cleared
/// away; then another takes it. A party that knows a generation never believes another owner's
/// words.
pub(super) fn owner_killed(bound: usize) -> usize {
    killed_at_each(bound, move |accesses| {
        let geometry = geometry(4, 1);
        let memory = LoomMemory::new(&geometry);
        let rights = LoomRights::new();
        let entry = geometry.consumer_entry(0);
        let mut producer = take_over(&memory, &geometry);
        for _ in 0..2 {
            assert!(publish(&mut producer));
        }
        tenure::succeed(&memory, entry);
        take(&mut consumer(&memory, &geometry, 0, Start::At(1)));
        membership::free(&memory, &geometry, 0);
        let (fatal, joined) = (memory.fatal_after(accesses), Cell::new(false));
        let lived = mortal(|| {
            tenure::succeed(&fatal, entry);
            fatal.store(geometry.flags(0), EntryFlags::taken(false, false).0, Relaxed);
            let mut second = consumer(&fatal, &geometry, 0, Start::At(0));
            joined.set(true);
            take(&mut second);
            membership::free(&fatal, &geometry, 0);
        });
        let found = tenure::look_at(&memory, entry);
        match (found.generation, found.tail.position()) {
            (1, position) => assert_eq!((position, found.left_at), (None, Some(2)), "of the first"),
            (_, Some(position)) => assert!(position <= 1 && found.is_counted, "of the second"),
            (_, None) if joined.get() => assert_eq!(found.left_at, Some(1), "of the second"),
            // Killed before it had joined.
            (_, None) => assert!([None, Some(2)].contains(&found.left_at)),
        }
        assert!(membership::reap(&memory, &geometry, &rights.party(1), 0), "its right is free");
        let cleared = tenure::look_at(&memory, entry);
        assert_eq!((cleared.generation, cleared.tail), (found.generation, Tail::NONE));
        let left_at = found.tail.position().or(found.left_at);
        assert_eq!(cleared.left_at, left_at, "where it had come");
        tenure::succeed(&memory, entry);
        let taken = tenure::look_at(&memory, entry);
        assert_eq!((taken.generation, taken.left_at), (found.generation + 1, None));
        lived.is_some()
    })
}
