//! A thread of the library's own.

use std::mem::MaybeUninit;

/// Bytes of its stack.
const STACK: usize = 128 * 1024;

/// Starts a thread that gets none of the process's signals. False if the system refuses.
pub(crate) fn spawn_deaf(name: &str, run: impl FnOnce() + Send + 'static) -> bool {
    if cfg!(miri) {
        return false;
    }
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointer is to a set that the call fills.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // A fault is told to the thread that makes it.
    for fault in [libc::SIGBUS, libc::SIGSEGV, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP] {
        // SAFETY: the set was filled above.
        unsafe { libc::sigdelset(all.as_mut_ptr(), fault) };
    }
    // A thread inherits the mask of the one that starts it.
    // SAFETY: both pointers are to sets that live across the call; the first was filled.
    if unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) } != 0 {
        return false;
    }
    let builder = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK);
    let started = builder.spawn(run).is_ok();
    // SAFETY: the set is what was there before.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    started
}
