//! Groups in the file: the word that is the whole state of a delivery, and where the entries of groups and
//! workers lie.

use super::{LINE, NAME_MAX, gating};

/// Most groups of a ring. Each costs 8 bytes per slot.
pub const GROUPS_MAX: u64 = 64;
/// Most workers of a ring, over all its groups: an owner has 10 bits in a delivery's word.
pub const WORKERS_MAX: u64 = 1024;

/// Milliseconds of the machine's monotonic clock, modulo 2^32: it comes round after 49.7 days, so times are
/// compared by how far one lies ahead of another, and only within a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(pub u32);

impl Millis {
    /// This time and so many milliseconds.
    #[inline(always)]
    pub const fn after(self, ms: u32) -> Millis {
        Millis(self.0.wrapping_add(ms))
    }
    /// How far `self` lies ahead of `now`, if that is at most `longest`; 0 if it has come, or cannot have
    /// been meant: whatever was written there, nobody waits for longer than `longest`.
    #[inline(always)]
    pub const fn ahead_of(self, now: Millis, longest: u32) -> u32 {
        let ahead = self.0.wrapping_sub(now.0);
        if ahead <= longest { ahead } else { 0 }
    }
}

/// What became of a message in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Anybody may lease it.
    Available,
    /// A worker has it, until the deadline.
    Leased,
    /// It may be leased again from the deadline on.
    Delayed,
    /// Done.
    Acked,
    /// A copy is in the dead-letter ring.
    Dead,
    /// It will not be delivered again and waits to be copied to the dead-letter ring; the next attempt at
    /// that is due at the deadline, and the owner is the reason instead.
    Doomed,
}

/// The whole state of one delivery: one per slot and group, changed by compare-exchange only.
///
/// | bits | meaning |
/// |---|---|
/// | 0..32 | deadline, [`Millis`] |
/// | 32..42 | owner: the entry number of the worker who has, or last had it |
/// | 42..49 | attempt: how often it was leased, at most 127 |
/// | 49..52 | [`State`] |
/// | 52..64 | lap of the position modulo 4096 |
///
/// A word of another lap than the position's means "available, never leased": the producer reuses a slot
/// without touching the groups, and a region of zeros is a group that has done nothing yet.
///
/// The exact word is the token of a lease: whoever changes it ends the lease of whoever had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryWord(pub u64);

impl DeliveryWord {
    const OWNER_SHIFT: u32 = 32;
    const ATTEMPT_SHIFT: u32 = 42;
    const STATE_SHIFT: u32 = 49;
    const LAP_SHIFT: u32 = 52;
    const OWNER_MASK: u64 = WORKERS_MAX - 1;
    /// The largest number of attempts that can be told.
    pub const ATTEMPT_MAX: u32 = 127;

    /// What the stored word says of a position in `lap`.
    #[inline(always)]
    pub const fn read(stored: u64, lap: u64) -> DeliveryWord {
        let fresh = lap << Self::LAP_SHIFT;
        if (stored ^ fresh) >> Self::LAP_SHIFT == 0 { DeliveryWord(stored) } else { DeliveryWord(fresh) }
    }
    /// Nobody has leased it yet.
    #[inline(always)]
    pub const fn is_fresh(self) -> bool {
        self.0 << 12 == 0
    }
    /// The state. Values that no version writes are as good as available.
    #[inline(always)]
    pub const fn state(self) -> State {
        match self.0 >> Self::STATE_SHIFT & 7 {
            1 => State::Leased,
            2 => State::Delayed,
            3 => State::Acked,
            4 => State::Dead,
            5 => State::Doomed,
            _ => State::Available,
        }
    }
    /// Done with, in this group.
    #[inline(always)]
    pub const fn is_settled(self) -> bool {
        matches!(self.state(), State::Acked | State::Dead)
    }
    /// How often it was leased.
    #[inline(always)]
    pub const fn attempt(self) -> u32 {
        (self.0 >> Self::ATTEMPT_SHIFT & 0x7F) as u32
    }
    /// The worker's entry, or the reason of a doomed one.
    #[inline(always)]
    pub const fn owner(self) -> u32 {
        (self.0 >> Self::OWNER_SHIFT & Self::OWNER_MASK) as u32
    }
    /// Until when, or from when on.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the low half is the deadline")]
    pub const fn deadline(self) -> Millis {
        Millis(self.0 as u32)
    }

    #[inline(always)]
    const fn with(self, state: State, attempt: u32, owner: u32, deadline: Millis) -> DeliveryWord {
        let attempt = if attempt > Self::ATTEMPT_MAX { Self::ATTEMPT_MAX } else { attempt };
        DeliveryWord(
            self.0 >> Self::LAP_SHIFT << Self::LAP_SHIFT
                | (state as u64) << Self::STATE_SHIFT
                | (attempt as u64) << Self::ATTEMPT_SHIFT
                | (owner as u64 & Self::OWNER_MASK) << Self::OWNER_SHIFT
                | deadline.0 as u64,
        )
    }
    /// Leased once more, by `owner`.
    #[inline(always)]
    pub const fn leased(self, owner: u32, deadline: Millis) -> DeliveryWord {
        self.with(State::Leased, self.attempt() + 1, owner, deadline)
    }
    /// Still leased, for longer. The attempts stay.
    #[inline(always)]
    pub const fn extended(self, deadline: Millis) -> DeliveryWord {
        self.with(State::Leased, self.attempt(), self.owner(), deadline)
    }
    /// Done. Owner, attempts and deadline stay, so that no two laps' words are alike.
    #[inline(always)]
    pub const fn acked(self) -> DeliveryWord {
        self.with(State::Acked, self.attempt(), self.owner(), self.deadline())
    }
    /// Failed; to be had again from `due` on.
    pub const fn delayed(self, due: Millis) -> DeliveryWord {
        self.with(State::Delayed, self.attempt(), self.owner(), due)
    }
    /// Failed; to be had again at once.
    pub const fn returned(self) -> DeliveryWord {
        self.with(State::Available, self.attempt(), self.owner(), self.deadline())
    }
    /// Given back as if it had not been leased.
    pub const fn released(self) -> DeliveryWord {
        let attempt = self.attempt().saturating_sub(1);
        self.with(State::Available, attempt, self.owner(), self.deadline())
    }
    /// Not to be delivered again, for `reason`; a copy to the dead-letter ring is due at `due`.
    pub const fn doomed(self, reason: u32, due: Millis) -> DeliveryWord {
        self.with(State::Doomed, self.attempt(), reason, due)
    }
    /// Copied to the dead-letter ring.
    pub const fn dead(self) -> DeliveryWord {
        self.with(State::Dead, self.attempt(), self.owner(), self.deadline())
    }
}

/// Where the words of a group's entry lie, from the entry's start.
pub mod group {
    use super::LINE;
    pub const LEN: u64 = 8 * LINE;
    /// Bytes of one delivery's word.
    pub const WORD_LEN: u64 = 8;
    /// The lowest position that may be unsettled, as a tail; a hint from below.
    pub const FLOOR: u64 = super::gating::TAIL;
    pub use super::gating::{GENERATION, LEFT_AT};
    /// Every position below was leased once; a hint.
    pub const FRONTIER: u64 = LINE;
    /// The lowest position that was handed back; a hint.
    pub const RETURNED: u64 = LINE + 8;
    /// Reserved: the entries that this group follows. Zero in this version.
    pub const AFTER: u64 = LINE + 16;
    /// Reserved for key order. Zero in this version.
    pub const LANES: u64 = LINE + 24;
    pub const FLAGS: u64 = 2 * LINE;
    pub const BOOT: u64 = 2 * LINE + 8;
    pub const CREATED_MS: u64 = 2 * LINE + 16;
    pub const ACK_WAIT_MS: u64 = 2 * LINE + 24;
    pub const MAX_DELIVER: u64 = 2 * LINE + 32;
    pub const MAX_ACK_PENDING: u64 = 2 * LINE + 40;
    /// 0 none, 1 a list, 2 exponential.
    pub const BACKOFF_KIND: u64 = 2 * LINE + 48;
    /// Steps of a list, or percent of jitter.
    pub const BACKOFF_DETAIL: u64 = 2 * LINE + 56;
    pub const NAME: u64 = 2 * LINE + 64;
    /// Two steps of a list to a word, low half first; or first and longest delay of an exponential one.
    pub const BACKOFF: u64 = 3 * LINE;
    pub const BACKOFF_STEPS_MAX: u64 = 16;
    /// Statistics, each counted by compare-exchange.
    pub const COUNTS: u64 = 3 * LINE + 64;
    /// When the head was seen where.
    pub const SIGHTINGS: u64 = 4 * LINE;
    const _: () = assert!(NAME + super::NAME_MAX as u64 == BACKOFF);
    const _: () = assert!(BACKOFF + BACKOFF_STEPS_MAX / 2 * 8 == COUNTS);
    const _: () = assert!(COUNTS + 8 * super::Count::KINDS == SIGHTINGS);
    const _: () = assert!(SIGHTINGS + super::SIGHTING_LEVELS * super::SIGHTINGS_PER_LEVEL * 8 == LEN);
}

/// What a group counts over its whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Leases that ran out.
    Expired,
    /// Deliveries that a worker failed at: `nack`, or a dropped delivery.
    Failed,
    /// Leases that ended with their worker's death.
    Abandoned,
    /// Deliveries handed back unprocessed.
    Released,
    /// Messages that were rejected.
    Rejected,
    /// Messages copied to the dead-letter ring.
    DeadLettered,
    /// Messages that the full dead-letter ring could not take.
    Dropped,
    /// Settlements that came too late.
    Lost,
}

impl Count {
    pub const KINDS: u64 = 8;
}

/// Levels of the history of sightings: each goes four times as far back as the one before.
pub const SIGHTING_LEVELS: u64 = 8;
pub const SIGHTINGS_PER_LEVEL: u64 = 8;

/// Values of a group's flags word.
pub mod group_flags {
    /// Nobody's entry.
    pub const FREE: u64 = 0;
    /// A group.
    pub const TAKEN: u64 = 1;
    /// Being created, or removed, by whoever holds the table right: if that is nobody, it died over it.
    pub const UNFINISHED: u64 = 2;
}

/// Where the words of a worker's entry lie, from the entry's start.
pub mod worker {
    use super::LINE;
    pub const LEN: u64 = 2 * LINE;
    /// The lowest position that the worker may be reading in place; all bits set: none.
    pub const PIN: u64 = 0;
    pub const DELIVERED: u64 = 8;
    pub const ACKED: u64 = 16;
    pub const FAILED: u64 = 24;
    pub const LOST: u64 = 32;
    /// 0: free; else 1 + the group's number.
    pub const GROUP: u64 = LINE;
    pub const PID: u64 = LINE + 8;
    pub const JOINED_MS: u64 = LINE + 16;
    pub const NAME: u64 = LINE + 64;
    const _: () = assert!(NAME + super::NAME_MAX as u64 == LEN);
}

const _: () = assert!(NAME_MAX == 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_word_is_kept_apart_from_the_others() {
        let lap = 0xABC;
        let fresh = DeliveryWord::read(0x1230_0000_0000_0001, lap);
        assert!(fresh.is_fresh() && fresh.attempt() == 0 && fresh.state() == State::Available);
        let leased = fresh.leased(1023, Millis(u32::MAX));
        assert_eq!((leased.state(), leased.attempt(), leased.owner()), (State::Leased, 1, 1023));
        assert_eq!(leased.deadline(), Millis(u32::MAX));
        assert_eq!(DeliveryWord::read(leased.0, lap), leased);
        assert!(DeliveryWord::read(leased.0, lap + 1).is_fresh());
        assert!(leased.acked().is_settled() && leased.doomed(3, Millis(5)).dead().is_settled());
        assert_eq!(leased.released().attempt(), 0);
        assert_eq!(leased.returned().leased(7, Millis(0)).attempt(), 2);
    }

    #[test]
    fn attempts_stop_at_what_can_be_told() {
        let mut word = DeliveryWord::read(0, 0);
        for _ in 0..300 {
            word = word.leased(1, Millis(9)).returned();
        }
        assert_eq!((word.attempt(), word.owner(), word.state()), (127, 1, State::Available));
    }

    #[test]
    fn times_are_compared_across_the_turn_of_the_clock() {
        let now = Millis(u32::MAX - 5);
        assert_eq!(now.after(10).ahead_of(now, 30_000), 10);
        assert_eq!(now.ahead_of(now.after(10), 30_000), 0);
        assert_eq!(now.after(30_001).ahead_of(now, 30_000), 0, "no lease is that long");
    }
}
