//! The file that `dump` writes and `restore` reads: a head, the messages in order, and an end with
//! their number.
//!
//! As JSON lines:
//!
//! ```text
//! {"slipring_dump":1,"ring":"…","block_size":112,"capacity":1024,"from":7}
//! {"position":7,"kind":0,"len":5,"text":"hello"}
//! {"position":8,"kind":3,"len":2,"base64":"/wA="}
//! {"end":2}
//! ```
//!
//! The head of a typed ring has the description of its type as `schema`, and each message a `value`
//! with the fields; `restore` goes by `base64` and `text`.
//!
//! Binary, all numbers little-endian: the 8 bytes `SLIPDUMP`; format version (4 bytes), length of
//! the head (4), the head as the JSON object above; then for each message its length (4), kind (4),
//! position (8), its bytes, and the CRC-32 of all these (4); at the end a length of `FF FF FF FF`,
//! a kind of 0 and the number of messages (8), with their CRC-32.

use crate::exit::{Failure, Outcome};
use crate::format::{self, View};
use crate::output;
use crate::typed::Type;
use serde_json::{Value, json};
use std::io::{self, BufRead, Read as _, Write};

const MAGIC: &[u8; 8] = b"SLIPDUMP";
const VERSION: u32 = 1;
/// The length that no message has.
const END: u32 = u32::MAX;
/// Length, kind, position.
const RECORD_HEAD: usize = 16;
/// The most bytes of a head, or of a line without its payload.
const HEAD_MAX: usize = 32 << 10;
/// The most bytes that JSON makes of one.
const ESCAPED: usize = 6;
/// The most bytes that a number or a bool of one byte takes, with the signs around it.
const DECODED: usize = 16;

/// The ring that was dumped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) ring: String,
    pub(crate) block_size: u64,
    pub(crate) capacity: u64,
    /// The position of the first message.
    pub(crate) from: u64,
    /// The type of the messages.
    pub(crate) schema: Option<String>,
}

impl Head {
    fn to_json(&self) -> Value {
        let mut head = json!({
            "slipring_dump": VERSION,
            "ring": self.ring,
            "block_size": self.block_size,
            "capacity": self.capacity,
        });
        if let Some(schema) = &self.schema {
            head["schema"] = Value::from(schema.as_str());
        }
        head["from"] = Value::from(self.from);
        head
    }

    fn from_json(text: &[u8]) -> Result<Head, String> {
        let value: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let number = |key: &str| value[key].as_u64().ok_or_else(|| format!("it has no {key:?}"));
        match number("slipring_dump")? {
            version if version == u64::from(VERSION) => {}
            version => return Err(format!("it has version {version}; this program knows {VERSION}")),
        }
        Ok(Head {
            ring: value["ring"].as_str().unwrap_or_default().to_owned(),
            block_size: number("block_size")?,
            capacity: number("capacity")?,
            from: number("from")?,
            schema: value["schema"].as_str().map(str::to_owned),
        })
    }
}

/// Writes an archive.
#[derive(Debug)]
pub(crate) struct Writer<W: Write> {
    out: W,
    is_binary: bool,
    of: Option<Type>,
    count: u64,
    record: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(mut out: W, is_binary: bool, head: &Head) -> io::Result<Writer<W>> {
        let of = head.schema.as_deref().and_then(Type::parse);
        let head = head.to_json().to_string();
        if is_binary {
            out.write_all(MAGIC)?;
            out.write_all(&VERSION.to_le_bytes())?;
            out.write_all(&length(head.len())?.to_le_bytes())?;
            out.write_all(head.as_bytes())?;
        } else {
            writeln!(out, "{head}")?;
        }
        Ok(Writer { out, is_binary, of, count: 0, record: Vec::new() })
    }

    pub(crate) fn message(&mut self, message: View<'_>) -> io::Result<()> {
        self.count += 1;
        if self.is_binary {
            self.binary(length(message.bytes.len())?, message.kind, message.position, message.bytes)
        } else {
            writeln!(self.out, "{}", format::to_json(message, self.of.as_ref()))
        }
    }

    /// Writes the end, with the number of messages.
    pub(crate) fn end(mut self) -> io::Result<u64> {
        if self.is_binary {
            self.binary(END, 0, self.count, &[])?;
        } else {
            writeln!(self.out, "{}", json!({ "end": self.count }))?;
        }
        self.out.flush()?;
        Ok(self.count)
    }

    fn binary(&mut self, len: u32, kind: u32, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.record.clear();
        self.record.extend_from_slice(&len.to_le_bytes());
        self.record.extend_from_slice(&kind.to_le_bytes());
        self.record.extend_from_slice(&position.to_le_bytes());
        self.record.extend_from_slice(bytes);
        let sum = crc32fast::hash(&self.record);
        self.record.extend_from_slice(&sum.to_le_bytes());
        self.out.write_all(&self.record)
    }
}

fn length(len: usize) -> io::Result<u32> {
    u32::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// A message out of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) position: u64,
    pub(crate) kind: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Reads an archive of either kind. Every error names the line or the byte.
#[derive(Debug)]
pub(crate) struct Reader<R: BufRead> {
    input: R,
    is_binary: bool,
    block_size: u64,
    /// The most bytes of a line for each byte of its message.
    line_factor: usize,
    /// Lines, or bytes, that were read.
    at: u64,
    count: u64,
}

impl<R: BufRead> Reader<R> {
    pub(crate) fn open(mut input: R) -> Result<(Head, Reader<R>), Failure> {
        let is_binary = input.fill_buf()?.first() == Some(&MAGIC[0]);
        let mut reader = Reader { input, is_binary, block_size: 0, line_factor: ESCAPED, at: 0, count: 0 };
        let head = if is_binary { reader.binary_head()? } else { reader.line(HEAD_MAX)? };
        let head = Head::from_json(&head).map_err(|error| {
            Failure::error(format!("the input is not what slipring dump writes: {error}"))
        })?;
        reader.block_size = head.block_size;
        if let Some(schema) = &head.schema {
            // A field of one byte has its name, and an enum that of its variant.
            reader.line_factor += DECODED + ESCAPED * schema.len();
        }
        Ok((head, reader))
    }

    /// Refuses longer messages than this: the length of a line has no other bound.
    pub(crate) fn limit(&mut self, block_size: u64) {
        self.block_size = self.block_size.min(block_size);
    }

    /// The next message; none at the end, if the end has the right number of messages.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, Failure> {
        let message = if self.is_binary { self.binary_message()? } else { self.json_message()? };
        self.count += u64::from(message.is_some());
        Ok(message)
    }

    fn binary_head(&mut self) -> Result<Vec<u8>, Failure> {
        let magic = self.bytes(MAGIC.len())?;
        let (version, len) = (self.number()?, self.number()? as usize);
        if magic != MAGIC || version != VERSION || len > HEAD_MAX {
            return Err(self
                .wrong(&format!("the input is not what slipring dump --binary writes, version {VERSION}")));
        }
        self.bytes(len)
    }

    fn binary_message(&mut self) -> Result<Option<Message>, Failure> {
        let mut record = self.bytes(RECORD_HEAD)?;
        let (len, kind) = (u32_at(&record, 0), u32_at(&record, 4));
        let position = u64::from(u32_at(&record, 8)) | u64::from(u32_at(&record, 12)) << 32;
        if len != END {
            if u64::from(len) > self.block_size {
                return Err(self.wrong(&format!(
                    "a message of {}, more than a block",
                    output::count(len.into(), "byte")
                )));
            }
            record.append(&mut self.bytes(len as usize)?);
        }
        if self.number()? != crc32fast::hash(&record) {
            return Err(self.wrong("the checksum of what ends here is wrong"));
        }
        if len == END {
            return self.ended(position).map(|()| None);
        }
        Ok(Some(Message { position, kind, bytes: record.split_off(RECORD_HEAD) }))
    }

    fn json_message(&mut self) -> Result<Option<Message>, Failure> {
        let longest = usize::try_from(self.block_size).unwrap_or(usize::MAX);
        let line = self.line(longest.saturating_mul(self.line_factor).saturating_add(HEAD_MAX))?;
        let parsed = (|| {
            let value: Value = serde_json::from_slice(&line).map_err(|error| error.to_string())?;
            if let Some(count) = value["end"].as_u64() {
                return Ok(Err(count));
            }
            let number = |key: &str| value[key].as_u64().ok_or_else(|| format!("it has no {key:?}"));
            let kind = u32::try_from(number("kind")?).map_err(|error| error.to_string())?;
            let message = Message { position: number("position")?, kind, bytes: format::payload_of(&value)? };
            match message.bytes.len() as u64 == number("len")? {
                true => Ok(Ok(message)),
                false => Err("its length is not what \"len\" says".to_owned()),
            }
        })();
        match parsed {
            Ok(Ok(message)) => Ok(Some(message)),
            Ok(Err(count)) => self.ended(count).map(|()| None),
            Err(error) => Err(self.wrong(&error)),
        }
    }

    /// Compares the number of messages with the number in the end.
    fn ended(&mut self, count: u64) -> Outcome {
        if count != self.count {
            return Err(self.wrong(&format!(
                "it has {}, and its end says {count}",
                output::count(self.count, "message")
            )));
        }
        match self.input.fill_buf()?.is_empty() {
            true => Ok(()),
            false => Err(self.wrong("more follows the end")),
        }
    }

    fn line(&mut self, longest: usize) -> Result<Vec<u8>, Failure> {
        let mut line = Vec::new();
        self.input.by_ref().take(longest as u64).read_until(b'\n', &mut line)?;
        self.at += 1;
        match line.pop() {
            Some(b'\n') => Ok(line),
            None => Err(self.wrong("it ends before its end: it was cut short")),
            Some(_) => Err(self.wrong("the line is cut short, or longer than a message can be")),
        }
    }

    fn bytes(&mut self, len: usize) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        self.input.by_ref().take(len as u64).read_to_end(&mut bytes)?;
        self.at += bytes.len() as u64;
        match bytes.len() == len {
            true => Ok(bytes),
            false => Err(self.wrong("it ends before its end: it was cut short")),
        }
    }

    fn number(&mut self) -> Result<u32, Failure> {
        Ok(u32_at(&self.bytes(4)?, 0))
    }

    fn wrong(&self, what: &str) -> Failure {
        let unit = if self.is_binary { "byte" } else { "line" };
        Failure::error(format!(
            "{unit} {}: {what}; {} before it can be restored",
            self.at,
            output::count(self.count, "message")
        ))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(is_binary: bool) -> (Head, Vec<Message>, Vec<u8>) {
        let schema = Some("E:u64(A=1)".to_owned());
        let head = Head { ring: "r".to_owned(), block_size: 40, capacity: 8, from: 7, schema };
        let payloads: [&[u8]; 4] = [b"", b"text \n \"", &[0xFF; 40], &[0; 7]];
        let messages: Vec<Message> = payloads
            .into_iter()
            .zip(7_u32..)
            .map(|(bytes, n)| Message { position: n.into(), kind: n * 1_000_000, bytes: bytes.to_vec() })
            .collect();
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, is_binary, &head).unwrap();
        for Message { position, kind, bytes } in &messages {
            writer.message(View { position: *position, kind: *kind, bytes }).unwrap();
        }
        assert_eq!(writer.end().unwrap(), 4);
        (head, messages, out)
    }

    fn read(bytes: &[u8]) -> Result<(Head, Vec<Message>), Failure> {
        let (head, mut reader) = Reader::open(bytes)?;
        let mut messages = Vec::new();
        while let Some(message) = reader.next()? {
            messages.push(message);
        }
        Ok((head, messages))
    }

    #[test]
    fn what_was_written_is_read() {
        for is_binary in [false, true] {
            let (head, messages, bytes) = archive(is_binary);
            assert_eq!(read(&bytes).unwrap(), (head, messages), "binary: {is_binary}");
        }
    }

    #[test]
    fn what_was_cut_short_or_changed_is_refused() {
        for is_binary in [false, true] {
            let (_, _, bytes) = archive(is_binary);
            for len in 0..bytes.len() {
                assert!(read(&bytes[..len]).is_err(), "binary: {is_binary}, {len} bytes");
            }
            assert!(read(&[&bytes[..], b"x"].concat()).is_err(), "binary: {is_binary}, more");
        }
        let (_, _, bytes) = archive(true);
        // Behind the head, which has no checksum.
        let messages = bytes.windows(4).position(|at| at == b"\"fro").unwrap() + 10;
        for at in messages..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                assert!(read(&bytes).is_err(), "bit {bit} of byte {at}");
            }
        }
    }
}
