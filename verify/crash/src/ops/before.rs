//! Worlds before several operations.

use crate::trace::{Stop, Victim};
use crate::world::{Mode, Shape, World};
use kit::raw::Raw;
use std::path::Path;

pub(super) fn reading() -> Shape {
    Shape { witness: true, ..Shape::default() }
}

pub(super) fn working() -> Shape {
    Shape { group: true, worker: true, witness: true, deliver: 5, ..Shape::default() }
}

/// More than a lap, so that slots hold older messages, then two messages that no party has read.
pub(super) fn aged(directory: &Path, mode: Mode, shape: Shape) -> World {
    let mut world = World::new(directory, mode, shape);
    world.publish_and_settle(world.capacity() + 2);
    world.publish(2);
    world
}

/// A ring of some age with a reader.
pub(super) fn reader(directory: &Path, mode: Mode) -> World {
    aged(directory, mode, reading())
}

/// A ring of some age with a group, which has two messages to settle.
pub(super) fn group(directory: &Path, mode: Mode) -> World {
    aged(directory, mode, working())
}

pub(super) fn abandoned(mut world: World) -> World {
    world.producer = None;
    world
}

/// As `reader`, without a producer.
pub(super) fn orphan(directory: &Path, mode: Mode) -> World {
    abandoned(reader(directory, mode))
}

/// As `orphan`, where a producer claims ahead. The next one finds nothing claimed ahead.
pub(super) fn orphan_ahead(directory: &Path, mode: Mode) -> World {
    abandoned(aged(directory, mode, Shape { ahead: true, ..reading() }))
}

/// As `group`, without a producer.
pub(super) fn orphan_group(directory: &Path, mode: Mode) -> World {
    abandoned(group(directory, mode))
}

/// A process in this role, killed where its operation begins.
pub(super) fn corpse(role: &str, directory: &Path, mode: Mode) {
    corpse_when(role, directory, mode, |_| true);
}

/// A process in this role, killed where it stands when `until` is so.
pub(super) fn corpse_when(role: &str, directory: &Path, mode: Mode, until: impl Fn(&Raw) -> bool) {
    let mut victim = Victim::start(role, directory, mode.name()).unwrap();
    let raw = Raw::open(&directory.join("ring")).unwrap();
    while !until(&raw) {
        assert_eq!(victim.step(), Stop::Stepped, "{role} never got there");
    }
    victim.kill();
}
