//! `dead`: messages that groups of workers gave up.

use crate::exit::{Failure, Outcome};
use crate::facts::Facts;
use crate::format::{self, FormatOptions, View};
use crate::output::{self, Table};
use crate::parse;
use crate::place::Trust;
use crate::signals::{self, Deadline};
use crate::typed::Type;
use crate::verbs::stat;
use serde_json::{Value, json};
use slipring::{AttachError, DeadLetter, DeadLetters, Producer, Reason, RedriveError, Ring, SendError};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Lists messages that groups gave up, publishes them again, or removes them
#[derive(Debug, clap::Args)]
pub(crate) struct Dead {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Lists dead letters, oldest first
    Ls {
        /// The ring whose groups gave them up
        path: PathBuf,
        /// Only those of this group
        #[arg(short, long, value_name = "NAME")]
        group: Option<String>,
        /// An array of objects, with the messages
        #[arg(long)]
        json: bool,
    },
    /// Prints the message of a dead letter
    View {
        /// The ring whose groups gave it up
        path: PathBuf,
        /// Its number, the first column of `dead ls`; without it the oldest
        letter: Option<u64>,
        #[command(flatten)]
        format: FormatOptions,
    },
    /// Publishes dead letters once more, oldest first, and removes them: says which, and does it
    /// with --apply
    ///
    /// Each is published at the ring's head, for the group that gave it up: it keeps its id, and
    /// the other groups do not get it again. Consumers and observers read everything that is
    /// published. If the command is killed, one letter may be published twice, and none is lost.
    #[command(after_long_help = "\
A ring has one producer. While that one runs, letters are redriven from within it, with DeadLetters::redrive.

Examples:
  slipring dead redrive /dev/shm/orders                 # what would be published?
  slipring dead redrive /dev/shm/orders -c 10 --apply")]
    Redrive {
        /// The ring whose groups gave them up
        path: PathBuf,
        #[command(flatten)]
        which: Which,
        /// Does it
        #[arg(long)]
        apply: bool,
        /// To all groups, as new messages, instead of to the group that gave each up
        #[arg(long)]
        to_all: bool,
        /// Fails with exit code 5 when the ring is full, instead of waiting for room
        #[arg(long)]
        nowait: bool,
        /// Waits for room for a message so long, then fails with exit code 5
        #[arg(long, value_name = "TIME", value_parser = parse::duration, default_value = "5s", conflicts_with = "nowait")]
        timeout: Duration,
        #[command(flatten)]
        trust: Trust,
    },
    /// Removes dead letters for good, oldest first: lists them, and removes them with --apply
    Purge {
        /// The ring whose groups gave them up
        path: PathBuf,
        #[command(flatten)]
        which: Which,
        /// Does it
        #[arg(long)]
        apply: bool,
        #[command(flatten)]
        trust: Trust,
    },
}

/// How many of them, from the oldest on.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Which {
    /// At most so many
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// Up to the letter of this number, the first column of `dead ls`
    #[arg(long, value_name = "LETTER")]
    through: Option<u64>,
}

impl Which {
    /// Whether the letter is meant, when so many were before it.
    fn includes(self, letter: &DeadLetter, before: u64) -> bool {
        self.count.is_none_or(|count| before < count)
            && self.through.is_none_or(|last| letter.position <= last)
    }
}

pub(crate) fn run(args: &Dead) -> Outcome {
    match &args.verb {
        Verb::Ls { path, group, json } => list(path, group.as_deref(), *json),
        Verb::View { path, letter, format } => view(path, *letter, format),
        Verb::Redrive { path, which, apply: false, .. } => {
            announce(path, *which, "would be published once more; --apply does it")
        }
        Verb::Redrive { path, which, to_all, nowait, timeout, trust, .. } => {
            redrive(path, *which, *to_all, if *nowait { Duration::ZERO } else { *timeout }, *trust)
        }
        Verb::Purge { path, which, apply: false, .. } => {
            announce(path, *which, "would be removed; --apply does it")
        }
        Verb::Purge { path, which, trust, .. } => purge(path, *which, *trust),
    }
}

/// All of them, or an error that says why there cannot be any.
fn letters(path: &Path) -> Result<Vec<DeadLetter>, Failure> {
    let ring = Ring::open(path)?;
    if ring.group_entries() == 0 {
        // Says that it cannot have dead letters.
        drop(DeadLetters::open(&ring)?);
    }
    Ok(ring.dead_letters()?)
}

fn list(path: &Path, group: Option<&str>, json: bool) -> Outcome {
    let mut letters = letters(path)?;
    letters.retain(|letter| group.is_none_or(|name| letter.group == name));
    if json {
        let of = Ring::open(path)?.schema().and_then(Type::parse);
        return output::print_json(&letters.iter().map(|letter| letter_json(letter, of.as_ref())).collect());
    }
    output::print(&table(&letters).render())
}

fn table<'a>(letters: impl IntoIterator<Item = &'a DeadLetter>) -> Table {
    let mut table = Table::new(&[
        "LETTER",
        "GROUP",
        "POSITION",
        "KIND",
        "BYTES",
        "ATTEMPTS",
        "REASON",
        "DEAD-LETTERED",
        "NOTE",
    ]);
    for letter in letters {
        table.row([
            letter.position.to_string(),
            letter.group.clone(),
            letter.id.position.to_string(),
            letter.kind.to_string(),
            letter.bytes.len().to_string(),
            letter.attempts.to_string(),
            reason_name(letter.reason).to_owned(),
            output::ago(letter.dead_lettered_unix_ms),
            output::or_dash(&letter.note),
        ]);
    }
    table
}

fn letter_json(letter: &DeadLetter, of: Option<&Type>) -> Value {
    let mut value = json!({
        "letter": letter.position,
        "id": letter.id.to_string(),
        "group": letter.group,
        "position": letter.id.position,
        "kind": letter.kind,
        "attempts": letter.attempts,
        "reason": reason_name(letter.reason),
        "note": letter.note,
        "seen": letter.seen_unix_ms.map(output::time),
        "dead_lettered": output::time(letter.dead_lettered_unix_ms),
        "len": letter.bytes.len(),
    });
    let (key, payload) = format::payload(&letter.bytes);
    value[key] = payload;
    if let Some(decoded) = of.and_then(|of| of.decode(&letter.bytes)) {
        value["value"] = decoded;
    }
    value
}

fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::Expired => "expired",
        Reason::WorkerDied => "worker-died",
        Reason::Rejected => "rejected",
        _ => "failed",
    }
}

fn view(path: &Path, number: Option<u64>, format: &FormatOptions) -> Outcome {
    format.parse(None).map_err(Failure::usage)?;
    let format = format.parse_for_people(Ring::open(path)?.schema()).map_err(Failure::usage)?;
    let letters = letters(path)?;
    let letter = letters.iter().find(|letter| number.is_none_or(|number| letter.position == number));
    let letter = letter.ok_or_else(|| match number {
        Some(number) => Failure::empty(format!(
            "{0}: there is no dead letter {number}; slipring dead ls {0} lists them",
            path.display()
        )),
        None => none(path),
    })?;
    let mut out = Vec::new();
    let view = View { position: letter.id.position, kind: letter.kind, bytes: &letter.bytes };
    format.append(&mut out, 1, view);
    output::write(&out)
}

fn none(path: &Path) -> Failure {
    Failure::empty(format!("{}: there are no dead letters", path.display()))
}

/// Lists the letters that a redrive or a purge would take.
fn announce(path: &Path, which: Which, what: &str) -> Outcome {
    let letters = letters(path)?;
    if letters.is_empty() {
        return Err(none(path));
    }
    let meant: Vec<_> =
        letters.iter().zip(0..).take_while(|(letter, before)| which.includes(letter, *before)).collect();
    let text = table(meant.iter().map(|(letter, _)| *letter)).render();
    output::print(&text)?;
    output::note(&format!(
        "{} of {} {what}",
        meant.len(),
        output::count(letters.len() as u64, "dead letter")
    ));
    Ok(())
}

fn redrive(path: &Path, which: Which, to_all: bool, timeout: Duration, trust: Trust) -> Outcome {
    // Without letters nothing is opened: a closed stream stays closed.
    let letters = letters(path)?;
    let Some(last) = letters.last() else { return Err(none(path)) };
    let was_closed = Ring::open(path)?.producer_info().is_some_and(|producer| producer.closed);
    let mut dead = DeadLetters::open(trust.at(path))?;
    let mut producer = Producer::<[u8]>::open(trust.at(path)).map_err(|error| match error.error {
        AttachError::ProducerExists { pid, .. } => Failure::error(format!(
            "{}: process {pid} is its producer, and there can be one only; let that one redrive them \
             (DeadLetters::redrive), or stop it",
            path.display()
        )),
        _ => error.into(),
    })?;
    dead.set_to_all(to_all);
    dead.set_patience(timeout.min(signals::SLICE));
    let (settled, outcome) = settle(&mut dead, which, last.position, |dead| {
        let deadline = Deadline::after(Some(timeout));
        while !signals::interrupted() {
            match dead.redrive(&mut producer, 1) {
                Err(RedriveError::NoRoom { .. }) if !deadline.is_over() => {}
                Err(RedriveError::NoRoom { error, .. }) => return Err(no_room(path, &error)),
                Err(error @ RedriveError::NoSuchGroup { .. }) => {
                    return Err(Failure::error(format!(
                        "{error}: --to-all, or slipring dead purge {} -c 1 --apply",
                        path.display()
                    )));
                }
                Err(error) => return Err(error.into()),
                Ok(_) => return Ok(true),
            }
        }
        Ok(false)
    });
    if was_closed {
        producer.close()?;
    }
    report(letters.len(), "published once more", settled, outcome)
}

/// The ring is full. It may be full of messages that wait for room in the dead-letter ring, which
/// is full, too: then waiting does not help.
fn no_room(path: &Path, error: &SendError) -> Failure {
    let facts = Facts::open(path).ok();
    let full = facts.as_ref().and_then(Facts::dead).filter(|dead| dead.count >= dead.capacity);
    let waiting = facts.and_then(|facts| facts.dead_letters_wait());
    Failure::Full(match full.zip(waiting) {
        Some((_, (waiting, _))) => format!(
            "{error}. Its dead-letter ring is full, too, and {} for room there: neither has room for the other. Keep \
             a letter (slipring dead view {1} > FILE), remove it (slipring dead purge {1} -c 1 --apply), and redrive \
             once a worker has moved a message there",
            stat::wait(waiting),
            path.display()
        ),
        None => error.to_string(),
    })
}

fn purge(path: &Path, which: Which, trust: Trust) -> Outcome {
    let letters = letters(path)?;
    let Some(last) = letters.last() else { return Err(none(path)) };
    let mut dead = DeadLetters::open(trust.at(path))?;
    let (settled, outcome) =
        settle(&mut dead, which, last.position, |dead| Ok(!signals::interrupted() && dead.take()?.is_some()));
    report(letters.len(), "removed", settled, outcome)
}

/// Has `act` remove those letters, oldest first, until it says that it did not. How many, and why
/// not more. A dead letter that is added meanwhile, behind `last`, stays: a message that is
/// rejected again would go round for ever.
fn settle(
    dead: &mut DeadLetters,
    which: Which,
    last: u64,
    mut act: impl FnMut(&mut DeadLetters) -> Result<bool, Failure>,
) -> (u64, Outcome) {
    let mut settled = 0;
    let outcome = (|| {
        while let Some(letter) = dead.peek()? {
            if letter.position > last || !which.includes(&letter, settled) || !act(dead)? {
                break;
            }
            settled += 1;
        }
        Ok(())
    })();
    (settled, outcome)
}

fn report(all: usize, what: &str, settled: u64, outcome: Outcome) -> Outcome {
    let text = format!("{settled} of {} {what}", output::count(all as u64, "dead letter"));
    if outcome.is_ok() && signals::interrupted() {
        return Err(Failure::error(format!("interrupted; {text}")));
    }
    output::note(&text);
    outcome
}
