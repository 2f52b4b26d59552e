//! The output: a line now and then, and the table at the end.

use crate::board::Entry;
use crate::cast::ROLES;
use crate::director::Director;
use std::io::{IsTerminal, Write};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

const ON_A_TERMINAL: Duration = Duration::from_secs(1);
const IN_A_FILE: Duration = Duration::from_secs(30);

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

impl Director<'_> {
    fn sum(&self, entry: Entry, wanted: impl Fn(&crate::player::Player) -> bool) -> u64 {
        let seats = self.players.iter().filter(|player| wanted(player));
        seats.map(|player| self.board.seat(player.seat, entry).load(SeqCst)).sum()
    }

    fn published(&self) -> [u64; 2] {
        [&self.broadcast, &self.groups].map(|ring| ring.head() - ring.first_position())
    }

    fn kills(&self) -> u64 {
        self.players.iter().map(|player| player.kills).sum()
    }
}

/// A line now and then: on a terminal always the same one.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    next: Duration,
}

impl Progress {
    pub(crate) fn show(&mut self, director: &Director<'_>, played: Duration) {
        let terminal = std::io::stderr().is_terminal();
        if played < self.next {
            return;
        }
        self.next = played + if terminal { ON_A_TERMINAL } else { IN_A_FILE };
        let [broadcast, groups] = director.published().map(grouped);
        let line = format!(
            "{} of {}: {broadcast} broadcast, {groups} to groups, {} kills, {} stops",
            clock(played),
            clock(director.options.duration()),
            director.kills(),
            director.players.iter().map(|player| player.stops).sum::<u64>(),
        );
        let (before, after) = if terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        let _ = write!(std::io::stderr(), "{before}{line}{after}");
    }
}

/// The table. True if nothing was found.
pub(crate) fn table(director: &Director<'_>, seed: u64, played: Duration) -> bool {
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    let [broadcast, groups] = director.published();
    let rate = u128::from(broadcast) * 1000 / played.as_millis().max(1);
    let rate = u64::try_from(rate).unwrap_or(u64::MAX);
    println!("soak of {} with seed {seed}", clock(played));
    println!();
    println!("{:<24} {:>7} {:>7} {:>7} {:>18}", "role", "kills", "stops", "joins", "messages");
    for role in ROLES {
        let of = |player: &crate::player::Player| player.role == role;
        let players = || director.players.iter().filter(|player| of(player));
        println!(
            "{:<24} {:>7} {:>7} {:>7} {:>18}",
            role.name(),
            grouped(players().map(|player| player.kills).sum()),
            grouped(players().map(|player| player.stops).sum()),
            grouped(director.sum(Entry::Joins, of)),
            grouped(director.sum(Entry::Messages, of) + director.sum(Entry::DeadLetters, of)),
        );
    }
    let all = |entry| grouped(director.sum(entry, |_| true));
    println!();
    println!("{:<42} {:>18}", "messages broadcast", grouped(broadcast));
    println!("{:<42} {:>18}", "  per second", grouped(rate));
    println!("{:<42} {:>18}", "messages to the two groups", grouped(groups));
    println!("{:<42} {:>18}", "redeliveries", all(Entry::Redelivered));
    println!("{:<42} {:>18}", "leases lost to others", all(Entry::LeasesLost));
    println!("{:<42} {:>18}", "handed back, failed or rejected", all(Entry::Handed));
    println!("{:<42} {:>18}", "dead letters", all(Entry::DeadLetters));
    let along = director.fates.iter().map(|fates| fates.taken_along).sum();
    println!("{:<42} {:>18}", "killed between ack and counting it", grouped(along));
    println!("{:<42} {:>18}", "redriven", all(Entry::Redriven));
    println!("{:<42} {:>18}", "dead-letter rings moved away", all(Entry::Shelved));
    println!("{:<42} {:>18}", "changes of a group's settings", all(Entry::Changes));
    println!("{:<42} {:>18}", "workers with a shifted clock", all(Entry::Shifted));
    println!("{:<42} {:>18}", "files that another user could not open", all(Entry::Refused));
    for (deed, times) in director.files.deeds() {
        println!("{:<42} {:>18}", format!("files {deed}"), grouped(times));
    }
    println!("{:<42} {:>18}", "times that a user was told of it", all(Entry::Ends));
    println!("{:<42} {:>18}", "evictions", all(Entry::Evictions));
    println!("{:<42} {:>18}", "told to evicted and observers as missed", all(Entry::Missed));
    println!();
    for finding in ["lost", "corrupt", "doubled", "stuck", "failed"] {
        let count = director.findings.get(finding).copied().unwrap_or(0);
        println!("{finding:<42} {count:>18}");
    }
    println!();
    let sound = director.findings.is_empty();
    println!("{}", if sound { "sound" } else { "NOT SOUND" });
    sound
}
