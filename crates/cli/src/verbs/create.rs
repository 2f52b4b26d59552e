//! `create`: makes a ring.

use crate::exit::{Failure, Outcome};
use crate::facts::policy_name;
use crate::parse::{self, GroupSpec, SETTINGS_HELP};
use crate::{output, pages};
use clap::ValueEnum;
use slipring::{AtPath, CreateError, DeadLetterPolicy, Ring, RingOptions, Storage};
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  slipring create /dev/shm/news --block-size 112 --capacity 64Ki
  slipring create /dev/shm/audit --block-size 1Ki --capacity 4096 --durable archive --mode 660
  slipring create /dev/shm/orders --block-size 240 --capacity 8192 \\
      --group sms:ack-wait=30s,max-deliver=5,backoff=100ms..10s --group points

A message of up to 48 bytes shares a cache line with its header: such messages are the fastest. A block of up to 112 bytes \
takes its size twice, for messages sent one by one and for those of batches, a longer one once; and 16 bytes for the header.";

/// Makes a ring: complete, with its space reserved, or not at all
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("{SETTINGS_HELP}\n\n{EXAMPLES}"))]
pub(crate) struct Create {
    /// The path; /dev/shm is the fastest place. An existing file stays untouched
    path: PathBuf,
    /// Longest message in bytes
    #[arg(short, long, value_name = "BYTES", value_parser = parse::size)]
    block_size: usize,
    /// How many messages the ring holds; rounded up to a power of two
    #[arg(short, long, value_name = "BLOCKS", value_parser = parse::size)]
    capacity: usize,
    /// How many consumers may be attached at once
    #[arg(long, value_name = "N", default_value_t = 64)]
    consumers: u32,
    /// Keeps all messages for the consumer of this name, also before it first attaches and while it
    /// is away; repeatable
    #[arg(long, value_name = "NAME")]
    durable: Vec<String>,
    /// Removes a durable consumer that is away for so long and holds the ring full
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    durable_inactive: Option<Duration>,
    /// A group of workers, NAME or NAME:SETTING=VALUE,…; repeatable. See the end of this help
    #[arg(short, long = "group", value_name = "GROUP")]
    group: Vec<GroupSpec>,
    /// Room for so many groups, those given with --group included [default: three more than are
    /// given, none if none is]
    #[arg(long, value_name = "N")]
    groups: Option<u32>,
    /// How many workers may be attached at once, over all groups
    #[arg(long, value_name = "N", default_value_t = 64)]
    workers: u32,
    /// Blocks of the dead-letter ring of a ring with groups [default: the capacity, at most 1024]
    #[arg(long, value_name = "BLOCKS", value_parser = parse::size)]
    dead_letter_capacity: Option<usize>,
    /// When the dead-letter ring is full
    #[arg(long, value_name = "POLICY", default_value = "block")]
    dead_letter_policy: Policy,
    /// Permission bits: producers, consumers and workers need to write, observers to read; other
    /// users than the owner and root say --trust-owner besides. A ring that more users may read
    /// than write (644) has its locks in a second file, PATH.locks, which moves with it
    #[arg(long, value_name = "OCTAL", default_value = "600", value_parser = parse::mode)]
    mode: u32,
    /// Position of the first message, for a ring that continues another's numbering
    #[arg(long, value_name = "N", default_value_t = 0)]
    first_position: u64,
    /// Moves the ring into huge pages, and says so if the kernel does not: for rings of many MiB in
    /// /dev/shm
    #[arg(long)]
    huge_pages: bool,
    /// Accepts an existing ring, whatever its geometry
    #[arg(long)]
    if_absent: bool,
    /// Prints the new ring as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Policy {
    /// The message stays in the ring until there is room: no message is lost
    Block,
    /// The message is dropped and counted
    Drop,
}

pub(crate) fn run(args: &Create) -> Outcome {
    let policy = match args.dead_letter_policy {
        Policy::Block => DeadLetterPolicy::Block,
        Policy::Drop => DeadLetterPolicy::DropAndCount,
    };
    let mut options = RingOptions::new(args.block_size, args.capacity)
        .consumers(args.consumers)
        .workers(args.workers)
        .dead_letter_policy(policy)
        .mode(args.mode)
        .first_position(args.first_position);
    if let Some(groups) = args.groups {
        options = options.groups(groups);
    }
    for name in &args.durable {
        options = options.durable(name);
    }
    for (n, GroupSpec { name, settings }) in args.group.iter().enumerate() {
        if args.group[..n].iter().any(|other| other.name == *name) {
            return Err(Failure::usage(format!("--group {name:?} is given twice")));
        }
        options = options.group(name, *settings);
    }
    if let Some(limit) = args.durable_inactive {
        options = options.durable_inactive_threshold(limit);
    }
    if let Some(blocks) = args.dead_letter_capacity {
        options = options.dead_letter_capacity(blocks);
    }
    let available = memory_available(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default());
    let ring = match options.create(&args.path) {
        Err(AtPath { path, error: CreateError::AlreadyExists, .. }) if path != args.path => {
            return Err(Failure::error(format!(
                "{}: already exists, and the dead letters of a ring with groups belong there; choose another path, or \
                 remove it first",
                path.display()
            )));
        }
        Err(AtPath { error: CreateError::AlreadyExists, .. }) if args.if_absent => Ring::open(&args.path)?,
        other => other?,
    };
    let storage = storage(&ring);
    let is = |condition: fn(&Storage) -> bool| storage.as_ref().is_some_and(condition);
    if let Some(warning) = takes_much(ring.file_len(), available).filter(|_| is(|it| it.is_memory)) {
        output::note(&format!("{}: {warning}", ring.path().display()));
    }
    if is(|it| it.is_overlay) {
        output::note(&format!(
            "{}: lies on an overlay filesystem: every process must open it through this mount, since the file's path in the \
             directory below shares no locks with this one; /dev/shm or a volume has no second path",
            ring.path().display()
        ));
    }
    if args.huge_pages {
        let huge = pages::make_huge(&ring)?;
        if huge == 0 {
            output::note(&format!(
                "{}: the kernel gave no huge pages, the ring works without them. It gives them to files in a tmpfs such as \
                 /dev/shm, 2 MiB at a time; see what `slipring doctor` says of huge pages",
                ring.path().display()
            ));
        } else {
            output::note(&format!("{} of the ring are in huge pages", output::bytes(huge)));
        }
    }
    if args.json {
        return output::print_json(&crate::facts::Facts::of(ring).json());
    }
    let dead = match ring.dead_letter_capacity().zip(ring.dead_letter_policy()) {
        Some((blocks, policy)) => format!(", dead letters {blocks} ({})", policy_name(policy)),
        None => String::new(),
    };
    output::print(&format!(
        "{}: {} of {}, {}{dead}\n",
        ring.path().display(),
        output::count(ring.capacity(), "block"),
        output::count(ring.block_size() as u64, "byte"),
        output::bytes(ring.file_len()),
    ))
}

/// Bytes of memory that the machine can still give, from `proc_meminfo(5)`.
fn memory_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok()?.checked_mul(1024)
}

/// A warning if a ring in memory takes more than half of what was available.
fn takes_much(len: u64, available: Option<u64>) -> Option<String> {
    let available = available.filter(|available| len > available / 2)?;
    Some(format!(
        "takes {} of the {} of memory that this machine had available, until it is removed; beyond them the kernel \
         swaps, or kills processes",
        output::bytes(len),
        output::bytes(available)
    ))
}

fn storage(ring: &Ring) -> Option<Storage> {
    Storage::of(ring.path().parent().unwrap_or(Path::new("/"))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_that_takes_most_of_the_memory_is_worth_a_word() {
        let available =
            memory_available("MemTotal:       100 kB\nMemAvailable:        8 kB\nBuffers: 1 kB\n");
        assert_eq!(available, Some(8192));
        assert_eq!(takes_much(4096, available), None);
        assert!(takes_much(4097, available).unwrap().contains("4 KiB of the 8 KiB"));
        assert_eq!((takes_much(4097, None), memory_available("")), (None, None));
    }
}
