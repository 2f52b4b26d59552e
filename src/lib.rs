//! slipring
#[cfg(not(all(target_os = "linux", target_endian = "little", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("slipring runs on Linux on x86-64 and little-endian aarch64 only: it relies on shared futexes, membarrier and open-file-description locks");

#[doc(hidden)]
pub mod layout;
#[doc(hidden)]
pub mod memory;
#[doc(hidden)]
pub mod protocol;
