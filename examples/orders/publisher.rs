//! The order process: writes every paid order into the ring and goes on. The fate of an order is
//! not its affair.

use crate::common::{self, Failure};
use crate::order::Order;
use crate::times::Times;
use slipring::{Producer, SendError};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Orders per second, but for the burst.
const RATE: u32 = 2000;
/// The SMS side is behind if so many orders wait for it.
const BEHIND: u64 = 100;
/// Looks up from waiting for room this often, for Ctrl-C.
const PATIENCE: Duration = Duration::from_millis(100);

/// Between the publisher's thread and the one that directs the run.
#[derive(Debug, Default)]
pub(crate) struct Cues {
    /// Orders whose SMS was seen to, as of a few milliseconds ago.
    pub(crate) sms_done: AtomicU64,
    /// The run is over before its end.
    pub(crate) stop: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct Published {
    /// How long publishing took, each time, at the moderate rate while the SMS side kept up, in the
    /// burst, and at the moderate rate while the SMS side was behind.
    pub(crate) kept_up: Times,
    pub(crate) in_burst: Times,
    pub(crate) behind: Times,
    pub(crate) longest_behind: u64,
    pub(crate) burst_took: Duration,
    /// How often the ring was full.
    pub(crate) found_full: u64,
}

/// Publishes a fifth of the orders at a moderate rate, two fifths at once, the rest at the moderate
/// rate. Gives the producer back, for the dead letters.
pub(crate) fn publish(
    mut producer: Producer<Order>,
    total: u64,
    seed: u64,
    cues: &Cues,
) -> Result<(Producer<Order>, Published), Failure> {
    let burst = total / 5..total * 3 / 5;
    let (mut kept_up, mut in_burst, mut behind) = (Vec::new(), Vec::new(), Vec::new());
    let (mut longest_behind, mut found_full) = (0, 0);
    let (mut burst_start, mut burst_took) = (Instant::now(), Duration::ZERO);
    let mut due = Instant::now();
    for nth in 0..total {
        if nth == burst.start {
            burst_start = Instant::now();
        }
        if nth == burst.end {
            burst_took = burst_start.elapsed();
            due = Instant::now();
        }
        if !burst.contains(&nth) {
            due += Duration::from_secs(1) / RATE;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let order = Order::new(nth + 1, total, seed);
        let start = Instant::now();
        let mut sent = producer.try_send(&order);
        while let Err(SendError::Full { .. }) = sent {
            found_full += 1;
            if common::interrupted() || cues.stop.load(Ordering::Relaxed) {
                return Err("stopped".into());
            }
            sent = producer.send_timeout(&order, PATIENCE);
        }
        let took = start.elapsed();
        let waiting = sent?.saturating_sub(cues.sms_done.load(Ordering::Relaxed));
        longest_behind = waiting.max(longest_behind);
        let times = match waiting {
            _ if burst.contains(&nth) => &mut in_burst,
            0..=BEHIND => &mut kept_up,
            _ => &mut behind,
        };
        times.push(took);
        if common::interrupted() || cues.stop.load(Ordering::Relaxed) {
            return Err("stopped".into());
        }
    }
    let published = Published {
        kept_up: Times::new(kept_up),
        in_burst: Times::new(in_burst),
        behind: Times::new(behind),
        longest_behind,
        burst_took,
        found_full,
    };
    Ok((producer, published))
}
