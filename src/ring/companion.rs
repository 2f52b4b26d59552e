//! The creator's options for the dead-letter ring beside a ring.

const DEFAULT_CAPACITY_MAX: u64 = 1024;
/// The dead-letter ring's one consumer.
pub(crate) const REDRIVE_CONSUMER: &str = "redrive";

/// The fate of a dead letter when the dead-letter ring is full. A dead-letter ring that cannot be
/// opened costs no letter: the letter waits, and an event gives the reason.
///
/// ```
/// use slipring::{DeadLetterPolicy, GroupSettings, RingOptions};
///
/// let ring = RingOptions::new(48, 64)
///     .group("g", GroupSettings::new())
///     .dead_letter_policy(DeadLetterPolicy::DropAndCount)
///     .create_in_memory()?;
/// assert_eq!(ring.dead_letter_policy(), Some(DeadLetterPolicy::DropAndCount));
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeadLetterPolicy {
    /// It stays in the ring, unsettled, and the move to the dead-letter ring is tried again every
    /// second: nothing is lost, and in the end the producer finds the ring full.
    #[default]
    Block,
    /// The message is dropped and counted ([`GroupInfo::dropped`](crate::GroupInfo::dropped)), and
    /// the flight recorder has an event.
    DropAndCount,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DeadLetterOptions {
    pub(crate) capacity: Option<u64>,
    pub(crate) policy: DeadLetterPolicy,
}

impl DeadLetterOptions {
    pub(crate) fn from_header(capacity: u64, policy: u64) -> DeadLetterOptions {
        let policy = if policy == 1 { DeadLetterPolicy::DropAndCount } else { DeadLetterPolicy::Block };
        DeadLetterOptions { capacity: Some(capacity).filter(|&capacity| capacity > 0), policy }
    }

    /// Capacity and policy as a header has them, for a ring of `capacity` blocks.
    pub(crate) fn to_header(self, capacity: u64) -> (u64, u64) {
        (self.capacity_for(capacity), u64::from(self.policy == DeadLetterPolicy::DropAndCount))
    }

    pub(crate) fn capacity_for(self, capacity: u64) -> u64 {
        self.capacity.unwrap_or(capacity.min(DEFAULT_CAPACITY_MAX))
    }
}
