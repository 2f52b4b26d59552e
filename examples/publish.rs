//! One of two terminals: publishes what you type. The other runs `subscribe`.

mod common;
#[path = "common/kinds.rs"]
mod kinds;
#[path = "common/lines.rs"]
mod lines;

use common::{Failure, Usage, number};
use slipring::{AtPath, CreateError, Producer, Ring, RingOptions, SendError};
use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = "\
Publishes the lines of standard input in a ring, and closes the stream when the input ends.

Usage: publish PATH [options] < LINES

  PATH              the ring; it is created if nothing is there. /dev/shm/NAME is the fastest place
  --capacity N      of a new ring: how many messages it holds (default 1024, rounded up to a power of two)
  --block BYTES     of a new ring: bytes of a message; a longer line becomes several (default 112)
  --durable NAME    of a new ring: keep everything for the subscriber of this name, before it comes and
                    while it is away; may be given several times
  -h, --help        this text

Without a subscriber that holds the stream back, old messages are overwritten when the ring is full: start
`subscribe PATH` first, or declare it with --durable NAME. When a subscriber is slow, or a durable one is
away, the publisher waits for it as soon as the ring is full.

Ctrl-C closes the stream, too. A publisher that is killed does not: subscribers wait for the next one, which
goes on where it stopped.

Try it:   publish /dev/shm/news --durable archive       in one terminal
          subscribe /dev/shm/news --name archive        in another
          subscribe /dev/shm/news --observe             in a third, which slows no process
          rm /dev/shm/news                              when done";

struct Options {
    path: PathBuf,
    capacity: usize,
    block_size: usize,
    durable: Vec<String>,
}

fn main() -> ExitCode {
    let result = match parse(env::args_os().skip(1)) {
        Ok(Some(options)) => publish(&options),
        Ok(None) => writeln!(io::stdout(), "{HELP}").map_err(Failure::from),
        Err(usage) => Err(usage.into()),
    };
    common::exit("publish", result)
}

/// None if help is asked for.
fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Option<Options>, Usage> {
    let (mut path, mut capacity, mut block_size, mut durable) = (None, 1024, 112, Vec::new());
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().and_then(|value| value.into_string().ok());
        match argument.to_str() {
            Some("-h" | "--help") => return Ok(None),
            Some("--capacity") => capacity = number("--capacity", value().as_deref())?,
            Some("--block") => block_size = number("--block", value().as_deref())?,
            Some("--durable") => durable.push(value().ok_or(Usage("--durable needs a name".into()))?),
            Some(option) if option.starts_with('-') => return Err(Usage(format!("unknown option {option}"))),
            _ if path.is_some() => return Err(Usage(format!("one ring at a time, not also {argument:?}"))),
            _ => path = Some(PathBuf::from(argument)),
        }
    }
    let path = path.ok_or(Usage("which ring? name its path".into()))?;
    Ok(Some(Options { path, capacity, block_size, durable }))
}

fn publish(options: &Options) -> Result<(), Failure> {
    let mut ring = RingOptions::new(options.block_size, options.capacity);
    for name in &options.durable {
        ring = ring.durable(name);
    }
    match ring.create(&options.path) {
        Ok(ring) => eprintln!(
            "publish: created {}, {} blocks of {} bytes",
            options.path.display(),
            ring.capacity(),
            ring.block_size()
        ),
        Err(AtPath { error: CreateError::AlreadyExists, .. }) => {
            let ring = Ring::open(&options.path)?;
            let blocks = (ring.capacity(), ring.block_size());
            eprintln!(
                "publish: {} is there, {} blocks of {} bytes",
                options.path.display(),
                blocks.0,
                blocks.1
            );
            let known = ring.consumers();
            if let Some(name) = options.durable.iter().find(|&name| !known.iter().any(|c| c.name == *name)) {
                return Err(Usage(format!(
                    "--durable {name} is for a new ring; run `subscribe PATH --name {name}` once instead"
                ))
                .into());
            }
        }
        Err(error) => return Err(error.into()),
    }
    let mut producer = Producer::<[u8]>::open(&options.path)?;
    common::catch_interrupts();

    let first = producer.head();
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    while read_line(&mut input, &mut line)? {
        for (kind, piece) in lines::pieces(&line, producer.block_size()) {
            if !send(&mut producer, kind, piece)? {
                break;
            }
        }
    }
    eprintln!("publish: closed after {} messages", producer.head() - first);
    producer.close()?;
    Ok(())
}

/// The next line, without its end; false at the end of the input, and after Ctrl-C.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    while !common::interrupted() {
        let available = match input.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if available.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = available.iter().position(|&byte| byte == b'\n');
        line.extend_from_slice(&available[..end.unwrap_or(available.len())]);
        let used = end.map_or(available.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Sends one message; names the reader that it waits for, if it has to wait long. False after
/// Ctrl-C.
fn send(producer: &mut Producer, kind: u32, message: &[u8]) -> Result<bool, SendError> {
    let mut told = None;
    while !common::interrupted() {
        match producer.send_timeout((kind, message), Duration::from_millis(200)) {
            Ok(_) => return Ok(true),
            Err(SendError::Full { holder, .. }) => {
                if told.as_ref() != Some(&holder.name) {
                    eprintln!("publish: waiting, the ring is full: {holder}");
                    told = Some(holder.name);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
