//! Which rings are shown, in which order, and what stands in their rows.

use super::board::{Board, Pace, Reader, Track};
use crate::output::{self, Table};

/// What rings are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Name,
    Used,
    Rate,
    Lag,
}

impl Order {
    const ALL: [Order; 4] = [Order::Name, Order::Used, Order::Rate, Order::Lag];

    fn step(self, by: usize) -> Order {
        let at = Order::ALL.iter().position(|order| *order == self).unwrap_or(0);
        Order::ALL[(at + by) % Order::ALL.len()]
    }
    pub(super) fn next(self) -> Order {
        self.step(1)
    }
    pub(super) fn previous(self) -> Order {
        self.step(Order::ALL.len() - 1)
    }
    pub(super) fn name(self) -> &'static str {
        match self {
            Order::Name => "name",
            Order::Used => "used",
            Order::Rate => "rate",
            Order::Lag => "lag",
        }
    }
}

/// What a person asked to see.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) order: Order,
    pub(super) reversed: bool,
    pub(super) filter: String,
}

/// What a row is about, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Ring,
    /// Three quarters full, or more.
    FullRing,
    Reader,
    /// Nobody of that name is there, and it holds the ring.
    AbsentReader,
}

pub(super) const HEADINGS: [&str; 9] =
    ["RING", "USED", "RATE/s", "LAG", "IN FLIGHT", "REDELIVERED", "OLDEST", "WHO", "ACTIVITY"];

pub(super) type Row = (Role, [String; 9]);

impl View {
    /// A row for each ring, and beneath it one for each of its readers.
    pub(super) fn rows(&self, board: &Board) -> Vec<Row> {
        let mut tracks: Vec<&Track> = board.tracks().filter(|track| self.wants(track)).collect();
        match self.order {
            Order::Name => {}
            Order::Used => tracks.sort_by_key(|t| {
                std::cmp::Reverse(u128::from(t.used) * 1000 / u128::from(t.capacity.max(1)))
            }),
            Order::Rate => tracks.sort_by_key(|track| std::cmp::Reverse(track.pace.rate())),
            Order::Lag => tracks.sort_by_key(|track| std::cmp::Reverse(track.lag())),
        }
        if self.reversed {
            tracks.reverse();
        }
        tracks
            .iter()
            .flat_map(|track| std::iter::once(ring(track)).chain(track.readers.iter().map(reader)))
            .collect()
    }

    fn wants(&self, track: &Track) -> bool {
        let has = |text: &str| text.contains(&self.filter);
        has(&track.path.to_string_lossy()) || track.readers.iter().any(|reader| has(&reader.name))
    }

    /// The same, as text.
    pub(super) fn text(&self, board: &Board) -> String {
        let mut table = Table::new(&HEADINGS);
        for (_, cells) in self.rows(board) {
            table.row(cells);
        }
        table.render()
    }
}

fn ring(track: &Track) -> Row {
    let name = track.path.display().to_string();
    let dash = || "-".to_owned();
    if let Some(fault) = &track.fault {
        return (
            Role::AbsentReader,
            [name, dash(), dash(), dash(), dash(), dash(), dash(), fault.clone(), String::new()],
        );
    }
    let is_full = u128::from(track.used) * 4 >= u128::from(track.capacity) * 3;
    let role = if is_full { Role::FullRing } else { Role::Ring };
    let cells = [
        name,
        output::percent(track.used, track.capacity),
        rate(&track.pace),
        dash(),
        dash(),
        dash(),
        dash(),
        format!("producer {}", track.producer),
        sparkline(&track.pace),
    ];
    (role, cells)
}

fn reader(reader: &Reader) -> Row {
    let number = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
    let role = if reader.alive { Role::Reader } else { Role::AbsentReader };
    let who = match (reader.is_group, reader.alive) {
        (true, true) => "group",
        (true, false) => "group without workers",
        (false, true) => "consumer",
        (false, false) => "consumer, absent",
    };
    let cells = [
        format!("  {}", reader.name),
        "-".to_owned(),
        rate(&reader.pace),
        reader.lag.to_string(),
        number(reader.in_flight),
        number(reader.redelivered),
        reader.oldest.map_or("-".to_owned(), output::span),
        who.to_owned(),
        sparkline(&reader.pace),
    ];
    (role, cells)
}

fn rate(pace: &Pace) -> String {
    pace.rate().map_or("-".to_owned(), |rate| rate.to_string())
}

/// The last sixteen rates, the highest as high as a line.
fn sparkline(pace: &Pace) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const WIDTH: usize = 16;
    let highest = pace.history().max().unwrap_or(0).max(1);
    let skipped = pace.history().len().saturating_sub(WIDTH);
    let height = |rate: u64| {
        let eighths = u128::from(rate) * 8;
        usize::try_from(eighths.div_ceil(u128::from(highest))).unwrap_or(8)
    };
    pace.history().skip(skipped).map(|rate| BARS[height(rate).min(8)]).collect()
}
