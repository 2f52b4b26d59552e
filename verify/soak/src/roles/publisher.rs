//! Publishes in every way there is, and keeps a journal of what is published for certain.

use super::worker::number;
use crate::board::{Entry, Fate, Global, Team, Term, Trace};
use crate::cast::{Cast, Wrong};
use crate::message::{BLOCK_MAX, Stream, fill, kind_of};
use crate::options::Plant;
use kit::Dice;
use slipring::{AtPath, DeadLetters, HandleError, Producer, RecvError, RedriveError};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

const BATCH_MAX: usize = 512;
/// Most letters that are redriven at a time.
const REDRIVEN_MAX: usize = 8;

pub(crate) fn publish(cast: &Cast, stream: Stream) {
    let mut producer = cast.insist("open the ring to publish", || Producer::<[u8]>::open(cast.ring(stream)));
    let publisher = take_over(cast, stream, &producer);
    cast.arrived();
    let mut desk = Desk { cast, stream, publisher, dice: cast.dice(), written: 0 };
    let first = producer.head();
    while !cast.board.is_set(Global::Stop) {
        let before = producer.head();
        let left = match stream {
            Stream::Broadcast | Stream::Fleeting => BATCH_MAX as u64,
            Stream::Groups => {
                let begun = cast.board.first_of(stream, 1).unwrap_or(first);
                cast.board.global(Global::Quota).load(SeqCst).saturating_sub(before - begun)
            }
        };
        if left == 0 {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let most = usize::try_from(left).unwrap_or(BATCH_MAX).min(BATCH_MAX);
        if stream == Stream::Groups && desk.dice.hits(100) {
            desk.redrive_some(&mut producer, most.min(REDRIVEN_MAX));
        } else {
            desk.publish_some(&mut producer, most);
        }
        let head = producer.head();
        desk.note(Term::Published, head);
        cast.count(Entry::Messages, head - before);
        desk.written += head - before;
    }
    producer.close().unwrap();
}

/// Takes its turn: begins where the publisher before it ended, no lower than it published and no
/// higher than it meant to.
fn take_over(cast: &Cast, stream: Stream, producer: &Producer) -> u64 {
    let (board, head) = (&cast.board, producer.head());
    let before = board.publisher(stream).load(SeqCst);
    if before > 0 {
        let of = |term| board.term(stream, before, term).load(SeqCst);
        let (published, intended) = (of(Term::Published), of(Term::Intended));
        if head < published {
            cast.fail(
                Wrong::Lost,
                format_args!("{published} were published, and the next one begins at {head}"),
            );
        }
        if head > intended {
            cast.fail(
                Wrong::Corrupt,
                format_args!("the next one begins at {head}, beyond what was meant, {intended}"),
            );
        }
    }
    if stream == Stream::Groups {
        // Its predecessor may have died before the message that it had announced as redriven.
        if let Some(first) = board.first_of(stream, 1) {
            board.clear(Trace::IsCopy, head - first);
        }
    }
    let publisher = before + 1;
    board.term(stream, publisher, Term::Published).store(head, SeqCst);
    board.term(stream, publisher, Term::Intended).store(head, SeqCst);
    board.term(stream, publisher, Term::First).store(head + 1, SeqCst);
    board.publisher(stream).store(publisher, SeqCst);
    publisher
}

struct Desk<'c> {
    cast: &'c Cast,
    stream: Stream,
    publisher: u64,
    dice: Dice,
    written: u64,
}

impl Desk<'_> {
    fn note(&self, term: Term, position: u64) {
        self.cast.board.term(self.stream, self.publisher, term).store(position, SeqCst);
    }

    fn write(&self, block: &mut [u8], position: u64) -> usize {
        let len = fill(block, self.stream, position, self.publisher);
        if self.cast.plants(Plant::Corrupt, self.written) && self.stream == Stream::Broadcast {
            block[17] ^= 1;
        }
        len
    }

    fn publish_some(&mut self, producer: &mut Producer, most: usize) {
        let head = producer.head();
        let want = self.dice.size(most);
        self.note(Term::Intended, head + want as u64);
        let outcome = match self.dice.roll(32) {
            // Claimed, partly written and given up.
            0 => producer.claim().map(|mut claim| claim.fill(0xDD)),
            1 => producer.claim_batch(want).map(|mut batch| {
                while batch.push_with(|block| {
                    block.fill(0xEE);
                    (9, block.len())
                }) == Ok(true)
                {}
                batch.abort();
            }),
            2 => {
                let mut block = [0; BLOCK_MAX];
                let len = self.write(&mut block[..producer.block_size()], head);
                producer.send((kind_of(head), &block[..len])).map(drop)
            }
            3 => producer.claim().and_then(|mut claim| {
                let len = self.write(&mut claim, head);
                claim.publish((kind_of(head), len)).map(drop)
            }),
            _ => producer.claim_batch(want).map(|mut batch| {
                let mut next = head;
                while batch.push_with(|block| (kind_of(next), self.write(block, next))) == Ok(true) {
                    next += 1;
                }
                batch.publish().unwrap();
            }),
        };
        if let Err(error) = outcome {
            self.cast.fail(Wrong::Failed, format_args!("at {head}: {error}"));
        }
        if self.cast.plants(Plant::Forget, self.written) {
            self.note(Term::Published, producer.head() + 1);
            self.note(Term::Intended, producer.head() + 1);
            // Until it is killed.
            std::thread::sleep(Duration::from_secs(3600));
        }
    }

    /// Publishes dead letters again, if no other process has them open. The worker that finishes
    /// one finds its trace by the id that it had from the first.
    fn redrive_some(&mut self, producer: &mut Producer, most: usize) {
        let (cast, head) = (self.cast, producer.head());
        let Ok(mut letters) = DeadLetters::open(cast.ring(self.stream)) else { return };
        letters.set_patience(Duration::from_millis(20));
        self.note(Term::Intended, head + most as u64);
        let board = &cast.board;
        let at = |position| number(board, None, position);
        let mut next = head;
        let redriven = letters.redrive_with(producer, most as u64, |letter, _| {
            board.meets(Team::Frail, Fate::Buried, at(letter.id.position));
            board.mark(Trace::Redriven, at(letter.id.position));
            board.mark(Trace::Owed, at(letter.id.position));
            board.mark(Trace::IsCopy, at(next));
            next += 1;
        });
        // The last one may not have been published.
        (producer.head()..next).for_each(|position| board.clear(Trace::IsCopy, at(position)));
        match redriven {
            Ok(_) | Err(RedriveError::NoRoom { .. }) => {}
            // Their ring was moved away meanwhile.
            Err(RedriveError::Receive(RecvError::Handle(AtPath {
                error: HandleError::Replaced, ..
            }))) => {}
            Err(error) => cast.fail(Wrong::Failed, format_args!("redriving at {head}: {error}")),
        }
        cast.count(Entry::Redriven, producer.head() - head);
        if cast.plants(Plant::Swallow, self.written) {
            if let Ok(Some(letter)) = letters.take() {
                board.meets(Team::Frail, Fate::Buried, at(letter.id.position));
                board.mark(Trace::Owed, at(letter.id.position));
            }
        }
    }
}
