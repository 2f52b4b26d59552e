//! The counted operations. Messages have 48 bytes and fill their blocks, on rings in this process's
//! memory.

use slipring::{Consumer, GroupSettings, Producer, Ring, RingOptions, Start, Worker, WorkerOptions};
use std::error::Error;
use std::time::Duration;

type Outcome = Result<(), Box<dyn Error>>;

pub(crate) struct Operation {
    pub(crate) name: &'static str,
    /// Makes so many calls; all else it does is the same for every number of calls.
    pub(crate) run: fn(calls: usize) -> Outcome,
}

pub(crate) const OPERATIONS: [Operation; 11] = [
    Operation { name: "send, no consumer", run: |calls| send(0, calls) },
    Operation { name: "send, 1 consumer", run: |calls| send(1, calls) },
    Operation { name: "send, 64 consumers", run: |calls| send(64, calls) },
    Operation { name: "claim and publish", run: claim_and_publish },
    Operation { name: "send in batches of 32", run: send_batches },
    Operation { name: "recv", run: recv },
    Operation { name: "recv in batches of 32", run: recv_batches },
    Operation { name: "send and recv around 64 blocks", run: around },
    Operation { name: "worker: recv and ack", run: |calls| recv_and_ack(0, calls) },
    Operation { name: "worker: the same beside one lease", run: |calls| recv_and_ack(1, calls) },
    Operation { name: "worker: near the limit in flight", run: |calls| recv_and_ack(998, calls) },
];

const MESSAGE: [u8; 48] = [1; 48];
/// No operation but `around` needs to look at the tails for room.
const CAPACITY: usize = 1 << 14;

fn ring() -> Result<Ring, slipring::AtPath<slipring::CreateError>> {
    options().create_in_memory()
}

fn options() -> RingOptions {
    RingOptions::new(MESSAGE.len(), CAPACITY).consumers(64)
}

fn send(consumers: usize, calls: usize) -> Outcome {
    let ring = ring()?;
    let attached: Result<Vec<_>, _> =
        (0..consumers).map(|_| Consumer::<[u8]>::attach(&ring, Start::Earliest)).collect();
    let _attached = attached?;
    let mut producer = Producer::<[u8]>::open(&ring)?;
    for _ in 0..calls {
        producer.send(&MESSAGE)?;
    }
    Ok(())
}

fn claim_and_publish(calls: usize) -> Outcome {
    let ring = ring()?;
    let mut producer = Producer::<[u8]>::open(&ring)?;
    for _ in 0..calls {
        let mut claim = producer.claim()?;
        claim.copy_from_slice(&MESSAGE);
        claim.publish(MESSAGE.len())?;
    }
    Ok(())
}

fn send_batches(calls: usize) -> Outcome {
    let ring = ring()?;
    let mut producer = Producer::<[u8]>::open(&ring)?;
    for _ in 0..calls / 32 {
        let mut claim = producer.claim_batch(32)?;
        for _ in 0..32 {
            claim.push(&MESSAGE)?;
        }
        claim.publish()?;
    }
    Ok(())
}

/// As many messages as any run receives.
fn filled(ring: Ring) -> Result<Ring, Box<dyn Error>> {
    let mut producer = Producer::<[u8]>::open(&ring)?;
    for _ in 0..CAPACITY {
        producer.send(&MESSAGE)?;
    }
    Ok(ring)
}

fn recv(calls: usize) -> Outcome {
    let ring = filled(ring()?)?;
    let mut consumer = Consumer::<[u8]>::attach(&ring, Start::Earliest)?;
    for _ in 0..calls {
        std::hint::black_box(&*consumer.recv()?);
    }
    Ok(())
}

fn recv_batches(calls: usize) -> Outcome {
    let ring = filled(ring()?)?;
    let mut consumer = Consumer::<[u8]>::attach(&ring, Start::Earliest)?;
    for _ in 0..calls / 32 {
        for message in &consumer.recv_batch(32)? {
            std::hint::black_box(&*message);
        }
    }
    Ok(())
}

/// The producer looks for room as often as the ring is gone around.
fn around(calls: usize) -> Outcome {
    let ring = RingOptions::new(MESSAGE.len(), 64).consumers(64).create_in_memory()?;
    let mut consumer = Consumer::<[u8]>::attach(&ring, Start::Earliest)?;
    let mut producer = Producer::<[u8]>::open(&ring)?;
    for _ in 0..calls {
        producer.send(&MESSAGE)?;
        std::hint::black_box(&*consumer.recv()?);
    }
    Ok(())
}

/// The first messages are leased by another worker, and stay so; the group allows 1000.
fn recv_and_ack(held: usize, calls: usize) -> Outcome {
    let group = GroupSettings::default().max_ack_pending(1000);
    let ring = filled(options().group("group", group).create_in_memory()?)?;
    let other = Worker::<[u8]>::join(&ring, "group")?;
    let _held = other.recv_batch(held)?;
    // How often a worker sweeps depends on the clock, and the counts must not.
    let tick = Duration::from_secs(60);
    let worker: Worker = WorkerOptions::new("group").tick(tick).join(&ring)?;
    for _ in 0..calls {
        let delivery = worker.recv()?;
        std::hint::black_box(&*delivery);
        delivery.ack()?;
    }
    Ok(())
}
