//! Two processes, a core each, with rings of their own between them: for measuring.

use crate::exit::Failure;
use crate::signals;
use hdrhistogram::Histogram;
use rustix::thread::{CpuSet, sched_setaffinity};
use slipring::{Consumer, ConsumerOptions, Producer, ProducerOptions, RingOptions, Start, Wait};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A directory of its own for the rings, gone afterwards.
#[derive(Debug)]
pub(crate) struct Stage(PathBuf);

impl Stage {
    /// Below `dir`, the directory of the rings to be measured.
    pub(crate) fn new(dir: &Path) -> Result<Stage, Failure> {
        let path = dir.join(format!(".slipring-measures-{}", std::process::id()));
        std::fs::create_dir(&path)
            .map_err(|error| Failure::error(format!("{}: cannot be made: {error}", path.display())))?;
        Ok(Stage(path))
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }

    /// Makes a ring here.
    pub(crate) fn ring(&self, name: &str, options: &RingOptions) -> Result<PathBuf, Failure> {
        let path = self.0.join(name);
        options.create(&path)?;
        Ok(path)
    }

    /// Starts this program once more, with these arguments.
    pub(crate) fn partner(&self, args: &[&str]) -> Result<Partner, Failure> {
        let program = std::env::current_exe()?;
        let child = Command::new(program).args(args).arg(self.dir()).stdout(Stdio::piped()).spawn()?;
        Ok(Partner(child))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The other process. Killed if it is not waited for.
#[derive(Debug)]
pub(crate) struct Partner(Child);

impl Partner {
    /// The output of the process, once it has ended.
    pub(crate) fn report(mut self) -> Result<String, Failure> {
        let mut text = String::new();
        if let Some(mut stdout) = self.0.stdout.take() {
            std::io::Read::read_to_string(&mut stdout, &mut text)?;
        }
        match self.0.wait()? {
            status if status.success() => Ok(text),
            status => Err(Failure::error(format!("the other process did not do its part: {status}"))),
        }
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        // The partner may have ended long ago.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Keeps this thread on the `n`th of the cores that it may run on, if there are so many.
pub(crate) fn pin(n: usize) {
    let Ok(allowed) = rustix::thread::sched_getaffinity(None) else { return };
    let Some(core) = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).nth(n) else { return };
    let mut set = CpuSet::new();
    set.set(core);
    // A measurement that is not pinned is a worse one, not a failure.
    let _ = sched_setaffinity(None, &set);
}

pub(crate) fn producer(path: &Path, wait: Wait) -> Result<Producer, Failure> {
    Ok(ProducerOptions::new().wait(wait).require_readers(1).open::<[u8]>(path)?)
}

pub(crate) fn consumer(path: &Path, wait: Wait) -> Result<Consumer, Failure> {
    Ok(ConsumerOptions::new().start(Start::Earliest).wait(wait).attach::<[u8]>(path)?)
}

/// The clock that all processes share, in nanoseconds.
pub(crate) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Of nanoseconds, to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap_or_else(|_| {
        // The bounds are constants, and good ones.
        unreachable!("a histogram from a nanosecond to a minute")
    });
    histogram.auto(true);
    histogram
}

/// An error after a signal.
pub(crate) fn go_on() -> Result<(), Failure> {
    match signals::interrupted() {
        true => Err(Failure::error("interrupted")),
        false => Ok(()),
    }
}
