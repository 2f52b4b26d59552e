//! `events`: what happened to a ring lately.

use crate::exit::Outcome;
use crate::output::{self, Table};
use serde_json::{Value, json};
use slipring::{Event, Ring};
use std::path::PathBuf;

/// Lists what happened to a ring lately: the flight recorder, which can be read when all its users
/// are dead
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The last few hundred events of a ring's life: producers, consumers, workers and groups that came, left or died, a ring \
that became full, dead letters. What happens again at once, to the same name, is counted in REPEATS.

Examples:
  slipring events /dev/shm/orders -c 20
  slipring events /dev/shm/orders --json | jq -r '.[] | select(.event == \"worker-died\") | .time'")]
pub(crate) struct Events {
    /// The ring
    path: PathBuf,
    /// Only the last so many
    #[arg(short, long, value_name = "N")]
    count: Option<usize>,
    /// An array of objects
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Events) -> Outcome {
    let ring = Ring::open(&args.path)?;
    let all = ring.events();
    let last = &all[all.len() - args.count.unwrap_or(usize::MAX).min(all.len())..];
    if args.json {
        return output::print_json(&last.iter().map(json_of).collect());
    }
    let mut table = Table::new(&["NUMBER", "TIME", "EVENT", "POSITION", "PID", "REPEATS", "NAME"]);
    for event in last {
        table.row([
            event.number.to_string(),
            output::time(event.unix_ms),
            kind_name(event),
            event.position.to_string(),
            event.pid.to_string(),
            event.repeats.to_string(),
            output::or_dash(&event.name),
        ]);
    }
    output::print(&table.render())
}

pub(crate) fn json_of(event: &Event) -> Value {
    json!({
        "number": event.number,
        "time": output::time(event.unix_ms),
        "event": kind_name(event),
        "position": event.position,
        "pid": event.pid,
        "repeats": event.repeats,
        "name": event.name,
    })
}

/// `ProducerTookOver` as `producer-took-over`.
fn kind_name(event: &Event) -> String {
    let mut name = String::new();
    for c in format!("{:?}", event.kind).chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}
