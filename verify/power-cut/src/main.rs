//! Cuts the power of a disk under a journal at work, again and again, and holds what is found
//! against what had been said to be on it.
//!
//! ```text
//! cargo run --release -p power-cut             # 100 cuts on each of ext4 and xfs; needs root
//! cargo run --release -p power-cut -- --help
//! ```
//!
//! The disk is a file with a filesystem, mounted by a loop device. A cut is the ioctl by which
//! filesystems are tested against power cuts: from one moment on nothing more reaches the device,
//! and what was not synchronised is gone, names included. A device that lies is another question.

mod disk;
mod load;
mod message;
mod verdict;

use disk::Disk;
use kit::Dice;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use verdict::Ledger;

const HELP: &str = "\
usage: power-cut [OPTIONS]

  --cuts N          so many cuts on each filesystem (default 100)
  --filesystem NAME ext4 or xfs only (default: both)
  --seed N          the times of the cuts follow from it, as far as the machine keeps time (default 1)
  --early           the waiters say of a message that it is on the disk as soon as it is published:
                    a journal that lies. The verdict must be FAILED

Needs root, unshare, mount, mkfs.ext4 and mkfs.xfs, and xfs_io (Debian: util-linux, e2fsprogs, xfsprogs). Without them nothing is
tried, and the exit code is 3. The exit code is 1 if a message was lost, or one believed that never was.";

struct Plan {
    cuts: u64,
    filesystems: Vec<String>,
    seed: u64,
    early: bool,
}

impl Plan {
    fn parse(arguments: &[String]) -> Result<Plan, String> {
        let mut plan = Plan { cuts: 100, filesystems: Vec::new(), seed: 1, early: false };
        let mut rest = arguments.iter();
        while let Some(option) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{option} needs a value"));
            let number = |text: &String| text.parse().map_err(|_| format!("{text:?} is no number"));
            match option.as_str() {
                "--cuts" => plan.cuts = number(value()?)?,
                "--seed" => plan.seed = number(value()?)?,
                "--early" => plan.early = true,
                "--filesystem" => match value()?.as_str() {
                    name @ ("ext4" | "xfs") => plan.filesystems.push(name.to_owned()),
                    other => return Err(format!("{other:?} is neither ext4 nor xfs")),
                },
                other => return Err(format!("there is no option {other}")),
            }
        }
        if plan.filesystems.is_empty() {
            plan.filesystems = ["ext4", "xfs"].map(str::to_owned).to_vec();
        }
        Ok(plan)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, rest @ ..] = &arguments[..] {
        match role.as_str() {
            "load" => return load::play(rest),
            "--help" | "-h" => {
                println!("{HELP}");
                return ExitCode::SUCCESS;
            }
            _ => {}
        }
    }
    let plan = match Plan::parse(&arguments) {
        Ok(plan) => plan,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    if let Err(missing) = disk::requirements(&plan.filesystems) {
        eprintln!("nothing was tried: {missing}");
        return ExitCode::from(3);
    }
    if std::env::var_os(ALONE).is_none() {
        return alone(&arguments);
    }
    println!("{}", Ledger::HEAD);
    for filesystem in &plan.filesystems {
        match cut(&plan, filesystem) {
            Ok(line) => println!("{line}"),
            Err(lost) => {
                println!("{filesystem}: FAILED: {lost}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Set in the process whose mounts no other process sees.
const ALONE: &str = "POWER_CUT_ALONE";

/// Goes on in a mount namespace of its own. A process elsewhere that makes itself a namespace would
/// take a copy of the mount along, and keep the filesystem alive over its cut: the next mount would
/// then find it without power, or beside another instance that writes to the same image.
fn alone(arguments: &[String]) -> ExitCode {
    let this = std::env::current_exe().unwrap_or_default();
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(this)
        .args(arguments)
        .env(ALONE, "1")
        .status();
    match status {
        Ok(status) => {
            status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
        Err(error) => {
            eprintln!("nothing was tried: unshare: {error}");
            ExitCode::from(3)
        }
    }
}

/// Cuts the power of one filesystem so many times. An error says what was lost, or believed.
fn cut(plan: &Plan, filesystem: &str) -> Result<String, String> {
    // On a disk, if the temporary directory is on one.
    let place = std::env::temp_dir().join(format!("slipring-power-cut-{}", std::process::id()));
    std::fs::create_dir(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    // The ring is memory, and lost at each cut.
    let memory = PathBuf::from(format!("/dev/shm/slipring-power-cut-{}", std::process::id()));
    std::fs::create_dir(&memory).map_err(|error| format!("{}: {error}", memory.display()))?;
    let outcome = cut_in(plan, filesystem, &place, &memory);
    drop(std::fs::remove_dir_all(&memory));
    drop(std::fs::remove_dir_all(&place));
    outcome
}

fn cut_in(plan: &Plan, filesystem: &str, place: &Path, memory: &Path) -> Result<String, String> {
    let mut dice = Dice::new(plan.seed);
    let start = Instant::now();
    let mut disk = Disk::make(filesystem, place)?;
    let mut ledger = Ledger::begin(memory.join("ring"), disk.directory())?;
    for number in 1..=plan.cuts {
        let at = |error: String| format!("at cut {number} (--seed {}): {error}", plan.seed);
        let mut load = load::Load::start(&ledger, memory, plan.early).map_err(at)?;
        // Some journals are cut while they begin, some are killed and begun again before.
        if dice.roll(4) > 0 {
            load.until_noted(ledger.noted()).map_err(at)?;
        }
        if dice.roll(3) == 0 {
            load.end();
            load = load::Load::start(&ledger, memory, plan.early).map_err(at)?;
        }
        std::thread::sleep(Duration::from_micros(dice.roll(40_000)));
        // As far as it was said before the cut began: while the ioctl is at work, and after it,
        // xfs says of a directory that it is synchronised although it is not, and no process of a
        // machine without power hears that.
        let noted = load.noted();
        disk.cut().map_err(at)?;
        load.end();
        disk.mount_again().map_err(at)?;
        ledger.judge(noted).map_err(at)?;
    }
    Ok(ledger.line(filesystem, start.elapsed()))
}
