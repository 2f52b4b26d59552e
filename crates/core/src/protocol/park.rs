//! Sleeping and waking without a system call on the hot path and without a count of sleepers, which a
//! killed sleeper would leave wrong for ever.
//!
//! One word says "somebody sleeps"; the sleeper sets it, the waker clears it before it wakes everybody.
//! A sleeper that is killed in its sleep costs one wake. The sleeper, who has time, pays for the `SeqCst`
//! fence of both sides ([`Memory::heavy_fence`]).

use crate::format::producer_page::{WAKE, WAKE_COUNT};
use crate::format::readers_page::{PRODUCER_ASLEEP, READERS_ASLEEP, ROOM};
use crate::memory::{Futex, Memory, Word};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Who sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Readers, until the producer publishes.
    Readers,
    /// The producer, until a reader makes room.
    Producer,
}

/// A wake word's value, taken before the announcement: sleeping on it ends at the next wake.
#[derive(Clone, Copy, Debug)]
pub struct Ticket(pub u32);

impl Side {
    #[inline(always)]
    const fn asleep(self) -> Word {
        match self {
            Side::Readers => READERS_ASLEEP,
            Side::Producer => PRODUCER_ASLEEP,
        }
    }

    /// The word to sleep on.
    pub const fn word(self) -> Word {
        match self {
            Side::Readers => WAKE,
            Side::Producer => ROOM,
        }
    }

    /// Announces a sleeper. Afterwards look once more for what you wait for, and only then
    /// [`sleep`](Self::sleep): either you find it, or whoever provides it finds you.
    pub fn announce<M: Memory>(self, memory: &M) -> Ticket {
        let ticket = self.observe(memory);
        memory.store(self.asleep(), 1, Relaxed);
        memory.heavy_fence(); // SLEEP
        ticket
    }

    /// The ticket of a sleeper that cannot announce itself, since its mapping is read-only: it is woken
    /// when others are, and must bound its sleep.
    #[expect(clippy::cast_possible_truncation, reason = "a futex compares the low half")]
    pub fn observe<M: Memory>(self, memory: &M) -> Ticket {
        let word = memory.load(self.word(), Relaxed);
        memory.fence(Acquire); // TICKET
        Ticket(word as u32)
    }

    /// Sleeps until the next wake after the ticket, at most `timeout`; may return early for no reason.
    pub fn sleep<M: Memory + Futex>(self, memory: &M, ticket: Ticket, timeout: core::time::Duration) {
        memory.wait(self.word(), ticket.0, timeout);
    }

    /// True when somebody may be asleep. Called right after what sleepers wait for was stored.
    #[inline(always)]
    pub fn is_asleep<M: Memory>(self, memory: &M) -> bool {
        memory.light_fence(); // SLEEP
        memory.load(self.asleep(), Relaxed) != 0
    }

    /// Wakes everybody who sleeps.
    #[cold]
    pub fn wake<M: Memory + Futex>(self, memory: &M) {
        memory.store(self.asleep(), 0, Relaxed);
        match self {
            // The producer is the only writer of its wake word.
            Side::Readers => {
                memory.store(WAKE_COUNT, memory.load(WAKE_COUNT, Relaxed).wrapping_add(1), Relaxed);
                memory.store(WAKE, memory.load(WAKE, Relaxed).wrapping_add(1), Release); // TICKET
            }
            // Several readers may wake the producer at once. Each must get its own change in: a waker that
            // lost the race and went away would leave its clearing unordered with the next announcement.
            Side::Producer => {
                let mut seen = memory.load(ROOM, Relaxed);
                let count =
                    |seen: u64| memory.compare_exchange(ROOM, seen, seen.wrapping_add(1), Release, Relaxed); // TICKET
                while let Err(now) = count(seen) {
                    seen = now;
                }
            }
        }
        memory.wake_all(self.word());
    }
}
