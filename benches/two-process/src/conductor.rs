//! Starts the processes of a run, keeps them in step, and ends them, whatever happens.

use crate::channel::Failure;
use crate::child::{Role, combine};
use crate::place::Workshop;
use crate::run::{Measure, Outcome, Schedule, Verdict};
use crate::systems::Entry;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The time that a run may take beyond its schedule.
const PATIENCE: Duration = Duration::from_secs(15);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_interrupt(_signal: libc::c_int) {
    INTERRUPTED.store(true, Relaxed);
}

/// From now on, Ctrl-C and its like end the run in order.
pub(crate) fn catch_interrupts() {
    let handler: extern "C" fn(libc::c_int) = note_interrupt;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler stores one atomic, which is safe at any instruction.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// True after a signal.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Relaxed)
}

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) system: Entry,
    pub(crate) measure: Measure,
    pub(crate) size: usize,
    pub(crate) seconds: f64,
}

/// The children of a run; dropping it ends them.
#[derive(Debug, Default)]
struct Troupe(Vec<(Role, Child)>);

impl Drop for Troupe {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            // The side may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A line of a child's output; none at its end.
type Word = (usize, Option<String>);

/// Performs run number `number`.
pub(crate) fn conduct(run: &Run, cores: &[usize], number: usize) -> Result<Outcome, Failure> {
    let workshop = Workshop::open(number, run.system.remove)?;
    let roles: &[Role] = match run.measure {
        _ if run.system.is_threads => &[Role::Both],
        measure if measure.has_far_side() => &[Role::Near, Role::Far],
        _ => &[Role::Near],
    };
    let (words, heard) = channel();
    let mut troupe = Troupe::default();
    for (n, role) in roles.iter().enumerate() {
        let child = start(run, *role, &workshop, cores, n, &words)?;
        troupe.0.push((*role, child));
    }
    drop(words);
    let deadline = Instant::now() + Schedule::seconds(run.seconds).total() + PATIENCE;
    let mut outcomes = rehearse(&mut troupe, &heard, deadline)?;
    match (outcomes.pop(), outcomes.pop()) {
        (Some(far), Some(near)) => combine(near, far),
        (Some(alone), None) => Ok(alone),
        _ => Err("there were no processes".into()),
    }
}

fn start(
    run: &Run,
    role: Role,
    workshop: &Workshop,
    cores: &[usize],
    n: usize,
    words: &Sender<Word>,
) -> Result<Child, Failure> {
    let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
    let role = format!("{role:?}").to_lowercase();
    let mut child = Command::new(std::env::current_exe()?)
        .arg("child")
        .args(["--role", &role, "--system", run.system.name, "--measure", run.measure.name()])
        .args(["--size", &run.size.to_string(), "--seconds", &run.seconds.to_string()])
        .arg("--directory")
        .arg(workshop.path())
        .args(["--cores", &cores.join(",")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("the child has no output")?;
    let words = words.clone();
    thread::spawn(move || {
        // A listener that went away wants to hear nothing more.
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = words.send((n, Some(line)));
        }
        let _ = words.send((n, None));
    });
    Ok(child)
}

/// Listens to the children until all have said how it went, and lets them go on whenever all are
/// ready.
fn rehearse(troupe: &mut Troupe, heard: &Receiver<Word>, deadline: Instant) -> Result<Vec<Outcome>, Failure> {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; troupe.0.len()];
    let mut ready = 0;
    while outcomes.iter().any(Option::is_none) {
        let word = match heard.recv_timeout(Duration::from_millis(100)) {
            Ok(word) => word,
            Err(_) if interrupted() => return Err("interrupted".into()),
            Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => continue,
            Err(_) => return Err(format!("not done after {} s; ended", PATIENCE.as_secs()).into()),
        };
        let n = word.0;
        match word.1.as_deref() {
            Some("ready") => ready += 1,
            Some(line) => match serde_json::from_str(line) {
                Ok(Verdict::Done(outcome)) => outcomes[n] = Some(outcome),
                Ok(Verdict::Failed(why)) => return Err(format!("{:?} side: {why}", troupe.0[n].0).into()),
                Err(_) => eprintln!("{line}"),
            },
            None if outcomes[n].is_some() => {}
            None => {
                let status = troupe.0[n].1.wait()?;
                return Err(format!("the {:?} side ended early, {status}", troupe.0[n].0).into());
            }
        }
        if ready == troupe.0.len() {
            ready = 0;
            for (_, child) in &mut troupe.0 {
                child.stdin.as_mut().ok_or("the child has no input")?.write_all(b"go\n")?;
            }
        }
    }
    Ok(outcomes.into_iter().flatten().collect())
}
