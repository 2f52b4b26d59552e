//! The clock of leases: milliseconds of the machine's monotonic clock, the same for every process
//! of a boot.
//!
//! A container may have a clock of its own, shifted by a constant (`time_namespaces(7)`). Deadlines
//! are read by other processes, so all of them reckon in the time of the machine's first namespace.

use crate::system;
use slipring_core::format::Millis;
use slipring_core::memory::Clock;
use std::sync::OnceLock;

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        now()
    }

    fn unix_ms(&self) -> u64 {
        system::unix_now_ms()
    }
}

/// The most milliseconds that [`Clock::now`] is behind the exact clock: the kernel's tick, 1 to 10
/// ms.
pub(crate) fn grain_ms() -> u32 {
    static GRAIN: OnceLock<u32> = OnceLock::new();
    *GRAIN.get_or_init(|| {
        let ms = system::coarse_resolution().as_nanos().div_ceil(1_000_000);
        u32::try_from(ms).unwrap_or(10).min(10)
    })
}

/// The time as of the kernel's last tick, for the hot path: `clock_gettime` costs some 4 ns for the
/// coarse clock, 25 ns for the exact one (x86-64).
#[inline]
pub(crate) fn coarse_now() -> Millis {
    millis(system::coarse_monotonic_ms().wrapping_sub(system::clock_shift_ms()))
}

/// The exact time, for deciding how long to sleep.
pub(crate) fn now() -> Millis {
    let ms = system::monotonic_ms();
    millis(ms.wrapping_sub(system::clock_shift_ms_at(ms)))
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "reckoned modulo 2^32")]
fn millis(ms: u64) -> Millis {
    Millis(ms as u32)
}
