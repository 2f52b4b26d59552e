//! The cost of a message to a worker beside messages that stay in flight, and how much of a core
//! the waiting handles use. Every figure is processor time of the measuring thread, with and
//! without such messages in turn.

use rustix::time::{ClockId, clock_gettime};
use slipring::{Delivery, GroupSettings, Kinds, Producer, Ring, RingOptions, Worker};
use std::error::Error;
use std::time::{Duration, Instant};

type Measure = fn() -> Outcome;
type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const HELP: &str = "\
Usage: stuck [WHAT...]

  held     claim and ack beside one held lease, in a ring of 262,144
  limit    the same near the limit of what may be in flight: 998 leases of 1000, one in 64 messages
  idle     a worker with nothing to do, beside one and 2000 held leases, and at the limit; and a
           thread that only sleeps for a tick at a time
  retries  the same beside 100,000 messages that wait for their next attempt
  returned a message that is handed back and leased again, below 100,000 such
  kinds    a worker of one kind, behind 200,000 fresh messages of another
  full     a producer that waits for room behind one held lease

Without an argument, all of them.";

/// Messages in the rings, but for the one of `idle`.
const CAPACITY: usize = 256 << 10;
/// The tick of a worker.
const TICK: Duration = Duration::from_millis(10);
/// The time that an idle handle is watched.
const WATCHED: Duration = Duration::from_secs(3);
/// One in so many messages is held.
const SPREAD: usize = 64;
const MESSAGE: [u8; 8] = [1; 8];

fn main() -> Outcome {
    let all: [(&str, Measure); 7] = [
        ("held", held),
        ("limit", limit),
        ("idle", idle),
        ("retries", retries),
        ("returned", returned),
        ("kinds", kinds),
        ("full", full),
    ];
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted.iter().any(|name| !all.iter().any(|(known, _)| known == name)) {
        println!("{HELP}");
        return Ok(());
    }
    for (_, measure) in all.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|it| it == name))
    {
        measure()?;
    }
    Ok(())
}

fn held() -> Outcome {
    for count in [0, 1, 0, 1] {
        let (ring, worker, holder) = group(CAPACITY, CAPACITY, settings())?;
        let _held = hold(&holder, &worker, count, 1)?;
        println!("beside {count} held: {:.1} ns", work(&worker, 250_000)?);
        drop(ring);
    }
    Ok(())
}

fn limit() -> Outcome {
    for count in [0, 998, 0, 998] {
        let (ring, worker, holder) = group(CAPACITY, CAPACITY, settings().max_ack_pending(1000))?;
        let _held = hold(&holder, &worker, count, SPREAD)?;
        println!("{count} of 1000 in flight: {:.1} ns", work(&worker, 100_000)?);
        drop(ring);
    }
    Ok(())
}

fn idle() -> Outcome {
    let ticks = WATCHED.as_millis() / TICK.as_millis();
    let floor = share(|| (0..ticks).for_each(|_| std::thread::sleep(TICK)));
    println!("a thread that sleeps for {TICK:?} at a time: {floor:.2} % of a core");
    for count in [0, 1, 2000] {
        let (ring, worker, holder) = group(1 << 20, 1 << 20, settings())?;
        let _held = hold(&holder, &worker, count, SPREAD)?;
        work(&worker, (1 << 20) - count * SPREAD)?;
        println!("idle beside {count} held: {:.2} % of a core", share(|| drop(worker.recv_timeout(WATCHED))));
        drop(ring);
    }
    let (_ring, worker, holder) = group(CAPACITY, CAPACITY, settings().max_ack_pending(1000))?;
    let _held = (hold(&holder, &worker, 999, SPREAD)?, holder.recv()?);
    let share = share(|| drop(worker.recv_timeout(WATCHED)));
    println!("idle beside 1000 held of 1000 in flight, and a backlog: {share:.2} % of a core");
    Ok(())
}

fn retries() -> Outcome {
    for count in [0, 100_000] {
        let (ring, worker, _) = group(CAPACITY, CAPACITY, settings())?;
        for _ in 0..count {
            worker.recv()?.nack(Some(Duration::from_secs(600)))?;
        }
        work(&worker, CAPACITY - count)?;
        let share = share(|| drop(worker.recv_timeout(WATCHED)));
        println!("idle beside {count} that wait for their next attempt: {share:.2} % of a core");
        drop(ring);
    }
    Ok(())
}

fn returned() -> Outcome {
    const ROUNDS: usize = 10_000;
    for count in [0, 100_000] {
        let (_ring, worker, holder) = group(CAPACITY, count + 1, settings())?;
        let mut held = worker.recv()?;
        for _ in 0..count {
            holder.recv()?.nack(Some(Duration::from_secs(600)))?;
        }
        let before = processor_ns();
        for _ in 0..ROUNDS {
            held.hand_back()?;
            held = worker.recv()?;
        }
        let each = (processor_ns() - before) / ROUNDS as f64;
        println!("handed back below {count} that wait: {each:.1} ns");
    }
    Ok(())
}

fn kinds() -> Outcome {
    const ROUNDS: usize = 20_000;
    for count in [0, 200_000, 0, 200_000] {
        let (ring, worker, _) = group(CAPACITY, 0, GroupSettings::new())?;
        let mut producer = Producer::<[u8]>::open(&ring)?;
        for _ in 0..count {
            producer.send((0, &MESSAGE[..]))?;
        }
        let before = processor_ns();
        let first = worker.try_recv_kind(Kinds::Equal(7)).is_ok();
        println!("a first look at {count} of another kind: {:.1} us", (processor_ns() - before) / 1e3);
        assert!(!first, "there is none of this kind");
        let before = processor_ns();
        for _ in 0..ROUNDS {
            producer.send((7, &MESSAGE[..]))?;
            worker.recv_kind(Kinds::Equal(7), None)?.ack()?;
        }
        let each = (processor_ns() - before) / ROUNDS as f64;
        println!("behind {count} of another kind: {each:.1} ns, with its sending");
        let waiting = || drop(worker.recv_kind(Kinds::Equal(7), Some(WATCHED)));
        println!("  and idle: {:.2} % of a core", share(waiting));
    }
    Ok(())
}

fn full() -> Outcome {
    let (ring, worker, holder) = group(CAPACITY, CAPACITY, settings())?;
    let _held = hold(&holder, &worker, 1, SPREAD)?;
    work(&worker, CAPACITY - SPREAD)?;
    let mut producer = Producer::<[u8]>::open(&ring)?;
    let share = share(|| drop(producer.send_timeout(&MESSAGE[..], WATCHED)));
    println!("a producer that waits for room behind one held: {share:.2} % of a core");
    Ok(())
}

fn settings() -> GroupSettings {
    GroupSettings::new().ack_wait(Duration::from_secs(600)).max_ack_pending(1 << 20)
}

/// A ring with `messages`, the worker that is measured, and one that holds messages back.
fn group(capacity: usize, messages: usize, settings: GroupSettings) -> Outcome<(Ring, Worker, Worker)> {
    let ring = RingOptions::new(MESSAGE.len(), capacity).group("g", settings).create_in_memory()?;
    let mut producer = Producer::<[u8]>::open(&ring)?;
    for _ in 0..messages {
        producer.send(&MESSAGE[..])?;
    }
    let (worker, holder) = (Worker::<[u8]>::join(&ring, "g")?, Worker::<[u8]>::join(&ring, "g")?);
    Ok((ring, worker, holder))
}

/// Leases `count` messages, one of every `spread`; `worker` settles the others between them.
fn hold<'w>(holder: &'w Worker, worker: &Worker, count: usize, spread: usize) -> Outcome<Vec<Delivery<'w>>> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        held.push(holder.recv()?);
        work(worker, spread - 1)?;
    }
    Ok(held)
}

/// Nanoseconds per message.
fn work(worker: &Worker, messages: usize) -> Outcome<f64> {
    let before = processor_ns();
    for _ in 0..messages {
        worker.recv()?.ack()?;
    }
    Ok((processor_ns() - before) / messages.max(1) as f64)
}

/// The percentage of a core that this thread uses during `wait`.
fn share(wait: impl FnOnce()) -> f64 {
    let (before, start) = (processor_ns(), Instant::now());
    wait();
    (processor_ns() - before) / start.elapsed().as_secs_f64() / 1e7
}

/// Nanoseconds that this thread has run.
fn processor_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
