//! A consumer's entry in the table: how it is taken, and how it is left.

use super::ConsumerOptions;
use crate::error::{AtPath, AttachError, NameError, OpenError, RecvError};
use crate::region::{Access, Region};
use crate::ring::attach::{Attachment, Place};
use crate::system;
use crate::wait::Wait;
use slipring_core::format::{EntryFlags, Geometry, Tail, entry};
use slipring_core::memory::{Liveness, Memory, Right};
use slipring_core::protocol::park::Side;
use slipring_core::protocol::recorder::{self, EventKind};
use slipring_core::protocol::table::{self, StartError};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long somebody who only clears up may have an entry's lock.
const ENTRY_PATIENCE: Duration = Duration::from_millis(20);

/// An entry of the consumer table, held by its lock. Leaves the table when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) attachment: Attachment,
    pub(crate) entry: u32,
    /// The tail it was taken with.
    pub(crate) tail: u64,
    pub(crate) wait: Wait,
    durable: bool,
    name: String,
    notice_dead_producer: bool,
}

impl Seat {
    pub(crate) fn take(
        place: impl Place,
        options: &ConsumerOptions,
        evictable: bool,
    ) -> Result<Seat, AtPath<AttachError>> {
        let source = place.source();
        if options.durable || !options.name.is_empty() {
            NameError::check(&options.name).map_err(|error| source.at_path(AttachError::from(error)))?;
        }
        if options.durable && evictable {
            return Err(source.at_path(AttachError::EvictableDurable { name: options.name.clone() }));
        }
        let attachment = Attachment::open(source, Access::Readers, options.demands)?;
        let (entry, tail) = attachment.with_table(|| {
            let (entry, resumes) = find_entry(&attachment, &options.name, options.durable)?;
            let tail = if resumes {
                table::resume(&attachment.region, attachment.geometry(), entry).map_err(OpenError::Damaged)?
            } else {
                settle(&attachment, entry, options, evictable)
                    .inspect_err(|_| attachment.locks.release(Right::Consumer(entry)))?
            };
            let (region, geometry) = (&attachment.region, attachment.geometry());
            let pid = u64::from(std::process::id());
            region.store(geometry.entry_word(entry, entry::PID), pid, Relaxed);
            region.store(geometry.entry_word(entry, entry::DETACHED_MS), 0, Relaxed);
            let kind = if resumes { EventKind::Resumed } else { EventKind::Attached };
            attachment.record(kind, tail, &options.name, pid);
            Ok::<_, AttachError>((entry, tail))
        })?;
        Ok(Seat {
            attachment,
            entry,
            tail,
            wait: options.wait,
            durable: options.durable,
            name: options.name.clone(),
            notice_dead_producer: options.notice_dead_producer,
        })
    }

    /// An error if the ring went, or, if that was asked for, the producer.
    pub(crate) fn check_up(&self) -> Result<(), RecvError> {
        self.attachment.check_up(self.notice_dead_producer)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.attachment.is_foreign() {
            return;
        }
        let (region, geometry) = (&self.attachment.region, *self.attachment.geometry());
        let tail = region.load(geometry.tail(self.entry), Relaxed);
        region.store(geometry.entry_word(self.entry, entry::DETACHED_MS), system::unix_now_ms(), Relaxed);
        table::leave(region, &geometry, self.entry, self.durable);
        self.attachment.locks.release(Right::Consumer(self.entry));
        if Side::Producer.is_asleep(region) {
            Side::Producer.wake(region);
        }
        let pid = u64::from(std::process::id());
        self.attachment.try_record(EventKind::Detached, tail, &self.name, pid);
    }
}

/// Takes the entry of this name, or a free one; true if it is a durable one's that comes back.
fn find_entry(attachment: &Attachment, name: &str, durable: bool) -> Result<(u32, bool), AttachError> {
    let (region, geometry, locks) = (&attachment.region, attachment.geometry(), &attachment.locks);
    let entries = u32::try_from(geometry.consumers()).unwrap_or(u32::MAX);
    let flags = |n| EntryFlags(region.load(geometry.flags(n), Relaxed));
    let name_of = |n| recorder::load_name(region, |at| geometry.entry_word(n, entry::NAME + at));
    let seize = |n| {
        locks.try_seize(Right::Consumer(n)).map_err(|error| OpenError::io("lock a consumer entry", error))
    };
    let namesake = (0..entries).find(|&n| !name.is_empty() && flags(n).is_taken() && name_of(n) == name);
    if let Some(n) = namesake {
        // A producer that looks whether the owner lives has the entry for a moment.
        let start = Instant::now();
        let mut seized = seize(n)?;
        while !seized && start.elapsed() < ENTRY_PATIENCE {
            std::thread::yield_now();
            seized = seize(n)?;
        }
        if !seized {
            let pid = region.load(geometry.entry_word(n, entry::PID), Relaxed);
            return Err(AttachError::NameInUse { name: name.to_owned(), pid });
        }
        // Without a tail there is nothing to resume, whatever the flags say.
        let tail = Tail(region.load(geometry.tail(n), Relaxed));
        if !flags(n).is_durable() || tail.position().is_none() {
            return Ok((n, false));
        }
        if !durable {
            locks.release(Right::Consumer(n));
            return Err(AttachError::NameIsDurable { name: name.to_owned() });
        }
        return Ok((n, true));
    }
    // Free entries first; then those whose owners died without a trace.
    for dead in [false, true] {
        for n in 0..entries {
            let flags = flags(n);
            if flags.is_taken() == dead && !flags.is_kept() && seize(n)? {
                return Ok((n, false));
            }
        }
    }
    let names: Vec<String> = (0..entries).map(name_of).map(|name| format!("{name:?}")).collect();
    Err(AttachError::TableFull { entries: geometry.consumers(), names: names.join(", ") })
}

/// Fills a seized entry and joins.
///
/// Until the join is done the entry says "ephemeral": if this process dies in between, it is cleared
/// away, and no durable consumer is left with a tail that was never agreed upon.
fn settle(
    attachment: &Attachment,
    n: u32,
    options: &ConsumerOptions,
    evictable: bool,
) -> Result<u64, StartError> {
    let (region, geometry): (&Region, &Geometry) = (&attachment.region, attachment.geometry());
    let word = |at| geometry.entry_word(n, at);
    table::leave(region, geometry, n, false);
    recorder::store_name(region, |at| word(entry::NAME + at), &options.name);
    region.store(word(entry::JOINED_MS), system::unix_now_ms(), Relaxed);
    region.store(word(entry::MISSED), 0, Relaxed);
    region.store(word(entry::DETACHED_MS), 0, Relaxed);
    region.store(word(entry::FLAGS), EntryFlags::taken(false, evictable).0, Relaxed);
    let joined = table::join(region, geometry, n, options.start, evictable);
    let flags = match joined {
        Ok(_) => EntryFlags::taken(options.durable, evictable),
        Err(_) => EntryFlags::FREE,
    };
    region.store(word(entry::FLAGS), flags.0, Relaxed);
    // The producer may have gone to sleep over the first, lowest tail.
    if Side::Producer.is_asleep(region) {
        Side::Producer.wake(region);
    }
    joined
}
