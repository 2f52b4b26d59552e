//! The pages that a handle maps: prefaulted, locked, huge.

/// How a handle gets its pages. By default the kernel maps each page at its first access: attaching
/// is quick, and the first lap pays a page fault for every 4 KiB.
///
/// ```
/// # let ring = slipring::RingOptions::new(48, 16).create_in_memory()?;
/// use slipring::{At, Pages, Producer};
/// let place = At::ring(&ring).pages(Pages::new().prefault(true).lock(true));
/// let producer = Producer::<[u8]>::open(place)?;
/// # Ok::<(), slipring::Error>(())
/// ```
///
/// A ring on the heap ignores these options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    pub(crate) prefault: bool,
    pub(crate) lock: bool,
    pub(crate) huge: bool,
}

impl Pages {
    /// The defaults: no page is prefaulted or locked, and huge pages are not asked for.
    pub const fn new() -> Pages {
        Pages { prefault: false, lock: false, huge: false }
    }

    /// Maps every page while attaching, so that no message waits for a page fault. Attaching then
    /// takes some 0.1 to 0.3 µs more for each 4 KiB of the ring.
    #[must_use]
    pub const fn prefault(mut self, prefault: bool) -> Pages {
        self.prefault = prefault;
        self
    }

    /// Keeps every page in memory: the kernel does not swap an idle ring out. Implies `prefault`.
    /// Attaching fails with [`OpenError::Io`](crate::OpenError::Io) where the process may not lock
    /// so much (`ulimit -l`).
    #[must_use]
    pub const fn lock(mut self, lock: bool) -> Pages {
        self.lock = lock;
        self
    }

    /// Asks for huge pages, for fewer faults and address translations in a ring of many MiB, and
    /// maps the ring at an address at which the kernel can map them. A hint, which costs nothing
    /// where it is refused.
    ///
    /// Ask right after the creation of the ring, before other handles attach: from Linux 6.1 on the
    /// kernel then moves the ring into huge pages, on tmpfs also at the default
    /// `/sys/kernel/mm/transparent_hugepage/shmem_enabled` of `never`, and for any user. To move
    /// them it empties the mappings of all processes that are attached, prefaulted and locked ones
    /// too, and each pays its page faults again. A handle that attaches later asks, too, so that
    /// it is mapped by huge pages; where the ring lies in them already, no mapping is emptied.
    #[must_use]
    pub const fn huge(mut self, huge: bool) -> Pages {
        self.huge = huge;
        self
    }
}
