//! `consumers`: the consumers of a ring, and how far behind they are.

use crate::exit::{Failure, Outcome};
use crate::facts::{self, Facts, consumer_json};
use crate::output::{self, Table};
use crate::parse::Origin;
use crate::place::Trust;
use serde_json::Value;
use slipring::{ConsumerInfo, ConsumerOptions, Ring};
use std::path::PathBuf;

/// Lists the consumers of a ring; adds and removes durable ones
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  slipring consumers /dev/shm/news
  slipring consumers /dev/shm/news --add archive --from latest
  slipring consumers /dev/shm/news --rm archive      # what it held is free")]
pub(crate) struct Consumers {
    /// The ring
    path: PathBuf,
    /// Makes a durable consumer: the ring keeps all messages from now on until a consumer of this
    /// name reads them
    #[arg(long, value_name = "NAME", conflicts_with_all = ["rm", "json"])]
    add: Option<String>,
    /// Where the new one begins: earliest, latest, a position, or -N for N messages back
    #[arg(
        long,
        value_name = "WHERE",
        default_value = "earliest",
        allow_hyphen_values = true,
        requires = "add"
    )]
    from: Origin,
    /// Removes one that is not attached; its position is lost
    #[arg(long, value_name = "NAME", conflicts_with = "json")]
    rm: Option<String>,
    /// An array of objects
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    trust: Trust,
}

pub(crate) fn run(args: &Consumers) -> Outcome {
    let ring = Ring::open(args.trust.at(&args.path))?;
    if let Some(name) = &args.add {
        if ring.consumers().iter().any(|consumer| consumer.name == *name) {
            let path = args.path.display();
            return Err(Failure::error(format!(
                "{path}: there is a consumer {name:?} already; choose another name, or --rm it first"
            )));
        }
        let start = facts::start(args.from);
        let consumer = ConsumerOptions::new()
            .name(name)
            .durable(true)
            .start(start)
            .attach::<[u8]>(args.trust.at(&args.path))?;
        // The consumer leaves, and its tail stays.
        drop(consumer);
        return Ok(());
    }
    if let Some(name) = &args.rm {
        return Ok(ring.remove_consumer(name)?);
    }
    let consumers = Facts::of(ring).consumers;
    if args.json {
        return output::print_json(&Value::Array(consumers.iter().map(consumer_json).collect()));
    }
    output::print(&table(&consumers).render())
}

pub(crate) fn table(consumers: &[ConsumerInfo]) -> Table {
    let mut table = Table::new(&["CONSUMER", "PID", "STATE", "KIND", "TAIL", "LAG", "MISSED", "JOINED"]);
    for consumer in consumers {
        let kind = match (consumer.durable, consumer.evictable) {
            (true, _) => "durable",
            (_, true) => "evictable",
            _ => "ephemeral",
        };
        let state = match (consumer.alive, consumer.durable) {
            (true, _) => "alive",
            (false, true) => "away",
            (false, false) => "dead",
        };
        table.row([
            output::or_dash(&consumer.name),
            consumer.pid.to_string(),
            state.to_owned(),
            kind.to_owned(),
            consumer.tail.map_or("-".to_owned(), |tail| tail.to_string()),
            consumer.lag.to_string(),
            consumer.missed.to_string(),
            output::ago(consumer.joined_unix_ms),
        ]);
    }
    table
}
