//! What the journal's small tables hold.

use serde::{Deserialize, Serialize};
use vigia_protocol::batch::Count;
use vigia_protocol::header::{NONCE_BYTES, Place};
use vigia_protocol::position::LogId;
use vigia_protocol::time::Micros;

/// One log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Random, so that it never repeats.
    pub id: LogId,
    /// When it was opened.
    pub opened: Micros,
    /// One past the newest position.
    pub end: u64,
    /// The oldest position held.
    pub oldest: u64,
    /// Everything below is accounted for by the store.
    pub watermark: u64,
    /// Accepted in all.
    pub accepted: Count,
    /// Accepted below `oldest`.
    pub before_oldest: Count,
    /// Bytes of its rows.
    pub bytes: u64,
}

impl LogRecord {
    /// A log without rows.
    pub fn new(id: LogId, opened: Micros) -> Self {
        Self {
            id,
            opened,
            end: 0,
            oldest: 0,
            watermark: 0,
            accepted: Count::default(),
            before_oldest: Count::default(),
            bytes: 0,
        }
    }

    /// Whether nothing is left of it, neither on disk nor to be stored.
    pub fn is_over(&self) -> bool {
        self.oldest == self.end && self.watermark == self.end
    }
}

/// What the journal knows of a sensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SensorRecord {
    /// The next reading it takes.
    pub next: Place,
    /// The nonce of the last frame it took.
    pub last_nonce: [u8; NONCE_BYTES],
}

/// Bytes of a [`SensorRecord`].
pub const SENSOR_RECORD_BYTES: usize = 4 + 8 + NONCE_BYTES;

impl SensorRecord {
    /// Lays it out.
    pub fn encode(&self) -> [u8; SENSOR_RECORD_BYTES] {
        let mut out = [0; SENSOR_RECORD_BYTES];
        out[..4].copy_from_slice(&self.next.stream.to_le_bytes());
        out[4..12].copy_from_slice(&self.next.seq.to_le_bytes());
        out[12..].copy_from_slice(&self.last_nonce);
        out
    }

    /// Reads it.
    pub fn decode(bytes: &[u8; SENSOR_RECORD_BYTES]) -> Self {
        let (stream, rest) = bytes.split_first_chunk().expect("36 bytes hold 4");
        let (seq, nonce) = rest.split_first_chunk().expect("32 bytes hold 8");
        Self {
            next: Place { stream: u32::from_le_bytes(*stream), seq: u64::from_le_bytes(*seq) },
            last_nonce: nonce.try_into().expect("24 bytes remain"),
        }
    }
}
