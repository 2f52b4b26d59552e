//! `membarrier`: a full barrier on every core that runs a registered process.

use std::sync::OnceLock;

/// True once this process may be interrupted by other processes' [`membarrier`], so that its light
/// fences need not be real ones. The kernel is asked once per process.
pub(crate) fn membarrier_registered() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| {
        // Miri has no such call; under it every fence is a real one.
        !cfg!(miri) && membarrier_call(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED)
    })
}

/// A full barrier on every core that runs a registered process. False if the kernel or a sandbox
/// refuses: the caller's light-fencing peers may then be missed for a while.
pub(crate) fn membarrier() -> bool {
    !cfg!(miri) && membarrier_call(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED)
}

/// True if [`membarrier`] works in this process. The kernel is asked once.
pub(crate) fn membarrier_works() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(membarrier)
}

fn membarrier_call(command: libc::c_int) -> bool {
    // SAFETY: no memory is passed.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}
