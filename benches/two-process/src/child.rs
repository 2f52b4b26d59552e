//! A child process: one side of a run, or both if they are threads.

use crate::channel::{AcrossProcesses, AcrossThreads, Failure, Receiver, Sender};
use crate::place::Place;
use crate::run::{Measure, Outcome, Schedule, Verdict};
use crate::systems::{Visitor, visit};
use crate::{group, loops, machine};
use clap::{Args, ValueEnum};
use std::io::{self, BufRead};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

/// How often a receiving end is opened.
const ATTACHES: usize = 1000;

/// Which side of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Makes the channels and sends first.
    Near,
    /// Receives, and answers if that is measured.
    Far,
    /// Both, in two threads.
    Both,
}

/// The orders to a child.
#[derive(Clone, Debug, Args)]
pub(crate) struct Orders {
    #[arg(long)]
    pub(crate) role: Role,
    #[arg(long)]
    pub(crate) system: String,
    #[arg(long)]
    pub(crate) measure: Measure,
    #[arg(long)]
    pub(crate) size: usize,
    #[arg(long)]
    pub(crate) seconds: f64,
    #[arg(long)]
    pub(crate) directory: PathBuf,
    #[arg(long, value_delimiter = ',')]
    pub(crate) cores: Vec<usize>,
}

/// Does it, and says on the standard output how it went.
pub(crate) fn run(orders: &Orders) -> Result<(), Failure> {
    // SAFETY: no pointers. A child must end with its parent.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    report(side(orders))
}

fn report(result: Result<Outcome, Failure>) -> Result<(), Failure> {
    let verdict = match result {
        Ok(outcome) => Verdict::Done(outcome),
        Err(error) => Verdict::Failed(error.to_string()),
    };
    println!("{}", serde_json::to_string(&verdict)?);
    Ok(())
}

fn side(orders: &Orders) -> Result<Outcome, Failure> {
    let near_core = *orders.cores.first().ok_or("no cores were given")?;
    let far_cores = if orders.cores.len() > 1 { &orders.cores[1..] } else { &orders.cores };
    machine::pin(if orders.role == Role::Far { far_cores[0] } else { near_core })?;
    let side = Side {
        role: orders.role,
        measure: orders.measure,
        schedule: Schedule::seconds(orders.seconds),
        there: Place::there(&orders.directory),
        back: Place::back(&orders.directory),
        far_core: far_cores[0],
    };
    if let Some(workers) = group::workers_of(&orders.system) {
        return side.group(workers, far_cores);
    }
    visit(&orders.system, orders.measure, orders.size, side)
}

/// Says that this side is ready, and waits until the other is.
fn everybody_ready() -> Result<(), Failure> {
    println!("ready");
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    if line.is_empty() { Err("nobody is in charge any more".into()) } else { Ok(()) }
}

#[derive(Clone, Debug)]
struct Side {
    role: Role,
    measure: Measure,
    schedule: Schedule,
    there: Place,
    back: Place,
    far_core: usize,
}

impl Side {
    fn group(&self, workers: usize, cores: &[usize]) -> Result<Outcome, Failure> {
        if self.role == Role::Near {
            group::create(&self.there)?;
        }
        everybody_ready()?;
        match self.role {
            Role::Near => group::near(&self.there, self.schedule),
            _ => group::far(&self.there, self.schedule, workers, cores),
        }
    }

    fn send<const N: usize>(&self, tx: &mut impl Sender<N>) -> Result<Outcome, Failure> {
        match self.measure {
            Measure::Wake => loops::knock(tx, self.schedule),
            measure => loops::pour(tx, self.schedule, measure == Measure::Batch),
        }
    }

    fn receive<const N: usize>(&self, rx: &mut impl Receiver<N>) -> Result<Outcome, Failure> {
        match self.measure {
            Measure::Wake => loops::sleep(rx, self.schedule),
            measure => loops::drain(rx, self.schedule, measure == Measure::Batch),
        }
    }

    fn attach<const N: usize, S: AcrossProcesses<N>>(&self) -> Result<Outcome, Failure> {
        S::create(&self.there)?;
        let sender = S::sender(&self.there)?;
        everybody_ready()?;
        let outcome = loops::attach(ATTACHES, || S::receiver(&self.there));
        drop(sender);
        outcome
    }

    /// The near side makes the channel; the far side opens its end, and nothing before.
    fn first<const N: usize, S: AcrossProcesses<N>>(&self) -> Result<Outcome, Failure> {
        if self.role == Role::Near {
            S::create(&self.there)?;
            let sender = S::sender(&self.there)?;
            everybody_ready()?;
            everybody_ready()?;
            drop(sender);
            return Ok(Outcome { messages: 1, ..Outcome::default() });
        }
        everybody_ready()?;
        let (done, until_done) = mpsc::channel::<()>();
        let second = thread::spawn(move || until_done.recv().is_ok());
        let outcome = loops::attach(1, || S::receiver(&self.there));
        drop(done);
        second.join().map_err(|_| "the second thread panicked")?;
        everybody_ready()?;
        outcome
    }

    /// Channels are made, then sending ends, then receiving ends, then they meet.
    fn one_way<const N: usize, S: AcrossProcesses<N>>(&self) -> Result<Outcome, Failure> {
        if self.role == Role::Near {
            S::create(&self.there)?;
            everybody_ready()?;
            let mut tx = S::sender(&self.there)?;
            everybody_ready()?;
            everybody_ready()?;
            tx.meet()?;
            let outcome = self.send(&mut tx)?;
            everybody_ready()?; // not to take away what the other side has not read yet
            Ok(outcome)
        } else {
            everybody_ready()?;
            everybody_ready()?;
            let mut rx = S::receiver(&self.there)?;
            everybody_ready()?;
            rx.meet()?;
            let outcome = self.receive(&mut rx)?;
            everybody_ready()?;
            Ok(outcome)
        }
    }

    fn both_ways<const N: usize, S: AcrossProcesses<N>>(&self) -> Result<Outcome, Failure> {
        let is_near = self.role == Role::Near;
        let (out, home) = if is_near { (&self.there, &self.back) } else { (&self.back, &self.there) };
        if is_near {
            S::create(out)?;
            S::create(home)?;
        }
        everybody_ready()?;
        let mut tx = S::sender(out)?;
        everybody_ready()?;
        let mut rx = S::receiver(home)?;
        everybody_ready()?;
        tx.meet()?;
        rx.meet()?;
        let outcome = if is_near {
            loops::ping(&mut tx, &mut rx, self.schedule)
        } else {
            loops::echo(&mut rx, &mut tx)
        }?;
        everybody_ready()?;
        Ok(outcome)
    }
}

impl Visitor for Side {
    fn processes<const N: usize, S: AcrossProcesses<N>>(self) -> Result<Outcome, Failure> {
        match self.measure {
            Measure::Attach => self.attach::<N, S>(),
            Measure::First => self.first::<N, S>(),
            Measure::Roundtrip => self.both_ways::<N, S>(),
            _ => self.one_way::<N, S>(),
        }
    }

    fn threads<const N: usize, S: AcrossThreads<N>>(self) -> Result<Outcome, Failure> {
        let (mut tx, mut far_rx) = S::pair();
        let (mut far_tx, mut rx) = S::pair();
        everybody_ready()?;
        let is_round_trip = self.measure == Measure::Roundtrip;
        let near = self.clone();
        thread::scope(|scope| {
            let far = scope.spawn(move || {
                let outcome = machine::pin(self.far_core).and_then(|()| {
                    if is_round_trip {
                        loops::echo(&mut far_rx, &mut far_tx)
                    } else {
                        self.receive(&mut far_rx)
                    }
                });
                outcome.unwrap_or_else(give_up)
            });
            let near =
                if is_round_trip { loops::ping(&mut tx, &mut rx, near.schedule) } else { near.send(&mut tx) };
            let near = near.unwrap_or_else(give_up);
            let far = far.join().map_err(|_| "the far thread panicked")?;
            combine(near, far)
        })
    }
}

/// Ends the process, because the other thread would wait for this one for ever.
fn give_up(error: Failure) -> Outcome {
    let reported = report(Err(error));
    std::process::exit(if reported.is_ok() { 0 } else { 1 });
}

/// The results of the two sides, if both counted the same number of messages.
pub(crate) fn combine(near: Outcome, far: Outcome) -> Result<Outcome, Failure> {
    if near.messages != far.messages {
        return Err(format!("{} messages were sent, but {} received", near.messages, far.messages).into());
    }
    Ok(if near.counted > 0 { near } else { far })
}
