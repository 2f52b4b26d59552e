//! Works in every way there is. Each confirmed acknowledgement is counted; one that was counted
//! before is what must never happen.

use super::changer::are_whole;
use crate::board::{Board, Entry, Fate, Team, Trace};
use crate::cast::{Cast, Wrong};
use crate::message::{Stream, verify};
use crate::options::Plant;
use kit::Dice;
use slipring::{Delivery, RecvError, Worker};
use std::time::{Duration, Instant};

/// Longer than a lease, whatever the settings.
const TOO_LONG: Duration = Duration::from_millis(200);
pub(crate) const ATTEMPTS: u32 = 3;
const TURN: Duration = Duration::from_secs(1);

pub(crate) fn work(cast: &Cast) {
    let Some(team) = cast.role.team() else { return };
    let mut dice = cast.dice();
    let mut done = 0;
    if is_shifted() {
        cast.count(Entry::Shifted, 1);
    }
    loop {
        let worker = cast.insist("join", || Worker::<[u8]>::join(cast.ring(Stream::Groups), team.name()));
        let shop = Shop { cast, team, first: cast.board.first_of(Stream::Groups, 1) };
        cast.arrived();
        for _ in 0..1 << dice.roll(16) {
            let max = if dice.hits(8) { dice.size(16) } else { 1 };
            let (asked, before) = (Instant::now(), worker.settings());
            let batch = match worker.recv_batch_timeout(max, TURN) {
                Ok(batch) => batch,
                Err(RecvError::TimedOut(_)) => continue,
                Err(RecvError::Closed) => return,
                Err(error) => cast.fail(Wrong::Failed, error),
            };
            // The leases are of one of these, or of settings in between.
            let now = worker.settings();
            if !are_whole(team, &before) || !are_whole(team, &now) {
                cast.fail(Wrong::Corrupt, format_args!("settings of two times: {before}; {now}"));
            }
            let shortest = before.ack_wait_ms.min(now.ack_wait_ms);
            let shortest = if before == now { shortest } else { shortest.min(SHORTEST) };
            let lease = Lease { asked, lasts: Duration::from_millis(shortest.into()) };
            for delivery in batch {
                shop.handle(delivery, lease, &mut dice, done);
                done += 1;
            }
        }
    }
}

/// The shortest lease that any settings give, in milliseconds.
const SHORTEST: u32 = 60;

/// The certain knowledge of a worker about its leases.
#[derive(Clone, Copy)]
struct Lease {
    /// They did not begin before.
    asked: Instant,
    /// They last no shorter.
    lasts: Duration,
}

/// True if this process has a clock of its own.
fn is_shifted() -> bool {
    let offsets = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    offsets.split_whitespace().any(|field| field.parse::<u64>().is_ok_and(|number| number >= 1000))
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
        // A redriven message is the one that it was at first.
        let (position, kind) = (delivery.id().position, delivery.kind());
        let is_redriven = position != delivery.position();
        if is_redriven && (self.team, self.is(Trace::Redriven, position)) != (Team::Frail, true) {
            self.cast.fail(
                Wrong::Doubled,
                format_args!("{position} at {} was redriven to nobody here", delivery.position()),
            );
        }
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

    fn is(&self, trace: Trace, position: u64) -> bool {
        self.cast.board.has(trace, number(&self.cast.board, self.first, position))
    }

    /// A lease was lost: only if it may have run out. A worker that was stopped meanwhile finds
    /// that the time has gone by.
    fn lost(&self, lease: Lease, done: u64) {
        let lasts = if self.cast.plants(Plant::Hasten, done) { 10 * lease.lasts } else { lease.lasts };
        let age = lease.asked.elapsed();
        if age < lasts {
            self.cast.fail(
                Wrong::Doubled,
                format_args!("a lease of {lasts:?} was lost after {age:?}, or less, and its worker lives"),
            );
        }
        self.cast.count(Entry::LeasesLost, 1);
    }

    fn handle(&self, mut delivery: Delivery<'_>, lease: Lease, dice: &mut Dice, done: u64) {
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
                    return self.finish(delivery, lease, done);
                }
            }
            120..180 if self.team == Team::Frail => delivery.reject("as the dice would have it").map(drop),
            180 => {
                // Longer than it may.
                std::thread::sleep(TOO_LONG);
                return self.finish(delivery, lease, done);
            }
            _ => return self.finish(delivery, lease, done),
        };
        match handed {
            Ok(()) => cast.count(Entry::Handed, 1),
            Err(_) => self.lost(lease, done),
        }
    }

    /// Acknowledges, and then counts it. In between it stands in the journal.
    fn finish(&self, delivery: Delivery<'_>, lease: Lease, done: u64) {
        let (cast, position) = (self.cast, delivery.position());
        let first = delivery.id().position;
        if cast.plants(Plant::Lose, done) {
            let _lost = delivery.ack();
            return;
        }
        cast.note(Entry::Acknowledging, position + 1);
        let times = if cast.plants(Plant::Double, done) { 2 } else { 1 };
        match delivery.ack() {
            Ok(()) => {
                let nth = number(&cast.board, self.first, position);
                if first != position {
                    cast.board.clear(Trace::Owed, number(&cast.board, self.first, first));
                }
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
            Err(_) => self.lost(lease, done),
        }
        cast.note(Entry::Acknowledging, 0);
    }
}
