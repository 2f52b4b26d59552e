//! The observer reads a mapping that it cannot write, gates nothing, and learns how many messages
//! it missed.

use super::Damage;
use super::message::{find, is_published};
use super::read::{copy_out, is_closed};
use crate::format::producer_page::{CLAIMED, HEAD};
use crate::format::{Geometry, Meta, POSITION_MAX, Sequence};
use crate::memory::Memory;
use core::sync::atomic::Ordering::{Acquire, Relaxed};

/// Result of [`Observer::look`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The whole message was copied. The block size bounds its length.
    Message {
        /// Position of the message.
        position: u64,
        /// Length and kind of the message.
        meta: Meta,
    },
    /// No message yet.
    Empty,
    /// The producer has overwritten so many messages. The observer now stands after them.
    Missed(u64),
}

/// An observer's half of the protocol.
#[derive(Debug)]
pub struct Observer<M> {
    memory: M,
    geometry: Geometry,
    position: u64,
}

impl<M: Memory> Observer<M> {
    /// An observer that stands at `position`.
    pub fn new(memory: M, geometry: Geometry, position: u64) -> Observer<M> {
        Observer { memory, geometry, position }
    }

    /// The lowest position that the producer had not begun to overwrite a moment ago, and the head.
    /// Both are hints: [`look`](Self::look) finds out which messages are still there.
    pub fn window(memory: &M, geometry: &Geometry) -> (u64, u64) {
        let head = memory.load(HEAD, Relaxed);
        (geometry.earliest(memory.load(CLAIMED, Relaxed)), head)
    }

    /// The memory that this observer reads.
    pub fn memory(&self) -> &M {
        &self.memory
    }
    /// The next position to read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Copies the message at the observer's position into `buffer`, which is as long as a block,
    /// and moves on.
    ///
    /// The copy is taken with relaxed loads. It counts only if `claimed`, loaded after an acquire
    /// *fence*, shows that the producer had not begun to write the slot again. (An acquire *load*
    /// of `claimed` would let the copy sink below the load.)
    ///
    /// Example, capacity 4, position 1: the copy counts while `claimed` is at most 5, since
    /// position 5 is the next one in slot 1.
    pub fn look(&mut self, buffer: &mut [u8]) -> Seen {
        let position = self.position;
        let (meta, claimed) = self.copy(position, buffer);
        if self.is_overwritten(position, claimed) {
            return self.lapped(claimed);
        }
        let Some(meta) = meta else {
            return Seen::Empty;
        };
        self.position += 1;
        Seen::Message { position, meta }
    }

    /// Copies the message at `position`, if it is published, and returns `claimed` as it was after
    /// the copy: the copy is whole if the position is not overwritten by then.
    fn copy(&self, position: u64, buffer: &mut [u8]) -> (Option<Meta>, u64) {
        let message = find(&self.memory, self.geometry.slots(), position);
        let meta = message.map(|message| copy_out(&self.memory, message, buffer));
        self.memory.fence(Acquire); // CLAIM
        (meta, self.memory.load(CLAIMED, Relaxed))
    }

    /// True if a producer that has claimed the positions below `claimed` may have written over the
    /// message at `position`.
    fn is_overwritten(&self, position: u64, claimed: u64) -> bool {
        claimed.saturating_sub(self.geometry.capacity()) > position
    }

    /// Copies the newest message into `buffer`, which is as long as a block. The observer stays
    /// where it is. None if no message is published, or if the producer is overwriting all that
    /// are: under a batch as long as the ring, and in a ring of fewer than four blocks, where this
    /// observer may not see yet what is published beside what is overwritten.
    ///
    /// Each turn of the loop but the last was overtaken by a whole ring of messages, or rather by
    /// claims for them, while it copied one block. A head that does not move on is not waited for.
    ///
    /// Example, capacity 4, head 6: the call copies position 5. If `claimed` is 10 after the copy,
    /// position 9 may have been written over it. With head 9 by now, the call copies position 8;
    /// with head 6, the producer holds a claim on the whole ring, and there is no message.
    pub fn latest(&self, buffer: &mut [u8]) -> Result<Option<(u64, Meta)>, Damage> {
        let first = self.geometry.first_position();
        let mut end = self.end();
        while end > first {
            let position = end - 1;
            let (meta, claimed) = self.copy(position, buffer);
            // No honest head lies beyond: it was stored after the claim of what it counts.
            Damage::bound("head", end, first, claimed.min(POSITION_MAX))?;
            if let Some(meta) = meta.filter(|_| !self.is_overwritten(position, claimed)) {
                return Ok(Some((position, meta)));
            }
            // Beside a producer that claims one position at a time, in a ring of four or more: the
            // claim that overwrote the message came behind the fence of the claim before, which
            // shows a later head here.
            self.memory.fence(Acquire); // CLAIM
            let later = self.end();
            if later <= end {
                break;
            }
            end = later;
        }
        Ok(None)
    }

    /// One past the newest message. A producer that died between publishing a message by itself and
    /// counting it left a message at the head.
    fn end(&self) -> u64 {
        let head = self.memory.load(HEAD, Relaxed);
        if head >= POSITION_MAX {
            return head;
        }
        let sequence = Sequence(self.memory.load(self.geometry.slot(head).sequence(), Relaxed));
        head + u64::from(sequence == Sequence::published(head))
    }

    /// Moves past the overwritten messages and an eighth of the ring further. Otherwise the
    /// producer would lap this observer again before it has read one message.
    #[cold]
    fn lapped(&mut self, claimed: u64) -> Seen {
        let capacity = self.geometry.capacity();
        let oldest = claimed - capacity;
        let head = self.memory.load(HEAD, Relaxed);
        // Hostile values end at the last possible position, where no message is ever found.
        let resume = (oldest + capacity / 8).min(head).max(oldest).min(POSITION_MAX).max(self.position);
        let missed = resume - self.position;
        if missed == 0 {
            return Seen::Empty;
        }
        self.position = resume;
        Seen::Missed(missed)
    }

    /// True if the stream is closed and no message is left to read.
    pub fn is_drained(&self) -> bool {
        is_closed(&self.memory) && !is_published(&self.memory, self.geometry.slots(), self.position)
    }
}
