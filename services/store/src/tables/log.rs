//! Rows of `log`: what was decided about a batch, and its stored readings, packed.
//!
//! A packed reading is a byte that says what differs from the one before it in the row, and then that:
//! bit 0: sensor i16, stream u32, seq u64, profile u16 (else the next number of the same) · bit 1:
//! received (varint, difference) · bit 2: flags u16 · bit 3: status, u16 per quantity · always: time
//! (varint, difference) · values, f32 or f64 as the profile says. All little-endian.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vigia_protocol::batch::BatchHead;
use vigia_protocol::header::SensorId;
use vigia_protocol::position::LogId;
use vigia_protocol::profile::{Number, Profile};
use vigia_protocol::report::Totals;
use vigia_protocol::time::Micros;

use crate::extents::Extent;
use crate::run::Sample;
use crate::stream::StreamId;
use crate::tables::{Corrupt, checked};

/// One row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Row<'a> {
    /// A batch that is accounted for.
    #[serde(borrow)]
    Batch(BatchRow<'a>),
    /// Positions that nobody holds any more.
    Lost(LogId, Vec<Extent>),
}

/// A batch that is accounted for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchRow<'a> {
    /// Where it stands and what it has.
    pub head: BatchHead,
    /// The node it came from.
    pub node: &'a str,
    /// When the store had it.
    pub time: Micros,
    /// What became of it.
    pub totals: Totals,
    /// Duplicates that differed from what was stored, by stream.
    pub conflicts: Vec<(StreamId, u64)>,
    /// Declared gaps: first number and how many.
    pub gaps: Vec<(StreamId, u64, u16)>,
    /// The stored readings.
    pub readings: &'a [u8],
}

const PLACE: u8 = 1;
const RECEIVED: u8 = 2;
const FLAGS: u8 = 4;
const STATUS: u8 = 8;

/// What a reading is compared with.
#[derive(Debug, Clone, Copy, Default)]
struct Last {
    place: Option<(StreamId, u16)>,
    seq: u64,
    time: i64,
    received: i64,
    flags: u16,
}

/// Packs readings.
#[derive(Debug, Default)]
pub struct Packer {
    out: Vec<u8>,
    last: Last,
}

impl Packer {
    /// Appends one.
    pub fn push(&mut self, id: StreamId, sample: &Sample<'_>, profile: &Profile) {
        let last = &self.last;
        let out = &mut self.out;
        let follows = last.place == Some((id, sample.profile)) && last.seq + 1 == sample.seq;
        let bit = |differs: bool, bit: u8| if differs { bit } else { 0 };
        out.push(
            bit(!follows, PLACE)
                | bit(last.received != sample.received, RECEIVED)
                | bit(last.flags != sample.flags, FLAGS)
                | bit(!sample.status.is_empty(), STATUS),
        );
        if !follows {
            out.extend_from_slice(&id.sensor.0.to_le_bytes());
            out.extend_from_slice(&id.stream.to_le_bytes());
            out.extend_from_slice(&sample.seq.to_le_bytes());
            out.extend_from_slice(&sample.profile.to_le_bytes());
        }
        if last.received != sample.received {
            put_varint(out, sample.received.wrapping_sub(last.received));
        }
        if last.flags != sample.flags {
            out.extend_from_slice(&sample.flags.to_le_bytes());
        }
        sample.status.iter().for_each(|status| out.extend_from_slice(&status.to_le_bytes()));
        put_varint(out, sample.time.wrapping_sub(last.time));
        for (quantity, value) in profile.quantities().iter().zip(sample.values) {
            match quantity.number {
                Number::F32 => out.extend_from_slice(&(*value as f32).to_le_bytes()),
                Number::F64 => out.extend_from_slice(&value.to_le_bytes()),
            }
        }
        self.last = Last {
            place: Some((id, sample.profile)),
            seq: sample.seq,
            time: sample.time,
            received: sample.received,
            flags: sample.flags,
        };
    }

    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

/// Calls `each` for every packed reading.
///
/// # Errors
/// Bytes that are not what [`Packer`] makes with these profiles.
pub fn unpack(
    bytes: &[u8],
    profiles: &[Arc<Profile>],
    mut each: impl FnMut(StreamId, &Sample<'_>, &Profile),
) -> Result<(), Corrupt> {
    let corrupt = Corrupt("a log row's readings");
    let mut rest = bytes;
    let (mut status, mut values) = (Vec::new(), Vec::new());
    let mut last = Last::default();
    while let Some((&bits, after)) = rest.split_first() {
        rest = after;
        let (id, number) = if bits & PLACE != 0 {
            let id = StreamId {
                sensor: SensorId(i16::from_le_bytes(take(&mut rest)?)),
                stream: u32::from_le_bytes(take(&mut rest)?),
            };
            last.seq = u64::from_le_bytes(take(&mut rest)?);
            (id, u16::from_le_bytes(take(&mut rest)?))
        } else {
            last.seq = last.seq.checked_add(1).ok_or(corrupt)?;
            last.place.ok_or(corrupt)?
        };
        last.place = Some((id, number));
        let profile = profiles.get(usize::from(number)).ok_or(corrupt)?;
        if bits & RECEIVED != 0 {
            last.received = last.received.wrapping_add(take_varint(&mut rest)?);
        }
        if bits & FLAGS != 0 {
            last.flags = u16::from_le_bytes(take(&mut rest)?);
        }
        status.clear();
        if bits & STATUS != 0 {
            for _ in profile.quantities() {
                status.push(u16::from_le_bytes(take(&mut rest)?));
            }
        }
        last.time = last.time.wrapping_add(take_varint(&mut rest)?);
        values.clear();
        for quantity in profile.quantities() {
            values.push(match quantity.number {
                Number::F32 => f64::from(f32::from_le_bytes(take(&mut rest)?)),
                Number::F64 => f64::from_le_bytes(take(&mut rest)?),
            });
        }
        let sample = Sample {
            seq: last.seq,
            profile: number,
            time: last.time,
            received: last.received,
            flags: last.flags,
            status: &status,
            values: &values,
        };
        each(id, &sample, profile);
    }
    Ok(())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Corrupt> {
    let (bytes, after) = rest.split_first_chunk().ok_or(Corrupt("a log row's end"))?;
    *rest = after;
    Ok(*bytes)
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

fn take_varint(rest: &mut &[u8]) -> Result<i64, Corrupt> {
    let mut zigzag = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte] = take(rest)?;
        zigzag |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
        }
    }
    Err(Corrupt("a log row's number"))
}

/// What a row with a checksum begins with; before there were any, it was the number of a variant of [`Row`].
const CHECKED: u8 = 2;

/// Lays a row out.
///
/// # Panics
/// Never: rows always have an encoding.
pub fn encode(row: &Row<'_>) -> Vec<u8> {
    let bytes = postcard::to_extend(row, vec![CHECKED]).expect("plain data has an encoding");
    checked::seal(bytes)
}

/// Reads a row.
///
/// # Errors
/// Bytes that are none.
pub fn row(bytes: &[u8]) -> Result<Row<'_>, Corrupt> {
    let bytes = match bytes {
        [CHECKED, ..] => &checked::open(bytes, "a log row")?[1..],
        _ => bytes,
    };
    postcard::from_bytes(bytes).map_err(|_| Corrupt("a log row"))
}
