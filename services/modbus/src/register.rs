//! Where a value stands in a device: the four kinds of elements and their two notations.
//!
//! A protocol data unit counts from 0, and the function code says the kind (MAP 4.4). Manuals mostly count from 1 and
//! put the kind in front: `40001` is the holding register with address 0. A bare number does not tell which
//! of the two it is. So here an address is a number that comes with its kind, and a reference is a text of five or
//! six digits.

use crate::limits::{ADDRESSES, MAX_BITS_PER_REQUEST, MAX_REGISTERS_PER_REQUEST};

/// The four tables of a device (MAP 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// One bit, could be written; function 1.
    Coil,
    /// One bit, read-only; function 2.
    Discrete,
    /// 16 bits, read-only; function 4.
    Input,
    /// 16 bits, could be written; function 3.
    Holding,
}

impl Kind {
    /// The words for them in a map.
    pub const WORDS: [(&str, Self); 4] = [
        ("coil", Self::Coil),
        ("discrete", Self::Discrete),
        ("input", Self::Input),
        ("holding", Self::Holding),
    ];

    /// The word for it in a map.
    pub fn word(self) -> &'static str {
        match self {
            Self::Coil => "coil",
            Self::Discrete => "discrete",
            Self::Input => "input",
            Self::Holding => "holding",
        }
    }

    /// Whether an element is one bit.
    pub fn is_bit(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }

    /// How many elements one request may ask for.
    pub fn most_per_request(self) -> u16 {
        if self.is_bit() { MAX_BITS_PER_REQUEST } else { MAX_REGISTERS_PER_REQUEST }
    }
}

/// Elements of one kind that follow each other, at least one, all within the kind's 65,536.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    kind: Kind,
    start: u16,
    count: u16,
}

impl Span {
    /// `count` elements from the 0-based `start`; `None` if there are none, or not that many.
    pub fn new(kind: Kind, start: u16, count: u16) -> Option<Self> {
        let fits = u32::from(start) + u32::from(count) <= ADDRESSES;
        (count > 0 && fits).then_some(Self { kind, start, count })
    }

    /// Their kind.
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// The first one's address, from 0.
    pub fn start(self) -> u16 {
        self.start
    }

    /// How many.
    pub fn count(self) -> u16 {
        self.count
    }

    /// The address behind the last one.
    pub fn end(self) -> u32 {
        u32::from(self.start) + u32::from(self.count)
    }
}

/// What a reference may be, in words.
pub const REFERENCE_ALLOWED: &str = "a text of five or six digits: 0 (coil), 1 (discrete), 3 (input) or 4 (holding), \
    then 0001 to 9999 or 00001 to 65536";

/// Reads the 1-based notation: its kind and the 0-based address.
pub fn reference(text: &str) -> Option<(Kind, u16)> {
    if !matches!(text.len(), 5 | 6) || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (kind, number) = text.split_at(1);
    let kind = match kind {
        "0" => Kind::Coil,
        "1" => Kind::Discrete,
        "3" => Kind::Input,
        "4" => Kind::Holding,
        _ => return None,
    };
    let address = number.parse::<u32>().ok()?.checked_sub(1)?;
    Some((kind, u16::try_from(address).ok()?))
}

/// What stands in a span of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cells<'a> {
    /// Of coils and discrete inputs.
    Bits(&'a [bool]),
    /// Of input and holding registers.
    Words(&'a [u16]),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_counts_from_one_and_carries_its_kind() {
        for (text, kind, address) in [
            ("00001", Kind::Coil, 0),
            ("10010", Kind::Discrete, 9),
            ("30001", Kind::Input, 0),
            ("39999", Kind::Input, 9998),
            ("40001", Kind::Holding, 0),
            ("400001", Kind::Holding, 0),
            ("440001", Kind::Holding, 40_000),
            ("465536", Kind::Holding, 65_535),
        ] {
            assert_eq!(reference(text), Some((kind, address)), "{text}");
        }
    }

    #[test]
    fn what_is_no_reference_is_none() {
        let texts = ["", "1", "0001", "40000", "400000", "465537", "20001", "50001", "4000001"];
        for text in texts.into_iter().chain(["+0001", "4x001", "4 001", "４0001"]) {
            assert_eq!(reference(text), None, "{text}");
        }
    }

    #[test]
    fn a_span_stays_within_its_kind() {
        assert!(Span::new(Kind::Input, 65_535, 1).is_some());
        assert!(Span::new(Kind::Input, 65_535, 2).is_none());
        assert!(Span::new(Kind::Input, 0, 0).is_none());
    }
}
