//! The number of this process, without a system call.

use std::ptr::NonNull;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32};

/// The number, in a page that the kernel empties in each forked child (`MADV_WIPEONFORK`), whether
/// or not the fork went through libc; null until the first caller has made the page.
static REMEMBERED: AtomicPtr<AtomicU32> = AtomicPtr::new(std::ptr::null_mut());

/// True once the kernel has refused such a page: then every caller asks for the number.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// The number of this process.
///
/// A child that shares its parent's memory (`CLONE_VM`, as `vfork` and `posix_spawn` make one until
/// `exec`) is told the parent's number: what is mapped there is the parent's, too.
pub(crate) fn process_id() -> u32 {
    let mut page = REMEMBERED.load(Acquire);
    if page.is_null() && !REFUSED.load(Relaxed) {
        page = remember();
    }
    // SAFETY: null, or a page that is never unmapped.
    let Some(number) = (unsafe { page.as_ref() }) else { return std::process::id() };
    match number.load(Relaxed) {
        0 => {
            let process = std::process::id();
            number.store(process, Relaxed);
            process
        }
        process => process,
    }
}

/// Makes the page; null where the kernel refuses one.
#[cold]
fn remember() -> *mut AtomicU32 {
    let null = std::ptr::null_mut();
    let Some(new) = emptied_in_children() else {
        REFUSED.store(true, Relaxed);
        return null;
    };
    match REMEMBERED.compare_exchange(null, new.as_ptr(), AcqRel, Acquire) {
        Ok(_) => new.as_ptr(),
        Err(first) => {
            // SAFETY: mapped above, and known to no other thread.
            unsafe { libc::munmap(new.as_ptr().cast(), PAGE) };
            first
        }
    }
}

/// Asked for, and rounded up by the kernel to a page of its size.
const PAGE: usize = 4096;

fn emptied_in_children() -> Option<NonNull<AtomicU32>> {
    if cfg!(miri) {
        return None;
    }
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: asks for memory at an address of the kernel's choice.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, access, kind, -1, 0) };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the range was mapped above.
    if unsafe { libc::madvise(page, PAGE, libc::MADV_WIPEONFORK) } != 0 {
        // SAFETY: as above, and nothing refers to it.
        unsafe { libc::munmap(page, PAGE) };
        return None;
    }
    NonNull::new(page.cast())
}

#[cfg(test)]
mod tests {
    use super::process_id;

    /// In the child, looks at the number and ends; in the parent, waits for that.
    fn ends_well(child: libc::pid_t) {
        if child == 0 {
            let differs = process_id() != std::process::id();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(differs)) };
        }
        let mut status = -1;
        // SAFETY: waits for a child of this process.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
    }

    #[test]
    fn a_forked_child_has_a_number_of_its_own() {
        assert_eq!(process_id(), std::process::id());
        // SAFETY: the child calls only functions that are safe after a fork, and ends.
        ends_well(unsafe { libc::fork() });
        // SAFETY: as above.
        let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        ends_well(child.try_into().unwrap());
        assert_eq!(process_id(), std::process::id());
    }
}
