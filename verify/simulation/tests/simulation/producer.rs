//! The producer: what `Producer` does with the protocol.

use crate::memory::SimMemory;
use crate::oracle::{Message, Oracle};
use crate::world::{Actor, Turn};
use slipring_core::format::{Block, EntryFlags, Meta};
use slipring_core::memory::{Liveness, Memory, Right};
use slipring_core::protocol::group::{self, Group};
use slipring_core::protocol::publish::{Gate, Publisher, Who};
use slipring_core::protocol::table;
use std::sync::atomic::Ordering::Relaxed;

#[derive(Default)]
pub(crate) struct Publishing {
    publisher: Option<Publisher<SimMemory>>,
}

impl Actor for Publishing {
    fn act(&mut self, turn: &mut Turn<'_>) {
        let memory = turn.memory.clone();
        let Some(publisher) = &mut self.publisher else {
            if memory.seize(Right::Producer) {
                let publisher = Publisher::take_over(memory, turn.geometry()).expect("a sound ring");
                // As large rings do: what is claimed is more than what is asked for.
                let publisher = publisher.stretching(turn.dice.pick(&[1, 2, 7]));
                assert_eq!(publisher.head(), turn.oracle().end(), "where the next producer begins");
                self.publisher = Some(publisher);
            }
            return;
        };
        if turn.oracle().end() >= turn.world.goal {
            return;
        }
        if turn.dice.hits(40) {
            memory.release(Right::Producer);
            self.publisher = None;
            return;
        }
        if publisher.room() == 0 && !make_room(publisher, &memory) {
            return;
        }
        let room = publisher.room().min(turn.geometry().capacity());
        let n = 1 + turn.dice.roll(room);
        publisher.claim(n);
        let abandoned = turn.dice.hits(8);
        let slots = turn.geometry().slots();
        if n > 1 || turn.dice.hits(2) {
            let mut batch = publisher.begin_batch(n);
            let pushed = if turn.dice.hits(3) { turn.dice.roll(n + 1) } else { n };
            for position in (publisher.head()..).take(usize::try_from(pushed).unwrap()) {
                let slot = slots.at(position);
                let meta = write(turn, publisher, position, slots.packed(slot), !abandoned);
                batch.add(slot, meta, |word, value| publisher.memory().store(word, value, Relaxed));
            }
            match pushed {
                _ if abandoned => {}
                0 => publisher.end_batch(&batch),
                _ => publisher.publish_batch(&batch),
            }
        } else {
            let position = publisher.head();
            let slot = slots.at(position);
            let meta = write(turn, publisher, position, slots.single(slot), !abandoned);
            publisher.describe(slot, meta);
            if !abandoned {
                publisher.publish(slot, position);
            }
        }
        if !abandoned && publisher.readers_asleep() {
            publisher.wake_readers();
        }
    }

    fn died(&mut self, _oracle: &mut Oracle) {
        self.publisher = None;
    }

    fn may_be_missed(&self) -> bool {
        false
    }

    fn is_done(&self, _oracle: &Oracle) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "producer"
    }
}

/// Fills a claimed position, and returns how its message is described.
fn write(
    turn: &Turn<'_>,
    publisher: &Publisher<SimMemory>,
    position: u64,
    block: Block,
    meant: bool,
) -> Meta {
    let stamp = turn.oracle().stamp();
    let words = [position, stamp];
    let meta =
        Meta::new(u32::try_from(turn.geometry().block_size()).unwrap(), u32::try_from(stamp % 3).unwrap());
    if meant {
        turn.oracle().means(position, Message { words, meta: meta.0 });
    }
    // SAFETY: the block is of this geometry, and the position claimed.
    unsafe { publisher.memory().write_block(block) }.fill(words);
    meta
}

/// Scans, and removes from the way whoever may be removed: the dead and the evictable.
fn make_room(publisher: &mut Publisher<SimMemory>, memory: &SimMemory) -> bool {
    loop {
        let scan = publisher.rescan(0);
        if publisher.room() > 0 {
            return true;
        }
        if !scan.lowest.is_some_and(|gate| dislodge(publisher, memory, gate)) {
            return false;
        }
    }
}

fn dislodge(publisher: &mut Publisher<SimMemory>, memory: &SimMemory, gate: Gate) -> bool {
    let geometry = *publisher.geometry();
    match gate.who {
        Who::Consumer(_, tail) if tail.is_evictable() => {
            publisher.evict(gate);
            true
        }
        Who::Consumer(entry, _) => {
            let durable = EntryFlags(memory.load(geometry.flags(entry), Relaxed)).is_durable();
            !durable && table::reap(memory, &geometry, memory, entry)
        }
        Who::Worker(entry) => group::unpin_dead(memory, &geometry, memory, entry),
        Who::Group(number) => {
            let cleared = memory.seize(Right::Table)
                && group::clear_unfinished(&Group::new(memory.clone(), geometry, number));
            memory.release(Right::Table);
            cleared
        }
    }
}
