//! How a value lies in registers: its type, and the order of its bytes.

use crate::register::Cells;

/// The order in which the bytes of a value arrive. A is its most significant byte, where the value has 32 bits.
///
/// The standard sends a register's high byte first (MAP 4.2) and says nothing of values with more than one register;
/// devices have all four. A value with 16 bits knows only whether its two bytes are swapped, one with 64 bits
/// goes on in the same way: `ABCDEFGH`, `GHEFCDAB`, `BADCFEHG`, `HGFEDCBA`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Most significant register and byte first.
    #[default]
    Abcd,
    /// Least significant register first, each with its high byte first.
    Cdab,
    /// Most significant register first, each with its low byte first.
    Badc,
    /// Least significant register and byte first.
    Dcba,
}

impl Order {
    /// The words for them in a map.
    pub const WORDS: [(&str, Self); 4] =
        [("ABCD", Self::Abcd), ("CDAB", Self::Cdab), ("BADC", Self::Badc), ("DCBA", Self::Dcba)];

    /// The value's bytes, most significant first. `None` if there are not `N / 2` registers.
    fn bytes<const N: usize>(self, words: &[u16]) -> Option<[u8; N]> {
        if words.len() * 2 != N {
            return None;
        }
        let is_low_register_first = matches!(self, Self::Cdab | Self::Dcba);
        let is_low_byte_first = matches!(self, Self::Badc | Self::Dcba);
        let mut bytes = [0; N];
        for (index, pair) in bytes.chunks_exact_mut(2).enumerate() {
            let from = if is_low_register_first { words.len() - 1 - index } else { index };
            let word = words[from];
            let word = if is_low_byte_first { word.swap_bytes() } else { word };
            pair.copy_from_slice(&word.to_be_bytes());
        }
        Some(bytes)
    }
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A coil, a discrete input, or one bit of a register.
    Bool,
    /// 16 bits, two's complement.
    I16,
    /// 16 bits.
    U16,
    /// 32 bits, two's complement.
    I32,
    /// 32 bits.
    U32,
    /// 64 bits, two's complement.
    I64,
    /// 64 bits.
    U64,
    /// IEEE 754 single.
    F32,
    /// IEEE 754 double.
    F64,
}

impl Type {
    /// The words for them in a map.
    pub const WORDS: [(&str, Self); 9] = [
        ("bool", Self::Bool),
        ("i16", Self::I16),
        ("u16", Self::U16),
        ("i32", Self::I32),
        ("u32", Self::U32),
        ("i64", Self::I64),
        ("u64", Self::U64),
        ("f32", Self::F32),
        ("f64", Self::F64),
    ];

    /// Elements it takes; a bool is in one, whatever the kind.
    pub fn count(self) -> u16 {
        match self {
            Self::Bool | Self::I16 | Self::U16 => 1,
            Self::I32 | Self::U32 | Self::F32 => 2,
            Self::I64 | Self::U64 | Self::F64 => 4,
        }
    }

    /// The least and the greatest, of an integer type.
    pub fn integers(self) -> Option<(i128, i128)> {
        match self {
            Self::I16 => Some((i16::MIN.into(), i16::MAX.into())),
            Self::U16 => Some((0, u16::MAX.into())),
            Self::I32 => Some((i32::MIN.into(), i32::MAX.into())),
            Self::U32 => Some((0, u32::MAX.into())),
            Self::I64 => Some((i64::MIN.into(), i64::MAX.into())),
            Self::U64 => Some((0, u64::MAX.into())),
            Self::Bool | Self::F32 | Self::F64 => None,
        }
    }
}

/// How a point's elements become one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// The element is the bit.
    Bit,
    /// One bit of a register, 0 is the least significant.
    RegisterBit(u8),
    /// A number in one, two or four registers.
    Number(Type, Order),
}

/// What a device said, before scale and offset. Exact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Raw {
    /// 0 or 1, or an integer of 16 to 64 bits.
    Integer(i128),
    /// A single, widened, or a double.
    Float(f64),
}

impl std::fmt::Display for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
        }
    }
}

impl Encoding {
    /// Reads what stands in a point's elements. `None` if they are not as many, or not of the sort, that it takes.
    pub fn read(self, cells: Cells<'_>) -> Option<Raw> {
        match (self, cells) {
            (Self::Bit, Cells::Bits(&[bit])) => Some(Raw::Integer(bit.into())),
            (Self::RegisterBit(bit), Cells::Words(&[word])) => {
                Some(Raw::Integer((word >> bit & 1).into()))
            }
            (Self::Number(what, order), Cells::Words(words)) => number(what, order, words),
            _ => None,
        }
    }
}

fn number(what: Type, order: Order, words: &[u16]) -> Option<Raw> {
    Some(match what {
        Type::Bool => return None,
        Type::I16 => Raw::Integer(i16::from_be_bytes(order.bytes(words)?).into()),
        Type::U16 => Raw::Integer(u16::from_be_bytes(order.bytes(words)?).into()),
        Type::I32 => Raw::Integer(i32::from_be_bytes(order.bytes(words)?).into()),
        Type::U32 => Raw::Integer(u32::from_be_bytes(order.bytes(words)?).into()),
        Type::I64 => Raw::Integer(i64::from_be_bytes(order.bytes(words)?).into()),
        Type::U64 => Raw::Integer(u64::from_be_bytes(order.bytes(words)?).into()),
        Type::F32 => Raw::Float(f32::from_be_bytes(order.bytes(words)?).into()),
        Type::F64 => Raw::Float(f64::from_be_bytes(order.bytes(words)?)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where each byte of a value goes, spelt out: the letters are the order of arrival.
    const LETTERS: [(Order, [&str; 3]); 4] = [
        (Order::Abcd, ["AB", "ABCD", "ABCDEFGH"]),
        (Order::Cdab, ["AB", "CDAB", "GHEFCDAB"]),
        (Order::Badc, ["BA", "BADC", "BADCFEHG"]),
        (Order::Dcba, ["BA", "DCBA", "HGFEDCBA"]),
    ];

    /// The registers in which a value with these bytes arrives.
    fn sent(order: Order, bytes: &[u8]) -> Vec<u16> {
        let (_, letters) = LETTERS.iter().find(|(other, _)| *other == order).unwrap();
        let letters = letters.iter().find(|letters| letters.len() == bytes.len()).unwrap();
        let arrived: Vec<u8> =
            letters.bytes().map(|letter| bytes[usize::from(letter - b'A')]).collect();
        arrived.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
    }

    fn read(what: Type, order: Order, bytes: &[u8]) -> Raw {
        Encoding::Number(what, order).read(Cells::Words(&sent(order, bytes))).unwrap()
    }

    #[test]
    fn pi_in_every_order() {
        for (order, words) in [
            (Order::Abcd, [0x4049, 0x0FDB]),
            (Order::Cdab, [0x0FDB, 0x4049]),
            (Order::Badc, [0x4940, 0xDB0F]),
            (Order::Dcba, [0xDB0F, 0x4940]),
        ] {
            let raw = Encoding::Number(Type::F32, order).read(Cells::Words(&words));
            assert_eq!(raw, Some(Raw::Float(std::f32::consts::PI.into())), "{order:?}");
        }
    }

    #[test]
    fn bits() {
        assert_eq!(Encoding::Bit.read(Cells::Bits(&[true])), Some(Raw::Integer(1)));
        for bit in 0..16 {
            for other in 0..16 {
                let raw = Encoding::RegisterBit(bit).read(Cells::Words(&[1 << other]));
                assert_eq!(raw, Some(Raw::Integer((bit == other).into())));
            }
        }
    }

    #[test]
    fn too_few_too_many_or_the_wrong_sort_is_none() {
        assert_eq!(Encoding::Bit.read(Cells::Bits(&[])), None);
        assert_eq!(Encoding::Bit.read(Cells::Words(&[1])), None);
        assert_eq!(Encoding::RegisterBit(0).read(Cells::Words(&[])), None);
        for (_, what) in Type::WORDS.into_iter().skip(1) {
            for count in (0..6).filter(|count| *count != usize::from(what.count())) {
                let words = vec![0; count];
                let encoding = Encoding::Number(what, Order::Abcd);
                assert_eq!(encoding.read(Cells::Words(&words)), None, "{what:?}, {count}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_type_in_every_order(bits: u64, order in 0..4_usize) {
            let (order, _) = LETTERS[order];
            let (short, middle) = (bits as u16, bits as u32);
            let integer = |value: i128| Raw::Integer(value);
            prop_assert_eq!(read(Type::U16, order, &short.to_be_bytes()), integer(short.into()));
            prop_assert_eq!(
                read(Type::I16, order, &short.to_be_bytes()),
                integer((short as i16).into())
            );
            prop_assert_eq!(read(Type::U32, order, &middle.to_be_bytes()), integer(middle.into()));
            prop_assert_eq!(
                read(Type::I32, order, &middle.to_be_bytes()),
                integer((middle as i32).into())
            );
            prop_assert_eq!(read(Type::U64, order, &bits.to_be_bytes()), integer(bits.into()));
            prop_assert_eq!(
                read(Type::I64, order, &bits.to_be_bytes()),
                integer((bits as i64).into())
            );
            let (single, double) = (f32::from_bits(middle), f64::from_bits(bits));
            let Raw::Float(read_single) = read(Type::F32, order, &middle.to_be_bytes()) else {
                unreachable!()
            };
            let Raw::Float(read_double) = read(Type::F64, order, &bits.to_be_bytes()) else {
                unreachable!()
            };
            prop_assert_eq!(read_single.to_bits(), f64::from(single).to_bits());
            prop_assert_eq!(read_double.to_bits(), double.to_bits());
        }
    }
}
