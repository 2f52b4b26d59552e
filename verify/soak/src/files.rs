//! The files of a ring that does not last: the director removes, renames, replaces and cuts each of
//! them, and makes the next one at the same path.

use crate::board::{Board, DEEDS, Deed};
use crate::cast::PATIENCE;
use crate::options::Plant;
use crate::roles::{FLEETING_GROUP, first_of_file};
use kit::Dice;
use slipring::{GroupSettings, Ring, RingOptions};
use std::collections::VecDeque;
use std::error::Error;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

pub(crate) const CAPACITY: usize = 256;
/// The shortest life of a file, in milliseconds, and how much longer it may be.
const LIFE_MS: u64 = 400;
const LIFE_MORE_MS: u64 = 1600;
/// The longest time without a file.
const GAP_MS: u64 = 300;
const SUFFIXES: [&str; 4] = ["", ".locks", ".dead", ".dead.locks"];

/// Files in so many seconds, at most.
pub(crate) fn at_most(seconds: u64) -> u64 {
    16 + seconds * 1000 / LIFE_MS
}

/// The files, one after the other.
#[derive(Debug)]
pub(crate) struct Files {
    path: PathBuf,
    options: RingOptions,
    plant: Option<Plant>,
    /// The ring of the present file; none between two.
    ring: Option<Ring>,
    /// Number of the last file.
    last: u64,
    next_step: Duration,
    /// When each of the latest files came.
    came: VecDeque<(u64, Duration)>,
    done: [u64; DEEDS.len()],
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes what may have gone already.
fn remove(path: &Path) -> Result<(), Box<dyn Error>> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

impl Files {
    pub(crate) fn new(
        path: PathBuf,
        options: RingOptions,
        board: &Board,
        plant: Option<Plant>,
    ) -> Result<Files, Box<dyn Error>> {
        let (came, done) = (VecDeque::new(), [0; DEEDS.len()]);
        let settings = GroupSettings::new().ack_wait(Duration::from_millis(100)).max_deliver(3);
        let options = options.group(FLEETING_GROUP, settings);
        let mut files = Files {
            path,
            options,
            plant,
            ring: None,
            last: 0,
            next_step: Duration::from_millis(LIFE_MS),
            came,
            done,
        };
        files.make(board, Duration::ZERO)?;
        Ok(files)
    }

    /// How often each deed was done.
    pub(crate) fn deeds(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        ["removed", "renamed", "replaced", "cut short"].into_iter().zip(self.done)
    }

    /// Makes the next file at the path.
    fn make(&mut self, board: &Board, played: Duration) -> Result<(), Box<dyn Error>> {
        let path = self.path.clone();
        // One that was cut short, and the letters of those before.
        ["", ".dead", ".dead.locks"].into_iter().try_for_each(|suffix| remove(&beside(&path, suffix)))?;
        self.make_at(&path, board)?;
        self.came.push_back((self.last, played));
        Ok(())
    }

    fn make_at(&mut self, path: &Path, board: &Board) -> Result<(), Box<dyn Error>> {
        self.last += 1;
        let first = first_of_file(self.last);
        board.published_in(self.last).store(first, SeqCst);
        board.begin_file(self.last);
        self.ring = Some(self.options.clone().first_position(first).create(path)?);
        Ok(())
    }

    /// Does the next step, when its time has come.
    pub(crate) fn go_on(
        &mut self,
        played: Duration,
        board: &Board,
        dice: &mut Dice,
    ) -> Result<(), Box<dyn Error>> {
        if played < self.next_step {
            return Ok(());
        }
        let pause = match self.ring.take() {
            None => {
                self.make(board, played)?;
                LIFE_MS + dice.roll(LIFE_MORE_MS)
            }
            Some(ring) => {
                let deed = dice.pick(&DEEDS);
                self.do_deed(deed, &ring, board, played, dice)?;
                self.done[deed as usize - 1] += 1;
                if self.ring.is_some() { LIFE_MS + dice.roll(LIFE_MORE_MS) } else { dice.roll(GAP_MS) }
            }
        };
        self.next_step = played + Duration::from_millis(pause);
        Ok(())
    }

    fn do_deed(
        &mut self,
        deed: Deed,
        ring: &Ring,
        board: &Board,
        played: Duration,
        dice: &mut Dice,
    ) -> Result<(), Box<dyn Error>> {
        let path = self.path.clone();
        let mislabelled = self.plant == Some(Plant::Mislabel) && deed == Deed::CutShort;
        board.announce(self.last, if mislabelled { Deed::Removed } else { deed });
        match deed {
            Deed::Removed if dice.hits(2) => ring.remove()?,
            Deed::Removed => remove(&path)?,
            Deed::Renamed => std::fs::rename(&path, beside(&path, ".away"))?,
            Deed::Replaced => {
                let new = beside(&path, ".new");
                self.make_at(&new, board)?;
                // The ring last: it is found whole.
                for suffix in SUFFIXES.into_iter().rev() {
                    let from = beside(&new, suffix);
                    if from.exists() {
                        std::fs::rename(from, beside(&path, suffix))?;
                    }
                }
                self.ring = Some(Ring::open(&path)?);
                self.came.push_back((self.last, played));
            }
            Deed::CutShort => {
                let len = dice.roll(ring.file_len());
                std::fs::OpenOptions::new().write(true).open(&path)?.set_len(len)?;
            }
        }
        Ok(())
    }

    /// The file that every user has come to, if none is stuck.
    pub(crate) fn everyone_at_least(&mut self, played: Duration) -> u64 {
        while self.came.get(1).is_some_and(|(_, came)| *came + PATIENCE < played) {
            self.came.pop_front();
        }
        self.came.front().filter(|(_, came)| *came + PATIENCE < played).map_or(0, |(file, _)| *file)
    }

    /// At the end: there is a file, and nothing happens to it.
    pub(crate) fn settle(&mut self, board: &Board) -> Result<(), Box<dyn Error>> {
        if self.ring.is_none() {
            self.make(board, Duration::ZERO)?;
        }
        Ok(())
    }
}
