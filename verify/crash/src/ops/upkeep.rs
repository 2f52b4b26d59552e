//! Operations on a ring from outside: removing a group, repairing.

use super::before::{self, corpse, working};
use super::{group, say};
use crate::trace::Marks;
use crate::world::{Ending, Mode, World, join};
use slipring::{AtPath, Backoff, EntryError, GroupSettings, Ring, WorkerOptions};
use std::path::Path;
use std::time::Duration;

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

/// Changes several settings at once.
pub(super) fn change_group(path: &Path, marks: &Marks) -> String {
    let ring = Ring::open(path).unwrap();
    say(marks.around(|| ring.change_group("g", patient)).map(|settings| settings.max_deliver))
}

fn patient(settings: GroupSettings) -> GroupSettings {
    let backoff = Backoff::exponential(Duration::from_millis(1), Duration::from_millis(3));
    settings.ack_wait(Duration::from_secs(3600)).max_deliver(97).max_ack_pending(500).backoff(backoff)
}

/// The settings are the old ones or the new ones, and can be changed again.
pub(super) fn settings_are_whole(world: &mut World, end: &Ending) {
    let ring = world.ring();
    let found = ring.group("g").unwrap().settings;
    if found.max_deliver == 97 {
        assert_eq!(found, patient(found));
    } else {
        assert!(!end.succeeded());
        assert!(found.ack_wait_ms != 3_600_000 && found.max_ack_pending != 500, "some of each: {found}");
    }
    if end.newcomers_first {
        assert_eq!(ring.change_group("g", patient).unwrap(), patient(found));
    }
}

pub(super) fn repair(path: &Path, marks: &Marks) -> String {
    let ring = Ring::open(path).unwrap();
    say(marks.around(|| ring.repair()))
}

pub(super) fn group_is_removed(world: &mut World, end: &Ending) {
    let there = world.raw().group_flags(1) == 1;
    assert!(!there || !end.succeeded());
    // Otherwise the other processes meet what the victim left.
    if end.newcomers_first {
        let again = world.ring().remove_group("h");
        assert!(matches!(
            (there, &again),
            (true, Ok(())) | (false, Err(AtPath { error: EntryError::NoSuchGroup { .. }, .. }))
        ));
    }
    group::staff_second(world, end);
}
