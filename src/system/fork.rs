//! Keeps the locks and the mapping of a ring out of a child that forks without `exec`.
//!
//! A descriptor in the child would keep the parent's locks alive after the parent's death; its
//! number stays taken (it becomes `/dev/null`), since the child's copy of the owner will close it
//! again. Where `/dev/null` is not to be had, the child closes the descriptor and notes that. A
//! mapping is not inherited (`MADV_DONTFORK`), but the hole it leaves would be given to the child's
//! next allocation, which a stale handle could then write into or unmap; so the hole is filled with
//! zeros of the child's own and marked, so that a handle in the child reports [`State::Foreign`]. A
//! child made by a raw `clone` runs no fork handlers: there the owners of a mapping compare
//! processes.

use super::Process;
use std::cell::{Cell, UnsafeCell};
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

const FREE: usize = 0;
const DESCRIPTOR: usize = 1;
const MAPPING: usize = 2;
/// A former mapping of a file, replaced by zeros of this process.
const LOST: usize = 3;
/// The same in a forked child: the mapping is its parent's.
const FOREIGN: usize = 4;

/// The mapping of a page that the hardware lost, replaced likewise.
const POISONED: usize = 5;

/// A descriptor that a forked child closed, having nothing to put in its place: its number may be
/// another file's.
const CLOSED: usize = 6;

/// How a mapping was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The file has no such page any more, or no place to store it.
    Storage,
    /// The memory is defective.
    Hardware,
}

/// Whether a mapping is still that of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is.
    Whole,
    /// Zeros of this process took its place.
    Lost(Loss),
    /// This process is a forked child, and zeros of its own are in its place.
    Foreign,
}

/// A descriptor or a mapping that the child's fork handler replaces. Nodes are never freed; free
/// nodes are used again.
#[derive(Debug)]
struct Node {
    /// One of the numbers above. `what` and `len` are stored before `kind` becomes [`DESCRIPTOR`]
    /// or [`MAPPING`].
    kind: AtomicUsize,
    /// The descriptor, or the address of the mapping.
    what: AtomicUsize,
    /// Bytes of the mapping; 0 for a descriptor.
    len: AtomicUsize,
    next: *const Node,
    /// The next free node, while this node is free.
    next_free: AtomicPtr<Node>,
}

// SAFETY: `next` is written once, before the node is shared; nodes are never freed.
unsafe impl Sync for Node {}
// SAFETY: as above.
unsafe impl Send for Node {}

/// A list that only grows: readable inside a fork handler, which may neither lock nor allocate.
static LIST: AtomicPtr<Node> = AtomicPtr::new(std::ptr::null_mut());

/// The free nodes. Any thread pushes; only the thread that holds [`POPPING`] pops, so that the
/// successor of the first node stays the same until the first node is taken.
static FREE_LIST: AtomicPtr<Node> = AtomicPtr::new(std::ptr::null_mut());
static POPPING: Mutex<()> = Mutex::new(());

/// A free node, if there is one and no other thread is taking one. Never waits: in a forked child,
/// the thread that holds [`POPPING`] may not exist.
fn pop_free() -> Option<&'static Node> {
    let _popping = POPPING.try_lock().ok()?;
    loop {
        let first = FREE_LIST.load(Acquire);
        // SAFETY: pointers in the list are null or to leaked nodes.
        let node: &'static Node = unsafe { first.as_ref() }?;
        let next = node.next_free.load(Relaxed);
        if FREE_LIST.compare_exchange(first, next, Acquire, Relaxed).is_ok() {
            return Some(node);
        }
    }
}

fn push_free(node: &'static Node) {
    let mut first = FREE_LIST.load(Relaxed);
    loop {
        node.next_free.store(first, Relaxed);
        let this = std::ptr::from_ref(node).cast_mut();
        match FREE_LIST.compare_exchange(first, this, Release, Relaxed) {
            Ok(_) => return,
            Err(now) => first = now,
        }
    }
}

fn nodes() -> impl Iterator<Item = &'static Node> {
    let mut next = LIST.load(Acquire).cast_const();
    std::iter::from_fn(move || {
        // SAFETY: pointers in the list are null or to leaked nodes.
        let node: &'static Node = unsafe { next.as_ref() }?;
        #[cfg(test)]
        tests::LOOKED_AT.with(|count| count.set(count.get() + 1));
        next = node.next;
        Some(node)
    })
}

/// An entry of the list, for as long as it lives.
#[derive(Debug)]
struct Entry(&'static Node);

impl Entry {
    fn new(kind: usize, what: usize, len: usize) -> Entry {
        register_handlers();
        let node = pop_free().unwrap_or_else(push);
        node.what.store(what, Relaxed);
        node.len.store(len, Relaxed);
        node.kind.store(kind, Release);
        Entry(node)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.kind.store(FREE, Release);
        push_free(self.0);
    }
}

fn push() -> &'static Node {
    let node = Box::leak(Box::new(Node {
        kind: AtomicUsize::new(FREE),
        what: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        next: LIST.load(Relaxed),
        next_free: AtomicPtr::new(std::ptr::null_mut()),
    }));
    while let Err(now) = LIST.compare_exchange(node.next.cast_mut(), node, AcqRel, Relaxed) {
        node.next = now;
    }
    node
}

/// Held for reading while a file or a mapping exists that the list does not name, and for writing
/// by a thread that forks.
static UNNAMED: RwLock<()> = RwLock::new(());

thread_local! {
    /// How many [`Window`]s this thread has open.
    static OPEN: Cell<u32> = const { Cell::new(0) };
}

/// The lock of the thread that forks, from before the fork until after it.
struct Forking(UnsafeCell<Option<RwLockWriteGuard<'static, ()>>>);

// SAFETY: accessed only by the thread that holds [`UNNAMED`] for writing.
unsafe impl Sync for Forking {}

static FORKING: Forking = Forking(UnsafeCell::new(None));

/// As long as one is open, no thread of this process forks: from before a file is opened or mapped
/// until the list names it, and from when it is taken off the list until it is closed.
#[derive(Debug)]
#[must_use = "the window lasts as long as this value"]
pub(crate) struct Window(Option<RwLockReadGuard<'static, ()>>);

impl Window {
    pub(crate) fn open() -> Window {
        register_handlers();
        let outer = OPEN.replace(OPEN.get() + 1);
        let lock = || UNNAMED.read().unwrap_or_else(PoisonError::into_inner);
        Window((outer == 0).then(lock))
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.0 = None;
        OPEN.set(OPEN.get() - 1);
    }
}

fn register_handlers() {
    static HANDLERS: OnceLock<()> = OnceLock::new();
    HANDLERS.get_or_init(|| {
        if !cfg!(miri) {
            // SAFETY: the handlers make system calls and take the one lock that no thread keeps for
            // long. Registering fails for want of memory only; then the process numbers that the
            // owners compare are what is left.
            unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(in_child)) };
        }
    });
}

/// A handler of a signal that forks in the midst of a window of its own thread must not wait for
/// itself.
extern "C" fn before_fork() {
    if OPEN.get() == 0 {
        let guard = UNNAMED.write().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: this thread holds the lock for writing.
        unsafe { *FORKING.0.get() = Some(guard) };
    }
}

extern "C" fn after_fork() {
    if OPEN.get() == 0 {
        // SAFETY: this thread, or in the child the copy of it, holds the lock for writing.
        let forking = unsafe { &mut *FORKING.0.get() };
        drop(forking.take());
    }
}

/// A value of which each process has its own: a forked child begins with a new one, whatever its
/// parent's threads were doing with theirs.
#[derive(Debug)]
pub(crate) struct ProcessWide<T: 'static> {
    current: AtomicPtr<(Process, T)>,
}

impl<T: Default + Sync + 'static> ProcessWide<T> {
    pub(crate) const fn new() -> ProcessWide<T> {
        ProcessWide { current: AtomicPtr::new(std::ptr::null_mut()) }
    }

    pub(crate) fn get(&self) -> &'static T {
        let process = super::this_process();
        loop {
            let found = self.current.load(Acquire);
            // SAFETY: null, or to a value that is never freed.
            if let Some((_, value)) = unsafe { found.as_ref() }.filter(|(of, _)| *of == process) {
                return value;
            }
            let new = Box::into_raw(Box::new((process, T::default())));
            if self.current.compare_exchange(found, new, AcqRel, Relaxed).is_err() {
                // SAFETY: made above, and seen by no other thread.
                drop(unsafe { Box::from_raw(new) });
            }
        }
    }
}

/// A file that children do not share.
#[derive(Debug)]
pub(crate) struct ForkClosed {
    // Dropped first: the number of a closed descriptor may belong to another file already.
    entry: ManuallyDrop<Entry>,
    file: ManuallyDrop<File>,
}

impl Drop for ForkClosed {
    fn drop(&mut self) {
        let _window = Window::open();
        let is_closed = self.entry.0.kind.load(Acquire) == CLOSED;
        // SAFETY: dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.entry) };
        if !is_closed {
            // SAFETY: as above.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

impl ForkClosed {
    /// Opens a file. Other threads of this process do not fork while `open` runs: it makes one
    /// system call, on a filesystem that answers.
    pub(crate) fn open<E>(open: impl FnOnce() -> Result<File, E>) -> Result<ForkClosed, E> {
        let _window = Window::open();
        open().map(ForkClosed::new)
    }

    /// The file was opened in a [`Window`] that is still open.
    fn new(file: File) -> ForkClosed {
        // A descriptor is never negative.
        let descriptor = usize::try_from(file.as_raw_fd()).unwrap_or(usize::MAX);
        let entry = ManuallyDrop::new(Entry::new(DESCRIPTOR, descriptor, 0));
        ForkClosed { entry, file: ManuallyDrop::new(file) }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

/// Fills the hole that a mapping leaves in children, for as long as this guard lives.
#[derive(Debug)]
pub(crate) struct HoleFilled {
    entry: Entry,
    process: Process,
}

impl HoleFilled {
    /// Registers the mapping of `len` bytes at `address`, which children do not inherit.
    pub(crate) fn new(address: *const u8, len: usize) -> HoleFilled {
        HoleFilled {
            entry: Entry::new(MAPPING, address.expose_provenance(), len),
            process: super::this_process(),
        }
    }

    /// Whether the mapping is still that of the file.
    pub(crate) fn state(&self) -> State {
        match self.entry.0.kind.load(Acquire) {
            LOST => State::Lost(Loss::Storage),
            POISONED => State::Lost(Loss::Hardware),
            FOREIGN => State::Foreign,
            _ => State::Whole,
        }
    }

    /// True in a forked child: what is mapped there is not the ring.
    pub(crate) fn is_foreign(&self) -> bool {
        self.process != super::this_process()
    }
}

/// Replaces the mapping that `address` lies in by zeros. False if no registered mapping holds
/// `address`, or the kernel refuses.
///
/// Called in a handler of SIGBUS: makes one system call, and touches atomics that are never freed.
pub(crate) fn lose_mapping_at(address: usize, loss: Loss) -> bool {
    let range = |node: &Node| {
        let is_mapping = matches!(node.kind.load(Acquire), MAPPING | LOST | FOREIGN | POISONED);
        let (start, len) = (node.what.load(Acquire), node.len.load(Acquire));
        start..start + if is_mapping { len } else { 0 }
    };
    // Read twice: a node of another mapping may be freed and used again at this moment.
    let is_ours = |node: &&Node| range(node).contains(&address) && range(node).contains(&address);
    let Some(node) = nodes().find(is_ours) else { return false };
    // Several threads may come here for the same mapping, and the later ones find it done.
    let lost = if loss == Loss::Hardware { POISONED } else { LOST };
    if node.kind.compare_exchange(MAPPING, lost, AcqRel, Relaxed).is_err() {
        return true;
    }
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let start = std::ptr::with_exposed_provenance_mut(node.what.load(Relaxed));
    // SAFETY: replaces a registered mapping whose owner is using it, and so has not unmapped it.
    // Its memory was shared with other processes; its users expect it to change under this one.
    let mapped = unsafe { libc::mmap(start, node.len.load(Relaxed), protection, flags, -1, 0) };
    if mapped == libc::MAP_FAILED {
        return false;
    }
    // SAFETY: mapped for writing above, and as long as a segment.
    unsafe { ring_bell(mapped) };
    true
}

/// Sets the first word of a segment's replacement. In the readers' segment that word says that a
/// reader sleeps: a producer looks at it with each message, and at the state of its memory before
/// it wakes a reader.
///
/// # Safety
///
/// `segment` is mapped for writing, and its memory is this process's own.
unsafe fn ring_bell(segment: *mut libc::c_void) {
    // SAFETY: a page at least is mapped; a mapping is aligned.
    unsafe { AtomicU64::from_ptr(segment.cast()) }.store(1, Release);
}

extern "C" fn in_child() {
    // SAFETY: the string is NUL-terminated; open is async-signal-safe.
    let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    for node in nodes() {
        let (what, len) = match node.kind.load(Acquire) {
            DESCRIPTOR | MAPPING => (node.what.load(Relaxed), node.len.load(Relaxed)),
            _ => continue,
        };
        if len > 0 {
            node.kind.store(FOREIGN, Release);
            // SAFETY: fills a hole and replaces nothing.
            unsafe { fill_hole(what, len) };
        } else if let Ok(descriptor) = libc::c_int::try_from(what) {
            // SAFETY: the descriptor belongs to a file that only the parent may use.
            if !unsafe { replace(descriptor, null) } {
                node.kind.store(CLOSED, Release);
            }
        }
    }
    if null != -1 {
        // SAFETY: opened above; no other code uses the descriptor.
        unsafe { libc::close(null) };
    }
    after_fork();
}

/// # Safety
///
/// Called in a forked child, for a range that the parent had mapped.
unsafe fn fill_hole(address: usize, len: usize) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    let start = std::ptr::with_exposed_provenance_mut(address);
    let map = |protection| {
        // SAFETY: MAP_FIXED_NOREPLACE touches no mapping that is there. Failure leaves the hole.
        unsafe { libc::mmap(start, len, protection, flags, -1, 0) }
    };
    // Zeros, in which a handle finds nothing and asks why; an access violation, if there is not
    // memory enough to promise for them.
    let zeros = map(libc::PROT_READ | libc::PROT_WRITE);
    if zeros == libc::MAP_FAILED {
        map(libc::PROT_NONE);
    } else if zeros == start {
        // SAFETY: mapped for writing just now.
        unsafe { ring_bell(zeros) };
    }
}

/// Puts `null` in the place of a descriptor, or closes it; false if it was closed.
///
/// # Safety
///
/// Called in a forked child, for a descriptor that no code in the child uses.
unsafe fn replace(descriptor: libc::c_int, null: libc::c_int) -> bool {
    // SAFETY: dup3 is async-signal-safe, and so is close.
    let replaced = null != -1 && unsafe { libc::dup3(null, descriptor, libc::O_CLOEXEC) } != -1;
    if !replaced {
        // SAFETY: as above.
        unsafe { libc::close(descriptor) };
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        /// How many nodes this thread has looked at on its way through the list.
        pub(super) static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn a_handle_among_thousands_is_registered_and_forgotten_without_a_search() {
        let beside: Vec<Entry> = (0..3000).map(|_| Entry::new(MAPPING, 0, 0)).collect();
        drop((Entry::new(MAPPING, 0, 0), Entry::new(MAPPING, 0, 0)));
        assert_eq!(LOOKED_AT.get(), 0);
        assert!(nodes().count() >= beside.len() && LOOKED_AT.get() >= beside.len(), "they are counted");
    }

    #[test]
    fn what_is_forgotten_is_used_again() {
        let threads = [0, 1].map(|_| {
            std::thread::spawn(|| {
                for _ in 0..2000 {
                    let (first, second) = (Entry::new(MAPPING, 0, 0), Entry::new(MAPPING, 0, 0));
                    assert!(!std::ptr::eq(first.0, second.0));
                    let kinds = [&first, &second].map(|entry| entry.0.kind.load(Acquire));
                    assert_eq!(kinds, [MAPPING; 2], "no other handle has it");
                }
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        // Besides those of other tests, a new one only where two threads met.
        assert!(nodes().count() < 3000 + 2 * 2000);
    }
}
