//! Tables in the documents say what the code says.

use crate::Finding;
use crate::source::File;
use std::collections::BTreeMap;

/// The document with the table of models, and the list that it must equal.
pub const MODELS: (&str, &str) = ("docs/verification.md", "loom-tests/src/models/mod.rs");

/// The document with the offsets of the format.
pub const FORMAT: &str = "docs/format.md";

/// Compares the table of models with the list in the code: names, and how many executions each
/// explores.
///
/// Several models may share a row, their numbers separated by a slash, in the same order.
#[must_use]
pub fn check_models(document: &File, code: &File) -> Vec<Finding> {
    let mut left = models(code);
    let mut findings = Vec::new();
    if left.is_empty() {
        findings.push(Finding::new(
            &code.path,
            0,
            "no models: lines with `name:` and `executions:` are expected",
        ));
    }
    let rows = document.text.lines().zip(1..).skip_while(|(line, _)| !line.starts_with("| model |")).skip(2);
    for (row, number) in rows.take_while(|(line, _)| line.starts_with('|')) {
        let mut found = |text| findings.push(Finding::new(&document.path, number, text));
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, names, .., counts, _] = cells.as_slice() else {
            found("a row of three columns is expected".to_owned());
            continue;
        };
        let names: Vec<&str> = names.split(", ").map(|name| name.trim_matches('`')).collect();
        let counts: Vec<String> = counts.split('/').map(|count| count.trim().replace(',', "")).collect();
        if names.len() != counts.len() {
            found(format!("{} models and {} numbers", names.len(), counts.len()));
        }
        for (name, count) in names.iter().zip(&counts) {
            match left.remove(*name) {
                None => found(format!("there is no model {name}, or it has a row already")),
                Some(explored) if explored != *count => {
                    found(format!("{name} explores {explored} executions, not {count}"));
                }
                Some(_) => {}
            }
        }
    }
    for name in left.keys() {
        findings.push(Finding::new(&document.path, 0, format!("the model {name} has no row")));
    }
    findings
}

/// The models of the list, each with its number of executions.
pub(crate) fn models(code: &File) -> BTreeMap<String, String> {
    let mut models = BTreeMap::new();
    let mut name = String::new();
    for line in code.lines() {
        if let Some(value) = line.code.strip_prefix("name: \"") {
            name = value.trim_end_matches("\",").to_owned();
        } else if let Some(value) = line.code.strip_prefix("executions: ") {
            models.insert(std::mem::take(&mut name), value.trim_end_matches(',').replace('_', ""));
        }
    }
    models
}

/// One offset: the heading of the table that has it, words of its row, and its value.
#[derive(Clone, Copy, Debug)]
pub struct Offset {
    /// The heading begins so.
    pub heading: &'static str,
    /// The row has these words.
    pub words: &'static str,
    /// The offset, as in the first column, or in parentheses behind the words.
    pub offset: u64,
}

/// Compares offsets with the tables of a document.
#[must_use]
pub fn check_offsets(document: &File, offsets: &[Offset]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Offset { heading, words, offset } in offsets {
        let section = document
            .text
            .split("\n#")
            .find(|section| section.trim_start_matches('#').trim_start().starts_with(heading));
        let Some(section) = section else {
            findings.push(Finding::new(&document.path, 0, format!("no section is called {heading:?}")));
            continue;
        };
        let (first, aside) = (format!("| {offset} |"), format!("{words} ({offset})"));
        let says = |row: &str| row.contains(words) && (row.starts_with(&first) || row.contains(&aside));
        if !section.lines().any(says) {
            let rows: Vec<&str> = section.lines().filter(|row| row.contains(words)).collect();
            let text = format!("{heading:?} does not have {words:?} at {offset}; it has {rows:?}");
            findings.push(Finding::new(&document.path, 0, text));
        }
    }
    findings
}

/// The offsets of the library, and those that the kit has by hand.
#[must_use]
pub fn offsets() -> Vec<Offset> {
    let of = |heading| move |(words, offset): (&'static str, u64)| Offset { heading, words, offset };
    let mut all = Vec::new();
    all.extend(header().into_iter().map(of("Header")));
    all.extend(producers_page().into_iter().map(of("Producer's page")));
    all.extend(readers_page().into_iter().map(of("Readers' page")));
    all.extend(consumer().into_iter().map(of("Consumer entry")));
    all.extend(group().into_iter().map(of("Group entry")));
    all.extend(worker().into_iter().map(of("Worker entry")));
    all
}

fn header() -> Vec<(&'static str, u64)> {
    use kit::format::header;
    use slipring_core::format::RawHeader;
    macro_rules! fields {
        ($($field:ident $words:literal),*) => {
            vec![$(($words, std::mem::offset_of!(RawHeader, $field) as u64)),*]
        };
    }
    let mut all = fields![
        magic "magic", version "version", byte_order "byte order", features_required "required features",
        features_optional "optional features", file_len "file length", producer_segment_len "producer's segment",
        readers_segment_len "readers' segment", block_size "block size", capacity "capacity",
        slot_stride "slot stride", singles_offset "first block of a single message",
        slots_offset "offset of the slots", producer_page_offset "offset of the producer's page",
        readers_offset "offset of the readers' segment", consumer_table "consumer table",
        consumers "consumer entries", consumer_entry_len "bytes of an entry", recorder "flight recorder",
        recorder_entries "records", recorder_entry_len "bytes of a record", group_table "group table",
        groups "group entries", group_entry_len "bytes of a group entry", group_words "delivery words",
        worker_table "worker table", workers "worker entries", first_position "first position",
        ring_id "ring id", boot_id "boot id", created_unix_ns "creation time",
        type_fingerprint "fingerprint", type_size "size of the type", type_align "alignment of the type",
        schema_len "length of the description", durable_inactive_ms "durable inactive threshold",
        dead_of "dead letters of", dead_capacity "dead-letter capacity", dead_policy "dead-letter policy",
        packed_offset "offset of the packed blocks", packed_stride "stride of the packed blocks",
        lock_file "lock file", schema "description of the message type", checksum "checksum"
    ];
    all.extend([
        ("version", header::VERSION),
        ("byte order", header::BYTE_ORDER),
        ("required features", header::FEATURES_REQUIRED),
        ("optional features", header::FEATURES_OPTIONAL),
        ("block size", header::BLOCK_SIZE),
        ("capacity", header::CAPACITY),
        ("slot stride", header::SLOT_STRIDE),
        ("first block of a single message", header::FIRST_BLOCK),
        ("offset of the readers' segment", header::READERS),
        ("consumer table", header::CONSUMER_TABLE),
        ("consumer entries", header::CONSUMERS),
        ("group entries", header::GROUPS),
        ("worker table", header::WORKER_TABLE),
        ("worker entries", header::WORKERS),
        ("flight recorder", header::RECORDER),
        ("group table", header::GROUP_TABLE),
        ("delivery words", header::DELIVERIES),
        ("first position", header::FIRST_POSITION),
        ("ring id", header::RING_ID),
        ("length of the description", header::SCHEMA_LEN),
        ("offset of the packed blocks", header::PACKED),
        ("stride of the packed blocks", header::PACKED_STRIDE),
        ("lock file", header::LOCK_FILE),
        ("description of the message type", header::SCHEMA),
        ("checksum", header::CHECKSUM),
    ]);
    all
}

fn producers_page() -> Vec<(&'static str, u64)> {
    use kit::format::producer;
    use slipring_core::format::producer_page as page;
    vec![
        ("`claimed`", page::CLAIMED.offset),
        ("`head`", page::HEAD.offset),
        ("`headers_until`", page::HEADERS_UNTIL.offset),
        ("`limit`", page::LIMIT.offset),
        ("`wake`", page::WAKE.offset),
        ("`closed`", page::CLOSED.offset),
        ("epoch", page::EPOCH.offset),
        ("pid", page::PID.offset),
        ("opened", page::OPENED_MS.offset),
        ("full count", page::FULL_COUNT.offset),
        ("wake count", page::WAKE_COUNT.offset),
        ("evicted count", page::EVICTED_COUNT.offset),
        ("`claimed`", producer::CLAIMED),
        ("`head`", producer::HEAD),
        ("`headers_until`", producer::HEADERS_UNTIL),
        ("`limit`", producer::LIMIT),
        ("`closed`", producer::CLOSED),
        ("epoch", producer::EPOCH),
        ("pid", producer::PID),
        ("opened", producer::OPENED),
    ]
}

fn readers_page() -> Vec<(&'static str, u64)> {
    use kit::format::readers;
    use slipring_core::format::readers_page as page;
    vec![
        ("readers asleep", page::READERS_ASLEEP.offset),
        ("producer asleep", page::PRODUCER_ASLEEP.offset),
        ("`room`", page::ROOM.offset),
        ("number of the next event", page::NEXT_EVENT.offset),
        ("used consumer entries", page::USED_CONSUMERS.offset),
        ("the same of group entries", page::USED_GROUPS.offset),
        ("the same of worker entries", page::USED_WORKERS.offset),
        ("readers asleep", readers::READERS_ASLEEP),
        ("producer asleep", readers::PRODUCER_ASLEEP),
        ("used consumer entries", readers::USED_CONSUMERS),
        ("the same of group entries", readers::USED_GROUPS),
        ("the same of worker entries", readers::USED_WORKERS),
    ]
}

fn consumer() -> Vec<(&'static str, u64)> {
    use kit::format::consumer;
    use slipring_core::format::entry;
    vec![
        ("tail", entry::TAIL),
        ("flags", entry::FLAGS),
        ("pid", entry::PID),
        ("joined", entry::JOINED_MS),
        ("detached", entry::DETACHED_MS),
        ("messages missed", entry::MISSED),
        ("name", entry::NAME),
        ("generation", entry::GENERATION),
        ("left at", entry::LEFT_AT),
        ("tail", consumer::TAIL),
        ("generation", consumer::GENERATION),
        ("left at", consumer::LEFT_AT),
        ("followers asleep", entry::FOLLOWERS_ASLEEP),
        ("progress", entry::PROGRESS),
        ("after", entry::AFTER),
        ("after", consumer::AFTER),
        ("4 generations", slipring_core::format::gating::AFTER_GENERATIONS),
        ("followers asleep", consumer::FOLLOWERS_ASLEEP),
        ("progress", consumer::PROGRESS),
        ("flags", consumer::FLAGS),
        ("pid", consumer::PID),
        ("joined", consumer::JOINED),
        ("detached", consumer::DETACHED),
        ("name", consumer::NAME),
    ]
}

fn group() -> Vec<(&'static str, u64)> {
    use slipring_core::format::group;
    vec![
        ("floor", group::FLOOR),
        ("frontier", group::FRONTIER),
        ("returned", group::RETURNED),
        ("flags", group::FLAGS),
        ("boot", group::BOOT),
        ("created", group::CREATED_MS),
        ("settings version", group::SETTINGS_VERSION),
        ("name", group::NAME),
        ("8 counters", group::COUNTS),
        ("64 sightings", group::SIGHTINGS),
        ("settings, if the version is even", group::SETTINGS),
        ("settings, if the version is odd", group::SETTINGS + slipring_core::format::group_settings::LEN),
        ("generation", group::GENERATION),
        ("left at", group::LEFT_AT),
        ("flags", kit::format::group::FLAGS),
    ]
}

fn worker() -> Vec<(&'static str, u64)> {
    use slipring_core::format::worker;
    vec![
        ("pin", worker::PIN),
        ("delivered", worker::DELIVERED),
        ("acked", worker::ACKED),
        ("failed", worker::FAILED),
        ("lost", worker::LOST),
        ("the group's number", worker::GROUP),
        ("pid", worker::PID),
        ("joined", worker::JOINED_MS),
        ("name", worker::NAME),
        ("pin", kit::format::worker::PIN),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "    Model {\n        name: \"one\",\n        executions: 1_000,\n    },\n    Model {\n        \
                        name: \"two\",\n        executions: 7,\n    },\n";

    fn found(rows: &str) -> Vec<String> {
        let table =
            format!("text\n\n| model | asks | executions |\n|---|---|---|\n{rows}\n\n| other | x |\n");
        let (document, code) = (File::planted("docs/v.md", &table), File::planted("m.rs", CODE));
        check_models(&document, &code).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_table_of_models_equals_the_list() {
        assert_eq!(found("| `one`, `two` | do they? | 1,000 / 7 |"), [""; 0]);
        assert_eq!(found("| `one` | does it? | 1,000 |"), ["docs/v.md:0: the model two has no row"]);
        let both = "| `one` | does it? | 1,001 |\n| `two`, `three` | do they? | 7 / 8 |";
        assert_eq!(
            found(both),
            [
                "docs/v.md:5: one explores 1000 executions, not 1001",
                "docs/v.md:6: there is no model three, or it has a row already",
            ]
        );
    }

    #[test]
    fn an_offset_that_moved_is_found() {
        let text = "# The format\n\n## Page: 0 to 10\n\n| offset | word |\n|---|---|\n| 8 | pid, uid (16) |\n\n## Other\n";
        let document = File::planted("f.md", text);
        let check = |heading, words, offset| check_offsets(&document, &[Offset { heading, words, offset }]);
        assert_eq!(check("Page", "pid", 8), []);
        assert_eq!(check("Page", "uid", 16), []);
        assert_eq!(check("Page", "pid", 16).len(), 1);
        assert_eq!(check("Other", "pid", 8).len(), 1);
        assert_eq!(check("Gone", "pid", 8).len(), 1);
    }
}
