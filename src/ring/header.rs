//! The header of a ring's file. Each number that serves as an offset, a size or an index is checked
//! here, copied out once, and never read from shared memory again.

use crate::error::OpenError;
use crate::id::{MessageId, RingId};
use crate::message::MessageType;
use crate::ring::ancestor::{Ancestor, watermark};
use crate::ring::companion::DeadLetterOptions;
use slipring_core::format::{
    BYTE_ORDER, FORMAT_VERSION, Geometry, GeometryError, HEADER_LEN, KNOWN_REQUIRED_FEATURES, MAGIC,
    POSITION_MAX, RawHeader, SCHEMA_MAX, to_usize,
};
use slipring_core::protocol::Damage;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use zerocopy::FromBytes;

/// The fields of a header, validated.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) geometry: Geometry,
    pub(crate) ring_id: RingId,
    pub(crate) created_unix_ns: u64,
    pub(crate) type_fingerprint: u64,
    pub(crate) schema: String,
    pub(crate) durable_inactive_ms: u64,
    /// Of a dead-letter ring: the ring whose dead letters it holds.
    pub(crate) dead_of: Option<RingId>,
    /// Of a ring with groups: capacity and policy of its dead-letter ring.
    pub(crate) dead_letters: DeadLetterOptions,
    /// Inode number of the file that holds the locks; none if that is the ring's own.
    pub(crate) lock_file: Option<u64>,
    /// The rings that this one continues, the nearest first.
    pub(crate) ancestors: Vec<Ancestor>,
}

impl Header {
    /// Of a validated geometry and description.
    pub(crate) fn of(raw: &RawHeader, geometry: Geometry, schema: &str) -> Header {
        Header {
            geometry,
            ring_id: RingId(raw.ring_id),
            created_unix_ns: raw.created_unix_ns,
            type_fingerprint: raw.type_fingerprint,
            schema: schema.to_owned(),
            durable_inactive_ms: raw.durable_inactive_ms,
            dead_of: Some(RingId(raw.dead_of)).filter(|id| id.0 != [0; 16]),
            dead_letters: DeadLetterOptions::from_header(raw.dead_capacity, raw.dead_policy),
            lock_file: Some(raw.lock_file).filter(|&inode| inode != 0),
            ancestors: raw.ancestors().map(Ancestor::from).collect(),
        }
    }

    /// The identity of the message at a position. A message that a lost ring had keeps the identity
    /// that it had there: an effect that was keyed by it happens once, also across the loss.
    ///
    /// Example: this ring continues B from 900 on, and B continued A from 500 on. Message 400 is
    /// A's, 600 is B's, and 900 is this ring's own.
    pub(crate) fn identity(&self, position: u64) -> MessageId {
        let inherited = self.ancestors.iter().take_while(|ancestor| position < ancestor.watermark);
        let ring = inherited.last().map_or(self.ring_id, |ancestor| ancestor.ring);
        MessageId { ring, position }
    }

    pub(crate) fn is_or_continues(&self, ring: RingId) -> bool {
        self.ring_id == ring || watermark(&self.ancestors, ring).is_some()
    }

    /// True if the ring's messages are values of this type.
    pub(super) fn carries(&self, of: MessageType) -> bool {
        (self.type_fingerprint, self.schema.as_str()) == (of.fingerprint, of.schema)
    }
}

/// The header of a file of this length, validated.
pub(super) fn parse(file: &File, len: u64) -> Result<Header, OpenError> {
    let raw = read_header(file, len)?;
    verify(&raw)?;
    let geometry = plan(&raw)?;
    if let Some((field, found, expected)) = raw.geometry_mismatch(&geometry) {
        return Err(OpenError::Layout { field, found, expected });
    }
    if len != geometry.file_len() {
        return Err(OpenError::Length { found: len, expected: geometry.file_len() });
    }
    let geometry = geometry.starting_at(raw.first_position).map_err(OpenError::Geometry)?;
    check_ancestors(&raw, &geometry).map_err(OpenError::Damaged)?;
    let schema = schema(&raw).ok_or(OpenError::Geometry(GeometryError::Schema(raw.schema_len)))?;
    Ok(Header::of(&raw, geometry, schema))
}

/// A ring begins with what it has of the ring that it continues, a lap at most.
fn check_ancestors(raw: &RawHeader, geometry: &Geometry) -> Result<(), Damage> {
    let first = geometry.first_position();
    for (number, ancestor) in raw.ancestors().enumerate() {
        let (low, high) = if number == 0 { (first, first + geometry.capacity()) } else { (0, POSITION_MAX) };
        Damage::bound("watermark of an ancestor", ancestor.watermark, low, high)?;
    }
    Ok(())
}

/// The header's bytes, of a file that begins as a ring does.
pub(crate) fn read_header(file: &File, len: u64) -> Result<RawHeader, OpenError> {
    let header_len = to_usize(HEADER_LEN);
    let mut bytes = Vec::with_capacity(header_len);
    read_start(file, &mut bytes, header_len).map_err(|error| OpenError::io("read its header", error))?;
    if !bytes.starts_with(&MAGIC) {
        return Err(OpenError::NotARing { len, begins: bytes.into_iter().take(8).collect() });
    }
    RawHeader::read_from_bytes(&bytes).map_err(|_| OpenError::Length { found: len, expected: HEADER_LEN })
}

/// An error if the header is none of this version, or was changed.
pub(crate) fn verify(raw: &RawHeader) -> Result<(), OpenError> {
    if raw.byte_order == BYTE_ORDER.swap_bytes() {
        return Err(OpenError::WrongByteOrder);
    }
    if raw.version != FORMAT_VERSION {
        return Err(OpenError::Version { found: raw.version });
    }
    if raw.checksum == 0 {
        return Err(OpenError::Incomplete);
    }
    let computed = raw.compute_checksum();
    if raw.checksum != computed {
        return Err(OpenError::Checksum { stored: raw.checksum, computed });
    }
    let unknown = raw.features_required & !KNOWN_REQUIRED_FEATURES;
    if unknown != 0 {
        return Err(OpenError::Features { bits: unknown });
    }
    Ok(())
}

/// The geometry that the header's numbers make.
pub(crate) fn plan(raw: &RawHeader) -> Result<Geometry, OpenError> {
    Geometry::plan(raw.block_size, raw.capacity, raw.consumers)
        .and_then(|geometry| geometry.with_groups(raw.groups, raw.workers))
        .map_err(OpenError::Geometry)
}

/// The description of the ring's type; none if it is no text.
pub(crate) fn schema(raw: &RawHeader) -> Option<&str> {
    let len = usize::try_from(raw.schema_len).ok().filter(|&len| len <= SCHEMA_MAX)?;
    std::str::from_utf8(&raw.schema[..len]).ok()
}

/// Reads up to `len` bytes from the start of the file; fewer if it is shorter.
fn read_start(file: &File, bytes: &mut Vec<u8>, len: usize) -> io::Result<()> {
    bytes.resize(len, 0);
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(())
}
