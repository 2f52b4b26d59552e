//! The producer: what `Producer` does with the protocol.

use crate::memory::SimMemory;
use crate::oracle::{Message, Oracle};
use crate::world::{Actor, Turn};
use slipring_core::format::{Block, Meta};
use slipring_core::memory::{BlockWriter, Clock, Liveness, Memory, Right};
use slipring_core::protocol;
use slipring_core::protocol::make_room::{Policy, Removal, RoomMaker};
use slipring_core::protocol::recorder;

pub(crate) struct Publishing {
    producer: Option<protocol::Producer<SimMemory>>,
    policy: Policy,
    room: RoomMaker,
}

impl Publishing {
    /// Durable consumers may be away for so long, and the producer wants room; 0: for ever.
    pub(crate) fn patient_for(durable_inactive_ms: u64) -> Publishing {
        let policy = Policy { required_readers: 0, durable_inactive_ms };
        Publishing { producer: None, policy, room: RoomMaker::new(policy) }
    }
}

impl Actor for Publishing {
    fn act(&mut self, turn: &mut Turn<'_>) {
        let memory = turn.memory.clone();
        let Some(producer) = &mut self.producer else {
            if memory.seize(Right::Producer) {
                let producer = protocol::Producer::take_over(memory, turn.geometry()).expect("a sound ring");
                // As large rings do: what is claimed is more than what is asked for.
                let producer = producer.claiming_ahead(turn.dice.pick(&[1, 2, 7]));
                assert_eq!(producer.head(), turn.oracle().end(), "where the next producer begins");
                self.room = RoomMaker::new(self.policy);
                self.producer = Some(producer);
            }
            return;
        };
        if turn.oracle().end() >= turn.world.goal {
            return;
        }
        if turn.dice.hits(40) {
            memory.release(Right::Producer);
            self.producer = None;
            return;
        }
        let geometry = turn.geometry();
        let log = |Removal { kind, position, name, pid }: Removal| {
            let entry = recorder::NewEvent { kind, position, pid, unix_ms: memory.unix_ms(), name: &name };
            recorder::try_record(&memory, &geometry, &memory, entry);
        };
        if producer.room() == 0 && !self.room.make_room(producer, &memory, &memory, log) {
            return;
        }
        let room = producer.room().min(turn.geometry().capacity());
        let n = 1 + turn.dice.roll(room);
        let abandoned = turn.dice.hits(8);
        if n > 1 || turn.dice.hits(2) {
            let mut batch = producer.begin_batch(n);
            let pushed = if turn.dice.hits(3) { turn.dice.roll(n + 1) } else { n };
            for _ in 0..pushed {
                let slot = batch.next_slot(producer).expect("it has room for so many");
                let (bytes, kind) = draw(turn, batch.next(), !abandoned);
                if turn.dice.hits(3) {
                    batch.mark_dirty(1);
                    write_partly(turn, producer, batch.slots().packed(slot), &bytes);
                    batch.add(producer, slot, kind, bytes.len());
                } else {
                    batch.push(producer, slot, kind, &bytes);
                }
            }
            match pushed {
                _ if abandoned => {}
                0 => producer.end_batch(&batch),
                _ => producer.publish_batch(&batch),
            }
        } else {
            let claimed = producer.claim_next();
            let (bytes, kind) = draw(turn, claimed.position(), !abandoned);
            if abandoned || turn.dice.hits(3) {
                let block = producer.dirty_block(claimed);
                write_partly(turn, producer, block, &bytes);
                if !abandoned {
                    producer.publish(claimed, kind, bytes.len());
                }
            } else {
                producer.send(claimed, kind, &bytes);
            }
        }
        if !abandoned {
            producer.wake_readers();
        }
    }

    fn died(&mut self, _oracle: &mut Oracle) {
        self.producer = None;
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

/// A message for a claimed position: its bytes, and its kind.
fn draw(turn: &mut Turn<'_>, position: u64, meant: bool) -> (Vec<u8>, u32) {
    let stamp = turn.oracle().stamp();
    let block_size = turn.geometry().block_size();
    let len = turn.dice.pick(&[8, 16, block_size, block_size]);
    let kind = u32::try_from(stamp % 3).unwrap();
    if meant {
        let meta = Meta::new(u32::try_from(len).unwrap(), kind).0;
        let second = if len > 8 { stamp } else { 0 };
        turn.oracle().means(position, Message { words: [position, second], meta });
    }
    let words = std::iter::once(position).chain(std::iter::repeat(stamp));
    (words.flat_map(u64::to_le_bytes).take(usize::try_from(len).unwrap()).collect(), kind)
}

/// Acts as a caller that fills a block in place: writes all of the block, then the message at its
/// place.
fn write_partly(turn: &mut Turn<'_>, producer: &protocol::Producer<SimMemory>, block: Block, bytes: &[u8]) {
    let blocks = producer.memory().blocks();
    let noise = vec![0xEE; if turn.dice.hits(2) { blocks.block_size() } else { bytes.len() }];
    for bytes in [&noise, bytes] {
        // SAFETY: the block is of this geometry, and the position claimed.
        unsafe { blocks.write(block, bytes) };
    }
}
