//! `sub`: the messages of a ring, to standard output.

use crate::exit::{Failure, Outcome};
use crate::facts;
use crate::format::{Format, FormatOptions, View};
use crate::output;
use crate::parse::{self, Origin};
use crate::place::Await;
use crate::signals::{self, Deadline};
use crate::verbs::history;
use serde_json::Value;
use slipring::{At, Consumer, ConsumerOptions, Kinds, Observer, RecvError, Ring, Start};
use slipring_journal::{History, MergeError};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Messages that are written at once, at most.
const BATCH: usize = 4096;
/// The size at which the output is written, at the latest.
const ENOUGH: usize = 256 * 1024;
/// The time between two looks of `--follow` for a stream that was opened again.
const REOPENED: Duration = Duration::from_millis(50);

/// Prints messages, from the earliest one on, until the stream is closed
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A message is given back to the producer when it has been written out. With --observe the ring is opened for \
reading only: it holds no party up, and says on standard error how many messages it missed.

Examples:
  slipring sub /dev/shm/news --from latest
  slipring sub /dev/shm/news --name archive >> news.log     # goes on where it stopped
  slipring sub /dev/shm/orders --after journal,risk         # what both have released
  slipring sub /dev/shm/news --observe --last 10 -e --json | jq -r .text
  slipring sub /dev/shm/orders --history /var/lib/orders --from 0")]
pub(crate) struct Subscribe {
    /// The ring
    path: PathBuf,
    /// Where to begin: earliest, latest, a position, or -N for N messages back
    #[arg(long, value_name = "WHERE", default_value = "earliest", allow_hyphen_values = true)]
    from: Origin,
    /// Begins with the last N messages, or as many as are there: the same as --from -N
    #[arg(long, value_name = "N", conflicts_with = "from")]
    last: Option<u64>,
    /// Ends after so many messages; with exit code 4 if it ends before
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// Ends when there is nothing more to read, instead of waiting
    #[arg(short, long)]
    exit: bool,
    /// Goes on when the stream is closed, with the messages of the next producer
    #[arg(long, conflicts_with = "exit")]
    follow: bool,
    /// Ends with exit code 4 when no message has come for so long
    #[arg(long, value_name = "TIME", value_parser = parse::duration, conflicts_with = "exit")]
    timeout: Option<Duration>,
    /// Reads as the durable consumer of this name: made if it is not there, from --from on, and
    /// kept. It goes on where it stopped, and holds the ring while it is away, until
    /// `slipring consumers --rm`
    #[arg(long, value_name = "NAME", conflicts_with = "observe")]
    name: Option<String>,
    /// Gets a message once this consumer or group has released it, as a journal that writes it to a
    /// disk; repeatable, up to four
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with_all = ["observe", "history"])]
    after: Vec<String>,
    /// Reads by copy and gates nothing; may miss messages
    #[arg(long)]
    observe: bool,
    /// Begins in the ring's journal in this directory, and goes over into the ring without a gap:
    /// for a --from that the ring no longer has. With --json each message says its origin
    #[arg(long, value_name = "DIR", conflicts_with_all = ["observe", "name", "follow"])]
    history: Option<PathBuf>,
    /// Only messages of this kind: 3, !3 (all but 3) or ..3 (up to 3)
    #[arg(short, long, value_name = "KIND", value_parser = parse::kinds)]
    kind: Option<Kinds>,
    #[command(flatten)]
    wait: Await,
    #[command(flatten)]
    format: FormatOptions,
}

pub(crate) fn run(args: &Subscribe) -> Outcome {
    args.format.parse(None).map_err(Failure::usage)?;
    let place = args.wait.at(&args.path).any_type();
    let ring = Ring::open(&place)?;
    let format = args.format.parse(ring.schema()).map_err(Failure::usage)?;
    let start = facts::start(args.last.map_or(args.from, Origin::Back));
    let mut sink = Sink {
        out: output::stdout()?,
        pending: Vec::with_capacity(ENOUGH + 4096),
        format,
        kinds: args.kind.unwrap_or(Kinds::Any),
        left: args.count.unwrap_or(u64::MAX),
        written: 0,
    };
    let outcome = if let Some(dir) = &args.history {
        merged(args, dir, &ring, &mut sink)
    } else if args.observe {
        observe(args, Observer::<[u8]>::attach(&place, start)?, &mut sink)
    } else {
        let mut options = ConsumerOptions::new().start(start).after(&args.after);
        if let Some(name) = &args.name {
            options = options.name(name).durable(true);
        }
        let is_new = |name: &&String| ring.consumers().iter().all(|consumer| consumer.name != **name);
        let made = args.name.as_ref().filter(is_new);
        let consumer = options.attach::<[u8]>(&place)?;
        if let Some(name) = made {
            let path = args.path.display();
            output::note(&format!(
                "made the durable consumer {name:?}: what it has not read is kept while it is away, and holds the ring full \
                 in the end; to end that: slipring consumers {path} --rm {name}"
            ));
        }
        consume(args, consumer, &mut sink)
    };
    sink.flush()?;
    outcome?;
    match args.count.filter(|_| sink.left > 0 && !signals::interrupted()) {
        Some(wanted) => {
            let wanted = output::count(wanted, "message");
            Err(Failure::empty(format!("{}: {} of {wanted} were there", args.path.display(), sink.written)))
        }
        None => Ok(()),
    }
}

/// The effect of a receive's error: none is a good end.
fn ended(error: RecvError, args: &Subscribe, deadline: Deadline) -> Result<Option<()>, Failure> {
    match error {
        RecvError::Closed if args.follow => {
            if deadline.is_over() {
                return Err(came_too_late(args));
            }
            // No party wakes a reader for a stream that is opened again.
            signals::sleep(deadline.slice().min(REOPENED));
            Ok(Some(()))
        }
        RecvError::Closed => Ok(None),
        RecvError::Empty | RecvError::TimedOut(_) if args.exit => Ok(None),
        RecvError::TimedOut(_) if deadline.is_over() => Err(came_too_late(args)),
        RecvError::TimedOut(_) => Ok(Some(())),
        RecvError::Lagged { missed } => {
            output::note(&format!("missed {}", output::count(missed, "message")));
            Ok(Some(()))
        }
        error => Err(error.into()),
    }
}

fn came_too_late(args: &Subscribe) -> Failure {
    let waited = output::span(args.timeout.unwrap_or_default());
    Failure::empty(format!("{}: nothing came for {waited}", args.path.display()))
}

fn consume(args: &Subscribe, mut consumer: Consumer, sink: &mut Sink) -> Outcome {
    let mut deadline = Deadline::after(args.timeout);
    while sink.left > 0 && !signals::interrupted() {
        let received = match args.exit {
            true => consumer.try_recv_batch(BATCH),
            false => consumer.recv_batch_timeout(BATCH, deadline.slice()),
        };
        let batch = match received {
            Ok(batch) => batch,
            Err(error) => match ended(error, args, deadline)? {
                Some(()) => continue,
                None => return Ok(()),
            },
        };
        for item in &batch {
            sink.take(View { position: item.position(), kind: item.kind(), bytes: &item });
            if sink.is_due() {
                break;
            }
        }
        // Messages that were not written out are not released: the next consumer of this name gets
        // them again.
        if let Err(failure) = sink.flush() {
            batch.keep();
            return Err(failure);
        }
        drop(batch);
        deadline = Deadline::after(args.timeout);
    }
    Ok(())
}

/// History, then live.
fn merged(args: &Subscribe, dir: &Path, ring: &Ring, sink: &mut Sink) -> Outcome {
    let mut history = History::open_ring(dir, ring.id())?;
    let first = history.position();
    history.seek(match args.last.map_or(args.from, Origin::Back) {
        Origin::Earliest => Start::At(first),
        Origin::Latest => Start::At(ring.head()),
        Origin::At(position) => Start::At(position),
        Origin::Back(back) => Start::At(ring.head().saturating_sub(back).max(first)),
    })?;
    let mut merged = history.then_live(At::ring(ring).any_type())?;
    let mut deadline = Deadline::after(args.timeout);
    let mut was_live = false;
    while sink.left > 0 && !signals::interrupted() {
        // What is there at once is written together.
        let timeout = if sink.pending.is_empty() && !args.exit { deadline.slice() } else { Duration::ZERO };
        match merged.next_timeout(timeout) {
            Ok(message) => {
                let is_live = message.origin == slipring_journal::Origin::Live;
                if is_live && !std::mem::replace(&mut was_live, true) {
                    output::note(&format!("live from position {} on", message.position));
                }
                let view = View { position: message.position, kind: message.kind, bytes: &message };
                sink.take_with(view, |value| {
                    value["origin"] = Value::from(if is_live { "live" } else { "history" });
                    value["committed"] = message.committed.map_or(Value::Null, |at| history::time(at).into());
                });
                drop(message);
                if sink.is_due() {
                    sink.flush()?;
                }
                deadline = Deadline::after(args.timeout);
            }
            Err(MergeError::Receive(RecvError::TimedOut(_))) if !sink.pending.is_empty() => sink.flush()?,
            Err(MergeError::Receive(error)) => {
                if ended(error, args, deadline)?.is_none() {
                    return Ok(());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn observe(args: &Subscribe, mut observer: Observer, sink: &mut Sink) -> Outcome {
    let mut deadline = Deadline::after(args.timeout);
    while sink.left > 0 && !signals::interrupted() {
        match observer.try_recv() {
            Ok(message) => {
                sink.take(View { position: message.position(), kind: message.kind(), bytes: &message });
                deadline = Deadline::after(args.timeout);
                if !sink.is_due() {
                    continue;
                }
            }
            Err(RecvError::Empty) if !args.exit => {
                sink.flush()?;
                match observer.recv_timeout(deadline.slice()) {
                    Ok(message) => {
                        sink.take(View {
                            position: message.position(),
                            kind: message.kind(),
                            bytes: &message,
                        });
                        deadline = Deadline::after(args.timeout);
                    }
                    Err(error) => {
                        if ended(error, args, deadline)?.is_none() {
                            return Ok(());
                        }
                    }
                }
            }
            Err(error) => {
                if ended(error, args, deadline)?.is_none() {
                    return Ok(());
                }
            }
        }
        sink.flush()?;
    }
    Ok(())
}

/// The output, and how much of it was written.
struct Sink {
    out: File,
    pending: Vec<u8>,
    format: Format,
    kinds: Kinds,
    left: u64,
    written: u64,
}

impl Sink {
    #[inline]
    fn take(&mut self, message: View<'_>) {
        if self.left > 0 && wants(self.kinds, message.kind) {
            self.written += 1;
            self.left -= 1;
            self.format.append(&mut self.pending, self.written, message);
        }
    }

    /// As `take`; `more` adds members to an object.
    fn take_with(&mut self, message: View<'_>, more: impl FnOnce(&mut Value)) {
        if self.left > 0 && wants(self.kinds, message.kind) {
            self.written += 1;
            self.left -= 1;
            self.format.append_with(&mut self.pending, self.written, message, more);
        }
    }

    /// Enough was taken, or enough is to be written.
    #[inline]
    fn is_due(&self) -> bool {
        self.left == 0 || self.pending.len() >= ENOUGH
    }

    fn flush(&mut self) -> Outcome {
        self.out.write_all(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}

fn wants(kinds: Kinds, kind: u32) -> bool {
    match kinds {
        Kinds::Equal(wanted) => kind == wanted,
        Kinds::AtMost(limit) => kind <= limit,
        Kinds::Except(unwanted) => kind != unwanted,
        _ => true,
    }
}
