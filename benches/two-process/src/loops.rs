//! The measured loops. The receiver checks every word of every message.

use crate::channel::{BATCH, Failure, Receiver, Sender};
use crate::payload::{STOP, Seen, look, number};
use crate::run::{Outcome, Schedule};
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// Messages between two looks at the clock while streaming: whole batches.
const fn chunk(size: usize) -> u64 {
    if size > 4096 { BATCH as u64 } else { 8 * BATCH as u64 }
}
/// Round trips, of which there is a record; more in one run do not count.
const SAMPLES: usize = 4 << 20;
/// How long the receiver has nothing to do before it is woken.
const IDLE: Duration = Duration::from_millis(1);
/// The shares that are reported.
const SHARES: [f64; 15] =
    [0.0, 1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99, 99.999, 100.0];

fn wrong(found: u64, expected: u64) -> Failure {
    format!("message {expected} is not what was sent: its first word says {found}").into()
}

/// The near side of the round trips. One clock reading lies in each.
pub(crate) fn ping<const N: usize>(
    tx: &mut impl Sender<N>,
    rx: &mut impl Receiver<N>,
    schedule: Schedule,
) -> Result<Outcome, Failure> {
    // Ones, so that the pages are there before they are needed.
    let mut samples = vec![1_u32; SAMPLES];
    let (mut messages, mut counted) = (0, 0);
    let start = Instant::now();
    let (from, until) = (start + schedule.warm_up, start + schedule.total());
    let mut last = start;
    while last < until && counted < samples.len() {
        tx.send(messages)?;
        match rx.recv(|bytes| look(bytes, messages))? {
            Seen::Expected => messages += 1,
            Seen::Stop => return Err(wrong(STOP, messages)),
            Seen::Wrong(found) => return Err(wrong(found, messages)),
        }
        let now = Instant::now();
        if last >= from {
            samples[counted] = u32::try_from((now - last).as_nanos()).unwrap_or(u32::MAX);
            counted += 1;
        }
        last = now;
    }
    tx.send(STOP)?;
    distribution(messages, samples[..counted].iter().map(|ns| u64::from(*ns)))
}

/// The far side of the round trips.
pub(crate) fn echo<const N: usize>(
    rx: &mut impl Receiver<N>,
    tx: &mut impl Sender<N>,
) -> Result<Outcome, Failure> {
    let mut messages = 0;
    loop {
        match rx.recv(|bytes| look(bytes, messages))? {
            Seen::Expected => tx.send(messages)?,
            Seen::Stop => return Ok(Outcome { messages, ..Outcome::default() }),
            Seen::Wrong(found) => return Err(wrong(found, messages)),
        }
        messages += 1;
    }
}

/// The near side of a stream.
pub(crate) fn pour<const N: usize>(
    tx: &mut impl Sender<N>,
    schedule: Schedule,
    in_batches: bool,
) -> Result<Outcome, Failure> {
    let until = Instant::now() + schedule.total();
    let mut messages = 0;
    while Instant::now() < until {
        let end = messages + chunk(N);
        if in_batches {
            while messages < end {
                tx.send_batch(messages)?;
                messages += BATCH as u64;
            }
        } else {
            while messages < end {
                tx.send(messages)?;
                messages += 1;
            }
        }
    }
    tx.send(STOP)?;
    Ok(Outcome { messages, ..Outcome::default() })
}

/// The far side of a stream, which measures it: from the first look at the clock after the warm-up
/// to the last one while messages came.
pub(crate) fn drain<const N: usize>(
    rx: &mut impl Receiver<N>,
    schedule: Schedule,
    in_batches: bool,
) -> Result<Outcome, Failure> {
    let mut watch = Watch::new(schedule.warm_up);
    let mut messages = 0;
    let mut next_look = chunk(N);
    let found = loop {
        let mut seen = Seen::Expected;
        if in_batches {
            rx.recv_batch(|bytes| {
                if seen == Seen::Expected {
                    seen = look(bytes, messages);
                    messages += u64::from(seen == Seen::Expected);
                }
            })?;
        } else {
            seen = rx.recv(|bytes| look(bytes, messages))?;
            messages += u64::from(seen == Seen::Expected);
        }
        if seen != Seen::Expected {
            break seen;
        }
        if messages >= next_look {
            watch.look(messages);
            next_look += chunk(N);
        }
    };
    if let Seen::Wrong(found) = found {
        return Err(wrong(found, messages));
    }
    watch.outcome(messages)
}

/// Two looks at the clock, and how many messages there were at each.
#[derive(Debug)]
pub(crate) struct Watch {
    from: Instant,
    first: Option<(Instant, u64)>,
    last: (Instant, u64),
}

impl Watch {
    pub(crate) fn new(warm_up: Duration) -> Watch {
        let now = Instant::now();
        Watch { from: now + warm_up, first: None, last: (now, 0) }
    }

    /// Notes that there are `messages` by now.
    pub(crate) fn look(&mut self, messages: u64) {
        self.last = (Instant::now(), messages);
        if self.first.is_none() && self.last.0 >= self.from {
            self.first = Some(self.last);
        }
    }

    pub(crate) fn outcome(&self, messages: u64) -> Result<Outcome, Failure> {
        let first = self.first.ok_or("no message came after the warm-up; give it more seconds")?;
        let counted = self.last.1 - first.1;
        if counted == 0 {
            return Err("too few messages came after the warm-up; give it more seconds".into());
        }
        let ns = (self.last.0 - first.0).as_nanos() as f64 / counted as f64;
        Ok(Outcome { messages, counted, ns_per_message: Some(ns), ..Outcome::default() })
    }
}

/// The near side of the wake-ups: each message is the time at which it was sent.
pub(crate) fn knock<const N: usize>(tx: &mut impl Sender<N>, schedule: Schedule) -> Result<Outcome, Failure> {
    let until = Instant::now() + schedule.total();
    let mut messages = 0;
    while Instant::now() < until {
        let next = Instant::now() + IDLE;
        while Instant::now() < next {
            std::hint::spin_loop();
        }
        tx.send(monotonic_ns())?;
        messages += 1;
    }
    tx.send(STOP)?;
    Ok(Outcome { messages, ..Outcome::default() })
}

/// The far side of the wake-ups.
pub(crate) fn sleep<const N: usize>(
    rx: &mut impl Receiver<N>,
    schedule: Schedule,
) -> Result<Outcome, Failure> {
    let from = Instant::now() + schedule.warm_up;
    let mut latencies = Vec::new();
    let mut messages = 0;
    loop {
        let sent = rx.recv(number)?.ok_or("a message came torn")?;
        if sent == STOP {
            break;
        }
        let latency = monotonic_ns().saturating_sub(sent);
        messages += 1;
        if Instant::now() >= from {
            latencies.push(latency);
        }
    }
    distribution(messages, latencies.into_iter())
}

/// How long each of `times` calls of `open` takes; what it opens is closed outside of the
/// measurement.
pub(crate) fn attach<T>(
    times: usize,
    mut open: impl FnMut() -> Result<T, Failure>,
) -> Result<Outcome, Failure> {
    let mut samples = Vec::with_capacity(times);
    for _ in 0..times {
        let start = Instant::now();
        let opened = open()?;
        samples.push(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
        drop(opened);
    }
    distribution(times as u64, samples.into_iter())
}

/// The outcome of measurements that are nanoseconds each.
fn distribution(messages: u64, samples: impl Iterator<Item = u64>) -> Result<Outcome, Failure> {
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
    for ns in samples {
        histogram.saturating_record(ns.max(1));
    }
    if histogram.is_empty() {
        return Err("nothing was measured; give it more seconds".into());
    }
    // A share that fewer than one sample lies above says no more than the maximum.
    let told = |share: &f64| *share == 100.0 || (100.0 - share) / 100.0 * histogram.len() as f64 >= 1.0;
    let at = |share| (share, histogram.value_at_percentile(share));
    Ok(Outcome {
        messages,
        counted: histogram.len(),
        middle_ns: Some(middle(&histogram)),
        percentiles: SHARES.into_iter().filter(told).map(at).collect(),
        ..Outcome::default()
    })
}

/// The mean of the middle half. Clocks tick coarsely beside a round trip of a hundred nanoseconds,
/// so that its median is a whole number of ticks; this is not.
fn middle(histogram: &Histogram<u64>) -> f64 {
    let (from, until) = (histogram.len() / 4, histogram.len() - histogram.len() / 4);
    let (mut below, mut sum) = (0, 0.0);
    for step in histogram.iter_recorded() {
        let count = step.count_at_value();
        let inside = (below + count).min(until).saturating_sub(below.max(from));
        sum += inside as f64 * step.value_iterated_to() as f64;
        below += count;
    }
    sum / (until - from) as f64
}

/// The clock that all processes share.
fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a `timespec` of ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_half_is_averaged() {
        let outcome =
            distribution(8, [1, 1, 10, 20, 30, 40, 1000, 9000].into_iter()).expect("there are samples");
        assert_eq!(outcome.middle_ns, Some(25.0));
        assert_eq!(outcome.percentile(100.0).map(|max| (max / 9000.0).round()), Some(1.0));
        assert_eq!(outcome.percentile(99.0), None, "of eight");
    }
}
