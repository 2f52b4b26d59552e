//! Compares the messages that each process saw with the published ones.

use crate::common::Failure;
use crate::director::{Run, VICTIM};
use crate::place::Place;
use crate::progress::grouped;
use crate::readers::{OBSERVER, record_path, runs_path};
use crate::script::Script;
use crate::tally::{Record, Tally, hash};
use crate::times::{Times, machine, short};
use std::io::{self, Write};
use std::ops::Range;
use std::time::Duration;

/// Prints the table; true if nothing was lost, doubled or altered.
pub(crate) fn write(
    out: &mut impl Write,
    script: &Script<'_>,
    run: &Run,
    round_trips: Option<&Times>,
    place: &Place,
) -> Result<bool, Failure> {
    let published = &run.published;
    writeln!(
        out,
        "\n{:<17} {:>13} {:>11} {:>7} {:>13} {:>5} {:>7}  {:<24} {:>10}",
        "process", "received", "missed", "first", "last", "gaps", "doubled", "checksum", "messages/s"
    )?;
    writeln!(
        out,
        "{:<17} {:>13} {:>11} {:>7} {:>13} {:>5} {:>7}  {:<24} {:>10}",
        "publisher",
        grouped(published.messages),
        "-",
        0,
        grouped(published.messages - 1),
        "-",
        "-",
        format!("{:016x}", published.checksum),
        rate(published.messages, published.elapsed),
    )?;
    let mut failures = Vec::new();
    let mut observed = Tally::default();
    let mut resumed = Tally::default();
    for reader in &run.readers {
        let tally = Record::open(&record_path(place, reader.role))?.load()?;
        let expected = if reader.role == OBSERVER {
            observed = tally;
            checksum_of(script, &read_runs(place)?)
        } else {
            published.checksum
        };
        if reader.role == VICTIM {
            resumed = tally;
        }
        let equal = tally.checksum == expected;
        let name = match reader.restarts {
            0 => reader.role.to_owned(),
            n => format!("{} (killed {n}x)", reader.role),
        };
        writeln!(
            out,
            "{name:<17} {:>13} {:>11} {:>7} {:>13} {:>5} {:>7}  {:016x} {:<7} {:>10}",
            grouped(tally.received),
            if reader.role == OBSERVER { grouped(tally.missed) } else { "-".to_owned() },
            grouped(tally.first),
            grouped(tally.next.saturating_sub(1)),
            grouped(tally.gaps),
            grouped(tally.doubled),
            tally.checksum,
            if equal { "equal" } else { "DIFFERS" },
            rate(tally.received, tally.elapsed()),
        )?;
        failures.extend(objections(reader.role, &tally, equal, script));
    }
    story(out, run, script, &resumed, &observed)?;
    if let Some(times) = round_trips {
        latency(out, times)?;
    }
    writeln!(out)?;
    if failures.is_empty() {
        writeln!(out, "OK: every consumer received every message once, in order, unaltered.")?;
    }
    for failure in &failures {
        writeln!(out, "FAILED: {failure}")?;
    }
    out.flush()?;
    Ok(failures.is_empty())
}

/// The faults of an account.
fn objections(role: &str, tally: &Tally, equal: bool, script: &Script<'_>) -> Vec<String> {
    let total = script.len();
    let mut found = Vec::new();
    let mut check = |right: bool, what: String| {
        if !right {
            found.push(format!("{role} {what}"));
        }
    };
    let accounted = tally.received + tally.missed;
    check(tally.finished == 1, "did not see the end of the stream".to_owned());
    check(accounted == total, format!("accounts for {accounted} of {total} messages"));
    check(tally.gaps == 0, format!("lost {} messages unannounced", tally.gaps));
    check(tally.doubled == 0, format!("was given {} messages twice", tally.doubled));
    check(tally.next == total, format!("ended before position {}, not {total}", tally.next));
    check(equal, "read something else than was published".to_owned());
    if role != OBSERVER {
        check(tally.missed == 0, format!("missed {} messages", tally.missed));
        check(tally.lines == script.lines(), format!("read {} of {} lines", tally.lines, script.lines()));
    }
    found
}

fn story(
    out: &mut impl Write,
    run: &Run,
    script: &Script<'_>,
    resumed: &Tally,
    seen: &Tally,
) -> io::Result<()> {
    let death = &run.death;
    let stream = grouped(script.len());
    writeln!(
        out,
        "\n{VICTIM} (process {}) was killed with SIGKILL at position {} of {stream}.",
        death.pid,
        grouped(death.tail)
    )?;
    let meanwhile = grouped(death.published_meanwhile);
    if death.ring_filled {
        writeln!(
            out,
            "  The ring filled up {meanwhile} messages later, and the publisher waited: {VICTIM} is durable,"
        )?;
        writeln!(out, "  so nothing is overwritten that it has not released, dead or alive.")?;
    } else {
        writeln!(out, "  {meanwhile} messages were kept for it meanwhile; the ring did not fill up.")?;
    }
    writeln!(
        out,
        "  After {:.1?} process {} attached by the same name, and resumed at position {}:",
        death.outage,
        death.successor,
        grouped(resumed.resumed_at)
    )?;
    writeln!(
        out,
        "  {} messages seen a second time, and by its record not counted a second time.",
        grouped(resumed.again)
    )?;
    let whole = if seen.missed == 0 { "missed nothing" } else { "missed some, knows how many" };
    writeln!(out, "The observer holds no process up, and cannot even write to the ring; it {whole}.")
}

fn latency(out: &mut impl Write, times: &Times) -> io::Result<()> {
    writeln!(
        out,
        "\nRound trip, two processes, two rings, 8 bytes: p50 {}, p99 {}, p99.9 {}",
        short(times.quantile(0.5)),
        short(times.quantile(0.99)),
        short(times.quantile(0.999))
    )?;
    writeln!(out, "  of {}, measured just now on this machine: {}.", grouped(times.len() as u64), machine())
}

/// Messages per second; nothing for a time too short to tell.
fn rate(messages: u64, elapsed: Duration) -> String {
    let rate = messages as f64 / elapsed.as_secs_f64();
    match elapsed.as_millis() {
        0 => "-".to_owned(),
        _ if rate < 1e5 => format!("{rate:.0}"),
        _ => format!("{:.2} M", rate / 1e6),
    }
}

/// The positions that the observer saw.
fn read_runs(place: &Place) -> Result<Vec<Range<u64>>, Failure> {
    let text = std::fs::read_to_string(runs_path(place))?;
    let run =
        |line: &str| Some(line.split_once(' ')?).and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
    text.lines()
        .map(|line| run(line).ok_or_else(|| format!("not a run of positions: {line:?}").into()))
        .collect()
}

/// The checksum of these positions, by the script.
fn checksum_of(script: &Script<'_>, runs: &[Range<u64>]) -> u64 {
    let mut runs = runs.iter().peekable();
    let mut sum = 0_u64;
    for (position, (kind, bytes)) in (0..).zip(script.messages()) {
        while runs.next_if(|run| run.end <= position).is_some() {}
        match runs.peek() {
            Some(run) if run.contains(&position) => sum = sum.wrapping_add(hash(position, kind, bytes)),
            Some(_) => {}
            None => break,
        }
    }
    sum
}
