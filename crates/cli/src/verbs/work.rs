//! `work`: a worker of a group, printing or running a command.

use crate::exit::{Failure, Outcome};
use crate::facts::Facts;
use crate::format::{FormatOptions, View};
use crate::output;
use crate::parse;
use crate::place::Await;
use crate::signals::{self, Deadline};
use slipring::{Delivery, LeaseLost, RecvError, Ring, WorkerOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// Exit codes of a command, as sysexits.h has them.
const TRY_AGAIN: i32 = 75;
const BAD_DATA: i32 = 65;
/// A shell's exit codes for a command that it cannot run, or does not find.
const CANNOT_RUN: [i32; 2] = [126, 127];

/// A message that fails without a backoff can be leased again at the next tick of the leases'
/// clock.
const AT_THE_MOMENT: Duration = Duration::from_millis(50);

/// Takes its share of a group's messages: prints each and acknowledges it, or runs a command for
/// each
///
/// With --exec the command gets the message on its standard input, and settles it by its exit code:
/// 0 acknowledges it, 65 rejects it (it goes to the dead-letter ring), anything else, such as 75,
/// fails it: it is delivered again after the group's backoff. With 126 or 127 there is no such
/// command, or it cannot be run: the message is handed back untried, and the worker ends.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The command is run by the shell and finds SLIPRING_ID, SLIPRING_POSITION, SLIPRING_KIND and SLIPRING_ATTEMPT in \
its environment. It has as long as the group's ack-wait. A delivery may be repeated: go by SLIPRING_ID.

Examples:
  slipring work /dev/shm/orders -g sms --exec './send-sms'
  slipring work /dev/shm/orders -g points -e --json")]
pub(crate) struct Work {
    /// The ring
    path: PathBuf,
    /// The group; `slipring group add` makes one
    #[arg(short, long, value_name = "NAME")]
    group: String,
    /// The worker's name in `group info`
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Runs this for each message
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// Ends after so many messages
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// Ends when there is no message to lease, instead of waiting
    #[arg(short, long)]
    exit: bool,
    /// Ends with exit code 4 when there was no message to lease for so long
    #[arg(long, value_name = "TIME", value_parser = parse::duration, conflicts_with = "exit")]
    timeout: Option<Duration>,
    #[command(flatten)]
    wait: Await,
    #[command(flatten)]
    format: FormatOptions,
}

pub(crate) fn run(args: &Work) -> Outcome {
    let format = args.format.parse().map_err(Failure::usage)?;
    let place = args.wait.at(&args.path).any_type();
    drop(Ring::open(&place)?);
    // Joining would create the group; here a misspelt name is more likely.
    Facts::open(&args.path)?.group(&args.group)?;
    let mut options = WorkerOptions::new(&args.group);
    if let Some(name) = &args.name {
        options = options.name(name);
    }
    let worker = options.join::<[u8]>(&place)?;
    let mut stdout = output::stdout()?;
    let (mut done, mut lost, mut out) = (0_u64, 0_u64, Vec::new());
    let mut deadline = Deadline::after(args.timeout);
    while args.count.is_none_or(|count| done < count) && !signals::interrupted() {
        let received = worker.recv_timeout(if args.exit { AT_THE_MOMENT } else { deadline.slice() });
        let delivery = match received {
            Ok(delivery) => delivery,
            Err(RecvError::Closed) => break,
            Err(RecvError::TimedOut(_)) if args.exit => break,
            Err(RecvError::TimedOut(_)) if !deadline.is_over() => continue,
            Err(RecvError::TimedOut(_)) => {
                let waited = output::span(args.timeout.unwrap_or_default());
                return Err(Failure::empty(format!("{}: nothing to do for {waited}", args.path.display())));
            }
            Err(error) => return Err(error.into()),
        };
        done += 1;
        let settled = if let Some(command) = &args.exec {
            execute(command, delivery)?
        } else {
            out.clear();
            let view = View { position: delivery.position(), kind: delivery.kind(), bytes: &delivery };
            format.append(&mut out, done, view);
            // Dropping the delivery hands back a message that could not be printed.
            stdout.write_all(&out)?;
            delivery.ack()
        };
        if settled.is_err() {
            lost += 1;
            output::note("the lease was over: another worker may do the same message");
        }
        deadline = Deadline::after(args.timeout);
    }
    match lost {
        0 => Ok(()),
        n => Err(Failure::LeaseLost(format!(
            "{n} of {done} messages took longer than the group's ack-wait; make it longer: slipring group info {} {}",
            args.path.display(),
            args.group
        ))),
    }
}

fn execute(command: &str, delivery: Delivery<'_>) -> Result<Result<(), LeaseLost>, Failure> {
    let status = match feed(command, &delivery) {
        Ok(status) => status,
        Err(error) => return Err(Failure::error(format!("{command:?} cannot be run: {error}"))),
    };
    Ok(match status.code() {
        Some(0) => delivery.ack(),
        Some(BAD_DATA) => delivery.reject("the command said so (exit code 65)").map(drop),
        // A command that died by a signal of ours is not to blame.
        None if signals::interrupted() => delivery.hand_back(),
        Some(TRY_AGAIN) => delivery.nack(None),
        // Otherwise a misspelt command would send every message to the dead letters.
        Some(code) if CANNOT_RUN.contains(&code) => {
            let position = delivery.position();
            delivery
                .hand_back()
                .map_err(|_| Failure::LeaseLost(format!("position {position}: the lease was over")))?;
            return Err(Failure::error(format!(
                "{command:?} cannot be run (exit code {code}); position {position} was handed back: correct --exec"
            )));
        }
        _ => {
            output::note(&format!("position {}: {status}; counted as failed", delivery.position()));
            delivery.nack(None)
        }
    })
}

fn feed(command: &str, delivery: &Delivery<'_>) -> io::Result<ExitStatus> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .env("SLIPRING_ID", delivery.id().to_string())
        .env("SLIPRING_POSITION", delivery.position().to_string())
        .env("SLIPRING_KIND", delivery.kind().to_string())
        .env("SLIPRING_ATTEMPT", delivery.attempt().to_string())
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command need not read its input.
        match stdin.write_all(delivery) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    child.wait()
}
