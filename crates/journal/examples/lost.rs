//! Orders, a journal, and two readers; then every process and the ring are gone at once. The ring
//! is made anew from the journal, everything goes on, and each order was confirmed exactly once.
//!
//! ```sh
//! cargo run --release -p slipring-journal --example lost            # [DIRECTORY]
//! ```
//!
//! The process starts itself again as the one that is killed. The confirmations stand for a
//! service elsewhere: a file to which nothing is added twice under one message id.

use slipring::{
    ConsumerOptions, GroupSettings, MessageId, Producer, RecvError, Ring, RingOptions, Storage, Worker,
    WorkerOptions,
};
use slipring_journal::{Ended, Journal, JournalOptions, NAME, restore};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Orders altogether; the machine "fails" while they are recorded.
const ORDERS: u64 = 20_000;
/// The reader that acts on an order once it is in the journal.
const CONFIRMS: &str = "confirms";
/// Workers that act at once, whether or not the order is in the journal.
const WORKERS: &str = "points";
const PATIENCE: Duration = Duration::from_secs(60);

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

struct Place(PathBuf);

impl Place {
    fn ring(&self) -> PathBuf {
        self.0.join("orders")
    }
    fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }
    /// The service elsewhere, which outlives this machine.
    fn service(&self) -> PathBuf {
        self.0.join("confirmed")
    }
}

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("work"), Some(directory)) => work(&Place(directory.into())).map(drop),
        (directory, None) => show(directory),
        _ => Err("usage: lost [DIRECTORY]".into()),
    }
}

fn show(directory: Option<&str>) -> Outcome {
    let parent = directory.map_or_else(std::env::temp_dir, PathBuf::from);
    let place = Place(parent.join(format!("slipring-lost-{}", std::process::id())));
    std::fs::create_dir(&place.0)?;
    let result = stage(&place);
    std::fs::remove_dir_all(&place.0)?;
    result
}

fn stage(place: &Place) -> Outcome {
    let ring = RingOptions::new(48, 1024)
        .durable(NAME)
        .durable(CONFIRMS)
        .comes_after(CONFIRMS, [NAME])
        .group(WORKERS, GroupSettings::new())
        .create(place.ring())?;
    let lost = ring.id();
    println!("{} records orders; {CONFIRMS:?} comes after the journal, {WORKERS:?} does not", lost);

    // Everything runs in a process of its own, which is killed in the middle.
    let mut machine = Command::new(std::env::current_exe()?).arg("work").arg(&place.0).spawn()?;
    let start = Instant::now();
    while ring.head() < ORDERS / 2 {
        if let Some(status) = machine.try_wait()? {
            return Err(format!("it ended by itself: {status}").into());
        }
        if start.elapsed() > PATIENCE {
            machine.kill()?;
            return Err("half of the orders took too long".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    machine.kill()?;
    machine.wait()?;
    let recorded = ring.head();
    std::fs::remove_file(place.ring())?;
    std::fs::remove_file(place.ring().with_extension("dead"))?;
    println!("every process is gone, and so is the ring: it had {recorded} orders");

    let restored = restore(place.journal(), None, place.ring())?;
    let watermark = restored.watermark;
    println!("restored as {}: {watermark} orders are on the disk", restored.ring.id());
    for member in &restored.members {
        println!(
            "  {:?} goes on at {}: {} again, {} that it has seen are undone",
            member.name,
            member.begins_at,
            member.again(watermark),
            member.undone(watermark)
        );
    }

    // Orders that are not on the disk count as not received: they are recorded again.
    let ring = work(place)?;
    let confirmed = confirmations(&place.service())?;
    let identities: BTreeSet<MessageId> = confirmed.keys().copied().collect();
    let of_lost = identities.iter().filter(|id| id.ring == lost).count();
    let orders: BTreeSet<u64> = confirmed.values().copied().collect();
    println!("{} confirmations, {of_lost} of them for orders of the lost ring", identities.len());
    let wanted: BTreeSet<u64> = (0..ORDERS).collect();
    if orders != wanted || confirmed.len() as u64 != ORDERS || ring.head() != ORDERS {
        return Err("an order was not confirmed, or confirmed twice; that is a bug, please report it".into());
    }
    println!("each of {ORDERS} orders was confirmed exactly once");
    Ok(())
}

/// A producer, a journal, a reader and a worker, until everything is confirmed, or the process
/// dies.
fn work(place: &Place) -> Outcome<Ring> {
    let ring = Ring::open(place.ring())?;
    let options = JournalOptions::new().segment_bytes(1 << 20).until_closed(true);
    // Some machines have their temporary directory in memory.
    let memory = Storage::of(&place.0)?.is_memory;
    let journal = options.allow_memory(memory).attach(&ring, place.journal())?;
    let producer = Producer::<[u8]>::open(&ring)?;
    std::thread::scope(|scope| {
        let threads = [
            scope.spawn(|| told(record(producer))),
            scope.spawn(|| told(keep(journal))),
            scope.spawn(|| told(points(&ring))),
            scope.spawn(|| told(confirm(&ring, &place.service()))),
        ];
        let ended: Result<Vec<()>, String> = threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a thread panicked".to_owned())?)
            .collect();
        ended.map_err(Into::into).map(|_| ())
    })
    .map(|()| ring)
}

fn told(outcome: Outcome) -> Result<(), String> {
    outcome.map_err(|error| error.to_string())
}

/// The number of an order is its position: what was lost is recorded again.
fn record(mut producer: Producer) -> Outcome {
    while producer.head() < ORDERS {
        let order = producer.head().to_le_bytes();
        producer.send(&order)?;
    }
    Ok(producer.close()?)
}

fn keep(journal: Journal) -> Outcome {
    match journal.run()? {
        Ended::Closed => Ok(()),
        ended => Err(format!("the journal ended: {ended:?}").into()),
    }
}

fn points(ring: &Ring) -> Outcome {
    let worker: Worker = WorkerOptions::new(WORKERS).join(ring)?;
    loop {
        match worker.recv() {
            Ok(delivery) => delivery.ack()?,
            Err(RecvError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Confirms each order that is in the journal. A message that comes again is confirmed already: the
/// service knows its id, which the restored ring has kept.
fn confirm(ring: &Ring, service: &Path) -> Outcome {
    let mut consumer = ConsumerOptions::new().name(CONFIRMS).durable(true).attach::<[u8]>(ring)?;
    let mut known = confirmations(service)?;
    let mut file = OpenOptions::new().append(true).open(service)?;
    let mut ahead = consumer.read_ahead();
    loop {
        let batch = match ahead.recv_batch(256) {
            Ok(batch) => batch,
            Err(RecvError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut lines = String::new();
        for message in &batch {
            let (id, order) =
                (ring.message_id(message.position()), u64::from_le_bytes((*message).try_into()?));
            if known.insert(id, order).is_none() {
                lines += &format!("{id} {order}\n");
            }
        }
        file.write_all(lines.as_bytes())?;
        let done = batch.positions().end;
        ahead.release_to(done);
    }
}

/// The service's book: order by message id. It forgets a line that a kill cut short, since it never
/// answered for it.
fn confirmations(service: &Path) -> Outcome<BTreeMap<MessageId, u64>> {
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(service)?;
    let text = std::io::read_to_string(&file)?;
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    file.set_len(whole as u64)?;
    let mut confirmed = BTreeMap::new();
    for line in text[..whole].lines() {
        let (id, order) = line.split_once(' ').ok_or("the book is damaged")?;
        if confirmed.insert(id.parse()?, order.parse()?).is_some() {
            return Err(format!("{id} was confirmed twice").into());
        }
    }
    Ok(confirmed)
}
