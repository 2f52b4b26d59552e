//! The fear: a message is done although no worker finished it, comes back although one did, or is
//! lost although no worker gave it up.
//!
//! Point by point: the fates of a delivery, of a group and of a dead letter, and the accounts that
//! the producer and the snapshots give of them. Within one process; `processes/group_kills.rs`
//! has several, and kills them.

mod dead_letters;
mod deliveries;
mod endings;
mod leases;
mod lifetime;
mod limits;
mod settings;

use kit::{LONG, until};
use slipring::{
    Delivery, EventKind, GroupInfo, GroupSettings, HolderRole, Producer, Ring, RingOptions, SendError,
    Worker, WorkerOptions,
};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// A lease that nothing in a test outlives.
fn patient() -> GroupSettings {
    GroupSettings::new().ack_wait(HOUR)
}

/// A lease that is over at once.
fn hasty() -> GroupSettings {
    GroupSettings::new().ack_wait(Duration::from_millis(1)).max_deliver(None)
}

fn join(ring: &Ring, group: &str) -> Worker {
    WorkerOptions::new(group).tick(Duration::from_millis(1)).join::<[u8]>(ring).unwrap()
}

/// A ring with the group "work".
fn in_memory(capacity: usize, settings: GroupSettings) -> (Ring, Producer, Worker) {
    let ring = RingOptions::new(48, capacity).group("work", settings).create_in_memory().unwrap();
    let producer = Producer::<[u8]>::open(&ring).unwrap();
    let worker = join(&ring, "work");
    (ring, producer, worker)
}

/// Messages of one byte each: 0, 1, 2, ...
fn fill(producer: &mut Producer, count: u8) {
    for n in 0..count {
        producer.try_send(&[n]).unwrap();
    }
}

/// The next delivery, however long it rests.
fn next(worker: &Worker) -> Delivery<'_> {
    worker.recv_timeout(LONG).unwrap()
}

fn group(ring: &Ring) -> GroupInfo {
    let mut groups = ring.groups();
    assert_eq!(groups.len(), 1);
    groups.remove(0)
}

/// The party that holds the ring full.
fn holder(producer: &mut Producer) -> (HolderRole, String, u64, bool) {
    match producer.try_send(b"x") {
        Err(SendError::Full { holder, .. }) => (holder.role, holder.name, holder.lag, holder.alive),
        other => panic!("{other:?}"),
    }
}

fn recorded(ring: &Ring, kind: EventKind) -> u64 {
    ring.events().iter().filter(|event| event.kind == kind).map(|event| 1 + event.repeats).sum()
}

/// Takes the message over from its owner, once the lease is over.
fn take_over(worker: &Worker) -> Delivery<'_> {
    let mut taken = None;
    until("the lease runs out", || {
        taken = worker.try_recv().ok();
        taken.is_some()
    });
    taken.unwrap()
}

/// The text of an error, without the path.
fn text<E: std::fmt::Display>(result: Result<impl Sized, E>) -> String {
    let Err(error) = result else { panic!("not refused") };
    let told = error.to_string();
    told.split_once(": ").map(|(_, what)| what.to_owned()).unwrap()
}
