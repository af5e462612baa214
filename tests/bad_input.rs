//! What a stranger, a damaged line or a wrong key can do at the sensor port: nothing to anybody else.

#[allow(dead_code)]
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{TestSite, command, eventually};
use vigia_protocol::decoder::{Decoder, Frame};
use vigia_protocol::header::{FrameType, Place, SensorId};
use vigia_protocol::keys::{DeviceKey, Direction, LinkKey, Secret, SessionKey};
use vigia_protocol::message::{Ack, Hello, Welcome};
use vigia_protocol::profile::Profile;
use vigia_protocol::quality::Status;
use vigia_protocol::reading::{Flags, Reading};
use vigia_protocol::sealed::{SealingKeys, seal};
use vigia_protocol::time::Micros;

const PATIENCE: Duration = Duration::from_secs(10);

/// A running system with two sensors, 1 and 2.
struct System {
    site: TestSite,
    up: Child,
}

impl System {
    fn start() -> Self {
        let site = TestSite::new();
        for id in ["1", "2"] {
            site.vigia(&["sensor", "add", id]).succeeded();
        }
        let mut command = command(&["up", "--site", site.arg()]);
        let up = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let system = Self { site, up };
        eventually("a balanced ledger", || {
            (system.ledger()?["verdict"] == "balanced").then_some(())
        });
        system
    }

    fn address(&self) -> String {
        let text = fs::read(self.site.path("run/addresses.json")).unwrap();
        let all: Value = serde_json::from_slice(&text).unwrap();
        all["sensor"].as_str().unwrap().to_owned()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn key(&self, id: i16) -> DeviceKey {
        let text = fs::read_to_string(self.site.path(&format!("devices/{id}.key"))).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("key = ")).unwrap();
        let mut bytes = [0; 32];
        hex::decode_to_slice(line.trim_matches('"'), &mut bytes).unwrap();
        DeviceKey(Secret::new(bytes))
    }

    fn ledger(&self) -> Option<Value> {
        serde_json::from_str(&self.site.vigia(&["ledger", "--json"]).out).ok()
    }

    /// The ledger's numbers of readings, once nothing is under way and so many were accepted.
    fn settled(&self, accepted: u64) -> Value {
        eventually(&format!("{accepted} readings accounted for"), || {
            let ledger = self.ledger()?;
            let readings = &ledger["readings"];
            let done = readings["accepted"] == accepted && readings["in_flight"] == 0;
            (done && ledger["verdict"] == "balanced").then(|| readings.clone())
        })
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = self.up.kill();
        let _ = self.up.wait();
    }
}

/// A sensor that does exactly what a test wants, also what is wrong.
struct Sensor {
    id: SensorId,
    stream: TcpStream,
    session: SessionKey,
    decoder: Decoder,
    sent: u64,
    next: Place,
    /// All bytes that went out.
    record: Vec<u8>,
}

fn greeting(id: SensorId, key: &LinkKey) -> Vec<u8> {
    let oldest = Place { stream: 1, seq: 1 };
    let hello = Hello { sensor: id, epoch: 1, oldest, nonce: [7; 16], lowest: 1, highest: 1 };
    let mut bytes = hello.encode();
    let tag = key.hello_tag(&bytes);
    bytes.extend_from_slice(&tag);
    bytes
}

fn next_frame(stream: &mut TcpStream, decoder: &mut Decoder) -> Option<Frame> {
    let mut buffer = [0; 4096];
    loop {
        if let Some(frame) = decoder.next_frame().unwrap() {
            return Some(frame);
        }
        match stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(count) => decoder.push(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("neither an answer nor the end: {error}"),
        }
    }
}

impl Sensor {
    fn greet(system: &System, id: i16) -> Self {
        let id = SensorId(id);
        let link = system.key(id.0).link(id, 1);
        let mut stream = system.connect();
        let hello = greeting(id, &link);
        stream.write_all(&hello).unwrap();
        let mut decoder = Decoder::default();
        let answer = next_frame(&mut stream, &mut decoder).expect("WELCOME");
        let welcome = Welcome::decode(&answer).expect("WELCOME");
        let session = link.session(&hello, &answer.bytes);
        Self { id, stream, session, decoder, sent: 0, next: welcome.next, record: hello }
    }

    /// A DATA frame of one reading at this position, sealed with this key, without its tag.
    fn sealed(&self, key: &DeviceKey, place: Place) -> Vec<u8> {
        let mut body = Vec::new();
        Reading {
            time: Micros(1_767_225_600_000_000 + place.seq as i64),
            flags: Flags::CLOCK_SYNCED,
            status: Status::GOOD,
            values: vec![20.0, 1000.0, 50.0],
        }
        .encode(&Profile::climate(), &mut body);
        let keys = SealingKeys { reading: key.reading(self.id, 1), nonce: key.nonce(self.id, 1) };
        seal(&keys, FrameType::Data, self.id, (place, 1, 1), &[3; 24], &body).0
    }

    fn send(&mut self, mut frame: Vec<u8>) {
        let tag = self.session.tag(Direction::Up, self.sent, &frame);
        self.sent += 1;
        frame.extend_from_slice(&tag);
        self.record.extend_from_slice(&frame);
        self.stream.write_all(&frame).unwrap();
    }

    /// Sends one reading as it should be, and waits until it is in custody.
    fn deliver(&mut self, key: &DeviceKey) {
        let frame = self.sealed(key, self.next);
        self.send(frame);
        self.next.seq += 1;
        while self.answer().expect("an ACK").custody.seq < self.next.seq {}
    }

    /// The next ACK; `None` when the ingress has closed.
    fn answer(&mut self) -> Option<Ack> {
        loop {
            let frame = next_frame(&mut self.stream, &mut self.decoder)?;
            if let Some(ack) = Ack::decode(&frame) {
                return Some(ack);
            }
        }
    }

    /// Sees the connection closed, whatever is said before.
    fn is_shown_out(&mut self) {
        while self.answer().is_some() {}
    }

    /// Sends and sees the connection closed.
    fn thrown_out_for(mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        assert!(self.answer().is_none(), "the connection goes on");
    }
}

#[test]
fn bad_frames_harm_nobody() {
    let system = System::start();
    let (key, other) = (system.key(1), system.key(2));
    let mut neighbour = Sensor::greet(&system, 2);
    neighbour.deliver(&other);

    // Strangers: no bytes in answer, the connection closed.
    let stranger = LinkKey(Secret::new([9; 32]));
    for hello in [
        greeting(SensorId(1), &stranger),
        greeting(SensorId(77), &stranger),
        b"GET / HTTP/1.1\r\nHost: vigia\r\n\r\n".to_vec(),
        vec![0; 600],
    ] {
        let mut stream = system.connect();
        stream.write_all(&hello).unwrap();
        assert!(next_frame(&mut stream, &mut Decoder::default()).is_none());
    }

    // A frame altered on the way, one that is too long, and one without a valid tag end the session.
    let sensor = Sensor::greet(&system, 1);
    let mut altered = sensor.sealed(&key, sensor.next);
    let tag = sensor.session.tag(Direction::Up, 0, &altered);
    altered[60] ^= 1;
    altered.extend_from_slice(&tag);
    sensor.thrown_out_for(&altered);
    let sensor = Sensor::greet(&system, 1);
    let mut oversized = sensor.sealed(&key, sensor.next);
    oversized[4..6].copy_from_slice(&5000u16.to_le_bytes());
    sensor.thrown_out_for(&oversized);

    // A recorded connection, played again: its greeting is genuine, its frames fit no new session.
    let mut sensor = Sensor::greet(&system, 1);
    sensor.deliver(&key);
    let record = sensor.record.clone();
    drop(sensor);
    let mut replay = system.connect();
    replay.write_all(&record).unwrap();
    let mut decoder = Decoder::default();
    let answers = std::iter::from_fn(|| next_frame(&mut replay, &mut decoder));
    let only_greeted =
        answers.map(|frame| frame.header.kind).all(|kind| kind == FrameType::Welcome);
    assert!(only_greeted, "an ACK, and not the end");

    // A frame cut short is waited for, not taken.
    let mut sensor = Sensor::greet(&system, 1);
    let whole = sensor.sealed(&key, sensor.next);
    sensor.stream.write_all(&whole[..100]).unwrap();
    drop(sensor);

    // In order, but not sealed with the sensor's key: journaled, and then kept in quarantine. What
    // follows in the same session is stored.
    let mut sensor = Sensor::greet(&system, 1);
    let foreign = sensor.sealed(&other, sensor.next);
    sensor.send(foreign);
    sensor.next.seq += 1;
    sensor.deliver(&key);
    neighbour.deliver(&other);

    let readings = system.settled(5);
    assert_eq!(readings["stored"], 4);
    assert_eq!(readings["quarantined"], 1);
    assert_eq!(readings["duplicate"], 0);
    assert_eq!(readings["lost"], 0);
}

#[test]
fn a_frame_out_of_place_is_refused_by_position_and_the_session_goes_on() {
    let system = System::start();
    let key = system.key(1);
    let mut sensor = Sensor::greet(&system, 1);
    sensor.deliver(&key);
    let ahead = sensor.sealed(&key, Place { stream: 1, seq: 40 });
    sensor.send(ahead);
    let refusal = loop {
        let frame = next_frame(&mut sensor.stream, &mut sensor.decoder).expect("REFUSE");
        if frame.header.kind == FrameType::Refuse {
            break frame;
        }
    };
    assert_eq!(refusal.header.place, sensor.next, "it names what it expects");
    sensor.deliver(&key);
    assert_eq!(system.settled(2)["stored"], 2);
}

#[test]
fn a_sensor_that_is_revoked_or_has_a_new_key_is_shown_out() {
    let system = System::start();
    let (key, other) = (system.key(1), system.key(2));
    let mut first = Sensor::greet(&system, 1);
    first.deliver(&key);
    let mut second = Sensor::greet(&system, 2);
    second.deliver(&other);
    system.site.vigia(&["sensor", "revoke", "1"]).succeeded();
    first.is_shown_out();
    second.deliver(&other);
    system.site.vigia(&["sensor", "rotate", "2"]).succeeded();
    second.is_shown_out();
}
