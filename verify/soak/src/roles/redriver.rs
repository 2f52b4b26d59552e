//! Releases dead letters from their ring, and counts their messages. At times it moves the whole
//! ring away, so that the workers make another.

use super::worker::{ATTEMPTS, number};
use crate::board::{Entry, Fate, Global, Team, Trace};
use crate::cast::{Cast, Wrong};
use crate::message::{Stream, verify};
use kit::Dice;
use slipring::{AtPath, AttachError, DeadLetter, DeadLetters, HandleError, OpenError, RecvError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) fn redrive(cast: &Cast) {
    let mut dice = cast.dice();
    cast.arrived();
    loop {
        // In this order: a dead letter that was added before the work was done is found.
        let ends = cast.board.is_set(Global::WorkDone);
        for shelf in shelves(cast) {
            empty(cast, &shelf);
        }
        // Others redrive while it lets go.
        let time = Duration::from_millis(dice.roll(100));
        match take_for(cast, &cast.ring(Stream::Groups), time, ends) {
            Taken::All if ends => return,
            Taken::All | Taken::Some => std::thread::sleep(Duration::from_millis(dice.roll(20))),
        }
        if !ends && dice.hits(20) {
            put_on_a_shelf(cast, &mut dice);
        }
    }
}

/// Whether letters are left.
enum Taken {
    All,
    Some,
}

/// Takes letters of the ring at `path` for so long, or all.
fn take_for(cast: &Cast, path: &Path, time: Duration, all: bool) -> Taken {
    let start = Instant::now();
    let open = || match DeadLetters::open(path) {
        // No worker gave a message up since their ring was moved away.
        Err(AtPath { error: AttachError::Open(OpenError::NoDeadLetterRing), .. }) => Ok(None),
        opened => opened.map(Some),
    };
    let Some(mut letters) = cast.insist("open the dead letters", open) else { return Taken::All };
    while all || start.elapsed() < time {
        match letters.peek() {
            Ok(Some(letter)) => {
                check(cast, &letter);
                match letters.take() {
                    Ok(Some(taken)) if taken == letter => {}
                    other => cast.fail(Wrong::Corrupt, format_args!("took {other:?} after {letter:?}")),
                }
                cast.count(Entry::DeadLetters, 1);
            }
            Ok(None) => return Taken::All,
            // Its predecessor had moved it away, and it was put together anew meanwhile.
            Err(RecvError::Handle(AtPath { error: HandleError::Replaced, .. })) => return Taken::Some,
            Err(error) => cast.fail(Wrong::Failed, error),
        }
    }
    Taken::Some
}

/// At least one copy of what was given up, whole, and never of what was acknowledged.
fn check(cast: &Cast, letter: &DeadLetter) {
    let position = letter.id.position;
    if verify(&letter.bytes, letter.kind, Stream::Groups, position).is_none() {
        cast.fail(Wrong::Corrupt, format_args!("{letter:?}"));
    }
    let nth = number(&cast.board, None, position);
    let is_redriven = cast.board.has(Trace::Redriven, nth);
    if letter.group != Team::Frail.name() || letter.attempts > ATTEMPTS && !is_redriven {
        cast.fail(Wrong::Failed, format_args!("nothing of it may be a dead letter: {letter:?}"));
    }
    cast.board.clear(Trace::Owed, nth);
    cast.board.meets(Team::Frail, Fate::Buried, nth);
    if cast.board.met(Team::Frail, Fate::Acknowledged, nth) {
        cast.fail(Wrong::Doubled, format_args!("acknowledged and a dead letter: {letter:?}"));
    }
}

/// The directories to which dead-letter rings were moved.
fn shelves(cast: &Cast) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(&cast.dir).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Moves the dead-letter ring to a directory, together with a second name of its ring. The workers
/// make a new one when they need it.
fn put_on_a_shelf(cast: &Cast, dice: &mut Dice) {
    let shelf = cast.dir.join(format!("shelf-{:016x}", dice.any()));
    let (from, to) = (cast.ring(Stream::Groups), shelf.join("groups"));
    let moved = || -> io::Result<()> {
        std::fs::create_dir(&shelf)?;
        for suffix in ["", ".locks"] {
            let from = beside(&from, suffix);
            if from.exists() {
                std::fs::hard_link(from, beside(&to, suffix))?;
            }
        }
        std::fs::rename(beside(&from, ".dead"), beside(&to, ".dead"))?;
        // Its locks go with it.
        let locks = beside(&from, ".dead.locks");
        if locks.exists() { std::fs::rename(locks, beside(&to, ".dead.locks")) } else { Ok(()) }
    };
    match moved() {
        Ok(()) => cast.count(Entry::Shelved, 1),
        // No worker has made another one.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => cast.fail(Wrong::Failed, format_args!("moving the dead-letter ring: {error}")),
    }
}

/// Takes all the letters that are on a shelf, and removes it.
fn empty(cast: &Cast, shelf: &Path) {
    let ring = shelf.join("groups");
    if ring.exists() {
        while let Taken::Some = take_for(cast, &ring, Duration::MAX, true) {}
    }
    if let Err(error) = std::fs::remove_dir_all(shelf) {
        cast.fail(Wrong::Failed, format_args!("{}: {error}", shelf.display()));
    }
}
