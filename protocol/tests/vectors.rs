//! `vectors.txt` holds this crate and the C++ sensor to FORMAT.md, byte for byte.
//!
//! `UPDATE=1 cargo test -p vigia-protocol --test vectors` writes the file anew.

use std::collections::HashMap;
use std::fmt::Write as _;

use vigia_protocol::decoder::{Decoder, Frame};
use vigia_protocol::header::{FrameType, Place, SensorId, WireError};
use vigia_protocol::keys::{DeviceKey, Direction, LinkKey, Secret, SessionKey, same_tag};
use vigia_protocol::message::{
    Ack, Hello, RefuseReason, Welcome, encode_busy, encode_empty, encode_refuse,
};
use vigia_protocol::profile::Profile;
use vigia_protocol::quality::Status;
use vigia_protocol::reading::{Flags, Reading};
use vigia_protocol::sealed::{self, GapReason, SealingKeys};
use vigia_protocol::time::Micros;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "odd hex");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn fill<const N: usize>(start: u8) -> [u8; N] {
    std::array::from_fn(|index| start.wrapping_add((index as u8).wrapping_mul(7)))
}

fn device() -> DeviceKey {
    DeviceKey(Secret::new(fill(0x11)))
}

fn sealing(sensor: SensorId, epoch: u16) -> SealingKeys {
    SealingKeys { reading: device().reading(sensor, epoch), nonce: device().nonce(sensor, epoch) }
}

fn tagged(mut untagged: Vec<u8>, tag: [u8; 16]) -> Vec<u8> {
    untagged.extend_from_slice(&tag);
    untagged
}

fn climate(time: i64, flags: u16, status: u16, values: [f32; 3]) -> Vec<u8> {
    let mut out = Vec::new();
    Reading {
        time: Micros(time),
        flags: Flags(flags),
        status: Status(status),
        values: values.iter().map(|value| f64::from(*value)).collect(),
    }
    .encode(&Profile::climate(), &mut out);
    out
}

/// The file as this crate makes it.
fn generate() -> String {
    let mut out = String::from(
        "# Test vectors of the sensor's wire: one a line, binary as hexadecimal. Generated; see FORMAT.md.\n",
    );
    let dev = hex(device().0.expose());
    let places = [
        (SensorId(7), 1u16, Place { stream: 1, seq: 1 }),
        (SensorId(-2), 513, Place { stream: 0x0102_0304, seq: 0x0a0b_0c0d_0e0f_1011 }),
        (SensorId(i16::MAX), u16::MAX, Place { stream: u32::MAX, seq: u64::MAX - 100 }),
    ];
    let session = SessionKey(Secret::new(fill(0x33)));
    let session_hex = hex(session.0.expose());

    for (time, flags, status, values) in [
        (1_767_225_600_000_000i64, 1u16, 0u16, [21.5f32, 1013.25, 40.125]),
        (-1, 7, 0x808C, [-0.0, 1.0e-38, 3.4e38]),
        (i64::MAX, 0xffff, 0xffff, [0.1, -273.15, 99.99]),
    ] {
        let list = values.map(|value| value.to_string()).join(",");
        let bytes = hex(&climate(time, flags, status, values));
        let _ = writeln!(
            out,
            "reading time={time} flags={flags} status={status} f32={list} reading={bytes}"
        );
    }
    for (index, (sensor, epoch, place)) in places.into_iter().enumerate() {
        let index = index as u8;
        let link = device().link(sensor, epoch);
        let reading = device().reading(sensor, epoch);
        let nonce = device().nonce(sensor, epoch);
        let _ = writeln!(
            out,
            "keys dev={dev} sensor={sensor} epoch={epoch} link={} payload={} sig={} nonce={}",
            hex(link.0.expose()),
            hex(reading.payload.expose()),
            hex(reading.signature.expose()),
            hex(nonce.0.expose()),
        );
        let hello = Hello {
            sensor,
            epoch,
            oldest: place,
            nonce: fill(index),
            lowest: 1,
            highest: 1 + index,
        };
        let untagged = hello.encode();
        let tag = link.hello_tag(&untagged);
        let hello_frame = tagged(untagged, tag);
        let head =
            format!("sensor={sensor} epoch={epoch} stream={} seq={}", place.stream, place.seq);
        let _ = writeln!(
            out,
            "hello {head} client_nonce={} lowest=1 highest={} link={} frame={}",
            hex(&hello.nonce),
            hello.highest,
            hex(link.0.expose()),
            hex(&hello_frame)
        );
        let welcome = Welcome {
            sensor,
            epoch,
            next: place,
            nonce: fill(0x80 + index),
            version: 1,
            window: 256 + u16::from(index),
            stored: place.seq - 1,
            last_nonce: fill(0x44),
            time: 1_767_225_600_123_456,
        };
        let untagged = welcome.encode();
        let tag = link.welcome_tag(&hello_frame, &untagged);
        let welcome_frame = tagged(untagged, tag);
        let _ = writeln!(
            out,
            "welcome {head} server_nonce={} version=1 window={} stored={} last_nonce={} time={} link={} hello={} frame={} session={}",
            hex(&welcome.nonce),
            welcome.window,
            welcome.stored,
            hex(&welcome.last_nonce),
            welcome.time,
            hex(link.0.expose()),
            hex(&hello_frame),
            hex(&welcome_frame),
            hex(link.session(&hello_frame, &welcome_frame).0.expose()),
        );
        let keys = sealing(sensor, epoch);
        for count in [1u16, 2, 64] {
            let body: Vec<u8> = (0..count)
                .flat_map(|n| {
                    climate(
                        1_767_225_600_000_000 + i64::from(n),
                        1,
                        0,
                        [20.0 + f32::from(n), 1000.5, 50.0],
                    )
                })
                .collect();
            let random: [u8; 24] = fill(0x90 + index);
            let counter = u64::from(count) << 33;
            let (frame, _) =
                sealed::seal(&keys, FrameType::Data, sensor, (place, count, epoch), &random, &body);
            let tag = session.tag(Direction::Up, counter, &frame);
            let _ = writeln!(
                out,
                "data dev={dev} {head} count={count} readings={} random={} session={session_hex} direction=0 counter={counter} frame={}",
                hex(&body),
                hex(&random),
                hex(&tagged(frame, tag))
            );
        }
        let reason =
            [GapReason::SpoolFull, GapReason::SpoolDamaged, GapReason::Removed][usize::from(index)];
        let random: [u8; 24] = fill(0xa0 + index);
        let body = (reason as u16).to_le_bytes();
        let (frame, _) =
            sealed::seal(&keys, FrameType::Gap, sensor, (place, 1000, epoch), &random, &body);
        let tag = session.tag(Direction::Up, 5, &frame);
        let _ = writeln!(
            out,
            "gap dev={dev} {head} count=1000 reason={} random={} session={session_hex} direction=0 counter=5 frame={}",
            reason as u16,
            hex(&random),
            hex(&tagged(frame, tag))
        );
        let ending = |untagged: Vec<u8>, direction, counter| {
            let tag = session.tag(direction, counter, &untagged);
            format!(
                "session={session_hex} direction={} counter={counter} frame={}",
                direction as u8,
                hex(&tagged(untagged, tag))
            )
        };
        let ack = Ack { custody: place, stored: place.seq - 1, time: 1_767_225_600_000_001 };
        let _ = writeln!(
            out,
            "ack {head} stored={} time={} {}",
            ack.stored,
            ack.time,
            ending(ack.encode(sensor, epoch), Direction::Down, 0)
        );
        let _ = writeln!(
            out,
            "busy {head} retry_ms=1500 {}",
            ending(encode_busy(sensor, epoch, place, 1500), Direction::Down, 1)
        );
        let _ = writeln!(
            out,
            "refuse {head} reason=1 {}",
            ending(
                encode_refuse(sensor, epoch, place, RefuseReason::Position),
                Direction::Down,
                u64::MAX
            )
        );
        for (word, kind, direction) in
            [("ping", FrameType::Ping, Direction::Up), ("pong", FrameType::Pong, Direction::Down)]
        {
            let _ = writeln!(
                out,
                "{word} sensor={sensor} epoch={epoch} {}",
                ending(encode_empty(kind, sensor, epoch), direction, 3)
            );
        }
    }
    generate_bad(&mut out, &dev, &session);
    out
}

/// Frames that must be refused, each for one reason.
fn generate_bad(out: &mut String, dev: &str, session: &SessionKey) {
    let sensor = SensorId(7);
    let place = Place { stream: 1, seq: 9 };
    let keys = sealing(sensor, 1);
    let body = climate(1_767_225_600_000_000, 1, 0, [21.0, 1000.0, 50.0]);
    let (frame, _) = sealed::seal(&keys, FrameType::Data, sensor, (place, 1, 1), &fill(1), &body);
    let tag = session.tag(Direction::Up, 4, &frame);
    let good = tagged(frame, tag);
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        hex(&changed)
    };
    for (frame, error) in [
        (with(0, b"X"), "bad-magic"),
        (with(1, b"g"), "bad-magic"),
        (with(2, &[0]), "bad-version"),
        (with(2, &[2]), "bad-version"),
        (with(3, &[0]), "bad-type"),
        (with(3, &[10]), "bad-type"),
        (with(3, &[1]), "bad-length"),
        (with(4, &39u16.to_le_bytes()), "bad-length"),
        (with(4, &4097u16.to_le_bytes()), "bad-length"),
        (with(4, &127u16.to_le_bytes()), "bad-length"),
        (with(4, &253u16.to_le_bytes()), "bad-length"),
        (with(10, &0u16.to_le_bytes()), "bad-count"),
        (with(10, &65u16.to_le_bytes()), "bad-count"),
        (with(10, &2u16.to_le_bytes()), "bad-length"),
    ] {
        let _ = writeln!(out, "bad-frame frame={frame} error={error}");
    }
    let mut ping = encode_empty(FrameType::Ping, sensor, 1);
    ping[10] = 1;
    let _ = writeln!(out, "bad-frame frame={} error=bad-count", hex(&tagged(ping, [0; 16])));

    let session_hex = hex(session.0.expose());
    for (frame, direction, counter) in [
        (hex(&good), 0, 5u64),
        (hex(&good), 1, 4),
        (with(30, &[good[30] ^ 1]), 0, 4),
        (with(12, &[2]), 0, 4),
        (with(good.len() - 1, &[good[good.len() - 1] ^ 0x80]), 0, 4),
    ] {
        let _ = writeln!(
            out,
            "bad-tag frame={frame} session={session_hex} direction={direction} counter={counter} error=bad-tag"
        );
    }
    // The header is not encrypted: what was changed in it shows only in the signature.
    for (frame, error) in [
        (with(48, &[good[48] ^ 1]), "bad-box"),
        (with(70, &[good[70] ^ 1]), "bad-box"),
        (with(24, &[good[24] ^ 1]), "bad-box"),
        (with(16, &[10]), "bad-mac"),
        (with(12, &[2]), "bad-mac"),
    ] {
        let _ = writeln!(out, "bad-open dev={dev} frame={frame} error={error}");
    }
    let (frame, _) =
        sealed::seal(&keys, FrameType::Gap, sensor, (place, 3, 1), &fill(2), &9u16.to_le_bytes());
    let _ =
        writeln!(out, "bad-open dev={dev} frame={} error=bad-body", hex(&tagged(frame, [0; 16])));
}

struct Line<'a>(HashMap<&'a str, &'a str>);

impl Line<'_> {
    fn bytes(&self, key: &str) -> Vec<u8> {
        unhex(self.0[key])
    }
    fn number(&self, key: &str) -> u64 {
        self.0[key].parse().unwrap()
    }
    fn session(&self) -> SessionKey {
        SessionKey(Secret::new(self.bytes("session").try_into().unwrap()))
    }
    fn device(&self) -> DeviceKey {
        DeviceKey(Secret::new(self.bytes("dev").try_into().unwrap()))
    }
    fn direction(&self) -> Direction {
        if self.number("direction") == 0 { Direction::Up } else { Direction::Down }
    }
    fn tag_fits(&self, frame: &Frame) -> bool {
        let tag = self.session().tag(self.direction(), self.number("counter"), frame.untagged());
        same_tag(&tag, frame.tag())
    }
}

#[test]
fn the_file_is_what_this_crate_makes() {
    let made = generate();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(FILE, &made).unwrap();
    }
    let kept = std::fs::read_to_string(FILE).unwrap();
    assert!(kept == made, "vectors.txt differs from what the code makes; UPDATE=1 writes it anew");
}

#[test]
fn every_line_decodes_to_what_it_says() {
    let text = std::fs::read_to_string(FILE).unwrap();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (kind, fields) = line.split_once(' ').unwrap();
        let line = Line(fields.split(' ').map(|field| field.split_once('=').unwrap()).collect());
        check(kind, &line);
        *seen.entry(kind.to_owned()).or_default() += 1;
    }
    for kind in [
        "keys",
        "hello",
        "welcome",
        "data",
        "gap",
        "ack",
        "busy",
        "refuse",
        "ping",
        "pong",
        "reading",
        "bad-frame",
        "bad-tag",
        "bad-open",
    ] {
        assert!(seen.contains_key(kind), "no vector of kind {kind}");
    }
}

fn check(kind: &str, line: &Line<'_>) {
    if kind == "bad-frame" {
        // The header alone, without the rest, must be enough to name the error.
        let mut decoder = Decoder::default();
        decoder.push(&line.bytes("frame")[..24]);
        assert_eq!(decoder.next_frame().unwrap_err().to_string(), line.0["error"]);
        return;
    }
    let Some(frame) = line.0.get("frame").map(|hex| Frame::parse(&unhex(hex)).unwrap()) else {
        return;
    };
    match kind {
        "hello" => {
            let link = LinkKey(Secret::new(line.bytes("link").try_into().unwrap()));
            let hello = Hello::decode(&frame).unwrap();
            assert_eq!(hello.oldest.seq, line.number("seq"));
            assert!(same_tag(&link.hello_tag(frame.untagged()), frame.tag()));
        }
        "welcome" => {
            let link = LinkKey(Secret::new(line.bytes("link").try_into().unwrap()));
            let welcome = Welcome::decode(&frame).unwrap();
            assert_eq!(welcome.stored, line.number("stored"));
            assert_eq!(u64::from(welcome.window), line.number("window"));
            assert!(same_tag(
                &link.welcome_tag(&line.bytes("hello"), frame.untagged()),
                frame.tag()
            ));
        }
        "data" => {
            assert!(line.tag_fits(&frame));
            let key = line.device().reading(frame.header.sensor, frame.header.epoch);
            let sealed::Opened::Readings { bytes, each } = sealed::open(&key, &frame).unwrap()
            else {
                panic!("DATA opened as GAP");
            };
            assert_eq!((bytes, each), (line.bytes("readings"), 24));
        }
        "gap" => {
            assert!(line.tag_fits(&frame));
            let key = line.device().reading(frame.header.sensor, frame.header.epoch);
            let reason = GapReason::from_code(line.number("reason") as u16).unwrap();
            assert_eq!(sealed::open(&key, &frame).unwrap(), sealed::Opened::Gap(reason));
        }
        "ack" | "busy" | "refuse" | "ping" | "pong" => assert!(line.tag_fits(&frame)),
        "bad-tag" => assert!(!line.tag_fits(&frame)),
        "bad-open" => {
            let key = line.device().reading(frame.header.sensor, frame.header.epoch);
            let error: WireError = sealed::open(&key, &frame).unwrap_err();
            assert_eq!(error.to_string(), line.0["error"]);
        }
        other => panic!("unknown kind {other}"),
    }
}
