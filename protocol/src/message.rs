//! The short frames around DATA: layouts only, no session.

use crate::decoder::Frame;
use crate::header::{FrameType, Header, NONCE_BYTES, Place, SensorId, TAG_BYTES};

/// HELLO, without its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Who speaks.
    pub sensor: SensorId,
    /// The generation of its key.
    pub epoch: u16,
    /// The oldest reading it holds, or its next if it holds none.
    pub oldest: Place,
    /// Makes the session key unique.
    pub nonce: [u8; 16],
    /// The lowest version it speaks.
    pub lowest: u8,
    /// The highest version it speaks.
    pub highest: u8,
}

/// WELCOME, without its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    /// To whom.
    pub sensor: SensorId,
    /// As in HELLO.
    pub epoch: u16,
    /// The next reading the ingress takes.
    pub next: Place,
    /// Makes the session key unique.
    pub nonce: [u8; 16],
    /// The version chosen.
    pub version: u8,
    /// Frames that may be under way.
    pub window: u16,
    /// Everything of the stream below is accounted for by the store; 0 says nothing.
    pub stored: u64,
    /// Nonce of the last accepted frame; zeros if the journal cannot vouch.
    pub last_nonce: [u8; NONCE_BYTES],
    /// The ingress's clock, µs.
    pub time: i64,
}

/// ACK, without its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Everything of the stream below is in the journal, synced.
    pub custody: Place,
    /// Everything of the stream below is accounted for by the store; 0 says nothing.
    pub stored: u64,
    /// The ingress's clock, µs.
    pub time: i64,
}

/// Why a frame was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum RefuseReason {
    /// Not the next position.
    Position = 1,
    /// The length does not fit the count.
    Length = 2,
    /// More frames under way than the window allows.
    Window = 3,
    /// An epoch newer than the session's.
    Epoch = 4,
}

fn header(kind: FrameType, sensor: SensorId, epoch: u16, place: Place) -> [u8; 24] {
    let length = kind.fixed_length().expect("only DATA varies") as u16;
    Header { kind, length, sensor, epoch, count: 0, place }.encode()
}

impl Hello {
    /// Lays it out, without the tag.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = header(FrameType::Hello, self.sensor, self.epoch, self.oldest).to_vec();
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&[self.lowest, self.highest]);
        out
    }

    /// Reads a frame of this type.
    pub fn decode(frame: &Frame) -> Option<Self> {
        let body = typed(frame, FrameType::Hello)?;
        Some(Self {
            sensor: frame.header.sensor,
            epoch: frame.header.epoch,
            oldest: frame.header.place,
            nonce: body[..16].try_into().ok()?,
            lowest: body[16],
            highest: body[17],
        })
    }
}

impl Welcome {
    /// Lays it out, without the tag.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = header(FrameType::Welcome, self.sensor, self.epoch, self.next).to_vec();
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&[self.version, 0]);
        out.extend_from_slice(&self.window.to_le_bytes());
        out.extend_from_slice(&self.stored.to_le_bytes());
        out.extend_from_slice(&self.last_nonce);
        out.extend_from_slice(&self.time.to_le_bytes());
        out
    }

    /// Reads a frame of this type.
    pub fn decode(frame: &Frame) -> Option<Self> {
        let body = typed(frame, FrameType::Welcome)?;
        Some(Self {
            sensor: frame.header.sensor,
            epoch: frame.header.epoch,
            next: frame.header.place,
            nonce: body[..16].try_into().ok()?,
            version: body[16],
            window: u16::from_le_bytes(body[18..20].try_into().ok()?),
            stored: u64::from_le_bytes(body[20..28].try_into().ok()?),
            last_nonce: body[28..52].try_into().ok()?,
            time: i64::from_le_bytes(body[52..60].try_into().ok()?),
        })
    }
}

impl Ack {
    /// Lays it out, without the tag.
    pub fn encode(&self, sensor: SensorId, epoch: u16) -> Vec<u8> {
        let mut out = header(FrameType::Ack, sensor, epoch, self.custody).to_vec();
        out.extend_from_slice(&self.stored.to_le_bytes());
        out.extend_from_slice(&self.time.to_le_bytes());
        out
    }

    /// Reads a frame of this type.
    pub fn decode(frame: &Frame) -> Option<Self> {
        let body = typed(frame, FrameType::Ack)?;
        Some(Self {
            custody: frame.header.place,
            stored: u64::from_le_bytes(body[..8].try_into().ok()?),
            time: i64::from_le_bytes(body[8..16].try_into().ok()?),
        })
    }
}

/// BUSY, without its tag.
pub fn encode_busy(sensor: SensorId, epoch: u16, next: Place, retry_ms: u32) -> Vec<u8> {
    let mut out = header(FrameType::Busy, sensor, epoch, next).to_vec();
    out.extend_from_slice(&retry_ms.to_le_bytes());
    out
}

/// The pause a BUSY asks for, in ms.
pub fn decode_busy(frame: &Frame) -> Option<u32> {
    let body = typed(frame, FrameType::Busy)?;
    Some(u32::from_le_bytes(body.try_into().ok()?))
}

/// REFUSE, without its tag.
pub fn encode_refuse(sensor: SensorId, epoch: u16, next: Place, reason: RefuseReason) -> Vec<u8> {
    let mut out = header(FrameType::Refuse, sensor, epoch, next).to_vec();
    out.extend_from_slice(&(reason as u16).to_le_bytes());
    out
}

/// PING or PONG, without its tag.
pub fn encode_empty(kind: FrameType, sensor: SensorId, epoch: u16) -> Vec<u8> {
    header(kind, sensor, epoch, Place::default()).to_vec()
}

/// The body of a frame of this type. The header's check has fixed its length.
fn typed(frame: &Frame, kind: FrameType) -> Option<&[u8]> {
    (frame.header.kind == kind && frame.bytes.len() >= 24 + TAG_BYTES).then(|| frame.body())
}
