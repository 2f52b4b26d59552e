//! How a consumer keeps away from a producer in full flow.
//!
//! Right behind the producer, the two fetch every cache line from each other more than once: the
//! reader looks at the line that is being filled, or its core fetches that line ahead. A reader so
//! near may never find the ring empty, and is no faster.
//!
//! A consumer is in one of four states:
//!
//! | state | in [`Pace`] | a receive |
//! |---|---|---|
//! | counting | `until_long` is above 0 | looks at the slot of its message, and counts it |
//! | far | a long run, and `head` is `apart` or more ahead | reads `head`, and takes all that is there without polling |
//! | near | a long run, and `head` is less than `apart` ahead | stands back once, reads `head` again, and counts anew |
//! | caught up | a look found no message, and `flows` is set | stands back once before it waits |
//!
//! Example, capacity 1024, so `apart` is 64; `long_run` is 16:
//!
//! 1. Counting: the messages 100 to 115 are there one after another.
//! 2. Far: the consumer reads `head` 200, so 85 messages are known. It takes 115 to 199 without
//!    polling. 200 is there, too: the run goes on, and the consumer reads `head` again.
//! 3. Near: `head` is 210. The consumer stands back for 0.4 µs and reads `head` 240. Now 40
//!    messages are known, fewer than 64: it counts anew behind them.
//! 4. Had `head` stayed at 210, standing back would have gained nothing: `long_run` becomes 32.

use crate::region::Region;
use crate::wait::stand_back;
use slipring_core::protocol;
use slipring_core::protocol::Damage;
use slipring_core::protocol::read::Ready;

/// A message that comes within so many looks belongs to a stream in full flow.
const LOOKS_OF_A_FLOW: u32 = 2;
/// So many messages that are there one after another, not in batches, are a long run: the consumer
/// then reads `head` to learn how many more there are.
const LONG_RUN: u32 = 16;
/// If standing back gained nothing, the messages are no stream, even if one is there at every look.
/// The run that counts as long then doubles, up to this many.
const LONG_RUN_MAX: u32 = 1024;
/// In a long run, a reader keeps so many messages away from the producer, or a sixteenth of the
/// ring. Measured with messages sent singly, as a part of the time that reading by the slots alone
/// takes: on close cores 1 KiB 0.7, 48 B 0.95; on cores far apart 48 B 0.55.
const APART_MAX: u64 = 64;

#[derive(Debug)]
pub(super) struct Pace {
    /// True if messages come faster than this consumer looks for them: the consumer has caught up
    /// with a producer in full flow.
    flows: bool,
    /// How many messages the current run must still have to be a long one. A run is of messages
    /// that were published when the consumer looked. Counted down, which takes fewer instructions.
    until_long: u32,
    /// The length from which a run is a long one.
    long_run: u32,
    /// The distance to keep from the producer in a long run, in messages.
    apart: u64,
}

impl Pace {
    /// The pace in a ring of `capacity` messages.
    pub(super) fn new(capacity: u64) -> Pace {
        Pace { flows: false, until_long: LONG_RUN, long_run: LONG_RUN, apart: (capacity / 16).min(APART_MAX) }
    }

    /// Notes that a message was published when the consumer looked at its slot. True if the run is
    /// a long one by now: call [`keep_apart`](Self::keep_apart).
    #[inline(always)]
    pub(super) fn found(&mut self) -> bool {
        self.until_long -= 1;
        self.until_long == 0
    }

    /// Notes that no message was published when the consumer looked.
    #[inline(always)]
    pub(super) fn found_nothing(&mut self) {
        self.until_long = self.long_run;
    }

    /// In a long run: reads `head` to learn how many messages are published, so that the consumer
    /// takes them without waiting at their slots. If they are few, stands back once. The states
    /// "far" and "near" of the [module](self).
    ///
    /// The message at the tail is in hand; damage is reported by the next call that needs `head`.
    #[cold]
    pub(super) fn keep_apart(&mut self, reader: &mut protocol::Consumer<Region>) {
        // The ring is too small to keep away from the producer.
        if self.apart < 2 {
            self.until_long = self.long_run;
            return;
        }
        let _ = reader.look_at_head();
        let known = reader.known();
        if known >= self.apart {
            // Far.
            self.long_run = LONG_RUN;
        } else {
            // Near.
            stand_back();
            let _ = reader.look_at_head();
            let gained = reader.known() > known;
            self.long_run = if gained { LONG_RUN } else { (2 * self.long_run).min(LONG_RUN_MAX) };
        }
        // Many messages are a run again, behind which `head` is read again; after few messages,
        // counting begins anew.
        self.until_long = if reader.known() < self.apart { self.long_run } else { 1 };
    }

    /// Decides anew whether the stream is in full flow, and stands back if so. Called when a look
    /// found no message.
    #[inline(always)]
    pub(super) fn caught_up(&mut self, reader: &mut protocol::Consumer<Region>) -> Result<(), Damage> {
        if self.flows { self.let_it_flow(reader) } else { Ok(()) }
    }

    #[cold]
    fn let_it_flow(&mut self, reader: &mut protocol::Consumer<Region>) -> Result<(), Damage> {
        stand_back();
        self.flows = match reader.poll()? {
            Ready::Empty => false,
            Ready::Messages(n) => n > 1 || reader.is_filled_ahead(1),
        };
        Ok(())
    }

    /// Notes after how many looks the awaited message came.
    #[inline(always)]
    pub(super) fn came_after(&mut self, looks: u32) {
        self.flows = looks <= LOOKS_OF_A_FLOW;
    }
}
