//! Where a published message is, and what says that it is published.
//!
//! A message that was sent by itself has its position in its slot. Of any other the head decides: its slot describes it,
//! or says nothing of it, and then it is a bare one (see [`batch`](super::batch)).

use crate::format::producer_page::HEAD;
use crate::format::{Message, Meta, Sequence, Slot, Slots};
use crate::memory::Memory;
use core::sync::atomic::Ordering::{Acquire, Relaxed};

/// True if the message at `position` is published, and perhaps overwritten: the slot may say so long after, since bare
/// messages write nothing there.
///
/// Whoever goes on to read the message makes an acquire fence first.
#[inline(always)]
pub(crate) fn is_published<M: Memory>(memory: &M, slots: Slots, position: u64) -> bool {
    let sequence = Sequence(memory.load(slots.at(position).sequence(), Relaxed));
    sequence.is_published_beyond(position) || memory.load(HEAD, Relaxed) > position
}

/// One past the position of the last message that is published in the slot of `position`; if that is below `position`, any
/// less.
///
/// By the slot and by the head, each of which may know of a later one. Of a seal only so much is believed as must be so: who
/// fills a slot has published what was in it before.
#[inline(always)]
pub(crate) fn last_published<M: Memory>(memory: &M, slots: Slots, position: u64) -> u64 {
    let capacity = slots.capacity();
    let sequence = Sequence(memory.load(slots.at(position).sequence(), Relaxed));
    let by_slot = sequence.number().saturating_sub(if sequence.is_sealed() { capacity } else { 0 });
    let head = memory.load(HEAD, Relaxed);
    let by_head = if head > position { position + ((head - 1 - position) & !(capacity - 1)) + 1 } else { 0 };
    by_slot.max(by_head)
}

/// The message at `position`, if it is published. Acquired. Whether it was overwritten meanwhile is for the caller to find out;
/// if it surely was, there is none.
///
/// The slot is read again once the head has shown the message: what was read before may be older.
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

/// True if the message at `position` is published by this head, and its block not granted to another one yet.
///
/// The head alone stands for a bare message, so one that cannot be must not stand for any.
#[inline(always)]
pub(crate) fn is_within_a_lap(head: u64, position: u64, capacity: u64) -> bool {
    head.wrapping_sub(position + 1) < capacity
}

/// The two words of a slot.
#[inline(always)]
pub(crate) fn words<M: Memory>(memory: &M, slot: Slot) -> (Sequence, Meta) {
    (Sequence(memory.load(slot.sequence(), Relaxed)), Meta(memory.load(slot.meta(), Relaxed)))
}

/// What the words of its slot say of a published message.
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
    let is_described = sequence == Sequence::sealed(position);
    Message { meta: if is_described { meta } else { slots.full() }, block: slots.packed(slot) }
}
