//! `latency`: how long a message takes, under a load that one chooses.

use crate::duet::{self, Stage};
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::parse;
use crate::progress;
use clap::ValueEnum;
use hdrhistogram::Histogram;
use serde_json::json;
use slipring::{RecvError, Ring, RingOptions, Wait};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Measures how long messages take from one process to another, through a ring like the one at PATH
///
/// Nothing is sent through the ring at PATH: its readers would take it for messages. A ring of the
/// same geometry is made beside it, on the same filesystem, and removed. With a directory, its
/// blocks have 48 bytes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  slipring latency /dev/shm/orders
  slipring latency /dev/shm/orders --rate 100                 # wakes a sleeping reader each time
  slipring latency /dev/shm --rate 1000000 --wait spin --json")]
pub(crate) struct Latency {
    /// A ring, or a directory
    path: PathBuf,
    /// Messages per second; each is sent when it is due, and its time counts from then
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// How long
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse::duration)]
    time: Duration,
    /// How the reader waits
    #[arg(long, value_name = "HOW", default_value = "park")]
    wait: How,
    /// One object
    #[arg(long)]
    json: bool,
    /// The other side
    #[arg(long, value_name = "DIR", hide = true)]
    partner: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
    /// Looks again at once, for ever
    Spin,
    /// Looks again after ever longer pauses
    Backoff,
    /// Sleeps until it is woken, the library's default
    Park,
}

impl How {
    fn wait(self) -> Wait {
        match self {
            How::Spin => Wait::Spin,
            How::Backoff => Wait::Backoff,
            How::Park => Wait::Park,
        }
    }
    fn describe(self) -> &'static str {
        match self {
            How::Spin => "the reader spins",
            How::Backoff => "the reader backs off",
            How::Park => "the reader sleeps until it is woken",
        }
    }
    fn name(self) -> &'static str {
        match self {
            How::Spin => "spin",
            How::Backoff => "backoff",
            How::Park => "park",
        }
    }
}

const STAMP: usize = size_of::<u64>();

pub(crate) fn run(args: &Latency) -> Outcome {
    if let Some(dir) = &args.partner {
        return partner(dir, args.wait);
    }
    let (dir, block_size, capacity) = if args.path.is_dir() {
        (args.path.clone(), 48, 1024)
    } else {
        let ring = Ring::open(&args.path)?;
        let parent = args.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let capacity = usize::try_from(ring.capacity()).unwrap_or(usize::MAX);
        (parent.unwrap_or(Path::new(".")).to_path_buf(), ring.block_size(), capacity)
    };
    if block_size < STAMP {
        return Err(Failure::usage("blocks of fewer than 8 bytes have no room for a time"));
    }
    let stage = Stage::new(&dir)?;
    let path = stage.ring("there", &RingOptions::new(block_size, capacity))?;
    let partner = stage.partner(&["latency", "--wait", args.wait.name(), ".", "--partner"])?;
    duet::pin(0);
    send(&path, args, block_size)?;
    let report = partner.report()?;
    let histogram = parse_report(&report).ok_or_else(|| Failure::error("the other process said nothing"))?;
    match args.json {
        true => {
            let latency = super::bench::distribution(&histogram);
            output::print_json(&json!({ "rate": args.rate, "wait": args.wait.name(), "latency_ns": latency }))
        }
        false => output::print(&text(&histogram, args, block_size)),
    }
}

/// Sends a message whenever one is due, with the time at which it was.
fn send(path: &Path, args: &Latency, block_size: usize) -> Outcome {
    let mut producer = duet::producer(path, Wait::Spin)?;
    let mut message = vec![0; block_size];
    let period = 1_000_000_000 / u64::from(args.rate);
    let bar = progress::steps(args.time.as_secs().max(1));
    // Messages that were sent before the reader attached do not count.
    producer.send(&[])?;
    let start = duet::now();
    let end = start.saturating_add(u64::try_from(args.time.as_nanos()).unwrap_or(u64::MAX));
    let mut due = start;
    while due < end {
        duet::go_on()?;
        while duet::now() < due {
            // A signal that comes in a long pause is seen at the next message, or here.
            if due - duet::now().min(due) > 50_000_000 {
                duet::go_on()?;
                crate::signals::sleep(Duration::from_millis(10));
            }
            std::hint::spin_loop();
        }
        message[..STAMP].copy_from_slice(&due.to_ne_bytes());
        producer.send(&message)?;
        due += period;
        bar.set_position((due - start) / 1_000_000_000);
    }
    bar.finish_and_clear();
    producer.close()?;
    Ok(())
}

/// The far side: takes them, and in the end prints how long they took.
fn partner(dir: &Path, how: How) -> Outcome {
    duet::pin(1);
    let mut consumer = duet::consumer(&dir.join("there"), how.wait())?;
    let mut histogram = duet::histogram();
    loop {
        match consumer.recv() {
            Ok(message) => {
                let now = duet::now();
                if let Some(stamp) = message.first_chunk() {
                    let sent = u64::from_ne_bytes(*stamp);
                    histogram.saturating_record(now.saturating_sub(sent).max(1));
                }
            }
            Err(RecvError::Closed) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let mut report = String::new();
    for step in histogram.iter_recorded() {
        let _ = writeln!(report, "{} {}", step.value_iterated_to(), step.count_at_value());
    }
    output::print(&report)
}

fn parse_report(report: &str) -> Option<Histogram<u64>> {
    let mut histogram = duet::histogram();
    for line in report.lines() {
        let (value, count) = line.split_once(' ')?;
        histogram.saturating_record_n(value.parse().ok()?, count.parse().ok()?);
    }
    (!histogram.is_empty()).then_some(histogram)
}

fn text(histogram: &Histogram<u64>, args: &Latency, block_size: usize) -> String {
    const WIDTH: u64 = 50;
    let mut text = format!(
        "{} messages of {block_size} bytes, {} per second, {}\n\n",
        histogram.len(),
        args.rate,
        args.wait.describe(),
    );
    // Each line is twice as long a time as the one before.
    let steps: Vec<(u64, u64)> = histogram
        .iter_log(64, 2.0)
        .map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
        .skip_while(|(_, count)| *count == 0)
        .collect();
    let most = steps.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    for (until, count) in steps {
        let bar = "#".repeat(usize::try_from((count * WIDTH).div_ceil(most)).unwrap_or(0));
        let _ = writeln!(text, "up to {:>10} {count:>9}  {bar}", time(until + 1));
    }
    text.push('\n');
    for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)] {
        let _ = writeln!(text, "{name:<7}{:>10}", time(histogram.value_at_quantile(share)));
    }
    let _ = writeln!(text, "{:<7}{:>10}", "max", time(histogram.max()));
    text
}

fn time(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        _ => format!("{:.1} ms", ns as f64 / 1e6),
    }
}
