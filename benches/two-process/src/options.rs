//! The command line.

use crate::child::Orders;
use crate::run::Measure;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// How fast messages go from one process to another, here and elsewhere.
#[derive(Clone, Debug, Parser)]
#[command(name = "two-process", version)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Only these systems, separated by commas; see --list. Ratios need `floor` among them.
    #[arg(long, value_delimiter = ',')]
    pub(crate) systems: Vec<String>,

    /// Only these measures.
    #[arg(long, value_delimiter = ',')]
    pub(crate) measures: Vec<Measure>,

    /// Only these sizes of messages in bytes: of 8, 48, 64, 1024 and 65536.
    #[arg(long, value_delimiter = ',')]
    pub(crate) sizes: Vec<usize>,

    /// How often everything is measured; the repetitions of all are interleaved.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) reps: u32,

    /// How long each run counts, after a warm-up of a quarter of it; wake-ups four times as long.
    #[arg(long, default_value_t = 0.3, value_parser = seconds)]
    pub(crate) seconds_per_run: f64,

    /// The cores: the first for the near side, the others for the far side.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1])]
    pub(crate) cores: Vec<usize>,

    /// One short repetition, to see whether everything works. The figures mean nothing.
    #[arg(long, conflicts_with_all = ["reps", "seconds_per_run"])]
    pub(crate) quick: bool,

    /// Shows which systems there are, and ends.
    #[arg(long)]
    pub(crate) list: bool,

    /// Writes every result into this file, a line of JSON each.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Measures nothing, but reads what --json has written.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) read: Option<PathBuf>,

    /// Draws the results into this directory, as SVG.
    #[arg(long, value_name = "DIR")]
    pub(crate) plot: Option<PathBuf>,

    /// Puts the tables into this document, between its two marks.
    #[arg(long, value_name = "FILE")]
    pub(crate) write_docs: Option<PathBuf>,
}

/// The role of a process that the program starts.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// One side of a run.
    #[command(hide = true)]
    Child(Orders),
}

impl Options {
    /// How often, and how long.
    pub(crate) fn extent(&self) -> (u32, f64) {
        if self.quick { (1, 0.05) } else { (self.reps, self.seconds_per_run) }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("between 0.01 and 600 seconds".to_owned()),
    }
}
