//! Reading a segment: its frames one after the other, where it ends, and whether that is an end.
//!
//! Each commit is on the disk before the next is written. So bytes that are no frame, with no frame
//! behind them, are the end of what was written: the last commit was torn, or nothing was written
//! there yet. With a frame behind them, they are damage, and never an end.

use crate::format::{
    Content, Decoded, FRAME_HEAD, FrameHead, HeadError, PAGE, Records, SegmentHead, UnknownFrame,
};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that are read at once when pages are searched for frames.
const STRETCH: usize = 256 << 10;

/// Where the bytes of a segment are: a file, or memory.
pub trait Source {
    /// Reads bytes from an offset on; fewer than asked for only at the end.
    ///
    /// # Errors
    ///
    /// Those of reading.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The number of bytes.
    ///
    /// # Errors
    ///
    /// Those of looking.
    fn source_len(&self) -> io::Result<u64>;
}

impl Source for File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            match FileExt::read_at(self, &mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn source_len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl Source for &[u8] {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let n = from.len().min(bytes.len());
        bytes[..n].copy_from_slice(&from[..n]);
        Ok(n)
    }

    fn source_len(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

/// A place in a segment: where the next frame is, and the position that it must begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The offset of the frame.
    pub offset: u64,
    /// The position of its first message.
    pub next: u64,
}

/// What a look at a place found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A whole frame with the right position; the place is behind it now.
    Frame(FrameHead),
    /// No whole frame. [`Segment::judge`] says whether that is an end.
    Nothing,
    /// A frame of a later version.
    Unknown(UnknownFrame),
}

/// What bytes that are no frame mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The place has a whole frame now: a journal has just written it.
    Frame,
    /// The end: no commit that was confirmed is behind it.
    End(End),
    /// A frame is behind it, so what was here was confirmed, and is damaged.
    Damaged {
        /// The first frame behind the damage.
        behind: FrameHead,
    },
    /// A frame of a later version is there, or behind it.
    Unknown(UnknownFrame),
}

/// What is at the end of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The segment has no room for another frame.
    Full,
    /// Zeros, or the remains of the segment's former use, or a commit of which the first sector is
    /// missing.
    Unwritten,
    /// The beginning of a commit that was never whole.
    Torn,
}

/// A segment, to be read.
#[derive(Debug)]
pub struct Segment<S> {
    source: S,
    head: SegmentHead,
    /// The bytes that may be read as frames.
    len: u64,
}

/// Why a segment cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenSegmentError {
    /// Its first page is no head that this program knows.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl<S: Source> Segment<S> {
    /// Reads and checks the head.
    ///
    /// # Errors
    ///
    /// [`OpenSegmentError`].
    pub fn open(source: S) -> Result<Segment<S>, OpenSegmentError> {
        let mut page = [0; PAGE];
        let found = source.read_at(&mut page, 0)?;
        if found < PAGE {
            return Err(HeadError::Damaged.into());
        }
        let head = SegmentHead::decode(&page)?;
        let len = head.len.min(source.source_len()?);
        Ok(Segment { source, head, len })
    }

    /// The head.
    pub fn head(&self) -> &SegmentHead {
        &self.head
    }

    /// Where the bytes are.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The place of the first frame.
    pub fn start(&self) -> Place {
        Place { offset: PAGE as u64, next: self.head.first }
    }

    /// The head of the frame at an offset; its body is not looked at.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn head_at(&self, offset: u64) -> io::Result<Decoded> {
        let mut head = [0; FRAME_HEAD];
        if offset >= self.len || self.source.read_at(&mut head, offset)? < FRAME_HEAD {
            return Ok(Decoded::Nothing);
        }
        Ok(self.bounded(FrameHead::decode(self.head.seed(), offset, &head)))
    }

    /// A frame that claims more bytes than the segment has is none.
    fn bounded(&self, decoded: Decoded) -> Decoded {
        match decoded {
            Decoded::Frame(head)
                if (head.len as usize) < FRAME_HEAD
                    || head.offset.saturating_add(head.padded_len()) > self.len =>
            {
                Decoded::Nothing
            }
            other => other,
        }
    }

    /// Reads the frame at the place into `frame`, head included, and checks its sums. Allocates no
    /// more than the frame's length, which the segment's bounds.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn step(&self, place: &mut Place, frame: &mut Vec<u8>) -> io::Result<Step> {
        let head = match self.head_at(place.offset)? {
            Decoded::Frame(head) => head,
            Decoded::Unknown(unknown) => return Ok(Step::Unknown(unknown)),
            Decoded::Nothing => return Ok(Step::Nothing),
        };
        frame.clear();
        frame.resize(head.len as usize, 0);
        if self.source.read_at(frame, place.offset)? < frame.len() {
            return Ok(Step::Nothing);
        }
        let mut records = Records::new(&head, frame);
        let is_whole = self.head.seed().sum(&frame[FRAME_HEAD..]) == head.body_sum
            && head.position == place.next
            && match head.content {
                Content::Messages => {
                    while records.next_range().is_some() {}
                    records.is_exhausted()
                }
                Content::Marks => head.count == 0,
            };
        if !is_whole {
            return Ok(Step::Nothing);
        }
        *place = Place { offset: place.offset + head.padded_len(), next: head.next() };
        Ok(Step::Frame(head))
    }

    /// Says what it means that a step from `place` found nothing. Searches the rest of the segment.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn judge(&self, place: Place) -> io::Result<Verdict> {
        if place.offset + PAGE as u64 > self.len {
            return Ok(Verdict::End(End::Full));
        }
        let behind = self.find(place.offset + PAGE as u64, self.len)?;
        // A journal may have written this frame, and the one behind it, since the step.
        let mut frame = Vec::new();
        match self.step(&mut place.clone(), &mut frame)? {
            Step::Frame(_) => return Ok(Verdict::Frame),
            Step::Unknown(unknown) => return Ok(Verdict::Unknown(unknown)),
            Step::Nothing => {}
        }
        Ok(match behind {
            Decoded::Frame(behind) => Verdict::Damaged { behind },
            Decoded::Unknown(unknown) => Verdict::Unknown(unknown),
            Decoded::Nothing => match self.head_at(place.offset)? {
                // A whole frame of another position was never written by a journal.
                Decoded::Frame(head) if self.is_whole(&head)? => Verdict::Damaged { behind: head },
                Decoded::Frame(_) => Verdict::End(End::Torn),
                _ => Verdict::End(End::Unwritten),
            },
        })
    }

    fn is_whole(&self, head: &FrameHead) -> io::Result<bool> {
        let mut frame = vec![0; head.len as usize];
        let whole = self.source.read_at(&mut frame, head.offset)? == frame.len();
        Ok(whole && self.head.seed().sum(&frame[FRAME_HEAD..]) == head.body_sum)
    }

    /// The first head of a frame on a page from `from` on and before `to`.
    fn find(&self, from: u64, to: u64) -> io::Result<Decoded> {
        let (mut offset, to) = (from.next_multiple_of(PAGE as u64), to.min(self.len));
        let mut stretch = vec![0; STRETCH.min(usize::try_from(to.saturating_sub(offset)).unwrap_or(STRETCH))];
        while offset < to {
            let n = stretch.len().min(usize::try_from(to - offset).unwrap_or(STRETCH));
            let found = self.source.read_at(&mut stretch[..n], offset)?;
            for page in stretch[..found].chunks(PAGE) {
                if let Some(head) = page.first_chunk() {
                    match self.bounded(FrameHead::decode(self.head.seed(), offset, head)) {
                        Decoded::Nothing => {}
                        found => return Ok(found),
                    }
                }
                offset += PAGE as u64;
            }
            if found < n {
                break;
            }
        }
        Ok(Decoded::Nothing)
    }

    /// The place of the last frame that is `before` what is sought, by bisection; the first frame's
    /// if none is. Frames are in order by position and by stamp, so `before` is true up to some
    /// frame, and false from there on.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn seek(&self, before: impl Fn(&FrameHead) -> bool) -> io::Result<Place> {
        let mut place = self.start();
        // The frame at `place` is before, or the first; frames from `to` on are not.
        let mut to = self.len;
        while to.saturating_sub(place.offset) > PAGE as u64 {
            let middle = (place.offset + (to - place.offset) / 2).next_multiple_of(PAGE as u64);
            if middle >= to {
                break;
            }
            match self.find(middle, to)? {
                Decoded::Frame(head) if before(&head) => {
                    place = Place { offset: head.offset, next: head.position };
                }
                _ => to = middle,
            }
        }
        Ok(place)
    }

    /// Reads every frame up to the end.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn walk(&self, each: impl FnMut(&FrameHead, &[u8])) -> io::Result<(Place, Verdict)> {
        self.walk_from(self.start(), each)
    }

    /// Reads every frame from a place on, up to the end.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn walk_from(
        &self,
        mut place: Place,
        mut each: impl FnMut(&FrameHead, &[u8]),
    ) -> io::Result<(Place, Verdict)> {
        let mut frame = Vec::new();
        loop {
            match self.step(&mut place, &mut frame)? {
                Step::Frame(head) => each(&head, &frame),
                Step::Unknown(unknown) => return Ok((place, Verdict::Unknown(unknown))),
                Step::Nothing => match self.judge(place)? {
                    Verdict::Frame => {}
                    verdict => return Ok((place, verdict)),
                },
            }
        }
    }
}
