//! Creating a ring and removing it, with and without groups, with and without a lock file.

use super::before::{reading as read_only, working as with_group};
use super::say;
use crate::message::{SETUP, message};
use crate::trace::Marks;
use crate::world::{CAPACITY, Ending, Mode, Shape, World, block};
use kit::raw::dead_path;
use slipring::{Ancestor, AtPath, CreateError, GroupSettings, Observer, OpenError, Ring, RingId, Start};
use std::path::Path;

pub(super) fn unborn(directory: &Path, mode: Mode) -> World {
    World::unborn(directory, mode, read_only())
}

pub(super) fn unborn_group(directory: &Path, mode: Mode) -> World {
    World::unborn(directory, mode, with_group())
}

fn readable() -> Shape {
    Shape { readable: true, ..read_only() }
}

fn readable_group() -> Shape {
    Shape { readable: true, ..with_group() }
}

pub(super) fn unborn_readable(directory: &Path, mode: Mode) -> World {
    World::unborn(directory, mode, readable())
}

pub(super) fn unborn_readable_group(directory: &Path, mode: Mode) -> World {
    World::unborn(directory, mode, readable_group())
}

/// Where a creation was killed when it had named the lock file.
pub(super) fn left_behind(directory: &Path, mode: Mode) -> World {
    let path = directory.join("ring");
    World::options(readable(), mode).create(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    World::unborn(directory, mode, readable())
}

/// A ring that no party uses.
pub(super) fn unused(directory: &Path, mode: Mode) -> World {
    let world = World::unborn(directory, mode, readable());
    World::options(readable(), mode).create(&world.path).unwrap();
    world
}

pub(super) fn remove(path: &Path, marks: &Marks) -> String {
    let ring = Ring::open(path).unwrap();
    say(marks.around(|| ring.remove()))
}

pub(super) fn is_removed(world: &mut World, end: &Ending) {
    whole_or_absent(&world.path, readable());
    assert!(!world.path.exists() || !end.succeeded() || world.mode == Mode::Freeze);
    make_again(world, readable());
}

fn create(path: &Path, marks: &Marks, shape: Shape) -> String {
    say(marks.around(|| World::options(shape, Mode::Kill).create(path)).map(drop))
}

pub(super) fn reading(path: &Path, marks: &Marks) -> String {
    create(path, marks, read_only())
}

pub(super) fn working(path: &Path, marks: &Marks) -> String {
    create(path, marks, with_group())
}

pub(super) fn create_readable(path: &Path, marks: &Marks) -> String {
    create(path, marks, readable())
}

pub(super) fn create_readable_group(path: &Path, marks: &Marks) -> String {
    create(path, marks, readable_group())
}

pub(super) fn readable_again(world: &mut World, end: &Ending) {
    create_again(world, end, readable());
}

pub(super) fn readable_group_again(world: &mut World, end: &Ending) {
    create_again(world, end, readable_group());
}

pub(super) fn reading_again(world: &mut World, end: &Ending) {
    create_again(world, end, read_only());
}

pub(super) fn working_again(world: &mut World, end: &Ending) {
    create_again(world, end, with_group());
}

/// Messages that were kept of the lost ring.
const KEPT: u64 = 3;
const LOST: Ancestor = Ancestor { ring: RingId::from_bytes([7; 16]), watermark: KEPT };

/// In the place of the lost ring, with a durable consumer that had come to 1, and, with groups, one
/// that had settled all.
fn restored(path: &Path, shape: Shape, mode: Mode) -> Result<Ring, AtPath<CreateError>> {
    let mut options = World::options(shape, mode).continues([LOST]).durable_at("kept", 1);
    if shape.group {
        options = options.group_at("h", GroupSettings::new(), KEPT);
    }
    let mut restoration = options.restore(path)?;
    for position in 0..KEPT {
        restoration.push(&message(position, SETUP))?;
    }
    restoration.finish()
}

pub(super) fn restore(path: &Path, marks: &Marks) -> String {
    say(marks.around(|| restored(path, read_only(), Mode::Kill)).map(drop))
}

pub(super) fn restore_with_groups(path: &Path, marks: &Marks) -> String {
    say(marks.around(|| restored(path, with_group(), Mode::Kill)).map(drop))
}

pub(super) fn restored_again(world: &mut World, end: &Ending) {
    restore_again(world, end, read_only());
}

pub(super) fn restored_with_groups_again(world: &mut World, end: &Ending) {
    restore_again(world, end, with_group());
}

/// Restores again if nothing is there: either way the ring has everything from the first look on.
fn restore_again(world: &mut World, end: &Ending, shape: Shape) {
    whole_or_absent(&world.path, shape);
    let there = world.path.exists();
    assert!(there || !end.succeeded());
    match restored(&world.path, shape, world.mode) {
        Ok(_) => assert!(!there),
        Err(AtPath { error: CreateError::AlreadyExists, .. }) => assert!(there),
        Err(error) => panic!("restoring again: {error}"),
    }
    let ring = Ring::open(&world.path).unwrap();
    if there && world.mode == Mode::Freeze && ring.ancestors().is_empty() {
        // The victim goes on after the first look, which made a ring of its own.
        return make_again(world, shape);
    }
    assert_eq!((ring.head(), ring.ancestors()), (KEPT, vec![LOST]));
    assert_eq!(ring.check(), []);
    let kept = ring.consumers().into_iter().find(|consumer| consumer.name == "kept").unwrap();
    assert_eq!((kept.tail, kept.durable), (Some(1), true));
    ring.remove_consumer("kept").unwrap();
    if shape.group {
        assert_eq!(ring.group("h").unwrap().ack_floor, KEPT);
        ring.remove_group("h").unwrap();
        ring.remove_group("g").unwrap();
    }
    let mut observer = Observer::<[u8]>::attach(&world.path, Start::Earliest).unwrap();
    for position in 0..KEPT {
        assert_eq!(*observer.try_recv().unwrap(), *message(position, SETUP), "message {position}");
    }
    std::fs::remove_file(&world.path).unwrap();
    if shape.group {
        std::fs::remove_file(dead_path(&world.path)).unwrap();
    }
    make_again(world, shape);
}

/// Creates again, and then the ring is as any other.
fn create_again(world: &mut World, end: &Ending, shape: Shape) {
    whole_or_absent(&world.path, shape);
    assert!(world.path.exists() || !end.succeeded());
    make_again(world, shape);
}

fn make_again(world: &mut World, shape: Shape) {
    let there = world.path.exists();
    match World::options(shape, world.mode).create(&world.path) {
        Ok(_) => assert!(!there),
        Err(AtPath { error: CreateError::AlreadyExists, .. }) => assert!(there),
        Err(error) => panic!("creating again: {error}"),
    }
    let directory = world.path.parent().unwrap();
    let mut names: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let all = ["ring", "ring.dead", "ring.dead.locks", "ring.locks"];
    let has =
        |name: &&str| (shape.group || !name.contains("dead")) && (shape.readable || !name.contains("locks"));
    assert_eq!(names, all.into_iter().filter(has).collect::<Vec<_>>(), "left behind");
    *world = World::found(directory, world.mode, shape);
    world.publish_and_settle(CAPACITY);
    assert_eq!(world.ring().dead_letters().unwrap(), []);
}

/// The ring, and its dead-letter ring: not there, or whole.
fn whole_or_absent(path: &Path, shape: Shape) {
    match Ring::open(path) {
        Ok(ring) => assert_eq!((ring.capacity(), ring.block_size()), (CAPACITY, block())),
        Err(AtPath { error: OpenError::NotFound, .. }) => assert!(!path.exists()),
        Err(error) => panic!("half a ring: {error}"),
    }
    match Ring::open(dead_path(path)) {
        Ok(_) => assert!(shape.group),
        Err(AtPath { error: OpenError::NotFound, .. }) => {}
        Err(error) => panic!("half a dead-letter ring: {error}"),
    }
}
