//! A ring made anew from its journal, when its file is lost.

use crate::description::Description;
use crate::format::{Content, Mark};
use crate::history::{History, HistoryError};
use crate::home::Home;
use crate::journal::NAME;
use crate::system;
use slipring::{
    Ancestor, AtPath, CreateError, DeadLetterPolicy, OpenError, Ring, RingId, RingOptions, Start,
};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A ring that was made anew from its journal.
#[derive(Debug)]
#[non_exhaustive]
pub struct Restored {
    /// The new ring.
    pub ring: Ring,
    /// The ring that was lost.
    pub lost: RingId,
    /// The position up to which the disk has the messages: from here on the new ring has messages
    /// of its own.
    pub watermark: u64,
    /// The first position that the new ring has.
    pub first_position: u64,
    /// The readers that the lost ring kept messages for, and where they go on.
    pub members: Vec<Member>,
    /// True if the ring at the path had been restored before from the same journal: nothing was
    /// changed.
    pub was_there: bool,
}

/// A durable consumer or a group of a restored ring.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The name.
    pub name: String,
    /// True for a group of workers.
    pub is_group: bool,
    /// Where it goes on. Messages from here up to the watermark may be ones that it has had.
    pub begins_at: u64,
    /// How far it had come when the journal wrote that down last; none if it never did. Above the
    /// watermark, what it has seen from there on is undone.
    pub known: Option<u64>,
}

impl Member {
    /// How many messages it gets that it may have had before.
    pub fn again(&self, watermark: u64) -> u64 {
        watermark - self.begins_at
    }

    /// How many messages it has had that no disk has: other messages take their positions.
    pub fn undone(&self, watermark: u64) -> u64 {
        self.known.map_or(0, |known| known.saturating_sub(watermark))
    }
}

/// Why a ring was not made from a journal. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The journal cannot be read to its end.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The journal does not say what the ring was.
    #[error("{}: cannot read what the ring was: {source}", .path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The description is of another ring.
    #[error("{}: describes ring {found}, but lies in the directory of ring {expected}", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The ring that it describes.
        found: RingId,
        /// The ring of the directory.
        expected: RingId,
    },
    /// A journal is at work: its ring is not lost.
    #[error(
        "{}: a journal writes here: its ring is not lost; stop the journal first, or leave the ring alone",
        .directory.display()
    )]
    InUse {
        /// The ring's directory.
        directory: PathBuf,
    },
    /// The ring could not be made.
    #[error(transparent)]
    Create(#[from] AtPath<CreateError>),
    /// Another file has the path.
    #[error("{}: is there already and was not restored from this journal; remove it, or choose another path", .path.display())]
    Occupied {
        /// The path of the new ring.
        path: PathBuf,
    },
    /// The filesystem refused.
    #[error("{}: cannot {doing}: {source}", .path.display())]
    Io {
        /// The operation.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
}

/// Makes the ring at `path` anew from its journal under `directory`, which is not changed: with an
/// id of its own that [continues](slipring::Ring::ancestors) the lost one, the last messages that
/// are on the disk, as many as the ring holds, and its durable consumers and groups where the
/// journal knows that they had come. What is certain is that none of them misses a message that is
/// on the disk; how many each may get again, [`Restored::members`] says. Dead letters are not in a
/// journal.
///
/// The ring becomes visible when it is complete. A call that is killed leaves nothing but what
/// [`RingOptions::create`] may leave; a call that finds the ring restored returns it.
///
/// `ring`: which of the rings that have a journal under the directory; none: the one that no other
/// of them continues.
///
/// The new ring's durable consumer `journal` begins at its first message: a journal that is
/// attached to it writes all that the ring holds under the new id, and the ring keeps its messages
/// for it.
///
/// # Errors
///
/// [`RestoreError`]: the journal is damaged, of a later version, has a hole in what the ring needs,
/// or is at work; a file has the path.
pub fn restore(
    directory: impl AsRef<Path>,
    ring: Option<RingId>,
    path: impl AsRef<Path>,
) -> Result<Restored, RestoreError> {
    let (directory, path) = (directory.as_ref(), path.as_ref());
    let home = choose(directory, ring)?;
    let described = describe(&home)?;
    let _lock = lock(&home)?;
    let kept = Kept::of(directory, &home, &described)?;
    if let Some(there) = restored_before(path, &home)? {
        return Ok(kept.restored(there, &home, true));
    }
    let mut restoration = options(&described, &home, &kept).restore(path)?;
    let mut history = History::open_ring(directory, kept.source.ring())?;
    history.seek(Start::At(kept.first))?;
    while restoration.position() < kept.watermark {
        let Some(message) = history.next()? else {
            return Err(hole(&kept.source, restoration.position(), kept.watermark));
        };
        restoration.push((message.kind, message.bytes))?;
    }
    Ok(kept.restored(restoration.finish()?, &home, false))
}

fn hole(home: &Home, from: u64, to: u64) -> RestoreError {
    HistoryError::Hole { directory: home.path().to_path_buf(), from, to }.into()
}

/// The journal to restore from.
fn choose(directory: &Path, ring: Option<RingId>) -> Result<Home, RestoreError> {
    if let Some(ring) = ring {
        return Ok(History::open_ring(directory, ring)?.home().clone());
    }
    let homes = match Home::all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        homes => homes.map_err(|source| io_error("list it", directory, source))?,
    };
    let lines: Vec<_> = homes.iter().filter_map(|home| Description::load(home).ok()).collect();
    let is_continued = |home: &Home| {
        lines.iter().any(|line| line.ancestors.iter().any(|ancestor| ancestor.ring == home.ring()))
    };
    // A journal that was killed before it had described its ring had written nothing.
    let has_begun = |home: &Home| {
        lines.iter().any(|line| line.ring == home.ring()) || home.segments().is_ok_and(|it| !it.is_empty())
    };
    let last: Vec<&Home> = homes.iter().filter(|home| has_begun(home) && !is_continued(home)).collect();
    let directory = directory.to_path_buf();
    match last[..] {
        [] => Err(HistoryError::NoJournal { directory }.into()),
        [home] => Ok(home.clone()),
        _ => {
            let rings = last.iter().map(|home| home.ring()).collect();
            Err(HistoryError::SeveralRings { directory, rings }.into())
        }
    }
}

fn describe(home: &Home) -> Result<Description, RestoreError> {
    let path = home.file("ring.json");
    match Description::load(home) {
        Ok(described) if described.ring != home.ring() => {
            Err(RestoreError::Foreign { path, found: described.ring, expected: home.ring() })
        }
        Ok(described) => Ok(described),
        Err(source) => Err(RestoreError::Description { path, source }),
    }
}

/// Keeps a journal from beginning meanwhile. A directory that this user may only read has none.
fn lock(home: &Home) -> Result<Option<File>, RestoreError> {
    let path = home.file("lock");
    let failed = |source| RestoreError::Io { doing: "lock it", path: path.clone(), source };
    let lock = match system::open_to_read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        lock => lock.map_err(failed)?,
    };
    match system::try_lock(&lock).map_err(failed)? {
        true => Ok(Some(lock)),
        false => Err(RestoreError::InUse { directory: home.path().to_path_buf() }),
    }
}

/// The ring at the path, if it was restored from this journal; none if the path is free.
fn restored_before(path: &Path, home: &Home) -> Result<Option<Ring>, RestoreError> {
    match Ring::open(path) {
        Ok(ring) if ring.ancestors().first().is_some_and(|lost| lost.ring == home.ring()) => Ok(Some(ring)),
        Err(AtPath { error: OpenError::NotFound, .. }) => Ok(None),
        _ => Err(RestoreError::Occupied { path: path.to_path_buf() }),
    }
}

/// What the disk has of the ring.
struct Kept {
    /// The journal that has the messages.
    source: Home,
    first: u64,
    watermark: u64,
    members: Vec<Member>,
}

impl Kept {
    fn of(directory: &Path, home: &Home, described: &Description) -> Result<Kept, RestoreError> {
        let (source, watermark) = source(directory, home, described)?;
        let earliest = segments(&source)?.first().copied().unwrap_or(watermark);
        // No reader had kept a message below that in the lost ring: the ring's head had come to the
        // watermark, and a ring holds its capacity.
        let first = watermark.saturating_sub(described.capacity).max(described.first_position);
        if earliest > first {
            let (directory, missed) = (source.path().to_path_buf(), earliest - first);
            return Err(HistoryError::Gone { directory, next: first, first: earliest, missed }.into());
        }
        let mut marks = last_marks(home)?;
        if marks.is_empty() {
            marks = last_marks(&source)?;
        }
        let durables = described.durable.iter().filter(|name| *name != NAME).map(|name| (name, false));
        let groups = described.groups.iter().map(|(name, _)| (name, true));
        let members = durables.chain(groups).map(|(name, is_group)| {
            let mark = marks.iter().find(|mark| (&mark.name, mark.is_group) == (name, is_group));
            let known = mark.map(|mark| mark.position);
            let begins_at = known.unwrap_or(first).clamp(first, watermark);
            Member { name: name.clone(), is_group, begins_at, known }
        });
        Ok(Kept { members: members.collect(), source, first, watermark })
    }

    fn restored(self, ring: Ring, home: &Home, was_there: bool) -> Restored {
        let Kept { first, watermark, members, .. } = self;
        Restored { ring, lost: home.ring(), watermark, first_position: first, members, was_there }
    }

    fn begins_at(&self, name: &str, is_group: bool) -> u64 {
        let member = self.members.iter().find(|member| (&*member.name, member.is_group) == (name, is_group));
        member.map_or(self.first, |member| member.begins_at)
    }
}

/// The journal that has the ring's last messages, and the position up to which it has them.
///
/// A ring that was itself restored may be lost before its journal has written again what it was
/// filled with. Then the journal that it was restored from still has more.
fn source(directory: &Path, home: &Home, described: &Description) -> Result<(Home, u64), RestoreError> {
    let end = synchronised_end(home)?;
    let Some(Ancestor { ring, watermark }) = described.ancestors.first().copied() else {
        return Ok((home.clone(), end.max(described.first_position)));
    };
    if end >= watermark {
        return Ok((home.clone(), end));
    }
    let before = Home::new(directory, ring);
    let (source, reached) = match Description::load(&before) {
        Ok(described) => source(directory, &before, &described)?,
        Err(_) => return Err(hole(home, end, watermark)),
    };
    if reached < watermark { Err(hole(&source, reached, watermark)) } else { Ok((source, watermark)) }
}

/// Where a journal ends; 0 if it has written nothing. What it wrote last may be in the page cache
/// only, if it was killed: nothing that is found is believed before it is on the disk.
fn synchronised_end(home: &Home) -> Result<u64, RestoreError> {
    let Some(newest) = segments(home)?.last().copied() else { return Ok(0) };
    let path = home.segment(newest);
    let failed = |source| io_error("synchronise it", &path, source);
    system::open_to_read(&path).map_err(failed)?.sync_all().map_err(failed)?;
    Ok(History::open_ring(home.path().parent().unwrap_or(Path::new(".")), home.ring())?.end()?)
}

fn segments(home: &Home) -> Result<Vec<u64>, RestoreError> {
    home.segments().map_err(|source| io_error("list its segments", home.path(), source))
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> RestoreError {
    RestoreError::Io { doing, path: path.to_path_buf(), source }
}

/// The marks that the journal wrote last.
fn last_marks(home: &Home) -> Result<Vec<Mark>, RestoreError> {
    for first in segments(home)?.into_iter().rev() {
        let path = home.segment(first);
        let Ok(Some(segment)) = home.open(first) else { continue };
        let mut found = None;
        let walked = segment.walk(|head, frame| {
            if head.content == Content::Marks {
                found = Some(Mark::decode(frame));
            }
        });
        walked.map_err(|source| io_error("read it", &path, source))?;
        if let Some(marks) = found {
            return Ok(marks);
        }
    }
    Ok(Vec::new())
}

/// The lost ring, as its journal described it.
fn options(described: &Description, home: &Home, kept: &Kept) -> RingOptions {
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let entries = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let lost = Ancestor { ring: home.ring(), watermark: kept.watermark };
    let mut options = RingOptions::new(size(described.block_size), size(described.capacity))
        .first_position(kept.first)
        .continues(std::iter::once(lost).chain(described.ancestors.iter().copied()))
        .consumers(entries(described.consumer_entries))
        // It writes what the ring holds under its new id, and until then the ring keeps it.
        .durable_at(NAME, kept.first);
    for name in in_order(described) {
        options = options.durable_at(name, kept.begins_at(name, false));
        if let Some(upstreams) = upstreams_of(described, name) {
            options = options.comes_after(name, upstreams.iter().filter(|upstream| !upstream.is_empty()));
        }
    }
    for (name, settings) in &described.groups {
        options = options.group_at(name, *settings, kept.begins_at(name, true));
    }
    if described.group_entries > 0 {
        options = options.groups(entries(described.group_entries)).workers(entries(described.worker_entries));
    }
    if let Some(capacity) = described.dead_letter_capacity {
        options = options.dead_letter_capacity(size(capacity));
    }
    if described.drops_dead_letters {
        options = options.dead_letter_policy(DeadLetterPolicy::DropAndCount);
    }
    if let Some(threshold) = described.durable_inactive {
        options = options.durable_inactive_threshold(threshold);
    }
    if let Some(schema) = &described.schema {
        options = options.described_as(schema);
    }
    match described.mode {
        Some(mode) => options.mode(mode),
        None => options,
    }
}

fn upstreams_of<'d>(described: &'d Description, name: &str) -> Option<&'d [String]> {
    described.after.iter().find(|(follower, _)| follower == name).map(|(_, upstreams)| &**upstreams)
}

/// The durable consumers but the journal, each behind those that it comes after.
fn in_order(described: &Description) -> Vec<&String> {
    let mut left: Vec<&String> = described.durable.iter().filter(|name| *name != NAME).collect();
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let waits = |name: &&String| {
            let upstreams = upstreams_of(described, name).unwrap_or_default();
            upstreams.iter().any(|upstream| left.contains(&upstream))
        };
        // A description in which readers come after each other is damaged: their creation says so.
        let next = left.iter().position(|name| !waits(name)).unwrap_or(0);
        ordered.push(left.remove(next));
    }
    ordered
}
