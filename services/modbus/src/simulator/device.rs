//! A simulated device's memory: what stands in a span of it at a moment.

use crate::encoding::{Encoding, Raw};
use crate::link::Answer;
use crate::map::{Device, Point};
use crate::plan::Plan;
use crate::register::{Kind, Span};
use crate::server::frame::exception::ILLEGAL_ADDRESS;
use crate::simulator::signal::{Signal, registers};

/// A device of a map.
#[derive(Debug)]
pub struct Simulated {
    points: Vec<(Point, Signal)>,
    /// What exists: the points, and what the map reads along.
    there: Vec<Span>,
}

impl Simulated {
    /// As the map has it.
    pub fn new(device: &Device) -> Self {
        let quantities = device.profile.quantities();
        let points = device.points.iter().enumerate().map(|(index, point)| {
            let range = quantities.get(index).and_then(|quantity| quantity.range);
            (point.clone(), Signal::new(index, point, range))
        });
        let spans: Vec<Span> = device.points.iter().map(|point| point.span).collect();
        let there = Plan::new(&spans, device.gap).requests().to_vec();
        Self { points: points.collect(), there }
    }

    /// What stands in a span, `seconds` after any moment.
    ///
    /// # Errors
    /// The exception's code, if some of it does not exist.
    pub(crate) fn read(&self, span: Span, seconds: f64) -> Result<Answer, u8> {
        let exists = |at: u32| {
            let mut spans = self.there.iter().filter(|there| there.kind() == span.kind());
            spans.any(|there| (u32::from(there.start())..there.end()).contains(&at))
        };
        if !(u32::from(span.start())..span.end()).all(exists) {
            return Err(ILLEGAL_ADDRESS);
        }
        let mut words = vec![0_u16; span.count().into()];
        for (point, signal) in &self.points {
            if point.span.kind() != span.kind() {
                continue;
            }
            for (at, word) in
                (u32::from(point.span.start())..).zip(elements(point, *signal, seconds))
            {
                let index = at.checked_sub(span.start().into()).map(|index| index as usize);
                // Bits of one register are points of their own.
                if let Some(place) = index.and_then(|index| words.get_mut(index)) {
                    *place |= word;
                }
            }
        }
        Ok(match span.kind() {
            Kind::Coil | Kind::Discrete => {
                Answer::Bits(words.into_iter().map(|word| word != 0).collect())
            }
            Kind::Input | Kind::Holding => Answer::Words(words),
        })
    }
}

fn elements(point: &Point, signal: Signal, seconds: f64) -> Vec<u16> {
    let mut raw = signal.raw(point, seconds);
    // The device has a value, so it does not say that it has none.
    while let (Raw::Integer(value), true) = (raw, point.bad.contains(&raw)) {
        raw = Raw::Integer(value + 1);
    }
    match (point.encoding, raw) {
        (Encoding::Number(what, order), _) => registers(what, order, raw),
        (Encoding::RegisterBit(bit), Raw::Integer(value)) => vec![(value as u16) << bit],
        (_, Raw::Integer(value)) => vec![value as u16],
        (_, Raw::Float(_)) => vec![0],
    }
}
