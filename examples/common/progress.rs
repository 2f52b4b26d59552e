//! The progress of a run: a bar on a terminal, elsewhere a line now and then.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const BAR_WIDTH: usize = 24;

#[derive(Debug)]
pub(crate) struct Progress {
    program: &'static str,
    total: u64,
    terminal: bool,
    start: Instant,
    shown: Option<Instant>,
}

impl Progress {
    pub(crate) fn new(program: &'static str, total: u64) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        Progress { program, total, terminal, start: Instant::now(), shown: None }
    }

    /// How much of the total this is, in percent.
    pub(crate) fn percent(&self, part: u64) -> u64 {
        (part.min(self.total) * 100).checked_div(self.total).unwrap_or(100)
    }

    /// Shows the text that `status` makes, if it is time to, behind a bar with these marks: how
    /// far, and the character to draw. The furthest mark comes last.
    pub(crate) fn show(&mut self, marks: &[(u64, char)], status: impl FnOnce(&Progress) -> String) {
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
        let status = status(self);
        // A progress display that cannot be shown is none.
        drop(if self.terminal {
            write!(std::io::stderr(), "\r\x1b[K[{}] {status}", self.bar(marks))
        } else {
            writeln!(std::io::stderr(), "{}: {status}", self.program)
        });
    }

    fn bar(&self, marks: &[(u64, char)]) -> String {
        let mut bar = String::new();
        for &(part, mark) in marks {
            let end = usize::try_from(self.percent(part)).unwrap_or(100) * BAR_WIDTH / 100;
            bar.extend(std::iter::repeat_n(mark, end.saturating_sub(bar.len())));
        }
        bar.extend(std::iter::repeat_n('.', BAR_WIDTH.saturating_sub(bar.len())));
        bar
    }

    /// Says something that stays, above the bar.
    pub(crate) fn tell(&mut self, what: &str) {
        self.clear();
        eprintln!("{}: {what}", self.program);
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
