//! Cuts input into messages.

use std::ops::Range;

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

/// Where one message ends and the next begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Boundaries {
    /// At this byte, which belongs to neither.
    Delimiter(u8),
    /// Each message follows its length, 4 bytes little-endian.
    Framed,
    /// After so many bytes; the last message may be shorter.
    Every(usize),
}

/// What becomes of a message that is longer than any may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Long {
    /// It ends the command, with exit code 1; what came before is published
    Fail,
    /// It becomes as many messages as it needs, each but the last as long as a block, cut between
    /// characters
    Split,
    /// It is cut at the end of a block, and the rest of it left out
    Truncate,
    /// It is left out
    Skip,
}

impl Long {
    /// The messages that one message becomes.
    pub(crate) fn parts(self, message: &[u8], longest: usize) -> Vec<&[u8]> {
        match self {
            _ if message.len() <= longest => vec![message],
            Long::Fail => vec![message],
            Long::Skip => Vec::new(),
            Long::Truncate => vec![&message[..cut_at(message, longest)]],
            Long::Split => {
                let (mut parts, mut rest) = (Vec::new(), message);
                while rest.len() > longest {
                    let (part, more) = rest.split_at(cut_at(rest, longest));
                    parts.push(part);
                    rest = more;
                }
                parts.push(rest);
                parts
            }
        }
    }
}

/// Where a text that is longer than `longest` is cut: not within a character.
fn cut_at(text: &[u8], longest: usize) -> usize {
    let is_begin = |at: &usize| text.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    // A character has up to four bytes; more of those in a row are no text.
    let lowest = longest.saturating_sub(3).max(1);
    (lowest..=longest).rev().find(is_begin).unwrap_or(longest)
}

/// What is left to do of a message that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    None,
    /// So many bytes of a frame are still to be cut into messages.
    Frame(usize),
    /// So many bytes of a frame are left out.
    DropFrame(usize),
    /// The line goes on, and was counted.
    Line,
    /// Everything up to the delimiter is left out.
    DropLine,
}

/// A buffer of input, and what of it was handed out.
#[derive(Debug)]
pub(crate) struct Splitter {
    boundaries: Boundaries,
    longest: usize,
    long: Long,
    buffer: Vec<u8>,
    filled: Range<usize>,
    is_at_end: bool,
    left: Rest,
    too_long: u64,
}

impl Splitter {
    /// For messages of up to `longest` bytes.
    pub(crate) fn new(boundaries: Boundaries, longest: usize, long: Long) -> Splitter {
        Splitter {
            boundaries,
            longest,
            long,
            buffer: vec![0; longest.saturating_add(4 + CHUNK)],
            filled: 0..0,
            is_at_end: false,
            left: Rest::None,
            too_long: 0,
        }
    }

    /// How many messages were too long so far.
    pub(crate) fn too_long(&self) -> u64 {
        self.too_long
    }

    /// Where more input goes.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled.end..]
    }

    /// So much more was read; nothing means the end.
    pub(crate) fn filled(&mut self, count: usize) {
        self.filled.end += count;
        self.is_at_end = count == 0;
    }

    /// The complete messages. Messages that were taken are not returned again.
    pub(crate) fn messages(&mut self) -> Messages<'_> {
        Messages {
            boundaries: self.boundaries,
            longest: self.longest,
            long: self.long,
            is_at_end: self.is_at_end,
            rest: &self.buffer[self.filled.clone()],
            begin: &mut self.filled.start,
            left: &mut self.left,
            too_long: &mut self.too_long,
            fault: None,
        }
    }

    /// Moves the incomplete message to the front of the buffer.
    pub(crate) fn compact(&mut self) {
        self.buffer.copy_within(self.filled.clone(), 0);
        self.filled = 0..self.filled.len();
    }
}

/// The messages in a buffer, one after another.
#[derive(Debug)]
pub(crate) struct Messages<'a> {
    boundaries: Boundaries,
    longest: usize,
    long: Long,
    is_at_end: bool,
    rest: &'a [u8],
    begin: &'a mut usize,
    left: &'a mut Rest,
    too_long: &'a mut u64,
    fault: Option<String>,
}

/// A step through the input.
enum Cut {
    /// A message, and how much of the input it takes with its boundary.
    Message(Range<usize>, usize),
    /// So much is left out.
    Nothing(usize),
}

impl Messages<'_> {
    /// Why there are no more of them, if the input is wrong.
    pub(crate) fn fault(self) -> Option<String> {
        self.fault
    }

    /// The next step; none if more input is needed.
    fn cut(&mut self) -> Option<Cut> {
        let len = self.rest.len();
        match self.boundaries {
            Boundaries::Delimiter(delimiter) => self.cut_line(delimiter),
            Boundaries::Every(size) if len >= size => Some(Cut::Message(0..size, size)),
            Boundaries::Every(_) => (self.is_at_end && len > 0).then_some(Cut::Message(0..len, len)),
            Boundaries::Framed => self.cut_frame(),
        }
    }

    fn cut_line(&mut self, delimiter: u8) -> Option<Cut> {
        let len = self.rest.len();
        let found = memchr::memchr(delimiter, self.rest);
        let (end, taken) = found.map_or((len, len), |end| (end, end + 1));
        if *self.left == Rest::DropLine {
            if found.is_some() {
                *self.left = Rest::None;
            }
            return (taken > 0).then_some(Cut::Nothing(taken));
        }
        let is_whole = found.is_some() || self.is_at_end;
        if end > self.longest {
            return Some(self.cut_long_line(end, taken, is_whole));
        }
        if !is_whole || taken == 0 {
            return None;
        }
        *self.left = Rest::None;
        Some(Cut::Message(0..end, taken))
    }

    /// A line of which `end` bytes are there, more than a block has.
    fn cut_long_line(&mut self, end: usize, taken: usize, is_whole: bool) -> Cut {
        if *self.left != Rest::Line {
            *self.too_long += 1;
        }
        let part = cut_at(&self.rest[..end], self.longest);
        if !is_whole && matches!(self.long, Long::Truncate | Long::Skip) {
            *self.left = Rest::DropLine;
        }
        match self.long {
            Long::Fail => Cut::Message(0..end, taken),
            Long::Truncate => Cut::Message(0..part, taken),
            Long::Skip => Cut::Nothing(taken),
            Long::Split => {
                *self.left = Rest::Line;
                Cut::Message(0..part, part)
            }
        }
    }

    fn cut_frame(&mut self) -> Option<Cut> {
        match *self.left {
            Rest::DropFrame(left) => return self.drop_frame(left),
            Rest::Frame(left) => return self.cut_part_of_frame(left),
            _ => {}
        }
        let frame = self.rest.split_first_chunk().map(|(head, _)| u32::from_le_bytes(*head) as usize);
        match frame {
            Some(size) if size > self.longest => self.begin_long_frame(size),
            Some(size) if self.rest.len() - 4 >= size => Some(Cut::Message(4..4 + size, 4 + size)),
            _ => self.frame_goes_on(),
        }
    }

    fn begin_long_frame(&mut self, size: usize) -> Option<Cut> {
        if self.long == Long::Fail {
            let longest = self.longest;
            self.fault = Some(format!(
                "its frame says {size} bytes, more than a block of this ring, {longest}; see --long"
            ));
            return None;
        }
        *self.too_long += 1;
        *self.left = if self.long == Long::Skip { Rest::DropFrame(size) } else { Rest::Frame(size) };
        Some(Cut::Nothing(4))
    }

    /// `left` bytes of the frame are not cut yet.
    fn cut_part_of_frame(&mut self, left: usize) -> Option<Cut> {
        let want = left.min(self.longest + 1);
        if self.rest.len() < want {
            return self.frame_goes_on();
        }
        let part = if left > self.longest { cut_at(&self.rest[..want], self.longest) } else { left };
        *self.left = match (left - part, self.long) {
            (0, _) => Rest::None,
            (left, Long::Truncate) => Rest::DropFrame(left),
            (left, _) => Rest::Frame(left),
        };
        Some(Cut::Message(0..part, part))
    }

    fn drop_frame(&mut self, left: usize) -> Option<Cut> {
        let gone = self.rest.len().min(left);
        if gone == 0 {
            return self.frame_goes_on();
        }
        *self.left = if gone == left { Rest::None } else { Rest::DropFrame(left - gone) };
        Some(Cut::Nothing(gone))
    }

    /// More input is needed; a fault if there is none.
    fn frame_goes_on(&mut self) -> Option<Cut> {
        if self.is_at_end && (!self.rest.is_empty() || *self.left != Rest::None) {
            self.fault = Some("the input ends within its frame".to_owned());
        }
        None
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let (message, taken) = match self.cut()? {
                Cut::Message(message, taken) => (Some(message), taken),
                Cut::Nothing(taken) => (None, taken),
            };
            let all = self.rest;
            self.rest = &all[taken..];
            *self.begin += taken;
            if let Some(message) = message {
                return Some(&all[message]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(
        boundaries: Boundaries,
        longest: usize,
        input: &[u8],
        step: usize,
    ) -> (Vec<Vec<u8>>, Option<String>) {
        split_with(&mut Splitter::new(boundaries, longest, Long::Fail), input, step)
    }

    fn split_with(splitter: &mut Splitter, input: &[u8], step: usize) -> (Vec<Vec<u8>>, Option<String>) {
        let mut found = Vec::new();
        for piece in input.chunks(step).chain([&[][..]]) {
            splitter.room()[..piece.len()].copy_from_slice(piece);
            splitter.filled(piece.len());
            let mut messages = splitter.messages();
            found.extend(messages.by_ref().map(<[u8]>::to_vec));
            if let Some(fault) = messages.fault() {
                return (found, Some(fault));
            }
            splitter.compact();
        }
        (found, None)
    }

    #[test]
    fn however_it_comes_it_is_cut_the_same() {
        for step in 1..9 {
            let (lines, _) = split(Boundaries::Delimiter(b'\n'), 8, b"a\n\nbcd\nend", step);
            assert_eq!(lines, [&b"a"[..], b"", b"bcd", b"end"]);
            let (frames, fault) = split(Boundaries::Framed, 8, b"\x02\0\0\0ab\0\0\0\0\x01\0\0\0c", step);
            assert_eq!((frames, fault), (vec![b"ab".to_vec(), vec![], b"c".to_vec()], None));
            let (blocks, _) = split(Boundaries::Every(3), 3, b"abcdefgh", step);
            assert_eq!(blocks, [&b"abc"[..], b"def", b"gh"]);
        }
    }

    #[test]
    fn a_message_across_the_end_of_a_full_buffer_stays_whole() {
        let lines: Vec<u8> = (0..100_000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        let mut splitter = Splitter::new(Boundaries::Delimiter(b'\n'), 48, Long::Fail);
        let (mut rest, mut found) = (lines.as_slice(), Vec::new());
        loop {
            // As much as there is room for, as when a file is read.
            let room = splitter.room();
            let len = room.len().min(rest.len());
            room[..len].copy_from_slice(&rest[..len]);
            rest = &rest[len..];
            splitter.filled(len);
            found.extend(splitter.messages().map(<[u8]>::to_vec));
            splitter.compact();
            if len == 0 {
                break;
            }
        }
        assert_eq!(found.join(&b'\n').len() + 1, lines.len());
        assert!(found.iter().zip(0..100_000).all(|(line, n)| line == n.to_string().as_bytes()));
    }

    #[test]
    fn however_a_long_message_comes_it_becomes_the_same() {
        let long = "aéiou".repeat(9);
        let lines = format!("short\n{long}\n\n{long}");
        let frame =
            |text: &str| [&u32::try_from(text.len()).unwrap().to_le_bytes(), text.as_bytes()].concat();
        let frames = [frame("short"), frame(&long), frame(""), frame(&long)].concat();
        for policy in [Long::Split, Long::Truncate, Long::Skip] {
            let whole = ["short", &long, "", &long];
            let expected: Vec<&[u8]> = whole.iter().flat_map(|m| policy.parts(m.as_bytes(), 7)).collect();
            assert!(expected.iter().all(|part| part.len() <= 7 && std::str::from_utf8(part).is_ok()));
            let expected: Vec<Vec<u8>> = expected.into_iter().map(<[u8]>::to_vec).collect();
            for step in 1..70 {
                for (boundaries, input) in
                    [(Boundaries::Delimiter(b'\n'), lines.as_bytes()), (Boundaries::Framed, &frames)]
                {
                    let mut splitter = Splitter::new(boundaries, 7, policy);
                    let (found, fault) = split_with(&mut splitter, input, step);
                    assert_eq!((&found, fault), (&expected, None), "{policy:?} {boundaries:?} {step}");
                    assert_eq!(splitter.too_long(), 2);
                }
            }
        }
        assert_eq!(Long::Split.parts(&[0x80; 9], 4), [&[0x80; 4][..], &[0x80; 4], &[0x80; 1]], "no text");
        assert_eq!(Long::Split.parts(b"ab", 1), [b"a", b"b"]);
    }

    #[test]
    fn broken_frames_are_named() {
        let (_, fault) = split(Boundaries::Framed, 8, b"\x05\0\0\0ab", 3);
        assert!(fault.is_some_and(|text| text.contains("ends within")));
        let (_, fault) = split(Boundaries::Framed, 8, &[0xff; CHUNK + 12], CHUNK + 12);
        assert!(fault.is_some_and(|text| text.contains("more than a block")));
    }
}
