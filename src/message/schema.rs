//! The text that describes a type: the same in every program that reads the same bytes the same
//! way.

use slipring_core::format::SCHEMA_MAX;
use std::fmt;

/// The description of a type, put together at compile time. Its grammar is in `docs/format.md`.
#[derive(Clone, Copy)]
pub struct Schema {
    text: [u8; SCHEMA_MAX],
    len: usize,
}

impl Schema {
    const EMPTY: Schema = Schema { text: [0; SCHEMA_MAX], len: 0 };

    /// The text.
    pub const fn as_str(&self) -> &str {
        match std::str::from_utf8(self.text.split_at(self.len).0) {
            Ok(text) => text,
            Err(_) => unreachable!(),
        }
    }

    /// `name`: a number.
    pub(super) const fn of_name(name: &str) -> Schema {
        Schema::EMPTY.then(name)
    }

    /// `[type;length]`.
    pub(super) const fn of_array(of: &Schema, length: usize) -> Schema {
        Schema::EMPTY.then("[").then(of.as_str()).then(";").then_number(length as i128).then("]")
    }

    /// `Name{field:type,...}`.
    #[doc(hidden)]
    pub const fn of_struct(name: &str, fields: &[(&str, &Schema)]) -> Schema {
        let mut schema = Schema::EMPTY.then_name(name);
        let mut n = 0;
        while n < fields.len() {
            let (field, of) = fields[n];
            schema = schema.then(if n == 0 { "{" } else { "," }).then_name(field).then(":").then(of.as_str());
            n += 1;
        }
        schema.then("}")
    }

    /// `Name:number(Variant=value,...)`.
    #[doc(hidden)]
    pub const fn of_enum(name: &str, of: &Schema, variants: &[(&str, i128)]) -> Schema {
        let mut schema = Schema::EMPTY.then_name(name).then(":").then(of.as_str());
        let mut n = 0;
        while n < variants.len() {
            let (variant, value) = variants[n];
            schema =
                schema.then(if n == 0 { "(" } else { "," }).then_name(variant).then("=").then_number(value);
            n += 1;
        }
        schema.then(")")
    }

    /// A name without the mark by which Rust tells it from a keyword, which other languages lack:
    /// `type` for `r#type`.
    const fn then_name(self, name: &str) -> Schema {
        match name.as_bytes() {
            [b'r', b'#', name @ ..] | name => self.then_bytes(name),
        }
    }

    const fn then(self, text: &str) -> Schema {
        self.then_bytes(text.as_bytes())
    }

    const fn then_bytes(mut self, bytes: &[u8]) -> Schema {
        let mut n = 0;
        assert!(self.len + bytes.len() <= SCHEMA_MAX, "the description of a message type exceeds 2048 bytes");
        while n < bytes.len() {
            self.text[self.len + n] = bytes[n];
            n += 1;
        }
        self.len += bytes.len();
        self
    }

    const fn then_number(self, number: i128) -> Schema {
        const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
        let schema = if number < 0 { self.then("-") } else { self };
        let (rest, digit) = (number / 10, (number % 10).unsigned_abs());
        let schema = if rest == 0 { schema } else { schema.then_number(rest.abs()) };
        schema.then(DIGITS[digit as usize])
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}
