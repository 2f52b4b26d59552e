//! The kinds of the messages that a line becomes.

/// The kind of a message that is a piece of a line, with more of the line to come. A whole line, or
/// the last piece of one, has kind 0.
pub(crate) const CONTINUES: u32 = 1;
