//! Paid orders, and what must be done about each: an SMS, by one of three workers, through a
//! gateway that is slow and fails; points; a line in the audit file. One worker is killed at work,
//! one hangs, some orders cannot be done before they are repaired.
//!
//! `cargo run --release --example orders` shows it and proves at the end that everything was done
//! about every order, once. `-- --help` says what else it can do.
//!
//! Where to read what: [`publisher`] records orders, [`workers`] do the work (there is how an
//! effect happens exactly once although a message may come twice), [`gateway`] makes trouble,
//! [`director`] kills and redrives, [`report`] judges.

#[path = "../common/mod.rs"]
mod common;
mod director;
mod gateway;
mod order;
#[path = "../common/place.rs"]
mod place;
#[path = "../common/process.rs"]
mod process;
#[path = "../common/progress.rs"]
mod progress;
mod publisher;
mod report;
#[path = "../common/times.rs"]
mod times;
mod workers;

use common::{Failure, Usage, number};
use order::Order;
use place::Place;
use progress::grouped;
use slipring::{ProducerOptions, RingOptions};
use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
Records paid orders in a ring, a burst among them, and has work done about each by other processes: an SMS by
one of three workers through a slow gateway, points by another group's worker, a line by an audit. Kills one
SMS worker at work, hangs another, repairs and redrives what could not be delivered, and shows what came of it.

Usage: orders [options]      (cargo run --release --example orders -- [options])

  --orders N        how many (default 20_000, at least 1000). The ring holds half as many
  --seed N          another seed makes other customers and other trouble
  --dir DIR         where to put the ring (default /dev/shm, else the temporary directory)
  --keep            leave everything there afterwards: the ring, its dead letters, the books
  -h, --help        this text

What to watch: the order process records thousands of orders in a burst that takes milliseconds, whatever the
state of the SMS side; the backlog is in the ring and is worked off. Each SMS worker has a lease on its order:
if it dies, or says nothing for 300 ms, another gets the order. So an order may be tried twice, and what makes
its effect happen once is a key that stays the same: the id of its message, which a redriven message carries
along. An order that the gateway refuses, or that failed five times, goes to the dead letters.

Kill any of the processes yourself (their numbers are shown), or stop one, and see.

Exit code: 0 if everything was done once; 1 if not, or on an error; 2 for a command line that makes no sense;
130 after Ctrl-C.";

/// A run with fewer orders ends before a worker can be caught at work.
const ORDERS_MIN: u64 = 1000;

struct Options {
    orders: u64,
    seed: u64,
    dir: Option<PathBuf>,
    keep: bool,
}

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1).peekable();
    if arguments.next_if(|argument| argument == process::ROLE).is_some() {
        return common::exit("orders", workers::play(arguments));
    }
    let result = match parse(arguments) {
        Ok(Some(options)) => orders(&options),
        Ok(None) => writeln!(io::stdout(), "{HELP}").map_err(Failure::from),
        Err(usage) => Err(usage.into()),
    };
    common::exit("orders", result)
}

/// None if help is asked for.
fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Option<Options>, Usage> {
    let mut options = Options { orders: 20_000, seed: 1, dir: None, keep: false };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().and_then(|value| value.into_string().ok());
        match argument.to_str() {
            Some("-h" | "--help") => return Ok(None),
            Some("--orders") => options.orders = number("--orders", value().as_deref())?,
            Some("--seed") => options.seed = number("--seed", value().as_deref())?,
            Some("--dir") => {
                options.dir = Some(arguments.next().ok_or(Usage("--dir needs a directory".into()))?.into());
            }
            Some("--keep") => options.keep = true,
            _ => return Err(Usage(format!("unknown argument {argument:?}"))),
        }
    }
    if options.orders < ORDERS_MIN {
        return Err(Usage(format!("--orders must be at least {ORDERS_MIN}")));
    }
    Ok(Some(options))
}

fn orders(options: &Options) -> Result<(), Failure> {
    common::catch_interrupts();
    let place = Place::create("orders", options.dir.as_deref(), options.keep)?;
    let result = stage(options, &place);
    place.remove();
    if !result? {
        return Err("something was not done, or done twice; that is a bug, please report it".into());
    }
    Ok(())
}

/// The run, from an empty directory to the verdict.
fn stage(options: &Options, place: &Place) -> Result<bool, Failure> {
    let capacity = usize::try_from(options.orders / 2)?;
    let ring = RingOptions::of::<Order>(capacity)
        .group(workers::SMS, workers::sms_settings())
        .group(workers::POINTS, workers::points_settings())
        .durable(workers::AUDIT)
        .create(place.file("orders"))?;
    // Before the workers start: they go by whether the producer lives.
    let producer = ProducerOptions::new().open::<Order>(&ring)?;

    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{} orders through {}: {} blocks of {} bytes",
        grouped(options.orders),
        ring.path().display(),
        grouped(ring.capacity()),
        ring.block_size()
    )?;
    for group in ring.groups() {
        writeln!(out, "group {}: {}", group.name, group.settings)?;
    }
    out.flush()?;

    let run = director::run(options.orders, options.seed, &ring, producer, place)?;
    let ok = report::write(&mut out, options.orders, options.seed, &run, place)?;
    if place.keep {
        writeln!(out, "Kept: {}", place.dir.display())?;
    }
    Ok(ok)
}
