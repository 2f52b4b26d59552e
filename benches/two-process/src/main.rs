//! How fast messages go from one process to another, here and elsewhere:
//! `cargo run --release -p two-process --features peers`.
//!
//! Starts itself again as the sides of each run, pinned to a core each. `docs/benchmarks.md` says
//! what is measured, and how.

#![cfg_attr(not(feature = "peers"), expect(dead_code, reason = "what only peers need"))]

mod channel;
mod child;
mod conductor;
mod group;
mod loops;
mod machine;
mod options;
mod payload;
mod place;
mod plan;
mod plot;
mod record;
mod run;
mod summary;
mod systems;
mod table;

use channel::Failure;
use clap::Parser;
use options::{Command, Options};
use std::io::{self, Write as _};
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match &options.command {
        Some(Command::Child(orders)) => child::run(orders).map(|()| true),
        None => perform(&options),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("two-process: {error}");
            ExitCode::FAILURE
        }
    }
}

/// True if everything could be measured.
fn perform(options: &Options) -> Result<bool, Failure> {
    if options.list {
        print(&table::systems(&systems::all()))?;
        return Ok(true);
    }
    let report = match &options.read {
        Some(file) => record::Report::read(file)?,
        None => plan::perform(options)?,
    };
    let tables = table::report(&report);
    print(&tables)?;
    if let Some(directory) = &options.plot {
        plot::draw(&report, directory)?;
    }
    if let Some(document) = &options.write_docs {
        record::write_into(document, &tables)?;
    }
    for failed in &report.failures {
        eprintln!("two-process: {failed}");
    }
    Ok(report.failures.is_empty())
}

/// A closed pipe is no error.
fn print(text: &str) -> io::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
