//! What a child that forks without `exec` must not share with its parent: the locks, and the mapping.
//!
//! A descriptor in the child would keep the parent's locks alive after the parent's death; its number stays
//! taken (it becomes `/dev/null`), since the child's copy of the owner will close it again. A mapping is
//! not inherited (`MADV_DONTFORK`), but the hole it leaves would be given to the child's next allocation,
//! which a stale handle could then write into or unmap; so the hole is filled with a mapping that nobody
//! may touch. A child made by a raw `clone` runs no handlers: there the owners compare process numbers.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicUsize};

const FREE: usize = 0;
const CLAIMED: usize = 1;
const DESCRIPTOR: usize = 2;
const MAPPING: usize = 3;
/// What was a mapping of a file is zeros of this process.
const LOST: usize = 4;

/// Something that the child's handler deals with. Nodes are never freed; free ones are used again.
#[derive(Debug)]
struct Node {
    /// What it is. The other two are stored before this becomes [`DESCRIPTOR`] or [`MAPPING`].
    kind: AtomicUsize,
    /// The descriptor, or the address.
    what: AtomicUsize,
    /// Bytes of a mapping.
    len: AtomicUsize,
    next: *const Node,
}

// SAFETY: `next` is written once, before the node is shared; nodes are never freed.
unsafe impl Sync for Node {}
// SAFETY: as above.
unsafe impl Send for Node {}

/// A list that only grows: readable inside a fork handler, which may neither lock nor allocate.
static LIST: AtomicPtr<Node> = AtomicPtr::new(std::ptr::null_mut());

fn nodes() -> impl Iterator<Item = &'static Node> {
    let mut next = LIST.load(Acquire).cast_const();
    std::iter::from_fn(move || {
        // SAFETY: pointers in the list are null or to leaked nodes.
        let node: &'static Node = unsafe { next.as_ref() }?;
        next = node.next;
        Some(node)
    })
}

/// An entry of the list, for as long as it lives.
#[derive(Debug)]
struct Entry(&'static Node);

impl Entry {
    fn new(kind: usize, what: usize, len: usize) -> Entry {
        static HANDLER: OnceLock<()> = OnceLock::new();
        HANDLER.get_or_init(|| {
            if !cfg!(miri) {
                // SAFETY: the handler only makes system calls. Registering fails for want of memory only;
                // then the process numbers that the owners compare are what is left.
                unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
            }
        });
        let claim = |node: &&Node| node.kind.compare_exchange(FREE, CLAIMED, AcqRel, Relaxed).is_ok();
        let node = nodes().find(claim).unwrap_or_else(push);
        node.what.store(what, Relaxed);
        node.len.store(len, Relaxed);
        node.kind.store(kind, Release);
        Entry(node)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.kind.store(FREE, Release);
    }
}

fn push() -> &'static Node {
    let node = Box::leak(Box::new(Node {
        kind: AtomicUsize::new(CLAIMED),
        what: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        next: LIST.load(Relaxed),
    }));
    while let Err(now) = LIST.compare_exchange(node.next.cast_mut(), node, AcqRel, Relaxed) {
        node.next = now;
    }
    node
}

/// A file that children do not share.
#[derive(Debug)]
pub(crate) struct ForkClosed {
    // Dropped first: a number that was closed may be somebody else's already.
    _entry: Entry,
    file: File,
}

impl ForkClosed {
    pub(crate) fn new(file: File) -> ForkClosed {
        // A descriptor is never negative.
        let descriptor = usize::try_from(file.as_raw_fd()).unwrap_or(usize::MAX);
        ForkClosed { _entry: Entry::new(DESCRIPTOR, descriptor, 0), file }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

/// Fills the hole that a mapping leaves in children, for as long as this lives.
#[derive(Debug)]
pub(crate) struct HoleFilled {
    entry: Entry,
    process: u32,
}

impl HoleFilled {
    /// For the mapping of `len` bytes at `address`, which is not inherited.
    pub(crate) fn new(address: *const u8, len: usize) -> HoleFilled {
        HoleFilled {
            entry: Entry::new(MAPPING, address.expose_provenance(), len),
            process: std::process::id(),
        }
    }

    /// True if the file was cut short under it, and what is mapped now is nobody else's.
    pub(crate) fn is_lost(&self) -> bool {
        self.entry.0.kind.load(Acquire) == LOST
    }

    /// True in a forked child: what is mapped there is not the ring.
    pub(crate) fn is_foreign(&self) -> bool {
        self.process != std::process::id()
    }
}

/// Replaces the mapping that `address` lies in by zeros. False if it is none of ours, or that cannot be done.
///
/// Called in a handler of SIGBUS: makes one system call, and touches atomics that are never freed.
pub(crate) fn lose_mapping_at(address: usize) -> bool {
    let range = |node: &Node| {
        let is_mapping = matches!(node.kind.load(Acquire), MAPPING | LOST);
        let (start, len) = (node.what.load(Acquire), node.len.load(Acquire));
        start..start + if is_mapping { len } else { 0 }
    };
    // Twice: a node that is not ours may be becoming another's at this moment.
    let is_ours = |node: &&Node| range(node).contains(&address) && range(node).contains(&address);
    let Some(node) = nodes().find(is_ours) else { return false };
    // Several threads may come here for the same mapping, and the later ones find it done.
    if node.kind.compare_exchange(MAPPING, LOST, AcqRel, Relaxed).is_err() {
        return true;
    }
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let start = std::ptr::with_exposed_provenance_mut(node.what.load(Relaxed));
    // SAFETY: replaces a mapping of ours whose owner is using it, and so has not unmapped it. Its memory was shared
    // with other processes; that it changes under this one is what its users provide for.
    let mapped = unsafe { libc::mmap(start, node.len.load(Relaxed), protection, flags, -1, 0) };
    mapped != libc::MAP_FAILED
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
            // SAFETY: fills a hole and replaces nothing.
            unsafe { fill_hole(what, len) };
        } else if let Ok(descriptor) = libc::c_int::try_from(what) {
            // SAFETY: the descriptor belongs to a file that only the parent may use.
            unsafe { replace(descriptor, null) };
        }
    }
    if null != -1 {
        // SAFETY: opened above and used by nobody else.
        unsafe { libc::close(null) };
    }
}

/// # Safety
///
/// Called in a forked child, for a range that the parent had mapped.
unsafe fn fill_hole(address: usize, len: usize) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    let address = std::ptr::with_exposed_provenance_mut(address);
    // SAFETY: MAP_FIXED_NOREPLACE touches no mapping that is there. Failure leaves the hole.
    unsafe { libc::mmap(address, len, libc::PROT_NONE, flags, -1, 0) };
}

/// # Safety
///
/// Called in a forked child, for a descriptor that nobody in it uses.
unsafe fn replace(descriptor: libc::c_int, null: libc::c_int) {
    // SAFETY: dup3 is async-signal-safe, and so is close.
    let replaced = null != -1 && unsafe { libc::dup3(null, descriptor, libc::O_CLOEXEC) } != -1;
    if !replaced {
        // SAFETY: as above.
        unsafe { libc::close(descriptor) };
    }
}
