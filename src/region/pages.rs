//! What a handle asks of the pages that it maps, before the first message.

/// How a handle gets its pages. By default they come one by one, as they are touched: attaching is
/// quick, and the first time round the ring pays a page fault for every 4 KiB.
///
/// ```
/// # let ring = slipring::RingOptions::new(48, 16).create_in_memory()?;
/// use slipring::{At, Pages, Producer};
/// let place = At::ring(&ring).pages(Pages::new().prefault(true).lock(true));
/// let producer = Producer::<[u8]>::open(place)?;
/// # Ok::<(), slipring::Error>(())
/// ```
///
/// A ring on the heap has pages of its own, which are left alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    pub(crate) prefault: bool,
    pub(crate) lock: bool,
    pub(crate) huge: bool,
}

impl Pages {
    /// The defaults: none of it.
    pub const fn new() -> Pages {
        Pages { prefault: false, lock: false, huge: false }
    }

    /// Maps every page while attaching, so that no message waits for a page fault. Attaching then
    /// takes some 0.1 to 0.3 µs for each 4 KiB of the ring.
    #[must_use]
    pub const fn prefault(mut self, prefault: bool) -> Pages {
        self.prefault = prefault;
        self
    }

    /// Keeps every page in memory: a ring that rests is not swapped out. Implies `prefault`.
    /// Attaching fails where the process may not lock so much (`ulimit -l`).
    #[must_use]
    pub const fn lock(mut self, lock: bool) -> Pages {
        self.lock = lock;
        self
    }

    /// Asks for huge pages, for fewer faults and address translations in a ring of many MiB. A
    /// hint: the kernel gives them in `/dev/shm` where
    /// `/sys/kernel/mm/transparent_hugepage/shmem_enabled` lets it.
    #[must_use]
    pub const fn huge(mut self, huge: bool) -> Pages {
        self.huge = huge;
        self
    }
}
