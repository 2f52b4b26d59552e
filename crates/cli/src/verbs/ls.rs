//! `ls`: the rings in a directory.

use crate::exit::Outcome;
use crate::facts::{Facts, mode_text, owner_and_mode, rings_in};
use crate::output::{self, Table};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Lists the rings in a directory, as ipcs does with queues
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
USED counts the messages that a reader has not read yet and the producer may not overwrite.

Examples:
  slipring ls
  slipring ls --json /dev/shm | jq -r '.[] | select(.used > 1000) | .path'")]
pub(crate) struct Ls {
    /// Where to look
    #[arg(default_value = "/dev/shm")]
    dir: PathBuf,
    /// An array of objects
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Ls) -> Outcome {
    let paths = rings_in(&args.dir)?;
    if args.json {
        return output::print_json(&Value::Array(paths.iter().map(|path| json_of(path)).collect()));
    }
    let mut table = Table::new(&[
        "OWNER",
        "MODE",
        "BLOCK",
        "CAPACITY",
        "USED",
        "HEAD",
        "PRODUCER",
        "CONSUMERS",
        "GROUPS",
        "SIZE",
        "PATH",
    ]);
    for path in &paths {
        let (owner, mode) = owner_and_mode(path);
        let shown = path.display().to_string();
        match Facts::open(path) {
            Ok(facts) => table.row([
                owner,
                mode_text(mode),
                facts.ring.block_size().to_string(),
                facts.ring.capacity().to_string(),
                output::percent(facts.used(), facts.ring.capacity()),
                facts.head.to_string(),
                producer(&facts),
                facts.consumers.len().to_string(),
                facts.groups.len().to_string(),
                output::bytes(facts.ring.file_len()),
                shown,
            ]),
            Err(_) => {
                let dashes = std::iter::repeat_n("-".to_owned(), 7);
                let head = [owner, mode_text(mode), "-".to_owned()];
                table.row(head.into_iter().chain(dashes).chain([format!("{shown} (cannot be opened)")]));
            }
        }
    }
    output::print(&table.render())
}

/// The producer in a word.
pub(crate) fn producer(facts: &Facts) -> String {
    match facts.ring.producer_info() {
        None => "none".to_owned(),
        Some(producer) if producer.alive => format!("pid {}", producer.pid),
        Some(producer) if producer.closed => "closed".to_owned(),
        Some(_) => "away".to_owned(),
    }
}

fn json_of(path: &Path) -> Value {
    let (owner, mode) = owner_and_mode(path);
    match Facts::open(path) {
        Ok(facts) => {
            let mut value = facts.json();
            value["owner"] = Value::from(owner);
            value["mode"] = Value::from(format!("{mode:o}"));
            value
        }
        Err(failure) => json!({
            "path": path.display().to_string(),
            "owner": owner,
            "mode": format!("{mode:o}"),
            "error": format!("{failure:?}"),
        }),
    }
}
