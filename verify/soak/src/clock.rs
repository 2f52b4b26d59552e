//! Processes whose clock is shifted, as a container's may be.

use std::ffi::CStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Seconds by which a clock may be ahead: some, and about as many as the deadlines' 32 bits of
/// milliseconds hold.
pub(crate) const SHIFTS: [u32; 3] = [1000, 1_000_000, 4_294_960];

/// Has a command run in a time namespace (`time_namespaces(7)`) of its own.
pub(crate) fn shift(command: &mut Command, seconds: u32) {
    let offsets = format!("monotonic {seconds} 0\nboottime {seconds} 0\n");
    // SAFETY: system calls only.
    unsafe { command.pre_exec(move || enter(&offsets)) };
}

/// Makes a time namespace and moves this process, which has one thread, into it.
fn enter(offsets: &str) -> io::Result<()> {
    const OFFSETS: &CStr = c"/proc/self/timens_offsets";
    const CHILDREN: &CStr = c"/proc/self/ns/time_for_children";
    let check = |result: libc::c_int| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) };
    // SAFETY: takes flags.
    check(unsafe { libc::unshare(libc::CLONE_NEWTIME) })?;
    // SAFETY: the path is NUL-terminated.
    let file = check(unsafe { libc::open(OFFSETS.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) })?;
    // SAFETY: the bytes live across the call.
    let written = unsafe { libc::write(file, offsets.as_ptr().cast(), offsets.len()) };
    if written < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the path is NUL-terminated.
    let namespace = check(unsafe { libc::open(CHILDREN.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) })?;
    // SAFETY: takes numbers.
    check(unsafe { libc::setns(namespace, libc::CLONE_NEWTIME) })?;
    Ok(())
}

/// True if this process may make such namespaces.
pub(crate) fn can_shift() -> bool {
    let mut command = Command::new("/proc/self/exe");
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    shift(&mut command, SHIFTS[0]);
    command.status().is_ok_and(|status| status.success())
}
