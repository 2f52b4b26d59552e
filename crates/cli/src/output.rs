//! Output: tables to read, JSON for programs, bytes for pipes.

use crate::exit::{Failure, Outcome};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A note on standard error, beside the output.
pub(crate) fn note(text: &str) {
    // A closed standard error is not a failure.
    let _ = writeln!(io::stderr().lock(), "slipring: {text}");
}

/// Standard output without a buffer of its own: its callers buffer already.
pub(crate) fn stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// Prints a text that ends in a newline, or nothing.
pub(crate) fn print(text: &str) -> Outcome {
    write(text.as_bytes())
}

/// Prints bytes.
pub(crate) fn write(bytes: &[u8]) -> Outcome {
    stdout()?.write_all(bytes).map_err(Failure::from)
}

/// Prints one JSON value, indented on a terminal.
pub(crate) fn print_json(value: &Value) -> Outcome {
    let mut text = match io::stdout().is_terminal() {
        true => serde_json::to_string_pretty(value)?,
        false => value.to_string(),
    };
    text.push('\n');
    print(&text)
}

/// Rows under headings, each column as wide as it must be. Numbers are set flush right.
#[derive(Debug, Default)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&'static str]) -> Table {
        Table { headings: headings.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    pub(crate) fn render(&self) -> String {
        let is_number = |column: usize| {
            let mut cells = self.rows.iter().filter_map(|row| row.get(column)).filter(|cell| *cell != "-");
            let first = |cell: &String| cell.starts_with(|c: char| c.is_ascii_digit());
            let mut any = false;
            cells.all(|cell| {
                any = true;
                first(cell)
            }) && any
        };
        let columns: Vec<(usize, bool)> = (0..self.headings.len())
            .map(|n| {
                let cells = self.rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count());
                let width = cells.chain([self.headings[n].chars().count()]).max().unwrap_or(0);
                (width, is_number(n))
            })
            .collect();
        let mut text = String::new();
        let headings: Vec<String> = self.headings.iter().map(ToString::to_string).collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = String::new();
            for (cell, (width, number)) in row.iter().zip(&columns) {
                let gap = " ".repeat(width - cell.chars().count());
                let (left, right) = if *number { (gap.as_str(), "") } else { ("", gap.as_str()) };
                let _ = write!(line, "{left}{cell}{right}  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// The text without control characters: a name or a note in a ring must not move the cursor, or
/// look like another row.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// `12.5 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (value, unit) = scaled(count, 1024, &UNITS);
    format!("{value} {unit}")
}

/// `1 message`, `2 messages`.
pub(crate) fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// `1 message is`, `2 messages are`.
pub(crate) fn are(n: u64, what: &str) -> String {
    format!("{} {}", count(n, what), if n == 1 { "is" } else { "are" })
}

fn scaled(count: u64, step: u64, units: &[&'static str]) -> (String, &'static str) {
    let (mut unit, mut divisor) = (0, 1);
    while count / divisor >= step && unit + 1 < units.len() {
        divisor *= step;
        unit += 1;
    }
    let tenths = u64::try_from(u128::from(count) * 10 / u128::from(divisor)).unwrap_or(u64::MAX);
    let value = match unit {
        0 => count.to_string(),
        _ if tenths % 10 == 0 || tenths >= 1000 => (tenths / 10).to_string(),
        _ => format!("{}.{}", tenths / 10, tenths % 10),
    };
    (value, units[unit])
}

/// `3m 12s`: the two largest units.
pub(crate) fn span(duration: Duration) -> String {
    let ms = duration.as_millis();
    let (s, m, h, d) = (ms / 1000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match () {
        () if ms < 1000 => format!("{ms}ms"),
        () if s < 60 => format!("{s}.{}s", ms % 1000 / 100),
        () if m < 60 => format!("{m}m {}s", s % 60),
        () if h < 24 => format!("{h}h {}m", m % 60),
        () => format!("{d}d {}h", h % 24),
    }
}

/// The time since `unix_ms`, by the system clock.
pub(crate) fn since_ms(unix_ms: u64) -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_millis(unix_ms)).unwrap_or_default()
}

pub(crate) fn ago(unix_ms: u64) -> String {
    match unix_ms {
        0 => "-".to_owned(),
        ms => format!("{} ago", span(since_ms(ms))),
    }
}

/// `2026-11-23T09:23:26.123Z`.
pub(crate) fn time(unix_ms: u64) -> String {
    // The year 9999 is as far as a date can be written.
    let at = UNIX_EPOCH + Duration::from_millis(unix_ms.min(253_402_300_799_999));
    humantime::format_rfc3339_millis(at).to_string()
}

pub(crate) fn percent(part: u64, whole: u64) -> String {
    let tenths = u128::from(part) * 1000 / u128::from(whole.max(1));
    format!("{}.{}%", tenths / 10, tenths % 10)
}

/// The text, or a dash for an empty one.
pub(crate) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16777215 TiB");
        assert_eq!(span(Duration::from_secs(192)), "3m 12s");
        assert_eq!(span(Duration::from_millis(1250)), "1.2s");
        assert_eq!(percent(1, 3), "33.3%");
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["NAME", "N"]);
        table.row(["a".to_owned(), "1".to_owned()]);
        table.row(["long".to_owned(), "100".to_owned()]);
        table.row(["\x1b[2J\n".to_owned(), "7".to_owned()]);
        assert_eq!(table.render(), "NAME     N\na        1\nlong   100\n\u{fffd}[2J\u{fffd}    7\n");
    }
}
