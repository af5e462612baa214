//! What travels on `raw` and `verified`: batches of frames, and markers.
//!
//! Binary: one version byte, then postcard. A journal row is such a message, sealed, as it is.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::header::{Place, SensorId};
use crate::position::{LogId, Position};
use crate::sealed::GapReason;
use crate::time::Micros;

/// The version of all binary messages between stages and of journal rows.
pub const BATCH_VERSION: u8 = 1;

/// How many readings and frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Count {
    /// Readings.
    pub readings: u64,
    /// Frames.
    pub frames: u64,
}

impl Count {
    /// Both sums; sums that nobody can have are the largest there is, and balance nothing.
    pub fn plus(self, other: Self) -> Self {
        Self {
            readings: self.readings.saturating_add(other.readings),
            frames: self.frames.saturating_add(other.frames),
        }
    }

    /// Both differences; `None` if one would be negative.
    pub fn minus(self, other: Self) -> Option<Self> {
        Some(Self {
            readings: self.readings.checked_sub(other.readings)?,
            frames: self.frames.checked_sub(other.frames)?,
        })
    }
}

/// What stands in front of every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchHead {
    /// Where it stands.
    pub position: Position,
    /// What the log had accepted before it.
    pub before: Count,
    /// What it has.
    pub has: Count,
}

/// An empty, numbered message that travels the whole way and that the store echoes. Since every hop
/// keeps order, what was published before it and is missing at its echo is really lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Made at random whenever the publisher starts.
    pub session: u64,
    /// Counts up within it.
    pub number: u64,
    /// The logs whose state the store is asked for.
    pub logs: Vec<LogId>,
}

/// A batch or a marker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message<B> {
    /// A batch.
    Batch(BatchHead, B),
    /// A marker.
    Marker(Marker),
}

/// A frame as the journal took it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawFrame<'a> {
    /// When the ingress had it.
    pub received: Micros,
    /// All its bytes.
    #[serde(borrow)]
    pub bytes: &'a [u8],
}

/// The body of a raw batch.
pub type RawFrames<'a> = Vec<RawFrame<'a>>;

/// Why something could not be verified, decoded or understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuarantineReason {
    /// The frame itself cannot be decoded.
    Malformed,
    /// No key of this sensor and epoch is known.
    UnknownKey,
    /// The box does not open.
    BadBox,
    /// The signature does not fit.
    BadSignature,
    /// The body is not what the count requires.
    BadBody,
    /// The readings are not as long as the sensor's profile says.
    ProfileMismatch,
    /// The sensor has no profile that is known.
    UnknownProfile,
    /// It killed its reader three times.
    Poison,
    /// Its number is another reading's already.
    Conflict,
}

impl QuarantineReason {
    /// The word for it in texts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown-key",
            Self::BadBox => "bad-box",
            Self::BadSignature => "bad-signature",
            Self::BadBody => "bad-body",
            Self::ProfileMismatch => "profile-mismatch",
            Self::UnknownProfile => "unknown-profile",
            Self::Poison => "poison",
            Self::Conflict => "conflict",
        }
    }
}

/// What `verify` made of one frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedFrame<'a> {
    /// Whose it is.
    pub sensor: SensorId,
    /// Its first reading.
    pub place: Place,
    /// Readings, or dropped readings.
    pub count: u16,
    /// When the ingress had it.
    pub received: Micros,
    /// What it says.
    #[serde(borrow)]
    pub content: Content<'a>,
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content<'a> {
    /// The readings' bytes, checked and decrypted.
    Readings(#[serde(borrow)] Bytes<'a>),
    /// The sensor dropped them.
    Gap(GapReason),
    /// The whole frame, for quarantine.
    Refused(QuarantineReason, #[serde(borrow)] &'a [u8]),
}

/// Bytes that a writer owns (it just decrypted them) and a reader borrows from the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes<'a>(pub Cow<'a, [u8]>);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'a [u8]>::deserialize(deserializer).map(|bytes| Self(Cow::Borrowed(bytes)))
    }
}

/// The body of a verified batch.
pub type VerifiedFrames<'a> = Vec<VerifiedFrame<'a>>;

/// The bytes are not a message of a version this program knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// Another version.
    #[error("message version {0}, expected {BATCH_VERSION}")]
    Version(u8),
    /// Not postcard of the expected type.
    #[error("message cannot be decoded")]
    Undecodable,
}

/// Encodes any of the binary messages.
///
/// # Panics
/// Never: these types always have an encoding.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_extend(message, vec![BATCH_VERSION]).expect("plain data has an encoding")
}

/// Decodes a message that owns its data.
///
/// # Errors
/// Another version, or bytes that are no such message.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadMessage> {
    decode_borrowed(bytes)
}

/// Decodes a message that borrows from `bytes`.
///
/// # Errors
/// Another version, or bytes that are no such message.
pub fn decode_borrowed<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, BadMessage> {
    match bytes.split_first() {
        Some((&BATCH_VERSION, rest)) => {
            postcard::from_bytes(rest).map_err(|_| BadMessage::Undecodable)
        }
        Some((version, _)) => Err(BadMessage::Version(*version)),
        None => Err(BadMessage::Undecodable),
    }
}

/// The head alone, without looking at the frames; `None` for a marker.
///
/// # Errors
/// Another version, or bytes that are no message.
pub fn decode_head(bytes: &[u8]) -> Result<Option<BatchHead>, BadMessage> {
    /// As much of [`Message`] as its first bytes tell.
    #[derive(Deserialize)]
    enum Beginning {
        Batch(BatchHead),
        Marker(()),
    }
    match bytes.split_first() {
        Some((&BATCH_VERSION, rest)) => match postcard::take_from_bytes::<Beginning>(rest) {
            Ok((Beginning::Batch(head), _)) => Ok(Some(head)),
            Ok((Beginning::Marker(()), _)) => Ok(None),
            Err(_) => Err(BadMessage::Undecodable),
        },
        Some((version, _)) => Err(BadMessage::Version(*version)),
        None => Err(BadMessage::Undecodable),
    }
}
