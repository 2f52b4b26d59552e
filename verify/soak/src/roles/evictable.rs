//! A reader that may be evicted, and at times reads too slowly on purpose.

use super::story::Story;
use crate::board::Entry;
use crate::cast::{Cast, Wrong};
use crate::message::Stream;
use slipring::{ConsumerOptions, EvictableConsumer, RecvError, Start};
use std::time::Duration;

const COUNT_EVERY: u64 = 256;
const TURN: Duration = Duration::from_secs(1);

pub(crate) fn read(cast: &Cast) {
    let mut dice = cast.dice();
    let start = if dice.hits(2) { Start::Earliest } else { Start::Latest };
    let mut options = ConsumerOptions::new().start(start);
    if dice.hits(2) {
        options = options.name(format!("evictable {}", cast.seat));
    }
    let path = cast.ring(Stream::Broadcast);
    let mut consumer: EvictableConsumer = cast.insist("join", || options.attach_evictable::<[u8]>(&path));
    let mut story = Story::from(cast, consumer.position());
    cast.arrived();
    for turn in 1_u64.. {
        match consumer.recv_timeout(TURN) {
            Ok(message) => story.read(message.position(), message.kind(), &message),
            Err(RecvError::Lagged { missed }) => {
                cast.count(Entry::Evictions, 1);
                story.missed(missed);
            }
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
