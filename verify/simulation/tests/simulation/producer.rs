//! The producer: what `Producer` does with the protocol.

use crate::memory::SimMemory;
use crate::oracle::{Message, Oracle};
use crate::world::{Actor, Turn};
use slipring_core::format::{Block, Meta};
use slipring_core::memory::{Clock, Liveness, Memory, Right};
use slipring_core::protocol::make_room::{Policy, Removal, RoomMaker};
use slipring_core::protocol::publish::Publisher;
use slipring_core::protocol::recorder;
use std::sync::atomic::Ordering::Relaxed;

pub(crate) struct Publishing {
    publisher: Option<Publisher<SimMemory>>,
    policy: Policy,
    room: RoomMaker,
}

impl Publishing {
    /// Durable consumers may be away for so long, and the producer wants room; 0: for ever.
    pub(crate) fn patient_for(durable_inactive_ms: u64) -> Publishing {
        let policy = Policy { required_readers: 0, durable_inactive_ms };
        Publishing { publisher: None, policy, room: RoomMaker::new(policy) }
    }
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
                self.room = RoomMaker::new(self.policy);
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
        let geometry = turn.geometry();
        let log = |Removal { kind, position, name, pid }: Removal| {
            let entry = recorder::Entry { kind, position, pid, unix_ms: memory.unix_ms(), name: &name };
            recorder::try_record(&memory, &geometry, &memory, entry);
        };
        if publisher.room() == 0 && !self.room.make_room(publisher, &memory, &memory, log) {
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
