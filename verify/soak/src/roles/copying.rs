//! The loop of the readers that copy, which at times read too slowly on purpose.

use super::story::Story;
use crate::cast::{Cast, Wrong};
use kit::Dice;
use slipring::RecvError;
use std::time::Duration;

const COUNT_EVERY: u64 = 256;
/// The longest wait for a message.
pub(super) const TURN: Duration = Duration::from_secs(1);

/// Reads from position `first` to the end of the stream. `receive` waits at most for [`TURN`], and
/// tells the story what it got.
pub(super) fn read(
    cast: &Cast,
    mut dice: Dice,
    first: u64,
    mut receive: impl FnMut(&mut Story<'_>) -> Result<(), RecvError>,
) {
    let mut story = Story::from(cast, first);
    cast.arrived();
    for turn in 1_u64.. {
        match receive(&mut story) {
            Ok(()) | Err(RecvError::TimedOut(_)) => {}
            Err(RecvError::Lagged { missed }) => story.missed(missed),
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
