//! A message that is published once more, for the one group that gave it up.
//!
//! The slot says that the message is redriven, and two words beside the groups' tables say for
//! which group, and which message it was at first. The producer writes them under the same rules as
//! the block: before it publishes the message, and not again before every reader is done with it.
//! So a reader that may read the block may read the words.
//!
//! A worker of another group settles the message for its group without a delivery, when it meets
//! the message. A group is known by its entry and the generation of the entry: a group that was
//! made anew in the same entry, or under the same name, is another one.
//!
//! Example: groups 0 and 1; group 1 gave up position 7. It is published again as position 90, for
//! group 1, first 7. A worker of group 0 finds 90 fresh and redriven, reads "group 1", and settles
//! 90 in group 0. A worker of group 1 leases 90, and its message id is that of 7.
//!
//! Consumers and observers read what is published, redriven or not.

use super::group::Group;
use super::publish::Producer;
use super::single::{ClaimedSlot, meta};
use crate::format::{Geometry, group};
use crate::memory::{BlockWriter, Memory};
use core::sync::atomic::Ordering::Relaxed;

/// Attempts beyond this many are not counted.
const ATTEMPTS_MAX: u32 = (1 << 24) - 1;

/// What is known of a redriven message besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redriven {
    /// The entry of the group that gets it.
    pub group: u32,
    /// The generation of that entry, its low half.
    pub generation: u32,
    /// The position at which it was published at first.
    pub first: u64,
    /// How often it was delivered before it was redriven.
    pub attempts: u32,
}

impl Redriven {
    fn store<M: Memory>(self, memory: &M, geometry: &Geometry, position: u64) {
        let attempts = u64::from(self.attempts.min(ATTEMPTS_MAX));
        let rest = u64::from(self.generation) << 32 | attempts << 8 | u64::from(self.group & 0xFF);
        memory.store(geometry.redriven(position, 0), self.first, Relaxed);
        memory.store(geometry.redriven(position, 1), rest, Relaxed);
    }

    #[expect(clippy::cast_possible_truncation, reason = "parts of a word")]
    fn load<M: Memory>(memory: &M, geometry: &Geometry, position: u64) -> Redriven {
        let rest = memory.load(geometry.redriven(position, 1), Relaxed);
        Redriven {
            group: rest as u32 & 0xFF,
            generation: (rest >> 32) as u32,
            first: memory.load(geometry.redriven(position, 0), Relaxed),
            attempts: rest as u32 >> 8,
        }
    }
}

impl<M: Memory> Producer<M> {
    /// Copies a redriven message into the claimed head, and publishes it. The ring has groups.
    ///
    /// # Panics
    ///
    /// If the message is longer than a block.
    pub fn redrive(&mut self, claimed: ClaimedSlot, kind: u32, message: &[u8], redriven: Redriven) {
        redriven.store(self.memory(), self.geometry(), claimed.position());
        // SAFETY: the position is claimed, below the limit, and this is the producer, by the
        // invariants of `ClaimedSlot` and `Producer`; the memory is this producer's.
        unsafe { self.memory().blocks().write(self.block(claimed), message) };
        self.publish_described(claimed, meta(message.len(), kind).redriven());
    }
}

impl<M: Memory> Group<M> {
    /// The generation of the group's entry, its low half.
    #[expect(clippy::cast_possible_truncation, reason = "the low half")]
    pub fn generation(&self) -> u32 {
        self.load(group::GENERATION) as u32
    }

    /// What is known of the message at `position`, if it is redriven. The caller holds a pin at or
    /// below it, or finds the delivery unchanged afterwards.
    pub fn redriven(&self, position: u64) -> Option<Redriven> {
        let message = self.message(position)?;
        message.meta.is_redriven().then(|| Redriven::load(&self.memory, &self.geometry, position))
    }

    /// True if the redriven message is for this group.
    pub(super) fn is_meant(&self, redriven: Redriven) -> bool {
        redriven.group == self.number && redriven.generation == self.generation()
    }
}
