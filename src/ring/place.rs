//! Where a ring is, and the conditions of a handle on it.

use crate::error::AtPath;
use crate::id::RingId;
use crate::message::{Message, MessageType};
use crate::region::Region;
use crate::region::pages::Pages;
use crate::region::rights::HeapRights;
use crate::ring::header::Header;
use crate::ring::paths::{IN_MEMORY, from_the_root};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where a ring is: a path, a [`Ring`](crate::Ring) that is already open (the only way to one on
/// the heap), or [`At`] a path or a ring with conditions.
///
/// Implemented for everything that is a path to the standard library, for `&Ring`, and for [`At`].
///
/// ```
/// use slipring::{At, Consumer, Place, RingOptions, Start};
///
/// fn lag(place: impl Place) -> Result<u64, slipring::Error> {
///     let mut consumer = Consumer::<[u8]>::attach(place, Start::Earliest)?;
///     Ok(std::iter::from_fn(|| consumer.try_recv().ok().map(drop)).count() as u64)
/// }
///
/// let ring = RingOptions::new(48, 64).create_in_memory()?;
/// assert_eq!(lag(&ring)?, 0); // an open ring
/// assert_eq!(lag(At::ring(&ring).only_ring(ring.id()))?, 0); // with a condition
/// assert!(lag("/dev/shm/no-such-ring").is_err()); // a path
/// # Ok::<(), slipring::Error>(())
/// ```
pub trait Place: sealed::Sealed {
    #[doc(hidden)]
    fn at(self) -> At;
}

pub(super) mod sealed {
    use crate::ring::place::At;
    use std::path::Path;

    #[expect(unnameable_types, reason = "sealed")]
    pub trait Sealed {}
    impl<P: AsRef<Path>> Sealed for P {}
    impl Sealed for At {}
    impl Sealed for &At {}
}

impl<P: AsRef<Path>> Place for P {
    fn at(self) -> At {
        At::path(self)
    }
}

impl Place for At {
    fn at(self) -> At {
        self
    }
}

impl Place for &At {
    fn at(self) -> At {
        self.clone()
    }
}

/// A place with conditions; every call that takes a path takes an `At`.
///
/// ```
/// # let dir = std::env::temp_dir().join(format!("slipring-at-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// # let path = dir.join("quotes");
/// use slipring::{At, Consumer, Pages, Producer, RingOptions, Start};
/// use std::time::Duration;
///
/// let creator = std::thread::spawn({
///     let path = path.clone();
///     move || RingOptions::new(48, 1024).create(path).map(|ring| ring.id())
/// });
/// let place = At::path(&path).wait(Duration::from_secs(10)).pages(Pages::new().prefault(true));
/// let mut producer = Producer::<[u8]>::open(&place)?; // waits until the ring exists
/// let id = creator.join().unwrap()?;
/// let mut consumer = Consumer::<[u8]>::attach(place.only_ring(id), Start::Earliest)?;
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct At {
    pub(crate) source: Source,
    pub(crate) demands: Demands,
}

impl At {
    /// The ring at a path.
    pub fn path(path: impl AsRef<Path>) -> At {
        At::from(Source(Kind::File { path: path.as_ref().to_path_buf(), ring: None }))
    }

    /// Waits at most `timeout` for a ring that does not exist yet. The call notices its creation
    /// within 20 ms, and sleeps between its looks. Default:
    /// [`OpenError::NotFound`](crate::OpenError::NotFound) at once.
    #[must_use]
    pub fn wait(mut self, timeout: Duration) -> At {
        self.demands.wait = timeout;
        self
    }

    /// Insists on this ring, not one made later at the same path: positions saved elsewhere mean
    /// nothing in another ring.
    #[must_use]
    pub fn only_ring(mut self, id: RingId) -> At {
        self.demands.ring_id = Some(id);
        self
    }

    /// As [`only_ring`](Self::only_ring), and accepts a ring that was
    /// [restored](crate::Restoration) in the place of this one, however often: for positions that
    /// were saved of the ring `id`. A start at such a position is where it was, if every ring since
    /// has kept the messages below it; otherwise the attach returns
    /// [`StartError::Rewound`](crate::StartError::Rewound).
    #[must_use]
    pub fn continuing(mut self, id: RingId) -> At {
        self.demands.continuing = Some(id);
        self
    }

    /// Accepts a file that belongs to this user. By default a handle accepts only files of the
    /// process's own user and of root: the owner of a file can change messages while a reader reads
    /// them in place.
    #[must_use]
    pub fn trust_owner(mut self, user: u32) -> At {
        self.demands.trusted_owner = Some(user);
        self
    }

    /// How a handle gets the pages that it maps. By default the kernel maps each page at its first
    /// access.
    #[must_use]
    pub fn pages(mut self, pages: Pages) -> At {
        self.demands.pages = pages;
        self
    }

    /// Accepts a ring that carries another type than the handle's. A handle for bytes accepts any
    /// ring; a handle for values accepts rings with blocks of a value's length. By default
    /// the types must be the same, and a ring of values refuses a handle for bytes: its producer
    /// could send bytes that are no value, and its reader could take numbers for text.
    ///
    /// ```
    /// use slipring::{At, Consumer, Producer, RecvError, RingOptions, Start};
    ///
    /// let ring = RingOptions::of::<u64>(64).create_in_memory()?;
    /// assert!(Producer::<[u8]>::open(&ring).is_err());
    /// let mut untyped = Producer::<[u8]>::open(At::ring(&ring).any_type())?;
    /// let mut consumer = Consumer::<u64>::attach(&ring, Start::Earliest)?;
    /// untyped.send(b"short")?;
    /// untyped.send(&7_u64.to_le_bytes())?;
    /// assert!(matches!(consumer.recv(), Err(RecvError::WrongLength { position: 0, .. })));
    /// assert_eq!(*consumer.recv()?, 7); // the next receive goes on
    /// # Ok::<(), slipring::Error>(())
    /// ```
    #[must_use]
    pub fn any_type(mut self) -> At {
        self.demands.any_type = true;
        self
    }

    /// Insists on the dead-letter ring of this ring. The attach refuses any other file, and leaves
    /// it untouched.
    pub(crate) fn dead_letters_of(mut self, ring: RingId) -> At {
        self.demands.dead_of = Some(ring);
        self
    }

    /// For a handle of messages of type `T`.
    pub(crate) fn carrying<T: ?Sized + Message>(mut self) -> At {
        self.demands.carries = T::CARRIES.map_or(Carries::Bytes, Carries::Values);
        self
    }

    /// The error of an operation that has not opened the ring yet.
    pub(crate) fn at_path<E>(&self, error: E) -> AtPath<E> {
        let path = match &self.source.0 {
            Kind::File { path, .. } => from_the_root(path.clone()),
            Kind::Heap { .. } => PathBuf::from(IN_MEMORY),
        };
        AtPath { path, error }
    }
}

impl From<Source> for At {
    fn from(source: Source) -> At {
        At { source, demands: Demands::default() }
    }
}

/// A place, resolved.
#[derive(Clone, Debug)]
pub(crate) struct Source(pub(crate) Kind);

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A path, and the ring that the last look found there.
    File { path: PathBuf, ring: Option<RingId> },
    /// Memory of this process.
    Heap { region: Region, rights: Arc<HeapRights>, header: Arc<Header>, dead: Option<Box<Source>> },
}

/// The conditions of an attach.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Demands {
    pub(crate) trusted_owner: Option<u32>,
    pub(crate) ring_id: Option<RingId>,
    /// The ring, or one of its ancestors.
    pub(crate) continuing: Option<RingId>,
    /// The ring whose dead letters the ring must hold.
    pub(crate) dead_of: Option<RingId>,
    pub(crate) pages: Pages,
    pub(crate) wait: Duration,
    pub(crate) any_type: bool,
    pub(crate) carries: Carries,
}

/// The messages of a handle.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Carries {
    /// None: a [`Ring`] looks at the ring only.
    #[default]
    Nothing,
    Bytes,
    Values(MessageType),
}
