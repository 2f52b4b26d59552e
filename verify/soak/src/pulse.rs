//! Is everything moving? What stands still for too long is stuck.

use crate::cast::PATIENCE;
use std::time::{Duration, Instant};

/// A number that must change now and then.
#[derive(Debug)]
struct Beat {
    what: String,
    value: u64,
    since: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Pulse(Vec<Beat>);

impl Pulse {
    /// True if the number has stood still for too long.
    pub(crate) fn is_stuck(&mut self, what: &str, value: u64, now: Instant) -> bool {
        match self.0.iter_mut().find(|beat| beat.what == what) {
            Some(beat) if beat.value == value => now.saturating_duration_since(beat.since) > PATIENCE,
            Some(beat) => {
                (beat.value, beat.since) = (value, now);
                false
            }
            None => {
                self.0.push(Beat { what: what.to_owned(), value, since: now });
                false
            }
        }
    }

    /// This process was stopped, with all processes of the soak: that time does not count.
    pub(crate) fn skip(&mut self, time: Duration) {
        for beat in &mut self.0 {
            beat.since += time;
        }
    }
}
