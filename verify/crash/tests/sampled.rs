//! Every seventh point of every second operation, a different sample each time, and a few stopped
//! processes. The
//! whole of it is `cargo run --release -p crash-tests -- full`.

use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

/// Short and long ones, of every kind of party.
const STOPPED: &[&str] = &[
    "send",
    "producer-open",
    "take",
    "join-earliest",
    "take-evictable",
    "claim-ack",
    "reject",
    "worker-leave",
    "create",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("sampled: test");
        return ExitCode::SUCCESS;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let turn = usize::try_from(now.as_nanos() % 1009).unwrap_or(0);
    let offset = turn.to_string();
    // Either layout, in turn.
    let block = ["48", "160"][turn / 2 % 2];
    println!("repeat with --every 7 (stopped: 42) --offset {offset} --block {block}");
    let program = env!("CARGO_BIN_EXE_crash-tests");
    let names = Command::new(program).arg("list").output().map(|listed| listed.stdout).unwrap_or_default();
    let names = String::from_utf8_lossy(&names).into_owned();
    let half: Vec<&str> = names.lines().skip(turn % 2).step_by(2).collect();
    let run = |command: &str, every: &str, ops: &[&str]| {
        let mut harness = Command::new(program);
        harness.args([command, "--every", every, "--offset", &offset, "--block", block]);
        harness.args(ops.iter().flat_map(|op| ["--op", op]));
        harness.status().is_ok_and(|status| status.success())
    };
    let sound = run("kill", "7", &half) & run("freeze", "42", STOPPED);
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
