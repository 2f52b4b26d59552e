//! How a message that is given up moves to the dead-letter ring: copied, published there, and only
//! then settled here.
//!
//! One exchange marks the message, after which no worker leases it again. The worker that has the
//! right to publish in the dead-letter ring then moves it. Killed at any access, that worker leaves a
//! dead-pending message, and perhaps a copy that will be made again: at least one copy, never none.
//!
//! Example: position 7 is dead-pending. The worker copies it, publishes the copy as position 2 of the
//! dead-letter ring, and dies. The next worker finds position 7 dead-pending, and publishes it as position 3.
//! Only now is position 7 settled, so that the producer may overwrite it.

use super::lease::{Lease, Worker};
use crate::format::{Count, Millis};
use crate::memory::Memory;

/// What to do with a message that the dead-letter ring does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Keep it dead-pending, and try again after so many milliseconds.
    Retry(u32),
    /// Settle it without a copy.
    Drop,
}

/// What became of a message that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The dead-letter ring has a copy, and the message is settled.
    Published,
    /// The message is settled, and there is no copy.
    Dropped,
    /// The message stays dead-pending.
    Waits,
}

impl<M: Memory> Worker<M> {
    /// Moves the dead-pending message at `position` to the dead-letter ring. None if it is not dead-pending, or
    /// no longer. `publish` gets its copy, made in `buffer`, which holds a block, and says whether the
    /// dead-letter ring has it.
    pub fn move_to_dead_letters(
        &self,
        position: u64,
        overflow: Overflow,
        now: Millis,
        buffer: &mut [u8],
        publish: impl FnOnce(&Lease, &[u8]) -> bool,
    ) -> Option<Moved> {
        let dead_pending = self.copy_dead_pending(position, now, buffer)?;
        let moved = match (publish(&dead_pending, &buffer[..dead_pending.message.meta.len()]), overflow) {
            (true, _) => Moved::Published,
            (false, Overflow::Drop) => Moved::Dropped,
            (false, Overflow::Retry(ms)) => {
                self.put_off(dead_pending, ms, now);
                return Some(Moved::Waits);
            }
        };
        let count = if moved == Moved::Published { Count::DeadLettered } else { Count::Dropped };
        self.settle_dead_pending(dead_pending, count);
        self.settled(position);
        Some(moved)
    }
}
