//! Ctrl-C, SIGTERM and SIGHUP: the first one is noted, one that comes half a second later or more
//! ends the process as it always does.

use rustix::event::{Timespec, poll};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level;
use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// No wait of ours is longer without a look at the flag.
pub(crate) const SLICE: Duration = Duration::from_millis(100);

/// How long after the first signal another one is part of it, in milliseconds: `timeout`, a shell
/// and a terminal send the same signal to a process and to its group, microseconds apart.
const SAME_SIGNAL: i64 = 500;

/// When the first signal came, in milliseconds of the monotonic clock, which are never 0; 0 before.
static FIRST: AtomicI64 = AtomicI64::new(0);

/// From now on the first signal is only noted.
pub(crate) fn catch() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // SAFETY: the action reads the clock, loads and stores an atomic, and may end the process
        // by
        // `emulate_default_handler`: all of that is allowed within a signal handler.
        unsafe { low_level::register(signal, move || note(signal)) }?;
    }
    Ok(())
}

/// A signal came.
fn note(signal: i32) {
    let now = clock_gettime(ClockId::Monotonic);
    let now = (now.tv_sec * 1000 + now.tv_nsec / 1_000_000).max(1);
    let first = FIRST.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    if first.is_err_and(|first| now >= first + SAME_SIGNAL) {
        drop(low_level::emulate_default_handler(signal));
    }
}

pub(crate) fn interrupted() -> bool {
    FIRST.load(Ordering::Relaxed) != 0
}

/// Sleeps until then, or until a signal comes. True if it was slept through.
pub(crate) fn sleep_until(then: Instant) -> bool {
    loop {
        if interrupted() {
            return false;
        }
        let left = then.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        sleep(left.min(SLICE));
    }
}

/// Sleeps for less than a second. The standard library's sleep panics where a sandbox refuses the
/// call.
pub(crate) fn sleep(slice: Duration) {
    let time = Timespec { tv_sec: 0, tv_nsec: slice.subsec_nanos().into() };
    if !matches!(poll(&mut [], Some(&time)), Ok(_) | Err(Errno::INTR)) {
        std::thread::sleep(slice);
    }
}

/// The rest of a time limit, cut to a slice; zero once it is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub(crate) fn after(limit: Option<Duration>) -> Deadline {
        Deadline(limit.and_then(|limit| Instant::now().checked_add(limit)))
    }
    pub(crate) fn is_over(self) -> bool {
        self.0.is_some_and(|end| Instant::now() >= end)
    }
    pub(crate) fn slice(self) -> Duration {
        self.0.map_or(SLICE, |end| end.saturating_duration_since(Instant::now()).min(SLICE))
    }
}
