//! The facts about a ring that several verbs print.

use crate::exit::Failure;
use crate::output;
use crate::parse::Origin;
use rustix::fs::OFlags;
use serde_json::{Value, json};
use slipring::{
    Backoff, ConsumerInfo, DeadLetterPolicy, GroupInfo, GroupSettings, PendingMessage, PendingState, Ring,
    Start,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirEntry, File};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// The lowest position that gates the producer, and the reader that holds it.
pub(crate) struct Gate {
    pub(crate) position: u64,
    pub(crate) who: String,
    /// The reader is a group that has given up the message at this position.
    pub(crate) waits_for_dead_letters: bool,
}

/// The contents of a ring's dead-letter ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadLetterRing {
    pub(crate) count: u64,
    pub(crate) capacity: u64,
}

/// Everything that is looked at in one go.
pub(crate) struct Facts {
    pub(crate) ring: Ring,
    pub(crate) head: u64,
    pub(crate) consumers: Vec<ConsumerInfo>,
    pub(crate) groups: Vec<GroupInfo>,
}

impl Facts {
    pub(crate) fn of(ring: Ring) -> Facts {
        let (consumers, groups) = (ring.consumers(), ring.groups());
        // The head is read last: no reader is ahead of it.
        Facts { head: ring.head(), ring, consumers, groups }
    }

    pub(crate) fn open(path: &Path) -> Result<Facts, Failure> {
        Ok(Facts::of(Ring::open(path)?))
    }

    /// The reader that gates the producer; none if the producer may overwrite every message.
    pub(crate) fn gate(&self) -> Option<Gate> {
        let consumers = self.consumers.iter().filter(|consumer| consumer.alive || consumer.durable);
        let tails = consumers.filter_map(|consumer| {
            let state = if consumer.alive { format!("process {}", consumer.pid) } else { "away".to_owned() };
            let who = format!("{}, {state}", consumer_name(&consumer.name));
            consumer.tail.map(|position| Gate { position, who, waits_for_dead_letters: false })
        });
        let floors = self.groups.iter().map(|group| {
            let waits_for_dead_letters = self.waits_at_floor(group);
            let what = match (waits_for_dead_letters, group.workers.iter().any(|worker| worker.alive)) {
                (false, _) => "",
                (true, true) => ", which waits for the dead-letter ring",
                (true, false) => ", which waits for the dead-letter ring and has no workers",
            };
            let who = format!("group {:?}{what}", group.name);
            Gate { position: group.ack_floor, who, waits_for_dead_letters }
        });
        tails.chain(floors).min_by_key(|gate| gate.position)
    }

    /// True if the lowest unsettled message of the group was given up.
    fn waits_at_floor(&self, group: &GroupInfo) -> bool {
        let given_up = |message: &PendingMessage| message.state == PendingState::DeadPending;
        group.num_dead_pending > 0
            && self.ring.pending(&group.name).is_ok_and(|pending| pending.first().is_some_and(given_up))
    }

    /// Blocks that the producer may not overwrite.
    pub(crate) fn used(&self) -> u64 {
        let held = self.gate().map_or(0, |gate| self.head.saturating_sub(gate.position));
        held.min(self.ring.capacity())
    }

    /// The living producer, consumers and workers, which would lose the ring if its file were
    /// removed.
    pub(crate) fn attached(&self) -> Vec<String> {
        let producer = self.ring.producer_info().filter(|producer| producer.alive);
        let producer = producer.map(|producer| format!("producer (process {})", producer.pid));
        let consumers = self.consumers.iter().filter(|consumer| consumer.alive);
        let consumers = consumers.map(|c| format!("{} (process {})", consumer_name(&c.name), c.pid));
        let workers = self.groups.iter().flat_map(|group| {
            let living = group.workers.iter().filter(|worker| worker.alive);
            living.map(|worker| format!("worker of {:?} (process {})", group.name, worker.pid))
        });
        producer.into_iter().chain(consumers).chain(workers).collect()
    }

    /// The dead letters of a ring with groups, counted without reading them. None if they cannot be
    /// looked at.
    pub(crate) fn dead(&self) -> Option<DeadLetterRing> {
        self.ring.dead_letter_capacity()?;
        let dead = Facts::open(&dead_path(self.ring.path())).ok()?;
        let is_ours = dead.ring.dead_letters_of() == Some(self.ring.id());
        is_ours.then(|| DeadLetterRing { count: dead.used(), capacity: dead.ring.capacity() })
    }

    /// How many messages wait for the dead-letter ring, and why the last one that was tried did.
    /// None if none waits.
    pub(crate) fn dead_letters_wait(&self) -> Option<(u64, String)> {
        self.ring.dead_letters_wait()
    }
    /// The group of this name, or an error that names those that are there.
    pub(crate) fn group(&self, name: &str) -> Result<&GroupInfo, Failure> {
        self.groups.iter().find(|group| group.name == name).ok_or_else(|| no_such_group(&self.ring, name))
    }

    pub(crate) fn json(&self) -> Value {
        let ring = &self.ring;
        let producer = ring.producer_info();
        let dead = |path: PathBuf| path.exists().then(|| path.display().to_string());
        json!({
            "path": ring.path().display().to_string(),
            "id": ring.id().to_string(),
            "block_size": ring.block_size(),
            "capacity": ring.capacity(),
            "file_bytes": ring.file_len(),
            "created": humantime::format_rfc3339_millis(ring.created()).to_string(),
            "schema": ring.schema(),
            "first_position": ring.first_position(),
            "head": self.head,
            "used": self.used(),
            "held_by": self.gate().map(|gate| gate.who),
            "consumer_entries": ring.consumer_entries(),
            "group_entries": ring.group_entries(),
            "worker_entries": ring.worker_entries(),
            "durable_inactive_ms": ring.durable_inactive_threshold().map(|limit| limit.as_millis()),
            "ancestors": ring.ancestors().iter().map(|lost| json!({
                "ring": lost.ring.to_string(),
                "watermark": lost.watermark,
            })).collect::<Vec<_>>(),
            "dead_letters_of": ring.dead_letters_of().map(|id| id.to_string()),
            "dead_letter_ring": dead(dead_path(ring.path())),
            "dead_letter_capacity": ring.dead_letter_capacity(),
            "dead_letter_policy": ring.dead_letter_policy().map(policy_name),
            "dead_letters_wait": self.dead_letters_wait().map(|(waiting, why)| json!({ "count": waiting, "why": why })),
            "producer": producer.map(|producer| json!({
                "pid": producer.pid,
                "alive": producer.alive,
                "opened": output::time(producer.opened_unix_ms),
                "epoch": producer.epoch,
                "closed": producer.closed,
                "full_count": producer.full_count,
                "wake_count": producer.wake_count,
                "evicted_count": producer.evicted_count,
            })),
            "consumers": self.consumers.iter().map(consumer_json).collect::<Vec<_>>(),
            "groups": self.groups.iter().map(group_json).collect::<Vec<_>>(),
            "events": ring.events().iter().map(crate::verbs::events::json_of).collect::<Vec<_>>(),
        })
    }
}

/// `consumer "audit"`, or `anonymous consumer`.
fn consumer_name(name: &str) -> String {
    if name.is_empty() { "anonymous consumer".to_owned() } else { format!("consumer {name:?}") }
}

pub(crate) fn no_such_group(ring: &Ring, name: &str) -> Failure {
    let path = ring.path().display();
    let names: Vec<String> = ring.groups().into_iter().map(|group| group.name).collect();
    Failure::error(match (ring.group_entries(), names.is_empty()) {
        (0, _) => format!(
            "{path}: has no room for groups, which a ring gets when it is created: slipring create PATH --group {name}"
        ),
        (_, true) => format!("{path}: has no group yet; slipring group add {path} {name}"),
        (entries, _) if names.len() as u64 >= entries => format!(
            "{path}: no group is named {name:?}, and {} have all {entries} places: work for one of them, remove one \
             (slipring group rm {path} NAME), or create a ring with more --groups",
            names.join(", ")
        ),
        (..) => format!(
            "{path}: no group is named {name:?}; there is {}; make it with: slipring group add {path} {name}",
            names.join(", ")
        ),
    })
}

pub(crate) fn consumer_json(consumer: &ConsumerInfo) -> Value {
    json!({
        "name": consumer.name,
        "pid": consumer.pid,
        "alive": consumer.alive,
        "durable": consumer.durable,
        "evictable": consumer.evictable,
        "tail": consumer.tail,
        "lag": consumer.lag,
        "missed": consumer.missed,
        "joined": output::time(consumer.joined_unix_ms),
    })
}

pub(crate) fn group_json(group: &GroupInfo) -> Value {
    json!({
        "name": group.name,
        "settings": settings_json(&group.settings),
        "ack_floor": group.ack_floor,
        "pending": group.num_pending,
        "ack_pending": group.num_ack_pending,
        "at_limit": group.is_at_limit(),
        "redelivered_pending": group.num_redelivered,
        "dead_pending": group.num_dead_pending,
        "oldest_pending_ms": group.oldest_pending.map(|age| age.as_millis()),
        "expired": group.expired,
        "failed": group.failed,
        "worker_died": group.worker_died,
        "handed_back": group.handed_back,
        "rejected": group.rejected,
        "dead_lettered": group.dead_lettered,
        "dropped": group.dropped,
        "lost": group.lost,
        "created": output::time(group.created_unix_ms),
        "workers": group.workers.iter().map(|worker| json!({
            "name": worker.name,
            "pid": worker.pid,
            "alive": worker.alive,
            "reading": worker.reading,
            "delivered": worker.delivered,
            "acked": worker.acked,
            "failed": worker.failed,
            "lost": worker.lost,
            "joined": output::time(worker.joined_unix_ms),
        })).collect::<Vec<_>>(),
    })
}

pub(crate) fn settings_json(settings: &GroupSettings) -> Value {
    let backoff = match settings.backoff {
        Backoff::None => Value::Null,
        Backoff::Steps(steps) => json!({ "steps_ms": steps.as_slice() }),
        Backoff::Exponential { first_ms, longest_ms, jitter_percent } => {
            json!({ "first_ms": first_ms, "longest_ms": longest_ms, "jitter_percent": jitter_percent })
        }
    };
    json!({
        "ack_wait_ms": settings.ack_wait_ms,
        "max_deliver": settings.attempts_max(),
        "max_ack_pending": settings.max_ack_pending,
        "backoff": backoff,
    })
}

/// Settings as `create --group` takes them.
pub(crate) fn settings_text(settings: &GroupSettings) -> String {
    // `1m 30s` in one word.
    let time = |duration| humantime::format_duration(duration).to_string().replace(' ', "");
    let ms = |ms: u32| time(Duration::from_millis(ms.into()));
    let attempts = settings.attempts_max().map_or("unlimited".to_owned(), |attempts| attempts.to_string());
    let backoff = match settings.backoff {
        Backoff::None => "none".to_owned(),
        Backoff::Steps(steps) => steps.as_slice().iter().map(|step| ms(*step)).collect::<Vec<_>>().join("/"),
        Backoff::Exponential { first_ms, longest_ms, jitter_percent } => {
            format!("{}..{},jitter={jitter_percent}", ms(first_ms), ms(longest_ms))
        }
    };
    format!(
        "ack-wait={},max-deliver={attempts},max-ack-pending={},backoff={backoff}",
        time(Duration::from_millis(settings.ack_wait_ms.into())),
        settings.max_ack_pending
    )
}

pub(crate) fn policy_name(policy: DeadLetterPolicy) -> &'static str {
    match policy {
        DeadLetterPolicy::Block => "block",
        DeadLetterPolicy::DropAndCount => "drop",
    }
}

/// Where a ring's dead letters go.
pub(crate) fn dead_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".dead");
    PathBuf::from(name)
}

/// The users that `/etc/passwd` knows.
fn users() -> &'static BTreeMap<u32, String> {
    static NAMES: OnceLock<BTreeMap<u32, String>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let entry = |line: &str| {
            let mut fields = line.split(':');
            let (name, uid) = (fields.next()?, fields.nth(1)?);
            Some((uid.parse().ok()?, name.to_owned()))
        };
        text.lines().filter_map(entry).collect()
    })
}

/// A user by name, if `/etc/passwd` knows it.
pub(crate) fn user_name(uid: u32) -> String {
    users().get(&uid).cloned().unwrap_or_else(|| uid.to_string())
}

/// The number of the user of this name.
pub(crate) fn user_number(name: &str) -> Option<u32> {
    users().iter().find(|(_, known)| *known == name).map(|(uid, _)| *uid)
}

/// `rw-rw----`.
pub(crate) fn mode_text(mode: u32) -> String {
    let bits = [
        (0o400, 'r'),
        (0o200, 'w'),
        (0o100, 'x'),
        (0o40, 'r'),
        (0o20, 'w'),
        (0o10, 'x'),
        (4, 'r'),
        (2, 'w'),
        (1, 'x'),
    ];
    bits.into_iter().map(|(bit, letter)| if mode & bit != 0 { letter } else { '-' }).collect()
}

/// The rings in a directory, by name, without other files and files that cannot be read.
pub(crate) fn rings_in(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(dir).map_err(|error| {
        let advice = match error.kind() {
            ErrorKind::NotADirectory => format!("; of one ring, say: slipring stat {}", dir.display()),
            _ => String::new(),
        };
        Failure::error(format!("{}: cannot be listed: {error}{advice}", dir.display()))
    })?;
    // Opening a FIFO would block.
    let is_file = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_file());
    let files = entries.filter_map(Result::ok).filter(is_file).map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = files.filter(|path| looks_like_a_ring(path)).collect();
    paths.sort();
    Ok(paths)
}

/// Rings without those that hold the dead letters of another one of them: they belong to its row.
/// A dead-letter ring without its ring stays.
pub(crate) fn without_dead_letter_rings(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let of: BTreeSet<PathBuf> = paths.iter().map(|path| dead_path(path)).collect();
    let belongs = |path: &Path| {
        let id = Ring::open(path).ok().and_then(|ring| ring.dead_letters_of());
        let owner = Ring::open(path.with_extension("")).ok().map(|ring| ring.id());
        id.is_some() && id == owner
    };
    paths.retain(|path| !of.contains(path) || !belongs(path));
    paths
}

fn looks_like_a_ring(path: &Path) -> bool {
    begins_with(path, b"SLIPRING")
}

/// The lock files in a directory whose ring is not there.
pub(crate) fn leftover_lock_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_leftover = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "locks")
            && !path.with_extension("").exists()
            && begins_with(path, b"SLIPLOCK")
    };
    paths.filter(is_leftover).collect()
}

fn begins_with(path: &Path, expected: &[u8; 8]) -> bool {
    let mut magic = [0; 8];
    // A FIFO may have taken the place of the file.
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path);
    file.and_then(|file| file.read_exact_at(&mut magic, 0)).is_ok() && &magic == expected
}

/// Owner and permission bits of a file.
pub(crate) fn owner_and_mode(path: &Path) -> (String, u32) {
    std::fs::metadata(path)
        .map_or(("?".to_owned(), 0), |metadata| (user_name(metadata.uid()), metadata.mode() & 0o777))
}

/// Where to begin, in the library's terms.
pub(crate) fn start(from: Origin) -> Start {
    match from {
        Origin::Earliest => Start::Earliest,
        Origin::Latest => Start::Latest,
        Origin::At(position) => Start::At(position),
        Origin::Back(n) => Start::Last(n),
    }
}
