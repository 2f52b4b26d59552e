//! Kills a process at every instruction of every operation, and checks that the other processes go
//! on.

mod matrix;
mod message;
mod ops;
mod points;
mod trace;
mod watch;
mod world;

use matrix::Plan;
use std::process::ExitCode;
use world::{Mode, set_block};

const HELP: &str = "\
Kills, or stops, a process at every instruction of an operation on a ring; then the others go on.

usage: crash-tests full [OPTIONS]      every instruction of every operation, then the stopped ones
       crash-tests kill [OPTIONS]      SIGKILL only
       crash-tests freeze [OPTIONS]    SIGSTOP, the others go on past every lease, SIGCONT
       crash-tests list                names the operations

  --op NAME     this operation only (may be repeated)
  --at N        after this instruction only; `end` is after the last
  --every N     every N-th point only (default 1; when stopping in short operations, 7)
  --offset N    begin at the N-th point, so that runs with --every take turns (default 0)
  --block N     blocks of so many bytes (default: 48, which have a place beside their header, then 160, which have not)
  --jobs N      so many at once (default: as many as there are processors)

A *point* is an instruction after which the process is killed. Of a short operation every instruction is one.
Of a long one, every instruction is looked at, and each after which the file, its locks or the names in the
directory have changed is a point: between two changes, all that outlives a process is the same. Killed there, it
is followed by newcomers before the others go on, and by others before newcomers come.

A failure prints its operation and instruction; `--op NAME --at N` repeats it. The exit code is 1 if there was
any. Needs ptrace; where that is not permitted this fails, unless SLIPRING_NO_PTRACE=1 is set.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["victim", role, directory, mode] => return points::play(role, directory, mode),
        ["list"] => {
            ops::OPS.iter().for_each(|op| println!("{}", op.name));
            return ExitCode::SUCCESS;
        }
        ["--help" | "-h"] => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let plan = match Plan::parse(&words) {
        Ok(plan) => plan,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = points::try_ptrace() {
        eprintln!("this environment does not permit ptrace: {error}");
        if std::env::var("SLIPRING_NO_PTRACE").is_ok_and(|value| value == "1") {
            eprintln!("SLIPRING_NO_PTRACE=1: nothing was tested");
            return ExitCode::SUCCESS;
        }
        eprintln!("set SLIPRING_NO_PTRACE=1 to go on without these tests");
        return ExitCode::FAILURE;
    }
    let modes: &[Mode] = match plan.command {
        "kill" => &[Mode::Kill],
        "freeze" => &[Mode::Freeze],
        _ => &[Mode::Kill, Mode::Freeze],
    };
    let mut failures = 0;
    for block in plan.blocks() {
        set_block(block);
        println!("blocks of {block} bytes");
        for &mode in modes {
            failures += plan.run(mode);
        }
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
