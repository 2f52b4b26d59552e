//! A segment of a journal, changed anywhere, read in every way.
//!
//! The input makes a segment of a few frames, then changes bytes of it. If the checksums are left
//! alone, what is read must be what was written, up to the first frame that was changed, and no
//! frame behind it may be hidden by an end. If the input also mends the checksums, as only an enemy
//! does, every reader must still come to an end within the segment's bounds.

use crate::input::Input;
use slipring::RingId;
use slipring_journal::format::{
    Content, FRAME_HEAD, FrameHead, Mark, PAGE, RECORD_HEAD, Records, SegmentHead,
};
use slipring_journal::scan::{Place, Segment, Verdict};

/// Pages of a segment.
const PAGES: usize = 12;
const FIRST: u64 = 1000;

/// A frame that was written: its place, its bytes, and where the next one begins.
struct Written {
    from: usize,
    to: usize,
    head: FrameHead,
    bytes: Vec<u8>,
}

/// Runs one input.
pub fn run(input: &[u8]) {
    let mut input = Input(input);
    let (mut bytes, frames) = write(&mut input);
    let whole = bytes.clone();
    let mends = input.byte() % 2 == 1;
    for _ in 0..=input.below(4) {
        change(&mut input, &mut bytes, mends);
    }
    let segment = match Segment::open(&bytes[..]) {
        Ok(segment) => segment,
        Err(_) => {
            assert!(bytes[..PAGE] != whole[..PAGE], "an untouched head is known");
            return;
        }
    };
    let untouched = |frame: &&Written| bytes[frame.from..frame.from + frame.bytes.len()] == frame.bytes[..];
    let (mut place, mut looks, mut read) = (segment.start(), 0, 0);
    // As a check reads: every frame, and on behind each damage.
    let end = loop {
        looks += 1;
        assert!(looks <= PAGES + 1, "it comes to an end");
        let walked = segment.walk_from(place, |head, frame| {
            read += 1;
            assert!(frame.len() <= PAGES * PAGE && head.offset < (PAGES * PAGE) as u64);
            let messages: usize = Records::new(head, frame).map(|record| record.bytes.len()).sum();
            assert!(messages <= frame.len());
            Mark::decode(frame).iter().for_each(|mark| assert!(mark.name.len() <= 3 * 255));
            if !mends {
                let written = frames.iter().find(|written| written.from as u64 == head.offset);
                assert_eq!(written.map(|written| &written.bytes[..]), Some(frame), "as it was written");
            }
        });
        let (end, verdict) = walked.expect("memory can be read");
        match verdict {
            Verdict::Frame => place = end,
            Verdict::Damaged { behind } if behind.offset == end.offset => {
                place = Place { offset: behind.offset + behind.padded_len(), next: behind.next() };
            }
            Verdict::Damaged { behind } => {
                assert!(behind.offset > end.offset, "behind is behind");
                place = Place { offset: behind.offset, next: behind.position };
            }
            Verdict::End(_) | Verdict::Unknown(_) => break end,
        }
    };
    if !mends && bytes[..PAGE] == whole[..PAGE] {
        let count = frames.iter().filter(untouched).count();
        assert!(read == count, "{read} of {count} untouched frames were read");
        let last = frames.iter().rfind(|frame| untouched(frame));
        assert!(last.is_none_or(|last| end.offset >= last.to as u64), "no frame is behind the end");
    }
    for frame in &frames {
        let by_position =
            segment.seek(|head| head.position <= frame.head.position).expect("memory can be read");
        let by_stamp = segment.seek(|head| head.stamp_ns < frame.head.stamp_ns).expect("memory can be read");
        assert!(by_position.offset.max(by_stamp.offset) < (PAGES * PAGE) as u64);
    }
}

/// A segment that a journal may have written.
fn write(input: &mut Input<'_>) -> (Vec<u8>, Vec<Written>) {
    let mut bytes = vec![0; PAGES * PAGE];
    let head = SegmentHead {
        ring: RingId::from_bytes([input.byte(); 16]),
        first: FIRST,
        salt: u64::from(input.byte()),
        len: (PAGES * PAGE) as u64,
        created_ns: 1,
        stamp_ns: 1,
    };
    let (first, _) = bytes.split_first_chunk_mut().expect("a page");
    head.encode(first);
    let (mut at, mut position, mut stamp_ns, mut frames) = (PAGE, FIRST, 1, Vec::new());
    for n in 0..=input.below(6) {
        let (mut body, mut count, mut content) = (Vec::new(), 0, Content::Messages);
        match input.byte() {
            0..32 => {
                content = Content::Marks;
                let mark = Mark { is_group: input.byte() % 2 == 1, name: format!("reader {n}"), position };
                mark.encode(&mut body);
            }
            size => {
                count = u32::from(size % 8) + 1;
                for message in 0..count {
                    let len = u32::from(input.byte()) * u32::from(size % 7 + 1);
                    body.extend_from_slice(&len.to_le_bytes());
                    body.extend_from_slice(&message.to_le_bytes());
                    body.resize(body.len() + len as usize, size);
                }
            }
        }
        stamp_ns += u64::from(input.byte());
        let len = FRAME_HEAD + body.len();
        if at + len.next_multiple_of(PAGE) > bytes.len() {
            break;
        }
        let frame = FrameHead {
            position,
            count,
            len: u32::try_from(len).expect("a few pages"),
            stamp_ns,
            epoch: 1,
            content,
            flags: 0,
            offset: at as u64,
            body_sum: head.seed().sum(&body),
        };
        let (encoded, rest) = bytes[at..].split_first_chunk_mut().expect("it fits");
        frame.encode(head.seed(), encoded);
        rest[..body.len()].copy_from_slice(&body);
        let to = at + len.next_multiple_of(PAGE);
        frames.push(Written { from: at, to, head: frame, bytes: bytes[at..at + len].to_vec() });
        (at, position) = (to, frame.next());
    }
    (bytes, frames)
}

/// Changes a word or clears a sector; mends the checksums of that page's head, if that is wanted.
fn change(input: &mut Input<'_>, bytes: &mut [u8], mends: bool) {
    let page = usize::from(input.byte()) % PAGES * PAGE;
    match input.byte() % 4 {
        0 => {
            let sector = page + usize::from(input.byte()) % 8 * 512;
            bytes[sector..sector + 512].fill(0);
        }
        1 => {
            let at = page + usize::from(input.byte()) * RECORD_HEAD;
            word(input, bytes, at);
        }
        _ => {
            let at = page + usize::from(input.byte()) % (FRAME_HEAD / 8 + 2) * 8;
            word(input, bytes, at);
        }
    }
    if !mends {
        return;
    }
    if page == 0 {
        let sum = crc32c::crc32c(&bytes[..PAGE - 4]).to_le_bytes();
        bytes[PAGE - 4..PAGE].copy_from_slice(&sum);
        return;
    }
    let Ok(segment) = Segment::open(&bytes[..PAGE]) else { return };
    let seed = segment.head().seed();
    let len = bytes[page + 20..page + 24].try_into().map(u32::from_le_bytes).map_or(0, |len| len as usize);
    if let Some(body) = bytes.get(page + FRAME_HEAD..page.saturating_add(len)) {
        let sum = seed.sum(body).to_le_bytes();
        bytes[page + 4..page + 8].copy_from_slice(&sum);
    }
    let sum = seed.sum(&bytes[page..page + 60]).to_le_bytes();
    bytes[page + 60..page + 64].copy_from_slice(&sum);
}

fn word(input: &mut Input<'_>, bytes: &mut [u8], at: usize) {
    let old = bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
    bytes[at..at + 8].copy_from_slice(&input.value(old).to_le_bytes());
}
