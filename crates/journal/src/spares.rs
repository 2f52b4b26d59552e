//! Segments ahead of need: a thread writes zeros over the next one while the current one fills.
//!
//! A commit into blocks that were written before changes no metadata of the filesystem. Into blocks
//! that are only reserved, it waits for the filesystem's own journal, too.

use crate::home::Home;
use crate::system::{self, Method};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Zeros that are written at once. A commit waits behind one such write at most.
const PART: usize = 256 << 10;

/// The segment that is ready, and the thread that makes the next.
#[derive(Debug)]
pub(crate) struct Spares {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    home: Home,
    len: u64,
    method: Method,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_ready: bool,
    is_wanted: bool,
    is_zeroing: bool,
    is_stopped: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spare(&self) -> PathBuf {
        self.home.file("spare")
    }

    /// Makes segments when they are wanted.
    fn run(&self) {
        let mut state = self.state();
        while !state.is_stopped {
            if !state.is_wanted {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            (state.is_wanted, state.is_zeroing) = (false, true);
            drop(state);
            let zeroing = self.home.file("zeroing");
            let made = self.zero(&zeroing).and_then(|is_whole| match is_whole {
                true => std::fs::rename(&zeroing, self.spare()).map(|()| true),
                false => Ok(false),
            });
            if !matches!(made, Ok(true)) {
                // Most likely the disk is full. The space is given back, and the writer makes its
                // next segment another way, or says that it cannot.
                let _ = std::fs::remove_file(&zeroing);
            }
            state = self.state();
            (state.is_zeroing, state.is_ready) = (false, matches!(made, Ok(true)));
        }
    }

    /// Writes a file full of zeros. False if that was interrupted.
    fn zero(&self, path: &Path) -> io::Result<bool> {
        let _ = std::fs::remove_file(path);
        let file = system::create(path)?;
        system::dont_copy_on_write(&file);
        system::reserve(&file, self.len)?;
        let file = system::open_bulk(path, self.method)?;
        let zeros = aligned(PART);
        let mut at = 0;
        while at < self.len {
            if self.state().is_stopped {
                return Ok(false);
            }
            let n = PART.min(usize::try_from(self.len - at).unwrap_or(PART));
            file.write_all_at(&zeros.bytes()[..n], at)?;
            at += n as u64;
        }
        file.sync_all()?;
        Ok(true)
    }
}

impl Spares {
    /// Begins to make segments of `len` bytes, if that is `ahead` of need.
    pub(crate) fn new(home: &Home, len: u64, method: Method, ahead: bool) -> io::Result<Spares> {
        let shared =
            Shared { home: home.clone(), len, method, state: Mutex::default(), changed: Condvar::new() };
        for leftover in ["zeroing", "fresh"] {
            remove_if_there(&home.file(leftover))?;
        }
        match std::fs::metadata(shared.spare()) {
            Ok(spare) if spare.len() == len => shared.state().is_ready = true,
            _ => remove_if_there(&shared.spare())?,
        }
        let shared = Arc::new(shared);
        let thread = match ahead {
            true => {
                let shared = shared.clone();
                Some(
                    std::thread::Builder::new()
                        .name("journal-spares".to_owned())
                        .spawn(move || shared.run())?,
                )
            }
            false => None,
        };
        Ok(Spares { shared, thread })
    }

    /// Asks for a segment, unless one is ready or being made.
    pub(crate) fn want(&self) {
        let mut state = self.shared.state();
        if !state.is_ready && !state.is_zeroing {
            state.is_wanted = true;
            self.shared.changed.notify_all();
        }
    }

    /// The path of a segment to begin. Where none is ready, one with reserved blocks, which takes
    /// no time to make.
    pub(crate) fn take(&self) -> io::Result<PathBuf> {
        let spare = self.shared.spare();
        if std::mem::take(&mut self.shared.state().is_ready) {
            // Its own name, so that the thread's next one does not replace it.
            let taken = self.shared.home.file("fresh");
            std::fs::rename(&spare, &taken)?;
            return Ok(taken);
        }
        let fresh = self.shared.home.file("fresh");
        remove_if_there(&fresh)?;
        let file = system::create(&fresh)?;
        system::dont_copy_on_write(&file);
        let made = system::reserve(&file, self.shared.len)
            .and_then(|_| file.set_len(self.shared.len))
            .and_then(|()| file.sync_all());
        if let Err(error) = made {
            let _ = std::fs::remove_file(&fresh);
            return Err(error);
        }
        Ok(fresh)
    }

    /// Gives a path of [`take`](Self::take) back, of which nothing was used.
    pub(crate) fn give_back(&self, path: &Path) {
        let mut state = self.shared.state();
        let is_free = !state.is_ready && !state.is_zeroing;
        state.is_ready = is_free && std::fs::rename(path, self.shared.spare()).is_ok();
        if !state.is_ready || !is_free {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Retires a segment: it becomes the spare one if there is none, and if nobody else has it;
    /// else it is removed. Returns true if it was kept.
    pub(crate) fn retire(&self, path: &Path) -> io::Result<bool> {
        let file = system::open_to_read(path)?;
        let about = file.metadata()?;
        let mut state = self.shared.state();
        let is_free = !state.is_ready && !state.is_zeroing && !state.is_wanted;
        // A reader has a shared lock, a backup a hard link.
        if is_free && about.len() == self.shared.len && about.nlink() == 1 && system::try_lock(&file)? {
            std::fs::rename(path, self.shared.spare())?;
            state.is_ready = true;
            return Ok(true);
        }
        std::fs::remove_file(path)?;
        Ok(false)
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.shared.state().is_stopped = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Bytes at an address that direct writes take.
#[derive(Debug)]
pub(crate) struct Aligned {
    memory: Vec<u8>,
    from: usize,
    len: usize,
}

/// `len` zeros at a multiple of a page.
pub(crate) fn aligned(len: usize) -> Aligned {
    let memory = vec![0; len + crate::format::PAGE];
    let from = memory.as_ptr().align_offset(crate::format::PAGE);
    Aligned { memory, from, len }
}

impl Aligned {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.from..self.from + self.len]
    }
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.from..self.from + self.len]
    }
}

/// Opens a segment that is to be written.
pub(crate) fn open(path: &Path, method: Method) -> io::Result<File> {
    system::open_durable(path, method)
}
