//! Eligibility: may a worker lease a message, by its delivery word and the group's settings?

use super::settings::{CurrentSettings, GroupSettings, RETRY_MAX_MS, Reason, SLACK_MS, WAIT_MAX_MS};
use crate::format::{DeliveryWord, Millis, State};

/// Eligibility of a message for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eligibility {
    /// A worker may lease it now.
    Ready,
    /// A worker may lease it in so many milliseconds, unless its word changes before.
    Later(u32),
    /// No worker may lease it: it was tried as often as the settings allow.
    Exhausted(Reason),
    /// No worker may lease it: it is dead-pending, and the next attempt to move it is due in so
    /// many milliseconds.
    DeadPending(u32),
    /// No worker may lease it: it is settled.
    Settled,
}

impl Eligibility {
    /// True if the message is eligible, or exhausted, although its deadline lies ahead of `now`.
    /// Then the deadline is impossible, if the clock was read after the deadline was written.
    #[inline(always)]
    pub fn is_early(self, word: DeliveryWord, now: Millis) -> bool {
        let by_the_clock = match self {
            Eligibility::Ready => matches!(word.state(), State::Leased | State::Delayed),
            Eligibility::Exhausted(_) => word.state() == State::Leased,
            _ => false,
        };
        // Half a turn of the clock lies ahead; the other half has passed.
        by_the_clock && word.deadline() != now && word.deadline().ahead_of(now, u32::MAX / 2) != 0
    }
}

impl CurrentSettings {
    /// Eligibility of the message at `position`, whose delivery word is `word`.
    #[inline(always)]
    pub fn eligibility(&self, position: u64, word: DeliveryWord, now: Millis) -> Eligibility {
        if word.is_fresh() {
            return Eligibility::Ready;
        }
        self.eligibility_of_old(position, word, now)
    }

    fn eligibility_of_old(&self, position: u64, word: DeliveryWord, now: Millis) -> Eligibility {
        let GroupSettings { max_deliver, backoff, .. } = &self.settings;
        let exhausted = *max_deliver != 0 && word.attempt() >= *max_deliver;
        match word.state() {
            State::Acked | State::DeadLettered => Eligibility::Settled,
            State::DeadPending => {
                // A later deadline is of another boot.
                Eligibility::DeadPending(word.deadline().ahead_of(now, RETRY_MAX_MS + SLACK_MS))
            }
            State::Available if exhausted => Eligibility::Exhausted(Reason::WorkerDied),
            State::Available => Eligibility::Ready,
            State::Delayed if exhausted => Eligibility::Exhausted(Reason::Failed),
            State::Delayed => match word.deadline().ahead_of(now, WAIT_MAX_MS + SLACK_MS) {
                0 => Eligibility::Ready,
                ahead => Eligibility::Later(ahead),
            },
            State::Leased => {
                // A lease that ran out rests where it is: its word changes when a worker leases the
                // message again.
                let rest = if exhausted { 0 } else { backoff.delay_ms(position, word.attempt()) };
                // Not the present length of a lease: this one may have begun before a change.
                let longest = self.longest_ack_wait_ms + rest + SLACK_MS;
                match word.deadline().after(rest).ahead_of(now, longest) {
                    0 if exhausted => Eligibility::Exhausted(Reason::Expired),
                    0 => Eligibility::Ready,
                    ahead => Eligibility::Later(ahead),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::settings::Backoff;
    use core::time::Duration;

    const NOW: Millis = Millis(u32::MAX - 100);

    fn leased(settings: &GroupSettings, attempts: u32) -> DeliveryWord {
        let mut word = DeliveryWord::read(0, 7);
        for _ in 0..attempts {
            word = word.leased(3, NOW.after(settings.ack_wait_ms));
        }
        word
    }

    fn eligibility(settings: &GroupSettings, position: u64, word: DeliveryWord, now: Millis) -> Eligibility {
        CurrentSettings::first(*settings).eligibility(position, word, now)
    }

    #[test]
    fn a_dead_pending_message_waits_no_longer_than_until_the_next_attempt() {
        let settings = GroupSettings::new();
        let waits = |ms| {
            let word = leased(&settings, 1).dead_pending(Reason::Rejected as u32, NOW.after(ms));
            eligibility(&settings, 0, word, NOW)
        };
        assert_eq!(waits(RETRY_MAX_MS), Eligibility::DeadPending(RETRY_MAX_MS));
        // The clock began anew: the deadline of the boot before is days ahead.
        assert_eq!(waits(1 << 29), Eligibility::DeadPending(0));
    }

    #[test]
    fn a_lease_lasts_as_long_as_it_says_and_then_rests() {
        let rest = Duration::from_millis(500);
        let settings = GroupSettings::new().ack_wait(Duration::from_secs(1)).backoff(Backoff::steps(&[rest]));
        let word = leased(&settings, 1);
        assert_eq!(eligibility(&settings, 5, word, NOW), Eligibility::Later(1500));
        assert_eq!(eligibility(&settings, 5, word, NOW.after(1499)), Eligibility::Later(1));
        assert_eq!(eligibility(&settings, 5, word, NOW.after(1500)), Eligibility::Ready);
        let last = leased(&settings, 5);
        assert_eq!(eligibility(&settings, 5, last, NOW.after(999)), Eligibility::Later(1));
        assert_eq!(eligibility(&settings, 5, last, NOW.after(1000)), Eligibility::Exhausted(Reason::Expired));
        assert_eq!(
            eligibility(&settings, 5, last.returned(), NOW),
            Eligibility::Exhausted(Reason::WorkerDied)
        );
        let endless = settings.max_deliver(None);
        assert_eq!(eligibility(&endless, 5, leased(&endless, 200), NOW.after(1500)), Eligibility::Ready);
    }

    /// A deadline that another clock wrote, or a hostile hand, must not hold a message for days.
    #[test]
    fn a_deadline_that_nobody_can_have_meant_is_over() {
        let settings = GroupSettings::new();
        let word = DeliveryWord::read(0, 0).leased(1, NOW.after(1 << 20));
        assert_eq!(eligibility(&settings, 0, word, NOW), Eligibility::Ready);
        let delayed = |ms| eligibility(&settings, 0, word.delayed(NOW.after(ms)), NOW);
        let longest = WAIT_MAX_MS + SLACK_MS;
        assert_eq!(
            (delayed(longest), delayed(longest + 1)),
            (Eligibility::Later(longest), Eligibility::Ready)
        );
    }

    /// A lease that began before its group's leases became shorter is its owner's until it ends.
    #[test]
    fn a_lease_outlives_a_change_to_shorter_ones() {
        let word = leased(&GroupSettings::new().ack_wait(Duration::from_secs(3600)), 1);
        let short = GroupSettings::new().ack_wait(Duration::from_secs(1));
        let changed = CurrentSettings { longest_ack_wait_ms: 3_600_000, ..CurrentSettings::first(short) };
        assert_eq!(changed.eligibility(0, word, NOW), Eligibility::Later(3_600_000));
        assert_eq!(changed.eligibility(0, word, NOW.after(3_600_000)), Eligibility::Ready);
    }
}
