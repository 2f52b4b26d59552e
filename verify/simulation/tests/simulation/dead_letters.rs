//! The dead-letter ring, as far as the ring itself is concerned: one producer at a time, so many
//! letters.

use std::collections::VecDeque;

pub(crate) struct DeadLetterRing {
    holder: Option<u32>,
    letters: VecDeque<u64>,
    capacity: usize,
}

impl DeadLetterRing {
    pub(crate) fn new(capacity: usize) -> DeadLetterRing {
        DeadLetterRing { holder: None, letters: VecDeque::new(), capacity }
    }

    pub(crate) fn seize(&mut self, party: u32) -> bool {
        *self.holder.get_or_insert(party) == party
    }

    pub(crate) fn drop_holder(&mut self, party: u32) {
        self.holder = self.holder.filter(|&holder| holder != party);
    }

    /// False if it is full.
    pub(crate) fn publish(&mut self, position: u64) -> bool {
        let room = self.letters.len() < self.capacity;
        if room {
            self.letters.push_back(position);
        }
        room
    }

    /// A redriver releases a dead letter.
    pub(crate) fn redrive(&mut self) {
        self.letters.pop_front();
    }
}
