//! The machine: its description, and the core of a thread.

use crate::channel::Failure;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use std::time::Instant;
use std::{fs, io, thread};

/// The facts about the machine that belong to every result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) governor: String,
    pub(crate) compiler: String,
    pub(crate) peers: String,
    /// The cost of one look at the clock; a round trip has one.
    pub(crate) clock_ns: f64,
    /// The cores that were used.
    pub(crate) pinned_to: Vec<usize>,
}

impl Machine {
    /// Looks at this machine.
    pub(crate) fn look(cores: &[usize]) -> Machine {
        let line = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned());
        let info = line("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find(|line| line.starts_with("model name") || line.starts_with("CPU part"));
        let cpu = model.and_then(|line| line.split_once(':')).map_or("unknown", |(_, name)| name.trim());
        let governor = line(&format!(
            "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor",
            cores.first().unwrap_or(&0)
        ));
        let virtualised = if info.contains(" hypervisor") { ", virtual" } else { "" };
        Machine {
            cpu: format!("{cpu} ({}{virtualised})", std::env::consts::ARCH),
            cores: thread::available_parallelism().map_or(1, usize::from),
            kernel: line("/proc/sys/kernel/osrelease").unwrap_or_else(|_| "unknown".to_owned()),
            governor: governor.unwrap_or_else(|_| "not to be read".to_owned()),
            compiler: env!("COMPILER").to_owned(),
            peers: env!("PEERS").to_owned(),
            clock_ns: clock_ns(),
            pinned_to: cores.to_vec(),
        }
    }

    /// As a list for people.
    pub(crate) fn to_markdown(&self) -> String {
        let pinned: Vec<String> = self.pinned_to.iter().map(usize::to_string).collect();
        format!(
            "* CPU: {}, {} cores, pinned to {}; governor {}\n* Linux {}; {}\n* {}\n* one look at the clock: {:.0} ns\n",
            self.cpu,
            self.cores,
            pinned.join(" and "),
            self.governor,
            self.kernel,
            self.compiler,
            self.peers,
            self.clock_ns
        )
    }
}

fn clock_ns() -> f64 {
    const LOOKS: u32 = 10_000;
    let start = Instant::now();
    let last = (0..LOOKS).fold(start, |_, _| std::hint::black_box(Instant::now()));
    (last - start).as_nanos() as f64 / f64::from(LOOKS)
}

/// Keeps this thread on one core.
pub(crate) fn pin(core: usize) -> Result<(), Failure> {
    if core >= 8 * size_of::<libc::cpu_set_t>() {
        return Err(format!("there is no core {core}").into());
    }
    run_on(core..=core).map_err(|error| format!("cannot run on core {core}: {error}").into())
}

/// Lets this thread run on every core that the system gives the process.
#[cfg(feature = "aeron")]
pub(crate) fn unpin() -> Result<(), Failure> {
    Ok(run_on(0..=8 * size_of::<libc::cpu_set_t>() - 1)?)
}

fn run_on(cores: RangeInclusive<usize>) -> io::Result<()> {
    // SAFETY: a set of bits, all of them 0.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for core in cores {
        // SAFETY: the bit is in the set.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: the set is ours, and as long as said.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
