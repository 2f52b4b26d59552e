//! A ring's files until they are complete, and how they get their names.

use crate::error::{AtPath, CreateError};
use crate::region::{Access, Region};
use crate::ring::draft::Draft;
use crate::ring::lock_file;
use slipring_core::format::{Geometry, RawHeader};
use std::fs::File;
use std::os::unix::fs::FileExt;
use zerocopy::IntoBytes;

/// The files of a ring until they are complete: its own and, if it has one, its lock file.
#[derive(Debug)]
pub(crate) struct RingDraft {
    ring: Draft,
    locks: Option<Draft>,
}

impl RingDraft {
    pub(crate) fn new(ring: Draft, locks: Option<Draft>) -> RingDraft {
        RingDraft { ring, locks }
    }

    /// Reserves the ring's space, and writes a header that says that the ring is not finished.
    pub(crate) fn begin(&self, geometry: &Geometry, raw: &RawHeader) -> Result<(), CreateError> {
        self.ring.reserve(geometry)?;
        let mut unfinished = raw.clone();
        unfinished.checksum = 0;
        self.write_header(&unfinished)
    }

    /// Writes the header. A complete one comes last: a file without a checksum was never finished.
    pub(crate) fn write_header(&self, raw: &RawHeader) -> Result<(), CreateError> {
        let written = self.ring.file().write_all_at(raw.as_bytes(), 0);
        written.map_err(|error| CreateError::io("write its header", error))
    }

    /// Maps the ring, for writing all of it.
    pub(crate) fn map(&self, geometry: &Geometry) -> Result<Region, CreateError> {
        Region::map(self.ring.file(), geometry, Access::Everything, false)
            .map_err(|error| CreateError::io("map it", error))
    }

    /// The file that holds the locks.
    pub(crate) fn rights(&self) -> &File {
        self.locks.as_ref().unwrap_or(&self.ring).file()
    }

    /// Makes the ring visible. The lock file comes first, so that no ring is without it.
    pub(crate) fn name(&mut self) -> Result<(), AtPath<CreateError>> {
        let ring_path = self.ring.path().to_path_buf();
        if let Some(locks) = &mut self.locks {
            let mut named = locks.name();
            if matches!(named, Err(CreateError::AlreadyExists)) {
                lock_file::clear_leftover(&ring_path);
                named = locks.name();
            }
            named.map_err(|error| AtPath { path: locks.path().to_path_buf(), error })?;
        }
        self.ring.name().map_err(|error| {
            if let Some(locks) = &self.locks {
                // Its right keeps other creators away; a failure leaves a leftover.
                drop(std::fs::remove_file(locks.path()));
            }
            AtPath { path: ring_path, error }
        })
    }
}
