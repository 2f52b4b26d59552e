//! The publisher: every message of the script, in batches, as fast as the slowest consumer allows.

use crate::common::{self, Failure};
use crate::script::Script;
use crate::tally;
use slipring::{Producer, SendError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const BATCH: u64 = 256;
/// Looks up from waiting for room this often, for Ctrl-C.
const PATIENCE: Duration = Duration::from_millis(100);

/// The published messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    pub(crate) messages: u64,
    pub(crate) checksum: u64,
    pub(crate) elapsed: Duration,
}

/// Between the publisher's thread and the one that directs the run.
#[derive(Debug, Default)]
pub(crate) struct Cues {
    /// The consumer that has to die is dead. The last third of the stream is held back until then:
    /// however short the stream is, the consumer dies in the middle of it.
    pub(crate) killed: AtomicBool,
    /// The run is over before its end.
    pub(crate) stop: AtomicBool,
}

impl Cues {
    fn stopped(&self) -> bool {
        common::interrupted() || self.stop.load(Ordering::Relaxed)
    }
}

pub(crate) fn publish(
    mut producer: Producer,
    script: &Script<'_>,
    cues: &Cues,
) -> Result<Published, Failure> {
    let (start, total) = (Instant::now(), script.len());
    let hold = total * 2 / 3;
    let mut messages = script.messages().peekable();
    let mut checksum = 0_u64;
    while messages.peek().is_some() {
        if cues.stopped() {
            return Err("stopped".into());
        }
        let end = if cues.killed.load(Ordering::Acquire) { total } else { hold };
        let want = usize::try_from(BATCH.min(end - producer.head()))?;
        if want == 0 {
            thread::sleep(Duration::from_micros(100));
            continue;
        }
        let mut position = producer.head();
        let mut batch = match producer.claim_batch_timeout(want, PATIENCE) {
            Ok(batch) => batch,
            Err(SendError::Full { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        while batch.remaining() > 0 {
            let Some((kind, bytes)) = messages.next() else { break };
            batch.push((kind, bytes))?;
            checksum = checksum.wrapping_add(tally::hash(position, kind, bytes));
            position += 1;
        }
        batch.publish()?;
    }
    let elapsed = start.elapsed();
    producer.close()?;
    Ok(Published { messages: total, checksum, elapsed })
}
