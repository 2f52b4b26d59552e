//! A ring made anew in the place of one that was lost: filled with the messages that a journal has,
//! with the members at their positions, before any other process sees it.

use crate::error::{AtPath, CreateError, OpenError};
use crate::message::Outgoing;
use crate::region::Region;
use crate::ring::ancestor::Ancestor;
use crate::ring::paths::dead_path;
use crate::ring::place::At;
use crate::ring::ring_draft::RingDraft;
use crate::ring::{Ring, RingOptions, birth, make_way};
use crate::system;
use slipring_core::format::{Geometry, RawHeader};
use slipring_core::protocol::furnish::{Declared, Refill};
use std::path::{Path, PathBuf};

impl RingOptions {
    /// The ring continues these rings, of which the first was lost last: the first's watermark is
    /// the position up to which the new ring is [filled](Restoration::push). A program that has
    /// saved a position of one of them goes on in this ring
    /// ([`At::continuing`](crate::At::continuing)). The ring remembers 26 ancestors.
    #[must_use]
    pub fn continues(mut self, ancestors: impl IntoIterator<Item = Ancestor>) -> RingOptions {
        self.ancestors = ancestors.into_iter().collect();
        self
    }

    /// Begins a ring in the place of one that was lost. No other process sees it before
    /// [`Restoration::finish`]; dropping the restoration, or the death of the process, leaves
    /// nothing behind, as at [`create`](Self::create).
    ///
    /// [`first_position`](Self::first_position) is the position of the first message that is
    /// pushed. It is at most the watermark of the first of the rings that the new one
    /// [`continues`](Self::continues), and at least the watermark less the capacity: a ring holds
    /// no more. [`durable_at`](Self::durable_at) and [`group_at`](Self::group_at) say where the
    /// members go on.
    ///
    /// # Errors
    ///
    /// [`CreateError::Restored`] if the first position and the watermark do not fit; otherwise as
    /// [`create`](Self::create).
    pub fn restore(&self, path: impl AsRef<Path>) -> Result<Restoration, AtPath<CreateError>> {
        let path = path.as_ref().to_path_buf();
        let failed = |error| AtPath { path: path.clone(), error };
        let (geometry, raw) = self.plan().map_err(failed)?;
        let first = geometry.first_position();
        let watermark = self.ancestors.first().map_or(first, |ancestor| ancestor.watermark);
        if !(first..=first + geometry.capacity()).contains(&watermark) {
            return Err(failed(CreateError::Restored { position: first, watermark }));
        }
        if std::fs::symlink_metadata(&path).is_ok() {
            return Err(failed(CreateError::AlreadyExists));
        }
        if geometry.groups() > 0 {
            make_way(dead_path(&path))?;
        }
        let (draft, raw) = self.draft(&path, &geometry, &raw)?;
        let region = draft.map(&geometry).map_err(failed)?;
        let refill = Refill::new(region, geometry)
            .map_err(|damage| failed(CreateError::Open(OpenError::Damaged(damage))))?;
        Ok(Restoration { options: self.clone(), path, draft, geometry, raw, refill, watermark })
    }
}

/// A ring that takes the place of one that was lost, while it is filled. No other process sees it.
///
/// ```
/// # let dir = std::env::temp_dir().join(format!("slipring-restoration-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// # let path = dir.join("orders");
/// use slipring::{
///     Ancestor, At, AttachError, Consumer, ConsumerOptions, RingId, RingOptions, Start,
///     StartError,
/// };
///
/// // What a journal kept of the lost ring: messages up to 103, and that `audit` had come to 101.
/// let lost = RingId::from_bytes([7; 16]);
/// let options = RingOptions::new(48, 64).continues([Ancestor { ring: lost, watermark: 103 }]);
/// let mut restoration = options.first_position(100).durable_at("audit", 101).restore(&path)?;
/// for message in [b"a", b"b", b"c"] {
///     restoration.push(message)?;
/// }
/// let ring = restoration.finish()?; // from now on, other processes see it
/// assert!(ring.head() == 103 && ring.id() != lost);
///
/// let mut audit: Consumer = ConsumerOptions::new().name("audit").durable(true).attach(&ring)?;
/// assert_eq!(*audit.recv()?, *b"b");
///
/// // A program that saved a position of the lost ring goes on there, if the message was kept.
/// let saved = At::path(&path).continuing(lost);
/// assert_eq!(*Consumer::<[u8]>::attach(&saved, Start::At(102))?.recv()?, *b"c");
/// let error = Consumer::<[u8]>::attach(&saved, Start::At(105)).unwrap_err();
/// let AttachError::Start(StartError::Rewound { watermark, .. }) = error.error else { panic!() };
/// assert_eq!(watermark, 103);
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a restoration leaves nothing behind"]
pub struct Restoration {
    options: RingOptions,
    path: PathBuf,
    draft: RingDraft,
    geometry: Geometry,
    raw: RawHeader,
    refill: Refill<Region>,
    watermark: u64,
}

impl Restoration {
    /// The position of the next message that is pushed.
    pub fn position(&self) -> u64 {
        self.refill.position()
    }

    /// Appends the next message of the lost ring.
    ///
    /// # Errors
    ///
    /// [`CreateError::Message`] if it is longer than a block or, in a ring of values, no value;
    /// [`CreateError::Restored`] if it lies beyond the watermark.
    pub fn push<'m>(&mut self, message: impl Into<Outgoing<'m, [u8]>>) -> Result<(), AtPath<CreateError>> {
        let Outgoing { kind, message } = message.into();
        let (len, block) = (message.len() as u64, self.geometry.block_size());
        let is_value = self.raw.type_fingerprint == 0 || len == block;
        if len > block || !is_value {
            return Err(self.failed(CreateError::Message {
                position: self.position(),
                len,
                block_size: block,
            }));
        }
        if self.position() >= self.watermark || !self.refill.push(kind, message) {
            return Err(self.out_of_place());
        }
        Ok(())
    }

    /// Puts the members in their places, and makes the ring visible.
    ///
    /// # Errors
    ///
    /// [`CreateError::Restored`] if messages up to the watermark are missing;
    /// [`CreateError::Member`] if a durable consumer or a group is to go on where the ring has no
    /// messages; [`CreateError::AlreadyExists`] if another process made a ring at the path
    /// meanwhile. Nothing is left behind.
    pub fn finish(self) -> Result<Ring, AtPath<CreateError>> {
        if self.position() != self.watermark {
            return Err(self.out_of_place());
        }
        let Restoration { options, path, draft, geometry, raw, refill, watermark } = self;
        let failed = |error| AtPath { path: path.clone(), error };
        options.members_lie_in(geometry.first_position(), watermark).map_err(failed)?;
        let declared = Declared { durables: &options.durable, groups: &options.declared_groups };
        refill
            .finish(declared, system::process_id().into(), birth())
            .map_err(|error| failed(CreateError::from(error)))?;
        draft.write_header(&raw).map_err(failed)?;
        let id = options.name(&path, &geometry, &raw, draft)?;
        Ok(Ring::open(At::path(&path).only_ring(id))?)
    }

    fn out_of_place(&self) -> AtPath<CreateError> {
        self.failed(CreateError::Restored { position: self.position(), watermark: self.watermark })
    }

    fn failed(&self, error: CreateError) -> AtPath<CreateError> {
        AtPath { path: self.path.clone(), error }
    }
}

impl RingOptions {
    /// An error if a member is to begin where the ring has no messages.
    pub(super) fn members_lie_in(&self, first: u64, head: u64) -> Result<(), CreateError> {
        let durables = self.durable.iter().map(|durable| (&durable.name, durable.begins_at));
        let groups = self.declared_groups.iter().map(|group| (&group.name, group.begins_at));
        for (name, begins_at) in durables.chain(groups) {
            if let Some(position) = begins_at.filter(|at| !(first..=head).contains(at)) {
                return Err(CreateError::Member { name: name.clone(), position, first, head });
            }
        }
        Ok(())
    }
}
