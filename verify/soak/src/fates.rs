//! The fate of every message of a group: below the floor each was acknowledged by one worker, or is
//! a dead letter.

use crate::board::{Board, Entry, Fate, Team, Trace};
use slipring::Ring;
use std::collections::HashSet;
use std::sync::atomic::Ordering::SeqCst;

/// The fates of one group's messages.
#[derive(Debug)]
pub(crate) struct Fates {
    pub(crate) team: Team,
    seats: Vec<u64>,
    first: u64,
    pub(crate) floor: u64,
    /// Below the floor, and not yet counted by any worker.
    missing: Vec<u64>,
    /// A worker was killed while it acknowledged this message: perhaps the message is acknowledged,
    /// and not counted.
    uncertain: HashSet<u64>,
    /// Messages among them that no other worker acknowledged.
    pub(crate) taken_along: u64,
}

impl Fates {
    pub(crate) fn new(team: Team, seats: Vec<u64>, first: u64) -> Fates {
        let (missing, uncertain) = (Vec::new(), HashSet::new());
        Fates { team, seats, first, floor: first, missing, uncertain, taken_along: 0 }
    }

    /// A worker in this seat was killed.
    pub(crate) fn killed(&mut self, board: &Board, seat: u64) {
        if self.seats.contains(&seat) {
            let journal = board.seat(seat, Entry::Acknowledging).swap(0, SeqCst);
            self.uncertain.extend(journal.checked_sub(1));
        }
    }

    /// Follows the floor. False if it is where it cannot be.
    pub(crate) fn follow(&mut self, ring: &Ring, board: &Board) -> bool {
        let Some(info) = ring.group(self.team.name()) else { return false };
        let sound = (self.floor..=ring.head()).contains(&info.ack_floor);
        self.missing.extend(self.floor..info.ack_floor);
        self.floor = self.floor.max(info.ack_floor);
        let (first, team, uncertain) = (self.first, self.team, &mut self.uncertain);
        let taken_along = &mut self.taken_along;
        self.missing.retain(|&position| {
            let met = |fate| board.met(team, fate, position - first);
            // The other group settles it without a delivery; this one owes it by the first id.
            if board.has(Trace::IsCopy, position - first) {
                uncertain.remove(&position);
                return false;
            }
            if met(Fate::Acknowledged) || team == Team::Frail && met(Fate::Buried) {
                uncertain.remove(&position);
                return false;
            }
            let along = uncertain.remove(&position);
            *taken_along += u64::from(along);
            !along
        });
        sound
    }

    /// Messages below the floor without a known fate. While the run lasts, they include messages
    /// that a living worker is about to count, and dead letters that the redriver has not read yet;
    /// at the end there must be none.
    pub(crate) fn missing(&self) -> &[u64] {
        &self.missing
    }

    pub(crate) fn seats(&self) -> &[u64] {
        &self.seats
    }
}
