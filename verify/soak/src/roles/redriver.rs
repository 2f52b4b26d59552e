//! Releases dead letters from their ring, and counts their messages.

use super::worker::{ATTEMPTS, number};
use crate::board::{Entry, Fate, Global, Team};
use crate::cast::{Cast, Wrong};
use crate::message::{Stream, verify};
use slipring::{DeadLetter, DeadLetters};
use std::time::Duration;

pub(crate) fn redrive(cast: &Cast) {
    let mut letters = cast.insist("open the dead letters", || DeadLetters::open(cast.ring(Stream::Groups)));
    cast.arrived();
    loop {
        // In this order: a dead letter that was added before the work was done is found.
        let ends = cast.board.is_set(Global::WorkDone);
        match letters.peek() {
            Ok(Some(letter)) => {
                check(cast, &letter);
                match letters.take() {
                    Ok(Some(taken)) if taken == letter => {}
                    other => cast.fail(Wrong::Corrupt, format_args!("took {other:?} after {letter:?}")),
                }
                cast.count(Entry::DeadLetters, 1);
            }
            Ok(None) if ends => return,
            Ok(None) => std::thread::sleep(Duration::from_millis(2)),
            Err(error) => cast.fail(Wrong::Failed, error),
        }
    }
}

/// At least one copy of what was given up, whole, and never of what was acknowledged.
fn check(cast: &Cast, letter: &DeadLetter) {
    let position = letter.id.position;
    if verify(&letter.bytes, letter.kind, Stream::Groups, position).is_none() {
        cast.fail(Wrong::Corrupt, format_args!("{letter:?}"));
    }
    if letter.group != Team::Frail.name() || letter.attempts > ATTEMPTS {
        cast.fail(Wrong::Failed, format_args!("nothing of it may be a dead letter: {letter:?}"));
    }
    let nth = number(&cast.board, None, position);
    cast.board.meets(Team::Frail, Fate::Buried, nth);
    if cast.board.met(Team::Frail, Fate::Acknowledged, nth) {
        cast.fail(Wrong::Doubled, format_args!("acknowledged and a dead letter: {letter:?}"));
    }
}
