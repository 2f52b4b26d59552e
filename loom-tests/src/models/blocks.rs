//! The content of blocks: the published message, and zeros behind it. In both layouts: blocks
//! beside their slots, and apart.

use super::{consumer, take_over};
use crate::explore::{explore, killed_at_each};
use crate::memory::{LoomMemory, mortal};
use loom::thread;
use slipring_core::format::Geometry;
use slipring_core::memory::{BlockWriter, Memory};
use slipring_core::protocol;
use slipring_core::protocol::read::Ready;
use slipring_core::protocol::table::Start;

/// A block that lies beside its slot, and the shortest that does not.
const BLOCK_SIZES: [u64; 2] = [24, 113];
/// How a message is sent.
const WAYS: [Way; 2] = [Way::Single, Way::Batch];

#[derive(Clone, Copy, Debug)]
enum Way {
    Single,
    Batch,
}

/// Rings of one slot: every message lies over the one before.
fn geometry(block_size: u64) -> Geometry {
    Geometry::plan(block_size, 1, 1).expect("a valid geometry")
}

/// The first bytes of a message; the last ones are below the length of a block.
fn byte(position: u64) -> u8 {
    u8::try_from(position + 1).expect("few messages")
}

/// Sends a message of so many bytes, if there is room for it.
fn send(producer: &mut protocol::Producer<LoomMemory>, way: Way, len: usize) -> bool {
    if producer.room() == 0 {
        producer.rescan(0);
    }
    if producer.room() == 0 {
        return false;
    }
    let message = vec![byte(producer.head()); len];
    match way {
        Way::Single => {
            let claimed = producer.claim_next();
            producer.send(claimed, 1, &message);
        }
        Way::Batch => {
            let mut batch = producer.begin_batch(1);
            let slot = batch.next_slot(producer).expect("a batch of one");
            batch.push(producer, slot, 1, &message);
            producer.publish_batch(&batch);
        }
    }
    true
}

/// Writes all over a block. Then publishes its first bytes, if it is to be a message of so many;
/// else gives the claim up.
fn write_partly(producer: &mut protocol::Producer<LoomMemory>, way: Way, len: Option<usize>) {
    if producer.room() == 0 {
        producer.rescan(0);
    }
    if producer.room() == 0 {
        return;
    }
    let claimed = producer.claim_next();
    let blocks = producer.memory().blocks();
    let mut bytes = vec![0xAA; blocks.block_size()];
    bytes[..len.unwrap_or(0)].fill(byte(claimed.position()));
    match way {
        Way::Single => {
            let block = producer.dirty_block(claimed);
            // SAFETY: the block is that of the claimed position.
            unsafe { blocks.write(block, &bytes) };
            if let Some(len) = len {
                producer.publish(claimed, 1, len);
            }
        }
        Way::Batch => {
            let mut batch = producer.begin_batch(1);
            let slot = batch.next_slot(producer).expect("a batch of one");
            batch.mark_dirty(1);
            // SAFETY: as above.
            unsafe { blocks.write(batch.slots().packed(slot), &bytes) };
            if let Some(len) = len {
                batch.add(producer, slot, 1, len);
                producer.publish_batch(&batch);
            }
        }
    }
}

/// Looks at the whole block of the next message, if it is there, and releases it.
fn take(reader: &mut protocol::Consumer<LoomMemory>) -> bool {
    if reader.poll() == Ok(Ready::Empty) {
        return false;
    }
    let message = reader.message(0);
    // SAFETY: the block is the ring's; the position is gated.
    let bytes = unsafe { reader.memory().read_block(message.block) }.bytes();
    let (sent, behind) = bytes.split_at(message.meta.len());
    assert!(sent.iter().all(|&sent| sent == byte(reader.tail())), "{sent:?} at {}", reader.tail());
    assert!(behind.iter().all(|&byte| byte == 0), "behind {} bytes: {behind:?}", sent.len());
    reader.release(1);
    true
}

/// A long message, a shorter one; then one that is given up, a short one, and one that was filled
/// in place; each in every way. A reader looks at the whole block of each.
pub(super) fn stale(bound: usize) -> usize {
    let mut executions = 0;
    for block_size in BLOCK_SIZES {
        for ways in WAYS.into_iter().flat_map(|first| WAYS.map(|second| [first, second])) {
            executions += explore(bound, move || {
                let geometry = geometry(block_size);
                let memory = LoomMemory::new(&geometry);
                let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
                let mut producer = take_over(&memory, &geometry);
                assert!(send(&mut producer, ways[0], 18));
                let publishing = thread::spawn(move || {
                    send(&mut producer, ways[1], 9);
                    producer
                });
                take(&mut reader);
                let mut producer = publishing.join().expect("the producer ends");
                while take(&mut reader) {}
                for (given_up, sent) in [(ways[1], ways[0]), (ways[0], ways[0]), (ways[1], ways[1])] {
                    write_partly(&mut producer, given_up, None);
                    assert!(send(&mut producer, sent, 3));
                    assert!(take(&mut reader));
                    write_partly(&mut producer, sent, Some(5));
                    assert!(take(&mut reader));
                }
            });
        }
    }
    executions
}

/// The producer is killed before its n-th access, for every n; its successor sends a short message.
pub(super) fn stale_killed(bound: usize) -> usize {
    let mut executions = 0;
    for block_size in BLOCK_SIZES {
        for ways in WAYS.into_iter().flat_map(|first| WAYS.map(|second| [first, second])) {
            executions += killed_at_each(bound, move |accesses| {
                let geometry = geometry(block_size);
                let memory = LoomMemory::new(&geometry);
                let mut reader = consumer(&memory, &geometry, 0, Start::Earliest);
                let mut producer = take_over(&memory, &geometry);
                assert!(send(&mut producer, ways[1], 18));
                assert!(take(&mut reader));
                let fatal = memory.fatal_after(accesses);
                let life = || {
                    let mut producer = take_over(&fatal, &geometry);
                    write_partly(&mut producer, ways[0], None);
                    send(&mut producer, ways[0], 9);
                };
                let lived = mortal(life).is_some();
                take(&mut reader);
                let mut successor = take_over(&memory, &geometry);
                assert!(send(&mut successor, ways[1], 3));
                while take(&mut reader) {}
                assert_eq!(reader.tail(), successor.head(), "published and read");
                lived
            });
        }
    }
    executions
}
