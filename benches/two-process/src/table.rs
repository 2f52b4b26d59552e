//! Tables for people, in Markdown.

use crate::record::{Record, Report};
use crate::run::Measure;
use crate::summary::{Figure, ONE_WORD, Series};
use crate::systems::Entry;
use std::fmt::Write;

/// Everything that was measured.
pub(crate) fn report(report: &Report) -> String {
    let mut text = report.machine.to_markdown();
    let repetitions = report.records.iter().map(|record| record.rep + 1).max().unwrap_or(0);
    let _ =
        writeln!(text, "* repetitions: {repetitions}; medians of them, in brackets the least and the most");
    for measure in Measure::ALL {
        if report.records.iter().any(|record| record.measure == measure) {
            let _ = write!(text, "\n### {}\n", title(measure));
            match measure {
                Measure::Stream | Measure::Batch | Measure::Group => {
                    by_size(&mut text, &report.records, measure)
                }
                _ => distributions(&mut text, report, measure),
            }
        }
    }
    text
}

fn title(measure: Measure) -> &'static str {
    match measure {
        Measure::Roundtrip => "Round trips, ns",
        Measure::Stream => "Stream, one message at a time, ns per message",
        Measure::Batch => "Stream, in batches of up to 32, ns per message",
        Measure::Wake => "Wake-ups after 1 ms of idleness, ns from sending to receipt",
        Measure::Attach => "Attaching a reader, ns",
        Measure::First => "First attach in a process that has threads, ns",
        Measure::Group => "Sharing out to workers, ns per message received and acknowledged",
    }
}

/// The sizes of a measure for which there are results.
fn sizes(records: &[Record], measure: Measure) -> Vec<usize> {
    let is_there =
        |size: &usize| records.iter().any(|record| record.measure == measure && record.size == *size);
    measure.sizes().iter().copied().filter(is_there).collect()
}

fn name(record: &Record) -> String {
    format!("{}{}", record.system, if record.threads { " (threads)" } else { "" })
}

/// A table per size, a line per system.
fn distributions(text: &mut String, report: &Report, measure: Measure) {
    let records = &report.records;
    for size in sizes(records, measure) {
        if measure == Measure::Roundtrip {
            let _ = write!(text, "\nMessages of {size} bytes, on {}.\n", report.machine.cpu);
        }
        let series = Series::of(records, measure, size);
        let has_word = series.figure(ONE_WORD).is_some();
        let (head, rule) = if has_word { (" × one word |", "--:|") } else { ("", "") };
        let _ = write!(
            text,
            "\n| system | middle half | p50 | p90 | p99 | p99.9 | max | × floor |{head}\n|---|--:|--:|--:|--:|--:|--:|--:|{rule}\n"
        );
        for system in series.systems() {
            let Some(figure) = series.figure(&system.system) else { continue };
            let at = |share| series.percentile(&system.system, share).map_or("-".to_owned(), number);
            let to_one_word = figure.to_one_word.map_or(String::new(), |ratio| format!(" {ratio:.2}× |"));
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} |{to_one_word}",
                name(system),
                range(figure),
                at(50.0),
                at(90.0),
                at(99.0),
                at(99.9),
                at(100.0),
                ratio(figure).unwrap_or_default()
            );
        }
    }
}

/// One table, a line per system, a column per size.
fn by_size(text: &mut String, records: &[Record], measure: Measure) {
    let sizes = sizes(records, measure);
    let heads: Vec<String> = sizes.iter().map(|size| format!("{size} B")).collect();
    let _ = write!(text, "\n| system | {} |\n|---|{}\n", heads.join(" | "), "--:|".repeat(heads.len()));
    let series: Vec<Series<'_>> = sizes.iter().map(|size| Series::of(records, measure, *size)).collect();
    let mut systems: Vec<&Record> = Vec::new();
    for record in series.iter().flat_map(Series::systems) {
        if systems.iter().all(|known| known.system != record.system) {
            systems.push(record);
        }
    }
    for system in systems {
        let cells = series.iter().map(|series| match series.figure(&system.system) {
            None => "-".to_owned(),
            Some(figure) => match ratio(figure) {
                Some(ratio) => format!("{}, {ratio}", range(figure)),
                None => range(figure),
            },
        });
        let _ = writeln!(text, "| {} | {} |", name(system), cells.collect::<Vec<_>>().join(" | "));
    }
}

fn range(figure: Figure) -> String {
    format!("{} ({}..{})", number(figure.median), number(figure.least), number(figure.most))
}

fn ratio(figure: Figure) -> Option<String> {
    figure.ratio.map(|ratio| format!("{ratio:.2}×"))
}

/// Three digits at least.
fn number(ns: f64) -> String {
    match ns {
        ns if ns < 10.0 => format!("{ns:.2}"),
        ns if ns < 100.0 => format!("{ns:.1}"),
        ns => format!("{ns:.0}"),
    }
}

/// Which systems there are, and what can be measured of them.
pub(crate) fn systems(entries: &[Entry]) -> String {
    let mut text = String::from("| system | measures | what it is |\n|---|---|---|\n");
    for entry in entries {
        let measures: Vec<&str> = entry.measures.iter().map(|measure| measure.name()).collect();
        let _ = writeln!(text, "| {} | {} | {} |", entry.name, measures.join(", "), entry.about);
    }
    text
}
