//! The values in a typed ring's messages, decoded by the description in the ring's header. The
//! grammar is in `docs/format.md`.

use serde_json::{Map, Value};

/// How deep types may be nested: the description comes from another process.
const DEPTH_MAX: usize = 64;

/// A type that a ring's header describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Type {
    shape: Shape,
    size: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    Unsigned,
    Signed,
    Float,
    Bool,
    Array(Box<Type>, usize),
    Struct(Vec<(String, Type)>),
    Enum(Box<Type>, Vec<(String, i128)>),
}

impl Type {
    /// The described type; none for a text that is no description.
    pub(crate) fn parse(description: &str) -> Option<Type> {
        let mut parser = Parser { rest: description };
        let of = parser.next_type(0)?;
        parser.rest.is_empty().then_some(of)
    }

    /// The value in these bytes; none if they are not as long as the type.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Option<Value> {
        (bytes.len() == self.size).then(|| self.value(bytes))
    }

    /// `bytes` is as long as the type.
    fn value(&self, bytes: &[u8]) -> Value {
        match &self.shape {
            Shape::Unsigned => number(unsigned(bytes)),
            Shape::Signed => number(signed(bytes)),
            Shape::Float => float(bytes),
            Shape::Bool if bytes[0] < 2 => Value::from(bytes[0] == 1),
            Shape::Bool => Value::from(bytes[0]),
            Shape::Array(of, _) if of.size == 0 => Value::Array(Vec::new()),
            Shape::Array(of, _) => bytes.chunks_exact(of.size).map(|item| of.value(item)).collect(),
            Shape::Struct(fields) => fields_of(fields, bytes),
            Shape::Enum(of, variants) => variant(of, variants, bytes),
        }
    }
}

fn fields_of(fields: &[(String, Type)], mut bytes: &[u8]) -> Value {
    let mut object = Map::new();
    for (name, of) in fields {
        let (field, rest) = bytes.split_at(of.size);
        object.insert(name.clone(), of.value(field));
        bytes = rest;
    }
    Value::Object(object)
}

/// The variant's name, or the number if no variant has it.
fn variant(of: &Type, variants: &[(String, i128)], bytes: &[u8]) -> Value {
    let found = match of.shape {
        Shape::Signed => Some(signed(bytes)),
        _ => i128::try_from(unsigned(bytes)).ok(),
    };
    let named = variants.iter().find(|(_, number)| Some(*number) == found);
    named.map_or_else(|| of.value(bytes), |(name, _)| Value::from(name.as_str()))
}

/// A JSON number, or a text where JSON readers have no number so large.
fn number<N: TryInto<u64> + TryInto<i64> + ToString + Copy>(n: N) -> Value {
    let small = n.try_into().ok().map(|n: u64| Value::from(n));
    let negative = || n.try_into().ok().map(|n: i64| Value::from(n));
    small.or_else(negative).unwrap_or_else(|| Value::from(n.to_string()))
}

/// Little-endian, at most 16 bytes.
fn unsigned(bytes: &[u8]) -> u128 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

fn signed(bytes: &[u8]) -> i128 {
    let unused = 128 - 8 * bytes.len();
    (i128::from_le_bytes(unsigned(bytes).to_le_bytes()) << unused) >> unused
}

/// JSON has neither infinities nor NaN: they are texts.
fn float(bytes: &[u8]) -> Value {
    let text = match bytes {
        [a, b, c, d] => f32::from_le_bytes([*a, *b, *c, *d]).to_string(),
        _ => f64::from_le_bytes(bytes.try_into().unwrap_or_default()).to_string(),
    };
    // By its shortest text: 0.1 as an f32 stays 0.1.
    let number = text.parse().ok().and_then(serde_json::Number::from_f64);
    number.map_or(Value::from(text), Value::Number)
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn next_type(&mut self, depth: usize) -> Option<Type> {
        if depth > DEPTH_MAX {
            return None;
        }
        if self.takes('[') {
            return self.array(depth);
        }
        let name = self.word()?;
        if let Some(of) = simple(name) {
            return Some(of);
        }
        match self.rest.chars().next()? {
            '{' => self.fields(depth),
            ':' => self.variants(),
            _ => None,
        }
    }

    fn array(&mut self, depth: usize) -> Option<Type> {
        let of = self.next_type(depth + 1)?;
        let length: usize = self.takes(';').then(|| self.word())??.parse().ok()?;
        let size = of.size.checked_mul(length)?;
        self.takes(']').then(|| Type { shape: Shape::Array(Box::new(of), length), size })
    }

    fn fields(&mut self, depth: usize) -> Option<Type> {
        let (mut fields, mut size) = (Vec::new(), 0_usize);
        while self.takes(if fields.is_empty() { '{' } else { ',' }) {
            let name = self.word()?.to_owned();
            let of = self.takes(':').then(|| self.next_type(depth + 1))??;
            size = size.checked_add(of.size)?;
            fields.push((name, of));
        }
        self.takes('}').then_some(Type { shape: Shape::Struct(fields), size })
    }

    fn variants(&mut self) -> Option<Type> {
        let of = self.takes(':').then(|| self.word().and_then(simple))??;
        let is_integer = matches!(of.shape, Shape::Unsigned | Shape::Signed);
        let mut variants = Vec::new();
        while self.takes(if variants.is_empty() { '(' } else { ',' }) {
            let name = self.word()?.to_owned();
            variants.push((name, self.takes('=').then(|| self.word())??.parse().ok()?));
        }
        let size = of.size;
        (is_integer && self.takes(')')).then(|| Type { shape: Shape::Enum(Box::new(of), variants), size })
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

/// A number or a bool.
fn simple(name: &str) -> Option<Type> {
    if name == "bool" {
        return Some(Type { shape: Shape::Bool, size: 1 });
    }
    let (shape, sizes): (_, &[usize]) = match name.get(..1)? {
        "u" => (Shape::Unsigned, &[1, 2, 4, 8, 16]),
        "i" => (Shape::Signed, &[1, 2, 4, 8, 16]),
        "f" => (Shape::Float, &[4, 8]),
        _ => return None,
    };
    let size = sizes.iter().copied().find(|size| name[1..] == (8 * size).to_string())?;
    Some(Type { shape, size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BOOK: &str =
        "Book{instrument:u64,side:Side:u32(Buy=1,Sell=2),flags:u32,bids:[Level{price:i64,size:u64};2]}";

    #[test]
    fn a_nested_type_is_decoded() {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&u64::MAX.to_le_bytes());
        bytes.extend_from_slice(&2_u32.to_le_bytes());
        bytes.extend_from_slice(&7_u32.to_le_bytes());
        for number in [-1_i64, 1, i64::MIN, 2] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let expected = json!({
            "instrument": u64::MAX, "side": "Sell", "flags": 7,
            "bids": [{ "price": -1, "size": 1 }, { "price": i64::MIN, "size": 2 }],
        });
        let of = Type::parse(BOOK).unwrap();
        assert_eq!(of.decode(&bytes), Some(expected));
        assert_eq!(of.decode(&bytes[1..]), None, "another length");
        bytes[8] = 9;
        assert_eq!(of.decode(&bytes).unwrap()["side"], 9, "no variant has it");
    }

    #[test]
    fn what_json_has_no_number_for_is_a_text() {
        let of = |text| Type::parse(text).unwrap();
        assert_eq!(of("u128").decode(&[0xFF; 16]), Some(json!(u128::MAX.to_string())));
        assert_eq!(of("i128").decode(&[0xFF; 16]), Some(json!(-1)));
        assert_eq!(of("f64").decode(&f64::NAN.to_le_bytes()), Some(json!("NaN")));
        assert_eq!(of("f32").decode(&0.1_f32.to_le_bytes()), Some(json!(0.1)));
        assert_eq!(of("[bool;3]").decode(&[0, 1, 2]), Some(json!([false, true, 2])));
    }

    #[test]
    fn a_hostile_description_is_none() {
        let deep = "[".repeat(2000);
        let large = format!("[[u8;{}];{}]", usize::MAX, usize::MAX);
        for text in [
            "",
            "u7",
            "X",
            "X{",
            "X{}u8",
            "X{a:u8,}",
            "[u8;]",
            "[u8;-1]",
            "E:f32(A=1)",
            "E:u8(A=)",
            "é",
            &deep,
            &large,
        ] {
            assert_eq!(Type::parse(text), None, "{text}");
        }
        // No bytes, and no end of them.
        let of = Type::parse(&format!("[[u8;0];{}]", usize::MAX)).unwrap();
        assert_eq!(of.decode(&[]), Some(json!([])));
    }
}
