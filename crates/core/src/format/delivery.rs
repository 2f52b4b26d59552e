//! Groups in the file: the word that is the whole state of a delivery, and the places of the words
//! in the entries of groups and workers.

use super::{LINE, NAME_MAX, gating};

/// Most groups of a ring. Each group costs 8 bytes per slot.
pub const GROUPS_MAX: u64 = 64;
/// Most workers of a ring, over all groups: an owner has 10 bits in a delivery word.
pub const WORKERS_MAX: u64 = 1024;

/// Milliseconds of the machine's monotonic clock, modulo 2^32. The value comes round after 49.7
/// days, so two times are compared by their distance, and only within a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(pub u32);

impl Millis {
    /// The time `ms` milliseconds later.
    #[inline(always)]
    pub const fn after(self, ms: u32) -> Millis {
        Millis(self.0.wrapping_add(ms))
    }
    /// Milliseconds from `now` to `self`, at most `longest`; 0 if `self` has passed. A distance
    /// above `longest` also gives 0: the word is corrupt, and no worker shall wait for it.
    ///
    /// Example with `longest` 1000: from now = 500, the time 800 lies 300 ahead; 400 has passed
    /// (0); 9000 is corrupt (0).
    #[inline(always)]
    pub const fn ahead_of(self, now: Millis, longest: u32) -> u32 {
        let ahead = self.0.wrapping_sub(now.0);
        if ahead <= longest { ahead } else { 0 }
    }
}

/// The state of a message in a group. `docs/states-of-a-delivery.md` has a picture of the
/// transitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Every worker of the group may lease it.
    Available,
    /// The owner may process it until the deadline.
    Leased,
    /// A worker may lease it again from the deadline on.
    Delayed,
    /// Settled: a worker acknowledged it.
    Acked,
    /// Settled: the dead-letter ring has a copy.
    DeadLettered,
    /// Given up, and not yet copied to the dead-letter ring. The next attempt to copy is due at the
    /// deadline. The owner field holds the reason.
    DeadPending,
}

/// The whole state of one delivery, one word per slot and group. Changed by compare-exchange only.
///
/// | bits | meaning |
/// |---|---|
/// | 0..32 | deadline, [`Millis`] |
/// | 32..42 | owner: the entry number of the worker that leases it, or leased it last |
/// | 42..49 | attempt: how often it was leased, at most 127 |
/// | 49..52 | [`State`] |
/// | 52..64 | lap of the position modulo 4096 |
///
/// A word of another lap than the position's means "available, never leased". So the producer
/// reuses a slot without touching the groups' words, and a region of zeros is a group without any
/// delivery.
///
/// The exact word is the token of a lease: a worker that exchanges the word ends the earlier lease.
///
/// Example in a ring of 4 blocks: worker 7 leases position 0, so the word is (lap 0, leased,
/// attempt 1, owner 7). Position 4 has the same word; its lap is 1, so for position 4 the word
/// means "available, attempt 0".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryWord(pub u64);

impl DeliveryWord {
    const OWNER_SHIFT: u32 = 32;
    const ATTEMPT_SHIFT: u32 = 42;
    const STATE_SHIFT: u32 = 49;
    const LAP_SHIFT: u32 = 52;
    const OWNER_MASK: u64 = WORKERS_MAX - 1;
    /// The largest number of attempts that a word can hold.
    pub const ATTEMPT_MAX: u32 = 127;

    /// The meaning of the stored word for a position of `lap`.
    #[inline(always)]
    pub const fn read(stored: u64, lap: u64) -> DeliveryWord {
        let fresh = lap << Self::LAP_SHIFT;
        if (stored ^ fresh) >> Self::LAP_SHIFT == 0 { DeliveryWord(stored) } else { DeliveryWord(fresh) }
    }
    /// True if no worker has leased it yet.
    #[inline(always)]
    pub const fn is_fresh(self) -> bool {
        self.0 << 12 == 0
    }
    /// The state. A value that no version writes counts as available.
    #[inline(always)]
    pub const fn state(self) -> State {
        match self.0 >> Self::STATE_SHIFT & 7 {
            1 => State::Leased,
            2 => State::Delayed,
            3 => State::Acked,
            4 => State::DeadLettered,
            5 => State::DeadPending,
            _ => State::Available,
        }
    }
    /// True if the group is done with the message.
    #[inline(always)]
    pub const fn is_settled(self) -> bool {
        matches!(self.state(), State::Acked | State::DeadLettered)
    }
    /// Number of leases so far, at most [`ATTEMPT_MAX`](Self::ATTEMPT_MAX).
    #[inline(always)]
    pub const fn attempt(self) -> u32 {
        (self.0 >> Self::ATTEMPT_SHIFT & 0x7F) as u32
    }
    /// The number of the worker's entry; in the state `DeadPending`, the number of the reason.
    #[inline(always)]
    pub const fn owner(self) -> u32 {
        (self.0 >> Self::OWNER_SHIFT & Self::OWNER_MASK) as u32
    }
    /// End of a lease; earliest time of a delayed delivery or of the next attempt to copy.
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
    /// Still leased, until a later deadline. The attempt stays.
    #[inline(always)]
    pub const fn extended(self, deadline: Millis) -> DeliveryWord {
        self.with(State::Leased, self.attempt(), self.owner(), deadline)
    }
    /// Acknowledged. Owner, attempt and deadline stay, so that the words of two laps differ.
    #[inline(always)]
    pub const fn acked(self) -> DeliveryWord {
        self.with(State::Acked, self.attempt(), self.owner(), self.deadline())
    }
    /// Failed; a worker may lease it from `due` on.
    pub const fn delayed(self, due: Millis) -> DeliveryWord {
        self.with(State::Delayed, self.attempt(), self.owner(), due)
    }
    /// The attempt failed, or its worker died; a worker may lease it at once.
    pub const fn returned(self) -> DeliveryWord {
        self.with(State::Available, self.attempt(), self.owner(), self.deadline())
    }
    /// Handed back unprocessed: the attempt does not count.
    pub const fn handed_back(self) -> DeliveryWord {
        let attempt = self.attempt().saturating_sub(1);
        self.with(State::Available, attempt, self.owner(), self.deadline())
    }
    /// Given up for `reason`; the next attempt to copy it to the dead-letter ring is due at `due`.
    pub const fn dead_pending(self, reason: u32, due: Millis) -> DeliveryWord {
        self.with(State::DeadPending, self.attempt(), reason, due)
    }
    /// Copied to the dead-letter ring.
    pub const fn dead_lettered(self) -> DeliveryWord {
        self.with(State::DeadLettered, self.attempt(), self.owner(), self.deadline())
    }
}

/// Places of the words of a group's entry, in bytes from the entry's start.
pub mod group {
    use super::LINE;
    /// Bytes of an entry.
    pub const LEN: u64 = 10 * LINE;
    /// Bytes of a delivery word.
    pub const WORD_LEN: u64 = 8;
    /// Lower bound of the lowest unsettled position, stored as a [`Tail`](crate::format::Tail).
    pub const FLOOR: u64 = super::gating::TAIL;
    pub use super::gating::{AFTER, FOLLOWERS_ASLEEP, GENERATION, LEFT_AT, PROGRESS};
    /// Hint: every position below was leased once.
    pub const FRONTIER: u64 = LINE;
    /// Hint: the lowest position that a worker handed back.
    pub const RETURNED: u64 = LINE + 8;
    /// Hint: no position from here on was leased, except those at the frontier.
    pub const REACHED: u64 = LINE + 32;
    /// Time of the last sweep in the high half, time at which the next one is due in the low half.
    pub const SWEPT: u64 = LINE + 40;
    /// Hint: the position at which the next sweep goes on; 0: at the floor.
    pub const SWEEP_AT: u64 = LINE + 48;
    /// Number of messages that a worker leased although later ones had been leased before.
    pub const BACKFILLED: u64 = LINE + 56;
    /// Reserved for key order. Zero in this version.
    pub const LANES: u64 = LINE + 24;
    /// One of [`group_flags`](super::group_flags).
    pub const FLAGS: u64 = 2 * LINE;
    /// Tag of the boot whose clock the deadlines of this group use.
    pub const BOOT: u64 = 2 * LINE + 8;
    /// Time of the creation, in milliseconds since 1970.
    pub const CREATED_MS: u64 = 2 * LINE + 16;
    /// Number of times that the settings were written; its lowest bit says in which of the two
    /// places of [`SETTINGS`] the latest ones are.
    pub const SETTINGS_VERSION: u64 = 2 * LINE + 24;
    /// The group's name: UTF-8, zero-padded.
    pub const NAME: u64 = 2 * LINE + 64;
    /// One word per [`Count`](super::Count), each changed by compare-exchange.
    pub const COUNTS: u64 = 3 * LINE + 64;
    /// History of positions of the head with their times (`protocol/sightings.rs`).
    pub const SIGHTINGS: u64 = 4 * LINE;
    /// Two places for the settings, each of [`LEN`](super::group_settings::LEN) bytes.
    pub const SETTINGS: u64 = 8 * LINE;
    const _: () = assert!(NAME + super::NAME_MAX as u64 <= COUNTS);
    const _: () = assert!(COUNTS + 8 * super::Count::KINDS == SIGHTINGS);
    const _: () = assert!(SIGHTINGS + super::SIGHTING_LEVELS * super::SIGHTINGS_PER_LEVEL * 8 == SETTINGS);
    const _: () = assert!(SETTINGS + 2 * super::group_settings::LEN == LEN);
}

/// Places of the words of a group's settings, in bytes from the start of one of their two places.
pub mod group_settings {
    use super::LINE;
    /// Bytes of a place.
    pub const LEN: u64 = LINE;
    /// Length of a lease, in milliseconds: 1 to 2^30.
    pub const ACK_WAIT_MS: u64 = 0;
    /// Most attempts: 1 to 126; 0: unlimited.
    pub const MAX_DELIVER: u64 = 8;
    /// Most unsettled deliveries, at least 1.
    pub const MAX_ACK_PENDING: u64 = 16;
    /// 0 none, 1 a list, 2 exponential.
    pub const BACKOFF_KIND: u64 = 24;
    /// Number of steps of a list, or percent of jitter.
    pub const BACKOFF_DETAIL: u64 = 32;
    /// The longest lease that the group ever gave, in milliseconds.
    pub const LONGEST_ACK_WAIT_MS: u64 = 40;
    /// Two steps of a list per word, low half first; or the first and the longest exponential
    /// delay. Milliseconds.
    pub const BACKOFF: u64 = 64;
    /// Most steps of a list.
    pub const BACKOFF_STEPS_MAX: u64 = 16;
    const _: () = assert!(BACKOFF + BACKOFF_STEPS_MAX / 2 * 8 == LEN);
}

/// Events that a group counts over its whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Leases that ran out.
    Expired,
    /// Deliveries that ended with `nack`, or that a worker dropped.
    Failed,
    /// Leases whose worker died, or left without settling the message.
    WorkerDied,
    /// Deliveries that a worker handed back unprocessed.
    HandedBack,
    /// Messages that a worker rejected.
    Rejected,
    /// Messages copied to the dead-letter ring.
    DeadLettered,
    /// Messages that the full dead-letter ring could not take.
    Dropped,
    /// Settlements that came after the end of the lease.
    Lost,
}

impl Count {
    /// Number of counters.
    pub const KINDS: u64 = 8;
}

/// Levels of the history of sightings. Each level reaches four times as far back as the level
/// before.
pub const SIGHTING_LEVELS: u64 = 8;
/// Sightings of one level.
pub const SIGHTINGS_PER_LEVEL: u64 = 8;

/// Values of a group's flags word.
pub mod group_flags {
    /// A free entry.
    pub const FREE: u64 = 0;
    /// A group.
    pub const TAKEN: u64 = 1;
    /// A holder of the table right creates or removes the group. If the right is free, that holder
    /// died.
    pub const UNFINISHED: u64 = 2;
}

/// Places of the words of a worker's entry, in bytes from the entry's start.
pub mod worker {
    use super::LINE;
    /// Bytes of an entry.
    pub const LEN: u64 = 2 * LINE;
    /// The lowest position that the worker may be reading in place; all bits set: none; all bits
    /// but the lowest: none, since the worker died and the producer took the pin away.
    pub const PIN: u64 = 0;
    /// Messages that the worker leased.
    pub const DELIVERED: u64 = 8;
    /// Messages that the worker acknowledged.
    pub const ACKED: u64 = 16;
    /// Messages that the worker failed at.
    pub const FAILED: u64 = 24;
    /// Settlements of the worker that came too late.
    pub const LOST: u64 = 32;
    /// 0: free; else 1 + the group's number.
    pub const GROUP: u64 = LINE;
    /// Process number of the worker, for display only.
    pub const PID: u64 = LINE + 8;
    /// Time of the join, in milliseconds since 1970.
    pub const JOINED_MS: u64 = LINE + 16;
    /// The worker's name: UTF-8, zero-padded.
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
        assert!(
            leased.acked().is_settled() && leased.dead_pending(3, Millis(5)).dead_lettered().is_settled()
        );
        assert_eq!(leased.handed_back().attempt(), 0);
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
