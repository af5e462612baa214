//! The vocabulary of these tests: batches as text, as transform would write them.

#![allow(dead_code)]

use vigia_protocol::batch::{BatchHead, Count, QuarantineReason};
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::keys::Secret;
use vigia_protocol::position::{LogId, Position};
use vigia_protocol::profile::Profile;
use vigia_protocol::quality::Status;
use vigia_protocol::reading::{Flags, Reading};
use vigia_protocol::sealed::GapReason;
use vigia_protocol::stage::StageKey;
use vigia_protocol::text::TextWriter;
use vigia_protocol::time::Micros;
use vigia_store::batch::{Intake, Keys, open};
use vigia_store::store::{Answer, Store};

pub const TOPIC: &str = "vigia/v1/text/node-1";

pub fn key(byte: u8) -> StageKey {
    StageKey::new(Secret::new([byte; 32]))
}

pub fn keys() -> Keys {
    Keys { text: key(1), journal: key(2) }
}

/// One frame of a batch.
#[derive(Debug, Clone)]
pub enum Frame {
    /// `count` readings from `seq` on; `tint` makes the contents differ.
    Readings {
        sensor: i16,
        stream: u32,
        seq: u64,
        count: u16,
        tint: u8,
    },
    Gap {
        sensor: i16,
        stream: u32,
        seq: u64,
        count: u16,
    },
    Refused {
        sensor: i16,
        count: u16,
    },
}

/// What a reading with this identity says.
pub fn reading(sensor: i16, stream: u32, seq: u64, tint: u8) -> Reading {
    let mix =
        (sensor as i64 * 7 + i64::from(stream) * 13 + seq as i64 * 31 + i64::from(tint)) % 997;
    let mut values = vec![mix as f64 / 8.0, 900.0 + mix as f64 / 16.0, (mix % 100) as f64];
    if mix % 50 == 3 {
        values[1] = f64::NAN;
    }
    Reading {
        // Clocks jump now and then.
        time: Micros(1_700_000_000_000_000 + seq as i64 * 1_000_000 - (mix % 40 / 39) * 10_000_000),
        flags: Flags(if mix % 5 == 0 { 3 } else { 1 }),
        status: Status::GOOD,
        values: values.into_iter().map(|value| f64::from(value as f32)).collect(),
    }
}

pub fn received(seq: u64) -> Micros {
    Micros(1_700_000_100_000_000 + seq as i64 * 1_000_000)
}

pub fn count(frames: &[Frame]) -> Count {
    let readings = |frame: &Frame| match frame {
        Frame::Readings { count, .. } | Frame::Refused { count, .. } => u64::from(*count),
        Frame::Gap { .. } => 0,
    };
    Count { readings: frames.iter().map(readings).sum(), frames: frames.len() as u64 }
}

pub fn head(log: u64, n: u64, before: Count, has: Count) -> BatchHead {
    BatchHead { position: Position { log: LogId(log), n }, before, has }
}

/// A sealed text message.
pub fn text(head: &BatchHead, frames: &[Frame]) -> Vec<u8> {
    let profile = Profile::climate();
    let mut writer = TextWriter::batch(head, [&profile]);
    for frame in frames {
        match *frame {
            Frame::Readings { sensor, stream, seq, count, tint } => {
                for at in 0..u64::from(count) {
                    let place = Place { stream, seq: seq + at };
                    let begins = (at == 0).then_some(count);
                    let one = reading(sensor, stream, seq + at, tint);
                    writer.reading(
                        (SensorId(sensor), place),
                        received(seq + at),
                        begins,
                        &profile,
                        &one,
                    );
                }
            }
            Frame::Gap { sensor, stream, seq, count } => {
                let place = Place { stream, seq };
                writer.gap(SensorId(sensor), place, count, received(seq), GapReason::SpoolFull);
            }
            Frame::Refused { sensor, count } => {
                let claims = (SensorId(sensor), Place { stream: 9, seq: 9 });
                writer.quarantine(
                    claims,
                    count,
                    received(9),
                    QuarantineReason::BadBox,
                    b"\x01\xffraw",
                );
            }
        }
    }
    writer.seal(&key(1), TOPIC)
}

fn topic_of(message: &[u8]) -> &'static str {
    if message.starts_with(b"{") { TOPIC } else { JOURNAL_TOPIC }
}

/// Takes sealed messages in, in one transaction.
pub fn ingest(store: &Store, messages: &[&[u8]], now: Micros) -> Vec<Answer> {
    try_ingest(store, messages, now).unwrap()
}

pub fn try_ingest(
    store: &Store,
    messages: &[&[u8]],
    now: Micros,
) -> Result<Vec<Answer>, vigia_disk::Failed> {
    let keys = keys();
    let intakes: Vec<Intake<'_>> =
        messages.iter().map(|message| open(&keys, topic_of(message), message).unwrap()).collect();
    store.ingest(&intakes, now)
}

pub const JOURNAL_TOPIC: &str = "vigia/v1/journal/node-1";

/// A sealed report of a journal.
pub fn report(report: &vigia_protocol::report::JournalReport) -> Vec<u8> {
    key(2).seal(JOURNAL_TOPIC, vigia_protocol::batch::encode(report))
}

/// A marker that asks for these logs.
pub fn marker(number: u64, logs: &[u64]) -> Vec<u8> {
    let logs = logs.iter().map(|log| LogId(*log)).collect();
    let marker = vigia_protocol::batch::Marker { session: 5, number, logs };
    TextWriter::marker(&marker).seal(&key(1), TOPIC)
}
