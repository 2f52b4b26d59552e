//! The settings of a group change under its workers.

use super::{HOUR, fill, in_memory, join, next, patient, recorded, text};
use kit::{LONG, until};
use slipring::{EventKind, GroupSettings, RecvError, Rejected, Ring, RingOptions, Worker, WorkerOptions};
use std::time::Duration;

/// Lets a worker look for messages, of which there are none, until it has these settings.
fn takes_up(worker: &Worker, wanted: GroupSettings) {
    until("the worker takes up the change", || {
        assert!(matches!(worker.recv_timeout(Duration::from_millis(1)), Err(RecvError::TimedOut(_))));
        worker.settings() == wanted
    });
}

#[test]
fn a_worker_takes_up_a_change_and_the_group_keeps_what_was_not_changed() {
    let (ring, mut producer, worker) = in_memory(16, patient());
    let changed = ring.change_group("work", |settings| settings.max_deliver(1)).unwrap();
    assert_eq!(changed, patient().max_deliver(1));
    assert_eq!(ring.group("work").unwrap().settings, changed);
    takes_up(&worker, changed);
    fill(&mut producer, 1);
    drop(next(&worker));
    until("one failure is enough now", || {
        assert!(worker.recv_timeout(Duration::from_millis(1)).is_err());
        ring.dead_letters().unwrap().len() == 1
    });
    assert_eq!(recorded(&ring, EventKind::GroupChanged), 1);
    // A worker that joins knows them at once, and insists on them or on others.
    drop(worker);
    let options = WorkerOptions::new("work");
    assert_eq!(options.clone().settings(changed).join::<[u8]>(&ring).unwrap().settings(), changed);
    assert!(options.settings(patient()).join::<[u8]>(&ring).is_err());
}

#[test]
fn a_lease_that_was_given_before_a_change_lasts_as_long_as_it_was_meant_to() {
    let (ring, mut producer, owner) = in_memory(16, patient());
    let colleague = join(&ring, "work");
    fill(&mut producer, 1);
    let mut held = next(&owner);
    let brief = ring.change_group("work", |settings| settings.ack_wait(Duration::from_millis(1))).unwrap();
    takes_up(&colleague, brief);
    // The colleague sweeps at each millisecond, and leaves the lease alone.
    assert!(matches!(colleague.recv_timeout(Duration::from_millis(30)), Err(RecvError::TimedOut(_))));
    assert!(held.time_left() > HOUR / 2);
    // Extended, it is one by the new settings.
    held.extend().unwrap();
    assert!(held.time_left() < HOUR / 2);
    let taken = colleague.recv_timeout(LONG).unwrap();
    assert_eq!((taken.position(), taken.attempt()), (0, 2));
    taken.ack().unwrap();
    assert!(held.ack().is_err());
}

#[test]
fn the_limit_of_what_is_in_flight_follows_a_change() {
    let (ring, mut producer, worker) = in_memory(16, patient().max_ack_pending(1));
    fill(&mut producer, 4);
    let first = next(&worker);
    assert!(worker.try_recv().is_err());
    ring.change_group("work", |settings| settings.max_ack_pending(3)).unwrap();
    let (second, third) = (next(&worker), next(&worker));
    let lower = ring.change_group("work", |settings| settings.max_ack_pending(2)).unwrap();
    takes_up(&worker, lower);
    third.ack().unwrap();
    assert!(worker.try_recv().is_err(), "two are in flight");
    second.ack().unwrap();
    assert_eq!(next(&worker).reject("").unwrap(), Rejected::Settled);
    first.ack().unwrap();
}

#[test]
fn settings_that_no_group_can_be_created_with_change_nothing() {
    let (ring, ..) = in_memory(16, patient());
    let wrong =
        [patient().ack_wait(Duration::ZERO), patient().max_deliver(127), patient().max_ack_pending(0)];
    for settings in wrong {
        let created = RingOptions::new(48, 16).group("work", settings).create_in_memory();
        assert_eq!(text(ring.change_group("work", |_| settings)), text(created));
        assert_eq!(ring.group("work").unwrap().settings, patient());
    }
    let said = "no group is named \"works\"; check the name (`slipring group ls PATH` lists all)";
    assert_eq!(text(ring.change_group("works", |settings| settings)), said);
    assert_eq!(recorded(&ring, EventKind::GroupChanged), 0);
}

/// One thread changes the settings all the time; others read them, by every way there is.
#[test]
fn no_reader_finds_some_of_the_old_settings_and_some_of_the_new() {
    let numbered = |n: u32| patient().ack_wait(Duration::from_millis(n.into())).max_ack_pending(n.into());
    let (ring, _producer, worker) = in_memory(16, numbered(1));
    let is_whole = |settings: GroupSettings| settings == numbered(settings.ack_wait_ms);
    let path = Ring::open(&ring).unwrap();
    std::thread::scope(|scope| {
        let changing = scope.spawn(|| {
            for n in 2..3000 {
                path.change_group("work", |_| numbered(n)).unwrap();
            }
        });
        let mut takes = 0;
        while !changing.is_finished() || takes < 100 {
            takes += 1;
            assert!(is_whole(ring.group("work").unwrap().settings));
            assert!(is_whole(worker.settings()));
            assert!(worker.recv_timeout(Duration::from_micros(1)).is_err());
        }
    });
    takes_up(&worker, numbered(2999));
}
