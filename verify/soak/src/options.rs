//! The command line.

use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Random roles as real processes on three rings: publishers, readers of every kind, groups of
/// workers. They are killed, stopped and started at random, and every message's fate is checked by
/// its content. The file of the third ring is removed, renamed, replaced and cut short under its
/// users, and the dead-letter ring is moved away under its own.
///
/// Ends with a table, and with exit code 1 if anything was lost, doubled, corrupt or stuck.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// For how long.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) minutes: f64,

    /// Repeats the choices of an earlier run. (What the scheduler does in between cannot be
    /// repeated.)
    #[arg(long)]
    pub(crate) seed: Option<u64>,

    /// Where the rings lie meanwhile: a directory is made in it, and removed at the end.
    #[arg(long, default_value = "/dev/shm")]
    pub(crate) dir: PathBuf,

    /// Blocks of the broadcast ring; the groups' ring has a sixteenth.
    #[arg(long, default_value_t = 65536)]
    pub(crate) capacity: usize,

    /// Messages per second to the groups, at most: what is kept in mind of each takes half a byte.
    #[arg(long, default_value_t = 50_000)]
    pub(crate) group_rate: u64,

    /// Mean time between two blows, in milliseconds.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) blow_ms: u64,

    /// Leaves the rings where they are if the run fails.
    #[arg(long)]
    pub(crate) keep: bool,

    /// Makes a mistake on purpose, to show that it is seen: the run must fail.
    #[arg(long, value_enum)]
    pub(crate) plant: Option<Plant>,
}

/// A mistake made on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Plant {
    /// A reader skips a message.
    Skip,
    /// A reader gets a message twice.
    Repeat,
    /// A byte changes on its way.
    Corrupt,
    /// A publisher forgets what the one before it published.
    Forget,
    /// Two workers acknowledge the same message.
    Double,
    /// A message is settled that no worker has processed.
    Lose,
    /// A reader stops reading for good.
    Stall,
    /// A reader stays at a file that was removed.
    Linger,
    /// A file is cut short, and counts as removed: its users end with another error than they
    /// should.
    Mislabel,
    /// Every user may open the file of the locks.
    Expose,
    /// Settings are changed one by one.
    Tear,
    /// A worker loses a lease that has not run out.
    Hasten,
    /// A dead letter is taken to be redriven, and is not published.
    Swallow,
}

impl Options {
    pub(crate) fn duration(&self) -> Duration {
        Duration::try_from_secs_f64(self.minutes * 60.0).unwrap_or(Duration::from_secs(60))
    }
}
