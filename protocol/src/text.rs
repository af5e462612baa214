//! The text between transform and everything after it: UTF-8, newline-delimited JSON.
//!
//! ```text
//! {"vigia":"text/1","log":"9f…","n":12,"before":{…},"has":{…},"profiles":{"climate":[…]}}
//! {"sensor":7,"stream":1,"seq":42,"time":"…Z","received":"…Z","quality":"good","flags":1,"profile":"climate","frame":2,"values":{"temperature":21.5,…}}
//! {"sensor":7,…}
//! {"gap":"spool-full","sensor":7,"stream":1,"seq":44,"count":3,"received":"…Z"}
//! {"quarantine":"bad-box","sensor":7,"stream":1,"seq":47,"count":1,"received":"…Z","frame":"5647…"}
//! {"seal":"…"}
//! ```
//!
//! or `{"vigia":"text/1","marker":{…}}` and a seal. `frame` stands in the first line of each frame and says how many
//! readings it had. `status` appears where something is not good: one OPC UA status code (upper 16 bits)
//! per quantity. A value that is not a number is `null` and bad.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::batch::{BatchHead, Count, Marker, QuarantineReason};
use crate::header::{Place, SensorId};
use crate::position::{LogId, Position};
use crate::profile::{Number, Profile, Quantity};
use crate::quality::{Quality, Status};
use crate::reading::{Flags, Reading};
use crate::sealed::GapReason;
use crate::stage::{BadSeal, StageKey};
use crate::time::Micros;

const VERSION: &str = "text/1";
const SEAL_LINE_BYTES: usize = r#"{"seal":""}"#.len() + 64 + 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    vigia: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    #[serde(default)]
    n: u64,
    #[serde(default)]
    before: Count,
    #[serde(default)]
    has: Count,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    profiles: BTreeMap<String, Vec<Quantity>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    marker: Option<MarkerText>,
}

/// A marker with its numbers as text: JSON readers round large integers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct MarkerText {
    session: String,
    number: u64,
    logs: Vec<String>,
}

/// Quality of a reading as it will be shown: per quantity a status, and the worst of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The worst.
    pub quality: Quality,
    /// Per quantity, in the profile's order.
    pub status: Vec<Status>,
}

/// Judges a reading: the sensor's own status, its clock, plausible ranges, numbers that are none.
pub fn judge(profile: &Profile, reading: &Reading) -> Judged {
    let own = if reading.status == Status::GOOD && !reading.flags.has(Flags::CLOCK_SYNCED) {
        Status::UNCERTAIN
    } else {
        reading.status
    };
    let status: Vec<Status> = profile
        .quantities()
        .iter()
        .zip(&reading.values)
        .map(|(quantity, value)| {
            let outside = quantity.range.is_some_and(|[low, high]| *value < low || *value > high);
            if !value.is_finite() && own.quality() != Quality::Bad {
                Status::SENSOR_FAILURE
            } else if outside && own.quality() == Quality::Good {
                Status::RANGE_EXCEEDED
            } else {
                own
            }
        })
        .collect();
    let quality = status.iter().map(|status| status.quality()).max().unwrap_or(Quality::Good);
    Judged { quality, status }
}

/// Writes one batch or marker as text.
#[derive(Debug)]
pub struct TextWriter {
    out: String,
}

impl TextWriter {
    /// Begins a batch with the profiles its readings use.
    pub fn batch<'a>(head: &BatchHead, profiles: impl IntoIterator<Item = &'a Profile>) -> Self {
        Self::begin(&Head {
            vigia: VERSION.to_owned(),
            log: Some(head.position.log.to_string()),
            n: head.position.n,
            before: head.before,
            has: head.has,
            profiles: profiles
                .into_iter()
                .map(|profile| (profile.name().to_owned(), profile.quantities().to_vec()))
                .collect(),
            marker: None,
        })
    }

    /// A marker.
    pub fn marker(marker: &Marker) -> Self {
        Self::begin(&Head {
            vigia: VERSION.to_owned(),
            log: None,
            n: 0,
            before: Count::default(),
            has: Count::default(),
            profiles: BTreeMap::new(),
            marker: Some(MarkerText {
                session: format!("{:016x}", marker.session),
                number: marker.number,
                logs: marker.logs.iter().map(LogId::to_string).collect(),
            }),
        })
    }

    fn begin(head: &Head) -> Self {
        let mut out = serde_json::to_string(head).expect("a head has an encoding");
        out.push('\n');
        Self { out }
    }

    /// One reading. `frame` is given with the first of each frame: how many it had.
    pub fn reading(
        &mut self,
        (sensor, place): (SensorId, Place),
        received: Micros,
        frame: Option<u16>,
        profile: &Profile,
        reading: &Reading,
    ) {
        let judged = judge(profile, reading);
        let out = &mut self.out;
        // Writing into a String cannot fail.
        let _ = write!(
            out,
            r#"{{"sensor":{sensor},"stream":{},"seq":{},"time":""#,
            place.stream, place.seq
        );
        reading.time.write_to(out);
        out.push_str(r#"","received":""#);
        received.write_to(out);
        out.push_str(r#"","quality":""#);
        out.push_str(judged.quality.word());
        let _ = write!(out, r#"","flags":{},"profile":"{}","#, reading.flags.0, profile.name());
        if let Some(count) = frame {
            let _ = write!(out, r#""frame":{count},"#);
        }
        if judged.quality != Quality::Good {
            let codes: Vec<u16> = judged.status.iter().map(|status| status.0).collect();
            let _ = write!(out, r#""status":{codes:?},"#);
        }
        out.push_str(r#""values":{"#);
        for (index, (quantity, value)) in
            profile.quantities().iter().zip(&reading.values).enumerate()
        {
            if index > 0 {
                out.push(',');
            }
            let _ = write!(out, r#""{}":"#, quantity.name);
            write_number(out, quantity.number, *value);
        }
        out.push_str("}}\n");
    }

    /// Readings that a sensor declared dropped.
    pub fn gap(
        &mut self,
        sensor: SensorId,
        place: Place,
        count: u16,
        received: Micros,
        reason: GapReason,
    ) {
        let _ = writeln!(
            self.out,
            r#"{{"gap":"{}","sensor":{sensor},"stream":{},"seq":{},"count":{count},"received":"{received}"}}"#,
            reason.word(),
            place.stream,
            place.seq
        );
    }

    /// A frame that could not be understood, with its bytes.
    pub fn quarantine(
        &mut self,
        (sensor, place): (SensorId, Place),
        count: u16,
        received: Micros,
        reason: QuarantineReason,
        frame: &[u8],
    ) {
        let out = &mut self.out;
        let _ = write!(
            out,
            r#"{{"quarantine":"{}","sensor":{sensor},"stream":{},"seq":{},"count":{count},"received":"{received}","frame":""#,
            reason.word(),
            place.stream,
            place.seq
        );
        push_hex(out, frame);
        out.push_str("\"}\n");
    }

    /// Ends the text with its seal.
    pub fn seal(mut self, key: &StageKey, topic: &str) -> Vec<u8> {
        let code = key.code(topic, self.out.as_bytes());
        self.out.push_str(r#"{"seal":""#);
        push_hex(&mut self.out, &code);
        self.out.push_str("\"}\n");
        self.out.into_bytes()
    }
}

/// The shortest text that reads back as the same number; `null` if it is none.
pub fn write_number(out: &mut String, number: Number, value: f64) {
    if !value.is_finite() {
        out.push_str("null");
        return;
    }
    let mut buffer = ryu::Buffer::new();
    out.push_str(match number {
        Number::F32 => buffer.format_finite(value as f32),
        Number::F64 => buffer.format_finite(value),
    });
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// A text message, its seal checked and its first line read.
#[derive(Debug)]
pub enum Text<'a> {
    /// A batch; its lines are still to be read.
    Batch {
        /// Where it stands and what it has.
        head: BatchHead,
        /// The profiles its readings use.
        profiles: Vec<Profile>,
        /// The lines.
        lines: TextLines<'a>,
    },
    /// A marker.
    Marker(Marker),
}

/// What is wrong with a text message.
#[derive(Debug, thiserror::Error)]
pub enum BadText {
    /// Not from the arrow's writer.
    #[error(transparent)]
    Seal(#[from] BadSeal),
    /// A line that is not what it should be.
    #[error("text line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What was found.
        problem: String,
    },
}

fn bad_line(line: usize, problem: impl std::fmt::Display) -> BadText {
    BadText::Line { line, problem: problem.to_string() }
}

/// Checks the seal of a text message and reads its first line.
///
/// # Errors
/// A seal that does not fit, or a first line that is not understood.
pub fn open<'a>(key: &StageKey, topic: &str, bytes: &'a [u8]) -> Result<Text<'a>, BadText> {
    let at = bytes.len().checked_sub(SEAL_LINE_BYTES).ok_or(BadSeal)?;
    let (text, seal) = bytes.split_at(at);
    let mut expected = String::with_capacity(SEAL_LINE_BYTES);
    expected.push_str(r#"{"seal":""#);
    push_hex(&mut expected, &key.code(topic, text));
    expected.push_str("\"}\n");
    if !crate::keys::same_tag(expected.as_bytes(), seal) {
        return Err(BadSeal.into());
    }
    let text = std::str::from_utf8(text).map_err(|error| bad_line(1, error))?;
    let (first, rest) = text.split_once('\n').ok_or_else(|| bad_line(1, "no line end"))?;
    let head: Head = serde_json::from_str(first).map_err(|error| bad_line(1, error))?;
    if head.vigia != VERSION {
        return Err(bad_line(1, format!("version {:?}, expected {VERSION:?}", head.vigia)));
    }
    if let Some(marker) = head.marker {
        let number = |text: &str| text.parse::<LogId>().map_err(|error| bad_line(1, error));
        return Ok(Text::Marker(Marker {
            session: number(&marker.session)?.0,
            number: marker.number,
            logs: marker.logs.iter().map(|log| number(log)).collect::<Result<_, _>>()?,
        }));
    }
    let log = head.log.ok_or_else(|| bad_line(1, "neither log nor marker"))?;
    let log = log.parse().map_err(|error| bad_line(1, error))?;
    let profiles = head
        .profiles
        .into_iter()
        .map(|(name, quantities)| Profile::new(&name, quantities))
        .collect::<Result<_, _>>()
        .map_err(|error| bad_line(1, error))?;
    Ok(Text::Batch {
        head: BatchHead {
            position: Position { log, n: head.n },
            before: head.before,
            has: head.has,
        },
        profiles,
        lines: TextLines { lines: rest.lines(), number: 1 },
    })
}

/// The lines of a batch, one by one.
#[derive(Debug, Clone)]
pub struct TextLines<'a> {
    lines: std::str::Lines<'a>,
    number: usize,
}

/// One line of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry<'a> {
    /// A reading.
    Reading(ReadingLine<'a>),
    /// Dropped readings, declared.
    Gap(GapLine),
    /// A frame for quarantine.
    Quarantine(QuarantineLine<'a>),
}

/// A reading, as text says it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadingLine<'a> {
    /// Whose.
    pub sensor: SensorId,
    /// Its stream.
    pub stream: u32,
    /// Its number in it.
    pub seq: u64,
    /// By the sensor's clock.
    #[serde(deserialize_with = "micros")]
    pub time: Micros,
    /// By the ingress's clock.
    #[serde(deserialize_with = "micros")]
    pub received: Micros,
    /// The worst of its values'.
    pub quality: Quality,
    /// How it was taken.
    pub flags: u16,
    /// Its profile's name.
    pub profile: &'a str,
    /// In the first reading of a frame: how many readings the frame had.
    #[serde(default)]
    pub frame: Option<u16>,
    /// Per quantity, unless all are good.
    #[serde(default)]
    pub status: Vec<u16>,
    /// In the profile's order; `None` where there is no number.
    #[serde(borrow)]
    pub values: Values<'a>,
}

/// A declared gap.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GapLine {
    /// Why.
    pub gap: GapReason,
    /// Whose.
    pub sensor: SensorId,
    /// Its stream.
    pub stream: u32,
    /// The first dropped reading.
    pub seq: u64,
    /// How many.
    pub count: u16,
    /// When the ingress heard of it.
    #[serde(deserialize_with = "micros")]
    pub received: Micros,
}

/// A frame for quarantine.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuarantineLine<'a> {
    /// Why.
    pub quarantine: QuarantineReason,
    /// Whose it says it is.
    pub sensor: SensorId,
    /// Where it says it stands.
    pub stream: u32,
    /// Where it says it stands.
    pub seq: u64,
    /// Readings it says it has.
    pub count: u16,
    /// When the ingress had it.
    #[serde(deserialize_with = "micros")]
    pub received: Micros,
    /// All its bytes, as hexadecimal.
    pub frame: &'a str,
}

/// Names and values in the order of the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Values<'a>(pub Vec<(&'a str, Option<f64>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Values<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Vec<(&'de str, Option<f64>)>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of numbers")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Self::Value, A::Error> {
                let mut values = Vec::with_capacity(4);
                while let Some(entry) = map.next_entry()? {
                    values.push(entry);
                }
                Ok(values)
            }
        }
        deserializer.deserialize_map(Visitor).map(Values)
    }
}

fn micros<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Micros, D::Error> {
    let text = <&str>::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

impl<'a> Iterator for TextLines<'a> {
    type Item = Result<Entry<'a>, BadText>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.lines.next()?;
        self.number += 1;
        let entry = if line.starts_with(r#"{"gap""#) {
            serde_json::from_str(line).map(Entry::Gap)
        } else if line.starts_with(r#"{"quarantine""#) {
            serde_json::from_str(line).map(Entry::Quarantine)
        } else {
            serde_json::from_str(line).map(Entry::Reading)
        };
        Some(entry.map_err(|error| bad_line(self.number, error)))
    }
}
