//! `group`: groups of workers and their unsettled messages.

use crate::exit::{Failure, Outcome};
use crate::facts::{self, Facts, group_json};
use crate::output::{self, Table};
use crate::parse::{self, GroupSpec, Origin, SETTINGS_HELP};
use crate::place::Trust;
use serde_json::{Value, json};
use slipring::{
    At, AtPath, EntryError, GroupInfo, GroupSettings, JoinError, Observer, PendingState, Ring, Start,
    WorkerOptions,
};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Looks at groups of workers, makes, changes, removes and resets them
#[derive(Debug, clap::Args)]
pub(crate) struct GroupArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Lists the groups of a ring
    Ls {
        /// The ring
        path: PathBuf,
        /// An array of objects
        #[arg(long)]
        json: bool,
    },
    /// Prints all facts about one group
    Info {
        /// The ring
        path: PathBuf,
        /// The group
        group: String,
        /// One object
        #[arg(long)]
        json: bool,
    },
    /// Lists the messages that were delivered and are not settled, as XPENDING does
    Pending {
        /// The ring
        path: PathBuf,
        /// The group
        group: String,
        /// An array of objects
        #[arg(long)]
        json: bool,
    },
    /// Makes a group
    ///
    /// From then on the producer overwrites no message that the group has not settled.
    #[command(after_long_help = SETTINGS_HELP)]
    Add {
        /// The ring
        path: PathBuf,
        /// NAME or NAME:SETTING=VALUE,…
        group: GroupSpec,
        /// Where it begins: earliest, latest, a position, or -N for N messages back
        #[arg(long, value_name = "WHERE", default_value = "earliest", allow_hyphen_values = true)]
        from: Origin,
        #[command(flatten)]
        trust: Trust,
    },
    /// Changes settings of a group, also under its workers; the other settings stay
    ///
    /// A worker takes them up within a hundredth of a second of its next look for a message, or
    /// when it extends a lease. A lease that was given before lasts as long as it was meant to.
    #[command(after_long_help = "\
The settings are those of `slipring create --group`, one or several, apart or with commas between them.

Examples:
  slipring group set /dev/shm/orders sms ack-wait=2min max-deliver=3
  slipring group set /dev/shm/orders sms backoff=100ms..10s,jitter=20")]
    Set {
        /// The ring
        path: PathBuf,
        /// The group
        group: String,
        /// SETTING=VALUE
        #[arg(required = true, value_name = "SETTING=VALUE", value_delimiter = ',')]
        settings: Vec<String>,
        /// The new settings, as one object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        trust: Trust,
    },
    /// Removes a group without workers; its unsettled messages are not delivered again
    Rm {
        /// The ring
        path: PathBuf,
        /// The group
        group: String,
        #[command(flatten)]
        trust: Trust,
    },
    /// Moves a group to another position: prints the effect, and moves it with --apply
    ///
    /// Refused while workers are attached. The group is removed and made anew with the same
    /// settings, so its statistics begin at 0, and for a moment nothing holds its messages.
    #[command(after_long_help = "\
Examples:
  slipring group reset /dev/shm/orders sms --to earliest            # what would happen?
  slipring group reset /dev/shm/orders sms --to latest --apply      # skip the backlog")]
    Reset {
        /// The ring
        path: PathBuf,
        /// The group
        group: String,
        /// Where it shall go on: earliest, latest, a position, or -N for N messages back
        #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
        to: Origin,
        /// Does it
        #[arg(long)]
        apply: bool,
        /// The effect, as one object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        trust: Trust,
    },
}

pub(crate) fn run(args: &GroupArgs) -> Outcome {
    match &args.verb {
        Verb::Ls { path, json } => list(path, *json),
        Verb::Info { path, group, json } => info(path, group, *json),
        Verb::Pending { path, group, json } => pending(path, group, *json),
        Verb::Add { path, group, from, trust } => add(&trust.at(path), path, group, *from),
        Verb::Set { path, group, settings, json, trust } => set(&trust.at(path), group, settings, *json),
        Verb::Rm { path, group, trust } => {
            let ring = Ring::open(trust.at(path))?;
            match ring.remove_group(group) {
                Err(AtPath { error: EntryError::NoSuchGroup { .. }, .. }) => {
                    Err(facts::no_such_group(&ring, group))
                }
                other => Ok(other?),
            }
        }
        Verb::Reset { path, group, to, apply, json, trust } => {
            reset(&trust.at(path), group, *to, *apply, *json)
        }
    }
}

fn list(path: &Path, json: bool) -> Outcome {
    let facts = Facts::open(path)?;
    if json {
        return output::print_json(&Value::Array(facts.groups.iter().map(group_json).collect()));
    }
    output::print(&table(&facts.groups).render())
}

pub(crate) fn table(groups: &[GroupInfo]) -> Table {
    let mut table = Table::new(&[
        "GROUP",
        "WORKERS",
        "FLOOR",
        "PENDING",
        "IN FLIGHT",
        "REDELIVERED",
        "DEAD-PENDING",
        "OLDEST",
        "DEAD",
        "SETTINGS",
    ]);
    for group in groups {
        table.row([
            group.name.clone(),
            group.workers.iter().filter(|worker| worker.alive).count().to_string(),
            group.ack_floor.to_string(),
            group.num_pending.to_string(),
            in_flight(group),
            group.num_redelivered.to_string(),
            group.num_dead_pending.to_string(),
            group.oldest_pending.map_or("-".to_owned(), output::span),
            group.dead_lettered.to_string(),
            facts::settings_text(&group.settings),
        ]);
    }
    table
}

fn info(path: &Path, name: &str, json: bool) -> Outcome {
    let facts = Facts::open(path)?;
    let group = facts.group(name)?;
    if json {
        return output::print_json(&group_json(group));
    }
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<16}{value}");
    };
    line("group", group.name.clone());
    line("created", output::time(group.created_unix_ms));
    line("settings", facts::settings_text(&group.settings));
    line("ack floor", format!("{} (head {})", group.ack_floor, facts.head));
    line("pending", format!("{} never delivered", group.num_pending));
    line("in flight", format!("{}, {} of them redelivered", in_flight(group), group.num_redelivered));
    line("dead-pending", format!("{} wait for the dead-letter ring", group.num_dead_pending));
    line("oldest", oldest(group));
    line(
        "so far",
        format!(
            "{} expired, {} failed, {} with a dead worker, {} handed back, {} rejected, {} dead-lettered, {} dropped, {} lost",
            group.expired,
            group.failed,
            group.worker_died,
            group.handed_back,
            group.rejected,
            group.dead_lettered,
            group.dropped,
            group.lost
        ),
    );
    let mut workers =
        Table::new(&["WORKER", "PID", "STATE", "READING", "DELIVERED", "ACKED", "FAILED", "LOST", "JOINED"]);
    for worker in &group.workers {
        workers.row([
            output::or_dash(&worker.name),
            worker.pid.to_string(),
            if worker.alive { "alive" } else { "dead" }.to_owned(),
            worker.reading.map_or("-".to_owned(), |position| position.to_string()),
            worker.delivered.to_string(),
            worker.acked.to_string(),
            worker.failed.to_string(),
            worker.lost.to_string(),
            output::ago(worker.joined_unix_ms),
        ]);
    }
    if !group.workers.is_empty() {
        let _ = write!(text, "\n{}", workers.render());
    }
    output::print(&text)
}

/// `4`, or `4 (limit)` if the pending messages wait for one of these.
fn in_flight(group: &GroupInfo) -> String {
    format!("{}{}", group.num_ack_pending, if group.is_at_limit() { " (limit)" } else { "" })
}

/// How long the oldest message that is not settled has been in the ring.
fn oldest(group: &GroupInfo) -> String {
    match group.oldest_pending {
        Some(age) => format!("in the ring for {} or more", output::span(age)),
        None if group.num_pending + group.num_ack_pending + group.num_dead_pending == 0 => "-".to_owned(),
        None => "unknown: no worker has seen it".to_owned(),
    }
}

fn pending(path: &Path, name: &str, json: bool) -> Outcome {
    let ring = Ring::open(path)?;
    let pending = match ring.pending(name) {
        Err(AtPath { error: EntryError::NoSuchGroup { .. }, .. }) => {
            return Err(facts::no_such_group(&ring, name));
        }
        other => other?,
    };
    // The facts for the table and for the object.
    let describe = |state: PendingState| match state {
        PendingState::Leased { pid, time_left } => ("leased", Some(pid), Some(time_left)),
        PendingState::Delayed(left) => ("delayed", None, Some(left)),
        PendingState::Returned => ("returned", None, None),
        PendingState::DeadPending => ("dead-pending", None, None),
        _ => ("unknown", None, None),
    };
    if json {
        let rows = pending.iter().map(|message| {
            let (state, pid, left) = describe(message.state);
            json!({
                "position": message.position,
                "attempt": message.attempt,
                "state": state,
                "pid": pid,
                "time_left_ms": left.map(|left| left.as_millis()),
            })
        });
        return output::print_json(&Value::Array(rows.collect()));
    }
    let mut table = Table::new(&["POSITION", "ATTEMPT", "STATE", "PID", "TIME LEFT"]);
    for message in &pending {
        let (state, pid, left) = describe(message.state);
        table.row([
            message.position.to_string(),
            message.attempt.to_string(),
            state.to_owned(),
            pid.map_or("-".to_owned(), |pid| pid.to_string()),
            left.map_or("-".to_owned(), output::span),
        ]);
    }
    output::print(&table.render())
}

fn add(place: &At, path: &Path, spec: &GroupSpec, from: Origin) -> Outcome {
    let ring = Ring::open(path)?;
    if ring.groups().iter().any(|group| group.name == spec.name) {
        return Err(Failure::error(format!(
            "{}: there is a group {:?} already; see: slipring group info {0} {}",
            path.display(),
            spec.name,
            spec.name
        )));
    }
    create(place, &spec.name, spec.settings, facts::start(from))?;
    Ok(())
}

fn set(place: &At, name: &str, items: &[String], json: bool) -> Outcome {
    let ring = Ring::open(place)?;
    let group = ring.group(name).ok_or_else(|| facts::no_such_group(&ring, name))?;
    let changed = |settings| parse::changed(settings, items.iter().map(String::as_str));
    // Once for the error, and once as one edit of the table: another process may change others.
    changed(group.settings).map_err(Failure::usage)?;
    let settings = ring.change_group(name, |settings| changed(settings).unwrap_or(settings))?;
    if json {
        return output::print_json(&facts::settings_json(&settings));
    }
    output::print(&format!("group {name:?} has {}\n", facts::settings_text(&settings)))
}

/// A group begins with its first worker, which leaves at once.
fn create(place: &At, name: &str, settings: GroupSettings, start: Start) -> Result<(), AtPath<JoinError>> {
    WorkerOptions::new(name).settings(settings).start(start).join::<[u8]>(place).map(drop)
}

fn reset(place: &At, name: &str, to: Origin, apply: bool, json: bool) -> Outcome {
    let facts = Facts::of(Ring::open(place)?);
    let group = facts.group(name)?;
    let living: Vec<String> =
        group.workers.iter().filter(|worker| worker.alive).map(|worker| worker.pid.to_string()).collect();
    if !living.is_empty() {
        return Err(Failure::error(format!(
            "{}: group {name:?} has workers (process {}); stop them first",
            facts.ring.path().display(),
            living.join(", ")
        )));
    }
    // Attaching an observer validates the start: the error names the earliest position.
    let target = Observer::<[u8]>::attach(place, facts::start(to))?.position();
    let unsettled = group.num_pending + group.num_ack_pending + group.num_dead_pending;
    let (again, skipped) =
        (group.ack_floor.saturating_sub(target), target.saturating_sub(group.ack_floor).min(unsettled));
    if apply {
        facts.ring.remove_group(name)?;
        match create(place, name, group.settings, Start::At(target)) {
            // The producer went past it meanwhile: as far back as it still goes.
            Err(AtPath { error: JoinError::Start(_), .. }) => {
                create(place, name, group.settings, Start::Earliest)?
            }
            other => other?,
        }
    }
    if json {
        return output::print_json(&json!({
            "group": name,
            "from": group.ack_floor,
            "to": target,
            "delivered_again": again,
            "skipped": skipped,
            "applied": apply,
        }));
    }
    let done = if apply { "was moved" } else { "would move" };
    let hint = if apply { "" } else { "; say --apply to do it" };
    output::print(&format!(
        "group {name:?} {done} from {} to {target}: {} to be delivered again, {} skipped{hint}\n",
        group.ack_floor,
        output::count(again, "settled message"),
        output::count(skipped, "unsettled message"),
    ))
}
