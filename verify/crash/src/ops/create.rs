//! Creating a ring, with and without groups.

use super::before::{reading as read_only, working as with_group};
use super::say;
use crate::trace::Marks;
use crate::world::{CAPACITY, Ending, Mode, Shape, World, block};
use kit::raw::dead_path;
use slipring::{AtPath, CreateError, OpenError, Ring};
use std::path::Path;

pub(super) fn unborn(directory: &Path, mode: Mode) -> World {
    World::unborn(directory, mode, read_only())
}

pub(super) fn unborn_group(directory: &Path, mode: Mode) -> World {
    World::unborn(directory, mode, with_group())
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

pub(super) fn reading_again(world: &mut World, end: &Ending) {
    create_again(world, end, read_only());
}

pub(super) fn working_again(world: &mut World, end: &Ending) {
    create_again(world, end, with_group());
}

/// Creates again, and then the ring is as any other.
fn create_again(world: &mut World, end: &Ending, shape: Shape) {
    whole_or_absent(&world.path, shape);
    let there = world.path.exists();
    assert!(there || !end.succeeded());
    match World::options(shape, world.mode).create(&world.path) {
        Ok(_) => assert!(!there),
        Err(AtPath { error: CreateError::AlreadyExists, .. }) => assert!(there),
        Err(error) => panic!("creating again: {error}"),
    }
    let directory = world.path.parent().unwrap();
    let mut names: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let all = ["ring", "ring.dead"];
    assert_eq!(names, all[..1 + usize::from(shape.group)], "left behind");
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
