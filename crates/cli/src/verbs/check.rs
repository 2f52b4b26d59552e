//! `check`: the violations of a ring's invariants, and their repair.

use crate::exit::{Failure, Outcome};
use crate::output;
use serde_json::{Value, json};
use slipring::Ring;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Lists violations of a ring's invariants; reads only, unless asked to repair
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  slipring check /dev/shm/news
  slipring check --repair /dev/shm/news      # clears away the dead, brings limits back")]
pub(crate) struct Check {
    /// The ring
    path: PathBuf,
    /// Clears the entries of dead processes; loses no message
    #[arg(long)]
    repair: bool,
    /// One object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Check) -> Outcome {
    let ring = Ring::open(&args.path)?;
    let done = if args.repair { ring.repair()? } else { Vec::new() };
    let violations: Vec<String> = ring.check().iter().map(ToString::to_string).collect();
    if args.json {
        output::print_json(&json!({
            "path": args.path.display().to_string(),
            "repaired": done,
            "violations": violations.iter().map(|text| Value::from(text.as_str())).collect::<Vec<_>>(),
        }))?;
    } else {
        let mut text = String::new();
        for step in &done {
            let _ = writeln!(text, "repaired: {step}");
        }
        for violation in &violations {
            let _ = writeln!(text, "wrong: {violation}");
        }
        if violations.is_empty() {
            let _ = writeln!(text, "{}: sound", args.path.display());
        }
        output::print(&text)?;
    }
    match violations.len() {
        0 => Ok(()),
        n => {
            let advice =
                if args.repair { "the rest cannot be mended safely" } else { "see what --repair can mend" };
            Err(Failure::error(format!("{}: {n} things are wrong; {advice}", args.path.display())))
        }
    }
}
