//! A process with a producer, a journal and readers, and three threads that note what the ring says
//! is on the disk.

use crate::message::{kind, message};
use crate::verdict::Ledger;
use kit::Dice;
use slipring::{ConsumerOptions, Producer, RecvError, Ring, Worker, WorkerOptions};
use slipring_journal::{Journal, NAME};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Waiters, each with a word of its own in the notes.
const WAITERS: u64 = 3;
/// Small, so that a journal begins new segments often.
pub(crate) const SEGMENT: u64 = 512 << 10;
const PATIENCE: Duration = Duration::from_secs(30);

/// The process.
#[derive(Debug)]
pub(crate) struct Load {
    child: Child,
    notes: PathBuf,
}

impl Load {
    pub(crate) fn start(ledger: &Ledger, memory: &Path, early: bool) -> Result<Load, String> {
        let notes = memory.join("notes");
        let failed = |error| format!("the load: {error}");
        if !notes.exists() {
            File::create(&notes).and_then(|file| file.set_len(8 * WAITERS)).map_err(failed)?;
        }
        let child = Command::new(std::env::current_exe().map_err(failed)?)
            .arg("load")
            .args([ledger.path(), ledger.directory(), &notes])
            .args([ledger.number().to_string(), early.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .map_err(failed)?;
        Ok(Load { child, notes })
    }

    /// The highest position below which all was said to be on the disk.
    pub(crate) fn noted(&self) -> u64 {
        let bytes = std::fs::read(&self.notes).unwrap_or_default();
        let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
        words.max().unwrap_or(0)
    }

    /// Waits until more is noted than this.
    pub(crate) fn until_noted(&mut self, before: u64) -> Result<(), String> {
        let start = Instant::now();
        while self.noted() <= before {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("the load ended by itself: {status}"));
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("nothing was durable for {PATIENCE:?}"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// SIGKILL.
    pub(crate) fn end(mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The process itself. It ends by being killed.
pub(crate) fn play(arguments: &[String]) -> ExitCode {
    let [path, directory, notes, number, early] = arguments else { return ExitCode::from(2) };
    let (number, early): (u64, bool) = match (number.parse(), early.parse()) {
        (Ok(number), Ok(early)) => (number, early),
        _ => return ExitCode::from(2),
    };
    let path = Path::new(path);
    std::thread::scope(|scope| {
        scope.spawn(|| journal(path, Path::new(directory)));
        scope.spawn(|| produce(path, number));
        scope.spawn(|| read(path));
        scope.spawn(|| work(path));
        for waiter in 0..WAITERS {
            scope.spawn(move || note(path, Path::new(notes), waiter, early));
        }
    });
    ExitCode::FAILURE
}

/// A disk without power ends the journal; the process then waits for its end.
fn journal(path: &Path, directory: &Path) {
    let attached = Journal::options().segment_bytes(SEGMENT).attach(path, directory);
    let ended = attached.map(Journal::run);
    if std::env::var_os("POWER_CUT_VERBOSE").is_some() {
        eprintln!("the journal: {ended:?}");
    }
}

fn produce(path: &Path, number: u64) {
    let mut producer = Producer::<[u8]>::open(path).expect("the ring has no other producer");
    let mut dice = Dice::new(producer.head());
    loop {
        for _ in 0..dice.roll(400) {
            let position = producer.head();
            producer.send((kind(position), &message(position, number))).expect("the ring is there");
        }
        std::thread::sleep(Duration::from_micros(dice.roll(3000)));
    }
}

/// A durable consumer, which does not wait for the disk.
fn read(path: &Path) {
    let options = ConsumerOptions::new().name("audit").durable(true);
    let mut consumer = options.attach::<[u8]>(path).expect("it was declared");
    loop {
        match consumer.recv() {
            Ok(message) => drop(message),
            Err(RecvError::Closed) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

fn work(path: &Path) {
    let worker: Worker = WorkerOptions::new("sms").join(path).expect("it was declared");
    while let Ok(delivery) = worker.recv() {
        delivery.ack().expect("no lease is so short");
    }
}

/// Writes down what the ring says is on the disk.
fn note(path: &Path, notes: &Path, waiter: u64, early: bool) {
    let ring = Ring::open(path).expect("the ring is there");
    let notes = File::options().write(true).open(notes).expect("the notes are there");
    loop {
        let journal = ring.consumers().into_iter().find(|consumer| consumer.name == NAME);
        let durable = if early { Some(ring.head()) } else { journal.and_then(|journal| journal.tail) };
        if let Some(durable) = durable {
            notes.write_all_at(&durable.to_le_bytes(), 8 * waiter).expect("memory takes it");
        }
        std::thread::yield_now();
    }
}
