//! Rights as the kernel keeps them: open-file-description locks on single bytes of the ring's file
//! or of its lock file, and their like for rings on the heap.

use crate::system::fork::ForkClosed;
use crate::system::{self, Process};
use slipring_core::memory::{Liveness, Right};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Locked bytes lie far beyond any data. Part of the format: every process must lock the same byte.
const LOCK_BASE: u64 = 1 << 62;

const fn lock_offset(right: Right) -> u64 {
    match right {
        Right::Producer => LOCK_BASE,
        Right::Table => LOCK_BASE + 1,
        Right::Consumer(entry) => LOCK_BASE + 0x1_0000 + entry as u64,
        Right::Worker(entry) => LOCK_BASE + 0x2_0000 + entry as u64,
    }
}

/// Takes a right through an open file, until that is closed. False if another party holds it.
pub(crate) fn hold(file: &File, right: Right) -> io::Result<bool> {
    system::try_lock(file, lock_offset(right))
}

/// The rights of one party. Dropped, it gives up all of them; killed, the kernel does.
#[derive(Debug)]
pub(crate) enum Locks {
    /// An open file description of the party's own, opened by this process.
    File { file: ForkClosed, process: Process },
    /// An observer sees the locks on a file that it may not open.
    Seen(Seen),
    /// An observer of a ring whose lock file is not there.
    Unknown,
    /// A party of a ring on the heap, by number.
    Heap { ring: Arc<HeapRights>, party: u64 },
}

/// The locks on a file as the kernel lists them for everyone, looked at once in a while.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Device and inode of the file.
    inode: (u64, u64),
    looked: Mutex<Option<(Instant, Vec<RangeInclusive<u64>>)>>,
}

/// For how long an observer believes a list of locks. The kernel lists those of the whole system.
const FRESH: Duration = Duration::from_millis(20);

impl Seen {
    /// None if the kernel does not say.
    fn is_held(&self, right: Right) -> Option<bool> {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.as_ref().is_none_or(|(at, _)| at.elapsed() > FRESH) {
            *looked = Some((Instant::now(), system::locked_bytes(self.inode.0, self.inode.1).ok()?));
        }
        let (_, ranges) = looked.as_ref()?;
        Some(ranges.iter().any(|range| range.contains(&lock_offset(right))))
    }
}

/// The holder of each right in a ring on the heap.
#[derive(Debug, Default)]
pub(crate) struct HeapRights {
    holders: Mutex<(u64, BTreeMap<Right, u64>)>,
}

impl HeapRights {
    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<Right, u64>)> {
        // A panic elsewhere leaves the map whole: each change is one insertion or removal.
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Locks {
    pub(crate) fn file(file: ForkClosed) -> Locks {
        Locks::File { file, process: system::this_process() }
    }

    pub(crate) fn seen(inode: (u64, u64)) -> Locks {
        Locks::Seen(Seen { inode, looked: Mutex::new(None) })
    }

    pub(crate) fn heap(ring: &Arc<HeapRights>) -> Locks {
        let mut holders = ring.lock();
        holders.0 += 1;
        Locks::Heap { ring: Arc::clone(ring), party: holders.0 }
    }
}

impl Liveness for Locks {
    type Error = io::Error;

    fn try_seize(&self, right: Right) -> io::Result<bool> {
        match self {
            Locks::File { file, .. } => system::try_lock(file.file(), lock_offset(right)),
            Locks::Seen(_) | Locks::Unknown => Err(io::ErrorKind::PermissionDenied.into()),
            Locks::Heap { ring, party } => Ok(*ring.lock().1.entry(right).or_insert(*party) == *party),
        }
    }

    fn is_held(&self, right: Right) -> bool {
        match self {
            // A failed query counts as alive: the entry of a living party must not be reaped for a
            // failed system call.
            Locks::File { file, .. } => system::is_locked(file.file(), lock_offset(right)).unwrap_or(true),
            Locks::Seen(seen) => seen.is_held(right).unwrap_or(true),
            Locks::Unknown => true,
            Locks::Heap { ring, party } => ring.lock().1.get(&right).is_some_and(|holder| holder != party),
        }
    }

    fn release(&self, right: Right) {
        match self {
            // Unlocking one's own byte cannot fail but for want of kernel memory; closing will do
            // it then.
            Locks::File { file, .. } => drop(system::unlock(file.file(), lock_offset(right))),
            Locks::Seen(_) | Locks::Unknown => {}
            Locks::Heap { ring, party } => {
                let mut holders = ring.lock();
                if holders.1.get(&right) == Some(party) {
                    holders.1.remove(&right);
                }
            }
        }
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        match self {
            // Closing the file is not enough: while another thread is starting a process, the child
            // has the file open too, from its fork to its exec, and the locks with it.
            Locks::File { file, process } if *process == system::this_process() => {
                drop(system::unlock_from(file.file(), LOCK_BASE));
            }
            // A forked child's copy: the locks are the parent's.
            Locks::File { .. } | Locks::Seen(_) | Locks::Unknown => {}
            Locks::Heap { ring, party } => ring.lock().1.retain(|_, holder| holder != party),
        }
    }
}
