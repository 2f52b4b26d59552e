//! A file that is cut short under its users: the kernel sends SIGBUS to a process that touches a
//! missing page. [`handle_sigbus`] makes an error of the signal.
//!
//! The handler makes system calls and touches atomics that are never freed, nothing else. It
//! replaces a lost mapping by zeros of this process alone; a reader that goes by the slots finds no
//! message in zeros.

use crate::system::fork::{Loss, lose_mapping_at};
use std::io;
use std::mem::MaybeUninit;
use std::ptr::null;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicI32, AtomicUsize};
use std::sync::{Mutex, PoisonError};

/// The handler of SIGBUS before [`handle_sigbus`], and its flags.
static BEFORE: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
static BEFORE_FLAGS: AtomicI32 = AtomicI32::new(0);

/// Installs a handler of SIGBUS for this process, by which a ring whose file is cut short ends with
/// [`HandleError::Truncated`](crate::HandleError::Truncated) instead of the process's death. A
/// page of a ring that the filesystem cannot store, for want of space or for an error of the disk,
/// or that the hardware lost, ends as `Lost`, with the cause.
///
/// Every other SIGBUS goes on to the handler that was there before, or to the default, with the
/// mask of that handler; if that handler replaces itself, this one stays in front of its successor.
/// Calling it again does nothing. A handler that the program installs later takes the place of this
/// one.
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
    /// Held until the handler is installed, so that no caller returns before.
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *installed {
        return Ok(());
    }
    let before = exchange(None)?;
    // Stored before the handler is installed, so that the handler always finds it.
    note(&before);
    let mut action = before;
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = FLAGS | before.sa_flags & libc::SA_NODEFER;
    exchange(Some(&action))?;
    *installed = true;
    Ok(())
}

const FLAGS: libc::c_int = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;

/// Installs an action, if one is given, and returns the one that was there.
fn exchange(action: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let mut before = MaybeUninit::<libc::sigaction>::uninit();
    let action = action.map_or(null(), std::ptr::from_ref);
    // SAFETY: the pointers are null or to a `sigaction` that lives across the call; an installed
    // one names `handler`, which is async-signal-safe, or what was installed before.
    if unsafe { libc::sigaction(libc::SIGBUS, action, before.as_mut_ptr()) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it filled the structure.
    Ok(unsafe { before.assume_init() })
}

fn note(before: &libc::sigaction) {
    BEFORE_FLAGS.store(before.sa_flags, Relaxed);
    BEFORE.store(before.sa_sigaction, Release);
}

extern "C" fn handler(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid structure.
    let info_ref = unsafe { &*info };
    // SAFETY: a SIGBUS that the kernel sent has an address.
    let address = || unsafe { info_ref.si_addr() }.addr();
    let loss = match info_ref.si_code {
        libc::BUS_MCEERR_AR => Some(Loss::Hardware),
        // An announcement: no instruction has met the page yet. A signal that a process sent has no
        // address.
        libc::BUS_MCEERR_AO | ..=0 => None,
        _ => Some(Loss::Storage),
    };
    if !loss.is_some_and(|loss| lose_mapping_at(address(), loss)) {
        pass_on(loss.is_some(), signal, info, context);
    }
}

/// Hands a SIGBUS that no mapping of a ring caused to the action that was installed before. The
/// instruction of a fault is repeated after the handler returns.
fn pass_on(is_fault: bool, signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let before = BEFORE.load(Acquire);
    let flags = BEFORE_FLAGS.load(Relaxed);
    if before == libc::SIG_IGN && !is_fault {
        return;
    }
    if before == libc::SIG_DFL || before == libc::SIG_IGN {
        // SAFETY: a `sigaction` is plain integers and an optional function.
        let default: libc::sigaction = unsafe { std::mem::zeroed() };
        let _ = exchange(Some(&default));
        // Returning repeats the access, which then ends the process. A signal that a process sent,
        // or an announcement, is raised again, and delivered after the return.
        if !is_fault {
            // SAFETY: no pointers; allowed in handlers.
            unsafe { libc::raise(signal) };
        }
        return;
    }
    if flags & libc::SA_RESETHAND != 0 {
        let _ = BEFORE.compare_exchange(before, libc::SIG_DFL, AcqRel, Relaxed);
    }
    call(before, flags, signal, info, context);
    stay_in_front();
}

fn call(
    handler: usize,
    flags: libc::c_int,
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    if flags & libc::SA_SIGINFO != 0 {
        type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
        // SAFETY: it was installed as a handler that takes three arguments.
        let handler: Handler = unsafe { std::mem::transmute(handler) };
        handler(signal, info, context);
    } else {
        // SAFETY: it was installed as a handler that takes one argument.
        let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
        handler(signal);
    }
}

/// A handler that installs another, or the default, ends the protection of rings without knowing
/// of it: what it installed comes behind this handler.
fn stay_in_front() {
    let Ok(now) = exchange(None) else { return };
    let own = handler as *const () as usize;
    if now.sa_sigaction != own {
        note(&now);
        let mut action = now;
        action.sa_sigaction = own;
        action.sa_flags = FLAGS | now.sa_flags & libc::SA_NODEFER;
        let _ = exchange(Some(&action));
    }
}
