//! Writes a small corpus to begin with: `seed VECTORS DIRECTORY`.

use std::fs;
use std::path::Path;

use vigia_fuzz::{TOPIC, stage_key};
use vigia_protocol::batch::{BatchHead, Count, Marker, Message, RawFrame, encode};
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::position::{LogId, Position};
use vigia_protocol::profile::Profile;
use vigia_protocol::quality::Status;
use vigia_protocol::ranges::RangeSet;
use vigia_protocol::reading::{Flags, Reading};
use vigia_protocol::report::{JournalReport, StoreReport, StoredLog, Totals, Unsettled};
use vigia_protocol::sealed::GapReason;
use vigia_protocol::text::TextWriter;
use vigia_protocol::time::Micros;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(vectors), Some(root)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: seed VECTORS DIRECTORY");
        std::process::exit(64);
    };
    let put = |target: &str, name: String, bytes: &[u8]| {
        let directory = Path::new(&root).join(target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(name), bytes)
    };
    let mut raw = Vec::new();
    for (number, line) in fs::read_to_string(vectors)?.lines().enumerate() {
        let Some(frame) = line.split("frame=").nth(1).and_then(|rest| rest.split(' ').next()) else {
            continue;
        };
        let frame: Vec<u8> = (0..frame.len() / 2)
            .filter_map(|at| u8::from_str_radix(&frame[2 * at..2 * at + 2], 16).ok())
            .collect();
        let kind = line.split(' ').next().unwrap_or("frame");
        for target in ["decoder", "ingress", "device", "sealed"] {
            put(target, format!("{kind}-{number}"), &[&[0], &frame[..]].concat())?;
        }
        raw.push(frame);
    }
    for target in ["ingress", "device", "sealed"] {
        for start in 1..16u8 {
            let bytes: Vec<u8> = (0..200).map(|at: u8| at.wrapping_mul(start)).collect();
            put(target, format!("run-{start}"), &bytes)?;
        }
    }

    let count = Count { readings: 3, frames: 2 };
    let log = LogId(1);
    let head = BatchHead { position: Position { log, n: 7 }, before: count, has: count };
    let frames: Vec<RawFrame<'_>> =
        raw.iter().take(2).map(|bytes| RawFrame { received: Micros(1), bytes }).collect();
    put("batch", "raw".into(), &encode(&Message::Batch(head, frames)))?;
    let marker = Marker { session: 1, number: 2, logs: vec![log, LogId(2)] };
    put("batch", "marker".into(), &encode(&Message::<Vec<RawFrame<'_>>>::Marker(marker.clone())))?;

    let climate = Profile::climate();
    let mut text = TextWriter::batch(&head, [&climate]);
    let who = (SensorId(7), Place { stream: 1, seq: 42 });
    let reading = Reading {
        time: Micros(1_767_225_600_000_000),
        flags: Flags(0),
        status: Status::GOOD,
        values: vec![21.5, f64::NAN, 101.0],
    };
    text.reading(who, Micros(0), Some(1), &climate, &reading);
    text.gap(who.0, who.1, 3, Micros(0), GapReason::SpoolFull);
    text.quarantine(who, 1, Micros(0), vigia_protocol::batch::QuarantineReason::BadBox, b"VG");
    for (name, text) in [("batch", text), ("marker", TextWriter::marker(&marker))] {
        let bytes = text.seal(&stage_key(), TOPIC);
        put("text", name.into(), &bytes[..bytes.len() - 76])?;
    }

    let accounted = RangeSet::from_ranges(vec![(0, 3), (5, 9)]).unwrap_or_default();
    let logs = vec![StoredLog { log, accounted, totals: Some(Totals::default()) }];
    let report =
        encode(&StoreReport { instance: 1, replaces: vec![2], marker: Some((1, 1)), logs });
    put("report", "store".into(), &[&[0, 0, 9, 0], &report[..]].concat())?;
    let report = JournalReport {
        journal: 1,
        created: Micros(0),
        time: Micros(1),
        logs: vec![],
        bytes: (1, 2),
        online: vec![SensorId(3)],
        store: Some(1),
        echo: Some((1, Micros(2))),
        unsettled: vec![Unsettled { sensor: SensorId(3), stream: 1, from: 1, to: 2 }],
    };
    put("report", "journal".into(), &[&[0, 0, 9, 0], &encode(&report)[..]].concat())?;

    for topic in ["vigia/v1/raw/here", "vigia/v1/stored/a-1", "vigia/v1/text/", "$SYS/#", "here"] {
        put("topic", topic.replace(['/', '$', '#'], "_"), topic.as_bytes())?;
    }
    for (number, lines) in ["a/+\n+/b\na/b", "#\n$SYS/#\n$SYS/x", "a/#\n+/b/#\na/b/c"].iter().enumerate() {
        put("filter", number.to_string(), lines.as_bytes())?;
    }
    let json = serde_json::to_string(climate.quantities()).unwrap_or_default();
    put("profile", "climate".into(), json.as_bytes())?;
    for (number, time) in
        ["2026-01-31T08:30:00Z", "-009999-01-02T01:59:59Z", "1970-01-01T00:00:00.000001+23:59", "0123456789abcdef"]
            .into_iter()
            .enumerate()
    {
        put("time", number.to_string(), time.as_bytes())?;
    }
    Ok(())
}
