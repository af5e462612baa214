//! DATA and GAP: what a sensor seals and only `verify` can open.

use xsalsa20poly1305::aead::{Aead, KeyInit};
use xsalsa20poly1305::{Key, Nonce, XSalsa20Poly1305};

use crate::decoder::Frame;
use crate::header::{
    FrameType, Header, NONCE_BYTES, Place, SEALED_OVERHEAD, SensorId, TAG_BYTES, WireError,
};
use crate::keys::{NonceKey, ReadingKey, same_tag};
use crate::limits::HEADER_BYTES;

/// Why a sensor dropped readings that nobody else has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u16)]
pub enum GapReason {
    /// The spool was full.
    SpoolFull = 1,
    /// Part of the spool could not be read.
    SpoolDamaged = 2,
    /// An operator removed them.
    Removed = 3,
}

impl GapReason {
    /// The reason with this code.
    pub fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            1 => Self::SpoolFull,
            2 => Self::SpoolDamaged,
            3 => Self::Removed,
            _ => return None,
        })
    }

    /// The word for it in texts.
    pub fn word(self) -> &'static str {
        match self {
            Self::SpoolFull => "spool-full",
            Self::SpoolDamaged => "spool-damaged",
            Self::Removed => "removed",
        }
    }
}

/// The decision how to send something: whoever repeats it makes the same bytes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cut {
    /// The first reading, or the first dropped one.
    pub place: Place,
    /// How many.
    pub count: u16,
    /// Whether it is a GAP.
    pub gap: bool,
    /// The generation of the key that sealed it.
    pub epoch: u16,
    /// What made the nonce.
    pub random: [u8; 24],
    /// The nonce: by it the ingress names the frame in WELCOME.
    pub nonce: [u8; NONCE_BYTES],
}

/// The keys a sensor seals with.
#[derive(Debug, Clone)]
pub struct SealingKeys {
    /// K_payload and K_sig.
    pub reading: ReadingKey,
    /// K_nonce.
    pub nonce: NonceKey,
}

/// Seals `body` as a DATA (or GAP) frame. The link tag is still missing at its end.
///
/// # Panics
/// If the body is longer than a frame can be; the sensor cuts before it seals.
pub fn seal(
    keys: &SealingKeys,
    kind: FrameType,
    sensor: SensorId,
    cut: (Place, u16, u16),
    random: &[u8; 24],
    body: &[u8],
) -> (Vec<u8>, [u8; NONCE_BYTES]) {
    let (place, count, epoch) = cut;
    let length = u16::try_from(SEALED_OVERHEAD + body.len()).expect("cut to fit a frame");
    let header = Header { kind, length, sensor, epoch, count, place }.encode();
    let nonce = keys.nonce.nonce(&header, body, random);
    let mut plain = Vec::with_capacity(body.len() + 32);
    plain.extend_from_slice(body);
    plain.extend_from_slice(&keys.reading.mac(&header, &nonce, body));
    let sealed = cipher(&keys.reading)
        .encrypt(&Nonce::from(nonce), plain.as_slice())
        .expect("a frame is far below the cipher's limit");
    let mut frame = Vec::with_capacity(usize::from(length));
    frame.extend_from_slice(&header);
    frame.extend_from_slice(&nonce);
    frame.extend_from_slice(&sealed);
    (frame, nonce)
}

/// What a DATA or GAP frame says once its box is open and its signature fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// `count` readings of `each` bytes.
    Readings {
        /// The readings, one after the other.
        bytes: Vec<u8>,
        /// Bytes of one.
        each: usize,
    },
    /// Why the sensor dropped `count` readings.
    Gap(GapReason),
}

/// Opens and checks a DATA or GAP frame.
///
/// # Errors
/// `bad-box`, `bad-mac`, `bad-body`; `bad-type` for other frames.
pub fn open(key: &ReadingKey, frame: &Frame) -> Result<Opened, WireError> {
    let kind = frame.header.kind;
    if !matches!(kind, FrameType::Data | FrameType::Gap) {
        return Err(WireError::BadType);
    }
    let (header, rest) = frame.bytes.split_at(HEADER_BYTES);
    let (nonce, rest) = rest.split_at(NONCE_BYTES);
    let sealed = &rest[..rest.len() - TAG_BYTES];
    let nonce: [u8; NONCE_BYTES] = nonce.try_into().expect("split at 24");
    let mut body =
        cipher(key).decrypt(&Nonce::from(nonce), sealed).map_err(|_| WireError::BadBox)?;
    let signed = body.len().checked_sub(32).ok_or(WireError::BadBody)?;
    let mac = body.split_off(signed);
    if !same_tag(&key.mac(header, &nonce, &body), &mac) {
        return Err(WireError::BadMac);
    }
    if kind == FrameType::Gap {
        let code = <[u8; 2]>::try_from(body.as_slice()).map_err(|_| WireError::BadBody)?;
        let reason = GapReason::from_code(u16::from_le_bytes(code)).ok_or(WireError::BadBody)?;
        return Ok(Opened::Gap(reason));
    }
    let each = frame.header.reading_bytes().ok_or(WireError::BadBody)?;
    Ok(Opened::Readings { bytes: body, each })
}

/// The nonce of a DATA or GAP frame.
pub fn nonce_of(frame: &[u8]) -> [u8; NONCE_BYTES] {
    frame
        .get(HEADER_BYTES..HEADER_BYTES + NONCE_BYTES)
        .and_then(|bytes| bytes.try_into().ok())
        .unwrap_or([0; NONCE_BYTES])
}

fn cipher(key: &ReadingKey) -> XSalsa20Poly1305 {
    XSalsa20Poly1305::new(&Key::from(*key.payload.expose()))
}
