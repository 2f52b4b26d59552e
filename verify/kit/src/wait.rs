//! Waiting for what must come, with a deadline that only a failure reaches.

use std::time::{Duration, Instant};

/// Longer than anything that works takes: reached, it is a failure.
pub const LONG: Duration = Duration::from_secs(60);

/// Waits until `is_so` returns true, [`LONG`] at most.
///
/// # Panics
///
/// Panics with `what` at the deadline.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LONG, "never: {what}");
        std::thread::yield_now();
    }
}

/// Panics, without a message on the terminal.
///
/// # Panics
///
/// Always.
pub fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("on purpose"))
}
