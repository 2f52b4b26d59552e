//! Measured times, and how they are written.

use std::time::Duration;

/// Times, in order of size.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    sorted: Vec<Duration>,
}

impl Times {
    pub(crate) fn new(mut times: Vec<Duration>) -> Times {
        times.sort_unstable();
        Times { sorted: times }
    }

    /// The time that this share of them did not exceed; zero if there are none.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index below the length"
        )]
        let index = (self.sorted.len() as f64 * share) as usize;
        self.sorted.get(index).or(self.sorted.last()).copied().unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.sorted.len()
    }
}

pub(crate) fn short(time: Duration) -> String {
    if time < Duration::from_micros(1) { format!("{} ns", time.as_nanos()) } else { format!("{time:.1?}") }
}

pub(crate) fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{cpus} CPUs, {}", model.map_or(std::env::consts::ARCH, |(_, model)| model))
}
