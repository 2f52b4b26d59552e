//! Publishing, reading in place, and reading by copy.

use super::{
    batches, consumer, copied_words, explore_layouts, fill, geometry, kind_of, publish, read, read_many,
    take, take_over, words,
};
use crate::explore::explore;
use crate::memory::LoomMemory;
use loom::thread;
use slipring_core::format::{Geometry, Meta, producer_page};
use slipring_core::memory::Memory;
use slipring_core::protocol;
use slipring_core::protocol::ahead::Window;
use slipring_core::protocol::observe::Seen;
use slipring_core::protocol::read::Copied;
use slipring_core::protocol::table::{self, Eviction, Start};
use std::sync::atomic::Ordering::Relaxed;

/// A consumer is attached; `messages` are published while it looks `looks` times. Whatever it did
/// not see by then it must find afterwards.
fn stream(
    bound: usize,
    capacity: u64,
    messages: u64,
    looks: usize,
    read: fn(&mut protocol::Consumer<LoomMemory>) -> bool,
) -> usize {
    explore(bound, move || {
        let geometry = geometry(capacity, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut producer = take_over(&memory, &geometry);
        let thread = thread::spawn(move || {
            for _ in 0..messages {
                publish(&mut producer);
            }
            producer
        });
        for _ in 0..looks {
            if read(&mut reader) {
                reader.release(1);
            }
        }
        let producer = thread.join().expect("the producer ends");
        while take(&mut reader) {}
        assert_eq!(reader.tail(), producer.head(), "published and read");
    })
}

pub(super) fn publish_read(bound: usize) -> usize {
    stream(bound, 2, 2, 3, read)
}

/// Of two messages, the second can be reached through the head alone.
pub(super) fn batch(bound: usize) -> usize {
    stream(bound, 4, 2, 2, read_many)
}

/// One slot: the second message overwrites the first as soon as it is released.
pub(super) fn reuse(bound: usize) -> usize {
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
        for _ in 0..2 {
            take(&mut reader);
        }
        let producer = thread.join().expect("the producer ends");
        while take(&mut reader) {}
        assert_eq!(reader.tail(), producer.head(), "published and read");
    })
}

/// The messages that the cursor of a consumer finds next, `n` at most, checked.
fn look_ahead(ahead: &mut protocol::Ahead<'_, LoomMemory>, n: u64) -> Window {
    ahead.poll_many().expect("a sound ring");
    let window = ahead.window(n);
    check_window(ahead.memory(), &window);
    ahead.pass(&window);
    window
}

/// Asserts that a window holds what belongs there, still.
fn check_window(memory: &LoomMemory, window: &Window) {
    for (index, position) in (0..window.count()).zip(window.positions()) {
        let message = window.message(memory, index);
        assert_eq!(message.meta, Meta::new(16, kind_of(position)), "length and kind");
        // SAFETY: the block is the ring's; the position is gated.
        let block = unsafe { memory.read_block(message.block) };
        assert_eq!(block.words(), words(position), "the block of position {position}");
    }
}

/// A consumer reads both blocks of a ring ahead, and releases the first while the producer waits to
/// write over either: the second stays, and what was released is not looked at again.
pub(super) fn read_ahead(bound: usize) -> usize {
    explore_layouts(bound, |layout| {
        let geometry = layout(2, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut producer = take_over(&memory, &geometry);
        for _ in 0..2 {
            assert!(publish(&mut producer));
        }
        let thread = thread::spawn(move || {
            for _ in 0..3 {
                publish(&mut producer);
            }
            producer
        });
        let mut ahead = reader.ahead();
        let both = look_ahead(&mut ahead, 2);
        assert!(both.count() == 2 && ahead.is_full());
        check_window(&memory, &both);
        ahead.release_to(1);
        assert!(ahead.seek(1).expect("a sound ring"));
        let second = look_ahead(&mut ahead, 1);
        assert_eq!(second.positions(), 1..2);
        check_window(&memory, &second);
        look_ahead(&mut ahead, 2);
        // The cursor goes, and nothing of what was not released with it.
        let producer = thread.join().expect("the producer ends");
        assert!(reader.tail() == 1 && read(&mut reader));
        while take(&mut reader) {}
        assert_eq!(reader.tail(), producer.head(), "published and read");
    })
}

/// The same of batches: behind a release in the middle of one, the consumer finds the rest, which
/// no slot announces.
pub(super) fn read_ahead_batched(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(4, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut producer = take_over(&memory, &geometry);
        producer.rescan(0);
        let thread = thread::spawn(move || {
            let batch = batches::fill(&mut producer, 3);
            producer.publish_batch(&batch);
        });
        let mut ahead = reader.ahead();
        for _ in 0..2 {
            look_ahead(&mut ahead, 2);
        }
        let read = ahead.cursor();
        assert!([0, 2, 3].contains(&read), "a batch in pieces: {read}");
        ahead.release_to(read.saturating_sub(1));
        thread.join().expect("the producer ends");
        while look_ahead(&mut ahead, 2).count() > 0 {}
        assert_eq!(ahead.cursor(), 3, "a cursor that had looked before finds it, too");
        assert_eq!(reader.tail(), read.saturating_sub(1));
        while take(&mut reader) {}
        assert_eq!(reader.tail(), 3, "all of the batch");
    })
}

/// A message that its producer did not live to count is found by its slot, also by a cursor that
/// had looked there before.
pub(super) fn read_ahead_uncounted(bound: usize) -> usize {
    explore_layouts(bound, |layout| {
        let geometry = layout(2, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut producer = take_over(&memory, &geometry);
        let mut ahead = reader.ahead();
        assert_eq!(look_ahead(&mut ahead, 1).count(), 0);
        let thread = thread::spawn(move || assert!(publish(&mut producer)));
        thread.join().expect("the producer ends");
        memory.store(producer_page::HEAD, 0, Relaxed);
        assert_eq!(look_ahead(&mut ahead, 1).positions(), 0..1);
    })
}

/// Looks once; true position, content and count or the model fails.
fn look(observer: &mut protocol::Observer<LoomMemory>, buffer: &mut [u8; 16]) -> bool {
    let before = observer.position();
    match observer.look(buffer) {
        Seen::Empty => false,
        Seen::Missed(n) => {
            assert_eq!(observer.position(), before + n, "the count of missed messages is exact");
            true
        }
        Seen::Message { position, meta } => {
            assert_eq!(position, before);
            assert_eq!(meta, Meta::new(16, kind_of(position)), "length and kind");
            assert_eq!(copied_words(buffer), words(position), "the copy of position {position}");
            true
        }
    }
}

fn watch(memory: &LoomMemory, geometry: &Geometry) -> protocol::Observer<LoomMemory> {
    protocol::Observer::new(memory.clone(), *geometry, 0)
}

pub(super) fn observer(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 1);
        let memory = LoomMemory::new(&geometry);
        let mut observer = watch(&memory, &geometry);
        let mut producer = take_over(&memory, &geometry);
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                assert!(publish(&mut producer), "nobody gates");
            }
        });
        let mut buffer = [0; 16];
        look(&mut observer, &mut buffer);
        thread.join().expect("the producer ends");
        while look(&mut observer, &mut buffer) {}
        assert_eq!(observer.position(), 2);
    })
}

/// The newest message, beside a producer that laps the ring: whole, if there is one in so small a
/// ring.
pub(super) fn latest(bound: usize) -> usize {
    explore_layouts(bound, |layout| {
        let geometry = layout(1, 1);
        let memory = LoomMemory::new(&geometry);
        let observer = watch(&memory, &geometry);
        let mut producer = take_over(&memory, &geometry);
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                assert!(publish(&mut producer), "nobody gates");
            }
        });
        newest(&observer);
        thread.join().expect("the producer ends");
        assert_eq!(newest(&observer), Some(1));
        // As if the producer had died before it counted the message.
        memory.store(producer_page::HEAD, 1, Relaxed);
        assert_eq!(newest(&observer), Some(1));
        assert_eq!(observer.position(), 0, "it stays where it is");
    })
}

/// In a ring of four there always is a newest message, once there was one.
pub(super) fn latest_of_four(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(4, 1);
        let memory = LoomMemory::new(&geometry);
        let observer = watch(&memory, &geometry);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let thread = thread::spawn(move || {
            for _ in 0..4 {
                assert!(publish(&mut producer), "nobody gates");
            }
        });
        assert!(newest(&observer).is_some(), "one of four is whole");
        thread.join().expect("the producer ends");
    })
}

/// The position of the newest message, with the content that belongs there.
fn newest(observer: &protocol::Observer<LoomMemory>) -> Option<u64> {
    let mut buffer = [0; 16];
    let (position, meta) = observer.latest(&mut buffer).expect("a sound ring")?;
    assert_eq!(meta, Meta::new(16, kind_of(position)), "length and kind");
    assert_eq!(copied_words(&buffer), words(position), "the copy of position {position}");
    Some(position)
}

/// The producer claims two slots that hold old messages, writes both partly, drops the claim, and
/// publishes one message. Position 1 is then destroyed, although its sequence word is untouched.
pub(super) fn abandoned_claim(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(2, 1);
        let memory = LoomMemory::new(&geometry);
        let mut producer = take_over(&memory, &geometry);
        for _ in 0..2 {
            assert!(publish(&mut producer));
        }
        let mut observer = protocol::Observer::new(memory.clone(), geometry, 1);
        let thread = thread::spawn(move || {
            while producer.room() < 2 {
                // Without any gate, the producer takes the right to overwrite in small steps.
                let before = producer.room();
                producer.rescan(0);
                if producer.room() == before {
                    break;
                }
            }
            let room = producer.room();
            fill(&mut producer, room);
            // Dropped. The next claim is smaller.
            assert!(publish(&mut producer));
        });
        let mut buffer = [0; 16];
        look(&mut observer, &mut buffer);
        look(&mut observer, &mut buffer);
        thread.join().expect("the producer ends");
        while look(&mut observer, &mut buffer) {}
    })
}

/// A successor writes where its predecessor had claimed: an observer that saw the older message
/// must notice.
///
/// Each has a thread of its own, and the join stands for the kernel's lock: in one thread the
/// successor would have its predecessor's fence.
pub(super) fn takeover_watched(bound: usize) -> usize {
    explore_layouts(bound, |layout| {
        let geometry = layout(2, 1);
        let memory = LoomMemory::new(&geometry);
        let mut predecessor = take_over(&memory, &geometry);
        for _ in 0..2 {
            assert!(publish(&mut predecessor));
        }
        let mut observer = watch(&memory, &geometry);
        let successor = memory.clone();
        let claiming = thread::spawn(move || {
            predecessor.rescan(0);
            predecessor.claim(1);
        });
        let producers = thread::spawn(move || {
            claiming.join().expect("the predecessor went");
            let mut producer = take_over(&successor, &geometry);
            assert!(publish(&mut producer), "nobody gates");
        });
        let mut buffer = [0; 16];
        look(&mut observer, &mut buffer);
        producers.join().expect("the producers went");
    })
}

/// Positions are claimed two at a time, and written one at a time: the second without a fence of
/// its own.
pub(super) fn claimed_ahead(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(4, 1);
        let memory = LoomMemory::new(&geometry);
        let mut producer = take_over(&memory, &geometry).claiming_ahead(2);
        for _ in 0..4 {
            assert!(publish(&mut producer));
        }
        let mut observer = watch(&memory, &geometry);
        let writer = thread::spawn(move || {
            for _ in 0..2 {
                assert!(publish(&mut producer));
            }
        });
        let mut buffer = [0; 16];
        look(&mut observer, &mut buffer);
        writer.join().expect("the producer went");
        while look(&mut observer, &mut buffer) {}
    })
}

/// A damaged head lies more than a lap ahead of what was published: it publishes nothing to the
/// readers that copy.
pub(super) fn impossible_head(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(2, 1);
        let memory = LoomMemory::new(&geometry);
        let tail = table::join(&memory, &geometry, 0, Start::Earliest, Eviction::Agreed, || true)
            .expect("an empty ring");
        let mut reader = protocol::EvictableConsumer::new(memory.clone(), geometry, 0, tail);
        let mut observer = protocol::Observer::new(memory.clone(), geometry, 0);
        memory.store(producer_page::HEAD, 3, Relaxed);
        let mut buffer = [0; 16];
        assert_eq!(reader.take(&mut buffer), Copied::Empty);
        assert_eq!(observer.look(&mut buffer), Seen::Empty);
        assert!(observer.latest(&mut buffer).is_err());
    })
}

/// A producer has claimed a whole lap and written none of it: an observer that was lapped goes on
/// at the head, and not an eighth of the ring beyond.
pub(super) fn lapped_by_claim(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(8, 1);
        let memory = LoomMemory::new(&geometry);
        let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut producer = take_over(&memory, &geometry);
        let mut observer = watch(&memory, &geometry);
        for _ in 0..8 {
            assert!(publish(&mut producer) && take(&mut reader));
        }
        producer.rescan(0);
        producer.claim(8);
        assert_eq!(newest(&observer), None, "nothing is whole");
        assert!(look(&mut observer, &mut [0; 16]), "it is told what it missed");
        assert_eq!(observer.position(), producer.head());
    })
}
