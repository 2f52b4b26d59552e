//! How a consumer keeps away from a producer in full flow.
//!
//! Right behind the producer, the two fetch every cache line from each other more than once: the
//! reader looks at the line that is being filled, or its core fetches that line ahead. A reader so
//! near may never find the ring empty, and is no faster.

use crate::region::Region;
use slipring_core::protocol::Damage;
use slipring_core::protocol::read::{Reader, Ready};

/// What comes within so many looks belongs to a stream that flows.
const LOOKS_OF_A_FLOW: u32 = 2;
/// Turns of a spin loop of a reader that stands back: 0.4 µs, where a `pause` takes 24 ns. Measured
/// between two cores, singly, 48 B, against a bare ring in the same run, by a reader that has
/// caught up: 2.2x with none, 1.6x with 4, 1.2x with 16; round trips stay at the floor.
const PAUSES: u32 = 16;
/// So many messages that are there one after another, not in batches, are a long run: the head is
/// asked for more.
const LONG_RUN: u32 = 16;
/// Where standing back gained nothing, the messages are no stream, even if one is there at every
/// look. A run then must be twice as long for the next try, up to this.
const LONG_RUN_MAX: u32 = 1024;
/// In a long run, a reader wants to be so many messages away from the producer, or a sixteenth of
/// the ring. Measured singly, against going by the slots alone: on close cores 1 KiB took 0.7 of
/// the time, 48 B 0.95; on cores far apart 48 B 0.55.
const APART_MAX: u64 = 64;

#[derive(Debug)]
pub(super) struct Pace {
    /// Messages come faster than this consumer looks for them: it has caught up with a producer in
    /// full flow.
    flows: bool,
    /// Messages that were there one after another.
    run: u32,
    /// How many are a long run.
    long_run: u32,
    /// How many messages to be away from the producer then.
    apart: u64,
}

impl Pace {
    /// In a ring of so many messages.
    pub(super) fn new(capacity: u64) -> Pace {
        Pace { flows: false, run: 0, long_run: LONG_RUN, apart: (capacity / 16).min(APART_MAX) }
    }

    /// A message was there, found by its slot. True if the run is a long one by now: call
    /// [`keep_apart`](Self::keep_apart).
    #[inline(always)]
    pub(super) fn found(&mut self) -> bool {
        self.run += 1;
        self.run >= self.long_run
    }

    /// There was no message.
    #[inline(always)]
    pub(super) fn found_nothing(&mut self) {
        self.run = 0;
    }

    /// In a long run: learns how many messages there are, so that none of them is waited for at its
    /// slot. If they are few, stands back once.
    ///
    /// The message at the tail is in hand, so that damage is left to who needs the head.
    #[cold]
    pub(super) fn keep_apart(&mut self, reader: &mut Reader<Region>) {
        // There is no room to be apart.
        if self.apart < 2 {
            self.run = 0;
            return;
        }
        let _ = reader.look_at_head();
        let known = reader.known();
        if known >= self.apart {
            self.long_run = LONG_RUN;
        } else {
            stand_back();
            let _ = reader.look_at_head();
            let gained = reader.known() > known;
            self.long_run = if gained { LONG_RUN } else { (2 * self.long_run).min(LONG_RUN_MAX) };
        }
        // If there are many, they are a run, too, and the head is asked again behind them; else
        // counting begins anew.
        self.run = if reader.known() < self.apart { 0 } else { self.long_run - 1 };
    }

    /// Stands back if the stream flows, which is decided anew. For who has just found nothing.
    #[inline(always)]
    pub(super) fn caught_up(&mut self, reader: &mut Reader<Region>) -> Result<(), Damage> {
        if self.flows { self.let_it_flow(reader) } else { Ok(()) }
    }

    #[cold]
    fn let_it_flow(&mut self, reader: &mut Reader<Region>) -> Result<(), Damage> {
        stand_back();
        self.flows = match reader.poll()? {
            Ready::Empty => false,
            Ready::Messages(n) => n > 1 || reader.is_filled_ahead(1),
        };
        Ok(())
    }

    /// The message that was waited for came within so many looks.
    #[inline(always)]
    pub(super) fn came_after(&mut self, looks: u32) {
        self.flows = looks <= LOOKS_OF_A_FLOW;
    }
}

/// Leaves the producer alone for a moment.
fn stand_back() {
    for _ in 0..PAUSES {
        std::hint::spin_loop();
    }
}
