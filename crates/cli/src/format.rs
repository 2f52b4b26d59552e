//! A message as it is written: plain, by a template, as JSON, as a hex dump, framed, or raw.

use crate::typed::Type;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;

/// A message, wherever it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) position: u64,
    pub(crate) kind: u32,
    pub(crate) bytes: &'a [u8],
}

/// How the messages that are printed are written.
#[derive(Clone, Debug, clap::Args)]
#[group(multiple = false)]
pub(crate) struct FormatOptions {
    /// A template: %s payload, %x payload in hex, %k kind, %p position, %l length, %n number of the
    /// message (1, 2, …), %v value of a typed ring as JSON, %% percent; \n \t \0 \\ \xHH. Without
    /// it: the payload and a newline
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// One JSON object per message: position, kind, len, text, or base64 if it is not UTF-8, and
    /// the value of a typed ring, with its fields
    #[arg(long)]
    json: bool,
    /// A hex dump of each message
    #[arg(long)]
    hex: bool,
    /// Before each payload its length, as 4 bytes little-endian: binary data with its boundaries
    #[arg(long)]
    framed: bool,
    /// The payloads and nothing between them: the bytes of a file that was published with --raw
    #[arg(long)]
    raw: bool,
    /// A NUL behind each payload instead of a newline
    #[arg(short = '0', long)]
    null: bool,
}

impl FormatOptions {
    /// `schema` describes the type of the ring's messages.
    pub(crate) fn parse(&self, schema: Option<&str>) -> Result<Format, String> {
        let of = schema.and_then(Type::parse);
        Ok(match self {
            FormatOptions { format: Some(template), .. } => Format::Template(parse_template(template)?, of),
            FormatOptions { json: true, .. } => Format::Json(of),
            FormatOptions { hex: true, .. } => Format::Hex,
            FormatOptions { framed: true, .. } => Format::Framed,
            FormatOptions { raw: true, .. } => Format::Raw,
            FormatOptions { null: true, .. } => Format::Delimited(0),
            _ => Format::Delimited(b'\n'),
        })
    }

    /// As [`parse`](Self::parse), for people: the value of a typed ring, if no option says more.
    pub(crate) fn parse_for_people(&self, schema: Option<&str>) -> Result<Format, String> {
        let of = schema.and_then(Type::parse);
        match self.parse(schema)? {
            Format::Delimited(b'\n') if of.is_some() => {
                Ok(Format::Template(vec![Part::Value, Part::Text(vec![b'\n'])], of))
            }
            format => Ok(format),
        }
    }
}

/// How a message is written.
#[derive(Clone, Debug)]
pub(crate) enum Format {
    Delimited(u8),
    Template(Vec<Part>, Option<Type>),
    Json(Option<Type>),
    Hex,
    Framed,
    Raw,
}

/// One part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Text(Vec<u8>),
    Payload,
    Hex,
    Kind,
    Position,
    Length,
    Number,
    /// The decoded value of a typed ring; of other messages, text or base64 as in JSON.
    Value,
}

impl Format {
    /// Appends message number `number` (from 1) to `out`.
    #[inline]
    pub(crate) fn append(&self, out: &mut Vec<u8>, number: u64, message: View<'_>) {
        match self {
            Format::Delimited(delimiter) => {
                out.extend_from_slice(message.bytes);
                out.push(*delimiter);
            }
            Format::Raw => out.extend_from_slice(message.bytes),
            Format::Framed => {
                // A block has at most 1 GiB.
                let len = u32::try_from(message.bytes.len()).unwrap_or(u32::MAX);
                out.extend_from_slice(&len.to_le_bytes());
                out.extend_from_slice(message.bytes);
            }
            Format::Json(of) => {
                let _ = writeln!(out, "{}", to_json(message, of.as_ref()));
            }
            Format::Hex => hex_dump(out, message),
            Format::Template(parts, of) => {
                for part in parts {
                    let _ = match part {
                        Part::Text(text) => out.write_all(text),
                        Part::Payload => out.write_all(message.bytes),
                        Part::Hex => message.bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}")),
                        Part::Kind => write!(out, "{}", message.kind),
                        Part::Position => write!(out, "{}", message.position),
                        Part::Length => write!(out, "{}", message.bytes.len()),
                        Part::Number => write!(out, "{number}"),
                        Part::Value => {
                            let value = of.as_ref().and_then(|of| of.decode(message.bytes));
                            write!(out, "{}", value.unwrap_or_else(|| payload(message.bytes).1))
                        }
                    };
                }
            }
        }
    }
}

impl Format {
    /// As [`append`](Self::append); `more` adds members to an object.
    pub(crate) fn append_with(
        &self,
        out: &mut Vec<u8>,
        number: u64,
        message: View<'_>,
        more: impl FnOnce(&mut Value),
    ) {
        let Format::Json(of) = self else { return self.append(out, number, message) };
        let mut value = to_json(message, of.as_ref());
        more(&mut value);
        let _ = writeln!(out, "{value}");
    }
}

/// The payload's part of a JSON object: `text`, or `base64` if it is not UTF-8.
pub(crate) fn payload(bytes: &[u8]) -> (&'static str, Value) {
    match std::str::from_utf8(bytes) {
        Ok(text) => ("text", Value::from(text)),
        Err(_) => ("base64", Value::from(STANDARD.encode(bytes))),
    }
}

/// The message as an object, with its `value` if it is one of this type.
pub(crate) fn to_json(message: View<'_>, of: Option<&Type>) -> Value {
    let mut value = json!({ "position": message.position, "kind": message.kind, "len": message.bytes.len() });
    let (key, payload) = payload(message.bytes);
    value[key] = payload;
    if let Some(decoded) = of.and_then(|of| of.decode(message.bytes)) {
        value["value"] = decoded;
    }
    value
}

/// The payload of such an object.
pub(crate) fn payload_of(value: &Value) -> Result<Vec<u8>, String> {
    match (value["text"].as_str(), value["base64"].as_str()) {
        (Some(text), _) => Ok(text.as_bytes().to_vec()),
        (None, Some(text)) => STANDARD.decode(text).map_err(|error| format!("its base64: {error}")),
        (None, None) => Err("it has neither \"text\" nor \"base64\"".to_owned()),
    }
}

fn hex_dump(out: &mut Vec<u8>, message: View<'_>) {
    let View { position, kind, bytes } = message;
    let mut text = format!("position {position}, kind {kind}, {} bytes\n", bytes.len());
    for (row, chunk) in bytes.chunks(16).enumerate() {
        let mut hex = String::new();
        for (n, byte) in chunk.iter().enumerate() {
            let _ = write!(hex, "{}{byte:02x}", if n == 8 { "  " } else { " " });
        }
        let printable = |&byte: &u8| if (0x20..0x7F).contains(&byte) { char::from(byte) } else { '.' };
        let shown: String = chunk.iter().map(printable).collect();
        let _ = writeln!(text, "{:08x} {hex:<49}  |{shown}|", row * 16);
    }
    out.extend_from_slice(text.as_bytes());
}

fn parse_template(template: &str) -> Result<Vec<Part>, String> {
    let (mut parts, mut text) = (Vec::new(), Vec::new());
    let mut rest = template.chars();
    while let Some(c) = rest.next() {
        let part = match c {
            '%' => match rest.next() {
                Some('s') => Part::Payload,
                Some('x') => Part::Hex,
                Some('k') => Part::Kind,
                Some('p' | 'o') => Part::Position,
                Some('l' | 'S') => Part::Length,
                Some('n') => Part::Number,
                Some('v') => Part::Value,
                Some('%') => {
                    text.push(b'%');
                    continue;
                }
                other => {
                    let other = other.map_or(String::new(), String::from);
                    return Err(format!("%{other} is none of %s %x %k %p %l %n %v %%"));
                }
            },
            '\\' => {
                text.push(match rest.next() {
                    Some('n') => b'\n',
                    Some('t') => b'\t',
                    Some('r') => b'\r',
                    Some('0') => 0,
                    Some('\\') => b'\\',
                    Some('x') => {
                        let digits: String = rest.by_ref().take(2).collect();
                        u8::from_str_radix(&digits, 16)
                            .map_err(|_| format!("\\x{digits} needs two hexadecimal digits"))?
                    }
                    other => {
                        let other = other.map_or(String::new(), String::from);
                        return Err(format!("\\{other} is none of \\n \\t \\r \\0 \\\\ \\xHH"));
                    }
                });
                continue;
            }
            c => {
                text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
        };
        if !text.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut text)));
        }
        parts.push(part);
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: &Format, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        format.append(&mut out, 3, View { position: 7, kind: 2, bytes });
        out
    }

    #[test]
    fn a_template_says_all_there_is_to_say() {
        let template = Format::Template(parse_template(r"%n %p %k %l [%s] %x %%\t\x41\\\n").unwrap(), None);
        assert_eq!(written(&template, b"hi"), b"3 7 2 2 [hi] 6869 %\tA\\\n");
        assert!(parse_template("%q").is_err() && parse_template("%").is_err());
        assert!(parse_template(r"\q").is_err() && parse_template(r"\xg1").is_err());
    }

    #[test]
    fn json_keeps_every_byte() {
        for bytes in [&b"plain"[..], b"", b"\xff\x00\n", "\u{7}\"ü".as_bytes()] {
            let line = written(&Format::Json(None), bytes);
            let value: Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(payload_of(&value).unwrap(), bytes);
            assert_eq!((value["position"].as_u64(), value["kind"].as_u64()), (Some(7), Some(2)));
        }
    }

    #[test]
    fn frames_and_hex() {
        assert_eq!(written(&Format::Framed, b"abc"), b"\x03\0\0\0abc");
        let dump = String::from_utf8(written(&Format::Hex, b"0123456789abcdef\n")).unwrap();
        assert!(dump.contains("00000000  30 31 32"), "{dump}");
        assert!(dump.contains("|0123456789abcdef|"), "{dump}");
        assert!(dump.contains("00000010  0a"), "{dump}");
    }
}
