//! A reader that may be evicted.

use super::copying::{self, TURN};
use crate::board::Entry;
use crate::cast::Cast;
use crate::message::Stream;
use slipring::{ConsumerOptions, EvictableConsumer, RecvError, Start};

pub(crate) fn read(cast: &Cast) {
    let mut dice = cast.dice();
    let start = if dice.hits(2) { Start::Earliest } else { Start::Latest };
    let mut options = ConsumerOptions::new().start(start);
    if dice.hits(2) {
        options = options.name(format!("evictable {}", cast.seat));
    }
    let path = cast.ring(Stream::Broadcast);
    let mut consumer: EvictableConsumer = cast.insist("join", || options.attach_evictable::<[u8]>(&path));
    copying::read(cast, dice, consumer.position(), |story| {
        let evicted = |error: &RecvError| {
            if matches!(error, RecvError::Lagged { .. }) {
                cast.count(Entry::Evictions, 1);
            }
        };
        let message = consumer.recv_timeout(TURN).inspect_err(evicted)?;
        story.read(message.position(), message.kind(), &message);
        Ok(())
    });
}
