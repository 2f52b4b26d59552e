//! The settings of a group: length of a lease, number of attempts, delays between them.

use crate::format::{DeliveryWord, group_settings};
use crate::memory::{Memory, Word};
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;

/// Longest wait of a dead-pending message before a worker tries again to move it, in milliseconds.
pub const RETRY_MAX_MS: u32 = 1000;
/// The longest lease or delay, in milliseconds: 12.4 days. Times are compared modulo 49.7 days.
pub const WAIT_MAX_MS: u32 = 1 << 30;
/// Clocks are read in steps of up to 10 ms. A deadline beyond the longest lease by less than this,
/// in milliseconds, counts as possible.
pub(super) const SLACK_MS: u32 = 64;
/// The largest limit of attempts; the word of a delivery holds one more.
const DELIVER_MAX: u32 = DeliveryWord::ATTEMPT_MAX - 1;
/// Stands for a `max_deliver` of 0, which `check` refuses: a stored 0 means "unlimited".
const NO_ATTEMPT: u32 = u32::MAX;
#[expect(clippy::cast_possible_truncation, reason = "16")]
const STEPS_MAX: usize = group_settings::BACKOFF_STEPS_MAX as usize;

/// Delay before a message is delivered again after a failed attempt.
///
/// Applies after a lease that ran out, and after `Delivery::nack` without a delay of its own. A
/// message that a dead worker held, or that a worker handed back, is delivered again at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Backoff {
    /// No delay.
    #[default]
    None,
    /// A delay after the first attempt, the second, …; the last entry serves for all later
    /// attempts.
    Steps(Steps),
    /// Doubles from the first delay up to the longest.
    Exponential {
        /// Delay after the first attempt, in milliseconds.
        first_ms: u32,
        /// Longest delay, in milliseconds.
        longest_ms: u32,
        /// Percent (0 to 100) of each delay that may be taken off by chance, so that messages that
        /// failed together do not all come back together.
        jitter_percent: u8,
    },
}

/// Up to 16 delays, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    ms: [u32; STEPS_MAX],
    len: u8,
}

impl Steps {
    /// The delays, in milliseconds.
    pub fn as_slice(&self) -> &[u32] {
        &self.ms[..usize::from(self.len).min(STEPS_MAX)]
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_slice(), f)
    }
}

impl Backoff {
    /// A list of delays: after the first attempt, the second, and so on. At most 16 count.
    pub fn steps(delays: &[Duration]) -> Backoff {
        let mut steps = Steps { ms: [0; STEPS_MAX], len: 0 };
        for (to, delay) in steps.ms.iter_mut().zip(delays) {
            *to = millis(*delay);
            steps.len += 1;
        }
        if delays.is_empty() { Backoff::None } else { Backoff::Steps(steps) }
    }

    /// Doubling delays from `first` to at most `longest`, with up to half of each taken off by
    /// chance.
    pub fn exponential(first: Duration, longest: Duration) -> Backoff {
        Backoff::Exponential { first_ms: millis(first), longest_ms: millis(longest), jitter_percent: 50 }
    }

    /// The delay in milliseconds after this attempt (from 1) at a position. Position and attempt
    /// determine the chance in it, so that all workers compute the same time.
    pub fn delay_ms(&self, position: u64, attempt: u32) -> u32 {
        let nth = attempt.saturating_sub(1);
        match *self {
            Backoff::None => 0,
            Backoff::Steps(steps) => {
                let steps = steps.as_slice();
                let nth = usize::try_from(nth).unwrap_or(usize::MAX);
                steps.get(nth).or(steps.last()).copied().unwrap_or(0).min(WAIT_MAX_MS)
            }
            Backoff::Exponential { first_ms, longest_ms, jitter_percent } => {
                let doubled = u64::from(first_ms) << nth.min(31);
                let longest = u64::from(longest_ms.min(WAIT_MAX_MS));
                let full = doubled.min(longest);
                let chance = mix(position.wrapping_mul(128).wrapping_add(u64::from(attempt))) % 1024;
                let off = full * u64::from(jitter_percent.min(100)) * chance / (100 * 1024);
                u32::try_from(full - off).unwrap_or(WAIT_MAX_MS)
            }
        }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
const fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

fn millis(duration: Duration) -> u32 {
    // Rounded up: a wait of less than a millisecond must not become none.
    u32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

/// The settings of a group. They belong to the group, not to a worker: the first worker that joins
/// creates the group, or the ring's creator declares it, and a worker that joins with other
/// settings is refused. `Ring::change_group` changes them.
///
/// The defaults are those of NATS JetStream, except that a message is tried five times, not for
/// ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// Length of a lease, in milliseconds: 1 to 2^30.
    pub ack_wait_ms: u32,
    /// Most attempts: 1 to 126; 0: unlimited.
    pub max_deliver: u32,
    /// Most unsettled deliveries, at least 1.
    pub max_ack_pending: u64,
    /// Delay after a failed attempt.
    pub backoff: Backoff,
}

impl Default for GroupSettings {
    fn default() -> GroupSettings {
        GroupSettings { ack_wait_ms: 30_000, max_deliver: 5, max_ack_pending: 1000, backoff: Backoff::None }
    }
}

impl fmt::Display for GroupSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GroupSettings { ack_wait_ms, max_deliver, max_ack_pending, backoff } = self;
        write!(f, "ack_wait {ack_wait_ms} ms, max_deliver ")?;
        match max_deliver {
            0 => f.write_str("unlimited")?,
            n => write!(f, "{n}")?,
        }
        write!(f, ", max_ack_pending {max_ack_pending}, backoff ")?;
        match backoff {
            Backoff::None => f.write_str("none"),
            Backoff::Steps(steps) => write!(f, "{steps:?} ms"),
            Backoff::Exponential { first_ms, longest_ms, jitter_percent } => {
                write!(f, "{first_ms} ms doubling to {longest_ms} ms, {jitter_percent} % jitter")
            }
        }
    }
}

/// A setting outside its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {found}, and must be from {low} to {high}")]
#[non_exhaustive]
pub struct SettingsError {
    /// Name of the setting.
    pub what: &'static str,
    /// The requested value.
    pub found: u64,
    /// The smallest possible value.
    pub low: u64,
    /// The largest possible value.
    pub high: u64,
}

/// Reasons for which a message becomes a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The lease of its last attempt ran out.
    Expired = 1,
    /// The worker died during its last attempt.
    WorkerDied = 2,
    /// Its last attempt failed.
    Failed = 3,
    /// A worker rejected it.
    Rejected = 4,
}

impl Reason {
    /// The reason with this number; unknown numbers count as `Failed`.
    pub fn from_code(code: u32) -> Reason {
        match code {
            1 => Reason::Expired,
            2 => Reason::WorkerDied,
            4 => Reason::Rejected,
            _ => Reason::Failed,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Expired => "the lease of its last attempt ran out",
            Reason::WorkerDied => "the worker died that had its last attempt",
            Reason::Failed => "its last attempt failed",
            Reason::Rejected => "rejected",
        })
    }
}

impl GroupSettings {
    /// The defaults: a lease of 30 seconds, five attempts, 1000 messages in flight, no backoff.
    pub fn new() -> GroupSettings {
        GroupSettings::default()
    }

    /// Length of a lease: a message that its worker neither settles nor extends for so long is
    /// delivered again. 1 ms to 2^30 ms; default 30 s, as in JetStream.
    #[must_use]
    pub fn ack_wait(mut self, ack_wait: Duration) -> GroupSettings {
        self.ack_wait_ms = millis(ack_wait);
        self
    }

    /// Number of attempts before a message becomes a dead letter: 1 to 126; default 5. With `None`
    /// a message is tried until a worker acknowledges or rejects it.
    #[must_use]
    pub fn max_deliver(mut self, attempts: impl Into<Option<u32>>) -> GroupSettings {
        self.max_deliver = match attempts.into() {
            None => 0,
            Some(0) => NO_ATTEMPT,
            Some(attempts) => attempts,
        };
        self
    }

    /// Number of unsettled deliveries at which no worker leases a fresh message, at least 1;
    /// default 1000, as in JetStream. Messages that wait for another attempt count; messages that
    /// wait for the dead-letter ring do not. Workers count by looking at the window, since a death
    /// would leave a shared counter wrong: workers that claim at the very same moment may exceed
    /// the limit by one each.
    #[must_use]
    pub fn max_ack_pending(mut self, messages: u64) -> GroupSettings {
        self.max_ack_pending = messages;
        self
    }

    /// Delay after a failed attempt. Default: none.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> GroupSettings {
        self.backoff = backoff;
        self
    }

    /// Most attempts; `None`: unlimited.
    pub fn attempts_max(&self) -> Option<u32> {
        (self.max_deliver != 0).then_some(self.max_deliver)
    }

    /// Checks every setting against its range.
    pub fn check(&self) -> Result<(), SettingsError> {
        let bound = |what, found: u64, low, high| match (low..=high).contains(&found) {
            true => Ok(()),
            false => Err(SettingsError { what, found, low, high }),
        };
        let wait_max = u64::from(WAIT_MAX_MS);
        bound("ack_wait (in ms)", self.ack_wait_ms.into(), 1, wait_max)?;
        if let Some(attempts) = self.attempts_max() {
            let asked = if attempts == NO_ATTEMPT { 0 } else { attempts };
            bound("max_deliver", asked.into(), 1, DELIVER_MAX.into())?;
        }
        bound("max_ack_pending", self.max_ack_pending, 1, u64::MAX)?;
        match self.backoff {
            Backoff::None => Ok(()),
            Backoff::Steps(steps) => steps
                .as_slice()
                .iter()
                .try_for_each(|&ms| bound("a step of the backoff (in ms)", ms.into(), 0, wait_max)),
            Backoff::Exponential { first_ms, longest_ms, jitter_percent } => {
                bound("the first backoff (in ms)", first_ms.into(), 0, wait_max)?;
                bound("the longest backoff (in ms)", longest_ms.into(), first_ms.into(), wait_max)?;
                bound("the backoff's jitter (in percent)", jitter_percent.into(), 0, 100)
            }
        }
    }

    /// Writes the settings to one of their places in a group's entry.
    pub(super) fn store<M: Memory>(&self, memory: &M, word: impl Fn(u64) -> Word) {
        let store = |at, value| memory.store(word(at), value, Relaxed);
        store(group_settings::ACK_WAIT_MS, self.ack_wait_ms.into());
        store(group_settings::MAX_DELIVER, self.max_deliver.into());
        store(group_settings::MAX_ACK_PENDING, self.max_ack_pending);
        let (kind, detail, words) = match self.backoff {
            Backoff::None => (0, 0, [0; STEPS_MAX / 2]),
            Backoff::Steps(steps) => {
                let mut words = [0; STEPS_MAX / 2];
                for (to, pair) in words.iter_mut().zip(steps.ms.chunks_exact(2)) {
                    *to = u64::from(pair[0]) | u64::from(pair[1]) << 32;
                }
                (1, u64::from(steps.len), words)
            }
            Backoff::Exponential { first_ms, longest_ms, jitter_percent } => {
                let mut words = [0; STEPS_MAX / 2];
                words[0] = u64::from(first_ms) | u64::from(longest_ms) << 32;
                (2, u64::from(jitter_percent), words)
            }
        };
        store(group_settings::BACKOFF_KIND, kind);
        store(group_settings::BACKOFF_DETAIL, detail);
        for (at, value) in (group_settings::BACKOFF..).step_by(8).zip(words) {
            store(at, value);
        }
    }

    /// Reads them there. Another process wrote them: values outside their range are brought into
    /// it.
    pub(super) fn load<M: Memory>(memory: &M, word: impl Fn(u64) -> Word) -> GroupSettings {
        let load = |at| memory.load(word(at), Relaxed);
        let cut = |value: u64, high: u32| u32::try_from(value).unwrap_or(high).min(high);
        let halves = |value: u64| [cut(value & 0xFFFF_FFFF, WAIT_MAX_MS), cut(value >> 32, WAIT_MAX_MS)];
        let detail = load(group_settings::BACKOFF_DETAIL);
        let backoff = match load(group_settings::BACKOFF_KIND) {
            1 => {
                let mut ms = [0; STEPS_MAX];
                for (to, at) in ms.chunks_exact_mut(2).zip((group_settings::BACKOFF..).step_by(8)) {
                    to.copy_from_slice(&halves(load(at)));
                }
                let len = u8::try_from(detail.min(group_settings::BACKOFF_STEPS_MAX)).unwrap_or(0);
                Backoff::Steps(Steps { ms, len })
            }
            2 => {
                let [first_ms, longest_ms] = halves(load(group_settings::BACKOFF));
                let jitter_percent = u8::try_from(detail.min(100)).unwrap_or(100);
                Backoff::Exponential { first_ms, longest_ms, jitter_percent }
            }
            _ => Backoff::None,
        };
        GroupSettings {
            ack_wait_ms: cut(load(group_settings::ACK_WAIT_MS), WAIT_MAX_MS).max(1),
            max_deliver: cut(load(group_settings::MAX_DELIVER), DELIVER_MAX),
            max_ack_pending: load(group_settings::MAX_ACK_PENDING).max(1),
            backoff,
        }
    }
}

/// A group's settings at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentSettings {
    /// The settings.
    pub settings: GroupSettings,
    /// The number of times that they were written. It comes round, and only tells two apart.
    pub version: u64,
    /// The longest lease, in milliseconds, that the group ever gave: a lease that began before a
    /// change lasts as long as it was meant to.
    pub longest_ack_wait_ms: u32,
}

impl CurrentSettings {
    /// The first settings of the first group in an entry.
    pub fn first(settings: GroupSettings) -> CurrentSettings {
        CurrentSettings { settings, version: 1, longest_ack_wait_ms: settings.ack_wait_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::prelude::v1::*;

    #[test]
    fn delays_double_up_to_the_longest_and_never_exceed_it() {
        let backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(5));
        for attempt in 1..=127 {
            let full = (100_u64 << (attempt - 1).min(31)).min(5000);
            for position in 0..100 {
                let delay = u64::from(backoff.delay_ms(position, attempt));
                assert!((full / 2..=full).contains(&delay), "{delay} after attempt {attempt}");
            }
        }
        let spread: std::collections::BTreeSet<u32> =
            (0..100).map(|position| backoff.delay_ms(position, 6)).collect();
        assert!(spread.len() > 50, "messages that failed together come back together");
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let wrong = |settings: GroupSettings| settings.check().unwrap_err().what;
        assert_eq!(wrong(GroupSettings::new().ack_wait(Duration::ZERO)), "ack_wait (in ms)");
        assert_eq!(wrong(GroupSettings::new().ack_wait(Duration::MAX)), "ack_wait (in ms)");
        assert_eq!(wrong(GroupSettings::new().max_deliver(0)), "max_deliver");
        assert_eq!(wrong(GroupSettings::new().max_deliver(127)), "max_deliver");
        let none = GroupSettings::new().max_deliver(0).check().unwrap_err();
        assert_eq!(none.to_string(), "max_deliver is 0, and must be from 1 to 126");
        assert_eq!(GroupSettings::new().max_deliver(None).check(), Ok(()));
        assert_eq!(wrong(GroupSettings::new().max_ack_pending(0)), "max_ack_pending");
        let falling = Backoff::Exponential { first_ms: 2, longest_ms: 1, jitter_percent: 0 };
        assert_eq!(wrong(GroupSettings::new().backoff(falling)), "the longest backoff (in ms)");
        assert_eq!(GroupSettings::new().check(), Ok(()));
    }
}
