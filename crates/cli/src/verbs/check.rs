//! `check`: the violations of a ring's invariants, and their repair.

use crate::exit::{Failure, Outcome};
use crate::facts::{Facts, rings_in};
use crate::output;
use crate::place::Trust;
use crate::verbs::stat::wait;
use serde_json::{Value, json};
use slipring::Ring;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Says what is wrong with a ring; reads only, unless asked to repair
///
/// Entries of processes that were killed are no fault: they are counted, and cleared by the next
/// one that needs them. Another file beside the ring, or in /dev/shm, with the ring's id is one: a
/// copy.
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
    #[command(flatten)]
    trust: Trust,
}

pub(crate) fn run(args: &Check) -> Outcome {
    let ring = Ring::open(args.trust.at(&args.path))?;
    let done = if args.repair { ring.repair()? } else { Vec::new() };
    let (leftovers, violations): (Vec<_>, Vec<_>) =
        ring.check().into_iter().partition(|violation| violation.to_be_cleared);
    let mut wrong: Vec<String> = violations.iter().map(ToString::to_string).collect();
    let copies = same_id(&ring);
    wrong.extend(copies.iter().map(|path| {
        format!("{} has the same id: one of the two is a copy, which is torn if it was made while the ring was in \
                 use, and whose readers read what is not written; remove it, and use slipring dump, never cp",
            path.display())
    }));
    // No violation: no message is lost, and the ring fills up meanwhile.
    let waits = Facts::open(&args.path)?.dead_letters_wait();
    let shown = args.path.display();
    if args.json {
        let texts = |all: &[String]| all.iter().map(|text| Value::from(text.as_str())).collect::<Value>();
        output::print_json(&json!({
            "path": shown.to_string(),
            "repaired": done,
            "violations": texts(&wrong),
            "dead_letters_wait": waits.map(|(count, why)| json!({ "count": count, "why": why })),
            "to_be_cleared": leftovers.iter().map(|entry| Value::from(entry.to_string())).collect::<Vec<_>>(),
        }))?;
    } else {
        let mut text = String::new();
        for step in &done {
            let _ = writeln!(text, "repaired: {step}");
        }
        for violation in &wrong {
            let _ = writeln!(text, "wrong: {violation}");
        }
        if wrong.is_empty() {
            let _ = writeln!(text, "{shown}: sound{}", to_be_cleared(leftovers.len()));
        }
        if let Some((messages, why)) = &waits {
            let _ = writeln!(text, "{shown}: {} for the dead-letter ring: {why}", wait(*messages));
        }
        output::print(&text)?;
    }
    match wrong.len() as u64 {
        0 => Ok(()),
        n => {
            let are = if n == 1 { "1 thing is".to_owned() } else { format!("{n} things are") };
            let advice =
                if args.repair { "the rest cannot be mended safely" } else { "see what --repair can mend" };
            Err(Failure::error(format!("{shown}: {are} wrong; {advice}")))
        }
    }
}

/// An entry that a kill left is no fault: the next party that needs it clears it.
pub(crate) fn to_be_cleared(entries: usize) -> String {
    match entries {
        0 => String::new(),
        1 => ", 1 entry to be cleared".to_owned(),
        n => format!(", {n} entries to be cleared"),
    }
}

/// The other files beside the ring, and in /dev/shm, that say they are this ring.
fn same_id(ring: &Ring) -> Vec<PathBuf> {
    let inode = |path: &Path| std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let (own, beside) = (inode(ring.path()), ring.path().parent().unwrap_or(Path::new("/")).to_path_buf());
    let mut dirs = vec![beside];
    if !dirs.contains(&PathBuf::from("/dev/shm")) {
        dirs.push(PathBuf::from("/dev/shm"));
    }
    let rings = dirs.iter().flat_map(|dir| rings_in(dir).unwrap_or_default());
    let is_other =
        |path: &PathBuf| Ring::open(path).is_ok_and(|other| other.id() == ring.id()) && inode(path) != own;
    rings.filter(is_other).collect()
}
