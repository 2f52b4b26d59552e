//! The soak test: random roles as real processes, random kills, stops and joins, for as long as you
//! like, and a checker of every message's fate.
//!
//! ```sh
//! cargo run --release -p soak -- --minutes 30
//! ```

mod board;
mod cast;
mod clock;
mod curtain;
mod director;
mod fates;
mod files;
mod message;
mod options;
mod player;
mod pulse;
mod report;
mod roles;

use cast::Cast;
use clap::Parser;
use director::Director;
use options::Options;
use report::Progress;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupt(_signal: libc::c_int) {
    INTERRUPTED.store(true, Relaxed);
}

/// A directory of its own, removed when dropped.
#[derive(Debug)]
struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

fn main() -> ExitCode {
    if let Some(cast) = Cast::from_env() {
        roles::play(&cast);
        return ExitCode::SUCCESS;
    }
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let handler = interrupt as extern "C" fn(libc::c_int);
        // SAFETY: the handler stores to an atomic and does nothing else.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
    let path = options.dir.join(format!("slipring-soak-{}", std::process::id()));
    std::fs::create_dir(&path)?;
    let mut scratch = Scratch { path, keep: false };
    let seed = options.seed.unwrap_or_else(any_seed);
    eprintln!("soak: seed {seed}, in {}", scratch.path.display());
    let sound = direct(options, seed, &scratch.path)?;
    if !sound && options.keep {
        scratch.keep = true;
        eprintln!("soak: the rings are left in {}", scratch.path.display());
    }
    Ok(sound)
}

fn direct(options: &Options, seed: u64, dir: &Path) -> Result<bool, Box<dyn Error>> {
    let mut director = Director::new(options, seed, dir)?;
    let mut progress = Progress::default();
    let played =
        director.play(|| INTERRUPTED.load(Relaxed), |director, played| progress.show(director, played))?;
    Ok(report::table(&director, seed, played))
}

fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs() << 10 ^ u64::from(now.subsec_micros())
}
