//! What is shown while the stream runs: a bar on a terminal, elsewhere a line now and then.

use slipring::ConsumerInfo;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const BAR_WIDTH: usize = 24;

#[derive(Debug)]
pub(crate) struct Progress {
    total: u64,
    terminal: bool,
    start: Instant,
    shown: Option<Instant>,
}

impl Progress {
    pub(crate) fn new(total: u64) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        Progress { total, terminal, start: Instant::now(), shown: None }
    }

    pub(crate) fn show(&mut self, head: u64, consumers: &[ConsumerInfo]) {
        let (first, interval) = if self.terminal { (0, 50) } else { (1000, 1000) };
        let due = match self.shown {
            None => self.start + Duration::from_millis(first),
            Some(at) => at + Duration::from_millis(interval),
        };
        let now = Instant::now();
        if now < due {
            return;
        }
        self.shown = Some(now);
        let percent = |part: u64| (part.min(self.total) * 100).checked_div(self.total).unwrap_or(100);
        let readers: Vec<String> = consumers
            .iter()
            .map(|consumer| {
                let dead = if consumer.alive || consumer.tail == Some(self.total) { "" } else { " (dead)" };
                format!("{} {}%{dead}", consumer.name, percent(consumer.tail.unwrap_or(head)))
            })
            .collect();
        let published = format!("{} of {} published", grouped(head), grouped(self.total));
        // A progress display that cannot be shown is none.
        drop(if self.terminal {
            let done = usize::try_from(percent(head)).unwrap_or(100) * BAR_WIDTH / 100;
            let bar = format!("{}{}", "#".repeat(done), ".".repeat(BAR_WIDTH - done));
            write!(std::io::stderr(), "\r\x1b[K[{bar}] {published}; {}", readers.join(", "))
        } else {
            writeln!(std::io::stderr(), "fanout: {published}; {}", readers.join(", "))
        });
    }

    /// Takes the bar away, so that something else can be written.
    pub(crate) fn clear(&mut self) {
        if self.terminal && self.shown.take().is_some() {
            drop(write!(std::io::stderr(), "\r\x1b[K"));
        }
    }
}

/// 1234567 as 1,234,567.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
