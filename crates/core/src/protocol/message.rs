//! The place of a published message, and the words that publish it.
//!
//! | the message was | published by | length and kind |
//! |---|---|---|
//! | sent by itself | its slot's sequence word, *p* + 1 | in the slot |
//! | in a batch, with a header | the head | in the slot |
//! | in a batch, headerless | the head | a whole block, kind 0 (see [`batch`](super::batch)) |

use crate::format::producer_page::HEAD;
use crate::format::{Message, Meta, Sequence, Slot, Slots};
use crate::memory::Memory;
use core::sync::atomic::Ordering::{Acquire, Relaxed};

/// True once `position` has been published, even if its slot was reused since. (Reuse by a
/// headerless message leaves the old sequence word.)
///
/// A caller that goes on to read the message makes an acquire fence first.
#[inline(always)]
pub(crate) fn is_published<M: Memory>(memory: &M, slots: Slots, position: u64) -> bool {
    let sequence = Sequence(memory.load(slots.at(position).sequence(), Relaxed));
    sequence.is_published_beyond(position) || memory.load(HEAD, Relaxed) > position
}

/// One past the position of the last published message in the slot of `position`. If that message
/// precedes `position`, the result may be any smaller value.
///
/// The slot and the head may each know of a later message; the larger value counts. A batched
/// header for position *q* proves only that *q* - capacity was published: the producer fills a slot
/// after it has published the slot's message before.
///
/// Example, capacity 4, `position` 1: the slot holds (10, batched), so it describes position 9, and
/// proves 5 + 1 = 6. With head 10, position 9 is published: the head proves 9 + 1 = 10. With head
/// 8, the head proves 5 + 1 = 6.
#[inline(always)]
pub(crate) fn last_published<M: Memory>(memory: &M, slots: Slots, position: u64) -> u64 {
    let capacity = slots.capacity();
    let sequence = Sequence(memory.load(slots.at(position).sequence(), Relaxed));
    let by_slot = sequence.number().saturating_sub(if sequence.is_batched() { capacity } else { 0 });
    let head = memory.load(HEAD, Relaxed);
    let by_head = if head > position { position + ((head - 1 - position) & !(capacity - 1)) + 1 } else { 0 };
    by_slot.max(by_head)
}

/// The message at `position`, if it is published. Acquired. A message that was surely overwritten
/// counts as not published; the caller finds out whether one was overwritten meanwhile.
///
/// The slot is read again after the head has shown the message: words that were read before may be
/// older than the message.
#[inline(always)]
pub(crate) fn find<M: Memory>(memory: &M, slots: Slots, position: u64) -> Option<Message> {
    let slot = slots.at(position);
    let is_single = memory.load(slot.sequence(), Relaxed) == Sequence::published(position).0;
    if !is_single && !is_within_a_lap(memory.load(HEAD, Relaxed), position, slots.capacity()) {
        return None;
    }
    memory.fence(Acquire); // PUB, HEAD
    Some(message(slots, slot, position, words(memory, slot)))
}

/// True if this head publishes the message at `position`, and has not granted its block to a later
/// one.
///
/// The head alone publishes a headerless message, so an impossible head must publish none.
///
/// Example, capacity 4, `position` 8: heads 9 to 12 publish it. Head 8 does not yet; head 13 or a
/// corrupt head of 10000 does not either.
#[inline(always)]
pub(crate) fn is_within_a_lap(head: u64, position: u64, capacity: u64) -> bool {
    head.wrapping_sub(position + 1) < capacity
}

/// The two words of a slot.
#[inline(always)]
pub(crate) fn words<M: Memory>(memory: &M, slot: Slot) -> (Sequence, Meta) {
    (Sequence(memory.load(slot.sequence(), Relaxed)), Meta(memory.load(slot.meta(), Relaxed)))
}

/// The published message at `position`, as its slot's words describe it.
#[inline(always)]
pub(crate) fn message(
    slots: Slots,
    slot: Slot,
    position: u64,
    (sequence, meta): (Sequence, Meta),
) -> Message {
    if sequence == Sequence::published(position) {
        return Message { meta, block: slots.single(slot) };
    }
    let has_header = sequence == Sequence::batched(position);
    Message { meta: if has_header { meta } else { slots.full() }, block: slots.packed(slot) }
}
