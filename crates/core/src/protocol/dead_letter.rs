//! The move of a message to the dead-letter ring: the worker copies it, publishes the copy there,
//! and only then settles the message here.
//!
//! One exchange makes the message dead-pending, after which no worker leases it again. The worker
//! that has the right to publish in the dead-letter ring then moves it. Killed at any access, that
//! worker leaves a dead-pending message, and perhaps a copy that will be made again: at least one
//! copy.
//!
//! Example: position 7 is dead-pending. The worker copies it, publishes the copy as position 2 of
//! the dead-letter ring, and dies. The next worker finds position 7 dead-pending, and publishes
//! another copy as position 3. Only now is position 7 settled, so that the producer may overwrite
//! it.

use super::lease::{Lease, Worker};
use crate::format::{Count, Millis};
use crate::memory::Memory;

/// Policy for a message that the dead-letter ring does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Keep it dead-pending, and try again after so many milliseconds.
    Retry(u32),
    /// Settle it without a copy.
    Drop,
}

/// Result of [`Worker::move_to_dead_letters`].
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
    /// Moves the dead-pending message at `position` to the dead-letter ring. `None` if the message
    /// is not dead-pending, or no longer. `publish` receives the copy, made in `buffer`, which is
    /// as long as a block, and publishes it, or says what becomes of the message without.
    pub fn move_to_dead_letters(
        &self,
        position: u64,
        now: Millis,
        buffer: &mut [u8],
        publish: impl FnOnce(&Lease, &[u8]) -> Result<(), Overflow>,
    ) -> Option<Moved> {
        let dead_pending = self.copy_dead_pending(position, now, buffer)?;
        let moved = match publish(&dead_pending, &buffer[..dead_pending.message.meta.len()]) {
            Ok(()) => Moved::Published,
            Err(Overflow::Drop) => Moved::Dropped,
            Err(Overflow::Retry(ms)) => {
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
