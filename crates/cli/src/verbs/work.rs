//! `work`: workers of a group, printing or running a command.

use crate::child::{End, Running};
use crate::exit::{Failure, Outcome};
use crate::facts::Facts;
use crate::format::{Format, FormatOptions, View};
use crate::output;
use crate::parse;
use crate::place::Await;
use crate::signals;
use slipring::{Delivery, GroupInfo, Kinds, LeaseLost, RecvError, Ring, Worker, WorkerOptions};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Exit codes of a command, as sysexits.h has them.
const TRY_AGAIN: i32 = 75;
const BAD_DATA: i32 = 65;
/// A shell's exit codes for a command that it cannot run, or does not find.
const CANNOT_RUN: [i32; 2] = [126, 127];
/// A shell's exit codes for a command that SIGHUP, SIGINT or SIGTERM ended.
const SIGNALLED: [i32; 3] = [129, 130, 143];

/// A message that fails without a backoff can be leased again at the next tick of the leases'
/// clock.
const AT_THE_MOMENT: Duration = Duration::from_millis(50);
/// So many looks in a row, a slice apart, at messages that wait for the dead-letter ring: it is
/// full.
const LOOKS_AT_DEAD_PENDING: u32 = 20;

/// Takes its share of a group's messages: prints each and acknowledges it, or runs a command for
/// each
///
/// With --exec the command gets the message on its standard input, and says by its exit code what
/// becomes of it: 0 acknowledges it, 65 rejects it (it goes to the dead-letter ring, with the last
/// line that the command wrote to standard error as its note), anything else, such as 75, fails it:
/// it is delivered again after the group's backoff. With 126 or 127 there is no such command, or it
/// cannot be run: the message is handed back untried, and the worker ends.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The command is run by the shell and finds SLIPRING_ID, SLIPRING_POSITION, SLIPRING_KIND and SLIPRING_ATTEMPT in \
its environment. The lease is extended while it runs: --max-run bounds that. It runs in a process group of its own, \
which a signal to the worker ends with SIGTERM; when the worker is killed, the kernel kills the command's first process. \
A delivery may be repeated: go by SLIPRING_ID.

Examples:
  slipring work /dev/shm/orders -g sms --exec './send-sms' -j 4 --max-run 1min
  slipring work /dev/shm/points -g points --drain --json")]
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
    /// Ends a command that runs for so long (SIGTERM, after 5 s SIGKILL), and counts the message as
    /// failed
    #[arg(long, value_name = "TIME", value_parser = parse::duration, requires = "exec")]
    max_run: Option<Duration>,
    /// So many workers at once, each with a message of its own
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: u16,
    /// Only messages of this kind: 3, !3 (all but 3) or ..3 (up to 3); the others wait for other
    /// workers
    #[arg(short, long, value_name = "KIND", value_parser = parse::kinds)]
    kind: Option<Kinds>,
    /// Ends after so many messages; with exit code 4 if it ends before
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// Ends when there is nothing to do at the moment, whatever rests for another attempt
    #[arg(short, long)]
    exit: bool,
    /// Ends when the group has settled everything: waits for what rests, and for other workers
    #[arg(long, conflicts_with_all = ["exit", "kind"])]
    drain: bool,
    /// Ends with exit code 4 when there was nothing to do for so long
    #[arg(long, value_name = "TIME", value_parser = parse::duration, conflicts_with_all = ["exit", "drain"])]
    timeout: Option<Duration>,
    #[command(flatten)]
    wait: Await,
    #[command(flatten)]
    format: FormatOptions,
}

pub(crate) fn run(args: &Work) -> Outcome {
    let place = args.wait.at(&args.path).any_type();
    args.format.parse(None).map_err(Failure::usage)?;
    let format = args.format.parse(Ring::open(&place)?.schema()).map_err(Failure::usage)?;
    // Joining would create the group; here a misspelt name is more likely.
    Facts::open(&args.path)?.group(&args.group)?;
    let join = |number: u16| -> Result<Worker, Failure> {
        let mut options = WorkerOptions::new(&args.group);
        if let Some(name) = &args.name {
            let name = if args.jobs == 1 { name.clone() } else { format!("{name}-{number}") };
            options = options.name(name);
        }
        Ok(options.join::<[u8]>(&place)?)
    };
    let shift = Shift::new(args, format)?;
    let serve = |number| join(number).and_then(|worker| shift.serve(&worker)).inspect_err(|_| shift.end());
    let outcome = std::thread::scope(|scope| {
        let others: Vec<_> = (2..=args.jobs).map(|number| scope.spawn(move || serve(number))).collect();
        let first = serve(1);
        let others = others
            .into_iter()
            .map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        others.fold(first, Result::and)
    });
    outcome.and_then(|()| shift.verdict())
}

/// The state that the workers of one command share.
struct Shift<'a> {
    args: &'a Work,
    format: Format,
    out: Mutex<File>,
    /// How many messages may still be taken.
    left: AtomicU64,
    done: AtomicU64,
    lost: AtomicU64,
    busy: AtomicU64,
    /// When a message was settled last.
    settled: Mutex<Instant>,
    over: AtomicBool,
    /// Why the dead-letter ring takes no message, as it was told last.
    obstacle: Mutex<Option<String>>,
    /// It was told that the group's limit is reached.
    told_limit: AtomicBool,
}

impl Shift<'_> {
    fn new(args: &Work, format: Format) -> Result<Shift<'_>, Failure> {
        Ok(Shift {
            args,
            format,
            out: Mutex::new(output::stdout()?),
            left: AtomicU64::new(args.count.unwrap_or(u64::MAX)),
            done: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            settled: Mutex::new(Instant::now()),
            over: AtomicBool::new(false),
            obstacle: Mutex::default(),
            told_limit: AtomicBool::new(false),
        })
    }

    /// No worker takes another message.
    fn end(&self) {
        self.over.store(true, Relaxed);
    }

    fn serve(&self, worker: &Worker) -> Outcome {
        let mut dead_pending = 0;
        while !self.over.load(Relaxed) && !signals::interrupted() {
            // One of the messages that may be taken, and given back if none comes.
            if self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err() {
                break;
            }
            self.busy.fetch_add(1, Relaxed);
            let slice = if self.args.exit { AT_THE_MOMENT } else { signals::SLICE };
            let received = worker.recv_kind(self.args.kind.unwrap_or(Kinds::Any), slice);
            let is_one = received.is_ok();
            let outcome = match received {
                Ok(delivery) => self.settle(worker, delivery).map(|()| true),
                Err(RecvError::Closed) if !self.args.drain => Ok(false),
                Err(RecvError::Closed) => {
                    signals::sleep_until(Instant::now() + AT_THE_MOMENT);
                    self.goes_on(&mut dead_pending)
                }
                Err(RecvError::TimedOut(_)) => self.goes_on(&mut dead_pending),
                Err(error) => Err(error.into()),
            };
            self.tell_obstacle(worker);
            if !is_one && worker.limit_reached().is_some() {
                self.tell_limit()?;
            }
            self.busy.fetch_sub(1, Relaxed);
            if !is_one {
                self.left.fetch_add(1, Relaxed);
            }
            if !outcome? {
                break;
            }
        }
        Ok(())
    }

    /// Says why the dead-letter ring takes no message, once for each reason.
    fn tell_obstacle(&self, worker: &Worker) {
        let now = worker.dead_letters_wait();
        let mut told = self.obstacle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = now.as_ref().filter(|_| now != *told) {
            output::note(&format!(
                "{}.dead: takes no message that is given up: {why}; the message waits, and no new attempt is made",
                self.args.path.display()
            ));
        }
        *told = now;
    }

    /// Says once that the group's limit holds messages back: a group with many workers may come to
    /// its limit all the time.
    fn tell_limit(&self) -> Outcome {
        let held_back = at_limit(&self.args.path, &self.group()?);
        if let Some(held_back) = held_back.filter(|_| !self.told_limit.swap(true, Relaxed)) {
            output::note(&held_back);
        }
        Ok(())
    }

    /// Whether a worker that found nothing looks again.
    fn goes_on(&self, dead_pending: &mut u32) -> Result<bool, Failure> {
        if self.args.exit {
            return Ok(false);
        }
        if self.args.drain {
            let group = self.group()?;
            *dead_pending = if group.num_dead_pending > 0 { *dead_pending + 1 } else { 0 };
            let is_done = group.num_pending + group.num_ack_pending == 0;
            return Ok(!is_done || (1..LOOKS_AT_DEAD_PENDING).contains(dead_pending));
        }
        let Some(limit) = self.args.timeout else { return Ok(true) };
        let idle = self.settled.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        // The one that looks here is busy, too.
        if idle < limit || self.busy.load(Relaxed) > u64::from(self.args.jobs) {
            return Ok(true);
        }
        let (path, waited) = (&self.args.path, output::span(limit));
        let held_back = at_limit(path, &self.group()?).map_or(String::new(), |text| format!(": {text}"));
        Err(Failure::empty(format!("{}: nothing to do for {waited}{held_back}", path.display())))
    }

    fn group(&self) -> Result<GroupInfo, Failure> {
        Ok(Facts::open(&self.args.path)?.group(&self.args.group)?.clone())
    }

    fn settle(&self, worker: &Worker, delivery: Delivery<'_>) -> Outcome {
        let number = self.done.fetch_add(1, Relaxed) + 1;
        let settled = match &self.args.exec {
            Some(command) => self.execute(command, worker, delivery)?,
            None => self.show(number, delivery)?,
        };
        if settled.is_err() {
            self.lost.fetch_add(1, Relaxed);
            output::note("the lease was over: another worker may do the same message");
        }
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(())
    }

    fn show(&self, number: u64, delivery: Delivery<'_>) -> Result<Result<(), LeaseLost>, Failure> {
        let mut out = Vec::new();
        let view = View { position: delivery.position(), kind: delivery.kind(), bytes: &delivery };
        self.format.append(&mut out, number, view);
        // A message that could not be shown: dropping the delivery hands it back.
        self.out.lock().unwrap_or_else(PoisonError::into_inner).write_all(&out)?;
        Ok(delivery.ack())
    }

    fn execute(
        &self,
        command: &str,
        worker: &Worker,
        mut delivery: Delivery<'_>,
    ) -> Result<Result<(), LeaseLost>, Failure> {
        let ack_wait = Duration::from_millis(worker.settings().ack_wait_ms.into());
        let ran = Running::begin(command, &delivery)
            .and_then(|running| running.watch(&mut delivery, ack_wait, self.args.max_run));
        let position = delivery.position();
        let (end, note) =
            ran.map_err(|error| Failure::error(format!("{command:?} cannot be run: {error}")))?;
        let status = match end {
            End::Exited(status) => status,
            // Settling it says that the lease is lost.
            End::LeaseLost => return Ok(delivery.ack()),
            End::RanTooLong => {
                let limit = output::span(self.args.max_run.unwrap_or_default());
                output::note(&format!(
                    "position {position}: ran for {limit} and was ended; counted as failed"
                ));
                return Ok(delivery.nack(None));
            }
        };
        Ok(match status.code() {
            Some(0) => delivery.ack(),
            Some(BAD_DATA) if note.is_empty() => {
                delivery.reject("the command said so (exit code 65)").map(drop)
            }
            Some(BAD_DATA) => delivery.reject(&note).map(drop),
            // A command that died by a signal of ours is not to blame.
            None if signals::interrupted() => delivery.hand_back(),
            Some(code) if signals::interrupted() && SIGNALLED.contains(&code) => delivery.hand_back(),
            Some(TRY_AGAIN) => delivery.nack(None),
            // Else a slip of the pen would send all there is to the dead letters.
            Some(code) if CANNOT_RUN.contains(&code) => {
                delivery
                    .hand_back()
                    .map_err(|_| Failure::LeaseLost(format!("position {position}: the lease was over")))?;
                return Err(Failure::error(format!(
                    "{command:?} cannot be run (exit code {code}); position {position} was handed back: correct \
                     --exec"
                )));
            }
            _ => {
                output::note(&format!("position {position}: {status}; counted as failed"));
                delivery.nack(None)
            }
        })
    }

    /// The outcome of the whole command.
    fn verdict(&self) -> Outcome {
        let (done, lost) = (self.done.load(Relaxed), self.lost.load(Relaxed));
        if lost > 0 {
            return Err(Failure::LeaseLost(format!(
                "{lost} of {} took longer than the group's ack-wait; make it longer: slipring group info {} {}",
                output::count(done, "message"),
                self.args.path.display(),
                self.args.group
            )));
        }
        if signals::interrupted() {
            return Ok(());
        }
        if self.args.exit || self.args.drain {
            self.tell_what_is_left()?;
        }
        match self.args.count.filter(|wanted| done < *wanted) {
            Some(wanted) => {
                let held_back = at_limit(&self.args.path, &self.group()?);
                let fate =
                    held_back.map_or("were there".to_owned(), |text| format!("could be leased: {text}"));
                Err(Failure::empty(format!("{done} of {} {fate}", output::count(wanted, "message"))))
            }
            None => Ok(()),
        }
    }

    fn tell_what_is_left(&self) -> Outcome {
        let group = self.group()?;
        if group.num_ack_pending > 0 {
            let left = output::are(group.num_ack_pending, "message");
            output::note(&format!(
                "{left} not settled: another attempt comes later, or another worker has it; --drain waits"
            ));
        }
        if group.num_dead_pending > 0 {
            let path = self.args.path.display();
            output::note(&format!(
                "{} for room in the dead-letter ring: slipring dead ls {path}",
                if group.num_dead_pending == 1 {
                    "1 message waits".to_owned()
                } else {
                    format!("{} messages wait", group.num_dead_pending)
                }
            ));
        }
        Ok(())
    }
}

/// That the limit of what may be in flight is reached, and the way out; none if it is not.
fn at_limit(path: &Path, group: &GroupInfo) -> Option<String> {
    group.is_at_limit().then(|| {
        let (path, name, limit) = (path.display(), &group.name, group.settings.max_ack_pending);
        format!(
            "{} not delivered, since group {name:?} has {} in flight, and its max-ack-pending is {limit}: slipring \
             group pending {path} {name} lists those, slipring group set {path} {name} max-ack-pending=N raises it",
            output::are(group.num_pending, "message"),
            group.num_ack_pending,
        )
    })
}
