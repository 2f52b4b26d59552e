//! A journal of a slipring: its messages on a disk.
//!
//! A [`Journal`] is a durable consumer that writes each message to a disk and releases it then. A
//! [`History`] reads what it wrote, and [`restore`] makes the ring anew from it when its file is
//! lost.

#![forbid(unsafe_code)]

mod check;
mod description;
mod error;
pub mod format;
mod history;
mod home;
mod journal;
mod merge;
pub mod readers;
mod restore;
mod retention;
pub mod scan;
mod spares;
mod status;
mod system;
mod writer;

pub use check::{Finding, Report, check};
pub use description::Description;
pub use error::JournalError;
pub use history::{History, HistoryError, HistoryMessage, Sought};
pub use home::Home;
pub use journal::{Ended, Journal, JournalOptions, NAME, Notice};
pub use merge::{MergeError, Merged, MergedMessage, Origin};
pub use restore::{Member, RestoreError, Restored, restore};
pub use status::{Handle, Status};
pub use system::Method;
pub use writer::{CommitError, Sizes, Writer};
