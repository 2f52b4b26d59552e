//! Runs the operations, point by point, and reports.

use crate::ops::{OPS, Op};
use crate::points::{Point, SHORT, Survey, freeze, kill, survey};
use crate::world::{BLOCKS, Mode};
use std::cell::RefCell;
use std::sync::Mutex;
use std::time::Instant;

/// Failures of one operation that are printed.
const TOLD: usize = 5;
/// Stopped is a process at every so many-th instruction of a short operation, unless told
/// otherwise.
const FREEZE_EVERY: usize = 7;

/// A process that is not where the survey said, since a clock ticked or the kernel answered
/// otherwise, is led there again, so often.
const AGAIN: usize = 8;

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The command.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) command: &'a str,
    ops: Vec<&'a str>,
    at: Option<u64>,
    every: Option<usize>,
    offset: usize,
    block: Option<usize>,
    jobs: usize,
}

impl<'a> Plan<'a> {
    pub(crate) fn parse(words: &[&'a str]) -> Result<Plan<'a>, String> {
        let Some((&command, mut rest)) = words.split_first() else {
            return Err("what shall be done?".to_owned());
        };
        if !["full", "kill", "freeze"].contains(&command) {
            return Err(format!("{command:?} is no command"));
        }
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let mut plan = Plan { command, ops: Vec::new(), at: None, every: None, offset: 0, block: None, jobs };
        while let [option, value, others @ ..] = rest {
            let number = || value.parse::<usize>().map_err(|_| format!("{value:?} is no number"));
            match *option {
                "--op" if OPS.iter().any(|op| op.name == *value) => plan.ops.push(value),
                "--op" => return Err(format!("no operation is called {value:?}")),
                "--at" if *value == "end" => plan.at = Some(u64::MAX),
                "--at" => plan.at = Some(number()? as u64),
                "--every" => plan.every = Some(number()?.max(1)),
                "--offset" => plan.offset = number()?,
                "--block" => plan.block = Some(number()?),
                "--jobs" => plan.jobs = number()?.max(1),
                _ => return Err(format!("{option:?} is no option")),
            }
            rest = others;
        }
        if rest.is_empty() { Ok(plan) } else { Err(format!("{:?} needs a value", rest[0])) }
    }

    /// Bytes of a block, one run after the other.
    pub(crate) fn blocks(&self) -> Vec<usize> {
        self.block.map_or(BLOCKS.to_vec(), |block| vec![block])
    }

    /// Runs every operation, and returns the number of failures.
    pub(crate) fn run(&self, mode: Mode) -> usize {
        std::panic::set_hook(Box::new(|info| {
            PANIC.with_borrow_mut(|text| *text = info.to_string());
        }));
        let start = Instant::now();
        println!(
            "{:<28} {:>12} {:>8} {:>8} {:>8} {:>9}",
            mode.name(),
            "instructions",
            "states",
            "tried",
            "adrift",
            "failures"
        );
        let wanted = OPS.iter().filter(|op| self.ops.is_empty() || self.ops.contains(&op.name));
        let queue = Mutex::new(wanted);
        let total = Mutex::new(Tally::default());
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    loop {
                        let Some(op) = queue.lock().unwrap().next() else { return };
                        let tally = self.run_op(op, mode);
                        total.lock().unwrap().add(&tally);
                    }
                });
            }
        });
        let total = total.into_inner().unwrap();
        total.print("total");
        println!("in {:.1} s\n", start.elapsed().as_secs_f64());
        let _ = std::panic::take_hook();
        total.failures
    }

    fn run_op(&self, op: &'static Op, mode: Mode) -> Tally {
        let began = Instant::now();
        let mut tally = Tally::default();
        let mut told = 0;
        let mut fail = |tally: &mut Tally, at: u64, why: String| {
            tally.failures += 1;
            told += 1;
            if told <= TOLD {
                let at = if at == u64::MAX { "end".to_owned() } else { at.to_string() };
                println!("FAILED {} --op {} --at {at}: {why}", mode.name(), op.name);
            }
        };
        let points = match self.at {
            Some(at) => Point::after(at).both_ways().to_vec(),
            None => match caught(|| survey(op, mode)) {
                Ok(found) => {
                    (tally.instructions, tally.states) = (found.instructions, found.states);
                    self.choose(found, mode)
                }
                Err(why) => {
                    fail(&mut tally, 0, format!("survey: {why}"));
                    Vec::new()
                }
            },
        };
        let mut busy_tables = 0;
        for point in points {
            tally.tried += 1;
            for turn in 1..=AGAIN {
                let tried = caught(|| match mode {
                    Mode::Kill => kill(op, point),
                    Mode::Freeze => freeze(op, point, &mut busy_tables),
                });
                match tried {
                    Ok(true) => break,
                    Ok(false) => tally.adrift += usize::from(turn == AGAIN),
                    Err(why) => {
                        fail(&mut tally, point.at, why);
                        break;
                    }
                }
            }
        }
        tally.print(op.name);
        if std::env::var_os("SLIPRING_CRASH_TIMES").is_some() {
            println!("    {:.1} s", began.elapsed().as_secs_f64());
        }
        tally
    }

    fn choose(&self, found: Survey, mode: Mode) -> Vec<Point> {
        let sampled = mode == Mode::Freeze && found.instructions <= SHORT;
        let every = self.every.unwrap_or(if sampled { FREEZE_EVERY } else { 1 });
        let first = self.offset % every.min(found.points.len());
        found.points.into_iter().skip(first).step_by(every).collect()
    }
}

#[derive(Debug, Default)]
struct Tally {
    instructions: u64,
    states: usize,
    tried: usize,
    adrift: usize,
    failures: usize,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.instructions += other.instructions;
        self.states += other.states;
        self.tried += other.tried;
        self.adrift += other.adrift;
        self.failures += other.failures;
    }

    fn print(&self, name: &str) {
        let Tally { instructions, states, tried, adrift, failures } = self;
        println!("{name:<28} {instructions:>12} {states:>8} {tried:>8} {adrift:>8} {failures:>9}");
    }
}

/// The panic of `run`, if there was one.
fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .map_err(|_| PANIC.with_borrow_mut(std::mem::take))
}
