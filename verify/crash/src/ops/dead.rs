//! Messages that become dead letters, and their redrive and removal.

use super::before::{self, abandoned, aged, corpse, working};
use super::group::oldest_is;
use super::say;
use crate::trace::Marks;
use crate::world::{CAPACITY, Ending, Mode, Shape, World};
use kit::raw::{Delivery, dead_path};
use slipring::{DeadLetters, ProducerOptions};
use std::path::Path;

/// The dead-letter ring was removed.
pub(super) fn no_dead_letter_ring(directory: &Path, mode: Mode) -> World {
    let world = before::group(directory, mode);
    std::fs::remove_file(dead_path(&world.path)).unwrap();
    world
}

/// A worker died over the only attempt at a message.
pub(super) fn last_attempt(directory: &Path, mode: Mode) -> World {
    let world = aged(directory, mode, Shape { deliver: 1, ..working() });
    corpse("holds-a-lease", directory, mode);
    world
}

/// One dead letter: of the newest message.
pub(super) fn letter(directory: &Path, mode: Mode) -> World {
    let mut world = World::new(directory, mode, working());
    world.publish_and_settle(CAPACITY + 2);
    world.publish(1);
    let rejected = world.head() - 1;
    let rejecting = world.worker.as_ref().map(|worker| worker.recv().unwrap().reject("no"));
    rejecting.unwrap().unwrap();
    world.settled.insert(rejected);
    world.letters_may_go = true;
    world.given_up.insert(rejected);
    assert_eq!(letters(&world), 1);
    world
}

/// As `letter`, without a producer.
pub(super) fn letter_alone(directory: &Path, mode: Mode) -> World {
    let mut world = abandoned(letter(directory, mode));
    world.redriven = Some(world.head() - 1);
    world
}

pub(super) fn redrive(path: &Path, marks: &Marks) -> String {
    let mut producer = ProducerOptions::new().watched(false).open::<[u8]>(path).unwrap();
    let mut dead = DeadLetters::open(path).unwrap();
    say(marks.around(|| dead.redrive(&mut producer, 1)))
}

pub(super) fn purge(path: &Path, marks: &Marks) -> String {
    let mut dead = DeadLetters::open(path).unwrap();
    say(marks.around(|| dead.purge(1)))
}

pub(super) fn open(path: &Path, marks: &Marks) -> String {
    say(marks.around(|| DeadLetters::open(path)).map(drop))
}

fn letters(world: &World) -> usize {
    world.ring().dead_letters().unwrap().len()
}

pub(super) fn may_be_given_up(world: &mut World, end: &Ending) {
    let oldest = world.base - 2;
    if !dead_path(&world.path).exists() {
        return oldest_is(world, |delivery| matches!(delivery, Delivery::Leased(1) | Delivery::DeadPending));
    }
    let dead = world.ring().dead_letters().unwrap();
    let copied = dead.iter().any(|letter| letter.id.position == oldest);
    if world.mode == Mode::Freeze {
        // Either it was given up, or another worker took it over and settled it.
        let settled = world.settled.contains(&oldest);
        assert!(!settled || !copied && !end.succeeded(), "settled, and given up");
        world.given_up.insert(oldest);
        world.maybe.insert(oldest);
        return;
    }
    match world.raw().delivery(0, oldest) {
        Delivery::Dead => {
            assert!(copied, "given up without a copy");
            world.maybe.insert(oldest);
        }
        Delivery::DeadPending => {}
        delivery => assert!(!copied, "a dead letter of a message that is {delivery:?}"),
    }
}

/// As `may_be_given_up`; stopped over its only attempt, the victim has the other message given up,
/// too.
pub(super) fn both_may_be_given_up(world: &mut World, end: &Ending) {
    may_be_given_up(world, end);
    if world.mode == Mode::Freeze {
        world.given_up.insert(world.base - 1);
        world.maybe.insert(world.base - 1);
    }
}

pub(super) fn is_redriven(world: &mut World, end: &Ending) {
    let again = world.raw().head() - world.base;
    world.victim_published(end, 1);
    assert!(again == 1 || letters(world) == 1, "neither published again nor a dead letter");
    assert!(!end.succeeded() || (again, letters(world)) == (1, 0));
    drop(DeadLetters::open(&world.path).unwrap());
}

pub(super) fn is_purged(world: &mut World, end: &Ending) {
    assert!(letters(world) <= usize::from(!end.succeeded()));
    drop(DeadLetters::open(&world.path).unwrap());
}

pub(super) fn is_there(world: &mut World, _: &Ending) {
    assert_eq!(letters(world), 1);
    assert!(DeadLetters::open(&world.path).unwrap().peek().unwrap().is_some());
}
