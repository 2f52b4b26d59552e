//! How a blocking call waits. The orderings of sleeping and waking are in
//! [`slipring_core::protocol::park`].

use crate::system;
use crossbeam_utils::Backoff;
use std::time::{Duration, Instant};

/// How a handle waits: a reader for a message, a producer for room.
///
/// ```
/// use slipring::{Consumer, ConsumerOptions, RingOptions, Wait};
///
/// let ring = RingOptions::new(48, 64).create_in_memory()?;
/// let spinning: Consumer = ConsumerOptions::new().wait(Wait::Spin).attach(&ring)?;
/// let sleeping: Consumer = ConsumerOptions::new().attach(&ring)?; // `Wait::Park`
/// # drop((spinning, sleeping));
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Wait {
    /// Looks again at once, for ever. The lowest latency, and a whole core: for pinned threads.
    Spin,
    /// Looks again after ever longer pauses, then lets other threads run between looks. Never
    /// sleeps.
    Backoff,
    /// Spins for some microseconds, then sleeps in the kernel until woken. The default: an idle
    /// reader costs nothing, and the other side pays a system call only while a party sleeps.
    #[default]
    Park,
}

/// The longest sleep: after it, the sleeper looks whether the file was replaced or the other side
/// died.
pub(crate) const CHECK_UP: Duration = Duration::from_millis(100);
/// The longest sleep of a party that no other party can wake reliably.
pub(crate) const NAP: Duration = Duration::from_millis(1);

/// The longest sleep of a party that otherwise sleeps for `usual`: shorter where the kernel refuses
/// `membarrier`, since a waker may then miss the announcement of the sleeper.
pub(crate) fn longest_sleep(usual: Duration) -> Duration {
    if system::membarrier_works() { usual } else { NAP }
}
/// Looks between two checks for the end of the stream and of the clock. A power of two.
const TURNS_PER_CHECK: u32 = 128;
/// The first looks, without a pause and without a look at the clock.
const FIRST_LOOKS: u32 = 32;
/// Looks of [`Wait::Park`] before it yields, then before it sleeps: together some ten microseconds,
/// a few times the cost of a sleep and a wake.
const SPINS_BEFORE_YIELD: u32 = 128;
const SPINS_BEFORE_SLEEP: u32 = 136;

/// Turns of a spin loop of a party that stands back: 0.4 µs, where a `pause` takes 24 ns. Measured
/// between two cores, singly, 48 B, against a bare ring in the same run, by a reader that has
/// caught up: 2.2x with none, 1.6x with 4, 1.2x with 16; round trips stay at the floor.
const PAUSES: u32 = 16;

/// Pauses without touching a line that another party writes.
pub(crate) fn stand_back() {
    for _ in 0..PAUSES {
        std::hint::spin_loop();
    }
}

/// A party that waits, as [`wait_for`] sees it.
pub(crate) trait Waiting {
    type Error;
    /// Looks: true if the message, or the room, is there. Makes no system call.
    fn poll(&mut self) -> Result<bool, Self::Error>;
    /// An error if the wait is in vain, because the stream ended. Makes no system call.
    fn check_closed(&mut self) -> Result<(), Self::Error>;
    /// An error if the file was replaced, or the other side died. Makes two system calls.
    fn check_ring(&mut self) -> Result<(), Self::Error>;
    /// As `check_ring`, unless a last look succeeds.
    fn check_up(&mut self) -> Result<(), Self::Error> {
        self.check_ring().or_else(|error| if self.poll()? { Ok(()) } else { Err(error) })
    }
    /// As `check_up`, if no call of this handle has checked for a while. A party that waits for a
    /// moment alone, again and again, comes to no other check.
    fn check_up_at_times(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
    /// Announces a sleeper, looks again, and sleeps for at most `at_most` if that look fails.
    fn sleep(&mut self, at_most: Duration) -> Result<(), Self::Error>;
    /// The error for a wait of this length without success.
    fn timed_out(&mut self, waited: Duration) -> Self::Error;
}

/// Waits as `how` says until a look of `who` succeeds, at most `timeout`. Returns the number of
/// looks.
///
/// In a stream, the next message comes within some nanoseconds: the first looks read no clock and
/// are inlined, so that the caller goes on with the message at once. Measured between two close
/// cores, a round trip of 48 B against a bare one in the same run: 1.03x, and 1.13x with two
/// returns between the look and the caller.
#[inline(always)]
pub(crate) fn wait_for<W: Waiting>(
    who: &mut W,
    how: Wait,
    timeout: Option<Duration>,
) -> Result<u32, W::Error> {
    for looks in 1..=FIRST_LOOKS {
        if who.poll()? {
            return Ok(looks);
        }
        std::hint::spin_loop();
    }
    wait_longer(who, how, timeout)
}

/// The wait after the first looks.
#[cold]
fn wait_longer<W: Waiting>(who: &mut W, how: Wait, timeout: Option<Duration>) -> Result<u32, W::Error> {
    // Read at the first check and not before: a message that comes earlier does not wait for the
    // clock.
    let mut times = None;
    let backoff = Backoff::new();
    let mut turn = 0_u32;
    loop {
        if who.poll()? {
            return Ok(FIRST_LOOKS.saturating_add(turn));
        }
        turn = turn.wrapping_add(1);
        let sleeps = how == Wait::Park && turn >= SPINS_BEFORE_SLEEP;
        if sleeps || turn % TURNS_PER_CHECK == 0 {
            who.check_closed()?;
            let now = Instant::now();
            let (start, checked_up) = times.get_or_insert((now, now));
            if now - *checked_up >= CHECK_UP {
                who.check_up()?;
                *checked_up = now;
            }
            let waited = now - *start;
            let left = timeout.map_or(CHECK_UP, |timeout| timeout.saturating_sub(waited));
            if left.is_zero() {
                // A message may have come while this thread was not running: one more look before
                // the error.
                if who.poll()? {
                    return Ok(FIRST_LOOKS.saturating_add(turn));
                }
                who.check_up_at_times()?;
                return Err(who.timed_out(waited));
            }
            if sleeps {
                who.sleep(left.min(CHECK_UP - (now - *checked_up)))?;
                continue;
            }
        }
        match how {
            Wait::Spin => std::hint::spin_loop(),
            Wait::Backoff => backoff.snooze(),
            Wait::Park if turn < SPINS_BEFORE_YIELD => std::hint::spin_loop(),
            Wait::Park => std::thread::yield_now(),
        }
    }
}
