//! One publisher, three consumers and an observer, each a process; one consumer is killed and comes
//! back.
//!
//! `cargo run --release --example fanout` sends a text through a ring, line by line, and proves to
//! the end that no process lost, doubled or altered a message. `-- --help` says what else it can
//! do.
//!
//! Where to read what: [`publisher`] publishes, [`readers`] read (there is how a consumer counts
//! everything exactly once although it is killed), [`director`] kills, [`report`] judges.

#[path = "../common/mod.rs"]
mod common;
mod director;
#[path = "../common/kinds.rs"]
mod kinds;
mod latency;
#[path = "../common/lines.rs"]
mod lines;
#[path = "../common/place.rs"]
mod place;
#[path = "../common/process.rs"]
mod process;
#[path = "../common/progress.rs"]
mod progress;
mod publisher;
mod readers;
mod report;
mod script;
mod tally;
#[path = "../common/times.rs"]
mod times;

use common::{Failure, Usage, number};
use place::Place;
use progress::grouped;
use script::{Input, Script, Text};
use slipring::{Producer, RingOptions};
use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
Sends the lines of a text from one process to three consumers and an observer, all at once, through a ring;
kills one consumer in the middle and starts it again; and shows what each process saw.

Usage: fanout [FILE|-] [options]      (cargo run --release --example fanout -- [FILE|-] [options])

  FILE              what to send, one message per line; - is standard input; default: a text that comes along.
                    It is read into memory whole
  --lines N         repeat it until there are at least N lines (default 10_000_000; 1 sends it once)
  --capacity N      messages that the ring holds, rounded up to a power of two (default 32768). A small ring
                    makes the publisher wait more often, and an observer miss more
  --block BYTES     bytes of a message at most (default: as the longest line needs, up to 1008). A longer line
                    is sent as several messages
  --pings N         round trips of the latency measurement (default 100_000; 0 for none)
  --dir DIR         where to put the ring (default /dev/shm, else the temporary directory)
  --keep            leave the ring and the records of the consumers there afterwards
  -h, --help        this text

The consumers are durable: the ring keeps a place for each name, and a process that attaches by it goes on
where the last one stopped. Kill any of them yourself (their process numbers are shown) and see.

Exit code: 0 if nothing was lost, doubled or altered; 1 if something was, or on an error; 2 for a command line
that makes no sense; 130 after Ctrl-C.";

struct Options {
    input: Input,
    lines: u64,
    capacity: usize,
    block_size: Option<usize>,
    pings: usize,
    dir: Option<PathBuf>,
    keep: bool,
}

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1).peekable();
    if arguments.next_if(|argument| argument == process::ROLE).is_some() {
        return common::exit("fanout", readers::play(arguments));
    }
    let result = match parse(arguments) {
        Ok(Some(options)) => fanout(&options),
        Ok(None) => writeln!(io::stdout(), "{HELP}").map_err(Failure::from),
        Err(usage) => Err(usage.into()),
    };
    common::exit("fanout", result)
}

/// None if help is asked for.
fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Option<Options>, Usage> {
    let mut options = Options {
        input: Input::Shipped,
        lines: 10_000_000,
        capacity: 32_768,
        block_size: None,
        pings: 100_000,
        dir: None,
        keep: false,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().and_then(|value| value.into_string().ok());
        match argument.to_str() {
            Some("-h" | "--help") => return Ok(None),
            Some("--lines") => options.lines = number("--lines", value().as_deref())?,
            Some("--capacity") => options.capacity = number("--capacity", value().as_deref())?,
            Some("--block") => options.block_size = Some(number("--block", value().as_deref())?),
            Some("--pings") => options.pings = number("--pings", value().as_deref())?,
            Some("--dir") => {
                options.dir = Some(arguments.next().ok_or(Usage("--dir needs a directory".into()))?.into());
            }
            Some("--keep") => options.keep = true,
            Some(option) if option.len() > 1 && option.starts_with('-') => {
                return Err(Usage(format!("unknown option {option}")));
            }
            _ if options.input != Input::Shipped => {
                return Err(Usage(format!("one input at a time, not also {argument:?}")));
            }
            Some("-") => options.input = Input::Stdin,
            _ => options.input = Input::File(argument.into()),
        }
    }
    if options.block_size == Some(0) {
        return Err(Usage("--block must be at least 1 byte".into()));
    }
    Ok(Some(options))
}

fn fanout(options: &Options) -> Result<(), Failure> {
    let text = Text::read(&options.input)?;
    let script = Script::new(&text, options.block_size, options.lines);
    common::catch_interrupts();
    let place = Place::create("fanout", options.dir.as_deref(), options.keep)?;
    let result = stage(options, &text, &script, &place);
    place.remove();
    if !result? {
        return Err(
            "something was lost, doubled or altered; that is a bug in slipring, please report it".into()
        );
    }
    Ok(())
}

/// The run, from an empty directory to the verdict.
fn stage(options: &Options, text: &Text, script: &Script<'_>, place: &Place) -> Result<bool, Failure> {
    let mut ring = RingOptions::new(script.block_size, options.capacity).consumers(8);
    for name in readers::CONSUMERS {
        ring = ring.durable(name);
    }
    let ring = ring.create(place.file("stream"))?;
    // Before the readers start: they go by whether the producer lives.
    let producer = Producer::<[u8]>::open(place.file("stream"))?;

    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{} lines in {} messages: {} ({} lines), {} times",
        grouped(script.lines()),
        grouped(script.len()),
        text.name,
        grouped(script.lines_each),
        grouped(script.times),
    )?;
    writeln!(
        out,
        "through {}: {} blocks of {} bytes",
        ring.path().display(),
        grouped(ring.capacity()),
        ring.block_size()
    )?;
    out.flush()?;

    let run = director::run(script, &ring, producer, place)?;
    let round_trips = latency::measure(place, options.pings)?;
    let ok = report::write(&mut out, script, &run, round_trips.as_ref(), place)?;
    if place.keep {
        writeln!(out, "Kept: {}", place.dir.display())?;
    }
    Ok(ok)
}
