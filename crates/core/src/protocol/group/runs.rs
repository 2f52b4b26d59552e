//! Runs of settled deliveries, which a walk from the floor passes in one step.
//!
//! A group has one word per run of [`Geometry::run_len`] positions. The word says up to where every
//! delivery is settled, from the first position of the run on. What is settled stays settled, so a
//! word that was true stays true: a party that is killed before it stores one leaves the next walk
//! longer, and nothing wrong. The workers store these words while they walk; every party reads
//! them. So a walk costs as many steps as there are unsettled deliveries, and as were settled since
//! the walk before, however far the frontier is ahead of the floor.
//!
//! The word counts in the lap of the walker only: from its run's first position up to a lap
//! further. A word of another lap lies outside of that.
//!
//! Example, runs of 16 in a ring of 1024: position 5 is leased, 6 to 699 are acked, 700 is leased.
//! The first walk looks at every delivery from 6 on, and stores 700 in the word of the run that
//! begins at 16. The next walk looks at 6 to 16, reads 700, and looks at 700.

use super::Group;
use crate::format::{DeliveryWord, Geometry};
use crate::memory::Memory;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// The end of the settled deliveries that begin at `from`, at most `end`.
///
/// The caller makes an acquire fence before it relies on the result.
pub(super) fn settled_end<M: Memory>(
    memory: &M,
    geometry: &Geometry,
    number: u32,
    from: u64,
    end: u64,
) -> u64 {
    let mut position = from;
    while position < end {
        let stored = memory.load(geometry.delivery(number, position), Relaxed);
        if !DeliveryWord::read(stored, geometry.lap(position)).is_settled() {
            break;
        }
        position = known_end(memory, geometry, number, position).unwrap_or(position + 1).min(end);
    }
    position
}

/// What the run says that begins at `position`; `None` if no run begins there, or if its word is of
/// another lap.
fn known_end<M: Memory>(memory: &M, geometry: &Geometry, number: u32, position: u64) -> Option<u64> {
    if position % geometry.run_len() != 0 {
        return None;
    }
    let end = memory.load(geometry.run_end(number, position), Relaxed);
    (end.wrapping_sub(position + 1) < geometry.capacity()).then_some(end)
}

impl<M: Memory> Group<M> {
    /// The end of the settled deliveries that begin at `from`, at most `end`. Stores what it found,
    /// if that spares the next walk a whole run.
    pub(super) fn learn_settled_end(&self, from: u64, end: u64) -> u64 {
        let Group { memory, geometry, number } = self;
        let settled = settled_end(memory, geometry, *number, from, end);
        let first = from.next_multiple_of(geometry.run_len());
        let is_new = || known_end(memory, geometry, *number, first).is_none_or(|known| known < settled);
        if settled >= first + geometry.run_len() && is_new() {
            // A party that goes by this word alone must see the pins of those that settled.
            memory.fence(Acquire); // SETTLED
            memory.store(geometry.run_end(*number, first), settled, Release); // RUN
        }
        settled
    }

    /// Forgets every run. The caller holds the table right.
    pub fn forget_runs(&self) {
        let (geometry, run_len) = (&self.geometry, self.geometry.run_len());
        for run in 0..geometry.capacity() / run_len {
            let word = geometry.run_end(self.number, run * run_len);
            // Looking first leaves pages alone that were never written.
            if self.memory.load(word, Relaxed) != 0 {
                self.memory.store(word, 0, Relaxed);
            }
        }
    }

    /// A position that a run covers although it is not settled, which only a damaged file has.
    pub fn falsely_settled(&self, floor: u64) -> Option<u64> {
        let mut covered = 0;
        self.window(floor).word_by_word().find_map(|delivery| {
            let position = delivery.position;
            if let Some(end) = known_end(&self.memory, &self.geometry, self.number, position) {
                covered = covered.max(end);
            }
            (position < covered && !delivery.word.is_settled()).then_some(position)
        })
    }
}
