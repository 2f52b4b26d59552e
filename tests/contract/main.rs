//! What one process may expect of a ring that it uses as it should.

mod groups;
mod holding;
mod orderly;
mod runs;
mod typed;
