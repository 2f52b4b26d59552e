//! Runs the operations, point by point, and reports.

use crate::ops::{HELPERS, OPS, Op};
use crate::raw::{Raw, Watch};
use crate::trace::{Marks, Stop, Victim};
use crate::world::{Ending, Mode, PATIENCE, World};
use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// An operation of up to so many instructions is killed at each of them.
const SHORT: u64 = 1200;
/// Failures of one operation that are printed.
const TOLD: usize = 5;
/// Stopped is a process at every so many-th instruction of a short operation, unless told otherwise.
const FREEZE_EVERY: usize = 7;

/// A process that is not where the survey said, since a clock ticked or the kernel answered otherwise, is led
/// there again, so often.
const AGAIN: usize = 8;

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What to run.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) command: &'a str,
    ops: Vec<&'a str>,
    at: Option<u64>,
    every: Option<usize>,
    offset: usize,
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
        let mut plan = Plan { command, ops: Vec::new(), at: None, every: None, offset: 0, jobs };
        while let [option, value, others @ ..] = rest {
            let number = || value.parse::<usize>().map_err(|_| format!("{value:?} is no number"));
            match *option {
                "--op" if OPS.iter().any(|op| op.name == *value) => plan.ops.push(value),
                "--op" => return Err(format!("no operation is called {value:?}")),
                "--at" if *value == "end" => plan.at = Some(u64::MAX),
                "--at" => plan.at = Some(number()? as u64),
                "--every" => plan.every = Some(number()?.max(1)),
                "--offset" => plan.offset = number()?,
                "--jobs" => plan.jobs = number()?.max(1),
                _ => return Err(format!("{option:?} is no option")),
            }
            rest = others;
        }
        if rest.is_empty() { Ok(plan) } else { Err(format!("{:?} needs a value", rest[0])) }
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
            Some(at) => Point { at, ..Point::default() }.both_ways().to_vec(),
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
                    // Every instruction is tried: which one was the n-th does not matter.
                    Ok(false) if tally.instructions <= SHORT => break,
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

/// After an instruction: so many system calls from the mark, and then so many instructions.
#[derive(Clone, Copy, Debug, Default)]
struct Point {
    at: u64,
    newcomers_first: bool,
    calls: u32,
    steps: u64,
    instruction: u64,
}

impl Point {
    /// The others go on, then newcomers come; and the other way round.
    fn both_ways(self) -> [Point; 2] {
        [false, true].map(|newcomers_first| Point { newcomers_first, ..self })
    }

    /// One way, for points of which there are many.
    fn one_way(self) -> Point {
        Point { newcomers_first: self.at % 2 == 0, ..self }
    }
}

struct Survey {
    instructions: u64,
    states: usize,
    points: Vec<Point>,
}

/// A directory of one try.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Of one length always: where a victim's stack begins depends on it.
        let path = PathBuf::from(format!("/dev/shm/slipring-crash-{process:010}-{count:08}"));
        // Left by a process of the same number that was killed.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The panic of `run`, if there was one.
fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .map_err(|_| PANIC.with_borrow_mut(std::mem::take))
}

/// The victim's part.
pub(crate) fn play(role: &str, directory: &str, _mode: &str) -> ExitCode {
    let Some(op) = OPS.iter().chain(HELPERS).find(|op| op.name == role) else {
        return ExitCode::from(2);
    };
    println!("{}", (op.act)(&Path::new(directory).join("ring"), &Marks::new()));
    ExitCode::SUCCESS
}

/// An error where a process may not trace its own child.
pub(crate) fn try_ptrace() -> io::Result<()> {
    let directory = Directory::new();
    let mut victim = Victim::start("nothing", &directory.0, "kill")?;
    match victim.step() {
        Stop::Stepped => Ok(()),
        other => Err(io::Error::other(format!("a step ended as {other:?}"))),
    }
}

fn begin(op: &Op, mode: Mode, directory: &Directory) -> (World, Victim) {
    let mut world = (op.before)(&directory.0, mode);
    world.base = world.head();
    let victim = Victim::start(op.name, &directory.0, mode.name()).unwrap();
    (world, victim)
}

/// One instruction after the other, and a look at everything after each.
fn survey(op: &Op, mode: Mode) -> Survey {
    let directory = Directory::new();
    let (_world, mut victim) = begin(op, mode, &directory);
    let mut watch = Watch::new(&directory.0);
    let mut states = HashSet::from([watch.hash()]);
    let mut point = Point { instruction: victim.instruction(), ..Point::default() };
    let (mut all, mut changes) = (vec![point], vec![point]);
    loop {
        let is_call = victim.is_call(point.instruction);
        match victim.step() {
            Stop::Stepped => {}
            Stop::Marked => break,
            other => panic!("after {} instructions: {other:?}", point.at),
        }
        let (calls, steps) = if is_call { (point.calls + 1, 0) } else { (point.calls, point.steps + 1) };
        point = Point { at: point.at + 1, calls, steps, instruction: victim.instruction(), ..point };
        if watch.changed(is_call) {
            states.insert(watch.hash());
            changes.push(point);
        }
        if point.at <= SHORT || op.beside_others {
            all.push(point);
        }
    }
    let end = Point { at: u64::MAX, ..Point::default() };
    let points = if point.at <= SHORT || op.beside_others { all } else { changes };
    let points = points.into_iter().chain([end]);
    let points = if mode == Mode::Kill && point.at > SHORT {
        points.flat_map(Point::both_ways).collect()
    } else {
        points.map(Point::one_way).collect()
    };
    Survey { instructions: point.at, states: states.len(), points }
}

/// Leads the victim to the point. None at the end of the operation; else whether it is where it should be.
fn lead(victim: &mut Victim, point: Point) -> Option<bool> {
    if point.at == u64::MAX {
        assert_eq!(victim.run(), Stop::Marked);
        return None;
    }
    // Told by the command line, only the number is known.
    let known = point.instruction != 0;
    let (calls, steps) = if known { (point.calls, point.steps) } else { (0, point.at) };
    let mut stop = victim.skip_calls(calls);
    for _ in 0..steps {
        if stop != Stop::Stepped {
            break;
        }
        stop = victim.step();
    }
    match stop {
        Stop::Stepped => Some(!known || victim.instruction() == point.instruction),
        Stop::Marked => None,
        other => panic!("on the way: {other:?}"),
    }
}

fn judge(op: &Op, world: &mut World, end: &Ending, late: bool) {
    let has_rival = world.rival_leaves();
    if let Some(report) = &end.report {
        if has_rival {
            assert!(report.starts_with("err NameInUse"), "beside another of its name it says {report:?}");
        }
        let in_use: &[&str] = if has_rival { &["err NameInUse"] } else { &[] };
        let allowed = op.says.iter().chain(if late { op.says_late } else { &[] }).chain(in_use);
        assert!(allowed.clone().any(|said| report.starts_with(said)), "the victim says {report:?}");
    }
    (op.judge)(world, end);
    world.go_on(end);
}

fn kill(op: &Op, point: Point) -> bool {
    let directory = Directory::new();
    let (mut world, mut victim) = begin(op, Mode::Kill, &directory);
    let on_course = lead(&mut victim, point);
    let report = match on_course {
        Some(_) => {
            victim.kill();
            None
        }
        None => Some(victim.report().unwrap()),
    };
    let end = Ending { newcomers_first: point.newcomers_first, handled: victim.has_handled(), report };
    judge(op, &mut world, &end, false);
    on_course.unwrap_or(point.at == u64::MAX)
}

fn freeze(op: &Op, point: Point, busy_tables: &mut usize) -> bool {
    let directory = Directory::new();
    let (mut world, mut victim) = begin(op, Mode::Freeze, &directory);
    let on_course = lead(&mut victim, point);
    let report = if on_course.is_none() {
        victim.report()
    } else {
        victim.freeze();
        let busy = Raw::open(&world.path).is_ok_and(|raw| raw.is_table_locked());
        if busy && *busy_tables == 0 {
            // Once is enough: it takes five seconds.
            *busy_tables += 1;
            world.table_is_busy();
        }
        if op.contested && !busy {
            world.rival_comes();
        }
        world.others_go_on(victim.pid());
        victim.thaw(2 * PATIENCE)
    };
    let report = report.unwrap();
    let handled = victim.has_handled();
    drop(victim);
    let end = Ending { newcomers_first: point.newcomers_first, handled, report: Some(report) };
    judge(op, &mut world, &end, true);
    on_course.unwrap_or(point.at == u64::MAX)
}
