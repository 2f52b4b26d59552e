//! `metrics`: rings as Prometheus sees them.

use crate::exit::{Failure, Outcome};
use crate::exporter;
use crate::exposition::{Exposition, Kind};
use crate::facts::{Facts, rings_in, without_dead_letter_rings};
use crate::output;
use crate::parse;
use crate::signals;
use slipring::{ConsumerInfo, GroupInfo};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Prints metrics of rings as Prometheus reads them, once, or serves them, or keeps a file of them
///
/// Reads only: no ring is written or held up. A ring that cannot be opened has slipring_up 0 and no
/// other metric.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  slipring metrics /dev/shm/orders | grep lag
  slipring metrics --listen 127.0.0.1:9469 /dev/shm
  slipring metrics --textfile /var/lib/node_exporter/slipring.prom --every 15s /dev/shm/orders")]
pub(crate) struct Metrics {
    /// Rings, or directories with rings, which are looked at anew each time
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Serves them over HTTP, at any path, until it is interrupted; says the address, also if the
    /// port was 0
    #[arg(long, value_name = "ADDRESS", conflicts_with = "textfile")]
    listen: Option<String>,
    /// Writes them to this file, which is whole at any time, for node_exporter's textfile collector
    #[arg(long, value_name = "FILE")]
    textfile: Option<PathBuf>,
    /// Writes the file again after so long, until it is interrupted
    #[arg(long, value_name = "TIME", value_parser = parse::duration, requires = "textfile")]
    every: Option<Duration>,
}

pub(crate) fn run(args: &Metrics) -> Outcome {
    if args.every.is_some_and(|every| every.is_zero()) {
        return Err(Failure::usage("--every 0s: there must be some time in between"));
    }
    let counts = Counts::default();
    let look = || text(&args.paths, &counts);
    match (&args.listen, &args.textfile) {
        (Some(address), _) => exporter::serve(address, || look().0),
        (None, Some(file)) => keep(file, args.every, look),
        (None, None) => {
            let (text, absent) = look();
            output::print(&text)?;
            all_opened(&absent)
        }
    }
}

/// The metrics of a file that is no ring are one sample that says so; the exit code says it, too.
fn all_opened(absent: &[String]) -> Outcome {
    match absent {
        [] => Ok(()),
        some => Err(Failure::error(format!("cannot be opened: {}", some.join(" ")))),
    }
}

/// The counts of acknowledged messages at the last look: a counter must not fall, and what is
/// being moved to the dead letters at the moment may be counted there before it is settled here, or
/// after.
#[derive(Debug, Default)]
struct Counts(RefCell<BTreeMap<(String, String, u64), u64>>);

impl Counts {
    fn acknowledged(&self, path: &str, group: &GroupInfo) -> u64 {
        let now = group.num_settled.saturating_sub(group.dead_lettered + group.dropped);
        let key = (path.to_owned(), group.name.clone(), group.created_unix_ms);
        let mut counts = self.0.borrow_mut();
        let last = counts.entry(key).or_default();
        *last = now.max(*last);
        *last
    }
}

/// The rings, each once, those of directories as they are now. A directory that cannot be read
/// stands for itself.
fn rings(places: &[PathBuf]) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let in_place = |place: &PathBuf| match place.is_dir().then(|| rings_in(place)) {
        Some(Ok(rings)) => without_dead_letter_rings(rings),
        _ => vec![place.clone()],
    };
    let all = places.iter().flat_map(in_place);
    all.filter(|path| seen.insert(path.display().to_string())).collect()
}

fn keep(file: &Path, every: Option<Duration>, look: impl Fn() -> (String, Vec<String>)) -> Outcome {
    let cannot = |error| Failure::error(format!("{}: cannot be written: {error}", file.display()));
    let mut next = Instant::now();
    loop {
        let (text, absent) = look();
        replace(file, &text).map_err(cannot)?;
        let Some(every) = every else { return all_opened(&absent) };
        next += every;
        if !signals::sleep_until(next) {
            return Ok(());
        }
    }
}

/// Puts a whole new file in the place of the old one.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let mut name = file.as_os_str().to_owned();
    // Not only its number: in a container that is the same after each restart, and a killed one
    // left its file.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    name.push(format!(".{}.{now}", std::process::id()));
    let new = PathBuf::from(name);
    // A file that exists belongs to another program: it is neither written nor removed.
    let mut out = std::fs::File::create_new(&new)?;
    let placed = out.write_all(text.as_bytes()).and_then(|()| std::fs::rename(&new, file));
    placed.inspect_err(|_| drop(std::fs::remove_file(&new)))
}

/// Sets one metric after another: a line for each.
macro_rules! metrics {
    ($out:expr, $labels:expr; $($name:literal $kind:ident $help:literal = $value:expr;)*) => {
        $($out.sample((concat!("slipring_", $name), Kind::$kind, $help), $labels, $value as f64);)*
    };
}

/// The metrics, and the paths of what cannot be opened.
fn text(places: &[PathBuf], counts: &Counts) -> (String, Vec<String>) {
    let (mut exposition, mut absent) = (Exposition::default(), Vec::new());
    let out = &mut exposition;
    for path in rings(places) {
        let shown = path.display().to_string();
        let facts = Facts::open(&path);
        metrics! { out, &[("ring", &shown)];
            "up" Gauge "Whether the ring can be opened." = u8::from(facts.is_ok());
        }
        match facts {
            Ok(facts) => ring(out, &shown, &facts, counts),
            Err(_) => absent.push(shown),
        }
    }
    (exposition.render(), absent)
}

fn ring(out: &mut Exposition, path: &str, facts: &Facts, counts: &Counts) {
    let ring = &facts.ring;
    metrics! { out, &[("ring", path)];
        "published_messages_total" Counter "Messages published since the ring was created."
            = facts.head.saturating_sub(ring.first_position());
        "capacity_blocks" Gauge "Blocks of the ring." = ring.capacity();
        "used_blocks" Gauge "Blocks that the producer may not overwrite." = facts.used();
        "block_size_bytes" Gauge "Longest message." = ring.block_size();
        "file_size_bytes" Gauge "Bytes of the ring's file." = ring.file_len();
        "consumers" Gauge "Consumers that are attached."
            = facts.consumers.iter().filter(|consumer| consumer.alive).count();
    }
    let producer = ring.producer_info();
    metrics! { out, &[("ring", path)];
        "producer_up" Gauge "Whether a producer is attached."
            = u8::from(producer.as_ref().is_some_and(|producer| producer.alive));
    }
    if let Some(producer) = producer {
        metrics! { out, &[("ring", path)];
            "producers_total" Counter "Producers there have been." = producer.epoch;
            "full_total" Counter "Times the producer found the ring full." = producer.full_count;
            "wakeups_total" Counter "Times the producer woke sleeping readers." = producer.wake_count;
            "evictions_total" Counter "Consumers that were evicted." = producer.evicted_count;
        }
    }
    if let Some(capacity) = ring.dead_letter_capacity() {
        metrics! { out, &[("ring", path)];
            "dead_letter_capacity_blocks" Gauge "Blocks of the dead-letter ring." = capacity;
            "held_by_dead_letters" Gauge
                "Whether the lowest message that the producer may not overwrite was given up and waits for the dead-letter ring."
                = u8::from(facts.gate().is_some_and(|gate| gate.waits_for_dead_letters));
        }
    }
    if let Some(letters) = ring.dead_letter_capacity().and_then(|_| ring.dead_letters().ok()) {
        metrics! { out, &[("ring", path)];
            "dead_letters" Gauge "Messages in the dead-letter ring." = letters.len();
        }
    }
    for (n, entry) in facts.consumers.iter().enumerate() {
        let same = |other: &&ConsumerInfo| other.name == entry.name && other.pid == entry.pid;
        let before = facts.consumers[..n].iter().filter(same).count();
        consumer(out, path, entry, before);
    }
    for entry in &facts.groups {
        group(out, path, entry, facts.head, counts);
    }
}

/// `before` consumers have the same name, or none, and the same process.
fn consumer(out: &mut Exposition, path: &str, consumer: &ConsumerInfo, before: usize) {
    let (pid, number) = (consumer.pid.to_string(), before.to_string());
    // A durable consumer is the same in every process.
    let mut labels = vec![("ring", path), ("consumer", consumer.name.as_str())];
    if consumer.name.is_empty() {
        labels.extend([("pid", pid.as_str()), ("number", number.as_str())]);
    }
    metrics! { out, &labels;
        "consumer_up" Gauge "Whether the consumer is attached." = u8::from(consumer.alive);
        "consumer_lag_messages" Gauge "Messages between the consumer and the head."
            = consumer.lag;
        "consumer_missed_messages_total" Counter "Messages that an evictable consumer was told it missed."
            = consumer.missed;
    }
}

fn group(out: &mut Exposition, path: &str, group: &GroupInfo, head: u64, counts: &Counts) {
    metrics! { out, &[("ring", path), ("group", &group.name)];
        "group_workers" Gauge "Workers that are attached."
            = group.workers.iter().filter(|worker| worker.alive).count();
        "group_floor_lag_messages" Gauge "Messages between the oldest that is not settled and the head."
            = head.saturating_sub(group.ack_floor);
        "group_pending_messages" Gauge "Messages that were not delivered yet." = group.num_pending;
        "group_ack_pending_messages" Gauge "Messages that were delivered and are not settled." = group.num_ack_pending;
        "group_max_ack_pending_messages" Gauge
            "The number of those at which no message is delivered for the first time." = group.settings.max_ack_pending;
        "group_redelivered_pending_messages" Gauge "Messages that were delivered more than once and are not settled."
            = group.num_redelivered;
        "group_dead_pending_messages" Gauge "Messages that wait for room in the dead-letter ring." = group.num_dead_pending;
        "group_acknowledged_messages_total" Counter
            "Messages that workers acknowledged; begins at the position at which the group began."
            = counts.acknowledged(path, group);
        "group_leases_expired_total" Counter "Leases that ran out." = group.expired;
        "group_failed_total" Counter "Deliveries that a worker said had failed." = group.failed;
        "group_worker_died_total" Counter "Deliveries whose worker died." = group.worker_died;
        "group_handed_back_total" Counter "Deliveries that were handed back." = group.handed_back;
        "group_rejected_total" Counter "Messages that a worker rejected." = group.rejected;
        "group_dead_lettered_total" Counter "Messages that went to the dead-letter ring." = group.dead_lettered;
        "group_dropped_total" Counter "Messages given up because the dead-letter ring was full." = group.dropped;
        "group_lost_total" Counter "Settlements that came after their lease." = group.lost;
    }
    // Without a sample an alert can tell that it is not known from that it is 0.
    let nothing_unsettled = group.num_pending + group.num_ack_pending + group.num_dead_pending == 0;
    let age = group.oldest_pending.or(nothing_unsettled.then_some(Duration::ZERO));
    if let Some(age) = age {
        metrics! { out, &[("ring", path), ("group", &group.name)];
            "group_oldest_pending_age_seconds" Gauge
                "How long the oldest message that is not settled has been in the ring, at least; no sample while no worker has seen it."
                = age.as_secs_f64();
        }
    }
}
