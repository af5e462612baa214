//! What a point's elements say: a value with its status, and the reason where it is not good.
//!
//! A value that is bad is not a number: so it travels, and so it becomes null. The plausible range of the profile
//! is judged later, for every sensor alike. What is judged here only the map knows.

use vigia_protocol::profile::Number;
use vigia_protocol::quality::Status;

use crate::encoding::Raw;
use crate::limits::{EXACT_IN_F32, EXACT_IN_F64};
use crate::map::Point;
use crate::register::Cells;

/// BadOutOfRange of OPC UA: there is a number, and it cannot be carried as it is.
pub const OUT_OF_RANGE: Status = Status(0x803C);

/// A value as it goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decoded {
    /// Not a number, if it is bad.
    pub value: f64,
    /// How far it may be trusted.
    pub status: Status,
    /// Why not, if it is not good.
    pub doubt: Option<Doubt>,
}

/// Why a value is not good.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Doubt {
    /// The answer has too few elements, too many, or others.
    #[error("the answer is not as long as was asked for")]
    Length,
    /// One of the map's `bad` values.
    #[error("{0} is the device's way to say that it has no value")]
    BadValue(Raw),
    /// A float that is no finite number.
    #[error("{0} is not a number")]
    NotFinite(f64),
    /// An integer that no f64 can carry exactly.
    #[error("{0} is beyond ±2^53, so that f64 cannot carry it exactly")]
    BeyondF64(i128),
    /// Scaled, it is beyond what the quantity's type can carry.
    #[error("{0} is too large for the quantity's type")]
    TooLarge(f64),
    /// Outside the map's `valid` range.
    #[error("{0} is outside of the valid range")]
    Invalid(f64),
    /// An integer that an f32 carries only rounded.
    #[error("{0} is beyond ±2^24, so that f32 rounds it; the profile could make it f64")]
    Rounded(i128),
}

impl Doubt {
    /// The status of a value with this doubt.
    pub fn status(self) -> Status {
        match self {
            Self::Length => Status::DEVICE_FAILURE,
            Self::BadValue(_) | Self::NotFinite(_) | Self::Invalid(_) => Status::SENSOR_FAILURE,
            Self::BeyondF64(_) | Self::TooLarge(_) => OUT_OF_RANGE,
            Self::Rounded(_) => Status::SENSOR_NOT_ACCURATE,
        }
    }
}

/// Decodes what stands in a point's elements.
pub fn decode(point: &Point, cells: Cells<'_>) -> Decoded {
    match judge(point, cells) {
        Ok((value, doubt)) => {
            Decoded { value, status: doubt.map_or(Status::GOOD, Doubt::status), doubt }
        }
        Err(doubt) => Decoded { value: f64::NAN, status: doubt.status(), doubt: Some(doubt) },
    }
}

/// A value that can be used, perhaps with a doubt; or why there is none.
fn judge(point: &Point, cells: Cells<'_>) -> Result<(f64, Option<Doubt>), Doubt> {
    let raw = point.encoding.read(cells).ok_or(Doubt::Length)?;
    if point.bad.contains(&raw) {
        return Err(Doubt::BadValue(raw));
    }
    let (unscaled, doubt) = match raw {
        Raw::Float(value) if !value.is_finite() => return Err(Doubt::NotFinite(value)),
        Raw::Float(value) => (value, None),
        Raw::Integer(value) if value.abs() > EXACT_IN_F64 => return Err(Doubt::BeyondF64(value)),
        Raw::Integer(value) => {
            let is_rounded = point.number == Number::F32 && value.abs() > EXACT_IN_F32;
            (value as f64, is_rounded.then_some(Doubt::Rounded(value)))
        }
    };
    let exact = unscaled * point.scale + point.offset;
    let value = match point.number {
        Number::F32 => f64::from(exact as f32),
        Number::F64 => exact,
    };
    if !value.is_finite() {
        return Err(Doubt::TooLarge(exact));
    }
    // Before it was rounded: the range is written as the map has it.
    if point.valid.is_some_and(|[low, high]| exact < low || exact > high) {
        return Err(Doubt::Invalid(value));
    }
    Ok((value, doubt))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vigia_protocol::quality::Quality;

    use super::*;
    use crate::encoding::{Encoding, Order, Type};
    use crate::register::{Kind, Span};

    fn point(what: Type, number: Number) -> Point {
        Point {
            quantity: "x".to_owned(),
            span: Span::new(Kind::Holding, 0, what.count()).unwrap(),
            encoding: Encoding::Number(what, Order::Abcd),
            scale: 1.0,
            offset: 0.0,
            bad: Vec::new(),
            valid: None,
            number,
        }
    }

    fn words(value: u64) -> [u16; 4] {
        [(value >> 48) as u16, (value >> 32) as u16, (value >> 16) as u16, value as u16]
    }

    fn good(value: f64) -> Decoded {
        Decoded { value, status: Status::GOOD, doubt: None }
    }

    fn doubt(point: &Point, words: &[u16]) -> Doubt {
        let decoded = decode(point, Cells::Words(words));
        assert_ne!(decoded.status.quality(), Quality::Good);
        assert_eq!(decoded.value.is_nan(), decoded.status.quality() == Quality::Bad);
        decoded.doubt.unwrap()
    }

    #[test]
    fn scale_and_offset() {
        let point = Point { scale: 0.1, offset: -40.0, ..point(Type::I16, Number::F64) };
        assert_eq!(decode(&point, Cells::Words(&[615])), good(21.5));
        assert_eq!(decode(&point, Cells::Words(&[0xFFFF])), good(-40.1));
    }

    #[test]
    fn the_words_for_no_value_are_bad_before_they_are_scaled() {
        let point =
            Point { scale: 0.1, bad: vec![Raw::Integer(0xFFFF)], ..point(Type::U16, Number::F32) };
        assert_eq!(doubt(&point, &[0xFFFF]), Doubt::BadValue(Raw::Integer(0xFFFF)));
        assert_eq!(decode(&point, Cells::Words(&[0xFFFE])).status, Status::GOOD);
    }

    #[test]
    fn integers_are_exact_or_bad() {
        let u64 = point(Type::U64, Number::F64);
        let limit = 1_u64 << 53;
        assert_eq!(decode(&u64, Cells::Words(&words(limit))), good(9_007_199_254_740_992.0));
        assert_eq!(doubt(&u64, &words(limit + 1)), Doubt::BeyondF64(i128::from(limit) + 1));
        assert_eq!(decode(&u64, Cells::Words(&words(limit + 1))).status, OUT_OF_RANGE);
        assert_eq!(doubt(&u64, &words(u64::MAX)), Doubt::BeyondF64(u64::MAX.into()));
        let i64 = point(Type::I64, Number::F64);
        let negative = |value: i64| words(value as u64);
        let least = -(1_i64 << 53);
        assert_eq!(decode(&i64, Cells::Words(&negative(least))), good(-9_007_199_254_740_992.0));
        assert_eq!(doubt(&i64, &negative(least - 1)), Doubt::BeyondF64(i128::from(least) - 1));
        assert_eq!(doubt(&i64, &negative(i64::MIN)), Doubt::BeyondF64(i64::MIN.into()));
    }

    #[test]
    fn what_f32_rounds_is_uncertain() {
        let words = |value: u32| [(value >> 16) as u16, value as u16];
        let single = point(Type::U32, Number::F32);
        assert_eq!(decode(&single, Cells::Words(&words(1 << 24))), good(16_777_216.0));
        assert_eq!(doubt(&single, &words((1 << 24) + 1)), Doubt::Rounded((1 << 24) + 1));
        let double = point(Type::U32, Number::F64);
        assert_eq!(decode(&double, Cells::Words(&words(u32::MAX))), good(4_294_967_295.0));
    }

    #[test]
    fn floats_that_are_no_numbers_or_too_large_are_bad() {
        let single = point(Type::F32, Number::F32);
        assert!(matches!(doubt(&single, &[0x7FC0, 0]), Doubt::NotFinite(value) if value.is_nan()));
        assert_eq!(doubt(&single, &[0xFF80, 0]), Doubt::NotFinite(f64::NEG_INFINITY));
        let double = point(Type::F64, Number::F32);
        assert_eq!(doubt(&double, &words(1e300_f64.to_bits())), Doubt::TooLarge(1e300));
        let huge = Point { scale: 1e300, ..point(Type::F64, Number::F64) };
        assert_eq!(doubt(&huge, &words(1e300_f64.to_bits())), Doubt::TooLarge(f64::INFINITY));
    }

    #[test]
    fn the_valid_range_includes_its_ends() {
        let point = Point { valid: Some([0.0, 10.0]), scale: 0.1, ..point(Type::I16, Number::F32) };
        assert_eq!(decode(&point, Cells::Words(&[100])), good(10.0));
        assert_eq!(decode(&point, Cells::Words(&[0])), good(0.0));
        assert!(matches!(doubt(&point, &[101]), Doubt::Invalid(_)));
        assert!(matches!(doubt(&point, &[0xFFFF]), Doubt::Invalid(_)));
    }

    #[test]
    fn a_bit_of_a_status_word() {
        let point = Point { encoding: Encoding::RegisterBit(3), ..point(Type::Bool, Number::F32) };
        assert_eq!(decode(&point, Cells::Words(&[0b1000])), good(1.0));
        assert_eq!(decode(&point, Cells::Words(&[0b0111])), good(0.0));
        assert_eq!(doubt(&point, &[]), Doubt::Length);
    }

    proptest! {
        /// Whatever a device says: a finite value that is good or uncertain, or none that is bad; never a panic.
        #[test]
        fn any_answer_becomes_a_value_or_a_reason(
            said in prop::collection::vec(any::<u16>(), 0..6),
            what in 1..9_usize,
            order in 0..4_usize,
            scale in -1e9..1e9_f64,
            is_single: bool,
        ) {
            let what = Type::WORDS[what].1;
            let number = if is_single { Number::F32 } else { Number::F64 };
            let encoding = Encoding::Number(what, Order::WORDS[order].1);
            let point = Point { encoding, scale, ..point(what, number) };
            let decoded = decode(&point, Cells::Words(&said));
            let is_bad = decoded.status.quality() == Quality::Bad;
            prop_assert_eq!(decoded.value.is_finite(), !is_bad);
            prop_assert_eq!(decoded.doubt.is_none(), decoded.status == Status::GOOD);
            if let Some(doubt) = decoded.doubt {
                prop_assert!(!doubt.to_string().is_empty());
            }
            if said.len() != usize::from(what.count()) {
                prop_assert_eq!(decoded.doubt, Some(Doubt::Length));
            }
        }
    }
}
