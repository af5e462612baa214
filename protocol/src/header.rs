//! The 24 bytes in front of every frame, and the words for what can be wrong with a frame.

use crate::limits::{
    HEADER_BYTES, MAX_FRAME_BYTES, MAX_QUANTITIES, MAX_READINGS_PER_FRAME, MIN_FRAME_BYTES,
};

/// First two bytes of a frame.
pub const MAGIC: [u8; 2] = *b"VG";
/// The version this crate speaks.
pub const VERSION: u8 = 1;
/// Bytes of a tag at a frame's end.
pub const TAG_BYTES: usize = 16;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 24;
/// What a DATA or GAP frame carries besides its body: header, nonce, authenticator, signature, tag.
pub const SEALED_OVERHEAD: usize = HEADER_BYTES + NONCE_BYTES + 16 + 32 + TAG_BYTES;
/// Bytes of a reading before its values.
pub const READING_HEAD_BYTES: usize = 12;

/// What is wrong with a frame, in FORMAT.md's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The first two bytes are not `VG`.
    #[error("bad-magic")]
    BadMagic,
    /// The version is not 1.
    #[error("bad-version")]
    BadVersion,
    /// There is no such type.
    #[error("bad-type")]
    BadType,
    /// The length is out of bounds or not what type and count require.
    #[error("bad-length")]
    BadLength,
    /// The count is out of its range.
    #[error("bad-count")]
    BadCount,
    /// The link tag does not fit.
    #[error("bad-tag")]
    BadTag,
    /// The box does not open.
    #[error("bad-box")]
    BadBox,
    /// The signature inside the box does not fit header and body.
    #[error("bad-mac")]
    BadMac,
    /// The body is not what the count requires.
    #[error("bad-body")]
    BadBody,
}

/// A frame's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameType {
    /// The sensor's greeting.
    Hello = 1,
    /// The ingress's answer to it.
    Welcome = 2,
    /// Readings.
    Data = 3,
    /// Readings that the sensor had to drop.
    Gap = 4,
    /// Custody and storage so far.
    Ack = 5,
    /// Come back later.
    Busy = 6,
    /// Not this frame.
    Refuse = 7,
    /// Are you there?
    Ping = 8,
    /// Yes.
    Pong = 9,
}

impl FrameType {
    fn from_code(code: u8) -> Result<Self, WireError> {
        Ok(match code {
            1 => Self::Hello,
            2 => Self::Welcome,
            3 => Self::Data,
            4 => Self::Gap,
            5 => Self::Ack,
            6 => Self::Busy,
            7 => Self::Refuse,
            8 => Self::Ping,
            9 => Self::Pong,
            _ => return Err(WireError::BadType),
        })
    }

    /// The frame's length where the type alone fixes it.
    pub const fn fixed_length(self) -> Option<usize> {
        Some(match self {
            Self::Hello => 58,
            Self::Welcome => 100,
            Self::Gap => SEALED_OVERHEAD + 2,
            Self::Ack => 56,
            Self::Busy => 44,
            Self::Refuse => 42,
            Self::Ping | Self::Pong => MIN_FRAME_BYTES,
            Self::Data => return None,
        })
    }
}

/// A sensor's number.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct SensorId(pub i16);

impl std::fmt::Display for SensorId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A place in a sensor's numbering: streams in their order, readings within a stream.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Place {
    /// Which of the sensor's memories: a later one has a greater number, at least 1.
    pub stream: u32,
    /// Counts the readings of a stream; starts at 1.
    pub seq: u64,
}

impl Place {
    /// The number, if it is one of this stream; else 0, before all.
    pub fn within(self, stream: u32) -> u64 {
        if self.stream == stream { self.seq } else { 0 }
    }
}

/// A decoded header; its fields fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: FrameType,
    /// Bytes of the whole frame.
    pub length: u16,
    /// Whose it is.
    pub sensor: SensorId,
    /// The generation of the sensor's key.
    pub epoch: u16,
    /// Readings, or dropped readings.
    pub count: u16,
    /// Its meaning depends on the type.
    pub place: Place,
}

impl Header {
    /// Lays the header out as 24 bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..2].copy_from_slice(&MAGIC);
        out[2] = VERSION;
        out[3] = self.kind as u8;
        out[4..6].copy_from_slice(&self.length.to_le_bytes());
        out[6..8].copy_from_slice(&self.sensor.0.to_le_bytes());
        out[8..10].copy_from_slice(&self.epoch.to_le_bytes());
        out[10..12].copy_from_slice(&self.count.to_le_bytes());
        out[12..16].copy_from_slice(&self.place.stream.to_le_bytes());
        out[16..24].copy_from_slice(&self.place.seq.to_le_bytes());
        out
    }

    /// Reads a header from the first 24 bytes of `bytes`.
    ///
    /// # Errors
    /// The first of FORMAT.md's header errors that applies.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, WireError> {
        if bytes[0..2] != MAGIC {
            return Err(WireError::BadMagic);
        }
        if bytes[2] != VERSION {
            return Err(WireError::BadVersion);
        }
        let header = Self {
            kind: FrameType::from_code(bytes[3])?,
            length: u16::from_le_bytes([bytes[4], bytes[5]]),
            sensor: SensorId(i16::from_le_bytes([bytes[6], bytes[7]])),
            epoch: u16::from_le_bytes([bytes[8], bytes[9]]),
            count: u16::from_le_bytes([bytes[10], bytes[11]]),
            place: Place {
                stream: u32::from_le_bytes(bytes[12..16].try_into().expect("four bytes")),
                seq: u64::from_le_bytes(bytes[16..24].try_into().expect("eight bytes")),
            },
        };
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), WireError> {
        let length = usize::from(self.length);
        if !(MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&length) {
            return Err(WireError::BadLength);
        }
        if let Some(fixed) = self.kind.fixed_length()
            && length != fixed
        {
            return Err(WireError::BadLength);
        }
        let count_fits = match self.kind {
            FrameType::Data => (1..=MAX_READINGS_PER_FRAME).contains(&self.count),
            FrameType::Gap => self.count > 0,
            _ => self.count == 0,
        };
        // A DATA frame's length can only be judged by a count that makes sense, and bad-length comes
        // first: what cannot hold even one reading is too short whatever the count says.
        if self.kind == FrameType::Data {
            let least = READING_HEAD_BYTES + 4;
            if length < SEALED_OVERHEAD + least {
                return Err(WireError::BadLength);
            }
            if count_fits && self.reading_bytes().is_none() {
                return Err(WireError::BadLength);
            }
        }
        if !count_fits {
            return Err(WireError::BadCount);
        }
        Ok(())
    }

    /// Bytes of one reading in this DATA frame, if its length fits its count.
    pub fn reading_bytes(&self) -> Option<usize> {
        let body = usize::from(self.length).checked_sub(SEALED_OVERHEAD)?;
        let count = usize::from(self.count);
        let each = body.checked_div(count)?;
        let largest = READING_HEAD_BYTES + 8 * MAX_QUANTITIES;
        (each * count == body && (READING_HEAD_BYTES + 4..=largest).contains(&each)).then_some(each)
    }
}
