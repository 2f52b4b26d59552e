//! Words that only inform people, or that parties access under a right alone. Parties do not race
//! for these words, so a model checker need not treat them as atomic.

use crate::format::gating::UPSTREAMS_MAX;
use crate::format::{GatingEntry, Geometry, Segment, Word, entry, event, group, producer_page, worker};

/// True if the word is such a word.
pub fn is_statistic(geometry: &Geometry, word: Word) -> bool {
    match word.segment {
        Segment::Producer => {
            [producer_page::PID, producer_page::OPENED_MS, producer_page::FULL_COUNT].contains(&word)
        }
        Segment::Readers => {
            let gating = geometry.consumer_entries().map(|n| geometry.consumer_entry(n));
            let is_after = |entry: GatingEntry| {
                let generations = (0..UPSTREAMS_MAX).map(|nth| entry.after_generation(nth));
                word == entry.after() || generations.into_iter().any(|generation| word == generation)
            };
            gating.chain(geometry.group_entries().map(|n| geometry.group_entry(n))).any(is_after)
                || geometry.consumer_entries().any(|n| {
                    let at = |at| geometry.entry_word(n, at).offset;
                    (at(entry::PID)..at(0) + entry::LEN).contains(&word.offset)
                })
                || geometry.worker_entries().any(|n| {
                    let at = |at| geometry.worker_word(n, at).offset;
                    (at(worker::DELIVERED)..at(worker::GROUP)).contains(&word.offset)
                        || (at(worker::PID)..at(0) + worker::LEN).contains(&word.offset)
                })
                || geometry.group_entries().any(|n| {
                    let at = |at| geometry.group_word(n, at).offset;
                    (at(group::BOOT)..at(0) + group::LEN).contains(&word.offset)
                })
                || (0..geometry.recorder_entries()).any(|n| {
                    let start = geometry.event_word(n, 0).offset;
                    (start..start + event::LEN).contains(&word.offset)
                })
        }
    }
}
