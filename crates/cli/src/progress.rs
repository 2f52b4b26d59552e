//! Progress of long work, on standard error, if a person looks at it.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over so many messages. Draws nothing unless standard error is a terminal.
pub(crate) fn messages(count: u64) -> ProgressBar {
    let bar = ProgressBar::new(count);
    let template = "{bar:30} {human_pos} of {human_len} messages, {per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// A bar over so many steps, each with a name.
pub(crate) fn steps(count: u64) -> ProgressBar {
    let bar = ProgressBar::new(count);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar
}
