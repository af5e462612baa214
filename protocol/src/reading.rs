//! One reading as bytes: time, flags, status, values in the profile's order.

use crate::header::READING_HEAD_BYTES;
use crate::profile::{Number, Profile};
use crate::quality::Status;
use crate::time::Micros;

/// Bits that describe how a reading was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u16);

impl Flags {
    /// The sensor's clock was synchronised.
    pub const CLOCK_SYNCED: Self = Self(1);
    /// Taken while no session was open.
    pub const BACKLOG: Self = Self(2);
    /// The first after the sensor's start.
    pub const FIRST_AFTER_BOOT: Self = Self(4);

    /// Whether all bits of `other` are set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A reading, its values widened to f64 (an f32 stays exactly what it was).
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// When it was taken, by the sensor's clock.
    pub time: Micros,
    /// How.
    pub flags: Flags,
    /// What the sensor itself thinks of it.
    pub status: Status,
    /// In the profile's order.
    pub values: Vec<f64>,
}

impl Reading {
    /// Lays the reading out. Values beyond the profile's quantities are ignored.
    pub fn encode(&self, profile: &Profile, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.time.0.to_le_bytes());
        out.extend_from_slice(&self.flags.0.to_le_bytes());
        out.extend_from_slice(&self.status.0.to_le_bytes());
        for (quantity, value) in profile.quantities().iter().zip(&self.values) {
            match quantity.number {
                Number::F32 => out.extend_from_slice(&(*value as f32).to_le_bytes()),
                Number::F64 => out.extend_from_slice(&value.to_le_bytes()),
            }
        }
    }

    /// Reads one reading; `None` if the bytes are not as long as the profile says.
    pub fn decode(profile: &Profile, bytes: &[u8]) -> Option<Self> {
        if bytes.len() != profile.reading_bytes() {
            return None;
        }
        let (head, mut rest) = bytes.split_at(READING_HEAD_BYTES);
        let mut values = Vec::with_capacity(profile.quantities().len());
        for quantity in profile.quantities() {
            let (value, tail) = match quantity.number {
                Number::F32 => {
                    let (bytes, tail) = rest.split_first_chunk()?;
                    (f64::from(f32::from_le_bytes(*bytes)), tail)
                }
                Number::F64 => {
                    let (bytes, tail) = rest.split_first_chunk()?;
                    (f64::from_le_bytes(*bytes), tail)
                }
            };
            values.push(value);
            rest = tail;
        }
        Some(Self {
            time: Micros(i64::from_le_bytes(head[..8].try_into().ok()?)),
            flags: Flags(u16::from_le_bytes([head[8], head[9]])),
            status: Status(u16::from_le_bytes([head[10], head[11]])),
            values,
        })
    }
}
