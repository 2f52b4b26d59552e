//! `pub`: messages into a ring, from the command line, a file or standard input.

use crate::exit::{Failure, Outcome};
use crate::output;
use crate::parse;
use crate::place::Await;
use crate::signals::{self, Deadline};
use crate::source::Source;
use slipring::{At, AttachError, Producer, SendError};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::splitter::{Boundaries, Long, Splitter};
use crate::verbs::stat;

/// Messages that are published at once, at most.
const BATCH: usize = 1024;

/// How often it is looked whether another producer has left.
const TURN: Duration = Duration::from_millis(20);

/// Publishes lines from standard input, or a message given here
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Each line is a message, without its newline. What was published before an error or Ctrl-C stays \
published.

Examples:
  slipring pub /dev/shm/news 'hello'
  tail -f app.log | slipring pub /dev/shm/news --long split
  slipring pub /dev/shm/video --raw < film.bin && slipring sub /dev/shm/video -e --raw > copy.bin")]
pub(crate) struct Publish {
    /// The ring
    path: PathBuf,
    /// One message; without it, standard input or --file is read
    message: Option<String>,
    /// Reads this file instead of standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "message")]
    file: Option<PathBuf>,
    /// The kind of the messages, by which workers choose
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    kind: u32,
    /// Ends after so many messages; a MESSAGE is repeated so often
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// At most so many messages per second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Fails with exit code 5 when the ring is full, instead of waiting for room
    #[arg(long, conflicts_with = "timeout")]
    nowait: bool,
    /// Waits for room so long, then fails with exit code 5
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    timeout: Option<Duration>,
    /// Before each message its length, as 4 bytes little-endian: binary data with its boundaries
    #[arg(long, conflicts_with = "message")]
    framed: bool,
    /// Cuts the input into whole blocks: binary data that keeps its bytes, not its boundaries
    #[arg(long, conflicts_with_all = ["message", "framed"])]
    raw: bool,
    /// Messages end with a NUL instead of a newline
    #[arg(short = '0', long, conflicts_with_all = ["message", "framed", "raw"])]
    null: bool,
    /// What becomes of a message that is longer than a block
    #[arg(long, value_enum, value_name = "WHAT", default_value = "fail")]
    long: Long,
    /// Closes the stream afterwards: readers end when they have read all messages
    #[arg(long)]
    close: bool,
    /// Publishes into a ring that carries values of a type; its readers skip messages of another
    /// length
    #[arg(long)]
    any_type: bool,
    /// Where another producer lives, waits until it has left, at most for --timeout
    #[arg(long)]
    wait_turn: bool,
    #[command(flatten)]
    wait: Await,
}

impl Publish {
    /// The ring's producer, of which there is one.
    fn open(&self) -> Result<Producer, Failure> {
        let deadline = Deadline::after(self.timeout);
        loop {
            let error = match Producer::<[u8]>::open(self.place()) {
                Ok(producer) => return Ok(producer),
                Err(error) => error,
            };
            let is_taken = matches!(error.error, AttachError::ProducerExists { .. });
            if !is_taken || !self.wait_turn || deadline.is_over() || signals::interrupted() {
                return Err(error.into());
            }
            signals::sleep_until(Instant::now() + TURN.min(deadline.slice()));
        }
    }

    fn place(&self) -> At {
        let at = self.wait.at(&self.path);
        if self.any_type { at.any_type() } else { at }
    }
}

pub(crate) fn run(args: &Publish) -> Outcome {
    let mut outlet = Outlet::open(args)?;
    let outcome = match &args.message {
        Some(message) => repeat(&mut outlet, message.as_bytes(), args),
        None => copy(&mut outlet, args),
    };
    outcome?;
    outlet.end(args.close)
}

fn repeat(outlet: &mut Outlet, message: &[u8], args: &Publish) -> Outcome {
    let times = usize::try_from(args.count.unwrap_or(1)).unwrap_or(usize::MAX);
    let parts = args.long.parts(message, outlet.producer.block_size());
    outlet.left = (times as u64).saturating_mul(parts.len() as u64);
    outlet.send(&mut std::iter::repeat_n(&parts, times).flatten().copied())
}

fn copy(outlet: &mut Outlet, args: &Publish) -> Outcome {
    let boundaries = match () {
        () if args.framed => Boundaries::Framed,
        () if args.raw => Boundaries::Every(outlet.producer.block_size()),
        () => Boundaries::Delimiter(if args.null { 0 } else { b'\n' }),
    };
    let mut source = Source::open(args.file.as_deref())?;
    let mut splitter = Splitter::new(boundaries, outlet.producer.block_size(), args.long);
    let outcome = copy_all(outlet, &mut source, &mut splitter);
    let became = match args.long {
        Long::Fail => return outcome,
        Long::Split => "split into several messages",
        Long::Truncate => "cut off at the end of a block",
        Long::Skip => "left out",
    };
    if splitter.too_long() > 0 {
        let long = output::count(splitter.too_long(), "message");
        output::note(&format!("longer than a block, and {became}: {long}"));
    }
    outcome
}

fn copy_all(outlet: &mut Outlet, source: &mut Source, splitter: &mut Splitter) -> Outcome {
    while !outlet.is_done() {
        let Some(read) = source.read(splitter.room())? else { break };
        splitter.filled(read);
        let mut messages = splitter.messages();
        outlet.send(&mut messages)?;
        let fault = messages.fault();
        if let Some(fault) = fault {
            return Err(Failure::error(format!("message {}: {fault}", outlet.sent + 1)));
        }
        splitter.compact();
        if read == 0 {
            return Ok(());
        }
    }
    // Ctrl-C ends a pipe that never ends by itself; unread input is not an error.
    if outlet.left > 0 && source.has_more() { Err(outlet.interrupted()) } else { Ok(()) }
}

/// Where messages go to: as fast as there is room, or as the rate says.
struct Outlet {
    producer: Producer,
    kind: u32,
    left: u64,
    sent: u64,
    rate: Option<u32>,
    began: Instant,
    nowait: bool,
    timeout: Option<Duration>,
}

impl Outlet {
    fn open(args: &Publish) -> Result<Outlet, Failure> {
        Ok(Outlet {
            producer: args.open()?,
            kind: args.kind,
            left: args.count.unwrap_or(u64::MAX),
            sent: 0,
            rate: args.rate,
            began: Instant::now(),
            nowait: args.nowait,
            timeout: args.timeout,
        })
    }

    /// The ring did not take the next message.
    fn refused(&self, error: SendError) -> Failure {
        let said = format!("{error}; published: {}", output::count(self.sent, "message"));
        match error {
            SendError::TooLarge { len, block_size, .. } => Failure::error(format!(
                "message {} has {len} bytes, a block of this ring {block_size}: create the ring with a larger \
                 --block-size, or say --long split, truncate or skip; published before it: {}",
                self.sent + 1,
                output::count(self.sent, "message")
            )),
            SendError::Full { path, .. } => {
                Failure::Full(format!("{said}{}", stat::if_full_of_dead_pending(&path)))
            }
            _ => Failure::error(said),
        }
    }

    /// Looks whether what was published is in the ring at the path.
    fn end(mut self, close: bool) -> Outcome {
        let checked = self.producer.check().map_err(|error| self.refused(error));
        if close {
            self.producer.close().map_err(|error| Failure::error(error.to_string()))?;
        }
        checked
    }

    /// A signal came, and there was more to publish.
    fn interrupted(&self) -> Failure {
        Failure::error(format!(
            "interrupted: {} published, the rest of the input not",
            output::count(self.sent, "message")
        ))
    }

    fn is_done(&self) -> bool {
        self.left == 0 || signals::interrupted()
    }

    /// Publishes all of them, or as many as there should be. A signal before that is an error.
    fn send(&mut self, messages: &mut dyn Iterator<Item = &[u8]>) -> Outcome {
        let (kind, mut next) = (self.kind, messages.next());
        while let Some(first) = next {
            if !self.pace() {
                return if self.left == 0 { Ok(()) } else { Err(self.interrupted()) };
            }
            let most = if self.rate.is_some() { 1 } else { BATCH };
            let most = most.min(usize::try_from(self.left).unwrap_or(BATCH));
            let mut batch = match claim(&mut self.producer, most, self.nowait, self.timeout) {
                Ok(Some(batch)) => batch,
                Ok(None) => return Err(self.interrupted()),
                Err(error) => return Err(self.refused(error)),
            };
            let mut pushed = batch.push((kind, first));
            next = None;
            while pushed.is_ok() {
                next = messages.next();
                match next {
                    Some(message) if batch.remaining() > 0 => pushed = batch.push((kind, message)),
                    _ => break,
                }
            }
            let count = batch.len() as u64;
            batch.publish().map_err(|error| self.refused(error))?;
            self.sent += count;
            self.left -= count;
            pushed.map_err(|error| self.refused(error))?;
            if self.left == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits until the next message is due. False after a signal, or when there were enough.
    fn pace(&self) -> bool {
        match self.rate {
            _ if self.is_done() => false,
            None => true,
            Some(rate) => {
                let due = Duration::from_secs_f64(self.sent as f64 / f64::from(rate));
                self.began.checked_add(due).is_none_or(signals::sleep_until)
            }
        }
    }
}

/// None after a signal.
fn claim(
    producer: &mut Producer,
    most: usize,
    nowait: bool,
    timeout: Option<Duration>,
) -> Result<Option<slipring::BatchClaim<'_>>, SendError> {
    let deadline = Deadline::after(timeout);
    if nowait {
        return producer.try_claim_batch(most).map(Some);
    }
    while !signals::interrupted() {
        match producer.claim_batch_timeout(1, deadline.slice()) {
            Ok(_) => {}
            Err(SendError::Full { .. }) if !deadline.is_over() => continue,
            Err(error) => return Err(error),
        }
        // There is room now, and a ring has one producer.
        return producer.try_claim_batch(most).map(Some);
    }
    Ok(None)
}
