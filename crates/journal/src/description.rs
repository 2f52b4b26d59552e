//! What the ring is: `ring.json` in its directory, from which the ring can be made again.

use crate::home::Home;
use crate::system;
use serde_json::{Map, Value, json};
use slipring::{Ancestor, Backoff, DeadLetterPolicy, GroupSettings, Ring, RingId};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

const NAME: &str = "ring.json";
const VERSION: u64 = 1;

/// A ring as its journal knew it last: geometry, type, readers that gate, and groups with their
/// settings.
///
/// A journal renews the file when something has changed, within a second.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// The ring's id.
    pub ring: RingId,
    /// Where it was.
    pub path: PathBuf,
    /// The bytes of a block.
    pub block_size: u64,
    /// The number of blocks.
    pub capacity: u64,
    /// The position of its first message.
    pub first_position: u64,
    /// The number of consumer entries.
    pub consumer_entries: u64,
    /// The number of group entries.
    pub group_entries: u64,
    /// The number of worker entries.
    pub worker_entries: u64,
    /// The type of its messages; none in a ring of bytes.
    pub schema: Option<String>,
    /// The names of its durable consumers.
    pub durable: Vec<String>,
    /// Those of them that come after other readers, with these.
    pub after: Vec<(String, Vec<String>)>,
    /// How long a durable consumer may be away.
    pub durable_inactive: Option<Duration>,
    /// Its groups.
    pub groups: Vec<(String, GroupSettings)>,
    /// The blocks of its dead-letter ring.
    pub dead_letter_capacity: Option<u64>,
    /// True if a dead letter is dropped when the dead-letter ring is full.
    pub drops_dead_letters: bool,
    /// The permission bits of its file.
    pub mode: Option<u32>,
    /// The lost rings that it continues, the one that was lost last first.
    pub ancestors: Vec<Ancestor>,
}

impl Description {
    /// Looks at a ring.
    pub fn of(ring: &Ring) -> Description {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(ring.path()).ok().map(|about| about.permissions().mode() & 0o777);
        let durable: Vec<_> = ring.consumers().into_iter().filter(|consumer| consumer.durable).collect();
        let follows = durable.iter().filter(|consumer| !consumer.after.is_empty());
        Description {
            ring: ring.id(),
            path: ring.path().to_path_buf(),
            block_size: ring.block_size() as u64,
            capacity: ring.capacity(),
            first_position: ring.first_position(),
            consumer_entries: ring.consumer_entries(),
            group_entries: ring.group_entries(),
            worker_entries: ring.worker_entries(),
            schema: ring.schema().map(str::to_owned),
            after: follows.map(|consumer| (consumer.name.clone(), consumer.after.clone())).collect(),
            durable: durable.into_iter().map(|consumer| consumer.name).collect(),
            durable_inactive: ring.durable_inactive_threshold(),
            groups: ring.groups().into_iter().map(|group| (group.name, group.settings)).collect(),
            dead_letter_capacity: ring.dead_letter_capacity(),
            drops_dead_letters: ring.dead_letter_policy() == Some(DeadLetterPolicy::DropAndCount),
            mode,
            ancestors: ring.ancestors(),
        }
    }

    /// Writes the file. It appears whole, or the old one stays.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub fn save(&self, home: &Home) -> io::Result<()> {
        let text = self.to_json().to_string();
        let sum = crc32c::crc32c(text.as_bytes());
        let new = home.file("ring.json.new");
        let mut file = std::fs::File::create(&new)?;
        write!(file, "{text}\n{{\"crc32c\":\"{sum:08x}\"}}\n")?;
        file.sync_all()?;
        std::fs::rename(&new, home.file(NAME))?;
        system::sync_directory(home.path())
    }

    /// Reads the file.
    ///
    /// # Errors
    ///
    /// Those of reading; `InvalidData` if it is damaged, or of a later version.
    pub fn load(home: &Home) -> io::Result<Description> {
        let text = std::fs::read_to_string(home.file(NAME))?;
        let mut lines = text.lines();
        let (body, sum) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        if sum != format!("{{\"crc32c\":\"{:08x}\"}}", crc32c::crc32c(body.as_bytes())) {
            return Err(invalid("its checksum is wrong"));
        }
        let value: Value = serde_json::from_str(body).map_err(|error| invalid(&error.to_string()))?;
        match value["slipring_journal"].as_u64() {
            Some(VERSION) => Description::from_json(&value).ok_or_else(|| invalid("a field is missing")),
            version => Err(invalid(&format!("it has version {version:?}; this program knows {VERSION}"))),
        }
    }

    fn to_json(&self) -> Value {
        let groups = self.groups.iter().map(|(name, settings)| (name.clone(), settings_to_json(settings)));
        json!({
            "slipring_journal": VERSION,
            "ring": self.ring.to_string(),
            "path": self.path.to_string_lossy(),
            "block_size": self.block_size,
            "capacity": self.capacity,
            "first_position": self.first_position,
            "consumer_entries": self.consumer_entries,
            "group_entries": self.group_entries,
            "worker_entries": self.worker_entries,
            "schema": self.schema,
            "durable": self.durable,
            "after": self.after.iter().map(|(name, after)| (name.clone(), json!(after))).collect::<Map<_, _>>(),
            "durable_inactive_ms": self.durable_inactive.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            "groups": groups.collect::<Map<_, _>>(),
            "dead_letter_capacity": self.dead_letter_capacity,
            "drops_dead_letters": self.drops_dead_letters,
            "mode": self.mode,
            "ancestors": self.ancestors.iter().map(|lost| json!([lost.ring.to_string(), lost.watermark])).collect::<Vec<_>>(),
        })
    }

    fn from_json(value: &Value) -> Option<Description> {
        let number = |key: &str| value[key].as_u64();
        let groups = value["groups"].as_object()?.iter();
        Some(Description {
            ring: value["ring"].as_str()?.parse().ok()?,
            path: PathBuf::from(value["path"].as_str()?),
            block_size: number("block_size")?,
            capacity: number("capacity")?,
            first_position: number("first_position")?,
            consumer_entries: number("consumer_entries")?,
            group_entries: number("group_entries")?,
            worker_entries: number("worker_entries")?,
            schema: value["schema"].as_str().map(str::to_owned),
            durable: value["durable"]
                .as_array()?
                .iter()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect(),
            after: match value.get("after") {
                None => Vec::new(),
                Some(after) => after.as_object()?.iter().map(after_from_json).collect::<Option<_>>()?,
            },
            durable_inactive: number("durable_inactive_ms").map(Duration::from_millis),
            groups: groups
                .map(|(name, of)| Some((name.clone(), settings_from_json(of)?)))
                .collect::<Option<_>>()?,
            dead_letter_capacity: number("dead_letter_capacity"),
            drops_dead_letters: value["drops_dead_letters"].as_bool()?,
            mode: number("mode").and_then(|mode| u32::try_from(mode).ok()),
            ancestors: match value.get("ancestors") {
                None => Vec::new(),
                Some(lost) => lost.as_array()?.iter().map(ancestor_from_json).collect::<Option<_>>()?,
            },
        })
    }
}

fn after_from_json((name, after): (&String, &Value)) -> Option<(String, Vec<String>)> {
    let names = after.as_array()?.iter().map(|name| name.as_str().map(str::to_owned));
    Some((name.clone(), names.collect::<Option<_>>()?))
}

fn ancestor_from_json(value: &Value) -> Option<Ancestor> {
    Some(Ancestor { ring: value[0].as_str()?.parse().ok()?, watermark: value[1].as_u64()? })
}

fn settings_to_json(settings: &GroupSettings) -> Value {
    let backoff = match settings.backoff {
        Backoff::Steps(steps) => json!({ "steps_ms": steps.as_slice() }),
        Backoff::Exponential { first_ms, longest_ms, jitter_percent } => {
            json!({ "first_ms": first_ms, "longest_ms": longest_ms, "jitter_percent": jitter_percent })
        }
        _ => Value::Null,
    };
    json!({
        "ack_wait_ms": settings.ack_wait_ms,
        "max_deliver": settings.max_deliver,
        "max_ack_pending": settings.max_ack_pending,
        "backoff": backoff,
    })
}

fn settings_from_json(value: &Value) -> Option<GroupSettings> {
    let small = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    let backoff = &value["backoff"];
    let backoff = match backoff["steps_ms"].as_array() {
        Some(steps) => {
            let steps = steps.iter().map(|step| step.as_u64().map(Duration::from_millis));
            Backoff::steps(&steps.collect::<Option<Vec<_>>>()?)
        }
        None if backoff.is_null() => Backoff::None,
        None => Backoff::Exponential {
            first_ms: small(&backoff["first_ms"])?,
            longest_ms: small(&backoff["longest_ms"])?,
            jitter_percent: u8::try_from(backoff["jitter_percent"].as_u64()?).ok()?,
        },
    };
    Some(GroupSettings {
        ack_wait_ms: small(&value["ack_wait_ms"])?,
        max_deliver: small(&value["max_deliver"])?,
        max_ack_pending: value["max_ack_pending"].as_u64()?,
        backoff,
    })
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipring::RingOptions;

    #[test]
    fn a_ring_is_described_whole_and_a_changed_description_is_refused() {
        let steps = Backoff::steps(&[1, 20].map(Duration::from_millis));
        let doubling = Backoff::exponential(Duration::from_millis(5), Duration::from_secs(9));
        let ring = RingOptions::of::<[f64; 3]>(64)
            .durable("journal")
            .durable("audit")
            .durable_inactive_threshold(Duration::from_secs(9))
            .group("sms", GroupSettings::new().backoff(steps).max_deliver(None))
            .group("mail", GroupSettings::new().backoff(doubling))
            .first_position(77)
            .create_in_memory()
            .unwrap();
        let place = kit::TempDir::new();
        let home = Home::new(place.as_ref(), ring.id());
        std::fs::create_dir(home.path()).unwrap();
        let described = Description::of(&ring);
        described.save(&home).unwrap();
        assert_eq!(Description::load(&home).unwrap(), described);
        assert_eq!((described.groups.len(), described.durable.len(), described.first_position), (2, 2, 77));

        let whole = std::fs::read(home.file(NAME)).unwrap();
        for at in 0..whole.len() - 1 {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(home.file(NAME), &changed).unwrap();
            assert!(Description::load(&home).is_err(), "byte {at}");
            std::fs::write(home.file(NAME), &whole[..at]).unwrap();
            assert!(Description::load(&home).is_err(), "cut at {at}");
        }
    }
}
