//! The verified half of slipring: format, memory interface, protocol.
//!
//! This crate makes every decision about shared memory. It knows no file, no path and no system
//! call: the [`memory`] traits stand for them, and the library, the model checker, the simulation
//! and the fuzzer each implement these traits. All of them run the same lines.
//!
//! An internal crate of slipring: its items change without notice between versions.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod format;
pub mod memory;
pub mod protocol;
