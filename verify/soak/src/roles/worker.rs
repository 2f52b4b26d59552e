//! Works in every way there is. Each confirmed acknowledgement is counted; one that was counted
//! before is what must never happen.

use crate::board::{Board, Entry, Fate, Team};
use crate::cast::{Cast, Wrong};
use crate::message::{Stream, verify};
use crate::options::Plant;
use kit::Dice;
use slipring::{Delivery, RecvError, Worker};
use std::time::Duration;

pub(crate) const ACK_WAIT: Duration = Duration::from_millis(100);
pub(crate) const ATTEMPTS: u32 = 3;
const TURN: Duration = Duration::from_secs(1);

pub(crate) fn work(cast: &Cast) {
    let Some(team) = cast.role.team() else { return };
    let mut dice = cast.dice();
    let mut done = 0;
    loop {
        let worker = cast.insist("join", || Worker::<[u8]>::join(cast.ring(Stream::Groups), team.name()));
        let shop = Shop { cast, team, first: cast.board.first_of(Stream::Groups, 1) };
        cast.arrived();
        for _ in 0..1 << dice.roll(16) {
            let max = if dice.hits(8) { dice.size(16) } else { 1 };
            let batch = match worker.recv_batch_timeout(max, TURN) {
                Ok(batch) => batch,
                Err(RecvError::TimedOut(_)) => continue,
                Err(RecvError::Closed) => return,
                Err(error) => cast.fail(Wrong::Failed, error),
            };
            for delivery in batch {
                shop.handle(delivery, &mut dice, done);
                done += 1;
            }
        }
    }
}

struct Shop<'c> {
    cast: &'c Cast,
    team: Team,
    /// The first position of the stream; none if nothing was published when this worker joined.
    first: Option<u64>,
}

/// The number of a message, from the stream's first.
pub(crate) fn number(board: &Board, first: Option<u64>, position: u64) -> u64 {
    let first = first.or_else(|| board.first_of(Stream::Groups, 1));
    position - first.expect("what is published, a publisher published")
}

impl Shop<'_> {
    fn check(&self, delivery: &Delivery<'_>) {
        let (position, kind) = (delivery.position(), delivery.kind());
        let Some(publisher) = verify(delivery, kind, Stream::Groups, position) else {
            let bytes: &[u8] = delivery;
            self.cast.fail(Wrong::Corrupt, format_args!("at position {position}, kind {kind}: {bytes:x?}"));
        };
        let first = |publisher| self.cast.board.first_of(Stream::Groups, publisher);
        if first(publisher).is_none_or(|first| first > position)
            || first(publisher + 1).is_some_and(|next| next <= position)
        {
            self.cast
                .fail(Wrong::Corrupt, format_args!("{position} is by {publisher}, who did not publish it"));
        }
        if self.team == Team::Frail && delivery.attempt() > ATTEMPTS {
            self.cast.fail(Wrong::Doubled, format_args!("attempt {} at {position}", delivery.attempt()));
        }
    }

    fn handle(&self, mut delivery: Delivery<'_>, dice: &mut Dice, done: u64) {
        let cast = self.cast;
        self.check(&delivery);
        cast.count(Entry::Messages, 1);
        if delivery.attempt() > 1 {
            cast.count(Entry::Redelivered, 1);
        }
        let handed = match dice.roll(40_000) {
            0..30 => {
                drop(delivery);
                Ok(())
            }
            30..60 => delivery.hand_back(),
            60..90 => delivery.nack(Duration::from_millis(dice.roll(20))),
            90..120 => {
                if let Err(lost) = delivery.extend() {
                    Err(lost)
                } else {
                    return self.finish(delivery, done);
                }
            }
            120..180 if self.team == Team::Frail => delivery.reject("as the dice would have it").map(drop),
            180 => {
                // Longer than it may.
                std::thread::sleep(ACK_WAIT * 2);
                return self.finish(delivery, done);
            }
            _ => return self.finish(delivery, done),
        };
        cast.count(if handed.is_ok() { Entry::Handed } else { Entry::LeasesLost }, 1);
    }

    /// Acknowledges, and then counts it. In between it stands in the journal.
    fn finish(&self, delivery: Delivery<'_>, done: u64) {
        let (cast, position) = (self.cast, delivery.position());
        if cast.plants(Plant::Lose, done) {
            let _lost = delivery.ack();
            return;
        }
        cast.note(Entry::Acknowledging, position + 1);
        let times = if cast.plants(Plant::Double, done) { 2 } else { 1 };
        match delivery.ack() {
            Ok(()) => {
                let nth = number(&cast.board, self.first, position);
                for _ in 0..times {
                    if !cast.board.meets(self.team, Fate::Acknowledged, nth) {
                        cast.fail(
                            Wrong::Doubled,
                            format_args!("position {position} was acknowledged by two"),
                        );
                    }
                }
                if cast.board.met(self.team, Fate::Buried, nth) {
                    cast.fail(
                        Wrong::Doubled,
                        format_args!("position {position} is a dead letter and acknowledged"),
                    );
                }
            }
            Err(_) => cast.count(Entry::LeasesLost, 1),
        }
        cast.note(Entry::Acknowledging, 0);
    }
}
