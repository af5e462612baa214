//! What the targets share: one key, one topic, and a way to cut the fuzzer's bytes up.

use vigia_protocol::header::SensorId;
use vigia_protocol::keys::{DeviceKey, Secret};
use vigia_protocol::stage::StageKey;

/// The sensor that everybody claims to be.
pub const SENSOR: SensorId = SensorId(7);
/// The topic of all sealed messages.
pub const TOPIC: &str = "vigia/v1/text/here";

/// Its key, which the targets know: an attacker with a key must find no panic either.
pub fn key() -> DeviceKey {
    DeviceKey(Secret::new([7; 32]))
}

/// The key of the arrow.
pub fn stage_key() -> StageKey {
    StageKey::new(Secret::new([5; 32]))
}

/// The fuzzer's bytes as a row of choices. Zeros when they are used up.
pub struct Choices<'a>(pub &'a [u8]);

impl<'a> Choices<'a> {
    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// Eight bytes: a number, often near the ends of its range.
    pub fn number(&mut self) -> u64 {
        let small = u64::from(self.byte());
        match self.byte() % 4 {
            0 => small,
            1 => u64::MAX - small,
            _ => {
                let mut bytes = [0; 8];
                let taken = self.bytes(8);
                bytes[..taken.len()].copy_from_slice(taken);
                u64::from_le_bytes(bytes)
            }
        }
    }

    /// At most so many.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Whether there are any left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
