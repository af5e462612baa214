//! What a simulated point says at a moment: a slow sine within its range, and how that lies in its elements.

use std::f64::consts::TAU;

use crate::encoding::{Encoding, Order, Raw, Type};
use crate::limits::EXACT_IN_F64;
use crate::map::Point;

/// The shortest period, in seconds; each point of a device has a longer one than the one before it.
const PERIOD: f64 = 60.0;
/// By how much.
const MORE_PERIOD: f64 = 13.0;
/// Where nothing says what is plausible.
const RANGE: [f64; 2] = [0.0, 100.0];
/// The part of the range that the sine takes, in its middle.
const PART: f64 = 0.4;

/// The value of a point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signal {
    middle: f64,
    swing: f64,
    period: f64,
}

impl Signal {
    /// Of the device's point with this index. `range` is what its profile holds for plausible.
    pub(crate) fn new(index: usize, point: &Point, range: Option<[f64; 2]>) -> Self {
        let [mut low, mut high] = point.valid.or(range).unwrap_or(RANGE);
        // What the registers can say, in the value's terms.
        if let Encoding::Number(what, _) = point.encoding
            && let Some((least, most)) = what.integers()
        {
            let sayable = [least.max(-EXACT_IN_F64), most.min(EXACT_IN_F64)]
                .map(|raw| raw as f64 * point.scale + point.offset);
            let [least, most] = [sayable[0].min(sayable[1]), sayable[0].max(sayable[1])];
            if least < high && low < most {
                (low, high) = (low.max(least), high.min(most));
            } else {
                (low, high) = (least, most);
            }
        }
        Self {
            middle: low / 2.0 + high / 2.0,
            swing: (high / 2.0 - low / 2.0) * PART,
            period: PERIOD + MORE_PERIOD * index as f64,
        }
    }

    /// From -1 to 1.
    fn wave(self, seconds: f64) -> f64 {
        (seconds / self.period * TAU).sin()
    }

    /// What the device says, before scale and offset.
    pub(crate) fn raw(self, point: &Point, seconds: f64) -> Raw {
        let value = self.middle + self.swing * self.wave(seconds);
        let raw = (value - point.offset) / point.scale;
        match point.encoding {
            Encoding::Bit | Encoding::RegisterBit(_) => {
                Raw::Integer((self.wave(seconds) > 0.0).into())
            }
            Encoding::Number(Type::F32, _) => Raw::Float((raw as f32).into()),
            Encoding::Number(what, _) => match what.integers() {
                None => Raw::Float(raw),
                Some((least, most)) => Raw::Integer((raw.round() as i128).clamp(least, most)),
            },
        }
    }
}

/// The registers of a number. What does not fit its type is shown by its lowest bits.
pub fn registers(what: Type, order: Order, raw: Raw) -> Vec<u16> {
    let integer = match raw {
        Raw::Integer(value) => value,
        Raw::Float(value) => value as i128,
    };
    let float = match raw {
        Raw::Integer(value) => value as f64,
        Raw::Float(value) => value,
    };
    let bytes = match what {
        Type::Bool | Type::I16 | Type::U16 => (integer as u16).to_be_bytes().to_vec(),
        Type::I32 | Type::U32 => (integer as u32).to_be_bytes().to_vec(),
        Type::I64 | Type::U64 => (integer as u64).to_be_bytes().to_vec(),
        Type::F32 => (float as f32).to_be_bytes().to_vec(),
        Type::F64 => float.to_be_bytes().to_vec(),
    };
    let mut words: Vec<u16> =
        bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    if matches!(order, Order::Cdab | Order::Dcba) {
        words.reverse();
    }
    if matches!(order, Order::Badc | Order::Dcba) {
        words.iter_mut().for_each(|word| *word = word.swap_bytes());
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::register::Cells;

    proptest! {
        #[test]
        fn what_is_written_is_read(bits: u64, what in 1..9_usize, order in 0..4_usize) {
            let (what, order) = (Type::WORDS[what].1, Order::WORDS[order].1);
            let raw = match what {
                Type::I16 => Raw::Integer((bits as i16).into()),
                Type::U16 => Raw::Integer((bits as u16).into()),
                Type::I32 => Raw::Integer((bits as i32).into()),
                Type::U32 => Raw::Integer((bits as u32).into()),
                Type::I64 => Raw::Integer((bits as i64).into()),
                Type::U64 => Raw::Integer(bits.into()),
                Type::F32 => Raw::Float(f32::from_bits(bits as u32).into()),
                _ => Raw::Float(f64::from_bits(bits)),
            };
            prop_assume!(!matches!(raw, Raw::Float(value) if value.is_nan()));
            let words = registers(what, order, raw);
            prop_assert_eq!(Encoding::Number(what, order).read(Cells::Words(&words)), Some(raw));
        }
    }
}
