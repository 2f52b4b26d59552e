//! The measures, and their results.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The sizes of messages that systems are compiled for.
pub(crate) const SIZES: [usize; 5] = [8, 48, 64, 1024, 65536];

/// A kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Measure {
    /// One message under way at a time, there and back over two channels.
    Roundtrip,
    /// One message after another, as fast as it goes, each sent and received by itself.
    Stream,
    /// As many, sent and received up to 32 at a time.
    Batch,
    /// From sending to receipt, when the receiver had nothing to do for a millisecond.
    Wake,
    /// Opening a receiving end.
    Attach,
    /// The same, for the first time in a process that has a second thread.
    First,
    /// Messages shared out to workers, each of which acknowledges what it got.
    Group,
}

impl Measure {
    /// All, in the order in which they are shown.
    pub(crate) const ALL: [Measure; 7] = [
        Measure::Roundtrip,
        Measure::Stream,
        Measure::Batch,
        Measure::Wake,
        Measure::Attach,
        Measure::First,
        Measure::Group,
    ];

    /// The sizes for which it makes sense.
    pub(crate) fn sizes(self) -> &'static [usize] {
        match self {
            Measure::Roundtrip => &[8, 48, 64, 1024],
            Measure::Stream | Measure::Batch => &SIZES,
            Measure::Wake => &[8],
            Measure::Attach | Measure::First | Measure::Group => &[48],
        }
    }

    /// Whether a far side takes part.
    pub(crate) fn has_far_side(self) -> bool {
        self != Measure::Attach
    }

    /// How much longer than others a run must be: wake-ups come one in a millisecond.
    pub(crate) fn patience(self) -> f64 {
        if self == Measure::Wake { 4.0 } else { 1.0 }
    }

    /// As it is called on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Measure::Roundtrip => "roundtrip",
            Measure::Stream => "stream",
            Measure::Batch => "batch",
            Measure::Wake => "wake",
            Measure::Attach => "attach",
            Measure::First => "first",
            Measure::Group => "group",
        }
    }
}

/// How long a run is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Time before anything counts.
    pub(crate) warm_up: Duration,
    /// Time that counts.
    pub(crate) measured: Duration,
}

impl Schedule {
    /// A schedule with so many seconds that count.
    pub(crate) fn seconds(seconds: f64) -> Schedule {
        let measured = Duration::from_secs_f64(seconds);
        Schedule { warm_up: (measured / 4).max(Duration::from_millis(20)), measured }
    }

    /// All of it.
    pub(crate) fn total(self) -> Duration {
        self.warm_up + self.measured
    }
}

/// The report of one side of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Messages handled, warm-up included: both sides must have the same.
    pub(crate) messages: u64,
    /// Messages, or round trips, that count.
    pub(crate) counted: u64,
    /// Nanoseconds per message.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) ns_per_message: Option<f64>,
    /// The mean of the middle half of the measurements, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) middle_ns: Option<f64>,
    /// Shares in percent, and the nanoseconds that so many did not exceed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) percentiles: Vec<(f64, u64)>,
}

impl Outcome {
    /// The figure that stands for the run: the time per message, or of the middle half.
    pub(crate) fn figure(&self) -> Option<f64> {
        self.ns_per_message.or(self.middle_ns)
    }

    /// The value that this share, in percent, did not exceed.
    pub(crate) fn percentile(&self, share: f64) -> Option<f64> {
        self.percentiles.iter().find(|(at, _)| *at == share).map(|(_, ns)| *ns as f64)
    }
}

/// The last words of a child process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// The measurement is done.
    Done(Outcome),
    /// The system could not be measured, or the receiver got a wrong message.
    Failed(String),
}
