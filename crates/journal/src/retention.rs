//! Which segments are not kept any more.

use crate::home::Home;
use crate::readers::{self, Reader};
use crate::spares::Spares;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// How much is kept. A segment is retired as a whole, and never the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keep {
    /// The most bytes of segments. None: all.
    pub(crate) bytes: Option<u64>,
    /// Each message is kept for so long at least, after its commit. None: for ever.
    pub(crate) age: Option<Duration>,
    /// How many bytes more are kept for named readers. None: as many again.
    pub(crate) hold_bytes: Option<u64>,
    /// How much longer a message is kept for named readers. None: as long again.
    pub(crate) hold_age: Option<Duration>,
}

/// A segment of the directory.
#[derive(Clone, Copy, Debug)]
struct Kept {
    first: u64,
    bytes: u64,
    /// The stamp of the last frame before it.
    stamp_ns: u64,
}

/// What retention did, or did not do, that a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Retired {
    /// A segment is kept for this reader alone.
    Held(Reader),
    /// The segments that this reader needs have been retired: its hold was over.
    Overrun(Reader, u64),
}

/// The segments of a directory, oldest first.
#[derive(Debug)]
pub(crate) struct Retention {
    keep: Keep,
    segments: VecDeque<Kept>,
    bytes: u64,
    /// The reader that was last said to hold a segment.
    said: Option<String>,
}

impl Retention {
    /// Looks at the names of the segments, and at the head of none.
    pub(crate) fn new(home: &Home, keep: Keep) -> io::Result<Retention> {
        let mut retention = Retention { keep, segments: VecDeque::new(), bytes: 0, said: None };
        for first in home.segments()? {
            let bytes = std::fs::metadata(home.segment(first)).map_or(0, |about| about.len());
            retention.add(first, bytes, 0);
        }
        Ok(retention)
    }

    /// A segment was begun; one that begins at the same position was replaced by it.
    pub(crate) fn add(&mut self, first: u64, bytes: u64, stamp_ns: u64) {
        if self.segments.back().is_some_and(|last| last.first == first) {
            self.bytes -= self.segments.pop_back().map_or(0, |last| last.bytes);
        }
        self.segments.push_back(Kept { first, bytes, stamp_ns });
        self.bytes += bytes;
    }

    /// How often a segment is closed, so that a quiet ring's messages can become old.
    pub(crate) fn close_after(&self) -> Option<Duration> {
        self.keep.age.map(|age| age / 8)
    }

    /// Retires what is not kept any more.
    pub(crate) fn retire(&mut self, home: &Home, spares: &Spares, now_ns: u64) -> io::Result<Vec<Retired>> {
        let mut said = Vec::new();
        if self.keep.bytes.is_none() && self.keep.age.is_none() {
            return Ok(said);
        }
        let mut known: Option<Vec<Reader>> = None;
        while self.segments.len() > 1 {
            // Its last message is as old as the stamp that the next segment began with.
            let (oldest, next) = (self.segments[0], self.stamped(home, 1)?);
            if !self.is_over(next.stamp_ns, now_ns, false) {
                break;
            }
            if known.is_none() {
                known = Some(readers::all(home)?);
            }
            let needing = known.iter().flatten().find(|reader| reader.position < next.first);
            if let Some(reader) = needing {
                if !self.is_over(next.stamp_ns, now_ns, true) {
                    if self.said.as_ref() != Some(&reader.name) {
                        self.said = Some(reader.name.clone());
                        said.push(Retired::Held(reader.clone()));
                    }
                    break;
                }
                said.push(Retired::Overrun(reader.clone(), next.first));
                self.said = None;
            }
            match spares.retire(&home.segment(oldest.first)) {
                // Somebody else has moved it away.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // A mark without its segment says nothing.
            let _ = std::fs::remove_file(home.failed(oldest.first));
            self.segments.pop_front();
            self.bytes -= oldest.bytes;
        }
        Ok(said)
    }

    /// True if the segment that ended at this stamp is not kept any more: for anybody, or for a
    /// named reader either.
    fn is_over(&self, stamp_ns: u64, now_ns: u64, for_readers: bool) -> bool {
        let Keep { bytes, age, hold_bytes, hold_age } = self.keep;
        let by_bytes = bytes.is_some_and(|bytes| {
            let more = if for_readers { hold_bytes.unwrap_or(bytes) } else { 0 };
            self.bytes > bytes.saturating_add(more)
        });
        let by_age = age.is_some_and(|age| {
            let more = if for_readers { hold_age.unwrap_or(age) } else { Duration::ZERO };
            stamp_ns != 0 && u128::from(now_ns.saturating_sub(stamp_ns)) > age.saturating_add(more).as_nanos()
        });
        by_bytes || by_age
    }

    /// The segment at an index, with its stamp read from its head.
    fn stamped(&mut self, home: &Home, index: usize) -> io::Result<Kept> {
        let segment = &mut self.segments[index];
        if segment.stamp_ns == 0 && self.keep.age.is_some() {
            // One that cannot be read is kept for its age, as long as nobody mends it.
            if let Ok(Some(found)) = home.open(segment.first) {
                segment.stamp_ns = found.head().stamp_ns;
            }
        }
        Ok(*segment)
    }
}
