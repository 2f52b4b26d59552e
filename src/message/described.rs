//! A type by its description alone, for a program that does not have it: what a journal kept of a
//! ring's type. The grammar is in `docs/format.md`.

use super::{MessageType, fingerprint};
use slipring_core::format::SCHEMA_MAX;

/// How deep types may be nested: the description may come from another process.
const DEPTH_MAX: usize = 64;

/// The type of a new ring's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) fingerprint: u64,
    pub(crate) size: u64,
    pub(crate) align: u64,
    pub(crate) schema: String,
}

impl From<MessageType> for Described {
    fn from(of: MessageType) -> Described {
        let MessageType { fingerprint, size, align, schema } = of;
        Described { fingerprint, size, align, schema: schema.to_owned() }
    }
}

impl Described {
    /// The type that this text describes; none if the text is no description.
    pub(crate) fn parse(text: &str) -> Option<Described> {
        let mut parser = Parser { rest: text };
        let Extent { size, align } = parser.next_type(0)?;
        let is_whole = parser.rest.is_empty() && text.len() <= SCHEMA_MAX && size > 0;
        is_whole.then(|| Described {
            fingerprint: fingerprint(text, size, align),
            size: size as u64,
            align: align as u64,
            schema: text.to_owned(),
        })
    }
}

/// Size and alignment of a type, in bytes.
#[derive(Clone, Copy)]
struct Extent {
    size: usize,
    align: usize,
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn next_type(&mut self, depth: usize) -> Option<Extent> {
        if depth > DEPTH_MAX {
            return None;
        }
        if self.takes('[') {
            let of = self.next_type(depth + 1)?;
            let length: usize = self.takes(';').then(|| self.word())??.parse().ok()?;
            let size = of.size.checked_mul(length)?;
            return self.takes(']').then_some(Extent { size, ..of });
        }
        let name = self.word()?;
        match self.rest.chars().next() {
            Some('{') => self.fields(depth),
            Some(':') => self.variants(),
            _ => simple(name),
        }
    }

    fn fields(&mut self, depth: usize) -> Option<Extent> {
        let (mut all, mut sign) = (Extent { size: 0, align: 1 }, '{');
        while self.takes(sign) {
            self.word()?;
            let of = self.takes(':').then(|| self.next_type(depth + 1))??;
            all = Extent { size: all.size.checked_add(of.size)?, align: all.align.max(of.align) };
            sign = ',';
        }
        self.takes('}').then_some(all)
    }

    fn variants(&mut self) -> Option<Extent> {
        let of = self.takes(':').then(|| self.word().and_then(simple))??;
        let mut sign = '(';
        while self.takes(sign) {
            self.word()?;
            let _: i128 = self.takes('=').then(|| self.word())??.parse().ok()?;
            sign = ',';
        }
        self.takes(')').then_some(of)
    }

    /// Up to the next sign of the grammar, and not empty.
    fn word(&mut self) -> Option<&'a str> {
        let end = self.rest.find(|c| "[]{}();:,=".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn takes(&mut self, sign: char) -> bool {
        let rest = self.rest.strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

/// A number, or a bool.
fn simple(name: &str) -> Option<Extent> {
    let size = match name {
        "u8" | "i8" | "bool" => 1,
        "u16" | "i16" => 2,
        "u32" | "i32" | "f32" => 4,
        "u64" | "i64" | "f64" => 8,
        "u128" | "i128" => 16,
        _ => return None,
    };
    Some(Extent { size, align: size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;

    fn same<T: Value>() {
        assert_eq!(Described::parse(T::SCHEMA), Some(MessageType::of::<T>().into()));
    }

    #[test]
    fn a_described_type_is_the_one_that_the_text_was_written_for() {
        same::<u8>();
        same::<[f64; 3]>();
        same::<u128>();
        let of = Described::parse("Order{id:u64,side:Side:u32(Buy=1,Sell=-2),filled:[bool;4]}").unwrap();
        assert_eq!((of.size, of.align), (16, 8));
    }

    #[test]
    fn a_text_that_describes_nothing_is_refused() {
        let deep = "[".repeat(2000);
        let large = format!("[[u8;{}];{}]", usize::MAX, usize::MAX);
        let long = format!("S{{{}:u8}}", "a".repeat(SCHEMA_MAX));
        for text in
            ["", "u7", "X", "X{", "X{}", "X{}u8", "X{a:u8,}", "[u8;]", "[u8;-1]", "[u8;0]", "E:u8(A=)", "é"]
                .into_iter()
                .chain([&*deep, &*large, &*long])
        {
            assert!(Described::parse(text).is_none(), "{text}");
        }
    }
}
