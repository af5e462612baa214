//! One text message as the store takes it in: opened, parsed, counted. Nothing is judged here.

use vigia_protocol::batch::{BatchHead, Count, Marker, QuarantineReason, decode};
use vigia_protocol::header::SensorId;
use vigia_protocol::profile::Profile;
use vigia_protocol::report::JournalReport;
use vigia_protocol::stage::StageKey;
use vigia_protocol::text::{self, Entry, GapLine, QuarantineLine, ReadingLine, Text, TextLines};
use vigia_protocol::time::Micros;
use vigia_protocol::topic::{Arrow, NodeName};

use crate::run::Sample;
use crate::stream::StreamId;

/// The keys of what comes in.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Of `text`.
    pub text: StageKey,
    /// Of `journal`.
    pub journal: StageKey,
}

/// A message.
#[derive(Debug)]
pub enum Intake<'a> {
    /// Work, and the message it came in.
    Batch(NodeName, BatchHead, Batch, &'a [u8]),
    /// Work that is not what it should be: its bytes are kept.
    Malformed(NodeName, BatchHead, &'a [u8]),
    /// To be echoed.
    Marker(NodeName, Marker),
    /// What a journal holds.
    Journal(NodeName, JournalReport),
}

/// A batch whose lines are what its head says.
#[derive(Debug, Default)]
pub struct Batch {
    /// What its readings' `profile` counts in.
    pub profiles: Vec<Profile>,
    /// In its order.
    pub readings: Vec<Taken>,
    /// All their values.
    pub values: Vec<f64>,
    /// All their statuses.
    pub status: Vec<u16>,
    /// Declared gaps.
    pub gaps: Vec<(StreamId, u64, u16)>,
    /// What could not be understood.
    pub quarantined: Vec<Refused>,
}

/// A reading of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// Whose.
    pub id: StreamId,
    /// Its number.
    pub seq: u64,
    /// By the sensor's clock.
    pub time: i64,
    /// By the ingress's clock.
    pub received: i64,
    /// How it was taken.
    pub flags: u16,
    /// Which of the batch's profiles.
    pub profile: u16,
    /// Whether it is the first of its frame.
    pub begins: bool,
    /// Where its values begin.
    pub values: u32,
    /// Where its statuses begin, unless all are good.
    pub status: Option<u32>,
}

/// A frame that could not be understood.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Why.
    pub reason: QuarantineReason,
    /// Whose it says it is.
    pub id: StreamId,
    /// Where it says it stands.
    pub seq: u64,
    /// Readings it says it has.
    pub count: u16,
    /// When the ingress had it.
    pub received: Micros,
    /// All its bytes.
    pub frame: Vec<u8>,
}

/// Opens a message; `None` says it is not from the arrow's writer, or not for this store.
pub fn open<'a>(keys: &Keys, topic: &str, payload: &'a [u8]) -> Option<Intake<'a>> {
    if let Some(node) = Arrow::Journal.parse(topic) {
        let bytes = keys.journal.open(topic, payload).ok()?;
        return decode::<JournalReport>(bytes).ok().map(|report| Intake::Journal(node, report));
    }
    let node = Arrow::Text.parse(topic)?;
    match text::open(&keys.text, topic, payload).ok()? {
        Text::Marker(marker) => Some(Intake::Marker(node, marker)),
        Text::Batch { head, profiles, lines } => Some(match parse(&head, profiles, lines) {
            Some(batch) => Intake::Batch(node, head, batch, payload),
            None => Intake::Malformed(node, head, payload),
        }),
    }
}

/// Reads all lines; `None` if one is not understood or the whole is not what the head says.
fn parse(head: &BatchHead, profiles: Vec<Profile>, lines: TextLines<'_>) -> Option<Batch> {
    let mut batch = Batch { profiles, ..Batch::default() };
    let mut counted = Count::default();
    let mut frame_left = 0_u16;
    let mut last_profile = 0;
    for line in lines {
        match line.ok()? {
            Entry::Reading(line) => {
                match line.frame {
                    Some(count) if frame_left == 0 && count > 0 => {
                        counted.frames += 1;
                        frame_left = count;
                    }
                    None if frame_left > 0 => {}
                    _ => return None,
                }
                frame_left -= 1;
                counted.readings += 1;
                last_profile = batch.find_profile(last_profile, &line)?;
                batch.push(&line, last_profile)?;
            }
            Entry::Gap(line) if frame_left == 0 => {
                counted.frames += 1;
                batch.push_gap(&line)?;
            }
            Entry::Quarantine(line) if frame_left == 0 => {
                counted.frames += 1;
                counted.readings += u64::from(line.count);
                batch.push_refused(&line)?;
            }
            Entry::Gap(_) | Entry::Quarantine(_) => return None,
        }
    }
    (frame_left == 0 && counted == head.has).then_some(batch)
}

fn stream_id(sensor: SensorId, stream: u32) -> StreamId {
    StreamId { sensor, stream }
}

impl Batch {
    /// A reading; `profile` is its profile's number in the store.
    pub fn sample(&self, taken: &Taken, profile: u16) -> Sample<'_> {
        let quantities = self.profiles[usize::from(taken.profile)].quantities().len();
        let part = |from: u32| from as usize..from as usize + quantities;
        Sample {
            seq: taken.seq,
            profile,
            time: taken.time,
            received: taken.received,
            flags: taken.flags,
            status: taken.status.map_or(&[], |from| &self.status[part(from)]),
            values: &self.values[part(taken.values)],
        }
    }

    fn find_profile(&self, last: usize, line: &ReadingLine<'_>) -> Option<usize> {
        let is =
            |at: usize| self.profiles.get(at).is_some_and(|known| known.name() == line.profile);
        let at = if is(last) { last } else { (0..self.profiles.len()).find(|at| is(*at))? };
        let quantities = self.profiles[at].quantities();
        let fits = line.values.0.len() == quantities.len()
            && quantities.iter().zip(&line.values.0).all(|(one, (name, _))| one.name == *name)
            && (line.status.is_empty() || line.status.len() == quantities.len());
        fits.then_some(at)
    }

    fn push(&mut self, line: &ReadingLine<'_>, profile: usize) -> Option<()> {
        let status = line.status.iter().any(|status| *status != 0);
        self.readings.push(Taken {
            id: stream_id(line.sensor, line.stream),
            // The largest number is no number: ends of ranges stand one above.
            seq: line.seq.checked_add(1).and(Some(line.seq))?,
            time: line.time.0,
            received: line.received.0,
            flags: line.flags,
            profile: u16::try_from(profile).ok()?,
            begins: line.frame.is_some(),
            values: u32::try_from(self.values.len()).ok()?,
            status: if status { Some(u32::try_from(self.status.len()).ok()?) } else { None },
        });
        self.values.extend(line.values.0.iter().map(|(_, value)| value.unwrap_or(f64::NAN)));
        if status {
            self.status.extend_from_slice(&line.status);
        }
        Some(())
    }

    fn push_gap(&mut self, line: &GapLine) -> Option<()> {
        line.seq.checked_add(u64::from(line.count))?;
        self.gaps.push((stream_id(line.sensor, line.stream), line.seq, line.count));
        Some(())
    }

    fn push_refused(&mut self, line: &QuarantineLine<'_>) -> Option<()> {
        self.quarantined.push(Refused {
            reason: line.quarantine,
            id: stream_id(line.sensor, line.stream),
            seq: line.seq,
            count: line.count,
            received: line.received,
            frame: from_hex(line.frame)?,
        });
        Some(())
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
