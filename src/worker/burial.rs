//! How a message is given up: copied to the dead-letter ring first, and only then settled here.
//!
//! It is *doomed* by one compare-exchange, after which nobody leases it again. Then whoever has the right to
//! write the dead-letter ring copies it there and settles it. Who dies in between leaves a doomed message, and
//! perhaps a copy that will be made again: at least one copy, never none.

use crate::dead_letters::{DeadLetter, Grave, NoGrave};
use crate::id::MessageId;
use crate::region::clock;
use crate::ring::companion::DeadLetterPolicy;
use crate::system;
use crate::worker::delivery::Rejected;
use crate::worker::{Outcome, RawWorker};
use slipring_core::protocol::lease::{Lease, LeaseLost};
use slipring_core::protocol::recorder::EventKind;
use slipring_core::protocol::settings::Reason;
use slipring_core::protocol::sightings;

/// After this time a burial that was not possible is tried again.
const RETRY_MS: u32 = 1000;
/// So many are buried at a time: a millisecond's work.
const AT_ONCE: usize = 64;

impl RawWorker {
    pub(crate) fn reject(&self, lease: Lease, note: &str) -> Result<Rejected, LeaseLost> {
        self.end(lease, Outcome::GivenBack, |lessee, lease| lessee.reject(lease, clock::now()))?;
        Ok(self.bury_all(&[lease.position], note))
    }

    /// Buries what is doomed from a position on, as far as that can be done now.
    #[cold]
    pub(crate) fn bury_from(&self, first: u64) {
        let doomed: Vec<u64> = self.lessee().doomed(first, clock::now()).take(AT_ONCE).collect();
        self.bury_all(&doomed, "");
    }

    /// What became of the last one.
    fn bury_all(&self, doomed: &[u64], note: &str) -> Rejected {
        let mut grave = match Grave::open(&self.attachment) {
            Ok(grave) => Some(grave),
            // Somebody else is at it, and sees to ours too, or it is found doomed again.
            Err(NoGrave::Busy) => return Rejected::Waiting,
            // As good as full.
            Err(NoGrave::Unavailable) => None,
        };
        let mut became = Rejected::Waiting;
        for &position in doomed {
            became = self.bury(grave.as_mut(), position, note);
        }
        became
    }

    fn bury(&self, grave: Option<&mut Grave>, position: u64, note: &str) -> Rejected {
        let lessee = self.lessee();
        let mut bytes = vec![0; usize::try_from(lessee.geometry().block_size()).unwrap_or(0)];
        let Some(doomed) = lessee.exhume(position, clock::now(), &mut bytes) else {
            return Rejected::Waiting;
        };
        bytes.truncate(doomed.message.meta.len());
        let letter = self.letter(doomed, bytes, note);
        let copied = grave.is_some_and(|grave| grave.bury(&letter).is_ok());
        let gives_up = self.attachment.header.dead_letters.policy == DeadLetterPolicy::DropAndCount;
        let (event, became) = match (copied, gives_up) {
            (true, _) => (EventKind::DeadLettered, Rejected::Settled),
            (false, true) => (EventKind::DeadLetterDropped, Rejected::Settled),
            (false, false) => (EventKind::DeadLettersFull, Rejected::Waiting),
        };
        match became {
            Rejected::Settled => {
                lessee.bury(doomed, copied);
                lessee.settled(position);
                self.wake_producer();
            }
            Rejected::Waiting => lessee.defer(doomed, RETRY_MS, clock::now()),
        }
        self.attachment.try_record(event, position, self.group(), std::process::id().into());
        became
    }

    fn letter(&self, doomed: Lease, bytes: Vec<u8>, note: &str) -> DeadLetter {
        let unix_ms = system::unix_now_ms();
        let age = {
            let group = self.lessee().group();
            sightings::age(&group.memory, |at| group.entry_word(at), doomed.position, clock::now())
        };
        DeadLetter {
            id: MessageId { ring: self.ring_id(), position: doomed.position },
            group: self.group().to_owned(),
            attempts: doomed.word.attempt(),
            reason: Reason::from_code(doomed.word.owner()),
            note: note.to_owned(),
            kind: doomed.message.meta.kind(),
            seen_unix_ms: age.map(|ms| unix_ms.saturating_sub(ms.into())),
            buried_unix_ms: unix_ms,
            bytes,
            position: 0,
        }
    }
}
