//! `stat`: all facts of a ring's tables.

use crate::exit::Outcome;
use crate::facts::{Facts, mode_text, owner_and_mode, policy_name};
use crate::output::{self, Table};
use crate::verbs::{consumers, group};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Prints all facts about a ring: geometry, producer, consumers, groups
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  slipring stat /dev/shm/orders
  slipring stat --json /dev/shm/orders | jq .groups[].ack_pending")]
pub(crate) struct Stat {
    /// The ring
    path: PathBuf,
    /// One object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Stat) -> Outcome {
    let facts = Facts::open(&args.path)?;
    if args.json {
        return output::print_json(&facts.json());
    }
    output::print(&text(&facts))
}

/// `1 message waits`.
pub(crate) fn wait(messages: u64) -> String {
    let waits = if messages == 1 { "waits" } else { "wait" };
    format!("{} {waits}", output::count(messages, "message"))
}

/// For the producer of a full ring whose messages wait for the dead-letter ring: no reader catches
/// up with those. Empty if none waits.
pub(crate) fn if_full_of_dead_pending(path: &Path) -> String {
    let waiting = Facts::open(path).ok().and_then(|facts| facts.dead_letters_wait());
    waiting.map_or(String::new(), |(messages, why)| {
        let path = path.display();
        format!("; {} for the dead-letter ring: {why}; see: slipring dead ls {path}", wait(messages))
    })
}

fn text(facts: &Facts) -> String {
    let ring = &facts.ring;
    let (owner, mode) = owner_and_mode(ring.path());
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<14}{value}");
    };
    line("ring", format!("{} ({})", ring.path().display(), ring.id()));
    line("owner", format!("{owner} {}", mode_text(mode)));
    line("created", humantime::format_rfc3339_millis(ring.created()).to_string());
    line(
        "geometry",
        format!(
            "{} of {}, {}",
            output::count(ring.capacity(), "block"),
            output::count(ring.block_size() as u64, "byte"),
            output::bytes(ring.file_len())
        ),
    );
    if let Some(schema) = ring.schema() {
        line("type", schema.to_owned());
    }
    if let Some(of) = ring.dead_letters_of() {
        line("letters of", format!("ring {of}"));
    }
    if let Some(lost) = ring.ancestors().first() {
        line("continues", format!("ring {} from {} on, which was lost", lost.ring, lost.watermark));
    }
    line("head", format!("{} (first {})", facts.head, ring.first_position()));
    let holder = facts
        .gate()
        .filter(|_| facts.used() > 0)
        .map_or(String::new(), |gate| format!(", held by {}", gate.who));
    line("used", format!("{} ({}){holder}", facts.used(), output::percent(facts.used(), ring.capacity())));
    line(
        "producer",
        match ring.producer_info() {
            None => "none so far".to_owned(),
            Some(producer) => format!(
                "process {} {}, number {}, opened {}; found the ring full {} times, woke readers {}, evicted {}",
                producer.pid,
                match (producer.alive, producer.closed) {
                    (true, _) => "is alive",
                    (false, true) => "closed the stream",
                    (false, false) => "is away",
                },
                producer.epoch,
                output::ago(producer.opened_unix_ms),
                producer.full_count,
                producer.wake_count,
                producer.evicted_count,
            ),
        },
    );
    let entries = |used: usize, of: u64| format!("{used} of {of} entries");
    line("consumers", entries(facts.consumers.len(), ring.consumer_entries()));
    if let Some(limit) = ring.durable_inactive_threshold() {
        line(
            "durables",
            format!(
                "are removed once they have been away for {} and hold the ring full",
                output::span(limit)
            ),
        );
    }
    if let Some((blocks, policy)) = ring.dead_letter_capacity().zip(ring.dead_letter_policy()) {
        let workers = facts.groups.iter().map(|group| group.workers.len()).sum();
        line("groups", entries(facts.groups.len(), ring.group_entries()));
        line("workers", entries(workers, ring.worker_entries()));
        let letters = match ring.dead_letters() {
            Ok(all) => all.len().to_string(),
            Err(error) => format!("none can be read ({error})"),
        };
        line("dead letters", format!("{letters} of {blocks}, policy {}", policy_name(policy)));
        if let Some((waiting, why)) = facts.dead_letters_wait() {
            line("", format!("{} for it: {why}", wait(waiting)));
        }
    }
    let sections: [(&str, bool, Table); 2] = [
        ("CONSUMERS", facts.consumers.is_empty(), consumers::table(&facts.consumers)),
        ("GROUPS", facts.groups.is_empty(), group::table(&facts.groups)),
    ];
    for (_, _, table) in sections.iter().filter(|(_, empty, _)| !empty) {
        let _ = write!(text, "\n{}", table.render());
    }
    text
}
