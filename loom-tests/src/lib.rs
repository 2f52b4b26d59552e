//! The shipped protocol under a model checker.
//!
//! [`slipring_core::protocol`] is generic over a narrow memory interface. Here that interface is
//! implemented with loom's atomics ([`memory`]), so that loom explores every interleaving and every
//! value that the memory model allows, up to a bound on preemptions, of the very code that ships.
//!
//! * [`models`]: one small model per question. Each prints how many executions it explored and
//!   fails when that number drops: a model that explores nothing proves nothing.
//! * [`litmus`]: what the checker itself must see and must not see. They run first.
//! * [`sites`]: every access knows its source line, so that the `weaken` command can weaken one
//!   ordering, or drop one fence, without touching the source, and see whether a model fails.
//! * [`explore`]: how a model is run.
//! * [`campaign`]: changes one site after the other, for the commands `weaken` and `steps`.
//! * [`child`]: a process that tries one change, and whether it ends.

pub mod campaign;
pub mod child;
pub mod explore;
pub mod litmus;
pub mod memory;
pub mod models;
pub mod sites;
