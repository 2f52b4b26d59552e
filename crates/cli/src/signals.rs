//! Ctrl-C, SIGTERM and SIGHUP: the first one is noted, the second one ends the process as it always
//! does.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// No wait of ours is longer without a look at the flag.
pub(crate) const SLICE: Duration = Duration::from_millis(100);

fn flag_word() -> &'static Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    FLAG.get_or_init(Arc::default)
}

/// From now on the first signal only sets the flag.
pub(crate) fn catch() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the second signal finds the flag set.
        flag::register_conditional_default(signal, Arc::clone(flag_word()))?;
        flag::register(signal, Arc::clone(flag_word()))?;
    }
    Ok(())
}

pub(crate) fn interrupted() -> bool {
    flag_word().load(Ordering::Relaxed)
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
        std::thread::sleep(left.min(SLICE));
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
