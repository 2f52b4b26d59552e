//! `journal`: the messages of a ring on a disk; looks at journals, and moves damage aside.

use crate::exit::{Failure, Outcome};
use crate::output::{self, Table};
use crate::parse;
use crate::place::Await;
use crate::progress;
use crate::signals;
use serde_json::{Value, json};
use slipring::{Ring, RingId};
use slipring_journal::{
    Finding, Handle, History, HistoryError, Home, Journal, JournalError, JournalOptions, MergeError, Notice,
    Report, check, readers,
};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Writes the messages of a ring to a disk, and releases each when it is there
///
/// The journal is the ring's durable consumer `journal`: what it has not written is kept in the
/// ring, and all below its tail outlives a power cut. It runs until it is stopped; then it writes
/// what is published by then.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_long_help = "\
A ring that is created with `--durable journal` is journaled from its first message on. A write that fails ends the \
journal with exit code 6: the ring keeps what is not on the disk, and the next start goes on in a new segment. A full \
disk ends nothing: the journal tries again every second.

In a service unit, order the producer after the journal: what a producer publishes while the journal is away waits \
in the ring, and holds it full in the end. On SIGTERM all of them may go at once: the next start writes the rest.

Examples:
  slipring create /dev/shm/orders --block-size 112 --capacity 64Ki --durable journal
  slipring journal /dev/shm/orders --to /var/lib/orders --keep 30d
  slipring history /var/lib/orders --from 2026-11-29T12:00 --json
  slipring journal check /var/lib/orders")]
pub(crate) struct JournalArgs {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// The ring
    #[arg(required = true)]
    path: Option<PathBuf>,
    /// The directory of the journal; made if its parent is there. Rings may share one
    #[arg(long, value_name = "DIR", required = true)]
    to: Option<PathBuf>,
    /// Keeps each message for so long at least, and an eighth longer at most; without a limit, all
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    keep: Option<Duration>,
    /// Keeps so many bytes of segments at most, such as 100G
    #[arg(long, value_name = "BYTES", value_parser = parse::count)]
    keep_bytes: Option<u64>,
    /// Keeps messages so much longer for named readers that have not read them (default: as long
    /// again as --keep)
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    hold: Option<Duration>,
    /// Keeps so many bytes more for named readers (default: as many again as --keep-bytes)
    #[arg(long, value_name = "BYTES", value_parser = parse::count)]
    hold_bytes: Option<u64>,
    /// The bytes of a segment; beside the one that is written, one is kept ready
    #[arg(long, value_name = "BYTES", value_parser = parse::count, default_value = "64Mi")]
    segment: u64,
    /// Begins here although messages before are missing: in an empty directory, or behind an end
    /// that is lost or damaged. What is there stays; readers are told of the hole
    #[arg(long)]
    begin_here: bool,
    /// Accepts a directory in memory (tmpfs, ramfs), which a power cut empties
    #[arg(long)]
    allow_memory: bool,
    /// Ends when all that is published is on the disk, instead of waiting for more
    #[arg(short, long)]
    exit: bool,
    #[command(flatten)]
    wait: Await,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Reads all of a journal and compares every checksum; changes nothing
    Check {
        /// The directory of the journal
        dir: PathBuf,
        /// One object for each ring
        #[arg(long)]
        json: bool,
    },
    /// Moves segments that cannot be opened into the folder `aside`; without --apply only says
    /// which
    ///
    /// Nothing is removed and nothing is cut. What is lost is lost before and after.
    Repair {
        /// The directory of the journal
        dir: PathBuf,
        /// Does it
        #[arg(long)]
        apply: bool,
    },
    /// Lists the named readers of a journal, for which retention keeps messages
    Readers {
        /// The directory of the journal
        dir: PathBuf,
        /// An array of objects
        #[arg(long)]
        json: bool,
    },
    /// Forgets a named reader: nothing is kept for it any more
    Forget {
        /// The directory of the journal
        dir: PathBuf,
        /// The reader
        name: String,
    },
}

pub(crate) fn run(args: &JournalArgs) -> Outcome {
    match &args.verb {
        Some(Verb::Check { dir, json }) => check_all(dir, *json),
        Some(Verb::Repair { dir, apply }) => repair(dir, *apply),
        Some(Verb::Readers { dir, json }) => list_readers(dir, *json),
        Some(Verb::Forget { dir, name }) => forget(dir, name),
        None => {
            let (Some(path), Some(to)) = (&args.path, &args.to) else {
                return Err(Failure::usage("a ring and --to DIR are needed"));
            };
            write(args, path, to)
        }
    }
}

/// The time between two looks at the thread that writes.
const LOOK: Duration = Duration::from_millis(20);
/// The first write that is worth a word; then at every doubling.
const SLOW: Duration = Duration::from_secs(2);

fn write(args: &JournalArgs, path: &Path, to: &Path) -> Outcome {
    let place = args.wait.at(path).any_type();
    let ring = Ring::open(&place)?;
    let mut options = JournalOptions::new()
        .segment_bytes(args.segment)
        .begin_here(args.begin_here)
        .allow_memory(args.allow_memory);
    if let Some(age) = args.keep {
        options = options.keep_age(age);
    }
    if let Some(bytes) = args.keep_bytes {
        options = options.keep_bytes(bytes);
    }
    if let Some(age) = args.hold {
        options = options.hold_age(age);
    }
    if let Some(bytes) = args.hold_bytes {
        options = options.hold_bytes(bytes);
    }
    let mut journal = options.attach(&place, to)?;
    output::note(&begun(path, &journal));
    journal.on_notice(|notice| output::note(&said(&notice)));
    let handle = journal.handle();
    let running = std::thread::Builder::new().name("journal".to_owned()).spawn(move || journal.run())?;
    let until = if args.exit { ring.head() } else { u64::MAX };
    let mut watch = Watch { to, ring, next: SLOW };
    while !running.is_finished() {
        if signals::interrupted() || handle.status().durable >= until {
            handle.stop();
        }
        watch.look(&handle);
        signals::sleep(LOOK);
    }
    running.join().map_err(|_| Failure::error("the journal panicked"))??;
    let status = handle.status();
    let messages = output::count(status.messages, "message");
    output::note(&format!(
        "stopped: all below position {} is on the disk; {messages} in {}",
        status.durable,
        output::count(status.commits, "commit")
    ));
    Ok(())
}

/// What is said at the beginning: where, from which position on, and by which kind of write.
fn begun(path: &Path, journal: &Journal) -> String {
    let home = journal.home().path().display();
    let mut text = format!(
        "{}: journal from position {} on in {home}, with {}",
        path.display(),
        journal.position(),
        journal.method()
    );
    if let Some(storage) = journal.storage() {
        let _ = write!(text, ", on {}", storage.filesystem);
        if storage.is_overlay {
            text.push_str(
                ": the upper layer of a container may be gone with it, and may be memory; use a volume",
            );
        }
        if storage.copies_on_write {
            text.push_str(
                ": files written in place were asked for; a snapshot makes each write take new space",
            );
        }
        if storage.is_memory {
            text.push_str(": a power cut empties it");
        }
    }
    text
}

fn said(notice: &Notice) -> String {
    match notice {
        Notice::DiskFull { path } => format!(
            "{}: the disk is full; tries again every second, and the ring holds what comes",
            path.display()
        ),
        Notice::DiskHasRoom => "the disk has room again, and the journal goes on".to_owned(),
        Notice::HeldFor(reader) => format!(
            "a segment is kept for the reader {:?} alone, which is at position {}; if it will not come back: slipring \
             journal forget DIR {}",
            reader.name, reader.position, reader.name
        ),
        Notice::Overrun(reader, first) => format!(
            "the reader {:?} at position {} came too late: messages below {first} are gone",
            reader.name, reader.position
        ),
        Notice::Trouble { text } => text.clone(),
        other => format!("{other:?}"),
    }
}

/// Looks whether a write takes long.
struct Watch<'a> {
    to: &'a Path,
    ring: Ring,
    next: Duration,
}

impl Watch<'_> {
    fn look(&mut self, handle: &Handle) {
        let status = handle.status();
        let Some(time) = status.in_write_for.filter(|time| *time >= SLOW) else {
            self.next = SLOW;
            return;
        };
        if time >= self.next {
            let behind = self.ring.head().saturating_sub(status.durable);
            output::note(&format!(
                "in a write for {}: the disk of {} does not answer; {} of {} in the ring are not on the disk",
                output::span(time),
                self.to.display(),
                output::count(behind, "message"),
                self.ring.capacity()
            ));
            self.next = time * 2;
        }
    }
}

/// The rings under a directory.
pub(crate) fn homes(dir: &Path) -> Result<Vec<Home>, Failure> {
    let homes = Home::all(dir).map_err(|error| Failure::error(format!("{}: {error}", dir.display())))?;
    match homes.is_empty() {
        true => Err(HistoryError::NoJournal { directory: dir.to_path_buf() }.into()),
        false => Ok(homes),
    }
}

fn check_all(dir: &Path, as_json: bool) -> Outcome {
    let mut lost = 0;
    for home in homes(dir)? {
        let total = home.segments()?.len() as u64;
        let bar = progress::steps(total);
        let report = check(&home, |left| bar.set_position(total - left as u64));
        bar.finish_and_clear();
        let report = report?;
        lost += report.findings.iter().filter(|finding| !finding.is_harmless()).count();
        if as_json {
            output::print_json(&report_json(&report))?;
        } else {
            output::print(&report_text(&report))?;
        }
    }
    match lost {
        0 => Ok(()),
        n => {
            let are = if n == 1 { "1 thing is".to_owned() } else { format!("{n} things are") };
            let dir = dir.display();
            Err(Failure::Missing(format!("{dir}: {are} wrong; see what `slipring journal repair` can do")))
        }
    }
}

fn report_text(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let word = if finding.is_harmless() { "note" } else { "wrong" };
        let _ = writeln!(text, "{word}: {finding}");
    }
    let sound = if report.is_sound() { "sound: " } else { "" };
    let _ = writeln!(
        text,
        "{}: {sound}{} in {}, positions {} up to {}",
        report.home.path().display(),
        output::count(report.messages, "message"),
        output::count(report.segments as u64, "segment"),
        report.first,
        report.end
    );
    text
}

fn report_json(report: &Report) -> Value {
    let findings = report.findings.iter();
    json!({
        "ring": report.home.ring().to_string(),
        "path": report.home.path().to_string_lossy(),
        "sound": report.is_sound(),
        "segments": report.segments,
        "messages": report.messages,
        "first": report.first,
        "end": report.end,
        "findings": findings.map(|finding| json!({
            "text": finding.to_string(), "harmless": finding.is_harmless(),
        })).collect::<Vec<_>>(),
    })
}

fn repair(dir: &Path, apply: bool) -> Outcome {
    let mut text = String::new();
    for home in homes(dir)? {
        let report = check(&home, |_| ())?;
        let moved = report
            .repair(apply)
            .map_err(|error| Failure::error(format!("{}: {error}", home.path().display())))?;
        for path in &moved {
            let done = if apply { "moved into aside/" } else { "would be moved into aside/ (--apply)" };
            let _ = writeln!(text, "{}: {done}", path.display());
        }
        let stays = report
            .findings
            .iter()
            .filter(|finding| !finding.is_harmless() && !matches!(finding, Finding::Head { .. }));
        for finding in stays {
            let _ = writeln!(text, "left as it is: {finding}; readers skip it with --skip-gaps");
        }
        if moved.is_empty() && report.is_sound() {
            let _ = writeln!(text, "{}: nothing to repair", home.path().display());
        }
    }
    output::print(&text)
}

fn list_readers(dir: &Path, as_json: bool) -> Outcome {
    let mut table = Table::new(&["RING", "READER", "POSITION", "BEHIND", "SEEN"]);
    let mut objects = Vec::new();
    for home in homes(dir)? {
        let end = History::open_ring(dir, home.ring())?.end()?;
        for reader in readers::all(&home)? {
            let seen = reader.seen.elapsed().unwrap_or_default();
            let behind = end.saturating_sub(reader.position);
            objects.push(json!({
                "ring": home.ring().to_string(), "name": reader.name, "position": reader.position,
                "behind": behind, "seen_s": seen.as_secs(),
            }));
            let ago = format!("{} ago", output::span(Duration::from_secs(seen.as_secs())));
            table.row([
                home.ring().to_string(),
                reader.name,
                reader.position.to_string(),
                behind.to_string(),
                ago,
            ]);
        }
    }
    match as_json {
        true => output::print_json(&Value::from(objects)),
        false => output::print(&table.render()),
    }
}

fn forget(dir: &Path, name: &str) -> Outcome {
    let mut any = false;
    for home in homes(dir)? {
        any |= readers::forget(&home, name)?;
    }
    match any {
        true => Ok(()),
        false => Err(Failure::error(format!("{}: no reader is called {name:?}", dir.display()))),
    }
}

/// The history of the one ring under a directory, or of the one that was chosen.
pub(crate) fn open(dir: &Path, ring: Option<RingId>) -> Result<History, Failure> {
    Ok(match ring {
        Some(ring) => History::open_ring(dir, ring)?,
        None => History::open(dir).map_err(|error| match error {
            HistoryError::SeveralRings { .. } => Failure::error(format!("{error} (--ring ID)")),
            error => error.into(),
        })?,
    })
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Failure {
        let text = error.to_string();
        match error {
            JournalError::Ring(error) => (*error).into(),
            JournalError::Receive(error) => error.into(),
            JournalError::Commit(_)
            | JournalError::StoppedWhileFull(_)
            | JournalError::DiskLost { .. }
            | JournalError::Damaged { .. } => Failure::Disk(text),
            JournalError::History(error) => error.into(),
            _ => Failure::Error(text),
        }
    }
}

impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Failure {
        let text = error.to_string();
        match error {
            HistoryError::Gone { .. }
            | HistoryError::Hole { .. }
            | HistoryError::Damaged { .. }
            | HistoryError::Head { .. } => Failure::Missing(text),
            _ => Failure::Error(text),
        }
    }
}

impl From<MergeError> for Failure {
    fn from(error: MergeError) -> Failure {
        let text = error.to_string();
        match error {
            MergeError::History(error) => error.into(),
            MergeError::Ring(error) => (*error).into(),
            MergeError::Receive(error) => error.into(),
            MergeError::Apart { .. } => Failure::Missing(text),
            _ => Failure::Error(text),
        }
    }
}
