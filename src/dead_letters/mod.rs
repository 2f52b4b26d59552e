//! The dead-letter ring: a ring beside the ring, in which messages that a group gave up wait for an
//! operator.
//!
//! It is a ring like any other, without groups. Its producer is the worker that moves a letter at
//! that moment. Its one consumer is durable, so that no letter is overwritten before it was
//! redriven or purged.

use crate::consumer::{Consumer, ConsumerOptions};
use crate::copying::observer::{Observer, ObserverOptions};
use crate::error::{AtPath, AttachError, CreateError, OpenError, RecvError, RedriveError, SendError};
use crate::id::{MessageId, RingId};
use crate::message::Message;
use crate::producer::{Producer, ProducerOptions};
use crate::region::Access;
use crate::ring::attach::Attachment;
use crate::ring::companion::REDRIVE_CONSUMER;
use crate::ring::place::{At, Place};
use crate::ring::{self, Ring};
use slipring_core::format::{DEAD_LETTER_HEADER_LEN, NAME_MAX};
use slipring_core::protocol::redrive::Redriven;
use slipring_core::protocol::settings::Reason;
use slipring_core::protocol::table::Start;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Longest note of a rejection, in bytes.
pub(crate) const NOTE_MAX: usize = 64;
/// The letter's part of a block of the dead-letter ring; the message follows.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawDeadLetter {
    ring: [u8; 16],
    position: u64,
    dead_lettered_unix_ms: u64,
    seen_unix_ms: u64,
    attempts: u32,
    reason: u32,
    kind: u32,
    generation: u32,
    reserved: u64,
    group: [u8; NAME_MAX],
    note: [u8; NOTE_MAX],
}

const _: () = assert!(size_of::<RawDeadLetter>() as u64 == DEAD_LETTER_HEADER_LEN);

fn text_into(bytes: &mut [u8; 64], text: &str) {
    let cut = (0..=text.len().min(64)).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    bytes[..cut].copy_from_slice(&text.as_bytes()[..cut]);
}

fn text_of(bytes: &[u8; 64]) -> String {
    let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

/// A message that a group gave up, with its history.
///
/// ```
/// use slipring::{GroupSettings, Producer, Reason, RingOptions, Worker};
///
/// let ring = RingOptions::of::<u64>(64).group("g", GroupSettings::new()).create_in_memory()?;
/// Producer::<u64>::open(&ring)?.send((3, &17))?;
/// Worker::<u64>::join(&ring, "g")?.recv()?.reject("no such number")?;
/// let letter = &ring.dead_letters()?[0];
/// assert_eq!((letter.id.position, letter.kind, letter.attempts), (0, 3, 1));
/// assert_eq!((letter.reason, letter.note.as_str()), (Reason::Rejected, "no such number"));
/// assert_eq!(letter.bytes, 17_u64.to_le_bytes());
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The message's id, as every delivery of it had.
    pub id: MessageId,
    /// The group that gave the message up. Other groups deliver it independently.
    pub group: String,
    /// The generation of the group's entry, its low half: which group of this name it was.
    pub(crate) generation: u32,
    /// How often it was delivered, over all redrives to its group.
    pub attempts: u32,
    /// The reason for giving it up.
    pub reason: Reason,
    /// The note of [`Delivery::reject`](crate::Delivery::reject); empty for the other reasons.
    pub note: String,
    /// The message's kind.
    pub kind: u32,
    /// The time at which a worker of the group first saw the message in the ring, or a little
    /// later, in milliseconds since 1970, by the system clock; none if no worker noted it.
    pub seen_unix_ms: Option<u64>,
    /// The time at which the letter was written, in milliseconds since 1970, by the system clock.
    pub dead_lettered_unix_ms: u64,
    /// The message's bytes.
    pub bytes: Vec<u8>,
    /// The letter's position in the dead-letter ring.
    pub position: u64,
}

impl DeadLetter {
    /// The time at which the letter was written, by the system clock.
    pub fn dead_lettered(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.dead_lettered_unix_ms)
    }

    /// Writes the letter, for a block of the dead-letter ring.
    pub(crate) fn encode(&self, block: &mut Vec<u8>) {
        let mut raw = RawDeadLetter::new_zeroed();
        raw.ring = self.id.ring.to_bytes();
        raw.position = self.id.position;
        raw.dead_lettered_unix_ms = self.dead_lettered_unix_ms;
        raw.seen_unix_ms = self.seen_unix_ms.unwrap_or(0);
        raw.attempts = self.attempts;
        raw.reason = self.reason as u32;
        raw.kind = self.kind;
        raw.generation = self.generation;
        text_into(&mut raw.group, &self.group);
        text_into(&mut raw.note, &self.note);
        block.clear();
        block.extend_from_slice(raw.as_bytes());
        block.extend_from_slice(&self.bytes);
    }

    /// Reads a letter. None if it is too short to be one.
    fn decode(position: u64, block: &[u8]) -> Option<DeadLetter> {
        let (raw, bytes) = RawDeadLetter::read_from_prefix(block).ok()?;
        Some(DeadLetter {
            id: MessageId { ring: RingId::from_bytes(raw.ring), position: raw.position },
            group: text_of(&raw.group),
            generation: raw.generation,
            attempts: raw.attempts,
            reason: Reason::from_code(raw.reason),
            note: text_of(&raw.note),
            kind: raw.kind,
            seen_unix_ms: Some(raw.seen_unix_ms).filter(|&ms| ms != 0),
            dead_lettered_unix_ms: raw.dead_lettered_unix_ms,
            bytes: bytes.to_vec(),
            position,
        })
    }
}

/// The dead-letter ring, with the right to write it. One worker at a time has it.
#[derive(Debug)]
pub(crate) struct Writer {
    producer: Producer,
    block: Vec<u8>,
}

/// Why a worker did not get the right to write the dead-letter ring.
#[derive(Clone, Debug)]
pub(crate) enum NoWriter {
    /// A process has the right, usually another worker.
    Busy {
        /// Its number, in its own pid namespace.
        pid: u64,
    },
    /// The file cannot be opened or created, or belongs to another ring: the error.
    Unavailable(String),
}

impl NoWriter {
    fn of(error: AtPath<AttachError>) -> NoWriter {
        match error.error {
            AttachError::ProducerExists { pid, .. } => NoWriter::Busy { pid },
            error => NoWriter::Unavailable(error.to_string()),
        }
    }
}

impl Writer {
    /// Opens the dead-letter ring of `attachment`'s ring; creates it if the file is missing.
    pub(crate) fn open(attachment: &Attachment) -> Result<Writer, NoWriter> {
        // Checked first: a file of another ring must not be opened for writing.
        let mut place = At::from(attachment.dead_source()).dead_letters_of(attachment.header.ring_id);
        place.demands.trusted_owner = attachment.trusted_owner;
        let producer = ProducerOptions::new().watched(false);
        let opened = producer.open(&place).or_else(|error| match error {
            AtPath { path, error: AttachError::Open(OpenError::NoDeadLetterRing) } => {
                // Beside another ring, or none, the letter would be found by nobody, and the file
                // would be in the way of the dead-letter ring of the next ring at this path.
                attachment.still_readable().map_err(|error| NoWriter::Unavailable(error.to_string()))?;
                // The file was removed. Another worker may create it at the same time: one of them
                // wins.
                let (header, mode) = (&attachment.header, attachment.mode());
                let options =
                    ring::dead_options(&header.geometry, header.ring_id, &header.dead_letters, mode);
                match options.create(&path) {
                    Ok(_) | Err(AtPath { error: CreateError::AlreadyExists, .. }) => {
                        producer.open(&place).map_err(NoWriter::of)
                    }
                    Err(AtPath { error, .. }) => Err(NoWriter::Unavailable(error.to_string())),
                }
            }
            error => Err(NoWriter::of(error)),
        });
        Ok(Writer { producer: opened?, block: Vec::new() })
    }

    pub(crate) fn publish(&mut self, letter: &DeadLetter) -> Result<u64, SendError> {
        letter.encode(&mut self.block);
        // A file that lost its name between its opening and now would take the letter along.
        self.producer.check()?;
        #[cfg(test)]
        tests::between();
        let position = self.producer.try_send((letter.kind, &self.block))?;
        // It may have lost its name since: then the message stays, and this letter is none.
        self.producer.check()?;
        Ok(position)
    }
}

/// The dead letters of a ring, for a program or an operator that redrives or purges them. One
/// process at a time has this handle; workers add letters meanwhile.
///
/// ```
/// use slipring::{DeadLetters, GroupSettings, Producer, RingOptions, Worker};
///
/// let ring = RingOptions::new(48, 16).group("sms", GroupSettings::new()).create_in_memory()?;
/// let mut producer = Producer::<[u8]>::open(&ring)?;
/// let worker = Worker::<[u8]>::join(&ring, "sms")?;
/// producer.send(b"to nobody")?;
/// worker.recv()?.reject("no such number")?;
///
/// let mut dead = DeadLetters::open(&ring)?;
/// let letter = dead.peek()?.expect("one letter");
/// assert_eq!(letter.bytes, b"to nobody");
/// assert_eq!(letter.note, "no such number");
/// assert_eq!(dead.redrive(&mut producer, u64::MAX)?, 1); // back into the ring, as a new message
/// assert_eq!(&*worker.recv()?, b"to nobody");
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it lets another process open the dead letters"]
pub struct DeadLetters {
    consumer: Consumer,
    patience: Duration,
    to_all: bool,
}

/// How long a redrive waits for room for one letter, unless the caller says otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

impl DeadLetters {
    /// Opens the dead letters of the ring at `place`.
    ///
    /// # Errors
    ///
    /// [`AttachError::NameInUse`] if another process has them open; [`AttachError::NoGroups`] if
    /// the ring has no groups; [`AttachError::Open`] as [`Ring::open`], of the ring and of the
    /// dead-letter ring.
    pub fn open(place: impl Place) -> Result<DeadLetters, AtPath<AttachError>> {
        let At { source, demands } = place.at();
        let ring = Attachment::open(At { source, demands }, Access::Nothing)?;
        if ring.geometry().groups() == 0 {
            return Err(ring.at_path(AttachError::NoGroups));
        }
        let mut place = At::from(ring.dead_source()).dead_letters_of(ring.header.ring_id);
        place.demands.trusted_owner = demands.trusted_owner;
        let consumer = ConsumerOptions::new().name(REDRIVE_CONSUMER).durable(true).attach(&place)?;
        Ok(DeadLetters { consumer, patience: PATIENCE, to_all: false })
    }

    /// How long a redrive waits for room in the ring for one letter; default 5 s.
    ///
    /// A ring may be full of messages that wait for room in the dead-letter ring: then neither ring
    /// has room for the other, and the redrive ends with [`RedriveError::NoRoom`].
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Redrives to all groups, as new messages with new ids; default: to the group that gave the
    /// message up.
    ///
    /// ```
    /// use slipring::{DeadLetters, GroupSettings, Producer, RingOptions, Worker};
    ///
    /// let options = RingOptions::of::<u64>(8).group("sms", GroupSettings::new());
    /// let ring = options.group("points", GroupSettings::new()).create_in_memory()?;
    /// let mut producer = Producer::<u64>::open(&ring)?;
    /// let sms = Worker::<u64>::join(&ring, "sms")?;
    /// let points = Worker::<u64>::join(&ring, "points")?;
    /// producer.send(&7)?;
    /// points.recv()?.ack()?;
    /// sms.recv()?.reject("no such number")?;
    /// let mut dead = DeadLetters::open(&ring)?;
    /// dead.redrive(&mut producer, 1)?;
    /// assert!(points.try_recv().is_err()); // it has done its part
    /// sms.recv()?.reject("no such number")?;
    /// dead.set_to_all(true);
    /// dead.redrive(&mut producer, 1)?;
    /// assert_eq!((*points.recv()?, *sms.recv()?), (7, 7));
    /// # Ok::<(), slipring::Error>(())
    /// ```
    pub fn set_to_all(&mut self, to_all: bool) {
        self.to_all = to_all;
    }

    /// The group that gets a redriven letter; none: all.
    fn target<T: ?Sized + Message>(
        &self,
        producer: &Producer<T>,
        letter: &DeadLetter,
    ) -> Result<Option<Redriven>, RedriveError> {
        if self.to_all || !producer.is_or_continues(letter.id.ring) {
            return Ok(None);
        }
        let group = producer.group(&letter.group).filter(|group| group.generation() == letter.generation);
        let group = group.ok_or_else(|| RedriveError::NoSuchGroup {
            path: producer.path().to_path_buf(),
            letter: letter.position,
            group: letter.group.clone(),
        })?;
        Ok(Some(Redriven {
            group: group.number,
            generation: letter.generation,
            first: letter.id.position,
            attempts: letter.attempts,
        }))
    }

    /// The oldest letter, if there is one. It stays.
    ///
    /// # Errors
    ///
    /// [`RecvError::Damaged`], [`RecvError::Handle`].
    pub fn peek(&mut self) -> Result<Option<DeadLetter>, RecvError> {
        loop {
            match self.consumer.try_recv() {
                Ok(message) => match DeadLetter::decode(message.position(), &message) {
                    Some(letter) => {
                        message.keep();
                        return Ok(Some(letter));
                    }
                    // No worker wrote it.
                    None => drop(message),
                },
                Err(RecvError::Empty | RecvError::Closed) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes the oldest letter and returns it.
    ///
    /// ```
    /// use slipring::{DeadLetters, GroupSettings, Producer, RingOptions, Worker};
    ///
    /// let ring = RingOptions::of::<u64>(64).group("g", GroupSettings::new()).create_in_memory()?;
    /// Producer::<u64>::open(&ring)?.send(&17)?;
    /// Worker::<u64>::join(&ring, "g")?.recv()?.reject("")?;
    /// let mut letters = DeadLetters::open(&ring)?;
    /// assert!(letters.take()?.is_some_and(|letter| letter.group == "g"));
    /// assert_eq!(letters.take()?, None);
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`peek`](Self::peek).
    pub fn take(&mut self) -> Result<Option<DeadLetter>, RecvError> {
        let letter = self.peek()?;
        if letter.is_some() {
            drop(self.consumer.try_recv()?);
        }
        Ok(letter)
    }

    /// Publishes up to `max` of the present letters again, oldest first, and returns how many;
    /// waits for room in the ring.
    ///
    /// Each is published at a new position, for the group that gave it up: the other groups do not
    /// get it again. It keeps its [id](crate::Delivery::id), its kind and the count of its attempts
    /// so far; the group tries it as often as any message. Consumers and observers read everything
    /// that is published, so they read it once more. A producer of another ring publishes it there
    /// as a new message for all.
    ///
    /// At least once: a process that is killed during the call may leave a letter that was
    /// published already. [`set_to_all`](Self::set_to_all) has it published for all groups.
    ///
    /// # Errors
    ///
    /// The first failure to publish; the letters that were not published stay.
    /// [`RedriveError::NoSuchGroup`] if the group was removed, or made anew, since.
    pub fn redrive<T: ?Sized + Message>(
        &mut self,
        producer: &mut Producer<T>,
        max: u64,
    ) -> Result<u64, RedriveError> {
        self.redrive_with(producer, max, |_, _| {})
    }

    /// As [`redrive`](Self::redrive), but `edit` may change each message: it gets the letter and
    /// the bytes to be published. Example: it writes the id of the first message into them.
    ///
    /// ```
    /// use slipring::{DeadLetters, GroupSettings, Producer, RingOptions, Worker};
    ///
    /// let ring = RingOptions::new(48, 16).group("g", GroupSettings::new()).create_in_memory()?;
    /// let mut producer = Producer::<[u8]>::open(&ring)?;
    /// let worker = Worker::<[u8]>::join(&ring, "g")?;
    /// producer.send(b"order 17")?;
    /// worker.recv()?.reject("no such number")?;
    /// let mut dead = DeadLetters::open(&ring)?;
    /// dead.redrive_with(&mut producer, 1, |letter, bytes| {
    ///     bytes.extend_from_slice(format!(" (was {})", letter.id.position).as_bytes());
    /// })?;
    /// assert_eq!(&*worker.recv()?, b"order 17 (was 0)");
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`redrive`](Self::redrive); a message that `edit` makes larger than a block stays a
    /// letter.
    pub fn redrive_with<T: ?Sized + Message>(
        &mut self,
        producer: &mut Producer<T>,
        max: u64,
        mut edit: impl FnMut(&DeadLetter, &mut Vec<u8>),
    ) -> Result<u64, RedriveError> {
        // Letters that come from now on wait: a message that is given up again would go round for
        // ever.
        let end = self.consumer.raw().published();
        let mut redriven = 0;
        while redriven < max {
            let Some(mut letter) = self.peek()?.filter(|letter| letter.position < end) else { break };
            let mut bytes = std::mem::take(&mut letter.bytes);
            edit(&letter, &mut bytes);
            let to = self.target(producer, &letter)?;
            match producer.send_bytes(letter.kind, &bytes, to, self.patience) {
                Err(error @ SendError::Full { .. }) => return Err(RedriveError::NoRoom { redriven, error }),
                sent => sent?,
            };
            // The letter goes only if the message is where readers find it.
            producer.check()?;
            drop(self.consumer.try_recv()?);
            redriven += 1;
        }
        Ok(redriven)
    }

    /// Deletes up to `max` of the present letters, oldest first, and returns how many.
    ///
    /// ```
    /// use slipring::{DeadLetters, GroupSettings, Producer, RingOptions, Worker};
    ///
    /// let ring = RingOptions::new(48, 16).group("g", GroupSettings::new()).create_in_memory()?;
    /// let mut producer = Producer::<[u8]>::open(&ring)?;
    /// let worker = Worker::<[u8]>::join(&ring, "g")?;
    /// producer.send(b"order 17")?;
    /// worker.recv()?.reject("no such number")?;
    /// let mut dead = DeadLetters::open(&ring)?;
    /// assert_eq!(dead.purge(u64::MAX)?, 1);
    /// assert!(dead.peek()?.is_none());
    /// # Ok::<(), slipring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`peek`](Self::peek); letters before the failure are deleted.
    pub fn purge(&mut self, max: u64) -> Result<u64, RecvError> {
        let end = self.consumer.raw().published();
        let mut purged = 0;
        while purged < max && self.peek()?.is_some_and(|letter| letter.position < end) {
            drop(self.consumer.try_recv()?);
            purged += 1;
        }
        Ok(purged)
    }
}

impl Ring {
    /// The dead letters of this ring's groups, oldest first; none of a ring without groups. Reads
    /// only, and has no effect on other processes.
    ///
    /// # Errors
    ///
    /// [`AttachError::Open`] as [`Ring::open`], of the dead-letter ring.
    pub fn dead_letters(&self) -> Result<Vec<DeadLetter>, AtPath<AttachError>> {
        if self.attachment.geometry().groups() == 0 {
            return Ok(Vec::new());
        }
        let place = At::from(self.attachment.dead_source()).dead_letters_of(self.id());
        let dead = Ring::open(&place)?;
        let from =
            dead.consumers().iter().find(|c| c.name == REDRIVE_CONSUMER).and_then(|redrive| redrive.tail);
        let start = from.map_or(Start::Earliest, Start::At);
        let mut observer: Observer = match ObserverOptions::new().start(start).attach(&place) {
            // Another process redrove the letter meanwhile.
            Err(AtPath { error: AttachError::Start(_), .. }) => {
                ObserverOptions::new().start(Start::Earliest).attach(&place)?
            }
            other => other?,
        };
        let mut letters = Vec::new();
        while let Ok(message) = observer.try_recv() {
            letters.extend(DeadLetter::decode(message.position(), &message));
        }
        Ok(letters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GroupSettings, Rejected, RingOptions, Worker};
    use std::cell::RefCell;
    use std::path::Path;

    thread_local! {
        /// Done once, between the last look at the dead-letter ring's name and the letter.
        static BETWEEN: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    }

    pub(super) fn between() {
        if let Some(act) = BETWEEN.take() {
            act();
        }
    }

    fn letter(ring: &Ring) -> DeadLetter {
        DeadLetter {
            id: MessageId { ring: ring.id(), position: 0 },
            group: "g".to_owned(),
            generation: 1,
            attempts: 1,
            reason: Reason::Rejected,
            note: String::new(),
            kind: 0,
            seen_unix_ms: None,
            dead_lettered_unix_ms: 0,
            bytes: vec![7; 16],
            position: 0,
        }
    }

    /// A worker of a ring that was removed, or renamed, gives a message up: a dead-letter ring that
    /// it makes then belongs to nobody, and the next ring at the path cannot have its own.
    #[test]
    fn no_dead_letter_ring_is_made_for_a_ring_that_has_gone() {
        let dir = std::env::temp_dir().join(format!("slipring-gone-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let (path, dead) = (dir.join("ring"), dir.join("ring.dead"));
        let options = RingOptions::new(16, 8).group("g", GroupSettings::new());
        let lose: [fn(&std::path::Path); 2] = [
            |path| std::fs::remove_file(path).unwrap(),
            |path| std::fs::rename(path, path.with_extension("aside")).unwrap(),
        ];
        for lose in lose {
            let ring = options.create(&path).unwrap();
            lose(&path);
            std::fs::remove_file(&dead).unwrap();
            let refused = Writer::open(&ring.attachment).unwrap_err();
            assert!(matches!(&refused, NoWriter::Unavailable(why) if why.contains("removed or replaced")));
            assert!(!dead.exists(), "it is in the way of the next one");
            let next = options.create(&path).unwrap();
            assert!(Writer::open(&ring.attachment).is_err(), "{}", next.id());
            assert_eq!(next.dead_letters().unwrap(), []);
            for file in [&path, &dead] {
                std::fs::remove_file(file).unwrap();
            }
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// A worker is stopped between its opening of the dead-letter ring and its writing. Meanwhile
    /// the file loses its name, or the name its file.
    #[test]
    fn a_letter_is_not_written_into_a_file_that_lost_its_name() {
        let dir = std::env::temp_dir().join(format!("slipring-letters-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("ring");
        let dead = dir.join("ring.dead");
        let ring = RingOptions::new(16, 8).group("g", GroupSettings::new()).create(&path).unwrap();
        let lose: [fn(&std::path::Path); 3] = [
            |dead| std::fs::remove_file(dead).unwrap(),
            |dead| std::fs::rename(dead, dead.with_extension("aside")).unwrap(),
            |dead| {
                std::fs::copy(dead, dead.with_extension("copy")).unwrap();
                std::fs::rename(dead.with_extension("copy"), dead).unwrap();
            },
        ];
        for lose in lose {
            let mut writer = Writer::open(&ring.attachment).unwrap();
            lose(&dead);
            assert!(writer.publish(&letter(&ring)).is_err(), "settled, and the letter is nowhere");
            drop(writer);
            // The next one makes the file anew, where it is missing, and the letter is there.
            let mut writer = Writer::open(&ring.attachment).unwrap();
            writer.publish(&letter(&ring)).unwrap();
            assert_eq!(ring.dead_letters().unwrap().len(), 1);
            drop(writer);
            std::fs::remove_file(&dead).unwrap();
            drop(Writer::open(&ring.attachment).unwrap());
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// The name goes, or becomes another file's, when the worker has looked at it for the last time:
    /// the letter is written into a file that is not found any more.
    #[test]
    fn a_letter_in_a_file_that_lost_its_name_under_the_writer_is_written_again() {
        let dir = std::env::temp_dir().join(format!("slipring-between-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let lose: [fn(&Path, &Path); 4] = [
            |dead, _| std::fs::remove_file(dead).unwrap(),
            |dead, aside| std::fs::rename(dead, aside).unwrap(),
            |dead, aside| {
                std::fs::copy(dead, aside).unwrap();
                std::fs::rename(aside, dead).unwrap();
            },
            |dead, aside| {
                std::fs::rename(dead, aside).unwrap();
                std::fs::write(dead, "of another program").unwrap();
            },
        ];
        for (n, lose) in lose.into_iter().enumerate() {
            let path = dir.join(format!("ring-{n}"));
            let (dead, aside) = (dir.join(format!("ring-{n}.dead")), dir.join(format!("aside-{n}")));
            let options = RingOptions::new(16, 8).group("g", GroupSettings::new());
            let ring = options.create(&path).unwrap();
            Producer::<[u8]>::open(&ring).unwrap().send(b"letter").unwrap();
            let worker = Worker::<[u8]>::join(&ring, "g").unwrap();
            let at = dead.clone();
            BETWEEN.set(Some(Box::new(move || lose(&at, &aside))));
            assert_eq!(worker.recv().unwrap().reject("why"), Ok(Rejected::Waiting), "{n}");
            assert!(BETWEEN.with_borrow(Option::is_none), "{n}: it was done");
            assert_eq!(ring.groups()[0].num_dead_pending, 1, "{n}");
            assert!(worker.dead_letters_wait().is_some(), "{n}");
            if n == 3 {
                std::fs::remove_file(&dead).unwrap();
            }
            while ring.groups()[0].num_dead_pending > 0 {
                assert!(worker.try_recv().is_err(), "{n}: it is given up");
            }
            let letters = ring.dead_letters().unwrap();
            let found: Vec<(&[u8], &str)> =
                letters.iter().map(|letter| (&letter.bytes[..], letter.note.as_str())).collect();
            assert_eq!(found, [(&b"letter"[..], "why")], "{n}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
