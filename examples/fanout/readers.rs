//! The processes that read: consumers, an observer, and the echo of the latency measurement.

use crate::common::Failure;
use crate::place::Place;
use crate::process;
use crate::tally::{Record, Tally};
use slipring::{Batch, ConsumerOptions, ObserverOptions, Producer, RecvError, Start};
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

/// Messages taken, and released, at once.
const BATCH: usize = 4096;
/// Messages counted between two records: what a kill costs in work done again.
const RECORD_EVERY: u64 = 256;

/// Every consumer is durable: declared with the ring, found again by name.
pub(crate) const CONSUMERS: [&str; 3] = ["alpha", "beta", "gamma"];
pub(crate) const OBSERVER: &str = "observer";
pub(crate) const ECHO: &str = "echo";

/// Where the reader of this name keeps its account.
pub(crate) fn record_path(place: &Place, reader: &str) -> PathBuf {
    place.file(&format!("{reader}.record"))
}

/// Where the observer writes which positions it saw.
pub(crate) fn runs_path(place: &Place) -> PathBuf {
    place.file("observer.runs")
}

/// Plays the role that the arguments after [`ROLE`](process::ROLE) describe.
pub(crate) fn play(arguments: impl Iterator<Item = std::ffi::OsString>) -> Result<(), Failure> {
    let (role, place) = process::role_and_place(arguments)?;
    let result = match role.as_str() {
        OBSERVER => observe(&place),
        ECHO => echo(&place),
        name => consume(name, &place),
    };
    result.map_err(|failure| {
        if let Some(RecvError::ProducerAway { .. }) = failure.downcast_ref() {
            // The publisher was killed and could not close the stream. All messages that it
            // published were received.
            place.remove();
        }
        format!("{role} ends: {failure}").into()
    })
}

/// Counts every message exactly once, although it may be killed at any instruction and started
/// again.
///
/// The ring alone gives "at least once": a consumer that is killed after it has worked on a message
/// and before it has released it is given the message again. So the effect of the work, here a
/// count and a checksum, is recorded together with the position it speaks for, *before* the
/// messages are released:
///
/// 1. work on messages up to position `p`,
/// 2. record "`p`, and the result of everything before it", in one write,
/// 3. release the messages.
///
/// A kill before 2 leaves the old record: the work is done again, from the old result. A kill
/// between 2 and 3 leaves messages in the ring that the record has already counted: the successor
/// sees their positions below the recorded one and skips them. In the other order, a kill in
/// between would lose them.
fn consume(name: &str, place: &Place) -> Result<(), Failure> {
    let record = Record::open(&record_path(place, name))?;
    let mut tally = record.load()?;
    let mut consumer = ConsumerOptions::new()
        .name(name)
        .durable(true)
        .notice_producer_away(true)
        .attach::<[u8]>(place.file("stream"))?;
    tally.resumed_at = consumer.position();
    let recorded = tally.next;
    loop {
        let batch = match consumer.recv_batch(BATCH) {
            Ok(batch) => batch,
            Err(RecvError::Closed) => break,
            Err(error) => return Err(error.into()),
        };
        if let Err(error) = work(&batch, recorded, &mut tally, &record) {
            // Dropping a batch releases its messages; unrecorded, they must come again.
            batch.keep();
            return Err(error.into());
        }
        drop(batch);
    }
    tally.finished = 1;
    Ok(record.store(&mut tally)?)
}

/// Steps 1 and 2 for a batch.
fn work(batch: &Batch<'_>, recorded: u64, tally: &mut Tally, record: &Record) -> io::Result<()> {
    for message in batch {
        let position = message.position();
        if position < recorded {
            tally.again += 1;
            continue;
        }
        tally.count(position, message.kind(), &message, 0);
        if tally.received % RECORD_EVERY == 0 {
            record.store(tally)?;
        }
    }
    record.store(tally)
}

/// Reads what it can, from a mapping that it cannot write. Says at the end which positions it saw.
fn observe(place: &Place) -> Result<(), Failure> {
    let mut observer = ObserverOptions::new()
        .start(Start::Earliest)
        .notice_producer_away(true)
        .attach::<[u8]>(place.file("stream"))?;
    let mut tally = Tally { resumed_at: observer.position(), ..Tally::default() };
    // The file's appearance tells the parent: attached.
    let record = Record::open(&record_path(place, OBSERVER))?;
    let mut runs: Vec<std::ops::Range<u64>> = Vec::new();
    let mut missed = 0;
    loop {
        let message = match observer.recv() {
            Ok(message) => message,
            Err(RecvError::Lagged { missed: more }) => {
                missed += more;
                continue;
            }
            Err(RecvError::Closed) => break,
            Err(error) => return Err(error.into()),
        };
        let position = message.position();
        tally.count(position, message.kind(), &message, std::mem::take(&mut missed));
        match runs.last_mut() {
            Some(run) if run.end == position => run.end += 1,
            _ => runs.push(position..position + 1),
        }
    }
    record.store(&mut tally)?; // the time of the last message
    let mut text = String::new();
    for run in runs {
        writeln!(text, "{} {}", run.start, run.end)?;
    }
    std::fs::write(runs_path(place), text)?;
    tally.finished = 1;
    Ok(record.store(&mut tally)?)
}

/// Sends every ping back as a pong.
fn echo(place: &Place) -> Result<(), Failure> {
    let mut pong = Producer::<[u8]>::open(place.file("pong"))?;
    let mut ping = ConsumerOptions::new()
        .name(ECHO)
        .durable(true)
        .notice_producer_away(true)
        .attach::<[u8]>(place.file("ping"))?;
    loop {
        match ping.recv() {
            Ok(message) => pong.send(&*message)?,
            Err(RecvError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
    }
}
