//! A file that is cut short under its users: the kernel sends SIGBUS to a process that touches a
//! missing page. [`handle_sigbus`] makes an error of the signal.
//!
//! The handler makes system calls and touches atomics that are never freed, nothing else. It
//! replaces a lost mapping by zeros of this process alone; a reader that goes by the slots finds no
//! message in zeros.

use crate::system::fork::lose_mapping_at;
use std::io;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

/// The action of SIGBUS before [`handle_sigbus`].
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs a handler of SIGBUS for this process, by which a ring whose file is cut short ends with
/// [`RecvError::Truncated`](crate::RecvError::Truncated) and
/// [`SendError::Truncated`](crate::SendError::Truncated) instead of the process's death. Every
/// other SIGBUS goes on to the handler that was there before, or to the default. Calling it again
/// does nothing.
///
/// When a segment of a ring is lost, the handler replaces this process's whole mapping of the
/// segment by zeros: no store of this process reaches another process from then on. A call that
/// finds nothing to read, or no room, returns the error; a call that waits returns it within 100
/// ms. Until then a producer may publish up to a lap that no reader sees, and a message or a batch
/// in hand reads as zeros. Its release or acknowledgement has no effect: in a file that is
/// restored, the message is unread.
///
/// # Errors
///
/// The errors of `sigaction(2)`.
pub fn handle_sigbus() -> io::Result<()> {
    if BEFORE.get().is_some() {
        return Ok(());
    }
    let mut before = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: asks for the installed action; the pointer is to a `sigaction` that the call fills.
    if unsafe { libc::sigaction(libc::SIGBUS, null(), before.as_mut_ptr()) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it filled the structure.
    let before = unsafe { before.assume_init() };
    // Stored before the handler is installed, so that the handler always finds it.
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
    // SAFETY: the pointer is to a `sigaction` that lives across the call; it names `on_sigbus`,
    // which is async-signal-safe, or the handler that was installed before.
    let installed = unsafe { libc::sigaction(libc::SIGBUS, action, null_mut()) };
    if installed == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

extern "C" fn handler(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid structure.
    let info_ref = unsafe { &*info };
    // A signal that a process sent has no address.
    let is_fault = info_ref.si_code > 0;
    // SAFETY: a SIGBUS that the kernel sent has an address.
    if !(is_fault && lose_mapping_at(unsafe { info_ref.si_addr() }.addr())) {
        pass_on(is_fault, signal, info, context);
    }
}

/// Hands a SIGBUS that no mapping of a ring caused to the action that was installed before.
fn pass_on(is_fault: bool, signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(before) = BEFORE.get() else { return };
    match before.sa_sigaction {
        libc::SIG_IGN if !is_fault => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            let _ = install(before);
            // Returning repeats the faulting access, which then ends the process. A signal that a
            // process sent is raised again, and is delivered after the return.
            if !is_fault {
                // SAFETY: no pointers; allowed in handlers.
                unsafe { libc::raise(signal) };
            }
        }
        handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
            type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: SA_SIGINFO was set with the handler: it takes three arguments.
            let handler: Handler = unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: SA_SIGINFO was not set with the handler: it takes one argument.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}
