//! Weighs every way to understand registers: each type, in each order, at each address.
//!
//! A number that a plant measures is neither tiny nor huge, has few decimals or moves a little between two looks. Bytes
//! in the wrong order, or of two values, rarely make such a number: the exponent of a float is then anything, and what
//! moved a little has jumped. Weights are like bits of evidence; only their order matters.

use std::ops::RangeInclusive;

use crate::encoding::{Encoding, Order, Raw, Type};
use crate::limits::EXACT_IN_F64;
use crate::probe::look::Seen;
use crate::register::Cells;

/// Factors with which devices send decimals as integers.
const SCALES: [f64; 4] = [0.1, 0.01, 0.001, 10.0];
/// Evidence by what the user expects: more than all other together.
const EXPECTED: i32 = 40;
/// The same, if a scale is needed for it.
const EXPECTED_SCALED: i32 = 20;

/// One way to understand some registers.
#[derive(Debug, Clone, PartialEq)]
pub struct Guess {
    /// The first register, from 0.
    pub address: u16,
    /// As what.
    pub what: Type,
    /// In which order.
    pub order: Order,
    /// At the first look.
    pub value: Raw,
    /// At the second one.
    pub then: Raw,
    /// With this factor it is what was expected.
    pub scale: Option<f64>,
    /// How much speaks for it.
    pub weight: i32,
    /// What speaks for it, in words.
    pub hints: Vec<&'static str>,
}

/// Every plausible way, the best first. What begins or ends beyond `asked` is thought of too, but less likely.
pub fn guesses(seen: &Seen, asked: &RangeInclusive<u16>, expected: Option<[f64; 2]>) -> Vec<Guess> {
    let mut guesses: Vec<Guess> = seen
        .first
        .keys()
        // What begins behind is not thought of, but for one address.
        .filter(|address| **address <= asked.end().saturating_add(1))
        .flat_map(|address| ways().map(move |(what, order)| (*address, what, order)))
        .filter_map(|(address, what, order)| weigh(seen, address, what, order, asked, expected))
        .collect();
    guesses.sort_by_key(|guess| (-guess.weight, guess.address));
    guesses
}

/// Every type in each order that makes a difference.
pub fn ways() -> impl Iterator<Item = (Type, Order)> {
    let numbers = Type::WORDS.into_iter().map(|(_, what)| what).filter(|what| *what != Type::Bool);
    numbers.flat_map(|what| {
        let orders = Order::WORDS.into_iter().map(|(_, order)| order);
        orders
            .filter(move |order| what.count() > 1 || matches!(order, Order::Abcd | Order::Badc))
            .map(move |order| (what, order))
    })
}

/// What registers say, understood so. `None` if one of them is not there.
fn read(
    words: &std::collections::BTreeMap<u16, u16>,
    address: u16,
    what: Type,
    order: Order,
) -> Option<Raw> {
    let last = address.checked_add(what.count() - 1)?;
    let words: Vec<u16> = words.range(address..=last).map(|(_, word)| *word).collect();
    Encoding::Number(what, order).read(Cells::Words(&words))
}

fn weigh(
    seen: &Seen,
    address: u16,
    what: Type,
    order: Order,
    asked: &RangeInclusive<u16>,
    expected: Option<[f64; 2]>,
) -> Option<Guess> {
    let value = read(&seen.first, address, what, order)?;
    let then = read(&seen.second, address, what, order)?;
    let mut hints = Vec::new();
    let mut weight = match value {
        Raw::Integer(integer) => of_integer(what, integer)?,
        Raw::Float(float) => of_float(what, float, &mut hints)?,
    };
    weight += of_change(what, number(value), number(then), &mut hints);
    let last = address + (what.count() - 1);
    if !(asked.contains(&address) && asked.contains(&last)) {
        // Where a value begins is better known than how long it is.
        let (doubt, hint) = match address {
            address if address < *asked.start() => (6, "begins one address before"),
            address if address > *asked.end() => (6, "begins one address behind"),
            _ => (4, "ends behind what was asked for"),
        };
        weight -= doubt;
        hints.push(hint);
    } else if (address - asked.start()).is_multiple_of(what.count()) {
        // Values mostly follow each other without gaps.
        weight += 1;
    }
    let mut scale = None;
    if let Some([low, high]) = expected {
        let fits = |scale: f64| (low..=high).contains(&(number(value) * scale));
        scale = SCALES.into_iter().find(|scale| fits(*scale));
        scale = scale.filter(|_| matches!(value, Raw::Integer(_)) && !fits(1.0));
        if fits(1.0) {
            weight += EXPECTED;
            hints.push("as expected");
        } else if scale.is_some() {
            weight += EXPECTED_SCALED;
            hints.push("scaled as expected");
        }
    }
    Some(Guess { address, what, order, value, then, scale, weight, hints })
}

fn number(raw: Raw) -> f64 {
    match raw {
        Raw::Integer(value) => value as f64,
        Raw::Float(value) => value,
    }
}

fn of_integer(what: Type, value: i128) -> Option<i32> {
    let size = value.abs();
    // The signed types add nothing where the value is positive.
    if what.integers().is_some_and(|(least, _)| least < 0) && value >= 0 {
        return None;
    }
    let fits = |least: i128, most: i128| (least..=most).contains(&value);
    Some(match what.count() {
        1 if size == 0 => 1,
        1 => 2 + if size < 10_000 { 6 } else { 3 },
        // Half of its registers say nothing: as well it is a shorter one beside a zero.
        2 if fits(i16::MIN.into(), u16::MAX.into()) => 0,
        2 => {
            3 + if size < 10_000_000 {
                5
            } else if size < 1_000_000_000 {
                1
            } else {
                -2
            }
        }
        _ if fits(i32::MIN.into(), u32::MAX.into()) => 0,
        _ if size <= EXACT_IN_F64 => 2 + if size < 1_000_000_000_000 { 4 } else { 0 },
        _ => return None,
    })
}

fn of_float(what: Type, value: f64, hints: &mut Vec<&'static str>) -> Option<i32> {
    let size = value.abs();
    let digits = if what == Type::F32 { digits(value as f32) } else { digits(value) };
    let (base, few, some) = if what == Type::F32 { (4, 4, 6) } else { (3, 6, 9) };
    let weight = match size {
        // Registers that are all zero are a zero of any type; -0 is what only some order makes.
        0.0 if value.is_sign_positive() => return Some(0),
        _ if !(1e-5..1e9).contains(&size) => return None,
        _ if (0.1..10_000.0).contains(&size) => 6,
        _ if (1e-3..1e6).contains(&size) => 3,
        _ => 0,
    };
    let decimals = if digits <= few {
        hints.push("few decimals");
        4
    } else if digits <= some {
        2
    } else {
        0
    };
    Some(base + weight + decimals)
}

/// Significant decimal digits of the shortest text that reads back the same.
fn digits(value: impl std::fmt::LowerExp) -> usize {
    let text = format!("{value:e}");
    let mantissa = text.split('e').next().unwrap_or_default();
    mantissa.bytes().filter(u8::is_ascii_digit).count()
}

fn of_change(what: Type, value: f64, then: f64, hints: &mut Vec<&'static str>) -> i32 {
    if value == then {
        return 0;
    }
    let part = (then - value).abs() / value.abs().max(then.abs());
    // NaN, if the second is none, is a jump too.
    match part {
        part if part < 0.02 => {
            hints.push("moves a little");
            if what.count() == 1 { 1 } else { 4 }
        }
        part if part < 0.2 => 0,
        _ => {
            hints.push("jumps");
            -6
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simulator::signal::registers;

    /// Registers from address 100 on.
    fn seen(first: &[u16], second: &[u16]) -> Seen {
        let by_address = |words: &[u16]| (100..).zip(words.iter().copied()).collect();
        Seen { first: by_address(first), second: by_address(second) }
    }

    fn best(first: &[u16], second: &[u16]) -> (u16, Type, Order) {
        let last = 100 + first.len() as u16 - 1;
        let guesses = guesses(&seen(first, second), &(100..=last), None);
        let best = &guesses[0];
        (best.address, best.what, best.order)
    }

    #[test]
    fn a_swapped_word_float_comes_first() {
        let cdab =
            |value: f64| registers(Type::F32, Order::Cdab, Raw::Float((value as f32).into()));
        for (value, then) in
            [(21.5, 21.5), (21.5, 21.52), (std::f64::consts::PI, 3.15), (-7.25, -7.25)]
        {
            assert_eq!(best(&cdab(value), &cdab(then)), (100, Type::F32, Order::Cdab), "{value}");
        }
    }

    #[test]
    fn small_integers_counters_and_doubles() {
        assert_eq!(best(&[215, 650], &[216, 650]).1, Type::U16);
        assert_eq!(best(&[0xFFF6], &[0xFFF6]), (100, Type::I16, Order::Abcd));
        assert_eq!(
            best(&[0xD700], &[0xD700]),
            (100, Type::U16, Order::Badc),
            "215 the other way round"
        );
        assert_eq!(best(&[0xD687, 0x0012], &[0xD689, 0x0012]), (100, Type::U32, Order::Cdab));
        let f64 = |value| registers(Type::F64, Order::Badc, Raw::Float(value));
        assert_eq!(best(&f64(1013.25), &f64(1013.5)), (100, Type::F64, Order::Badc));
    }

    #[test]
    fn what_is_expected_comes_first_scaled_or_not() {
        let seen = seen(&[215, 7], &[215, 7]);
        let first = |expected| guesses(&seen, &(100..=101), Some(expected)).remove(0);
        let guess = first([21.0, 22.0]);
        assert_eq!((guess.address, guess.what, guess.scale), (100, Type::U16, Some(0.1)));
        let guess = first([200.0, 250.0]);
        assert_eq!((guess.what, guess.scale), (Type::U16, None));
    }

    #[test]
    fn of_floats_in_a_row_the_first_ways_are_those_that_begin_where_it_begins() {
        for order in [Order::Abcd, Order::Cdab] {
            let each = |value: f32| registers(Type::F32, order, Raw::Float(value.into()));
            let words = [each(21.260_87), each(22.371_99), each(23.482_01)].concat();
            let mut guesses = guesses(&seen(&words, &words), &(100..=105), None);
            // Nothing moves: the bytes the other way round are as good.
            guesses.retain(|guess| {
                guess.what == Type::F32 && matches!(guess.order, Order::Abcd | Order::Cdab)
            });
            let first: Vec<_> = guesses[..3].iter().map(|it| (it.address, it.order)).collect();
            assert_eq!(first, [100, 102, 104].map(|address| (address, order)));
        }
    }

    #[test]
    fn what_begins_one_address_before_is_thought_of() {
        let words = registers(Type::F32, Order::Abcd, Raw::Float(21.5));
        let guesses = guesses(&seen(&words, &words), &(101..=101), None);
        let float = guesses.iter().find(|guess| guess.what == Type::F32).unwrap();
        assert_eq!((float.address, float.value), (100, Raw::Float(21.5)));
        assert!(float.hints.contains(&"begins one address before"));
    }

    proptest! {
        #[test]
        fn a_float_of_a_plant_comes_first_in_every_order(
            tenths in 20_i32..9_999, order in 0..4_usize, moved in 1_i32..4,
        ) {
            let order = Order::WORDS[order].1;
            let words = |tenths: i32| {
                registers(Type::F32, order, Raw::Float((tenths as f32 / 10.0).into()))
            };
            let (first, second) = (words(tenths), words(tenths + moved));
            let guesses = guesses(&seen(&first, &second), &(100..=101), None);
            // Where two orders say something as good, the right one is one of them.
            let right = guesses.iter().find(|guess| (guess.what, guess.order) == (Type::F32, order));
            prop_assert!(right.is_some_and(|right| right.weight >= guesses[0].weight - 4));
        }

        #[test]
        fn any_registers_have_some_ways_or_none_and_never_a_panic(
            first in proptest::collection::vec(any::<u16>(), 1..8),
            second in proptest::collection::vec(any::<u16>(), 1..8),
            from in 98_u16..104, count in 0_u16..4,
        ) {
            let guesses = guesses(&seen(&first, &second), &(from..=from + count), Some([0.0, 1.0]));
            prop_assert!(guesses.is_sorted_by(|a, b| a.weight >= b.weight));
        }
    }
}
