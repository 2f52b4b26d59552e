//! What a journal is doing, for other threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// What a journal is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// All below this position is on the disk.
    pub durable: u64,
    /// Commits since it began.
    pub commits: u64,
    /// Messages since it began.
    pub messages: u64,
    /// How long the write has taken that is under way.
    pub in_write_for: Option<Duration>,
    /// True if the disk is full, and the journal tries again every second.
    pub disk_is_full: bool,
}

/// Looks at a journal that runs in another thread, and stops it.
#[derive(Clone, Debug)]
pub struct Handle(pub(crate) Arc<Shared>);

#[derive(Debug, Default)]
pub(crate) struct Shared {
    durable: AtomicU64,
    commits: AtomicU64,
    messages: AtomicU64,
    /// When the write began, in nanoseconds of this process's clock, from 1 on; 0: there is none.
    writing_since: AtomicU64,
    is_full: AtomicBool,
    is_stopped: AtomicBool,
}

impl Handle {
    /// Asks the journal to commit what is published by now, and to end.
    pub fn stop(&self) {
        self.0.is_stopped.store(true, Relaxed);
    }

    /// A look at it.
    pub fn status(&self) -> Status {
        let since = self.0.writing_since.load(Relaxed);
        Status {
            durable: self.0.durable.load(Relaxed),
            commits: self.0.commits.load(Relaxed),
            messages: self.0.messages.load(Relaxed),
            in_write_for: (since != 0).then(|| Duration::from_nanos(clock().saturating_sub(since))),
            disk_is_full: self.0.is_full.load(Relaxed),
        }
    }
}

impl Shared {
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Relaxed)
    }

    pub(crate) fn begin_write(&self) {
        self.writing_since.store(clock(), Relaxed);
    }

    pub(crate) fn end_write(&self) {
        self.writing_since.store(0, Relaxed);
    }

    pub(crate) fn committed(&self, durable: u64, messages: u64) {
        self.durable.store(durable, Relaxed);
        self.commits.fetch_add(1, Relaxed);
        self.messages.fetch_add(messages, Relaxed);
    }

    pub(crate) fn set_durable(&self, durable: u64) {
        self.durable.store(durable, Relaxed);
    }

    pub(crate) fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Relaxed);
    }
}

/// Nanoseconds since the first look, from 1 on.
fn clock() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).saturating_add(1)
}
