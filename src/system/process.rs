//! Which process this is, without a system call.

use std::ptr::NonNull;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64};

/// A process, as it differs from those that it was forked from: their numbers may be the same, each
/// of them in a pid namespace of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// The process's number, in its own pid namespace.
    pub(crate) number: u32,
    /// Greater than that of every process from which this one has inherited memory.
    generation: u32,
}

impl Process {
    const fn to_word(self) -> u64 {
        (self.generation as u64) << 32 | self.number as u64
    }

    #[expect(clippy::cast_possible_truncation, reason = "two halves of a word")]
    const fn of_word(word: u64) -> Process {
        Process { number: word as u32, generation: (word >> 32) as u32 }
    }
}

/// This process, in a page that the kernel empties in each forked child (`MADV_WIPEONFORK`),
/// whether or not the fork went through libc; null until the first caller has made the page.
static REMEMBERED: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());

/// The last generation that this process, or one that it was forked from, took.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// True once the kernel has refused such a page: then every caller asks for the number, and the
/// generation stays 0.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// The number of this process.
pub(crate) fn process_id() -> u32 {
    this_process().number
}

/// This process.
///
/// A child that shares its parent's memory (`CLONE_VM`, as `vfork` and `posix_spawn` make one until
/// `exec`) is told that it is its parent: what is mapped there is the parent's, too.
///
/// Example: process 1 of a container is of generation 1, and opens a ring. It forks a child into a
/// new pid namespace, where the child is process 1, too. The child finds the page empty, and takes
/// generation 2: the ring's handle is another process's.
pub(crate) fn this_process() -> Process {
    let mut page = REMEMBERED.load(Acquire);
    if page.is_null() && !REFUSED.load(Relaxed) {
        page = remember();
    }
    // SAFETY: null, or a page that is never unmapped.
    let Some(remembered) = (unsafe { page.as_ref() }) else {
        return Process { number: std::process::id(), generation: 0 };
    };
    match remembered.load(Relaxed) {
        0 => begin(remembered),
        word => Process::of_word(word),
    }
}

/// Takes a generation, unless another thread was first.
#[cold]
fn begin(remembered: &AtomicU64) -> Process {
    let generation = GENERATION.fetch_add(1, Relaxed).wrapping_add(1);
    let this = Process { number: std::process::id(), generation };
    match remembered.compare_exchange(0, this.to_word(), Relaxed, Relaxed) {
        Ok(_) => this,
        Err(word) => Process::of_word(word),
    }
}

/// Makes the page; null where the kernel refuses one.
#[cold]
fn remember() -> *mut AtomicU64 {
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

fn emptied_in_children() -> Option<NonNull<AtomicU64>> {
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
    use super::{process_id, this_process};

    /// The child shares the descriptors: a copy of them would hold the locks of the tests beside
    /// this one for a moment longer.
    const SHARED: libc::c_int = libc::SIGCHLD | libc::CLONE_FILES;

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
        let child = unsafe { libc::syscall(libc::SYS_clone, SHARED, 0, 0, 0, 0) };
        ends_well(child.try_into().unwrap());
        assert_eq!(process_id(), std::process::id());
    }

    /// A child in a new pid namespace, where it has number 1. None where that is not allowed.
    fn first_of_a_namespace(life: impl FnOnce() -> bool) -> Option<libc::c_int> {
        let flags = libc::CLONE_NEWPID | SHARED;
        // SAFETY: the child makes only calls that are safe after a fork, and ends.
        let child = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        if child == 0 {
            let code = i32::from(!life());
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(code) };
        }
        let mut status = -1;
        let child = child.try_into().ok().filter(|&child| child > 0)?;
        // SAFETY: waits for a child of this process.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        Some(status)
    }

    #[test]
    fn a_child_with_its_parent_s_number_is_another_process() {
        let own = this_process();
        let ended = first_of_a_namespace(|| {
            let parent = this_process();
            let differs = || this_process().number == 1 && this_process() != parent;
            parent.number == 1 && parent != own && first_of_a_namespace(differs) == Some(0)
        });
        match ended {
            Some(status) => assert_eq!(status, 0),
            None => eprintln!("nothing tried: this process may make no pid namespace"),
        }
        assert_eq!(this_process(), own);
    }
}
