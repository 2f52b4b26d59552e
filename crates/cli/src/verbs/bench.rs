//! `bench`: the speed of this machine, in a few seconds.

use crate::duet::{self, Stage};
use crate::exit::{Failure, Outcome};
use crate::output::{self, Table};
use crate::parse;
use crate::progress;
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use slipring::{Consumer, Producer, RingOptions, Wait};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Measures round trips and streams between two processes, beside what two bare cores can do
///
/// Makes rings of its own below DIR and removes them. The floor is a ping-pong of two threads over
/// one cache line each way, in the same run: on a machine that is shared or not quiet, only ratios
/// mean anything.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  slipring bench
  slipring bench --size 1Ki --dir /var/lib/rings --json")]
pub(crate) struct Bench {
    /// Where the rings are made
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    dir: PathBuf,
    /// Bytes of a message
    #[arg(short, long, value_name = "BYTES", default_value = "48", value_parser = parse::size)]
    size: usize,
    /// How long each of the four measurements takes
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse::duration)]
    time: Duration,
    /// One object
    #[arg(long)]
    json: bool,
    /// The other side
    #[arg(long, value_name = "DIR", hide = true)]
    partner: Option<PathBuf>,
}

/// Blocks of a ring.
const CAPACITY: usize = 1024;
/// Messages of a batch.
const BATCH: usize = 32;
/// The far side's treatment of a message.
const ECHO: u32 = 0;
const SWALLOW: u32 = 1;
/// From now on it takes as many as there are.
const IN_BATCHES: u32 = 2;
const END: u32 = 3;

pub(crate) fn run(args: &Bench) -> Outcome {
    if let Some(dir) = &args.partner {
        return partner(dir);
    }
    if args.time.is_zero() || args.size == 0 {
        return Err(Failure::usage("--time and --size must be more than nothing"));
    }
    let bar = progress::steps(4);
    bar.set_message("bare ping-pong");
    let floor = floor(args.time)?;
    let stage = Stage::new(&args.dir)?;
    let options = RingOptions::new(args.size, CAPACITY);
    let (there, back) = (stage.ring("there", &options)?, stage.ring("back", &options)?);
    let partner = stage.partner(&["bench", "--partner"])?;
    duet::pin(0);
    let mut near = Near {
        answers: duet::consumer(&back, Wait::Spin)?,
        producer: duet::producer(&there, Wait::Spin)?,
        message: vec![0x55; args.size],
        time: args.time,
    };
    let next = |what: &'static str| {
        bar.inc(1);
        bar.set_message(what);
    };
    next("round trips");
    let trips = near.round_trips(&bar)?;
    next("a stream, one at a time");
    let singly = near.stream(false)?;
    next("a stream, in batches");
    near.producer.send((IN_BATCHES, &[]))?;
    let batches = near.stream(true)?;
    near.producer.send((END, &[]))?;
    partner.report()?;
    bar.finish_and_clear();
    match args.json {
        true => output::print_json(&json!({
            "size": args.size,
            "floor_round_trip_ns": distribution(&floor),
            "round_trip_ns": distribution(&trips),
            "stream_ns": singly,
            "stream_in_batches_ns": batches,
        })),
        false => output::print(&text(args.size, &floor, &trips, singly, batches)),
    }
}

/// The near side: sends, and times.
struct Near {
    answers: Consumer,
    producer: Producer,
    message: Vec<u8>,
    time: Duration,
}

impl Near {
    fn round_trips(&mut self, _bar: &ProgressBar) -> Result<Histogram<u64>, Failure> {
        let mut histogram = duet::histogram();
        let (from, mut last) = (Instant::now(), Instant::now());
        while last - from < self.time {
            duet::go_on()?;
            for _ in 0..1000 {
                self.producer.send((ECHO, &self.message))?;
                drop(self.answers.recv()?);
                let now = Instant::now();
                record(&mut histogram, now - last);
                last = now;
            }
        }
        Ok(histogram)
    }

    /// Nanoseconds per message, from the first sent to the last taken.
    fn stream(&mut self, in_batches: bool) -> Result<f64, Failure> {
        let (from, mut count) = (Instant::now(), 0_u32);
        while from.elapsed() < self.time {
            duet::go_on()?;
            for _ in 0..BATCH {
                if in_batches {
                    let mut batch = self.producer.claim_batch(BATCH)?;
                    while batch.push((SWALLOW, &self.message))? {}
                    count += u32::try_from(batch.len()).unwrap_or(0);
                    batch.publish()?;
                } else {
                    self.producer.send((SWALLOW, &self.message))?;
                    count += 1;
                }
            }
        }
        // The answer to one more says that all of them were taken.
        self.producer.send((ECHO, &self.message))?;
        drop(self.answers.recv()?);
        Ok(from.elapsed().as_nanos() as f64 / f64::from(count + 1))
    }
}

/// The far side.
fn partner(dir: &Path) -> Outcome {
    duet::pin(1);
    let mut consumer = duet::consumer(&dir.join("there"), Wait::Spin)?;
    let mut answers = duet::producer(&dir.join("back"), Wait::Spin)?;
    let mut most = 1;
    loop {
        let batch = consumer.recv_batch(most)?;
        for message in &batch {
            match message.kind() {
                ECHO => drop(answers.send(&*message)?),
                IN_BATCHES => most = 2 * BATCH,
                END => return Ok(()),
                _ => {}
            }
        }
    }
}

/// A cache line, and the one beside it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// Round trips of two threads, over a word each way.
fn floor(time: Duration) -> Result<Histogram<u64>, Failure> {
    let words = Arc::new([Line::default(), Line::default()]);
    let over = Arc::new(AtomicBool::new(false));
    let far = {
        let (words, over) = (Arc::clone(&words), Arc::clone(&over));
        std::thread::spawn(move || {
            duet::pin(1);
            let mut seen = 0;
            while !over.load(Ordering::Relaxed) {
                let word = words[0].0.load(Ordering::Acquire);
                if word != seen {
                    seen = word;
                    words[1].0.store(word, Ordering::Release);
                }
                std::hint::spin_loop();
            }
        })
    };
    let near = std::thread::spawn(move || {
        duet::pin(0);
        let mut histogram = duet::histogram();
        let (from, mut last, mut number) = (Instant::now(), Instant::now(), 0);
        while last - from < time && duet::go_on().is_ok() {
            for _ in 0..1000 {
                number += 1;
                words[0].0.store(number, Ordering::Release);
                while words[1].0.load(Ordering::Acquire) != number {
                    std::hint::spin_loop();
                }
                let now = Instant::now();
                record(&mut histogram, now - last);
                last = now;
            }
        }
        over.store(true, Ordering::Relaxed);
        histogram
    });
    let histogram = near.join().map_err(|_| Failure::error("the floor could not be measured"))?;
    drop(far.join());
    duet::go_on()?;
    Ok(histogram)
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
}

/// The shares that are told.
const SHARES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)];

pub(crate) fn distribution(histogram: &Histogram<u64>) -> Value {
    let mut value = json!({ "count": histogram.len(), "min": histogram.min() });
    for (name, share) in SHARES {
        value[name] = Value::from(histogram.value_at_quantile(share));
    }
    value["max"] = Value::from(histogram.max());
    value
}

fn text(size: usize, floor: &Histogram<u64>, trips: &Histogram<u64>, singly: f64, batches: f64) -> String {
    let mut table = Table::new(&["ROUND TRIP", "P50", "P90", "P99", "P99.9", "MAX"]);
    for (name, histogram) in [("bare cache lines", floor), ("slipring", trips)] {
        let shares = SHARES.map(|(_, share)| format!("{} ns", histogram.value_at_quantile(share)));
        let cells = std::iter::once(name.to_owned()).chain(shares);
        table.row(cells.chain([format!("{} ns", histogram.max())]));
    }
    let ratio = trips.value_at_quantile(0.5) as f64 / floor.value_at_quantile(0.5).max(1) as f64;
    let stream =
        |name: &str, ns: f64| format!("{name:<26}{ns:>8.1} ns  {:>8.2} million per second\n", 1000.0 / ns);
    format!(
        "messages of {size} bytes, two processes, a core each\n\n{}{:<20}{ratio:.2}x\n\n{}{}",
        table.render(),
        "slipring/bare, p50",
        stream("stream, one at a time", singly),
        stream("stream, in batches of 32", batches),
    )
}
