//! A process of a user that may only read a file, and holds all that such a user may hold on it.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A user that owns nothing.
pub const NOBODY: u32 = 65534;

/// The process. Killed when dropped.
#[derive(Debug)]
pub struct Bystander(Child);

impl Bystander {
    /// Starts one on a file that everyone may read. Needs root.
    ///
    /// # Panics
    ///
    /// Panics if it cannot hold a lock that it should get, or gets one that it should not.
    #[must_use]
    pub fn on(path: &Path) -> Bystander {
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        let mut command = Command::new("sleep");
        command.arg("600").uid(NOBODY).gid(NOBODY).stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: system calls only.
        unsafe { command.pre_exec(move || hold_everything(&name)) };
        Bystander(command.spawn().unwrap())
    }
}

/// The descriptor stays open across `exec`, and the locks with it.
fn hold_everything(name: &CString) -> io::Result<()> {
    let lock = libc::flock {
        l_type: libc::F_RDLCK.try_into().unwrap_or(0),
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the name is NUL-terminated.
    let file = unsafe { libc::open(name.as_ptr(), libc::O_RDONLY) };
    // SAFETY: the structure lives across the call.
    let of_the_file = unsafe { libc::fcntl(file, libc::F_OFD_SETLK, &raw const lock) };
    // SAFETY: as above.
    let of_the_process = unsafe { libc::fcntl(file, libc::F_SETLK, &raw const lock) };
    // SAFETY: takes numbers.
    let whole = unsafe { libc::flock(file, libc::LOCK_EX) };
    // SAFETY: takes numbers. The owner of a file gets a lease, and no other user.
    let leased = unsafe { libc::fcntl(file, libc::F_SETLEASE, libc::F_RDLCK) };
    let as_expected = (of_the_file, of_the_process, whole, leased) == (0, 0, 0, -1);
    if as_expected { Ok(()) } else { Err(io::Error::other("it holds other locks than it should")) }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
