//! A worker's part in giving a message up: it opens the dead-letter ring, and the core moves the
//! message there.

use crate::dead_letters::{DeadLetter, NoWriter, Writer};
use crate::error::{OpenError, SendError};
use crate::region::clock;
use crate::ring::attach::Attachment;
use crate::ring::companion::DeadLetterPolicy;
use crate::system;
use crate::worker::delivery::Rejected;
use crate::worker::raw::{Outcome, RawWorker};
use slipring_core::format::to_usize;
use slipring_core::protocol::dead_letter::{Moved, Overflow};
use slipring_core::protocol::lease::{Lease, LeaseLost};
use slipring_core::protocol::recorder::{self, EventKind, NewEvent};
use slipring_core::protocol::settings::RETRY_MAX_MS;
use slipring_core::protocol::settings::Reason;
use slipring_core::protocol::sightings;

/// The most messages to move at a time: a millisecond's work.
const AT_ONCE: usize = 64;

impl RawWorker {
    pub(crate) fn reject(&self, lease: Lease, note: &str) -> Result<Rejected, LeaseLost> {
        self.end(lease, Outcome::GivenBack, |worker, lease| worker.reject(lease, clock::now()))?;
        let became = self.move_dead_letters(&[lease.position], note);
        if became == Rejected::Waiting {
            self.keep(note, lease.position);
        }
        Ok(became)
    }

    /// Leaves the note of a rejection in the flight recorder, for the worker that moves the message
    /// later.
    fn keep(&self, note: &str, position: u64) {
        if note.is_empty() {
            return;
        }
        let (pid, unix_ms) = (system::process_id().into(), system::unix_now_ms());
        let event = NewEvent { kind: EventKind::RejectedWaits, position, pid, unix_ms, name: note };
        let Attachment { region, .. } = &self.attachment;
        // If the table stays locked, the letter has no note.
        drop(self.attachment.with_table(|| {
            recorder::record_note(region, self.attachment.geometry(), self.protocol().group().number, event);
            Ok::<_, OpenError>(())
        }));
    }

    fn kept_note(&self, position: u64) -> Option<String> {
        let group = self.protocol().group();
        recorder::note(&group.memory, self.attachment.geometry(), group.number, position)
    }

    /// Moves the dead-pending messages from a position on, as far as the dead-letter ring takes
    /// them now.
    #[cold]
    pub(crate) fn move_dead_letters_from(&self, first: u64) {
        let dead_pending: Vec<u64> =
            self.protocol().dead_pending(first, clock::now()).take(AT_ONCE).collect();
        self.move_dead_letters(&dead_pending, "");
    }

    /// Moves all of these messages; returns where the last one is.
    fn move_dead_letters(&self, dead_pending: &[u64], note: &str) -> Rejected {
        let mut writer = match Writer::open(&self.attachment) {
            // The worker that writes there moves these messages too, or a later sweep finds them.
            Err(NoWriter::Busy { pid }) => {
                let busy = format!("process {pid} is writing there");
                self.obstacle.replace(Some(busy));
                return Rejected::Waiting;
            }
            writer => writer,
        };
        let mut became = Rejected::Waiting;
        for &position in dead_pending {
            became = self.move_dead_letter(&mut writer, position, note);
        }
        became
    }

    fn move_dead_letter(&self, writer: &mut Result<Writer, NoWriter>, position: u64, note: &str) -> Rejected {
        let worker = self.protocol();
        let mut failure = None;
        let publish = |dead_pending: &Lease, bytes: &[u8]| {
            let refused = match writer {
                Ok(writer) => match writer.publish(&self.letter(*dead_pending, bytes.to_vec(), note)) {
                    Ok(_) => return Ok(()),
                    Err(SendError::Full { .. }) => return Err(self.overflow()),
                    Err(error) => error.to_string(),
                },
                Err(NoWriter::Unavailable(error)) => error.clone(),
                Err(NoWriter::Busy { .. }) => String::new(),
            };
            failure = Some(refused);
            // No letter is dropped because a file cannot be opened.
            Err(Overflow::Retry(RETRY_MAX_MS))
        };
        let mut buffer = vec![0; to_usize(worker.geometry().block_size())];
        let moved = worker.move_to_dead_letters(position, clock::now(), &mut buffer, publish);
        let (event, became) = match moved {
            None => return Rejected::Waiting,
            Some(Moved::Published) => (EventKind::DeadLettered, Rejected::Settled),
            Some(Moved::Dropped) => (EventKind::DeadLetterDropped, Rejected::Settled),
            Some(Moved::Waits) if failure.is_some() => (EventKind::DeadLettersUnavailable, Rejected::Waiting),
            Some(Moved::Waits) => (EventKind::DeadLettersFull, Rejected::Waiting),
        };
        if became == Rejected::Settled {
            self.wake_behind();
            self.obstacle.replace(None);
        } else {
            let full = || "it is full; redrive letters, or purge them".to_owned();
            self.obstacle.replace(Some(failure.clone().unwrap_or_else(full)));
        }
        let name = failure.as_deref().unwrap_or(self.group());
        self.attachment.try_record(event, position, name, system::process_id().into());
        became
    }

    /// What becomes of a message for which a full dead-letter ring has no room.
    fn overflow(&self) -> Overflow {
        match self.attachment.header.dead_letters.policy {
            DeadLetterPolicy::DropAndCount => Overflow::Drop,
            DeadLetterPolicy::Block => Overflow::Retry(RETRY_MAX_MS),
        }
    }

    fn letter(&self, dead_pending: Lease, bytes: Vec<u8>, note: &str) -> DeadLetter {
        let unix_ms = system::unix_now_ms();
        let age = {
            let group = self.protocol().group();
            sightings::age(&group.memory, |at| group.entry_word(at), dead_pending.position, clock::now())
        };
        let reason = Reason::from_code(dead_pending.word.owner());
        let waited = note.is_empty() && reason == Reason::Rejected;
        let kept = if waited { self.kept_note(dead_pending.position) } else { None };
        let group = self.protocol().group();
        let redriven = group.redriven(dead_pending.position);
        let first = redriven.map_or(dead_pending.position, |redriven| redriven.first);
        DeadLetter {
            id: self.identity(first),
            generation: group.generation(),
            group: self.group().to_owned(),
            attempts: dead_pending.word.attempt() + redriven.map_or(0, |redriven| redriven.attempts),
            reason,
            note: kept.unwrap_or_else(|| note.to_owned()),
            kind: dead_pending.message.meta.kind(),
            seen_unix_ms: age.map(|ms| unix_ms.saturating_sub(ms.into())),
            dead_lettered_unix_ms: unix_ms,
            bytes,
            position: 0,
        }
    }
}
