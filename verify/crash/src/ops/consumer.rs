//! Reading, joining and leaving, for consumers and observers.

use super::before::{corpse, reading};
use super::{done, say};
use crate::message::{is_whole, message};
use crate::trace::Marks;
use crate::world::{CAPACITY, Ending, Mode, World};
use slipring::{ConsumerOptions, Observer, Start};
use std::path::Path;

/// A reader died, and its entry is all there is.
pub(super) fn dead_one(directory: &Path, mode: Mode) -> World {
    let mut world = World::new(directory, mode, reading());
    world.publish(1);
    corpse("reads", directory, mode);
    world
}

fn child(start: Start) -> ConsumerOptions {
    ConsumerOptions::new().name("child").start(start)
}

pub(super) fn take(path: &Path, marks: &Marks) -> String {
    let mut consumer = child(Start::Earliest).attach::<[u8]>(path).unwrap();
    let taken = marks.around(|| consumer.try_recv().map(|message| (message.position(), message.to_vec())));
    match taken {
        Ok((position, bytes)) if !is_whole(position, &bytes) => format!("torn {bytes:?}"),
        taken => say(taken),
    }
}

pub(super) fn take_batch(path: &Path, marks: &Marks) -> String {
    let mut consumer = child(Start::Earliest).attach::<[u8]>(path).unwrap();
    say(marks.around(|| consumer.try_recv_batch(2).map(|batch| batch.iter().count())))
}

pub(super) fn take_evictable(path: &Path, marks: &Marks) -> String {
    let mut consumer = child(Start::Earliest).attach_evictable::<[u8]>(path).unwrap();
    say(marks.around(|| consumer.try_recv().map(|message| message.to_vec())))
}

pub(super) fn observe(path: &Path, marks: &Marks) -> String {
    let mut observer = Observer::<[u8]>::attach(path, Start::Earliest).unwrap();
    say(marks.around(|| observer.try_recv().map(|message| message.to_vec())))
}

fn join(path: &Path, marks: &Marks, start: Start) -> String {
    let options = child(start);
    say(marks.around(|| options.attach::<[u8]>(path)).map(|consumer| consumer.position()))
}

pub(super) fn join_earliest(path: &Path, marks: &Marks) -> String {
    join(path, marks, Start::Earliest)
}

pub(super) fn join_latest(path: &Path, marks: &Marks) -> String {
    join(path, marks, Start::Latest)
}

pub(super) fn join_at(path: &Path, marks: &Marks) -> String {
    join(path, marks, Start::At(CAPACITY + 3))
}

pub(super) fn leave(path: &Path, marks: &Marks) -> String {
    let consumer = child(Start::Earliest).attach::<[u8]>(path).unwrap();
    marks.around(|| drop(consumer));
    done()
}

/// The copy is a whole message.
pub(super) fn was_published(world: &mut World, end: &Ending) {
    if let Some(said) = end.report.as_ref().and_then(|said| said.strip_prefix("ok ")) {
        let seen = world.published.iter().any(|&(p, life)| format!("{:?}", message(p, life)) == said);
        assert!(seen, "a copy of nothing that was published: {said}");
    }
}
