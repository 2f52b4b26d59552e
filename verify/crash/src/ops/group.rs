//! Workers: joining, leasing, settling, leaving. Two messages are unsettled when an operation
//! begins.

use super::before::{self, aged, corpse, working};
use super::{done, say};
use crate::message::is_whole;
use crate::trace::{Marks, Victim};
use crate::world::{Ending, Mode, PATIENCE, Shape, World, join as join_as_survivor};
use kit::raw::Delivery;
use slipring::{GroupSettings, RecvError, Worker, WorkerOptions};
use std::path::Path;
use std::time::Duration;

/// A worker died with a lease.
pub(super) fn dead_one(directory: &Path, mode: Mode) -> World {
    let world = before::group(directory, mode);
    corpse("holds-a-lease", directory, mode);
    world
}

/// The newer one is settled: acknowledging the older one moves the floor over both.
pub(super) fn newer_settled(directory: &Path, mode: Mode) -> World {
    let mut world = before::group(directory, mode);
    let worker = world.worker.take().unwrap();
    let first = worker.recv().unwrap();
    worker.recv().unwrap().ack().unwrap();
    first.hand_back().unwrap();
    world.worker = Some(worker);
    let newest = world.head() - 1;
    world.settled.insert(newest);
    world
}

/// A worker was stopped, and its lease has run out.
pub(super) fn expired(directory: &Path, mode: Mode) -> World {
    let mut world = aged(directory, mode, Shape { short: true, ..working() });
    let mut frozen = Victim::start("holds-a-lease", directory, mode.name()).unwrap();
    frozen.freeze();
    world.frozen = Some(frozen);
    std::thread::sleep(Duration::from_millis(60));
    world
}

fn child(path: &Path) -> Worker {
    let options = WorkerOptions::new("g").name("child").tick(Duration::from_millis(1000));
    options.join::<[u8]>(path).unwrap()
}

/// A worker that sweeps as soon as it looks for a message.
fn sweeper(path: &Path) -> Worker {
    let options = WorkerOptions::new("g").name("child").tick(Duration::from_millis(1));
    let worker = options.join::<[u8]>(path).unwrap();
    // The clock that sweeps are counted by goes on in steps of up to 10 ms.
    std::thread::sleep(Duration::from_millis(12));
    worker
}

pub(super) fn join(path: &Path, marks: &Marks) -> String {
    let options = WorkerOptions::new("g").name("child");
    say(marks.around(|| options.join::<[u8]>(path)).map(|worker| worker.group().to_owned()))
}

pub(super) fn join_new(path: &Path, marks: &Marks) -> String {
    let options = WorkerOptions::new("h").name("child").settings(GroupSettings::new());
    say(marks.around(|| options.join::<[u8]>(path)).map(|worker| worker.group().to_owned()))
}

/// Leaves with a lease.
pub(super) fn leave(path: &Path, marks: &Marks) -> String {
    let worker = child(path);
    std::mem::forget(worker.try_recv().unwrap());
    marks.around(|| drop(worker));
    done()
}

pub(super) fn claim_ack(path: &Path, marks: &Marks) -> String {
    take_and_ack(&child(path), marks)
}

pub(super) fn claim_ack_next(path: &Path, marks: &Marks) -> String {
    take_and_ack(&sweeper(path), marks)
}

/// Takes the next message, reads it in place and acknowledges it.
fn take_and_ack(worker: &Worker, marks: &Marks) -> String {
    let acked = marks.around(|| {
        let delivery = worker.try_recv()?;
        let bytes = delivery.to_vec();
        marks.handled();
        Ok::<_, RecvError>((delivery.position(), bytes, delivery.ack()))
    });
    match acked {
        Ok((position, bytes, _)) if !is_whole(position, &bytes) => format!("torn {bytes:?}"),
        Ok((position, _, Ok(()))) => format!("ok {position}"),
        Ok((_, _, Err(lost))) => format!("err {lost:?}"),
        Err(error) => format!("err {error:?}"),
    }
}

pub(super) fn claim_all_ack_all(path: &Path, marks: &Marks) -> String {
    let worker = child(path);
    marks.around(|| {
        let batch = match worker.try_recv_batch(2) {
            Ok(batch) => batch,
            Err(error) => return format!("err {error:?}"),
        };
        marks.handled();
        let mut acked: Vec<u64> = batch.iter().map(|delivery| delivery.position()).collect();
        if let Err(lost) = worker.ack_all(batch) {
            acked.retain(|position| lost.iter().all(|lost| lost.position != *position));
        }
        if acked.is_empty() { "err LeaseLost".to_owned() } else { format!("ok {acked:?}") }
    })
}

pub(super) fn claim_next(path: &Path, marks: &Marks) -> String {
    let worker = sweeper(path);
    let got = marks.around(|| worker.try_recv());
    let said = say(got.as_ref().map(|delivery| (delivery.position(), delivery.attempt())));
    // It goes back with its worker.
    got.into_iter().for_each(std::mem::forget);
    said
}

/// As `claim_next`; dropped, the message would be given up where this is the only attempt.
pub(super) fn release_next(path: &Path, marks: &Marks) -> String {
    let worker = sweeper(path);
    let got = marks.around(|| worker.try_recv());
    let said = say(got.as_ref().map(|delivery| delivery.position()));
    got.map_or(Ok(()), |delivery| delivery.hand_back()).map_or("err LeaseLost".to_owned(), |()| said)
}

pub(super) fn ack(path: &Path, marks: &Marks) -> String {
    let worker = child(path);
    let delivery = worker.try_recv().unwrap();
    let position = delivery.position();
    let acked = marks.around(|| {
        marks.handled();
        delivery.ack()
    });
    say(acked.map(|()| position))
}

pub(super) fn nack(path: &Path, marks: &Marks) -> String {
    let worker = child(path);
    let delivery = worker.try_recv().unwrap();
    say(marks.around(|| delivery.nack(Duration::from_millis(2))))
}

pub(super) fn drop_delivery(path: &Path, marks: &Marks) -> String {
    let worker = child(path);
    let delivery = worker.try_recv().unwrap();
    marks.around(|| drop(delivery));
    done()
}

pub(super) fn release(path: &Path, marks: &Marks) -> String {
    let worker = child(path);
    let delivery = worker.try_recv().unwrap();
    say(marks.around(|| delivery.hand_back()))
}

pub(super) fn extend(path: &Path, marks: &Marks) -> String {
    let worker = child(path);
    let mut delivery = worker.try_recv().unwrap();
    let extended = marks.around(|| delivery.extend());
    std::mem::forget(delivery);
    say(extended)
}

pub(super) fn reject(path: &Path, marks: &Marks) -> String {
    let worker = child(path);
    let delivery = worker.try_recv().unwrap();
    say(marks.around(|| delivery.reject("never")))
}

/// The state of the oldest unsettled message is allowed, if no other worker had it meanwhile.
pub(super) fn oldest_is(world: &World, allowed: impl Fn(Delivery) -> bool) {
    if world.mode == Mode::Kill {
        let oldest = world.base - 2;
        let delivery = world.raw().delivery(0, oldest);
        assert!(allowed(delivery), "position {oldest} is {delivery:?}");
    }
}

/// The attempt counts.
pub(super) fn given_back(world: &mut World, _: &Ending) {
    oldest_is(world, |delivery| matches!(delivery, Delivery::Leased(1) | Delivery::Open(1)));
}

/// The attempt does not count.
pub(super) fn released(world: &mut World, _: &Ending) {
    oldest_is(world, |delivery| matches!(delivery, Delivery::Leased(1) | Delivery::Open(0)));
}

pub(super) fn taken_again(world: &mut World, _: &Ending) {
    oldest_is(world, |delivery| matches!(delivery, Delivery::Leased(1 | 2) | Delivery::Open(1 | 2)));
}

/// The victim settled no message that it has not handled: up to `most` of the two unsettled
/// messages, oldest first. The victim reports the positions.
fn may_settle(world: &mut World, end: &Ending, most: u64) {
    let oldest = world.base - 2;
    match &end.report {
        Some(report) if end.succeeded() => {
            let positions = report.split(|c: char| !c.is_ascii_digit()).filter_map(|text| text.parse().ok());
            for position in positions {
                assert!(world.settled.insert(position), "position {position} was settled twice");
            }
        }
        // It failed: nothing was changed.
        Some(_) => {}
        None if end.handled => world.maybe.extend(oldest..oldest + most),
        None => {}
    }
}

pub(super) fn may_settle_one(world: &mut World, end: &Ending) {
    may_settle(world, end, 1);
}

pub(super) fn may_settle_two(world: &mut World, end: &Ending) {
    may_settle(world, end, 2);
}

/// The worker whose lease had run out settles the message, or gets `LeaseLost`.
pub(super) fn first_is_told(world: &mut World, end: &Ending) {
    let oldest = world.base - 2;
    let mut frozen = world.frozen.take().unwrap();
    let still_its = world.raw().delivery(0, oldest) == Delivery::Leased(1);
    let said = frozen.thaw(PATIENCE).unwrap();
    assert!(said.starts_with(if still_its { "ok" } else { "err LeaseLost" }), "the first one says {said}");
    if still_its {
        world.settled.insert(oldest);
    }
    if end.report.is_none() && end.handled {
        // One of the two: the next one, if the first one's lease still looked good to it.
        let raw = world.raw();
        let both = oldest..world.base;
        let count =
            both.clone().filter(|at| !world.settled.contains(at) && raw.delivery(0, *at).is_settled());
        assert!(count.count() <= 1, "one message was taken, and two are settled");
        world.maybe.extend(both);
    } else {
        may_settle(world, end, 1);
    }
}

/// The second group has a worker in every case.
pub(super) fn staff_second(world: &mut World, _: &Ending) {
    if world.raw().group_flags(1) == 1 {
        world.second = Some(join_as_survivor(&world.path, "h"));
    }
}
