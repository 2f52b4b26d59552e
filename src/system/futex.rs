//! Sleeping until a word of shared memory changes.

use super::time::{monotonic_now, sleep, timespec};
use std::io;
use std::time::Duration;

/// Sleeps while the 32-bit word at `word` equals `expected`, at most `timeout`. The futex is shared
/// between processes and may lie in a read-only mapping.
///
/// # Safety
///
/// `word` points to four mapped, aligned bytes.
pub(crate) unsafe fn futex_wait(word: *const u32, expected: u32, timeout: Duration) {
    if cfg!(miri) {
        // Miri's futex would read half of a word that other code accesses whole. Waking early is
        // allowed.
        return std::thread::yield_now();
    }
    let (requested, timeout) = (timeout, timespec(timeout));
    // SAFETY: `word` is mapped by the caller's promise; `timeout` lives across the call. Every
    // outcome (woken, changed, timed out, interrupted) sends the caller back to look at the word.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word,
            libc::FUTEX_WAIT,
            expected,
            &raw const timeout,
            std::ptr::null::<u32>(),
            0,
        )
    };
    if result == -1 && !was_a_sleep(&io::Error::last_os_error()) {
        nap(requested);
    }
}

/// Sleeps for a moment, at most `at_most`.
pub(crate) fn nap(at_most: Duration) {
    sleep(at_most.min(NAP));
}

/// A sleep where the kernel, or a sandbox, refuses the sleep on a word.
const NAP: Duration = Duration::from_millis(1);

/// True if the error is one by which a sleep ends, or need not begin. With any other error the
/// system call does not work here: a caller that called it again at once would spin.
fn was_a_sleep(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR | libc::ETIMEDOUT))
}

/// Wakes all sleepers of the word.
///
/// # Safety
///
/// As for [`futex_wait`].
pub(crate) unsafe fn futex_wake_all(word: *const u32) {
    if cfg!(miri) {
        return;
    }
    // SAFETY: `word` is mapped by the caller's promise.
    let _ = unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, libc::c_int::MAX) };
}

/// One word of [`futex_wait_any`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct FutexWord {
    expected: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

impl FutexWord {
    /// A shared 32-bit futex (`FUTEX2_SIZE_U32`).
    pub(crate) fn new(word: *const u32, expected: u32) -> FutexWord {
        FutexWord { expected: u64::from(expected), address: word.addr() as u64, flags: 2, reserved: 0 }
    }
}

/// Most words that one [`futex_wait_any`] takes (`FUTEX_WAITV_MAX`).
pub(crate) const FUTEX_WAIT_ANY_MAX: usize = 128;

/// Sleeps until any of the words changes, at most `timeout`. False if the kernel cannot (before
/// 5.16).
///
/// # Safety
///
/// As for [`futex_wait`], for each word.
pub(crate) unsafe fn futex_wait_any(words: &[FutexWord], timeout: Duration) -> bool {
    if cfg!(miri) {
        return false;
    }
    // futex_waitv takes an absolute time.
    let deadline = timespec(monotonic_now().saturating_add(timeout));
    // SAFETY: the words are mapped by the caller's promise; both pointers live across the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            words.as_ptr(),
            words.len(),
            0,
            &raw const deadline,
            libc::CLOCK_MONOTONIC,
        )
    };
    result != -1 || was_a_sleep(&io::Error::last_os_error())
}
