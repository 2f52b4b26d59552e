//! The age of a group's oldest unsettled message, at no cost to the producer.
//!
//! No party writes the time of a message down. Instead, a worker that sweeps its group now and then
//! notes the head: a message below a noted head was there at the noted time. There are several
//! levels of notes, each four times as far apart as the level before. So 64 notes reach from
//! hundredths of a second back to days, and give an age to within about a third, from below.
//!
//! Example: a worker notes head 100 at 10:00:00, and head 140 at 10:00:04. At 10:00:05, position
//! 120 is known to be 1 s old (it lies below 140), and not known to be 5 s old (it does not lie
//! below 100).

use crate::format::{Millis, SIGHTING_LEVELS, SIGHTINGS_PER_LEVEL, group};
use crate::memory::{Memory, Word};
use core::sync::atomic::Ordering::Relaxed;

/// Milliseconds between two notes of the first level.
const FIRST_INTERVAL_MS: u32 = 16;

/// A head, modulo 2^32, in the high half; the time at which it was read in the low half. 0: no
/// note.
#[derive(Clone, Copy)]
struct Sighting(u64);

impl Sighting {
    fn new(head: u64, at: Millis) -> Sighting {
        Sighting(head << 32 | u64::from(at.0))
    }
    /// True if the position lies below the noted head.
    #[expect(clippy::cast_possible_truncation, reason = "heads are compared modulo 2^32")]
    fn shows(self, position: u64) -> bool {
        let ahead = ((self.0 >> 32) as u32).wrapping_sub(position as u32);
        self.0 != 0 && ahead != 0 && ahead < 1 << 31
    }
    #[expect(clippy::cast_possible_truncation, reason = "the low half")]
    fn age_ms(self, now: Millis) -> u32 {
        now.0.wrapping_sub(self.0 as u32)
    }
}

fn at(level: u64, nth: u64) -> u64 {
    group::SIGHTINGS + (level * SIGHTINGS_PER_LEVEL + nth % SIGHTINGS_PER_LEVEL) * 8
}

/// Notes the current head.
pub fn note<M: Memory>(memory: &M, word: impl Fn(u64) -> Word, head: u64, now: Millis) {
    for level in 0..SIGHTING_LEVELS {
        let interval = FIRST_INTERVAL_MS << (2 * level);
        let place = word(at(level, u64::from(now.0 / interval)));
        let noted = Sighting(memory.load(place, Relaxed));
        // The first note of an interval stays: it is the earliest.
        if noted.0 != 0 && noted.age_ms(now) < interval {
            return;
        }
        memory.store(place, Sighting::new(head, now).0, Relaxed);
    }
}

/// A lower bound of the age of the message at `position`, in milliseconds. `None` if no note shows
/// it.
pub fn age<M: Memory>(memory: &M, word: impl Fn(u64) -> Word, position: u64, now: Millis) -> Option<u32> {
    (0..SIGHTING_LEVELS)
        .flat_map(|level| (0..SIGHTINGS_PER_LEVEL).map(move |nth| (level, nth)))
        .map(|(level, nth)| Sighting(memory.load(word(at(level, nth)), Relaxed)))
        .filter(|sighting| sighting.shows(position))
        .map(|sighting| sighting.age_ms(now))
        // A note that lies half a turn of the clock back is from another boot.
        .filter(|&age| age < 1 << 31)
        .max()
}
