//! A process that a command started for one question, and whether it ends.
//!
//! A process that does not end is an answer, too: the change that it tries has made a loop endless.
//! On a busy machine, or stopped, a process only looks as if it did not end. So its own processor
//! time counts and, while all of its threads sleep, the time that passes.

use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// A process that works for longer than this, or sleeps for longer, does not end.
const ENDLESS: Duration = Duration::from_secs(300);
/// The kernel counts processor time in so many ticks a second, whatever its own clock does.
const TICKS_PER_SECOND: u64 = 100;
/// The time between two looks at a process: first, so that a quick answer is known at once, and at
/// most, so that the looks cost next to nothing.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The exit code; none for a process that a signal ended, or that did not end by itself.
///
/// # Panics
///
/// If the process is no child of this one any more.
pub fn exit_code(child: &mut Child) -> Option<i32> {
    await_end(child, ENDLESS).and_then(|status| status.code())
}

fn await_end(child: &mut Child, endless: Duration) -> Option<ExitStatus> {
    let process = format!("/proc/{}", child.id());
    let (mut pause, mut worked, mut asleep_since) = (FIRST_PAUSE, Duration::ZERO, Instant::now());
    loop {
        if let Some(status) = child.try_wait().expect("it is this process's child") {
            return Some(status);
        }
        std::thread::sleep(pause);
        pause = (2 * pause).min(LONGEST_PAUSE);
        let now = worked_for(Path::new(&process)).unwrap_or(worked);
        if now != worked || !sleeps(Path::new(&process)) {
            (worked, asleep_since) = (now, Instant::now());
        }
        if worked.max(asleep_since.elapsed()) >= endless {
            child.kill().expect("it is this process's child");
            child.wait().expect("it is this process's child");
            return None;
        }
    }
}

/// The fields of a `stat` file behind the name, which may hold anything: the state comes first.
fn fields(process: &Path) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// The processor time of all threads of a process, ended ones included.
fn worked_for(process: &Path) -> Option<Duration> {
    let fields = fields(process)?;
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks(11)? + ticks(12)?) * 1000 / TICKS_PER_SECOND))
}

/// True if every thread of a process sleeps or has ended: none waits for a processor, and none is
/// stopped.
fn sleeps(process: &Path) -> bool {
    let threads = std::fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    let mut states = threads.filter_map(|thread| fields(&thread.path())?.into_iter().next());
    states.all(|state| ["S", "Z"].contains(&state.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn shell(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).stdin(Stdio::null()).spawn().expect("there is a shell")
    }

    #[test]
    fn a_process_that_ends_has_its_exit_code_and_one_that_is_killed_has_none() {
        assert_eq!(exit_code(&mut shell("exit 7")), Some(7));
        assert_eq!(exit_code(&mut shell("kill -9 $$")), None);
    }

    #[test]
    fn a_process_that_works_or_sleeps_for_ever_is_ended() {
        let brief = Duration::from_millis(300);
        assert_eq!(await_end(&mut shell("while :; do :; done"), brief), None);
        assert_eq!(await_end(&mut shell("exec sleep 1000000"), brief), None);
    }

    /// The shell stops itself; another goes on with it after many times the patience.
    #[test]
    fn a_process_that_is_stopped_only_looks_endless() {
        let script = "(sleep 2; kill -CONT $$) & kill -STOP $$; exit 7";
        let status = await_end(&mut shell(script), Duration::from_millis(300));
        assert_eq!(status.and_then(|status| status.code()), Some(7));
    }
}
