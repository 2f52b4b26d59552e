//! What one process may expect of a ring that it uses as it should.

mod groups;
mod holding;
mod message_types;
mod orderly;
mod past;
mod runs;
mod typed;
