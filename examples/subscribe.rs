//! The other of two terminals: prints what `publish` sends.

mod common;
#[path = "common/kinds.rs"]
mod kinds;

use common::{Failure, Usage, number};
use kinds::CONTINUES;
use slipring::{ConsumerOptions, Observer, RecvError, Start};
use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = "\
Prints the messages of a ring, a line each, until the stream is closed.

Usage: subscribe PATH [options]

  PATH              the ring; `publish PATH` creates it
  --name NAME       be the durable subscriber NAME: nothing is lost to it, and when it comes back it goes on
                    at the first line that it has not printed. While it is away the publisher waits for it
                    as soon as the ring is full
  --from WHERE      begin at the `earliest` message that is there (default), with what comes `latest`, or at
                    a position: a number. A durable subscriber that comes back ignores it
  --observe         read along without holding the publisher up, or even the right to write the file: lines that
                    were overwritten before they could be read are counted, and the count is told
  -h, --help        this text

Ctrl-C ends it. Lines longer than a block come in several messages and are put together again.";

struct Options {
    path: PathBuf,
    name: Option<String>,
    start: Start,
    observe: bool,
}

/// Looks up from waiting this often, for Ctrl-C.
const PATIENCE: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let result = match parse(env::args_os().skip(1)) {
        Ok(Some(options)) => {
            common::catch_interrupts();
            let mut output = io::BufWriter::new(io::stdout().lock());
            if options.observe { observe(&options, &mut output) } else { consume(&options, &mut output) }
        }
        Ok(None) => writeln!(io::stdout(), "{HELP}").map_err(Failure::from),
        Err(usage) => Err(usage.into()),
    };
    common::exit("subscribe", result)
}

/// None if help is asked for.
fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Option<Options>, Usage> {
    let (mut path, mut name, mut start, mut observe) = (None, None, Start::Earliest, false);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().and_then(|value| value.into_string().ok());
        match argument.to_str() {
            Some("-h" | "--help") => return Ok(None),
            Some("--observe") => observe = true,
            Some("--name") => name = Some(value().ok_or(Usage("--name needs a name".into()))?),
            Some("--from") => {
                start = match value().as_deref() {
                    Some("earliest") => Start::Earliest,
                    Some("latest") => Start::Latest,
                    position => Start::At(number("--from", position)?),
                }
            }
            Some(option) if option.starts_with('-') => return Err(Usage(format!("unknown option {option}"))),
            _ if path.is_some() => return Err(Usage(format!("one ring at a time, not also {argument:?}"))),
            _ => path = Some(PathBuf::from(argument)),
        }
    }
    if observe && name.is_some() {
        return Err(Usage("an observer has no name: choose --observe or --name".into()));
    }
    let path = path.ok_or(Usage("which ring? name its path".into()))?;
    Ok(Some(Options { path, name, start, observe }))
}

fn print(output: &mut impl Write, kind: u32, message: &[u8]) -> io::Result<()> {
    output.write_all(message)?;
    if kind == CONTINUES { Ok(()) } else { output.write_all(b"\n") }
}

fn consume(options: &Options, output: &mut impl Write) -> Result<(), Failure> {
    let how = ConsumerOptions::new().start(options.start);
    let mut consumer = match &options.name {
        Some(name) => how.name(name).durable(true).attach::<[u8]>(&options.path)?,
        None => how.attach::<[u8]>(&options.path)?,
    };
    eprintln!("subscribe: from position {}", consumer.position());
    while !common::interrupted() {
        let batch = match consumer.recv_batch_timeout(1024, PATIENCE) {
            Ok(batch) => batch,
            Err(RecvError::TimedOut(_)) => continue,
            Err(RecvError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut printed = batch.iter().try_for_each(|message| print(output, message.kind(), &message));
        if printed.is_ok() {
            printed = output.flush();
        }
        if let Err(error) = printed {
            // Not dropped: dropping a batch releases its messages, and these were not printed.
            batch.keep();
            return Err(error.into());
        }
    }
    Ok(())
}

fn observe(options: &Options, output: &mut impl Write) -> Result<(), Failure> {
    let mut observer = Observer::<[u8]>::attach(&options.path, options.start)?;
    eprintln!("subscribe: observing from position {}", observer.position());
    while !common::interrupted() {
        let message = match observer.try_recv() {
            Err(RecvError::Empty) => {
                output.flush()?; // nothing more for the moment: show what there is
                observer.recv_timeout(PATIENCE)
            }
            message => message,
        };
        match message {
            Ok(message) => {
                print(output, message.kind(), &message)?;
            }
            Err(RecvError::Lagged { missed }) => {
                output.flush()?;
                eprintln!("subscribe: missed {missed} messages");
            }
            Err(RecvError::TimedOut(_)) => {}
            Err(RecvError::Closed) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(output.flush()?)
}
