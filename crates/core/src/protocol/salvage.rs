//! Makes sense of a copy of a damaged ring, which no other party uses.

use super::observe::Observer;
use crate::format::producer_page::{CLAIMED, HEAD};
use crate::format::{Geometry, Meta, POSITION_MAX, Sequence};
use crate::memory::Memory;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

/// Counts of a ring that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImpossibleCounts {
    /// The head that was found.
    pub head: u64,
    /// The claim that was found.
    pub claimed: u64,
    /// The head by the slots, which took the place of both.
    pub seen: u64,
}

/// The counts of a ring whose producer may be at work, each read after the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// The head.
    pub head: u64,
    /// The claim.
    pub claimed: u64,
    /// The head once more.
    pub later_head: u64,
}

/// Makes the counts of a copy possible, if they are not; then the slots say how far the ring was
/// filled. `after` are the counts of the ring after the copy was taken, if they are known: a
/// producer that lives may have begun to overwrite the copied messages, and the copy of a slot may
/// be younger than that of the head.
pub fn mend_counts<M: Memory>(
    memory: &M,
    geometry: &Geometry,
    after: Option<Counts>,
) -> Option<ImpossibleCounts> {
    let (head, claimed) = (memory.load(HEAD, Relaxed), memory.load(CLAIMED, Relaxed));
    let after = after.unwrap_or(Counts { head, claimed, later_head: head });
    let is_possible = is_possible(memory, geometry, head, after);
    let seen = if is_possible { head } else { last_described(memory, geometry, |_| true) };
    memory.store(HEAD, seen, Relaxed);
    memory.store(CLAIMED, if is_possible { after.claimed } else { seen }, Relaxed);
    (!is_possible).then_some(ImpossibleCounts { head, claimed: after.claimed, seen })
}

/// Example, capacity 4: the head was copied as 10, and the counts after the copy are head 17, claim
/// 18, head 19. A slot that was copied in between may describe position 19 at most, and claim 18 is
/// at most a lap ahead of the later head.
fn is_possible<M: Memory>(memory: &M, geometry: &Geometry, copied_head: u64, after: Counts) -> bool {
    let Counts { head, claimed, later_head } = after;
    // The head counts each message that was sent by itself, or is about to.
    let sent = last_described(memory, geometry, |word| !word.is_batched());
    copied_head >= geometry.first_position()
        && copied_head <= head
        && head <= claimed
        && claimed <= later_head.saturating_add(geometry.capacity())
        && claimed <= POSITION_MAX
        && sent <= later_head.saturating_add(1)
}

/// One past the last position that a slot of this kind describes.
fn last_described<M: Memory>(memory: &M, geometry: &Geometry, is_meant: fn(Sequence) -> bool) -> u64 {
    let words = (0..geometry.capacity())
        .map(|index| (Sequence(memory.load(geometry.slot(index).sequence(), Relaxed)), index));
    let meant = words.filter(|(word, index)| is_meant(*word) && is_of_slot(*word, *index, geometry));
    meant.map(|(word, _)| word.number()).max().unwrap_or(0).max(geometry.first_position())
}

/// The positions whose slots cannot describe them, or whose bytes lie within the lost range of the
/// producer's segment.
pub fn damaged<M: Memory>(memory: &M, geometry: &Geometry, lost: &Range<u64>) -> Vec<u64> {
    let (earliest, head) = Observer::window(memory, geometry);
    (earliest..head).filter(|position| is_damaged(memory, geometry, *position, lost)).collect()
}

fn is_damaged<M: Memory>(memory: &M, geometry: &Geometry, position: u64, lost: &Range<u64>) -> bool {
    let (slots, slot) = (geometry.slots(), geometry.slot(position));
    let word = Sequence(memory.load(slot.sequence(), Relaxed));
    let meta = Meta(memory.load(slot.meta(), Relaxed));
    let is_single = word == Sequence::published(position);
    let block = if is_single { slots.single(slot) } else { slots.packed(slot) };
    let is_lost = |at: u64, len: u64| at < lost.end && lost.start < at + len;
    let is_too_long = word.number() == position + 1 && meta.len() as u64 > geometry.block_size();
    !is_of_slot(word, slot.index(), geometry)
        || word.number() > position + 1
        || is_too_long
        || is_lost(slot.sequence().offset, 8)
        || is_lost(slot.meta().offset, 8)
        || is_lost(block.offset(), geometry.block_size())
}

/// True if the word can stand in the slot of this number.
fn is_of_slot(word: Sequence, index: u64, geometry: &Geometry) -> bool {
    word == Sequence::NONE
        || (word.number() > geometry.first_position() && geometry.index(word.number() - 1) == index)
}
