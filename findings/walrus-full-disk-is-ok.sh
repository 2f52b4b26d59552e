#!/usr/bin/env bash
# Finding: on a full filesystem, walrus-rust returns Ok for entries that it could not write, with fsync after each.
#
# Version: walrus-rust 0.2.0 (crates.io), Rust 1.95, Linux. Needs root, for a tmpfs of 1 MiB.
# Source: https://docs.rs/walrus-rust/0.2.0, "SyncEach: fsync after every single entry"; its file backend, the default,
#   discards the result of `write_at`.
# Behaviour: 64 entries of 64 KiB with `FsyncSchedule::SyncEach` into a filesystem of 1 MiB. Each
#   `append_for_topic` returns Ok. Reading returns fewer than 16 entries and then the end, without an error.
# Seen:
#   64 entries of 64 KiB into 1 MiB: acknowledged 64, refused 0, fewer than 16 read
# For users: watch the free space of such a log, or read back. A ring has its space from its creation on,
#   and what does not fit is an error of `create`.
. "$(dirname "$0")/common"
root 'mounting a tmpfs'
mkdir "$work/full"
mount -t tmpfs -o size=1m findings "$work/full" 2>/dev/null || not_tried 'no tmpfs can be mounted here'
later "umount '$work/full'"
crate 'walrus-rust = "=0.2.0"' <<'R'
use walrus_rust::{FsyncSchedule, ReadConsistency, Walrus};

fn main() {
    let log = Walrus::with_consistency_and_schedule(ReadConsistency::StrictlyAtOnce, FsyncSchedule::SyncEach).unwrap();
    let entry = vec![7; 64 << 10];
    let acknowledged = (0..64).filter(|_| log.append_for_topic("topic", &entry).is_ok()).count();
    let mut read = 0;
    while let Ok(Some(_)) = log.read_next("topic", true) {
        read += 1;
    }
    let read = if read < 16 { "fewer than 16 read".into() } else { format!("{read} read") };
    println!("acknowledged {acknowledged}, refused {}, {read}", 64 - acknowledged);
}
R
seen=$(WALRUS_QUIET=1 WALRUS_DATA_DIR="$work/full" "$program")
expect '64 entries of 64 KiB into 1 MiB' 'acknowledged 64, refused 0, fewer than 16 read' "$seen"
outcome
