//! `rm`: removes a ring, and the dead-letter ring beside it.

use crate::exit::{Failure, Outcome};
use crate::facts::{Facts, dead_path};
use crate::output;
use slipring::{AtPath, OpenError, Ring};
use std::path::{Path, PathBuf};

/// Removes rings, unless a process is attached or dead letters would be lost
///
/// No process may be attached, and the dead-letter ring must be empty, unless --force is given. A
/// file that is not a ring is never removed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  slipring rm /dev/shm/news
  slipring rm --force /dev/shm/news      # attached processes notice within 100 ms")]
pub(crate) struct Rm {
    /// The rings
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Also while a process is attached, also with its dead letters; a missing ring is no error
    #[arg(short, long)]
    force: bool,
}

pub(crate) fn run(args: &Rm) -> Outcome {
    args.paths.iter().try_for_each(|path| remove(path, args.force))
}

fn remove(path: &Path, force: bool) -> Outcome {
    let shown = path.display();
    let ring = match Ring::open(path) {
        Err(AtPath { error: OpenError::NotFound, .. }) if force => return Ok(()),
        Err(AtPath { error: OpenError::NotFound, .. }) => {
            return Err(Failure::error(format!("{shown}: no such ring; check the path")));
        }
        other => other?,
    };
    let facts = Facts::of(ring);
    let attached = facts.attached();
    if !attached.is_empty() && !force {
        return Err(Failure::error(format!(
            "{shown}: in use by {}; stop them first, or say --force",
            attached.join(", ")
        )));
    }
    if facts.ring.group_entries() > 0 {
        remove_dead(&facts.ring, &dead_path(path), force)?;
    }
    Ok(facts.ring.remove()?)
}

/// Removes the dead-letter ring only if it is this ring's.
fn remove_dead(ring: &Ring, path: &Path, force: bool) -> Outcome {
    let Ok(dead) = Ring::open(path) else { return Ok(()) };
    if dead.dead_letters_of() != Some(ring.id()) {
        return Ok(());
    }
    let shown = ring.path().display();
    let letters = ring.dead_letters()?.len() as u64;
    if letters > 0 && !force {
        return Err(Failure::error(format!(
            "{shown}: {} would be lost; look at them with: slipring dead ls {shown}, \
             then redrive or purge them, or say --force",
            output::count(letters, "dead letter")
        )));
    }
    if !force && dead.consumers().iter().any(|consumer| consumer.alive) {
        return Err(Failure::error(format!(
            "{}: a process has it open; wait, or say --force",
            path.display()
        )));
    }
    Ok(dead.remove()?)
}
