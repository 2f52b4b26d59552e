//! The fear: two programs that mean different bytes take each other's type for their own, or two
//! that mean the same do not.

use slipring::{Checked, Value, message, message_enum};

type Px = u64;

message! {
    struct Level { price: u64, size: u64 }
}

/// Declared elsewhere, with its fields the other way round.
mod swapped {
    slipring::message! {
        pub(crate) struct Level { pub(crate) size: u64, pub(crate) price: u64 }
    }
    /// Another `Book`, with other levels.
    pub(crate) mod book {
        use super::Level;
        slipring::message! {
            pub(in super::super) struct Book { pub(super) best: Level, pub(super) all: [Level; 2] }
        }
    }
}

mod plain {
    use super::Level;
    slipring::message! {
        pub(super) struct Book { pub(super) best: Level, pub(super) all: [Level; 2] }
    }
}

#[test]
fn a_nested_type_counts_with_all_its_fields() {
    assert_eq!(plain::Book::SCHEMA, "Book{best:Level{price:u64,size:u64},all:[Level{price:u64,size:u64};2]}");
    assert_ne!(plain::Book::FINGERPRINT, swapped::book::Book::FINGERPRINT);
}

mod by_alias {
    use super::Px;
    slipring::message! {
        pub(super) struct Level { pub(super) price: Px, pub(super) size: u64 }
    }
}

mod signed {
    type Px = i64;
    slipring::message! {
        pub(super) struct Level { pub(super) price: Px, pub(super) size: u64 }
    }
}

#[test]
fn an_alias_counts_as_the_type_it_stands_for() {
    assert_eq!(Level::FINGERPRINT, by_alias::Level::FINGERPRINT);
    assert_ne!(by_alias::Level::FINGERPRINT, signed::Level::FINGERPRINT);
}

mod packed {
    slipring::message! {
        /// Without `packed` it would need padding.
        #[repr(packed)]
        pub(super) struct Trade { pub(super) side: u8, pub(super) price: i64, pub(super) size: u32 }

        /// The same fields as outside, at any address.
        #[repr(packed)]
        pub(super) struct Level { pub(super) price: u64, pub(super) size: u64 }

        /// One that needs more.
        #[repr(align(16))]
        pub(super) struct Pair { pub(super) one: u64, pub(super) other: u64 }

        /// With both inside: one behind the other.
        pub(super) struct Book { pub(super) pair: Pair, pub(super) trades: [Trade; 2], pub(super) rest: [u8; 6] }
    }
}

#[test]
fn a_packed_type_has_its_fields_one_behind_the_other_and_is_no_other_type() {
    use slipring::zerocopy::IntoBytes;
    use slipring::{AtPath, AttachError, Consumer, OpenError, Producer, RingOptions, Start};
    let trade = packed::Trade { side: 1, price: -2, size: 3 };
    let bytes = [&[1][..], &(-2_i64).to_ne_bytes(), &3_u32.to_ne_bytes()].concat();
    assert_eq!((trade.as_bytes(), packed::Trade::SCHEMA), (&bytes[..], "Trade{side:u8,price:i64,size:u32}"));
    assert_eq!(packed::Level::SCHEMA, Level::SCHEMA);
    assert_ne!(
        packed::Level::FINGERPRINT,
        Level::FINGERPRINT,
        "an address that suits the one may not suit the other"
    );

    let pair = packed::Pair { one: 4, other: 5 };
    let book = packed::Book { pair, trades: [trade, packed::Trade { side: 2, ..trade }], rest: [9; 6] };
    let ring = RingOptions::of::<packed::Book>(4).create_in_memory().unwrap();
    let mut consumer = Consumer::<packed::Book>::attach(&ring, Start::Earliest).unwrap();
    Producer::<packed::Book>::open(&ring).unwrap().send(&book).unwrap();
    let received = consumer.recv().unwrap();
    let flat = [pair.as_bytes(), &bytes, &[2], &bytes[1..], &[9; 6]].concat();
    assert_eq!((received.as_bytes(), *received), (&flat[..], book));

    let ring = RingOptions::of::<packed::Level>(4).create_in_memory().unwrap();
    assert!(matches!(
        Producer::<Level>::open(&ring),
        Err(AtPath { error: AttachError::Open(OpenError::TypeMismatch { .. }), .. })
    ));
}

#[test]
fn lengths_of_arrays_count() {
    assert_eq!(<[[u8; 2]; 3]>::SCHEMA, "[[u8;2];3]");
    assert_ne!(<[u16; 4]>::FINGERPRINT, <[u16; 5]>::FINGERPRINT);
    assert_ne!(<[u16; 4]>::FINGERPRINT, <[i16; 4]>::FINGERPRINT);
    assert_ne!(<[u8; 8]>::FINGERPRINT, u64::FINGERPRINT);
}

message_enum! {
    enum Side: i16 { Buy = -1, Sell = 1 }
}

mod renumbered {
    slipring::message_enum! {
        pub(super) enum Side: i16 { Buy = 1, Sell = -1 }
    }
}

slipring::message_enum! {
    /// With names that Rust marks.
    enum r#Kind: u8 { r#Loop = 1 }
}
slipring::message! {
    /// The same.
    struct r#Marked { r#type: Checked<Kind>, r#match: u8 }
}

/// Programs in other languages write the same text: the mark is Rust's own.
#[test]
fn a_name_that_is_a_keyword_of_rust_has_no_mark() {
    assert_eq!(Marked::SCHEMA, "Marked{type:Kind:u8(Loop=1),match:u8}");
}

#[test]
fn the_numbers_of_an_enum_count() {
    assert_eq!(Checked::<Side>::SCHEMA, "Side:i16(Buy=-1,Sell=1)");
    assert_eq!(Checked::<bool>::SCHEMA, "bool");
    assert_ne!(Checked::<Side>::FINGERPRINT, Checked::<renumbered::Side>::FINGERPRINT);
}

#[test]
fn numbers_that_are_no_value_s_are_errors() {
    for number in i16::MIN..=i16::MAX {
        let checked: Checked<Side> = slipring::zerocopy::transmute!(number.to_le_bytes());
        let expected = match number {
            -1 => Some(Side::Buy),
            1 => Some(Side::Sell),
            _ => None,
        };
        assert_eq!(checked.get().ok(), expected, "{number}");
        assert_eq!(
            checked.get().err().map(|invalid| invalid.number),
            expected.is_none().then_some(number.into())
        );
        assert_eq!(checked.number(), number);
    }
    for byte in 0..=u8::MAX {
        let checked: Checked<bool> = slipring::zerocopy::transmute!(byte);
        assert_eq!(checked.get().ok(), (byte < 2).then_some(byte == 1));
    }
}

/// `docs/format.md` says how programs in other languages compute the fingerprint.
#[test]
fn the_fingerprint_is_the_documented_one() {
    let text = "Level{price:u64,size:u64}".bytes();
    let hash = text
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3));
    assert_eq!(Level::FINGERPRINT, (hash ^ 16_u64.rotate_left(20) ^ 8_u64.rotate_left(50)) | 1);
}

/// The crate may have another name where the macros are used.
mod renamed {
    pub(crate) use ::slipring as ring;
    ring::message! {
        crate = "self::ring::zerocopy";
        pub(super) struct A { pub(super) n: u64 }
        pub(super) struct B { pub(super) a: A }
    }
    ring::message_enum! {
        pub(super) enum E: u8 { V = 3 }
    }
}

#[test]
fn the_macros_do_not_depend_on_the_crate_s_name() {
    assert_eq!(renamed::B::SCHEMA, "B{a:A{n:u64}}");
    assert_eq!(Checked::from(renamed::E::V).number(), 3);
}
