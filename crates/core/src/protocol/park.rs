//! Sleeping and waking without a system call on the hot path and without a count of sleepers, which
//! a killed sleeper would leave wrong for ever.
//!
//! One word says "a party may sleep". The sleeper sets it; the waker clears it before it wakes
//! every sleeper. A sleeper that is killed in its sleep costs one wake. The sleeper has time, so it
//! pays for the `SeqCst` fence of both sides ([`Memory::heavy_fence`]).
//!
//! Example, a reader waits for position 5:
//!
//! 1. The reader loads the wake word (its ticket, 7), and sets "asleep".
//! 2. The reader makes the heavy fence, and looks at slot 5 once more: still empty.
//! 3. The producer publishes 5, makes the light fence, and finds "asleep" set.
//! 4. The producer clears "asleep", stores 8 in the wake word, and wakes.
//! 5. The reader sleeps on the wake word while it is 7: it is 8, so the reader does not sleep.

use crate::format::GatingEntry;
use crate::format::producer_page::{WAKE, WAKE_COUNT};
use crate::format::readers_page::{PRODUCER_ASLEEP, READERS_ASLEEP, ROOM};
use crate::memory::{Futex, Memory, Word};
use alloc::vec::Vec;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::time::Duration;

/// The side of the ring that sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Readers and workers, until the producer publishes.
    Readers,
    /// The producer, until a reader makes room.
    Producer,
    /// Parties that wait until the consumer or the group of this entry releases messages.
    Followers(GatingEntry),
}

/// A wake word's value, taken before the announcement: sleeping on it ends at the next wake.
#[derive(Clone, Copy, Debug)]
struct Ticket(u32);

impl Side {
    #[inline(always)]
    fn asleep(self) -> Word {
        match self {
            Side::Readers => READERS_ASLEEP,
            Side::Producer => PRODUCER_ASLEEP,
            Side::Followers(entry) => entry.followers_asleep(),
        }
    }

    /// The word that the sleepers sleep on.
    pub const fn word(self) -> Word {
        match self {
            Side::Readers => WAKE,
            Side::Producer => ROOM,
            Side::Followers(entry) => entry.progress(),
        }
    }

    /// Announces a sleeper, looks once more, and only then sleeps. Either the look finds the
    /// awaited event, or the party that causes it finds the sleeper. `look` returns the longest
    /// sleep; `None`: no sleep. May return early.
    pub fn sleep_unless<S, M: Memory + Futex, E>(
        self,
        sleeper: &mut S,
        memory: impl Fn(&S) -> &M,
        look: impl FnOnce(&mut S) -> Result<Option<Duration>, E>,
    ) -> Result<(), E> {
        let ticket = self.announce(memory(sleeper));
        memory(sleeper).heavy_fence(); // SLEEP
        self.look_and_sleep(sleeper, memory, look, ticket)
    }

    /// The same on several rings at once, by their numbers, on a side of each: the announcements on
    /// all rings precede one fence, and the fence precedes every look. False if the memory cannot
    /// sleep on so many rings.
    pub fn sleep_unless_any<S, M: Memory + Futex, E>(
        sleeper: &mut S,
        rings: &[(usize, Side)],
        memory: impl Fn(&S, usize) -> &M,
        look: impl FnOnce(&mut S) -> Result<Option<Duration>, E>,
    ) -> Result<bool, E> {
        let announce = |&(ring, side): &(usize, Side)| (ring, side, side.announce(memory(sleeper, ring)));
        let announced: Vec<(usize, Side, Ticket)> = rings.iter().map(announce).collect();
        if let Some(&(ring, _)) = rings.first() {
            memory(sleeper, ring).heavy_fence(); // SLEEP
        }
        let Some(at_most) = look(sleeper)? else { return Ok(true) };
        let bed =
            |(ring, side, ticket): (usize, Side, Ticket)| (memory(sleeper, ring), side.word(), ticket.0);
        Ok(M::wait_any(&announced.into_iter().map(bed).collect::<Vec<_>>(), at_most))
    }

    /// The same for a sleeper with a read-only mapping, which cannot announce itself. It wakes when
    /// others are woken, and must bound its sleep.
    pub fn sleep_unannounced<S, M: Memory + Futex, E>(
        self,
        sleeper: &mut S,
        memory: impl Fn(&S) -> &M,
        look: impl FnOnce(&mut S) -> Result<Option<Duration>, E>,
    ) -> Result<(), E> {
        let ticket = self.observe(memory(sleeper));
        self.look_and_sleep(sleeper, memory, look, ticket)
    }

    fn look_and_sleep<S, M: Memory + Futex, E>(
        self,
        sleeper: &mut S,
        memory: impl Fn(&S) -> &M,
        look: impl FnOnce(&mut S) -> Result<Option<Duration>, E>,
        ticket: Ticket,
    ) -> Result<(), E> {
        if let Some(at_most) = look(sleeper)? {
            memory(sleeper).wait(self.word(), ticket.0, at_most);
        }
        Ok(())
    }

    /// The caller makes a heavy fence before it looks again.
    fn announce<M: Memory>(self, memory: &M) -> Ticket {
        let ticket = self.observe(memory);
        memory.store(self.asleep(), 1, Relaxed);
        ticket
    }

    #[expect(clippy::cast_possible_truncation, reason = "a futex compares the low half")]
    fn observe<M: Memory>(self, memory: &M) -> Ticket {
        let word = memory.load(self.word(), Relaxed);
        memory.fence(Acquire); // TICKET
        Ticket(word as u32)
    }

    /// Wakes the sleepers, if any may be asleep. Called right after the awaited word was stored.
    #[inline(always)]
    pub fn wake_if_asleep<M: Memory + Futex>(self, memory: &M) {
        if self.is_asleep(memory) {
            self.wake(memory);
        }
    }

    /// The same for a party that does not own the wake word: a sleeper that is about to sleep
    /// misses it.
    pub fn nudge<M: Memory + Futex>(self, memory: &M) {
        if self.is_asleep(memory) {
            memory.wake_all(self.word());
        }
    }

    /// True if the producer, or a party that waits for this entry, may be asleep: then
    /// [`wake_each_behind`](Self::wake_each_behind). Called right after the entry's tail, or what
    /// its floor follows from, was stored.
    #[inline(always)]
    pub fn is_any_behind_asleep<M: Memory>(memory: &M, entry: GatingEntry) -> bool {
        memory.light_fence(); // SLEEP
        memory.load(entry.followers_asleep(), Relaxed) | memory.load(PRODUCER_ASLEEP, Relaxed) != 0
    }

    /// Wakes those of them that may be asleep.
    pub fn wake_each_behind<M: Memory + Futex>(memory: &M, entry: GatingEntry) {
        for side in [Side::Producer, Side::Followers(entry)] {
            if memory.load(side.asleep(), Relaxed) != 0 {
                side.wake(memory);
            }
        }
    }

    /// Sets the word as a sleeper does, so that the party which wakes this side takes its slow
    /// path: for a process that has something to tell its own producer. Costs a wake at most.
    pub fn have_the_other_side_look<M: Memory>(self, memory: &M) {
        memory.store(self.asleep(), 1, Relaxed);
    }

    /// True if a party may be asleep.
    #[inline(always)]
    pub fn is_asleep<M: Memory>(self, memory: &M) -> bool {
        memory.light_fence(); // SLEEP
        memory.load(self.asleep(), Relaxed) != 0
    }

    /// Wakes every sleeper.
    #[cold]
    pub fn wake<M: Memory + Futex>(self, memory: &M) {
        memory.store(self.asleep(), 0, Relaxed);
        match self {
            // The producer is the only writer of its wake word.
            Side::Readers => {
                memory.store(WAKE_COUNT, memory.load(WAKE_COUNT, Relaxed).wrapping_add(1), Relaxed);
                memory.store(WAKE, memory.load(WAKE, Relaxed).wrapping_add(1), Release); // TICKET
            }
            // Several readers may wake the producer at once, and several workers the followers of
            // their group. Each must get its own change in: if a waker that lost the race went
            // away, no word would order its clearing before the next announcement.
            Side::Producer | Side::Followers(_) => {
                let word = self.word();
                let mut seen = memory.load(word, Relaxed);
                let exchange = |seen: u64, next| {
                    memory.compare_exchange(word, seen, next, Release, Relaxed) // TICKET
                };
                while let Err(now) = exchange(seen, seen.wrapping_add(1)) {
                    seen = now;
                }
            }
        }
        memory.wake_all(self.word());
    }
}
