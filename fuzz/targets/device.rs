//! A sensor against any ingress: raw bytes, and whatever one with the good key may say.
//!
//! Nothing is forgotten that was not both taken into custody and stored, and what its disk was told
//! makes its memory again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigia_fuzz::{Choices, SENSOR, key};
use vigia_protocol::device::Device;
use vigia_protocol::header::{FrameType, Place};
use vigia_protocol::held::{Change, Held};
use vigia_protocol::keys::{Direction, SessionKey};
use vigia_protocol::message::{Ack, RefuseReason, Welcome, encode_busy, encode_empty, encode_refuse};
use vigia_protocol::sealed::nonce_of;
use vigia_protocol::time::Micros;

const BOUND: usize = 40 * 24;

struct Talk {
    device: Device,
    durable: Vec<Change>,
    session: Option<SessionKey>,
    said: u64,
    /// Nonces and ends of the frames that were seen.
    seen: Vec<([u8; 24], u64)>,
}

impl Talk {
    /// What the device sends now; its HELLO if it was connected.
    fn pump(&mut self, now: Micros, random: u8) -> Vec<u8> {
        self.device.send(now, || [random; 24]);
        self.durable.extend(self.device.poll_changes());
        let again = Held::replay(BOUND, self.durable.iter().cloned()).expect("a history");
        let mut held = self.device.held().clone();
        held.reset_custody(0);
        assert!(again == held);
        let bytes = self.device.poll_transmit().unwrap_or_default();
        let mut rest = &bytes[..];
        while rest.len() >= 24 {
            let (frame, tail) = rest.split_at(usize::from(u16::from_le_bytes([rest[4], rest[5]])));
            if frame[3] == 3 || frame[3] == 4 {
                let count = u64::from(u16::from_le_bytes([frame[10], frame[11]]));
                let seq = u64::from_le_bytes(frame[16..24].try_into().expect("eight"));
                self.seen.push((nonce_of(frame), seq + count));
            }
            rest = tail;
        }
        bytes
    }

    fn place(&self, choices: &mut Choices<'_>) -> Place {
        let held = self.device.held();
        let stream = if choices.byte() % 8 == 0 { choices.number() as u32 } else { held.oldest().stream };
        let near = held.oldest().seq + u64::from(choices.byte()) % (held.len() + 2);
        Place { stream, seq: if choices.byte() % 4 == 0 { choices.number() } else { near } }
    }

    fn hear(&mut self, bytes: &[u8], now: Micros) {
        let before = self.device.held().oldest();
        if self.device.receive(bytes, now).is_err() {
            self.device.disconnected();
            self.session = None;
        }
        let after = self.device.held();
        let forgot = after.oldest().stream == before.stream && after.oldest().seq > before.seq;
        assert!(!forgot || after.oldest().seq <= after.custody());
    }
}

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let mut now = Micros(choices.number() as i64);
    let mut talk = Talk {
        device: Device::new(&key(), SENSOR, 1, Held::new(BOUND)),
        durable: Vec::new(),
        session: None,
        said: 0,
        seen: Vec::new(),
    };
    while !choices.is_empty() {
        match choices.byte() % 8 {
            0 => {
                for _ in 0..choices.byte() % 16 {
                    talk.device.take(&[choices.byte(); 24]);
                }
            }
            1 => {
                talk.device.connected([choices.byte(); 16], now);
                let hello = talk.pump(now, 1);
                let next = talk.place(&mut choices);
                let (last_nonce, next) = match talk.seen.get(usize::from(choices.byte())) {
                    Some((nonce, end)) => (*nonce, Place { seq: *end, ..next }),
                    None => ([0; 24], next),
                };
                let stored = choices.number();
                let window = u16::from(choices.byte() % 32);
                let mut welcome = Welcome {
                    sensor: SENSOR,
                    epoch: 1,
                    next,
                    nonce: [4; 16],
                    version: 1,
                    window,
                    stored,
                    last_nonce,
                    time: 0,
                }
                .encode();
                let link = key().link(SENSOR, 1);
                welcome.extend_from_slice(&link.welcome_tag(&hello, &welcome));
                talk.session = Some(link.session(&hello, &welcome));
                talk.said = 0;
                talk.hear(&welcome, now);
            }
            2 => {
                let length = usize::from(choices.byte());
                let bytes = choices.bytes(length);
                talk.hear(bytes, now);
            }
            3 => {
                now = Micros(choices.number() as i64);
                let _ = talk.device.deadline();
                if talk.device.check_time(now).is_err() {
                    talk.device.disconnected();
                    talk.session = None;
                }
            }
            _ => {
                let Some(session) = talk.session.clone() else { continue };
                let place = talk.place(&mut choices);
                let mut bytes = match choices.byte() % 6 {
                    0 => encode_busy(SENSOR, 1, place, choices.number() as u32),
                    1 => encode_refuse(SENSOR, 1, place, RefuseReason::Position),
                    2 => encode_empty(FrameType::Pong, SENSOR, 1),
                    _ => Ack { custody: place, stored: choices.number(), time: 0 }.encode(SENSOR, 1),
                };
                bytes.extend_from_slice(&session.tag(Direction::Down, talk.said, &bytes));
                talk.said += 1;
                talk.hear(&bytes, now);
            }
        }
        talk.pump(now, choices.byte());
    }
});
