//! Messages that are sent by themselves, and the content of a block: the message that was published
//! there, and zeros behind it.
//!
//! A producer that sends a shorter message than the one a lap before clears the rest of the longer
//! one. It clears the whole block if an aborted claim may have left it in any state. So a block
//! never shows bytes that no producer published, neither to a reader that looks beyond the message
//! nor to any program that reads the file.
//!
//! Example: a block of 64 bytes holds 40 bytes of position 3 in a ring of 4. The producer sends 16
//! bytes at position 7. It writes bytes 0 to 15, learns the length 40 from the slot, which still
//! describes position 3, zeroes bytes 16 to 39, describes position 7, and publishes it. A producer
//! that dies between the description and the publishing leaves a claimed position. Its successor
//! assumes that this block holds anything, and zeroes all of it.

use super::message::words;
use super::publish::Producer;
use crate::format::producer_page::{ALL_HAVE_HEADERS, HEADERS_UNTIL};
use crate::format::{Block, Meta, Sequence, Slot};
use crate::memory::{BlockWriter, Memory};
use core::sync::atomic::Ordering::{Relaxed, Release};

/// A claimed position and its slot. Computed once per message and carried along by value: after an
/// ordered store the compiler must assume that anything behind a reference changed.
///
/// # Invariants
///
/// Made by [`Producer::claimed_slot`] and [`Producer::claim_next`] alone. The producer that made
/// it has claimed the position, which lies below its limit, and has not published it yet.
#[derive(Clone, Copy, Debug)]
pub struct ClaimedSlot {
    pub(super) position: u64,
    pub(super) slot: Slot,
}

impl ClaimedSlot {
    /// The position.
    #[inline(always)]
    pub fn position(self) -> u64 {
        self.position
    }
}

/// Length and kind of a message that fits a block.
#[inline(always)]
pub(super) fn meta(len: usize, kind: u32) -> Meta {
    #[expect(clippy::cast_possible_truncation, reason = "a block has at most 1 GiB")]
    Meta::new(len as u32, kind)
}

impl<M: Memory> Producer<M> {
    /// Claims the position at the head.
    #[inline(always)]
    pub fn claim_next(&mut self) -> ClaimedSlot {
        let claimed = self.slot_ahead(0);
        self.claim(1);
        claimed
    }

    /// The slot `ahead` positions after the head, which the caller has claimed.
    #[inline(always)]
    pub fn claimed_slot(&self, ahead: u64) -> ClaimedSlot {
        debug_assert!(self.head() + ahead < self.claimed());
        self.slot_ahead(ahead)
    }

    #[inline(always)]
    fn slot_ahead(&self, ahead: u64) -> ClaimedSlot {
        let position = self.head() + ahead;
        ClaimedSlot { position, slot: self.geometry().slot(position) }
    }

    /// Bytes of a block: the longest message.
    #[inline(always)]
    pub fn block_size(&self) -> usize {
        self.memory().blocks().block_size()
    }

    /// The block of a claimed position for a message that is sent by itself.
    #[inline(always)]
    pub fn block(&self, claimed: ClaimedSlot) -> Block {
        self.geometry().slots().single(claimed.slot)
    }

    /// The same block, which the caller may write and leave in any state.
    #[inline(always)]
    pub fn dirty_block(&mut self, claimed: ClaimedSlot) -> Block {
        self.mark_dirty(claimed.position);
        self.block(claimed)
    }

    /// Copies a message into the claimed head, and publishes it.
    ///
    /// # Panics
    ///
    /// If the message is longer than a block.
    #[inline(always)]
    pub fn send(&mut self, claimed: ClaimedSlot, kind: u32, message: &[u8]) {
        // SAFETY: the position is claimed, below the limit, and this is the producer, by the
        // invariants of `ClaimedSlot` and `Producer`; the memory is this producer's.
        unsafe { self.memory().blocks().write(self.block(claimed), message) };
        self.publish(claimed, kind, message.len());
    }

    /// Publishes the claimed head: its block holds a message of `len` bytes, at most a block.
    ///
    /// Clears the bytes behind the message before it writes the description, since the old
    /// description holds the length of the older message. Both happen in the call that publishes,
    /// so that an aborted claim leaves the older description.
    #[inline(always)]
    pub fn publish(&mut self, claimed: ClaimedSlot, kind: u32, len: usize) {
        self.publish_described(claimed, meta(len, kind));
    }

    /// The same, of a message with this description.
    #[inline(always)]
    pub(super) fn publish_described(&mut self, claimed: ClaimedSlot, meta: Meta) {
        let len = meta.len();
        debug_assert!(claimed.position == self.head());
        // The slot is read only if its length matters: its line comes from the core of the last
        // reader.
        if len < self.block_size() {
            let used = self.used_len(claimed.slot, claimed.position, false, self.dirty_until());
            if used > len {
                // SAFETY: as in `send`.
                unsafe { self.memory().blocks().zero(self.block(claimed), len..used) };
            }
        }
        self.memory().store(claimed.slot.meta(), meta.0, Relaxed);
        let published = Sequence::published(claimed.position).0;
        self.memory().store(claimed.slot.sequence(), published, Release); // PUB
        if !self.all_have_headers {
            self.store_all_have_headers();
        }
        self.count(claimed.position + 1);
    }

    /// From here on, up to the next batch, no message is headerless.
    #[cold]
    fn store_all_have_headers(&mut self) {
        self.all_have_headers = true;
        self.memory().store(HEADERS_UNTIL, ALL_HAVE_HEADERS, Relaxed);
    }

    /// How many bytes of a claimed block, in the place of a message that is sent by itself or of
    /// one in a batch, an older message may have left there. Blocks below `dirty_until` may hold
    /// anything.
    ///
    /// The slot says it, unless its last message lay in the other place, or was headerless.
    #[inline(never)]
    pub(super) fn used_len(&self, slot: Slot, position: u64, in_batch: bool, dirty_until: u64) -> usize {
        let (slots, capacity) = (self.geometry().slots(), self.geometry().capacity());
        let whole = slots.full().len();
        if position < dirty_until {
            return whole;
        }
        let (sequence, meta) = words(self.memory(), slot);
        let lay_here = slots.has_one_place() || sequence.is_batched() == in_batch;
        if lay_here && sequence.number() + capacity == position + 1 {
            return meta.len().min(whole);
        }
        let is_first = position < self.geometry().first_position() + capacity;
        if is_first && sequence == Sequence::NONE { 0 } else { whole }
    }
}
