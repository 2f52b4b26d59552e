//! Operations on a ring from outside: removing a group, repairing.

use super::before::{self, corpse, working};
use super::{group, say};
use crate::trace::Marks;
use crate::world::{Ending, Mode, World, join};
use slipring::{AtPath, EntryError, Ring, WorkerOptions};
use std::path::Path;

/// A second group, whose only worker died with a lease.
pub(super) fn second_group(directory: &Path, mode: Mode) -> World {
    let mut world = World::new(directory, mode, working());
    world.publish_and_settle(1);
    world.worker = None;
    drop(join(&world.path, "h"));
    world.publish(2);
    corpse("holds-the-second-group", directory, mode);
    world.worker = Some(join(&world.path, "g"));
    world
}

/// A worker and a reader died.
pub(super) fn two_dead(directory: &Path, mode: Mode) -> World {
    let world = before::group(directory, mode);
    corpse("holds-a-lease", directory, mode);
    corpse("reads", directory, mode);
    world
}

pub(super) fn ack_in_second(path: &Path, marks: &Marks) -> String {
    let worker = WorkerOptions::new("h").name("child").join::<[u8]>(path).unwrap();
    let delivery = worker.try_recv().unwrap();
    say(marks.around(|| delivery.ack()))
}

pub(super) fn remove_group(path: &Path, marks: &Marks) -> String {
    let ring = Ring::open(path).unwrap();
    say(marks.around(|| ring.remove_group("h")))
}

pub(super) fn repair(path: &Path, marks: &Marks) -> String {
    let ring = Ring::open(path).unwrap();
    say(marks.around(|| ring.repair()))
}

pub(super) fn group_is_removed(world: &mut World, end: &Ending) {
    let there = world.raw().group_flags(1) == 1;
    assert!(!there || !end.succeeded());
    // Otherwise the others meet what was left.
    if end.newcomers_first {
        let again = world.ring().remove_group("h");
        assert!(matches!(
            (there, &again),
            (true, Ok(())) | (false, Err(AtPath { error: EntryError::NoSuchGroup { .. }, .. }))
        ));
    }
    group::staff_second(world, end);
}
