//! Every system call of the library. No function of this room knows a message.

mod advice;
mod barrier;
mod file;
mod filesystem;
pub(crate) mod fork;
mod futex;
mod identity;
mod lock;
mod mapping;
mod memory_limit;
mod permissions;
mod process;
mod refusal;
pub(crate) mod sigbus;
mod thread;
mod time;

pub(crate) use advice::{ask_for_huge_pages, dont_fork, populate};
pub(crate) use barrier::{membarrier, membarrier_registered, membarrier_works};
pub(crate) use file::{
    can_link_unnamed, create_new, create_unnamed, lacks_unnamed_files, link_unnamed, open, rename_no_replace,
    reserve,
};
pub(crate) use filesystem::{Filesystem, dont_copy_on_write};
pub(crate) use futex::{FUTEX_WAIT_ANY_MAX, FutexWord, futex_wait, futex_wait_any, futex_wake_all, nap};
pub(crate) use identity::{boot_id, effective_user, random_id};
pub(crate) use lock::{is_locked, locked_bytes, try_lock, unlock, unlock_from};
pub(crate) use mapping::Mapping;
pub(crate) use memory_limit::memory_left;
pub(crate) use permissions::{Permissions, drop_access_list};
pub(crate) use process::{Process, process_id, this_process};
pub(crate) use refusal::{Refusal, way_out};
pub(crate) use thread::spawn_deaf;
pub(crate) use time::{
    clock_shift_ms, clock_shift_ms_at, coarse_monotonic_ms, coarse_resolution, monotonic_ms, sleep, unix_now,
    unix_now_ms,
};

use std::io;

/// Turns the usual "-1 and errno" into a result.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
