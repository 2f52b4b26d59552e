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

/// A buffer of input, and the range of it that was handed out.
#[derive(Debug)]
pub(crate) struct Splitter {
    boundaries: Boundaries,
    buffer: Vec<u8>,
    filled: Range<usize>,
    is_at_end: bool,
}

impl Splitter {
    /// For messages of up to `longest` bytes.
    pub(crate) fn new(boundaries: Boundaries, longest: usize) -> Splitter {
        Splitter {
            boundaries,
            buffer: vec![0; longest.saturating_add(4 + CHUNK)],
            filled: 0..0,
            is_at_end: false,
        }
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
            is_at_end: self.is_at_end,
            is_full: self.filled == (0..self.buffer.len()),
            rest: &self.buffer[self.filled.clone()],
            begin: &mut self.filled.start,
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
    is_at_end: bool,
    /// The buffer has no room for more.
    is_full: bool,
    rest: &'a [u8],
    begin: &'a mut usize,
    fault: Option<String>,
}

impl Messages<'_> {
    /// Why there are no more of them, if the input is wrong.
    pub(crate) fn fault(self) -> Option<String> {
        self.fault
    }

    /// The buffer has no room for more, and nothing in it was taken yet: the message is longer than
    /// any may be.
    fn fills_all(&self) -> bool {
        self.is_full && *self.begin == 0
    }

    /// Where the next message lies, and how much it takes with its boundary.
    fn cut(&mut self) -> Option<(Range<usize>, usize)> {
        let len = self.rest.len();
        match self.boundaries {
            Boundaries::Delimiter(delimiter) => match memchr::memchr(delimiter, self.rest) {
                Some(end) => Some((0..end, end + 1)),
                None if len > 0 && (self.is_at_end || self.fills_all()) => Some((0..len, len)),
                None => None,
            },
            Boundaries::Every(size) if len >= size => Some((0..size, size)),
            Boundaries::Every(_) => (self.is_at_end && len > 0).then_some((0..len, len)),
            Boundaries::Framed => self.cut_frame(),
        }
    }

    fn cut_frame(&mut self) -> Option<(Range<usize>, usize)> {
        let frame = self.rest.split_first_chunk().map(|(head, _)| u32::from_le_bytes(*head) as usize);
        match frame {
            Some(size) if self.rest.len() - 4 >= size => Some((4..4 + size, 4 + size)),
            Some(size) if self.fills_all() => {
                self.fault = Some(format!("its frame says {size} bytes, more than a block of this ring"));
                None
            }
            _ if self.is_at_end && !self.rest.is_empty() => {
                self.fault = Some("the input ends within its frame".to_owned());
                None
            }
            _ => None,
        }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        let (message, taken) = self.cut()?;
        let all = self.rest;
        self.rest = &all[taken..];
        *self.begin += taken;
        Some(&all[message])
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
        let mut splitter = Splitter::new(boundaries, longest);
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
        let mut splitter = Splitter::new(Boundaries::Delimiter(b'\n'), 48);
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
    fn broken_frames_are_named() {
        let (_, fault) = split(Boundaries::Framed, 8, b"\x05\0\0\0ab", 3);
        assert!(fault.is_some_and(|text| text.contains("ends within")));
        let (_, fault) = split(Boundaries::Framed, 8, &[0xff; CHUNK + 12], CHUNK + 12);
        assert!(fault.is_some_and(|text| text.contains("more than a block")));
    }
}
