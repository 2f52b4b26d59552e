//! The cost of sharing messages out: a producer, and workers that acknowledge each message. This
//! library only.

use crate::channel::{Failure, capacity};
use crate::machine;
use crate::payload::{fill, number};
use crate::place::Place;
use crate::run::{Measure, Outcome, Schedule};
use crate::systems::Entry;
use slipring::{GroupSettings, Producer, RecvError, RingOptions, Worker};
use std::thread;
use std::time::Instant;

/// Bytes of a message.
const SIZE: usize = 48;
const GROUP: &str = "workers";
/// Messages between two looks at the clock.
const CHUNK: u64 = 64;

const SYSTEMS: [(&str, &str, usize); 2] = [
    ("slipring-1-worker", "this library, a group of one worker, each message received and acknowledged", 1),
    ("slipring-4-workers", "the same with four workers, which are threads of the far process", 4),
];

/// Their entries among the systems.
pub(crate) fn entries() -> impl Iterator<Item = Entry> {
    SYSTEMS.iter().map(|(name, about, _)| Entry {
        name,
        about,
        measures: &[Measure::Group],
        largest: || SIZE,
        remove: |_| {},
        is_threads: false,
    })
}

/// How many workers the system of this name has.
pub(crate) fn workers_of(name: &str) -> Option<usize> {
    SYSTEMS.iter().find(|(known, ..)| *known == name).map(|(.., workers)| *workers)
}

/// Makes the ring.
pub(crate) fn create(place: &Place) -> Result<(), Failure> {
    RingOptions::new(SIZE, capacity(SIZE)).group(GROUP, GroupSettings::new()).create(place.file())?;
    Ok(())
}

/// The near side: sends as fast as it goes, and closes the ring.
pub(crate) fn near(place: &Place, schedule: Schedule) -> Result<Outcome, Failure> {
    let mut producer = Producer::<[u8]>::open(place.file())?;
    let until = Instant::now() + schedule.total();
    let mut messages = 0;
    while Instant::now() < until {
        for _ in 0..CHUNK {
            let mut claim = producer.claim()?;
            fill::<SIZE>((&mut claim[..]).try_into()?, messages);
            claim.publish(SIZE)?;
            messages += 1;
        }
    }
    producer.close()?;
    Ok(Outcome { messages, ..Outcome::default() })
}

/// The result of one worker.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    messages: u64,
    /// Of the numbers, wrapping: together with the count it tells a lost or doubled message.
    sum: u64,
    counted: u64,
}

/// The far side: workers, spread over `cores`.
pub(crate) fn far(
    place: &Place,
    schedule: Schedule,
    workers: usize,
    cores: &[usize],
) -> Result<Outcome, Failure> {
    let joined: Vec<Worker> =
        (0..workers).map(|_| Worker::<[u8]>::join(place.file(), GROUP)).collect::<Result<_, _>>()?;
    let from = Instant::now() + schedule.warm_up;
    let shares: Vec<Share> = thread::scope(|scope| {
        let threads: Vec<_> = joined
            .into_iter()
            .zip(cores.iter().cycle())
            .map(|(worker, core)| {
                scope.spawn(move || {
                    machine::pin(*core)?;
                    work(&worker, from)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| Failure::from("a worker panicked"))?)
            .collect::<Result<_, Failure>>()
    })?;
    let elapsed = from.elapsed();
    let (messages, counted): (u64, u64) =
        (shares.iter().map(|share| share.messages).sum(), shares.iter().map(|share| share.counted).sum());
    let sum = shares.iter().fold(0, |sum: u64, share| sum.wrapping_add(share.sum));
    if sum != (0..messages).fold(0, u64::wrapping_add) {
        return Err("the workers did not get each message once".into());
    }
    if counted == 0 {
        return Err("no message came after the warm-up; give it more seconds".into());
    }
    let ns = elapsed.as_nanos() as f64 / counted as f64;
    Ok(Outcome { messages, counted, ns_per_message: Some(ns), ..Outcome::default() })
}

fn work(worker: &Worker, from: Instant) -> Result<Share, Failure> {
    let mut share = Share::default();
    let mut uncounted = None;
    loop {
        let delivery = match worker.recv() {
            Ok(delivery) => delivery,
            Err(RecvError::Closed) => break,
            Err(error) => return Err(error.into()),
        };
        let bytes: &[u8; SIZE] = (&delivery[..]).try_into()?;
        share.sum = share.sum.wrapping_add(number(bytes).ok_or("a message came torn")?);
        delivery.ack()?;
        share.messages += 1;
        if uncounted.is_none() && share.messages % CHUNK == 0 && Instant::now() >= from {
            uncounted = Some(share.messages);
        }
    }
    share.counted = uncounted.map_or(0, |uncounted| share.messages - uncounted);
    Ok(share)
}
