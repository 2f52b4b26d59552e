#!/usr/bin/env bash
# Finding: the `flush` of two write-ahead log crates returns Ok, and no log entry was asked onto the disk.
#
# Version: simple_wal 0.3.0, commitlog 0.2.0 (crates.io), Rust 1.95. Needs no root, but ptrace.
# Source: https://docs.rs/simple_wal/0.3.0, "Flush writes to disk"; https://docs.rs/commitlog/0.2.0, "Forces a
#   flush of the log". Both call `Write::flush` of a `std::fs::File`, which has no buffer.
# Behaviour: a thousand entries, then `flush()`. Under strace, simple_wal makes no call of fsync, fdatasync,
#   msync, sync_file_range or syncfs at all, and commitlog one msync of a page of its *index*. Neither
#   opens its log with O_SYNC or O_DSYNC. The entries are as safe as any write: over the death of the
#   process, not over a power cut.
# Seen:
#   sync_data of a file, as a check of this script: fdatasync
#   simple_wal: no call
#   commitlog: msync
# For users: a ring keeps as much as these two do after `flush`: what was published outlives every process, and
#   no power cut. Count a log's calls under strace before it is named durable.
. "$(dirname "$0")/common"
tool strace strace
crate 'simple_wal = "=0.3.0"' 'commitlog = "=0.2.0"' <<'R'
use std::path::Path;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (name, folder) = (arguments.next().unwrap(), arguments.next().unwrap());
    let path = Path::new(&folder).join(&name);
    if name == "simple_wal" {
        let mut log = simple_wal::LogFile::open(path).unwrap();
        for number in 0..1000u32 {
            log.write(&mut number.to_le_bytes().to_vec()).unwrap();
        }
        log.flush().unwrap();
    } else if name == "file" {
        std::fs::File::create(path).unwrap().sync_data().unwrap();
    } else {
        let mut log = commitlog::CommitLog::new(commitlog::LogOptions::new(path)).unwrap();
        for number in 0..1000u32 {
            log.append_msg(number.to_le_bytes()).unwrap();
        }
        log.flush().unwrap();
    }
}
R
synced() {
    strace -f -qq -o "$work/calls" -e trace=fsync,fdatasync,msync,sync_file_range,sync,syncfs,openat \
        "$program" "$1" "$work" || not_tried 'strace may not trace here'
    grep -q 'O_D\?SYNC' "$work/calls" && echo 'O_SYNC'
    sed -n '/openat(/d; s/^[0-9]* *\([a-z_]*\)(.*/\1/p' "$work/calls" | sort -u | tr '\n' ' ' | sed 's/ $//'
}
seen=$(synced file)
expect 'sync_data of a file, as a check of this script' fdatasync "$seen"
seen=$(synced simple_wal)
expect simple_wal 'no call' "${seen:-no call}"
seen=$(synced commitlog)
expect commitlog msync "$seen"
outcome
