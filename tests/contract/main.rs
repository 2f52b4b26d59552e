//! The promises of a ring to one process that uses it as it should.

mod ahead;
mod followers;
mod groups;
mod holding;
mod latest;
mod message_types;
mod orderly;
mod past;
mod runs;
mod typed;
