//! Clocks, and by how much a time namespace shifts one.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(duration.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(duration.subsec_nanos()),
    }
}

pub(super) fn monotonic_now() -> Duration {
    read_clock(libc::CLOCK_MONOTONIC)
}

fn read_clock(clock: libc::clockid_t) -> Duration {
    let mut now = timespec(Duration::ZERO);
    // SAFETY: the pointer is to a timespec that lives across the call, which cannot fail for these
    // clocks.
    let _ = unsafe { libc::clock_gettime(clock, &raw mut now) };
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Sleeps for so long, or less if a signal comes. The standard library's sleep panics where a
/// sandbox refuses the call.
pub(crate) fn sleep(duration: Duration) {
    let requested = timespec(duration);
    // SAFETY: the pointer is to a timespec that lives across the call.
    let slept = unsafe { libc::nanosleep(&raw const requested, std::ptr::null_mut()) };
    if slept == -1 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
        let ms = libc::c_int::try_from(duration.as_millis()).unwrap_or(libc::c_int::MAX).max(1);
        // SAFETY: no descriptor is passed.
        unsafe { libc::poll(std::ptr::null_mut(), 0, ms) };
    }
}

fn whole_ms(time: Duration) -> u64 {
    time.as_secs().wrapping_mul(1000) + u64::from(time.subsec_millis())
}

/// Milliseconds of the monotonic clock.
pub(crate) fn monotonic_ms() -> u64 {
    whole_ms(monotonic_now())
}

/// Milliseconds of the monotonic clock as of the kernel's last tick.
pub(crate) fn coarse_monotonic_ms() -> u64 {
    // Miri implements the exact clock only.
    whole_ms(if cfg!(miri) { monotonic_now() } else { read_clock(libc::CLOCK_MONOTONIC_COARSE) })
}

/// The time between two ticks of the kernel.
pub(crate) fn coarse_resolution() -> Duration {
    if cfg!(miri) {
        return Duration::from_millis(1);
    }
    let mut resolution = timespec(Duration::ZERO);
    // SAFETY: the pointer is to a timespec that lives across the call, which cannot fail for this
    // clock.
    let _ = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut resolution) };
    Duration::new(0, u32::try_from(resolution.tv_nsec).unwrap_or(10_000_000))
}

/// By how many milliseconds this process's monotonic clock is ahead of that of the machine's first
/// time namespace, modulo 2^64, as far as is known.
#[inline]
pub(crate) fn clock_shift_ms() -> u64 {
    SHIFT.known()
}

/// The same, when that clock shows so many milliseconds.
pub(crate) fn clock_shift_ms_at(monotonic_ms: u64) -> u64 {
    SHIFT.follow(monotonic_ms);
    SHIFT.known()
}

static SHIFT: Shift = Shift { ms: AtomicU64::new(Shift::UNKNOWN), apart_ms: AtomicU64::new(0) };

/// The shift of this process's clock, kept. Without `/proc`, in a process that has asked for a new
/// namespace for its children, and under `faketime`, the shift is known to about half a second;
/// deaths are noticed by the kernel's locks in any case.
///
/// A forked child may be in another namespace than its parent, and `setns(2)` moves a process to
/// another one. Then the monotonic clock jumps beside the system clock, which no namespace shifts:
/// that is looked for whenever the exact time is read, and the shift is asked for anew. The system
/// clock may be set, too; the same shift is found then. A worker that waits for a tick by the
/// coarse clock finds that a jump ends the tick, and reads the exact one.
struct Shift {
    ms: AtomicU64,
    /// The system clock's milliseconds less the monotonic clock's, when the shift was found.
    apart_ms: AtomicU64,
}

impl Shift {
    const UNKNOWN: u64 = 1 << 63;
    /// By how much two clocks go apart before that counts as a jump: they are not read at the same
    /// moment, and one of them is adjusted. No lease is so short.
    const JUMP_MS: u64 = 100;

    #[inline]
    fn known(&self) -> u64 {
        match self.ms.load(Relaxed) {
            Shift::UNKNOWN => self.find(),
            shift => shift,
        }
    }

    /// Finds the shift anew if the clock has jumped.
    fn follow(&self, monotonic_ms: u64) {
        let apart_ms = unix_now_ms().wrapping_sub(monotonic_ms);
        if difference(apart_ms, self.apart_ms.load(Relaxed)) > Shift::JUMP_MS {
            self.find();
            self.apart_ms.store(apart_ms, Relaxed);
        }
    }

    #[cold]
    fn find(&self) -> u64 {
        let (before, (found, is_exact)) = (self.ms.load(Relaxed), time_namespace_shift_ms());
        // It may have been known to the millisecond before, and to half a second now.
        if !is_exact && before != Shift::UNKNOWN && difference(before, found) <= 1000 {
            return before;
        }
        self.ms.store(found, Relaxed);
        found
    }
}

/// Between two numbers modulo 2^64.
fn difference(one: u64, other: u64) -> u64 {
    let ahead = one.wrapping_sub(other);
    ahead.min(ahead.wrapping_neg())
}

/// By how many milliseconds this process's monotonic clock is ahead of that of the machine's first
/// time namespace, modulo 2^64; and whether that is exact.
fn time_namespace_shift_ms() -> (u64, bool) {
    if cfg!(miri) {
        return (0, true);
    }
    let namespace = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).ok();
    // The offsets are those of the namespace that children get: usually this process's own.
    let own = namespace("time").filter(|own| namespace("time_for_children").as_ref() == Some(own));
    let offsets = own.and_then(|_| std::fs::read_to_string("/proc/self/timens_offsets").ok());
    shift(offsets.as_deref(), monotonic_ms(), ticks_ms)
}

/// The namespace's offsets, where they can be read. A clock that nevertheless says that the machine
/// has run for years is not the kernel's: a library that is loaded first (`faketime`) gives the
/// time since 1970. Then the kernel's count of ticks says what the offsets cannot.
fn shift(offsets: Option<&str>, monotonic_ms: u64, ticks_ms: impl Fn() -> Option<u64>) -> (u64, bool) {
    const TEN_YEARS_MS: u64 = 10 * 365 * 24 * 3_600_000;
    let Some(offsets) = offsets else { return (shift_by_ticks(monotonic_ms, ticks_ms()), false) };
    let stated = parse_shift(offsets);
    let clock_ms = monotonic_ms.wrapping_sub(stated);
    if clock_ms < TEN_YEARS_MS {
        return (stated, true);
    }
    (stated.wrapping_add(shift_by_ticks(clock_ms, ticks_ms())), false)
}

/// As the kernel's count of its own ticks has it, which no namespace shifts: it starts with the
/// monotonic clock, but for less than a second. A shift is a number of seconds, as a rule.
fn shift_by_ticks(monotonic_ms: u64, ticks_ms: Option<u64>) -> u64 {
    /// More than the two can differ, and less than a shift that matters.
    const NEGLIGIBLE_MS: u64 = 5000;
    let Some(ticks_ms) = ticks_ms else { return 0 };
    let difference = monotonic_ms.abs_diff(ticks_ms);
    if difference < NEGLIGIBLE_MS {
        return 0;
    }
    let seconds = (difference + 500) / 1000 * 1000;
    if monotonic_ms > ticks_ms { seconds } else { seconds.wrapping_neg() }
}

/// Milliseconds since the kernel began to count its ticks; none if it does not tell how long a
/// tick is.
fn ticks_ms() -> Option<u64> {
    let mut of_this_process = std::mem::MaybeUninit::<libc::tms>::uninit();
    // SAFETY: the pointer is to a structure that the call fills.
    let hundredths = unsafe { libc::times(of_this_process.as_mut_ptr()) };
    let nanoseconds = u64::try_from(coarse_resolution().as_nanos()).ok()?;
    let per_second = [100, 250, 300, 1000].into_iter().find(|hz| 1_000_000_000 / hz == nanoseconds)?;
    // The count begins 300 seconds before it passes 2^32.
    let begins_ms = ((1 << 32) - 300 * per_second) * 1000 / per_second;
    u64::try_from(hundredths).ok()?.checked_mul(10)?.checked_sub(begins_ms)
}

fn parse_shift(offsets: &str) -> u64 {
    let mut monotonic = offsets.lines().map(str::split_whitespace).filter_map(|mut fields| {
        let name = fields.next()?;
        let seconds: i64 = fields.next()?.parse().ok()?;
        let nanos: i64 = fields.next()?.parse().ok()?;
        (name == "monotonic").then_some(seconds.wrapping_mul(1000).wrapping_add(nanos / 1_000_000))
    });
    #[expect(clippy::cast_sign_loss, reason = "modulo 2^64")]
    {
        monotonic.next().unwrap_or(0) as u64
    }
}

/// The system clock, for people: it may be set back.
pub(crate) fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A time as milliseconds since 1970, as words of the file hold it.
pub(crate) fn unix_now_ms() -> u64 {
    u64::try_from(unix_now().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shift_without_proc_is_that_between_clock_and_ticks() {
        let shift = |monotonic, ticks| shift(None, monotonic, || Some(ticks)).0;
        assert_eq!(shift(17_466_660, 17_466_420), 0);
        assert_eq!(shift(1_017_466_660, 17_466_420), 1_000_000_000);
        assert_eq!(shift(7_466_420 + 240, 17_466_420), 10_000_000_u64.wrapping_neg());
        assert_eq!(shift(1000, 4000), 0);
        assert_eq!(super::shift(None, 1_000_000, || None), (0, false));
        // This machine's.
        if let (Some(ticks), (0, _)) = (ticks_ms(), time_namespace_shift_ms()) {
            assert_eq!(shift(monotonic_ms(), ticks), 0);
        }
    }

    #[test]
    fn a_clock_that_is_not_the_kernels_is_told_by_the_ticks() {
        let offsets = |seconds: i64| format!("monotonic {seconds} 0\nboottime 0 0\n");
        let of = |seconds, monotonic| shift(Some(&offsets(seconds)), monotonic, || Some(17_466_420));
        // The kernel's clock, in the machine's namespace and in others: the ticks are not asked.
        let kernels = |seconds, monotonic| shift(Some(&offsets(seconds)), monotonic, || panic!("asked"));
        assert_eq!(kernels(0, 17_466_660), (0, true));
        assert_eq!(kernels(1000, 18_466_660), (1_000_000, true));
        assert_eq!(kernels(-1000, 16_466_660), (1_000_000_u64.wrapping_neg(), true));
        // The time since 1970 in its place.
        let since_1970 = 1_796_059_254_933;
        for seconds in [0, 1000] {
            let (shift, is_exact) = of(seconds, since_1970);
            assert!(shift.abs_diff(since_1970 - 17_466_420) <= 500 && !is_exact, "{shift}");
        }
        assert_eq!(shift(Some(&offsets(1000)), since_1970, || None), (1_000_000, false));
    }

    #[test]
    fn the_shift_of_a_time_namespace_is_read_with_its_sign() {
        assert_eq!(parse_shift("monotonic           0         0\nboottime            0         0\n"), 0);
        assert_eq!(parse_shift("monotonic      604800 500000000\nboottime 1 0\n"), 604_800_500);
        assert_eq!(parse_shift("monotonic         -10         0\n"), 0_u64.wrapping_sub(10_000));
        assert_eq!(parse_shift(""), 0);
    }
}
