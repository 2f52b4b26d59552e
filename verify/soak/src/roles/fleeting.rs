//! The users of a ring with fleeting files, which are removed, renamed, replaced and cut short:
//! each user must learn of it, by the error that says what happened, and finds the next ring at the
//! same path.
//!
//! The upper half of a position is the number of the file.

use crate::board::{Deed, Entry, FILE_MESSAGES, Global};
use crate::cast::{Cast, Wrong};
use crate::message::{Stream, fill, kind_of, verify};
use crate::options::Plant;
use kit::Dice;
use slipring::{
    At, AtPath, Consumer, ConsumerOptions, HandleError, Observer, ObserverOptions, Producer, RecvError, Ring,
    SendError, Start, Worker,
};
use std::fmt::Display;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// The position of the first message of a file.
pub(crate) const fn first_of(file: u64) -> u64 {
    file << 32
}

fn file_of(position: u64) -> u64 {
    position >> 32
}

pub(crate) const GROUP: &str = "fleeting";
const BATCH_MAX: usize = 32;

/// Which way a reader receives: each learns of the file's end in a way of its own.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// It asks again and again, and waits for itself.
    Tries,
    /// It waits for moments alone.
    Moments,
    /// It waits until something comes.
    Waits,
}

const WAYS: [Way; 3] = [Way::Tries, Way::Moments, Way::Waits];
/// Shorter than the time between two looks of a reader at its path.
const MOMENT: Duration = Duration::from_millis(10);
/// So that a reader comes to see that the run ends.
const LONG: Duration = Duration::from_secs(1);

/// One user at one file.
struct Visit<'c> {
    cast: &'c Cast,
    file: u64,
}

impl<'c> Visit<'c> {
    /// The ring that is there now, and its place, which leads to no other ring.
    fn begin(cast: &'c Cast) -> (Visit<'c>, At) {
        let path = cast.ring(Stream::Fleeting);
        let ring = cast.insist("find the ring", || Ring::open(&path));
        (Visit { cast, file: file_of(ring.first_position()) }, At::path(&path).only_ring(ring.id()))
    }

    fn arrived(&self) {
        self.cast.arrived();
        self.cast.note(Entry::AtFile, self.file);
    }

    fn deed(&self) -> Option<Deed> {
        self.cast.board.deed(self.file)
    }

    /// The handle's error must say what happened to the file.
    fn judge(&self, error: &AtPath<HandleError>) {
        let right = match (self.deed(), error.error) {
            (Some(Deed::CutShort), HandleError::Truncated | HandleError::Replaced) => true,
            (Some(Deed::CutShort) | None, _) => false,
            (Some(_), error) => error == HandleError::Replaced,
        };
        if !right {
            self.wrong("the file's end", error);
        }
        if self.cast.plants(Plant::Linger, self.cast.noted(Entry::Ends) * 500) {
            std::thread::sleep(Duration::from_secs(3600));
        }
        self.cast.count(Entry::Ends, 1);
    }

    fn wrong(&self, what: &str, error: impl Display) -> ! {
        let (file, deed) = (self.file, self.deed());
        self.cast.fail(Wrong::Failed, format_args!("file {file}, {deed:?}: {what}: {error}"))
    }

    /// The bytes of a file that was cut short are zeros.
    fn check(&self, position: u64, kind: u32, bytes: &[u8]) {
        let by = verify(bytes, kind, Stream::Fleeting, position);
        if (by, file_of(position)) != (Some(self.file), self.file) && self.deed() != Some(Deed::CutShort) {
            self.cast.fail(
                Wrong::Corrupt,
                format_args!("file {}: position {position} is by {by:?}: {bytes:x?}", self.file),
            );
        }
    }
}

/// Publishes in one file after the other.
pub(crate) fn publish(cast: &Cast) {
    let mut dice = cast.dice();
    loop {
        let (visit, place) = Visit::begin(cast);
        let Ok(mut producer) = Producer::<[u8]>::open(&place) else {
            // Its predecessor is dead, or the file has gone.
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        visit.arrived();
        let ended = loop {
            if cast.board.is_set(Global::Stop) {
                match producer.close() {
                    Ok(()) => return,
                    Err(error) => break error,
                }
            }
            if let Err(error) = publish_some(&visit, &mut producer, &mut dice) {
                break error;
            }
        };
        match &ended {
            SendError::Handle(error) => visit.judge(error),
            other => visit.wrong("publishing", other),
        }
    }
}

fn publish_some(visit: &Visit<'_>, producer: &mut Producer, dice: &mut Dice) -> Result<(), SendError> {
    let (cast, head) = (visit.cast, producer.head());
    if head - first_of(visit.file) > FILE_MESSAGES - BATCH_MAX as u64 {
        std::thread::sleep(Duration::from_millis(2));
        return producer.check();
    }
    let mut batch = match producer.claim_batch_timeout(dice.size(BATCH_MAX), MOMENT) {
        // A reader may be stopped.
        Err(SendError::Full { .. }) => return Ok(()),
        claimed => claimed?,
    };
    let mut next = head;
    while batch.push_with(|block| (kind_of(next), fill(block, Stream::Fleeting, next, visit.file)))
        == Ok(true)
    {
        next += 1;
    }
    batch.publish()?;
    if visit.deed().is_none() {
        // It was whole when all of these were published: they are for every reader that is
        // attached.
        cast.board.published_in(visit.file).fetch_max(producer.head(), SeqCst);
    }
    cast.count(Entry::Messages, producer.head() - head);
    if dice.hits(4) {
        std::thread::sleep(Duration::from_millis(dice.roll(4)));
    }
    Ok(())
}

/// Reads in one file after the other, as a consumer.
pub(crate) fn read(cast: &Cast) {
    let mut dice = cast.dice();
    loop {
        let (visit, place) = Visit::begin(cast);
        let options = ConsumerOptions::new().start(Start::Earliest);
        let Ok(mut consumer) = options.attach::<[u8]>(&place) else {
            // The file has gone, or a process is stopped while it holds the table's lock.
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let consumer: &mut Consumer = &mut consumer;
        let first = consumer.position();
        let is_closed = follow(&visit, &mut dice, first, |way| {
            let message = match way {
                Way::Tries => consumer.try_recv(),
                Way::Moments => consumer.recv_timeout(MOMENT),
                Way::Waits => consumer.recv_timeout(LONG),
            }?;
            Ok((message.position(), message.kind(), message.to_vec()))
        });
        if is_closed {
            return;
        }
    }
}

/// Reads in one file after the other, as an observer.
pub(crate) fn observe(cast: &Cast) {
    let mut dice = cast.dice();
    loop {
        let (visit, place) = Visit::begin(cast);
        let attached = ObserverOptions::new().start(Start::Earliest).attach::<[u8]>(&place);
        let Ok(mut observer) = attached else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let observer: &mut Observer = &mut observer;
        let first = observer.position();
        let is_closed = follow(&visit, &mut dice, first, |way| {
            let message = match way {
                Way::Tries => observer.try_recv(),
                Way::Moments => observer.recv_timeout(MOMENT),
                Way::Waits => observer.recv_timeout(LONG),
            }?;
            Ok((message.position(), message.kind(), message.to_vec()))
        });
        if is_closed {
            return;
        }
    }
}

/// Reads to the end of the file, or of the stream: true if it was closed.
fn follow(
    visit: &Visit<'_>,
    dice: &mut Dice,
    first: u64,
    mut receive: impl FnMut(Way) -> Result<(u64, u32, Vec<u8>), RecvError>,
) -> bool {
    let (cast, way, mut next) = (visit.cast, dice.pick(&WAYS), first);
    visit.arrived();
    loop {
        let published = cast.board.published_in(visit.file).load(SeqCst);
        match receive(way) {
            Ok((position, kind, bytes)) => {
                if position != next {
                    let wrong = if position > next { Wrong::Lost } else { Wrong::Doubled };
                    cast.fail(wrong, format_args!("got position {position} instead of {next}"));
                }
                visit.check(position, kind, &bytes);
                next += 1;
                cast.count(Entry::Messages, 1);
            }
            Err(RecvError::Empty) => std::thread::sleep(Duration::from_micros(dice.roll(2000))),
            Err(RecvError::TimedOut(_)) => {}
            Err(RecvError::Lagged { missed }) => next += missed,
            Err(RecvError::Closed) => return true,
            Err(RecvError::Handle(error)) => {
                visit.judge(&error);
                // Messages that were published while the file was whole are read first.
                if error.error == HandleError::Replaced
                    && next < published
                    && visit.deed() != Some(Deed::CutShort)
                {
                    let what = format!("file {}: {published} were published, read to {next}", visit.file);
                    cast.fail(Wrong::Lost, what);
                }
                return false;
            }
            Err(error) => {
                // A file that was cut short is full of zeros.
                if visit.deed() != Some(Deed::CutShort) {
                    visit.wrong("reading", error);
                }
                return false;
            }
        }
    }
}

/// Works in one file after the other.
pub(crate) fn work(cast: &Cast) {
    let mut dice = cast.dice();
    loop {
        let (visit, place) = Visit::begin(cast);
        let Ok(worker) = Worker::<[u8]>::join(&place, GROUP) else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        visit.arrived();
        if work_off(&visit, &worker, &mut dice) {
            return;
        }
    }
}

/// Works to the end of the file, or of the stream: true if it was closed.
fn work_off(visit: &Visit<'_>, worker: &Worker, dice: &mut Dice) -> bool {
    let (cast, way) = (visit.cast, dice.pick(&WAYS));
    loop {
        let received = match way {
            Way::Tries => worker.try_recv(),
            Way::Moments => worker.recv_timeout(MOMENT),
            Way::Waits => worker.recv_timeout(LONG),
        };
        let delivery = match received {
            Ok(delivery) => delivery,
            Err(RecvError::Empty) => {
                std::thread::sleep(Duration::from_micros(dice.roll(2000)));
                continue;
            }
            Err(RecvError::TimedOut(_)) => continue,
            Err(RecvError::Closed) => return true,
            Err(RecvError::Handle(error)) => {
                visit.judge(&error);
                return false;
            }
            Err(_) if visit.deed() == Some(Deed::CutShort) => return false,
            Err(error) => visit.wrong("working", error),
        };
        let position = delivery.position();
        visit.check(position, delivery.kind(), &delivery);
        cast.count(Entry::Messages, 1);
        // Given up at times: the dead-letter ring's file may have gone as well, or be another
        // ring's.
        if dice.hits(200) {
            let _ = delivery.reject("as the dice would have it");
            continue;
        }
        let settled = delivery.ack().is_ok();
        let is_whole = visit.deed() != Some(Deed::CutShort);
        if settled && !cast.board.acknowledges(visit.file, position - first_of(visit.file)) && is_whole {
            cast.fail(Wrong::Doubled, format_args!("position {position} was acknowledged by two"));
        }
    }
}
