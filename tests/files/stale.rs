//! Blocks hold published messages, and nothing else: read in the file, after every step of random
//! producers.

use kit::format::{header, producer, slot, word_in};
use kit::{Dice, TempDir};
use slipring::{BatchClaim, Claim, Consumer, Producer, ProducerOptions, RingOptions, Start};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

#[test]
fn claims_may_go_to_another_thread() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Claim<'static>>();
    is_send_and_sync::<BatchClaim<'static>>();
    is_send_and_sync::<Producer>();
}

#[test]
fn what_a_predecessor_claimed_is_not_published_without_readers() {
    for capacity in [32, 1024] {
        let ring = RingOptions::new(48, capacity).create_in_memory().unwrap();
        let mut first = Producer::<[u8]>::open(&ring).unwrap();
        first.send(b"x").unwrap();
        drop(first);
        let mut second = ProducerOptions::new().require_readers(1).open::<[u8]>(&ring).unwrap();
        assert!(second.try_send(b"y").is_err(), "nobody reads");
    }
}

/// Bytes of a block. Up to 112 a message that is sent by itself has a place of its own beside its
/// header; longer ones have one place.
const BLOCKS: [usize; 21] =
    [1, 5, 16, 17, 31, 32, 33, 47, 48, 49, 64, 100, 112, 113, 120, 128, 160, 176, 200, 256, 257];

/// A byte that no producer publishes.
const SCRIBBLE: u8 = 0xEE;

/// A ring, its producer, and all that was published so far.
struct World {
    dice: Dice,
    block: usize,
    producer: Producer,
    published: HashMap<u64, Vec<u8>>,
}

/// A tag that tells one full message from the next.
fn how_many_full(pushed: &[Vec<u8>]) -> u8 {
    u8::try_from(1 + pushed.len() % 200).unwrap()
}

impl World {
    fn message(&mut self) -> Vec<u8> {
        let (len, tag) = (self.dice.index(self.block + 1), self.dice.index(200) + 1);
        vec![u8::try_from(tag).unwrap(); len]
    }

    fn step(&mut self, ring: &slipring::Ring) {
        let message = self.message();
        match self.dice.index(12) {
            0 | 1 => {
                let position = self.producer.send(&message).unwrap();
                self.published.insert(position, message);
            }
            2 => {
                let mut claim = self.producer.claim().unwrap();
                claim.fill(SCRIBBLE);
                claim[..message.len()].copy_from_slice(&message);
                let position = claim.publish(message.len()).unwrap();
                self.published.insert(position, message);
            }
            given_up @ 3..=4 => {
                let mut claim = self.producer.claim().unwrap();
                claim.fill(SCRIBBLE);
                match given_up {
                    3 => claim.abort(),
                    _ => assert!(claim.publish(self.block + 1).is_err()),
                }
            }
            5 | 6 => {
                // The right goes with the handle.
                let other = RingOptions::new(1, 1).create_in_memory().unwrap();
                self.producer = Producer::<[u8]>::open(&other).unwrap();
                self.producer = Producer::<[u8]>::open(ring).unwrap();
            }
            7 => {
                let panicked = catch_unwind(AssertUnwindSafe(|| {
                    let mut batch = self.producer.claim_batch(3).unwrap();
                    let _ = batch.push_with(|block| -> usize {
                        block.fill(SCRIBBLE);
                        resume_unwind(Box::new(()))
                    });
                }));
                assert!(panicked.is_err());
            }
            _ => self.batch(),
        }
    }

    fn batch(&mut self) {
        let (room, pushes) = (1 + self.dice.index(40), self.dice.index(50));
        let plans: Vec<(usize, Vec<u8>)> =
            (0..pushes).map(|_| (self.dice.index(6), self.message())).collect();
        let (end, batch_block) = (self.dice.index(3), self.block);
        let mut batch = self.producer.claim_batch(room).unwrap();
        let mut pushed = Vec::new();
        for (how, message) in plans {
            let added = match how {
                0 => batch.push_with(|block| {
                    block.fill(SCRIBBLE);
                    block[..message.len()].copy_from_slice(&message);
                    (1, message.len())
                }),
                1 => {
                    let refused = batch.push_with(|block| {
                        block.fill(SCRIBBLE);
                        (1, block.len() + 1)
                    });
                    assert!(refused.is_err() || batch.remaining() == 0);
                    Ok(false)
                }
                2 => batch.push((2, &message)),
                // Of kind 0, and of a whole block: headerless.
                3 => {
                    let whole = vec![how_many_full(&pushed); batch_block];
                    let added = batch.push_blocks(1, |block| block.copy_from_slice(&whole));
                    if added == 1 {
                        pushed.push(whole);
                    }
                    continue;
                }
                _ => batch.push(&message),
            };
            if added.unwrap() {
                pushed.push(message);
            }
        }
        match end {
            0 => batch.abort(),
            _ => self.published.extend(batch.publish().unwrap().zip(pushed)),
        }
    }
}

#[test]
fn nothing_stale_is_ever_published() {
    let dir = TempDir::new();
    for seed in 1..300_u64 {
        let mut dice = Dice::new(seed);
        let block = dice.pick(&BLOCKS);
        // With 1024 blocks, sixteen positions are claimed at once.
        let capacity = [1, 2, 4, 8, 64, 128, 1024][dice.index(7)];
        let path = dir.file(&format!("ring-{seed}"));
        let ring = RingOptions::new(block, capacity).create(&path).unwrap();
        let file = File::open(&path).unwrap();
        let word = |at| word_in(&file, at);
        let (stride, capacity) = (word(header::SLOT_STRIDE), capacity as u64);
        let producer = Producer::<[u8]>::open(&ring).unwrap();
        let mut world = World { dice, block, producer, published: HashMap::new() };
        for _ in 0..200 {
            world.step(&ring);
            let (head, claimed) = (world.producer.head(), word(producer::CLAIMED));
            assert!((head..=head + capacity).contains(&claimed), "seed {seed}");
            for position in claimed.saturating_sub(capacity).max(head.saturating_sub(64))..head {
                let at = slot::FIRST + (position % capacity) * stride;
                let alone = word(at) == position + 1;
                let (first, stride) = if alone && block <= 112 {
                    (word(header::FIRST_BLOCK), stride)
                } else {
                    (word(header::PACKED), word(header::PACKED_STRIDE))
                };
                let mut bytes = vec![0; block];
                file.read_exact_at(&mut bytes, first + (position % capacity) * stride).unwrap();
                let message = &world.published[&position];
                let (ours, behind) = bytes.split_at(message.len());
                assert_eq!(ours, message, "seed {seed}, position {position}");
                assert!(behind.iter().all(|byte| *byte == 0), "seed {seed}, behind {position}: {behind:?}");
            }
        }
        drop(world);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_a_dead_producer_did_not_live_to_count_is_found_where_it_lies() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    RingOptions::new(48, 8).create(&path).unwrap();
    let mut consumer = Consumer::<[u8]>::attach(&path, Start::Earliest).unwrap();
    Producer::<[u8]>::open(&path).unwrap().send(&[1; 48]).unwrap();
    // As if it had been killed before the head and what stands beside it were stored.
    OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[0; 16], 4224).unwrap();

    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    assert_eq!(producer.head(), 1);
    let mut batch = producer.claim_batch(3).unwrap();
    assert_eq!(batch.push_blocks(3, |block| block.fill(2)), 3);
    batch.publish().unwrap();
    let batch = consumer.try_recv_batch(8).unwrap();
    assert_eq!(
        batch.iter().map(|item| item.to_vec()).collect::<Vec<_>>(),
        [[1; 48], [2; 48], [2; 48], [2; 48]]
    );
}
