//! Points: after which instructions a process is stopped or killed, how it is led there, and what
//! follows.

use crate::ops::{HELPERS, OPS, Op};
use crate::trace::{Marks, Stop, Victim};
use crate::watch::Watch;
use crate::world::{Ending, Mode, PATIENCE, World};
use kit::TempDir;
use kit::raw::Raw;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// An operation of up to so many instructions is killed at each of them.
pub(crate) const SHORT: u64 = 1200;

/// After an instruction: so many system calls from the mark, and then so many instructions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Point {
    pub(crate) at: u64,
    newcomers_first: bool,
    calls: u32,
    steps: u64,
    instruction: u64,
}

impl Point {
    /// Only the number is known.
    pub(crate) fn after(at: u64) -> Point {
        Point { at, ..Point::default() }
    }

    /// The other processes go on, then newcomers come; and the other way round.
    pub(crate) fn both_ways(self) -> [Point; 2] {
        [false, true].map(|newcomers_first| Point { newcomers_first, ..self })
    }

    /// One way, for points of which there are many.
    fn one_way(self) -> Point {
        Point { newcomers_first: self.at % 2 == 0, ..self }
    }
}

pub(crate) struct Survey {
    pub(crate) instructions: u64,
    pub(crate) states: usize,
    pub(crate) points: Vec<Point>,
}

fn begin(op: &Op, mode: Mode, directory: &TempDir) -> (World, Victim) {
    let mut world = (op.before)(directory.as_ref(), mode);
    world.base = world.head();
    let victim = Victim::start(op.name, directory.as_ref(), mode.name()).unwrap();
    world.note_words();
    (world, victim)
}

/// One instruction after the other, and a look at everything after each.
pub(crate) fn survey(op: &Op, mode: Mode) -> Survey {
    let directory = TempDir::new();
    let (_world, mut victim) = begin(op, mode, &directory);
    let mut watch = Watch::new(directory.as_ref());
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
    let end = Point::after(u64::MAX);
    let points = if point.at <= SHORT || op.beside_others { all } else { changes };
    let points = points.into_iter().chain([end]);
    let points = if mode == Mode::Kill && point.at > SHORT {
        points.flat_map(Point::both_ways).collect()
    } else {
        points.map(Point::one_way).collect()
    };
    Survey { instructions: point.at, states: states.len(), points }
}

/// Leads the victim to the point. None at the end of the operation; else whether it is where it
/// should be.
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
    world.words_never_go_back();
    world.go_on(end);
    world.words_never_go_back();
}

pub(crate) fn kill(op: &Op, point: Point) -> bool {
    let directory = TempDir::new();
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
    world.words_follow(end.report.is_none());
    judge(op, &mut world, &end, false);
    on_course.unwrap_or(point.at == u64::MAX)
}

pub(crate) fn freeze(op: &Op, point: Point, busy_tables: &mut usize) -> bool {
    let directory = TempDir::new();
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
    let directory = TempDir::new();
    let mut victim = Victim::start("nothing", directory.as_ref(), "kill")?;
    match victim.step() {
        Stop::Stepped => Ok(()),
        other => Err(io::Error::other(format!("a step ended as {other:?}"))),
    }
}
