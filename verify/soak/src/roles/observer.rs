//! Observes, gates no position, and learns exactly how many messages it missed.

use super::copying::{self, TURN};
use crate::cast::Cast;
use crate::message::Stream;
use slipring::{Observer, ObserverOptions, Start};

pub(crate) fn observe(cast: &Cast) {
    let mut dice = cast.dice();
    let start = if dice.hits(2) { Start::Earliest } else { Start::Latest };
    let options = ObserverOptions::new().start(start);
    let mut observer: Observer =
        cast.insist("attach", || options.attach::<[u8]>(cast.ring(Stream::Broadcast)));
    copying::read(cast, dice, observer.position(), |story| {
        let message = observer.recv_timeout(TURN)?;
        story.read(message.position(), message.kind(), &message);
        Ok(())
    });
}
