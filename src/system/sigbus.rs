//! A file that is cut short under its users: the kernel sends SIGBUS to whoever touches what is
//! gone. Here that becomes an error, for those who ask for it.
//!
//! The handler makes system calls and touches atomics that are never freed, nothing else. What it
//! puts in the place of a lost mapping is zeros of this process alone, in which who reads by the
//! slots finds nothing.

use crate::system::fork::lose_mapping_at;
use std::io;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

/// What was installed before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs a handler of SIGBUS for this process, by which a ring whose file is cut short ends with
/// [`RecvError::Truncated`](crate::RecvError::Truncated) and
/// [`SendError::Truncated`](crate::SendError::Truncated) instead of the process's death. Every
/// other SIGBUS goes on to the handler that was there before, or to the default. Calling it again
/// does nothing.
///
/// When a segment of a ring is lost, this process's mapping of it is replaced by zeros, whole:
/// nothing it does with the ring reaches anybody else from then on. The error comes with the next
/// call that finds nothing to read or no room, and within 100 ms in a call that waits. Until then a
/// producer may go on for up to a lap that nobody sees, and a message or a batch that was in hand
/// at that moment reads as zeros: release and acknowledgement of it have no effect, so that whoever
/// restores the file finds it unread.
///
/// # Errors
///
/// Those of `sigaction`.
pub fn handle_sigbus() -> io::Result<()> {
    if BEFORE.get().is_some() {
        return Ok(());
    }
    let mut before = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: asks for what is installed; the pointer is to a `sigaction` that the call fills.
    if unsafe { libc::sigaction(libc::SIGBUS, null(), before.as_mut_ptr()) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it filled the structure.
    let before = unsafe { before.assume_init() };
    // Before the handler is there it cannot be called, so it always finds this.
    if BEFORE.set(before).is_err() {
        return Ok(());
    }
    // SAFETY: a `sigaction` is plain integers and an optional function.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    install(&action)
}

fn install(action: &libc::sigaction) -> io::Result<()> {
    // SAFETY: the pointer is to a `sigaction` that lives across the call; what it names is a
    // handler that keeps to what handlers may do, or one that was installed before.
    let installed = unsafe { libc::sigaction(libc::SIGBUS, action, null_mut()) };
    if installed == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

extern "C" fn handler(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid structure.
    let info_ref = unsafe { &*info };
    // What a process sends has no address.
    let is_fault = info_ref.si_code > 0;
    // SAFETY: a SIGBUS of the kernel's has one.
    if !(is_fault && lose_mapping_at(unsafe { info_ref.si_addr() }.addr())) {
        pass_on(is_fault, signal, info, context);
    }
}

/// Not ours.
fn pass_on(is_fault: bool, signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(before) = BEFORE.get() else { return };
    match before.sa_sigaction {
        libc::SIG_IGN if !is_fault => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            let _ = install(before);
            // Returning repeats the access, and then it has its usual end. What was sent is sent
            // again, and waits for the return.
            if !is_fault {
                // SAFETY: no pointers; allowed in handlers.
                unsafe { libc::raise(signal) };
            }
        }
        handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
            type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: whoever installed it said that it takes three arguments.
            let handler: Handler = unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: whoever installed it said that it takes one argument.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}
