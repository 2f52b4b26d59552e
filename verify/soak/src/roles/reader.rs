//! Readers in place: durable ones, which go on where they were, and plain ones, which come and go.

use super::story::Story;
use crate::board::Entry;
use crate::cast::{Cast, Role, Wrong};
use crate::message::Stream;
use crate::options::Plant;
use kit::Dice;
use slipring::{Consumer, ConsumerOptions, Error, RecvError, Start};
use std::time::Duration;

const BATCH_MAX: usize = 4096;
const TURN: Duration = Duration::from_secs(1);

/// Resumes under its name until the stream ends.
pub(crate) fn read_durably(cast: &Cast) {
    let name = if cast.role == Role::Audit { "audit" } else { "durable" };
    let options = ConsumerOptions::new().name(name).durable(true).start(Start::Earliest);
    let mut consumer = cast.insist("resume", || options.attach::<[u8]>(cast.ring(Stream::Broadcast)));
    let position = consumer.position();
    let (released, releasing) = (cast.noted(Entry::Released), cast.noted(Entry::Releasing));
    // A message that the reader was about to release when it died may have been released.
    if cast.incarnation > 1 && position != released && position != releasing {
        let wrong = if position > released { Wrong::Lost } else { Wrong::Doubled };
        cast.fail(
            wrong,
            format_args!("resumed at {position}, and had released up to {released} or {releasing}"),
        );
    }
    cast.note(Entry::Releasing, position);
    cast.note(Entry::Released, position);
    cast.arrived();
    let mut story = Story::from(cast, position);
    let mut dice = cast.dice();
    while read_batch(cast, &mut consumer, &mut story, &mut dice) {}
}

/// Joins anywhere, reads for a while, leaves, and joins again, until the stream ends.
pub(crate) fn read_plainly(cast: &Cast) {
    let mut dice = cast.dice();
    loop {
        let mut consumer = cast.insist("join", || join(cast, &mut dice));
        let mut story = Story::from(cast, consumer.position());
        cast.arrived();
        let mut batches = 1 << dice.roll(14);
        while batches > 0 {
            batches -= 1;
            if !read_batch(cast, &mut consumer, &mut story, &mut dice) {
                return;
            }
        }
        story.count();
    }
}

fn join(cast: &Cast, dice: &mut Dice) -> Result<Consumer, Error> {
    let path = cast.ring(Stream::Broadcast);
    let ring = slipring::Ring::open(&path)?;
    let start = match dice.roll(4) {
        0 => Start::Earliest,
        1 => Start::Latest,
        2 => Start::Last(dice.roll(ring.capacity())),
        _ => Start::At(ring.head().saturating_sub(dice.roll(ring.capacity())).max(ring.first_position())),
    };
    let consumer = ConsumerOptions::new().start(start).attach::<[u8]>(&path)?;
    match start {
        Start::At(asked) if consumer.position() != asked => {
            cast.fail(Wrong::Failed, format_args!("asked for {asked} and stands at {}", consumer.position()))
        }
        _ => Ok(consumer),
    }
}

/// False when the stream has ended.
fn read_batch(cast: &Cast, consumer: &mut Consumer, story: &mut Story<'_>, dice: &mut Dice) -> bool {
    let max = dice.size(BATCH_MAX);
    let batch = match consumer.recv_batch_timeout(max, TURN) {
        Ok(batch) => batch,
        Err(RecvError::TimedOut(_)) => return true,
        Err(RecvError::Closed) => {
            story.ended();
            return false;
        }
        Err(error) => cast.fail(Wrong::Failed, error),
    };
    let end = story.next() + batch.len() as u64;
    cast.note(Entry::Releasing, end);
    let mut messages = batch.iter().peekable();
    if cast.plants(Plant::Skip, cast.noted(Entry::Messages)) {
        messages.next();
    }
    if cast.plants(Plant::Repeat, cast.noted(Entry::Messages)) {
        if let Some(message) = messages.peek() {
            story.read(message.position(), message.kind(), message);
        }
    }
    for message in messages {
        story.read(message.position(), message.kind(), &message);
    }
    drop(batch);
    cast.note(Entry::Released, end);
    story.count();
    if cast.role == Role::Audit && cast.plants(Plant::Stall, cast.noted(Entry::Messages)) {
        std::thread::sleep(Duration::from_secs(3600));
    }
    if dice.hits(4000) {
        std::thread::sleep(Duration::from_millis(dice.roll(5)));
    }
    true
}
