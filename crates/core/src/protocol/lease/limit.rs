//! How a worker keeps to the limit of messages in flight: by looking, since a shared count would be
//! wrong for ever after a death between a lease and its counting.
//!
//! While fewer positions than the limit allows lie between the floor and a fresh message, there is
//! nothing to look at. Beyond, a worker keeps a list of the messages in flight: it looks at each
//! position once, and then again only at those of its list. The list stays an upper bound, as each
//! message above it that is leased adds one at most, and what is settled takes one off.
//!
//! Example, a limit of 1000: of the messages below 5000, 998 are in flight. Two more may be leased:
//! the worker leases 5000, acknowledges it, and knows that it may lease 5001 and 5002.
//!
//! # Messages that were fresh
//!
//! A worker that chooses by kind leaves fresh messages below, and another worker may lease those
//! later. Such a lease raises the group's count of *backfills* first, and as many are added to the
//! list. Only when that reaches the limit is the list made anew.

use super::Worker;
use crate::format::{Millis, State, group};
use crate::memory::Memory;
use alloc::vec::Vec;
use core::cell::RefMut;

/// Messages of the list that a worker looks at again at a time.
const LOOK_AGAIN_MAX: usize = 32;
/// Positions per millisecond at which a list is made anew: more rarely, the longer it takes.
const ANEW_PER_MS: u64 = 256;

/// What a worker knows of the messages in flight.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    /// It has looked at every position below.
    below: u64,
    /// Those that were in flight.
    positions: Vec<u64>,
    /// The one to look at next.
    next: usize,
    /// Some were fresh.
    left_fresh: bool,
    /// The group's count of backfills, before it looked.
    backfilled: u64,
    /// When the list was made.
    made: Option<Millis>,
    /// Without another backfill, messages below may be leased.
    free_until: u64,
    /// The group's count of backfills at that time.
    free_backfilled: u64,
}

impl InFlight {
    fn at_most(&self, backfilled: u64) -> u64 {
        let leased_since = if self.left_fresh { backfilled.wrapping_sub(self.backfilled) } else { 0 };
        (self.positions.len() as u64).saturating_add(leased_since)
    }
}

impl<M: Memory> Worker<M> {
    /// True if so much is in flight that no worker may lease the fresh message at `position`.
    #[inline(always)]
    pub(super) fn reaches_limit(&self, position: u64, now: Millis) -> bool {
        position >= self.free_until.get() && self.is_limit_reached(position, now)
    }

    /// One message less is in flight, since this worker settled it.
    #[inline(always)]
    pub(super) fn note_settled(&self, position: u64) {
        let free_until = self.free_until.get();
        if position < free_until {
            // A limit that is no limit leaves nothing to add to.
            self.free_until.set(free_until.saturating_add(1));
        }
    }

    /// The limit may be lower from now on.
    pub(super) fn doubt_limit(&self) {
        self.free_until.set(0);
        self.in_flight.borrow_mut().free_until = 0;
    }

    /// Looks at what is in flight, and notes up to which position it need not look again.
    #[cold]
    fn is_limit_reached(&self, position: u64, now: Millis) -> bool {
        let max = self.settings.get().settings.max_ack_pending;
        let floor = self.group.stored_floor().unwrap_or(0);
        let by_floor = floor.saturating_add(max);
        if position < by_floor {
            self.free_until.set(by_floor);
            return false;
        }
        let mut list = self.in_flight.borrow_mut();
        let backfilled = self.group.load(group::BACKFILLED);
        if position < list.free_until && backfilled == list.free_backfilled {
            return false;
        }
        if list.made.is_none() {
            (list.made, list.backfilled) = (Some(now), backfilled);
        }
        self.look_on(&mut list, floor, position);
        self.look_again(&mut list, backfilled, max);
        if list.at_most(backfilled) >= max && list.at_most(list.backfilled) < max {
            self.make_anew(&mut list, backfilled, floor, position, now);
        }
        let free = max.saturating_sub(list.at_most(backfilled));
        let free_until = if free == 0 { 0 } else { position.saturating_add(free) };
        // Where messages below were left fresh, the next look asks whether others leased them.
        self.free_until.set(if list.left_fresh { 0 } else { free_until });
        (list.free_until, list.free_backfilled) = (free_until, backfilled);
        free == 0
    }

    /// Looks at the positions up to `position` that it has not looked at.
    fn look_on(&self, list: &mut RefMut<'_, InFlight>, floor: u64, position: u64) {
        let unseen = self.group.window(list.below.max(floor)).learning();
        for snapshot in unseen.take_while(|snapshot| snapshot.position < position) {
            if snapshot.word.is_fresh() {
                list.left_fresh = true;
            } else if snapshot.word.state() != State::DeadPending {
                list.positions.push(snapshot.position);
            }
        }
        list.below = list.below.max(position);
    }

    /// Takes the messages off the list that are no longer in flight: the latest ones, and if that
    /// leaves too many, the first of the others that it finds.
    fn look_again(&self, list: &mut RefMut<'_, InFlight>, backfilled: u64, max: u64) {
        while list.positions.last().is_some_and(|&last| !self.is_in_flight(last)) {
            list.positions.pop();
        }
        for _ in 0..LOOK_AGAIN_MAX.min(list.positions.len()) {
            if list.at_most(backfilled) < max {
                break;
            }
            let at = list.next % list.positions.len();
            if self.is_in_flight(list.positions[at]) {
                list.next = at + 1;
            } else {
                list.positions.swap_remove(at);
            }
        }
    }

    fn is_in_flight(&self, position: u64) -> bool {
        let word = self.group.snapshot(position).word;
        // The word of a later lap looks fresh.
        !word.is_settled() && !word.is_fresh() && word.state() != State::DeadPending
    }

    /// Makes the list anew, since some that were fresh were leased.
    fn make_anew(
        &self,
        list: &mut RefMut<'_, InFlight>,
        backfilled: u64,
        floor: u64,
        position: u64,
        now: Millis,
    ) {
        let rest = (position - floor.min(position)) / ANEW_PER_MS;
        let age = list.made.map_or(u32::MAX, |made| now.0.wrapping_sub(made.0));
        if u64::from(age) < rest {
            return;
        }
        **list = InFlight { made: Some(now), backfilled, ..InFlight::default() };
        self.look_on(list, floor, position);
    }
}
