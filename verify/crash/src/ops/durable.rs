//! Durable consumers: what they had not released waits for them.

use super::before::{reader, reading};
use super::{done, say};
use crate::trace::Marks;
use crate::world::{CAPACITY, Ending, Mode, Shape, World};
use slipring::{AtPath, ConsumerOptions, EntryError, RecvError, Ring, Start};
use std::path::Path;

/// `audit` was there, read all but three, and is away.
pub(super) fn away(directory: &Path, mode: Mode) -> World {
    let mut world = World::new(directory, mode, Shape { durable: true, ..reading() });
    world.publish(CAPACITY - 3);
    world.drain();
    let mut audit = audit().attach::<[u8]>(&world.path).unwrap();
    for _ in 0..CAPACITY - 3 {
        drop(audit.try_recv().unwrap());
    }
    drop(audit);
    world.publish(3);
    world
}

/// `gone` was there, and will not come back.
pub(super) fn unwanted(directory: &Path, mode: Mode) -> World {
    let world = reader(directory, mode);
    let options = ConsumerOptions::new().name("gone").durable(true).start(Start::Earliest);
    drop(options.attach::<[u8]>(&world.path).unwrap());
    world
}

fn audit() -> ConsumerOptions {
    ConsumerOptions::new().name("audit").durable(true)
}

pub(super) fn join(path: &Path, marks: &Marks) -> String {
    let options = ConsumerOptions::new().name("child").durable(true).start(Start::Earliest);
    say(marks.around(|| options.attach::<[u8]>(path)).map(|consumer| consumer.position()))
}

pub(super) fn resume(path: &Path, marks: &Marks) -> String {
    let options = audit();
    say(marks.around(|| options.attach::<[u8]>(path)).map(|consumer| consumer.position()))
}

pub(super) fn take(path: &Path, marks: &Marks) -> String {
    let mut consumer = audit().attach::<[u8]>(path).unwrap();
    let taken = marks.around(|| {
        consumer.try_recv().map(|message| {
            marks.handled();
            message.position()
        })
    });
    say(taken)
}

/// Reads all three ahead, and releases one when it has "written" them.
pub(super) fn read_ahead(path: &Path, marks: &Marks) -> String {
    let mut consumer = audit().attach::<[u8]>(path).unwrap();
    say(marks.around(|| {
        let mut ahead = consumer.read_ahead();
        let written = ahead.try_recv_batch(3).map(|batch| batch.positions())?;
        marks.handled();
        ahead.release_to(written.start + 1);
        Ok::<_, RecvError>(written.count())
    }))
}

pub(super) fn leave(path: &Path, marks: &Marks) -> String {
    let consumer = audit().attach::<[u8]>(path).unwrap();
    marks.around(|| drop(consumer));
    done()
}

pub(super) fn remove(path: &Path, marks: &Marks) -> String {
    let ring = Ring::open(path).unwrap();
    say(marks.around(|| ring.remove_consumer("gone")))
}

/// It is there for good, or it never was.
pub(super) fn has_joined(world: &mut World, _: &Ending) {
    let durable = world.raw().flags(1) & 2 != 0;
    if durable {
        let tail = world.raw().tail(1);
        assert!(tail.is_some_and(|tail| tail <= world.head()), "a durable tail of {tail:?}");
        world.ring().remove_consumer("child").unwrap();
    }
}

/// How many of the three messages it has released.
fn released(world: &World) -> u64 {
    world.raw().tail(0).unwrap() + 3 - world.base
}

pub(super) fn nothing_released(world: &mut World, _: &Ending) {
    assert_eq!(released(world), 0);
}

pub(super) fn one_released(world: &mut World, end: &Ending) {
    assert!((u64::from(end.succeeded())..=u64::from(end.handled)).contains(&released(world)));
}

/// A consumer that comes back under the name finds its position, or is new.
pub(super) fn is_removed(world: &mut World, end: &Ending) {
    if end.newcomers_first && !end.succeeded() {
        let back = ConsumerOptions::new().name("gone").durable(true).start(Start::Earliest);
        drop(back.attach::<[u8]>(&world.path).unwrap());
    }
    let again = world.ring().remove_consumer("gone");
    let gone = matches!(again, Err(AtPath { error: EntryError::NoSuchConsumer { .. }, .. }));
    assert!(gone || again.is_ok() && !end.succeeded(), "{again:?}");
}
