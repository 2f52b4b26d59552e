//! The facts about the rings, and their rates.

use super::names;
use crate::exit::Failure;
use crate::facts::{DeadLetterRing, Facts, rings_in, without_dead_letter_rings};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How many rates are remembered, for the sparklines.
const HISTORY: usize = 64;

/// A count that only grows, and how fast.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    count: u64,
    /// Per second, the latest last.
    rates: VecDeque<u64>,
}

impl Pace {
    /// The count is so much now, and was looked at so long ago, if ever.
    fn advance(&mut self, count: u64, since: Option<Duration>) {
        if let Some(since) = since {
            let per_second = u128::from(count.saturating_sub(self.count)) * 1_000_000;
            let rate = per_second / since.as_micros().max(1000);
            if self.rates.len() == HISTORY {
                self.rates.pop_front();
            }
            self.rates.push_back(u64::try_from(rate).unwrap_or(u64::MAX));
        }
        self.count = count;
    }

    /// Per second, over the last interval; none before the second look.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rates.back().copied()
    }
    pub(super) fn history(&self) -> impl DoubleEndedIterator<Item = u64> + ExactSizeIterator {
        self.rates.iter().copied()
    }
}

/// A reader of a ring.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) name: String,
    /// How many workers of a group live.
    pub(super) workers: Option<usize>,
    pub(super) alive: bool,
    pub(super) lag: u64,
    pub(super) in_flight: Option<u64>,
    /// A group has as many in flight as it may.
    pub(super) at_limit: bool,
    /// Messages that a group gave up and that wait for the dead-letter ring.
    pub(super) dead_pending: u64,
    pub(super) redelivered: Option<u64>,
    pub(super) oldest: Option<Duration>,
    pub(super) pace: Pace,
}

impl Reader {
    fn is_group(&self) -> bool {
        self.workers.is_some()
    }
}

/// One ring.
#[derive(Clone, Debug)]
pub(super) struct Track {
    pub(super) path: PathBuf,
    /// Why the ring cannot be read.
    pub(super) fault: Option<String>,
    pub(super) used: u64,
    pub(super) capacity: u64,
    pub(super) producer: String,
    pub(super) dead: Option<DeadLetterRing>,
    /// True if the ring holds another ring's dead letters.
    pub(super) is_dead_letters: bool,
    pub(super) pace: Pace,
    pub(super) readers: Vec<Reader>,
    looked: Option<Instant>,
}

impl Track {
    fn new(path: PathBuf) -> Track {
        Track {
            path,
            fault: None,
            used: 0,
            capacity: 0,
            producer: String::new(),
            dead: None,
            is_dead_letters: false,
            pace: Pace::default(),
            readers: Vec::new(),
            looked: None,
        }
    }

    fn look(&mut self, now: Instant) {
        let facts = match Facts::open(&self.path) {
            Ok(facts) => facts,
            Err(_) => {
                *self = Track { fault: Some("cannot be opened".to_owned()), ..Track::new(self.path.clone()) };
                return;
            }
        };
        let since = self.looked.replace(now).map(|then| now - then);
        self.fault = None;
        (self.used, self.capacity) = (facts.used(), facts.ring.capacity());
        self.producer = crate::verbs::ls::producer(&facts);
        (self.dead, self.is_dead_letters) = (facts.dead(), facts.ring.dead_letters_of().is_some());
        self.pace.advance(facts.head, since);
        let mut before = std::mem::take(&mut self.readers);
        let mut add = |mut reader: Reader, count: u64| {
            // A reader that has come only now has no rate yet.
            let known = before
                .iter()
                .position(|old| (&old.name, old.is_group()) == (&reader.name, reader.is_group()));
            let since = known.and(since);
            if let Some(at) = known {
                reader.pace = before.remove(at).pace;
            }
            reader.pace.advance(count, since);
            self.readers.push(reader);
        };
        for consumer in &facts.consumers {
            let name = match consumer.name.as_str() {
                "" => format!("process {}", consumer.pid),
                name => name.to_owned(),
            };
            let reader = Reader {
                name,
                workers: None,
                alive: consumer.alive,
                lag: consumer.lag,
                in_flight: None,
                at_limit: false,
                dead_pending: 0,
                redelivered: None,
                oldest: None,
                pace: Pace::default(),
            };
            add(reader, consumer.tail.unwrap_or(facts.head));
        }
        for group in &facts.groups {
            let workers = group.workers.iter().filter(|worker| worker.alive).count();
            let reader = Reader {
                name: group.name.clone(),
                workers: Some(workers),
                alive: workers > 0,
                lag: group.num_pending + group.num_ack_pending + group.num_dead_pending,
                in_flight: Some(group.num_ack_pending),
                at_limit: group.is_at_limit(),
                dead_pending: group.num_dead_pending,
                redelivered: Some(group.num_redelivered),
                oldest: group.oldest_pending,
                pace: Pace::default(),
            };
            // Settled messages: the floor alone would stand still behind one slow message.
            let settled = facts.head.saturating_sub(reader.lag);
            add(reader, settled);
        }
    }

    /// The largest lag of a reader.
    pub(super) fn lag(&self) -> u64 {
        self.readers.iter().map(|reader| reader.lag).max().unwrap_or(0)
    }

    /// The ring, or the one for its dead letters, is three quarters full, or more.
    pub(super) fn is_nearly_full(&self) -> bool {
        let nearly = |used: u64, of: u64| u128::from(used) * 4 >= u128::from(of) * 3;
        nearly(self.used, self.capacity) || self.dead.is_some_and(|dead| nearly(dead.count, dead.capacity))
    }

    fn json(&self) -> Value {
        json!({
            "path": self.path.display().to_string(),
            "error": self.fault,
            "used": self.used,
            "capacity": self.capacity,
            "producer": self.producer,
            "dead_letters": self.dead.map(|dead| dead.count),
            "published_per_second": self.pace.rate(),
            "readers": self.readers.iter().map(|reader| json!({
                "name": reader.name,
                "group": reader.is_group(),
                "alive": reader.alive,
                "lag": reader.lag,
                "per_second": reader.pace.rate(),
                "ack_pending": reader.in_flight,
                "at_limit": reader.at_limit,
                "dead_pending": reader.dead_pending,
                "redelivered_pending": reader.redelivered,
                "oldest_pending_ms": reader.oldest.map(|age| age.as_millis()),
            })).collect::<Vec<_>>(),
        })
    }
}

/// All the rings.
#[derive(Debug)]
pub(super) struct Board {
    places: Vec<PathBuf>,
    tracks: BTreeMap<PathBuf, Track>,
}

impl Board {
    /// Of these rings, and those in these directories.
    pub(super) fn new(places: Vec<PathBuf>) -> Board {
        Board { places, tracks: BTreeMap::new() }
    }

    /// Looks at everything once more. Rings come and go with their files; one that was named stays.
    pub(super) fn look(&mut self, now: Instant) -> Result<(), Failure> {
        let mut paths = Vec::new();
        for place in &self.places {
            if place.is_dir() {
                paths.extend(without_dead_letter_rings(rings_in(place)?));
            } else {
                paths.push(place.clone());
            }
        }
        self.tracks.retain(|path, _| paths.contains(path));
        for path in paths {
            self.tracks.entry(path.clone()).or_insert_with(|| Track::new(path)).look(now);
        }
        Ok(())
    }

    pub(super) fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.tracks.values()
    }

    /// The rings that cannot be opened.
    pub(super) fn faults(&self) -> impl Iterator<Item = &Path> {
        self.tracks().filter(|track| track.fault.is_some()).map(|track| track.path.as_path())
    }

    /// The directory that all the rings are in.
    pub(super) fn common_directory(&self) -> PathBuf {
        names::common_directory(self.tracks.keys().map(PathBuf::as_path))
    }

    /// Where it looks.
    pub(super) fn places(&self) -> impl Iterator<Item = &Path> {
        self.places.iter().map(PathBuf::as_path)
    }

    pub(super) fn json(&self) -> Value {
        self.tracks().map(Track::json).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_over_the_time_between_two_looks() {
        let mut pace = Pace::default();
        pace.advance(1000, None);
        assert_eq!(pace.rate(), None);
        pace.advance(1500, Some(Duration::from_millis(500)));
        assert_eq!(pace.rate(), Some(1000));
        pace.advance(3, Some(Duration::from_secs(1)));
        assert_eq!(pace.rate(), Some(0), "made anew");
        for _ in 0..2 * HISTORY {
            pace.advance(3, Some(Duration::from_secs(1)));
        }
        assert_eq!(pace.history().len(), HISTORY);
    }
}
