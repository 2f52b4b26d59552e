//! Whether a producer's file is still the ring at its path: looked at once a second by one thread
//! for all producers of the process, so that a message costs nothing for it.
//!
//! The thread tells a producer by the word that a reader sets before it sleeps: the producer looks
//! at that word with each message, and before it wakes a reader it asks here. The file is not the
//! ring at the path any more, so no reader that matters is woken for nothing.
//!
//! Example, one message per millisecond, a reader that spins:
//!
//! 1. At 3.2 s another program replaces the file. The producer goes on writing the old file.
//! 2. At 4.0 s the thread looks, notes "replaced", and sets the word "readers are asleep".
//! 3. At 4.001 s the producer publishes a message, and finds that word set. Before it wakes a
//!    reader it asks here: `send` returns the error. The 800 messages in between are lost.
//!
//! Where no thread can be started, and for a producer that shall not have one
//! ([`ProducerOptions::watched`](crate::ProducerOptions::watched)), the producer takes room for few
//! messages at a time, and looks for itself when it has used that up, once a second at most.

use crate::error::HandleError;
use crate::region::Region;
use crate::ring::presence::Presence;
use crate::system::fork::ProcessWide;
use crate::system::{self, Process};
use slipring_core::format::producer_page;
use slipring_core::memory::Memory;
use slipring_core::protocol::park::Side;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Time between two looks at a path.
const INTERVAL: Duration = Duration::from_secs(1);
/// Room that a producer without the thread takes at a time.
const STRETCH: u64 = 16;

/// What is known of a producer's file.
#[derive(Debug)]
struct File {
    presence: Presence,
    region: Region,
    /// The number of this producer.
    epoch: u64,
    /// What a look has found wrong with the file.
    found: OnceLock<HandleError>,
}

impl File {
    fn known(&self) -> Option<HandleError> {
        self.found.get().copied()
    }

    fn look(&self) -> Option<HandleError> {
        self.known().or_else(|| {
            let error = self.presence.look().or_else(|| self.second_producer())?;
            Some(*self.found.get_or_init(|| error))
        })
    }

    /// Another producer came after this one, which the lock should have kept away.
    fn second_producer(&self) -> Option<HandleError> {
        let load = |word| self.region.load(word, Relaxed);
        (load(producer_page::EPOCH) > self.epoch)
            .then(|| HandleError::SecondProducer { pid: load(producer_page::PID) })
    }

    /// The look of the thread.
    fn look_and_tell(&self) {
        if self.known().is_some() {
            return;
        }
        let found = self.look();
        // What was cut away must not be touched: its producer is told by SIGBUS.
        if matches!(found, Some(HandleError::Replaced | HandleError::SecondProducer { .. })) {
            Side::Readers.have_the_other_side_look(&self.region);
        }
    }
}

/// A producer's watch over its file.
#[derive(Debug)]
pub(super) struct Watch {
    /// None for a ring on the heap.
    file: Option<Arc<File>>,
    process: Process,
    /// The thread looks.
    has_thread: bool,
    /// When the producer looked for itself.
    looked_ms: u64,
}

impl Watch {
    pub(super) fn over(presence: Option<&Presence>, region: &Region, by_thread: bool) -> Watch {
        let new = |presence: &Presence| {
            let epoch = region.load(producer_page::EPOCH, Relaxed);
            Arc::new(File {
                presence: presence.clone(),
                region: region.clone(),
                epoch,
                found: OnceLock::new(),
            })
        };
        let file = presence.map(new);
        let has_thread = file.as_ref().is_some_and(|file| by_thread && PathWatch::current().add(file));
        Watch { file, process: system::this_process(), has_thread, looked_ms: system::coarse_monotonic_ms() }
    }

    /// What is known. Makes no system call, if the thread looks.
    pub(super) fn glance(&mut self) -> Option<HandleError> {
        let file = self.file.as_ref()?;
        if self.has_thread {
            return file.known();
        }
        let now = system::coarse_monotonic_ms();
        if u128::from(now.wrapping_sub(self.looked_ms)) < INTERVAL.as_millis() {
            return file.known();
        }
        self.looked_ms = now;
        file.look()
    }

    /// Looks now.
    pub(super) fn look(&self) -> Option<HandleError> {
        self.file.as_ref()?.look()
    }

    /// True if another producer has the ring by now: this one must not speak for it.
    pub(super) fn has_successor(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.second_producer().is_some())
    }

    /// How much room the producer may take until it glances again.
    pub(super) fn stretch(&self) -> Option<u64> {
        (self.file.is_some() && !self.has_thread).then_some(STRETCH)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The watcher of a forked child knows nothing of its parent's producers.
        if self.has_thread && self.process == system::this_process() {
            if let Some(file) = &self.file {
                PathWatch::current().remove(file);
            }
        }
    }
}

/// The thread and the files that it looks at.
#[derive(Debug, Default)]
struct PathWatch {
    watched: Mutex<Watched>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Watched {
    /// By their addresses.
    files: BTreeMap<usize, Arc<File>>,
    runs: bool,
}

impl PathWatch {
    fn current() -> &'static PathWatch {
        static PATH_WATCH: ProcessWide<PathWatch> = ProcessWide::new();
        PATH_WATCH.get()
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        // Each change is one insertion or removal.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False if there is no thread to look at it.
    fn add(&'static self, file: &Arc<File>) -> bool {
        let mut watched = self.lock();
        watched.runs = watched.runs || system::spawn_deaf("slipring-watch", || self.run());
        if watched.runs {
            watched.files.insert(address(file), Arc::clone(file));
        }
        watched.runs
    }

    fn remove(&self, file: &Arc<File>) {
        let mut watched = self.lock();
        watched.files.remove(&address(file));
        if watched.files.is_empty() {
            self.changed.notify_all();
        }
    }

    /// Looks until there is nothing to look at.
    fn run(&self) {
        let mut watched = self.lock();
        while !watched.files.is_empty() {
            watched = self.changed.wait_timeout(watched, INTERVAL).unwrap_or_else(PoisonError::into_inner).0;
            let files: Vec<Arc<File>> = watched.files.values().map(Arc::clone).collect();
            // A look may take long on a filesystem that does not answer: no lock is held meanwhile.
            drop(watched);
            files.iter().for_each(|file| file.look_and_tell());
            drop(files);
            watched = self.lock();
        }
        watched.runs = false;
    }
}

fn address(file: &Arc<File>) -> usize {
    Arc::as_ptr(file).addr()
}
