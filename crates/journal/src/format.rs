//! Every byte of a segment: its head, and the heads of frames and of records.
//!
//! `docs/journal.md` says the same for people; `tests/files` has segments of this format that every
//! later version must read.

use slipring::RingId;
use std::ops::Range;

/// The version of the format.
pub const VERSION: u32 = 1;

/// The unit of writing: the head of a segment takes one page, and each frame is padded to whole
/// pages. A multiple of every sector length that disks have.
pub const PAGE: usize = 4096;

/// The bytes of the head of a frame.
pub const FRAME_HEAD: usize = 64;

/// The bytes before each message in a frame: its length and its kind.
pub const RECORD_HEAD: usize = 8;

const SEGMENT_MAGIC: [u8; 8] = *b"SLIPSEGM";
const FRAME_MAGIC: [u8; 4] = *b"SLJ1";
/// What the magic of every version begins with.
const FRAME_MAGIC_STEM: &[u8] = b"SLJ";

/// Offsets in the head of a segment.
mod segment {
    pub(super) const VERSION: usize = 8;
    pub(super) const FLAGS: usize = 12;
    pub(super) const RING: usize = 16;
    pub(super) const FIRST: usize = 32;
    pub(super) const SALT: usize = 40;
    pub(super) const LEN: usize = 48;
    pub(super) const CREATED: usize = 56;
    pub(super) const STAMP: usize = 64;
    pub(super) const SUM: usize = super::PAGE - 4;
}

/// Offsets in the head of a frame.
mod frame {
    pub(super) const BODY_SUM: usize = 4;
    pub(super) const POSITION: usize = 8;
    pub(super) const COUNT: usize = 16;
    pub(super) const LEN: usize = 20;
    pub(super) const STAMP: usize = 24;
    pub(super) const EPOCH: usize = 32;
    pub(super) const KIND: usize = 40;
    pub(super) const FLAGS: usize = 44;
    pub(super) const OFFSET: usize = 48;
    pub(super) const HEAD_SUM: usize = 60;
}

/// The checksum that every sum of one segment begins with: over the ring's id, the segment's first
/// position and its salt.
///
/// A recycled segment still holds frames of its former use. Their sums begin with another seed, so
/// that none of them passes for a frame of this use. The salt is random, so that no producer can
/// publish bytes that pass for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u32);

impl Seed {
    /// The seed of a segment.
    pub fn new(ring: RingId, first: u64, salt: u64) -> Seed {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&ring.to_bytes());
        bytes[16..24].copy_from_slice(&first.to_le_bytes());
        bytes[24..].copy_from_slice(&salt.to_le_bytes());
        Seed(crc32c::crc32c(&bytes))
    }

    /// The checksum of these bytes in the segment: CRC-32C, begun with the seed.
    pub fn sum(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, bytes)
    }
}

/// The head of a segment: one page, written before the segment has its name, and never again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    /// The ring whose messages the segment holds.
    pub ring: RingId,
    /// The position of the segment's first message, as in its name.
    pub first: u64,
    /// Random.
    pub salt: u64,
    /// The bytes of the segment, this page included. The file may be longer, never shorter.
    pub len: u64,
    /// The time of its creation, in nanoseconds since 1970.
    pub created_ns: u64,
    /// The stamp of the last frame before this segment; 0 if there was none.
    pub stamp_ns: u64,
}

/// Why bytes are no head of a segment that this program can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// No head at all, or a damaged one.
    #[error("its first page is damaged, or it is no segment")]
    Damaged,
    /// A head of another version.
    #[error("its format has version {found}, flags {flags:#x}; this program knows version 1 without flags")]
    Unknown {
        /// The version.
        found: u32,
        /// The flags; none are defined.
        flags: u32,
    },
}

impl SegmentHead {
    /// The seed of every sum in the segment.
    pub fn seed(&self) -> Seed {
        Seed::new(self.ring, self.first, self.salt)
    }

    /// Writes the page.
    pub fn encode(&self, page: &mut [u8; PAGE]) {
        page.fill(0);
        put(page, 0, &SEGMENT_MAGIC);
        put(page, segment::VERSION, &VERSION.to_le_bytes());
        put(page, segment::RING, &self.ring.to_bytes());
        put(page, segment::FIRST, &self.first.to_le_bytes());
        put(page, segment::SALT, &self.salt.to_le_bytes());
        put(page, segment::LEN, &self.len.to_le_bytes());
        put(page, segment::CREATED, &self.created_ns.to_le_bytes());
        put(page, segment::STAMP, &self.stamp_ns.to_le_bytes());
        let sum = crc32c::crc32c(&page[..segment::SUM]);
        put(page, segment::SUM, &sum.to_le_bytes());
    }

    /// Reads the page.
    ///
    /// # Errors
    ///
    /// [`HeadError`], if it is no head of a segment of this version.
    pub fn decode(page: &[u8; PAGE]) -> Result<SegmentHead, HeadError> {
        let sound =
            page[..8] == SEGMENT_MAGIC && u32_at(page, segment::SUM) == crc32c::crc32c(&page[..segment::SUM]);
        if !sound {
            return Err(HeadError::Damaged);
        }
        let (found, flags) = (u32_at(page, segment::VERSION), u32_at(page, segment::FLAGS));
        if found != VERSION || flags != 0 {
            return Err(HeadError::Unknown { found, flags });
        }
        let mut ring = [0; 16];
        ring.copy_from_slice(&page[segment::RING..segment::RING + 16]);
        Ok(SegmentHead {
            ring: RingId::from_bytes(ring),
            first: u64_at(page, segment::FIRST),
            salt: u64_at(page, segment::SALT),
            len: u64_at(page, segment::LEN),
            created_ns: u64_at(page, segment::CREATED),
            stamp_ns: u64_at(page, segment::STAMP),
        })
    }
}

/// The content of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Messages.
    Messages = 0,
    /// No message: how far the readers of the ring have come ([`Mark`]).
    Marks = 1,
}

/// Flags of a frame.
pub mod flags {
    /// The producer had closed the stream, and all of it was committed.
    pub const CLOSED: u32 = 1;
    /// The system clock was behind the stamp of an earlier frame: the stamp is that one again.
    pub const CLOCK_BEHIND: u32 = 2;
    /// All that are defined.
    pub const KNOWN: u32 = CLOSED | CLOCK_BEHIND;
}

/// The head of a frame: one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// The position of the first message; of marks, the next position.
    pub position: u64,
    /// The number of messages.
    pub count: u32,
    /// The bytes of the frame, this head included, without the padding.
    pub len: u32,
    /// The time of the commit, in nanoseconds since 1970. Never less than that of an earlier frame.
    pub stamp_ns: u64,
    /// The epoch of the producer when the frame was written.
    pub epoch: u64,
    /// What the frame holds.
    pub content: Content,
    /// [`flags`].
    pub flags: u32,
    /// The frame's own offset in the segment.
    pub offset: u64,
    /// The sum of the bytes behind the head.
    pub body_sum: u32,
}

/// What bytes at the place of a frame's head are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The head of a frame of this segment, at this offset.
    Frame(FrameHead),
    /// The head of a frame, by its sum, with something that this version does not know.
    Unknown(UnknownFrame),
    /// Anything else.
    Nothing,
}

/// What a later version may have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of version {:?}, content {content}, flags {flags:#x}, which this program does not know", char::from(*.version))]
pub struct UnknownFrame {
    /// The last byte of its magic.
    pub version: u8,
    /// Its content.
    pub content: u32,
    /// Its flags.
    pub flags: u32,
}

impl FrameHead {
    /// The bytes that the frame takes in the segment.
    pub fn padded_len(&self) -> u64 {
        u64::from(self.len).next_multiple_of(PAGE as u64)
    }

    /// One past the last position of the frame.
    pub fn next(&self) -> u64 {
        self.position.saturating_add(u64::from(self.count))
    }

    /// Writes the head.
    pub fn encode(&self, seed: Seed, head: &mut [u8; FRAME_HEAD]) {
        head.fill(0);
        put(head, 0, &FRAME_MAGIC);
        put(head, frame::BODY_SUM, &self.body_sum.to_le_bytes());
        put(head, frame::POSITION, &self.position.to_le_bytes());
        put(head, frame::COUNT, &self.count.to_le_bytes());
        put(head, frame::LEN, &self.len.to_le_bytes());
        put(head, frame::STAMP, &self.stamp_ns.to_le_bytes());
        put(head, frame::EPOCH, &self.epoch.to_le_bytes());
        put(head, frame::KIND, &(self.content as u32).to_le_bytes());
        put(head, frame::FLAGS, &self.flags.to_le_bytes());
        put(head, frame::OFFSET, &self.offset.to_le_bytes());
        let sum = seed.sum(&head[..frame::HEAD_SUM]);
        put(head, frame::HEAD_SUM, &sum.to_le_bytes());
    }

    /// Reads what is at an offset of the segment.
    pub fn decode(seed: Seed, offset: u64, head: &[u8; FRAME_HEAD]) -> Decoded {
        // A quick look first: most pages that are looked at begin with other bytes.
        let is_frame = head.starts_with(FRAME_MAGIC_STEM)
            && u64_at(head, frame::OFFSET) == offset
            && u32_at(head, frame::HEAD_SUM) == seed.sum(&head[..frame::HEAD_SUM]);
        if !is_frame {
            return Decoded::Nothing;
        }
        let (content, flags) = (u32_at(head, frame::KIND), u32_at(head, frame::FLAGS));
        let known = match content {
            0 => Some(Content::Messages),
            1 => Some(Content::Marks),
            _ => None,
        };
        match known.filter(|_| head[..4] == FRAME_MAGIC && flags & !flags::KNOWN == 0) {
            None => Decoded::Unknown(UnknownFrame { version: head[3], content, flags }),
            Some(content) => Decoded::Frame(FrameHead {
                position: u64_at(head, frame::POSITION),
                count: u32_at(head, frame::COUNT),
                len: u32_at(head, frame::LEN),
                stamp_ns: u64_at(head, frame::STAMP),
                epoch: u64_at(head, frame::EPOCH),
                content,
                flags,
                offset,
                body_sum: u32_at(head, frame::BODY_SUM),
            }),
        }
    }
}

/// A message in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its position in the ring.
    pub position: u64,
    /// The kind that the producer gave it.
    pub kind: u32,
    /// The message.
    pub bytes: &'a [u8],
}

/// The messages of a frame whose sums were checked. Ends before the first record that does not fit,
/// which no journal writes.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    body: &'a [u8],
    at: usize,
    position: u64,
    end: u64,
}

impl<'a> Records<'a> {
    /// The records of a frame, head included.
    pub fn new(head: &FrameHead, frame: &'a [u8]) -> Records<'a> {
        let end = if head.content == Content::Messages { head.next() } else { head.position };
        Records { body: frame, at: FRAME_HEAD, position: head.position, end }
    }

    /// The place of the next record's message in the frame.
    pub(crate) fn next_range(&mut self) -> Option<(u64, u32, Range<usize>)> {
        if self.position >= self.end {
            return None;
        }
        let (len, kind, from) = record_at(self.body, self.at)?;
        let position = self.position;
        (self.at, self.position) = (from + len, position + 1);
        Some((position, kind, from..from + len))
    }

    /// One past the last position.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// True if every message was there, and nothing behind them.
    pub fn is_exhausted(&self) -> bool {
        self.position >= self.end && self.at == self.body.len()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;
    fn next(&mut self) -> Option<Record<'a>> {
        let body = self.body;
        self.next_range().map(|(position, kind, range)| Record { position, kind, bytes: &body[range] })
    }
}

/// The length, the kind and the place of the message whose record is at an offset of a frame.
pub(crate) fn record_at(frame: &[u8], at: usize) -> Option<(usize, u32, usize)> {
    let head = frame.get(at..at.checked_add(RECORD_HEAD)?)?;
    let (len, from) = (u32_at(head, 0) as usize, at + RECORD_HEAD);
    from.checked_add(len).filter(|to| *to <= frame.len()).map(|_| (len, u32_at(head, 4), from))
}

/// How far a reader of the ring had come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// True for a group of workers; false for a durable consumer.
    pub is_group: bool,
    /// The name.
    pub name: String,
    /// The consumer's tail, or the group's floor.
    pub position: u64,
}

impl Mark {
    const HEAD: usize = 10;

    /// Appends the mark to the body of a frame.
    pub fn encode(&self, body: &mut Vec<u8>) {
        let len = self.name.len().min(usize::from(u8::MAX));
        body.extend_from_slice(&self.position.to_le_bytes());
        body.push(u8::from(self.is_group));
        #[expect(clippy::cast_possible_truncation, reason = "at most 255")]
        body.push(len as u8);
        body.extend_from_slice(&self.name.as_bytes()[..len]);
    }

    /// The marks of a frame whose sums were checked, head included.
    pub fn decode(frame: &[u8]) -> Vec<Mark> {
        let mut rest = frame.get(FRAME_HEAD..).unwrap_or_default();
        let mut marks = Vec::new();
        while rest.len() >= Mark::HEAD {
            let (head, names) = rest.split_at(Mark::HEAD);
            let Some(name) = names.get(..usize::from(head[9])) else { break };
            marks.push(Mark {
                position: u64_at(head, 0),
                is_group: head[8] != 0,
                name: String::from_utf8_lossy(name).into_owned(),
            });
            rest = &names[name.len()..];
        }
        marks
    }
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
