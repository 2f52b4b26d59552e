#!/usr/bin/env bash
# Finding: a batch of 205 entries fails in nano-wal, 204 of them stay in the file, and each later entry is read back
# as another one.
#
# Version: nano-wal 1.0.0 (crates.io), Rust 1.95, Linux. Needs no root.
# Source: https://docs.rs/nano-wal/1.0.0; writev(2): at most IOV_MAX (1024) pieces; `append_batch` makes five pieces of
#   an entry and calls `write_vectored` once.
# Behaviour: `append_batch` of 204 small entries works. One of 205 returns an I/O error ("short batch writev") after
#   all but its last bytes were written, and the log does not count them. The next `append`, durable, returns
#   Ok with a place that is too low by as much: `read_at` of that place returns an entry of the failed
#   batch, without an error.
# Seen:
#   204 entries: Ok, the entry after them reads "after"
#   205 entries: error, the entry after them reads "m0"
# For users: split batches below 204 entries, and after an error open the log anew. A batch of a ring is
#   published whole or not at all, up to the ring's capacity.
. "$(dirname "$0")/common"
crate 'nano-wal = "=1.0.0"' <<'R'
use nano_wal::{Wal, WalOptions, WriteEntry};
use std::time::Duration;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().unwrap().parse().unwrap();
    let folder = arguments.next().unwrap();
    let hour = Duration::from_secs(3600);
    let options = WalOptions { retention: hour, segment_duration: hour };
    let log = Wal::new(folder.as_ref(), "log", options).unwrap();
    let texts: Vec<String> = (0..count).map(|number| format!("m{number}")).collect();
    let entries: Vec<WriteEntry<'_>> =
        texts.iter().map(|text| WriteEntry { header: None, content: text.as_bytes() }).collect();
    let now = 1_000_000_000;
    let batch = if log.append_batch(&entries, now, true).is_ok() { "Ok" } else { "error" };
    let place = log.append(None, b"after", now, true).unwrap();
    let segment = log.ensure_segment(now).unwrap();
    let record = log.read_at(&segment, place.file_offset, place.byte_size).unwrap();
    println!("{batch}, the entry after them reads {:?}", String::from_utf8_lossy(&record.content));
}
R
expect '204 entries' 'Ok, the entry after them reads "after"' "$("$program" 204 "$work/204")"
expect '205 entries' 'error, the entry after them reads "m0"' "$("$program" 205 "$work/205")"
outcome
