//! Publishing, and becoming or ceasing to be the producer.

use super::before::{abandoned, corpse, corpse_when, orphan, orphan_ahead, reading};
use super::{done, say};
use crate::message::{VICTIM, message};
use crate::trace::Marks;
use crate::world::{CAPACITY, Ending, Mode, World, block};
use slipring::{
    AtPath, AttachError, Consumer, ConsumerOptions, Producer, ProducerOptions, RecvError, SendError, Start,
};
use std::path::Path;
use std::time::Duration;

/// The reader has read nothing of a whole lap.
pub(super) fn full(directory: &Path, mode: Mode) -> World {
    let mut world = World::new(directory, mode, reading());
    world.publish(CAPACITY);
    abandoned(world)
}

/// A reader that died holds the ring full.
pub(super) fn dead_reader(directory: &Path, mode: Mode) -> World {
    let mut world = World::new(directory, mode, reading());
    corpse("reads", directory, mode);
    world.publish_and_settle(CAPACITY);
    abandoned(world)
}

/// A reader that may be evicted holds the ring full.
pub(super) fn evictable(directory: &Path, mode: Mode) -> World {
    let mut world = World::new(directory, mode, reading());
    let child = ConsumerOptions::new().name("child").start(Start::Earliest);
    let evictable = child.attach_evictable::<[u8]>(&world.path).unwrap();
    world.publish_and_settle(CAPACITY);
    world.evictable = Some(evictable);
    abandoned(world)
}

/// The reader sleeps.
pub(super) fn sleeper(directory: &Path, mode: Mode) -> World {
    let mut world = abandoned(World::new(directory, mode, reading()));
    world.put_to_sleep();
    world
}

/// A producer died when its message was out, but not counted.
pub(super) fn uncounted(directory: &Path, mode: Mode) -> World {
    let mut world = orphan(directory, mode);
    let head = world.head();
    corpse_when("send", directory, mode, |raw| raw.sequence(head) == head + 1);
    world.published.push((head, VICTIM));
    world
}

/// A producer died when the last message of its batch that ever gets a header had it, and nothing
/// was published.
pub(super) fn batched(directory: &Path, mode: Mode) -> World {
    let world = orphan(directory, mode);
    let last = world.head() + 2;
    let last = if message(last, VICTIM).len() == block() { last - 1 } else { last };
    corpse_when("send-batch", directory, mode, |raw| raw.sequence(last) == (last + 1) | 1 << 63);
    world
}

/// A producer died before it had written what it had claimed, and more.
pub(super) fn claimed_ahead(directory: &Path, mode: Mode) -> World {
    let world = orphan_ahead(directory, mode);
    corpse_when("claims-ahead", directory, mode, |raw| raw.claimed() > raw.head() + 1);
    world
}

/// Opens the ring; what the next message is.
fn open_for_one(path: &Path) -> (Producer, Vec<u8>) {
    let producer = open_unwatched(path).unwrap();
    let bytes = message(producer.head(), VICTIM);
    (producer, bytes)
}

pub(super) fn send(path: &Path, marks: &Marks) -> String {
    let (mut producer, bytes) = open_for_one(path);
    say(marks.around(|| producer.send(&bytes)))
}

pub(super) fn try_send(path: &Path, marks: &Marks) -> String {
    let (mut producer, bytes) = open_for_one(path);
    say(marks.around(|| producer.try_send(&bytes)))
}

pub(super) fn send_briefly(path: &Path, marks: &Marks) -> String {
    let (mut producer, bytes) = open_for_one(path);
    say(marks.around(|| producer.send_timeout(&bytes, Duration::from_micros(1))))
}

pub(super) fn send_batch(path: &Path, marks: &Marks) -> String {
    let mut producer = open_unwatched(path).unwrap();
    let batch: Vec<Vec<u8>> = (0..3).map(|n| message(producer.head() + n, VICTIM)).collect();
    say(marks.around(|| producer.send_batch(&batch)))
}

pub(super) fn claim_publish(path: &Path, marks: &Marks) -> String {
    let (mut producer, bytes) = open_for_one(path);
    say(marks.around(|| {
        let mut claim = producer.claim()?;
        claim.fill(0xEE);
        claim[..bytes.len()].copy_from_slice(&bytes);
        claim.publish(bytes.len())
    }))
}

pub(super) fn claim_abort(path: &Path, marks: &Marks) -> String {
    let mut producer = open_unwatched(path).unwrap();
    say(marks.around(|| {
        let mut claim = producer.claim()?;
        claim.fill(0xEE);
        claim.abort();
        Ok::<_, SendError>(())
    }))
}

/// As a program of one thread: the steps are those of the thread that is stepped through.
fn open_unwatched(path: &Path) -> Result<Producer, AtPath<AttachError>> {
    ProducerOptions::new().watched(false).open(path)
}

pub(super) fn open(path: &Path, marks: &Marks) -> String {
    let opened = marks.around(|| open_unwatched(path));
    say(opened.map(|producer| producer.head()))
}

pub(super) fn close(path: &Path, marks: &Marks) -> String {
    let producer = open_unwatched(path).unwrap();
    marks.around(|| producer.close()).unwrap();
    done()
}

pub(super) fn leave(path: &Path, marks: &Marks) -> String {
    let producer = open_unwatched(path).unwrap();
    marks.around(|| drop(producer));
    done()
}

pub(super) fn none_is_out(world: &mut World, end: &Ending) {
    world.victim_published(end, 0);
}

pub(super) fn one_is_out(world: &mut World, end: &Ending) {
    world.victim_published(end, 1);
}

pub(super) fn three_are_out(world: &mut World, end: &Ending) {
    world.victim_published(end, 3);
}

pub(super) fn was_full(world: &mut World, end: &Ending) {
    assert!(!end.succeeded() || world.mode == Mode::Freeze, "sent into a full ring");
    world.victim_published(end, 1);
}

pub(super) fn evicted(world: &mut World, end: &Ending) {
    world.victim_published(end, 1);
    world.drain();
    // Its entry is for the newcomer.
    world.evictable = None;
}

pub(super) fn is_counted(world: &mut World, _: &Ending) {
    assert!(world.raw().head() >= world.head());
}

pub(super) fn is_closed(world: &mut World, end: &Ending) {
    world.victim_published(end, 0);
    let closed = world.raw().is_closed();
    // Stopped after it gave the lock up, another may have become the producer and opened the stream
    // again.
    assert!(closed || end.report.is_none() || world.producer.is_some());
    if world.producer.is_none() {
        let mut reader = Consumer::<[u8]>::attach(&world.path, Start::Latest).unwrap();
        let found = reader.try_recv().map(drop);
        assert_eq!(found, Err(if closed { RecvError::Closed } else { RecvError::Empty }));
    }
}
