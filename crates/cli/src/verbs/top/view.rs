//! The rows of the table: which rings, in which order, with which cells.

use super::board::{Board, Pace, Reader, Track};
use super::names;
use crate::output::{self, Table};

/// The order of the rings.
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

/// The choice of the person at the keyboard.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) order: Order,
    pub(super) reversed: bool,
    pub(super) filter: String,
}

/// The role of a row, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Ring,
    /// Three quarters full, or more.
    FullRing,
    Reader,
    /// No process of that name is there, and the reader holds the ring.
    AwayReader,
}

pub(super) const HEADINGS: [&str; 10] =
    ["RING", "USED", "RATE/s", "LAG", "IN FLIGHT", "DEAD", "OLDEST", "STATE", "REDELIVERED", "ACTIVITY"];

/// The columns that hold numbers.
pub(super) fn is_number(column: usize) -> bool {
    matches!(column, 1..=6 | 8)
}

pub(super) type Row = (Role, [String; 10]);

impl View {
    /// A row for each ring, and beneath it one for each of its readers. With a width, names are
    /// fitted into it, those of rings without the directory that all of them are in.
    pub(super) fn rows(&self, board: &Board, width: Option<usize>) -> Vec<Row> {
        let tracks = self.tracks(board);
        let rings = ring_names(board, &tracks, width);
        let rows = tracks.iter().zip(rings).flat_map(|(track, name)| {
            let readers = track.readers.iter().zip(reader_names(track, width));
            std::iter::once(ring(track, name)).chain(readers.map(|(entry, name)| reader(track, entry, name)))
        });
        rows.collect()
    }

    /// The rings that are wanted, in the order that is wanted.
    fn tracks<'a>(&self, board: &'a Board) -> Vec<&'a Track> {
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
    }

    fn wants(&self, track: &Track) -> bool {
        let has = |text: &str| text.contains(&self.filter);
        has(&track.path.to_string_lossy()) || track.readers.iter().any(|reader| has(&reader.name))
    }

    /// The same, as text.
    pub(super) fn text(&self, board: &Board) -> String {
        let mut table = Table::new(&HEADINGS);
        for (_, cells) in self.rows(board, None) {
            table.row(cells);
        }
        table.render()
    }
}

/// The names of the rings. The filter changes no name: the directory is that of all the rings.
fn ring_names(board: &Board, tracks: &[&Track], width: Option<usize>) -> Vec<String> {
    let shown = |path: &std::path::Path| path.display().to_string();
    let Some(width) = width else { return tracks.iter().map(|track| shown(&track.path)).collect() };
    let common = board.common_directory();
    let short = |track: &&Track| shown(track.path.strip_prefix(&common).unwrap_or(&track.path));
    names::fit(&tracks.iter().map(short).collect::<Vec<_>>(), width)
}

/// The names of the readers of a ring, indented by two.
fn reader_names(track: &Track, width: Option<usize>) -> Vec<String> {
    let all: Vec<String> = track.readers.iter().map(|reader| reader.name.clone()).collect();
    let all = width.map_or(all.clone(), |width| names::fit(&all, width.saturating_sub(2)));
    all.into_iter().map(|name| format!("  {name}")).collect()
}

fn ring(track: &Track, name: String) -> Row {
    let dash = || "-".to_owned();
    if let Some(fault) = &track.fault {
        let cells =
            [name, dash(), dash(), dash(), dash(), dash(), dash(), fault.clone(), dash(), String::new()];
        return (Role::AwayReader, cells);
    }
    let role = if track.is_nearly_full() { Role::FullRing } else { Role::Ring };
    let cells = [
        name,
        output::percent(track.used, track.capacity),
        rate(&track.pace),
        dash(),
        dash(),
        track.dead.map_or("-".to_owned(), |dead| dead.count.to_string()),
        dash(),
        format!("producer {}", track.producer),
        dash(),
        sparkline(&track.pace),
    ];
    (role, cells)
}

fn reader(track: &Track, reader: &Reader, name: String) -> Row {
    let number = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
    // Dead letters wait for a redrive: an away consumer is healthy there.
    let role = if reader.alive || track.is_dead_letters { Role::Reader } else { Role::AwayReader };
    let state = match (reader.workers, reader.alive) {
        (Some(0), _) => "group, no workers".to_owned(),
        (Some(n), _) => format!("group, {}", output::count(n as u64, "worker")),
        (None, true) => "consumer".to_owned(),
        (None, false) => "consumer, away".to_owned(),
    };
    let state = if reader.at_limit { format!("{state}, at its limit") } else { state };
    let state = match reader.dead_pending {
        0 => state,
        n => format!("{state}, {n} dead-pending"),
    };
    let cells = [
        name,
        "-".to_owned(),
        rate(&reader.pace),
        reader.lag.to_string(),
        number(reader.in_flight),
        "-".to_owned(),
        reader.oldest.map_or("-".to_owned(), output::span),
        state,
        number(reader.redelivered),
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
