//! Compares the work done for every order with the work due: all of it, once.

use crate::common::Failure;
use crate::director::Run;
use crate::gateway::Account;
use crate::order::Order;
use crate::place::Place;
use crate::progress::grouped;
use crate::times::{Times, machine, short};
use crate::workers::{AUDIT, BOOKING, POINTS, audit_line, booking, file_of};
use std::fs::File;
use std::io::{self, Write};

/// The books, compared with the work that was due.
#[derive(Debug, Default)]
struct Findings {
    sms_once: u64,
    sms_never: u64,
    sms_doubled: u64,
    calls: u64,
    repeated: u64,
    unanswered: u64,
    booked_once: u64,
    booked_wrongly: u64,
    points: u64,
    audit_lines: u64,
    audit_is_right: bool,
}

/// Prints the table; true if everything was done once.
pub(crate) fn write(
    out: &mut impl Write,
    total: u64,
    seed: u64,
    run: &Run,
    place: &Place,
) -> Result<bool, Failure> {
    let found = findings(total, seed, &run.books, place)?;
    let (published, sms) = (&run.published, &run.sms);
    writeln!(out)?;
    let mut row = |name: &str, number: u64, text: String| {
        let text = if text.is_empty() { text } else { format!("  {text}") };
        writeln!(out, "{name:<26} {:>9}{text}", grouped(number))
    };
    row("orders recorded", total, String::new())?;
    row("  while SMS kept up", published.kept_up.len() as u64, quantiles(&published.kept_up))?;
    let burst = format!("{}; all in {}", quantiles(&published.in_burst), short(published.burst_took));
    row("  in the burst", published.in_burst.len() as u64, burst)?;
    row("  while SMS was behind", published.behind.len() as u64, quantiles(&published.behind))?;
    row("  most waiting for SMS", published.longest_behind, full(published.found_full))?;
    row(
        "SMS sent, once each",
        found.sms_once,
        format!("never {}, twice {}", found.sms_never, found.sms_doubled),
    )?;
    row("  calls to the gateway", found.calls, format!("{} unanswered", grouped(found.unanswered)))?;
    row("  done before, by key", found.repeated, "and not done again".to_owned())?;
    let again = sms.failed + sms.expired + sms.worker_died + sms.handed_back;
    let causes = format!(
        "failed {}, lease expired {}, worker died {}, handed back {}",
        grouped(sms.failed),
        sms.expired,
        sms.worker_died,
        sms.handed_back
    );
    row("  attempts in vain", again, causes)?;
    row("  too late, refused", sms.lost, String::new())?;
    let of_them = format!("{} rejected, {} given up", sms.rejected, sms.dead_lettered - sms.rejected);
    row("dead letters", sms.dead_lettered, of_them)?;
    row("  redriven", run.redriven, format!("{} left", run.letters_left))?;
    row("orders with points, once", found.booked_once, format!("{} points", grouped(found.points)))?;
    row(
        "audit lines",
        found.audit_lines,
        if found.audit_is_right { "in order".to_owned() } else { "WRONG".to_owned() },
    )?;
    story(out, run)?;
    writeln!(out, "\n{:.1?}, measured just now on this machine: {}.\n", run.elapsed, machine())?;
    let objections = objections(total, run, &found);
    if objections.is_empty() {
        writeln!(out, "OK: every order has its SMS, its points and its line, each once.")?;
    }
    for objection in &objections {
        writeln!(out, "FAILED: {objection}")?;
    }
    out.flush()?;
    Ok(objections.is_empty())
}

fn quantiles(times: &Times) -> String {
    match times.len() {
        0 => String::new(),
        _ => format!("p50 {}, p99 {}", short(times.quantile(0.5)), short(times.quantile(0.99))),
    }
}

fn full(times: u64) -> String {
    if times == 0 { "the ring was never full".to_owned() } else { format!("the ring was full {times} times") }
}

fn story(out: &mut impl Write, run: &Run) -> io::Result<()> {
    writeln!(
        out,
        "\nTimes are per publish. One that finds readers asleep wakes them, a system call; in a burst hardly any are."
    )?;
    writeln!(out, "Dead letters, before they were repaired:")?;
    for letter in &run.letters {
        let order = Order::parse(&letter.bytes);
        let number = order.map_or("?".to_owned(), |order| grouped(order.number));
        let note = if letter.note.is_empty() { String::new() } else { format!(": {}", letter.note) };
        let attempts = if letter.attempts == 1 { "attempt" } else { "attempts" };
        writeln!(out, "  order {number:>9}, {} {attempts}, {}{note}", letter.attempts, letter.reason)?;
    }
    match run.death {
        Some(position) => writeln!(
            out,
            "A worker was killed with SIGKILL at position {}; another got the order.",
            grouped(position)
        )?,
        None => writeln!(out, "No worker could be caught at work to be killed.")?,
    }
    match run.sleep {
        Some(sleep) => writeln!(
            out,
            "Another hung for {:.1?} at position {}; its lease ran out, another worker did the work{}.",
            sleep.slept,
            grouped(sleep.position),
            if sleep.refused { ", and its own ack was refused" } else { "" }
        )?,
        None => writeln!(out, "No worker could be caught at work to be stopped.")?,
    }
    match run.restarts {
        0 | 1 => Ok(()),
        n => writeln!(out, "{n} processes were killed, and started again."),
    }
}

fn findings(total: u64, seed: u64, books: &[Account], place: &Place) -> Result<Findings, Failure> {
    let mut found = Findings::default();
    let mut accounts: Vec<Option<&Account>> = vec![None; usize::try_from(total)? + 1];
    for account in books {
        let slot = usize::try_from(account.number).ok().and_then(|number| accounts.get_mut(number));
        *slot.ok_or_else(|| format!("an SMS for order {}, which there is not", account.number))? =
            Some(account);
    }
    let ledger = File::open(file_of(place, POINTS))?;
    let mut lines = String::new();
    for (number, account) in (1..=total).zip(&accounts[1..]) {
        let account = account.copied().unwrap_or_default();
        match account.sent {
            0 => found.sms_never += 1,
            1 => found.sms_once += 1,
            _ => found.sms_doubled += 1,
        }
        found.calls += account.calls;
        found.repeated += account.repeated;
        found.unanswered += account.unanswered;
        let order = Order::new(number, total, seed);
        let (points, times) = booking(&ledger, (number - 1) * BOOKING)?;
        if (points, times) == (order.points(), 1) {
            found.booked_once += 1;
        } else {
            found.booked_wrongly += 1;
        }
        found.points += u64::from(points) * u64::from(times);
        lines.push_str(&audit_line(&order));
    }
    // Nothing may be booked for positions of redriven messages.
    found.booked_wrongly += u64::from(ledger.metadata()?.len() > total * BOOKING);
    let audit = std::fs::read(file_of(place, AUDIT))?;
    found.audit_lines = audit.iter().filter(|&&byte| byte == b'\n').count() as u64;
    found.audit_is_right = audit == lines.as_bytes();
    Ok(found)
}

/// The faults.
fn objections(total: u64, run: &Run, found: &Findings) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |right: bool, what: String| {
        if !right {
            wrong.push(what);
        }
    };
    check(found.sms_never == 0, format!("{} orders never got their SMS", found.sms_never));
    check(found.sms_doubled == 0, format!("{} orders got more than one SMS", found.sms_doubled));
    check(found.sms_once == total, format!("{} of {total} orders got one SMS", found.sms_once));
    check(found.booked_wrongly == 0, format!("{} bookings of points are wrong", found.booked_wrongly));
    check(found.audit_is_right, "the audit file is not what was recorded".to_owned());
    check(run.letters_left == 0, format!("{} dead letters are left", run.letters_left));
    check(
        run.redriven == run.sms.dead_lettered,
        format!("{} dead letters, {} redriven", run.sms.dead_lettered, run.redriven),
    );
    for group in [&run.sms, &run.points] {
        check(group.dropped == 0, format!("group {} dropped {} messages", group.name, group.dropped));
    }
    wrong
}
