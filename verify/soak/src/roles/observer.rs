//! Observes, gates no position, and learns exactly how many messages it missed.

use super::story::Story;
use crate::cast::{Cast, Wrong};
use crate::message::Stream;
use slipring::{Observer, ObserverOptions, RecvError, Start};
use std::time::Duration;

const COUNT_EVERY: u64 = 256;
const TURN: Duration = Duration::from_secs(1);

pub(crate) fn observe(cast: &Cast) {
    let mut dice = cast.dice();
    let start = if dice.hits(2) { Start::Earliest } else { Start::Latest };
    let options = ObserverOptions::new().start(start);
    let mut observer: Observer =
        cast.insist("attach", || options.attach::<[u8]>(cast.ring(Stream::Broadcast)));
    let mut story = Story::from(cast, observer.position());
    cast.arrived();
    for turn in 1_u64.. {
        match observer.recv_timeout(TURN) {
            Ok(message) => {
                story.read(message.position(), message.kind(), &message);
            }
            Err(RecvError::Lagged { missed }) => story.missed(missed),
            Err(RecvError::TimedOut(_)) => {}
            Err(RecvError::Closed) => break,
            Err(error) => cast.fail(Wrong::Failed, error),
        }
        if turn % COUNT_EVERY == 0 {
            story.count();
            if dice.hits(500) {
                std::thread::sleep(Duration::from_millis(dice.roll(50)));
            }
        }
    }
    story.ended();
}
