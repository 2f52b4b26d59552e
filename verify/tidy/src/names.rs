//! Names that were replaced do not come back.

use crate::Finding;
use crate::source::File;

/// Old names, each with the new one. Whole words, as written.
pub const OLD: &[(&str, &str)] = &[
    ("Lessee", "protocol::Worker"),
    ("CopyingReader", "protocol::EvictableConsumer"),
    ("Watcher", "protocol::Observer"),
    ("Slip", "DeliverySnapshot"),
    ("Standing", "Eligibility"),
    ("Census", "WindowCounts"),
    ("census", "window_counts"),
    ("Seat", "Membership"),
    ("Grave", "a dead-letter ring"),
    ("Keeper", "Redriver"),
    ("exhume", "copy_dead_pending"),
    ("bury", "move_to_dead_letters"),
    ("buried", "dead-lettered"),
    ("burial", "the move to the dead-letter ring"),
    ("Doomed", "DeadPending"),
    ("doomed", "dead_pending"),
    ("num_doomed", "num_dead_pending"),
    ("buried_unix_ms", "dead_lettered_unix_ms"),
    ("is_news", "defer_suspect"),
    ("is_sealed", "is_batched"),
    ("SEALED", "BATCHED"),
    ("seals_until", "stale_headers_until"),
    ("scribble", "mark_dirty"),
    ("scribbled", "dirty"),
    ("leftover_until", "dirty_until"),
    ("stretching", "claiming_ahead"),
    ("add_bare", "add_headerless"),
    ("bare_run", "headerless_run"),
    ("bare_message", "headerless_message"),
    ("DESCRIBED", "HEADERS_UNTIL"),
    ("all_described", "all_have_headers"),
    ("LETTER_LEN", "DEAD_LETTER_HEADER_LEN"),
    ("KEEPER", "REDRIVE_CONSUMER"),
    ("ProducerDead", "ProducerAway"),
    ("notice_dead_producer", "notice_producer_away"),
    ("Abandoned", "ProducerDied or WorkerDied"),
    ("group_abandoned_total", "group_worker_died_total"),
    ("group_released_total", "group_handed_back_total"),
    ("SlipringConsumerAbsent", "SlipringConsumerAway"),
    ("AbsentReader", "AwayReader"),
    ("not_lost_to_producer", "not_lost"),
];

/// Finds old names in files.
#[must_use]
pub fn check(files: &[File], old: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        for (line, number) in file.text.lines().zip(1..) {
            for (name, new) in old.iter().filter(|(name, _)| has_word(line, name)) {
                findings.push(Finding::new(&file.path, number, format!("`{name}` is called `{new}` now")));
            }
        }
    }
    findings
}

/// True if the line has this word, with nothing of a name on either side.
fn has_word(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_name) && !line[at + word.len()..].starts_with(is_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_came_back_is_found_as_a_whole_word() {
        let file = File::planted("docs/a.md", "graveyard Graves\nthe `Grave` of\n");
        let found = check(&[file], &[("Grave", "DeadLetterWriter")]);
        assert_eq!(found, [Finding::new("docs/a.md", 2, "`Grave` is called `DeadLetterWriter` now")]);
    }
}
