//! An ingress session: raw bytes, and whatever a sensor with a good key may send.
//!
//! Nothing is accepted but the next frame under a good tag, and the window holds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigia_fuzz::{Choices, SENSOR, key};
use vigia_protocol::decoder::Frame;
use vigia_protocol::header::{FrameType, Header, Place, SEALED_OVERHEAD};
use vigia_protocol::ingress::{Event, Grant, Ingress};
use vigia_protocol::keys::{Direction, SessionKey};
use vigia_protocol::limits::WINDOW_FRAMES;
use vigia_protocol::message::Hello;
use vigia_protocol::time::Micros;

/// A header that fits together, with a chosen body.
fn frame(choices: &mut Choices<'_>, next: Place) -> Vec<u8> {
    let kind = [FrameType::Data, FrameType::Data, FrameType::Gap, FrameType::Ping, FrameType::Ack]
        [usize::from(choices.byte() % 5)];
    let count = match kind {
        FrameType::Data => u16::from(choices.byte() % 28) + 1,
        FrameType::Gap => (choices.number() as u16).max(1),
        _ => 0,
    };
    let each = 16 + usize::from(choices.byte() % 125);
    let length = kind.fixed_length().unwrap_or(SEALED_OVERHEAD + each * usize::from(count));
    let place = match choices.byte() % 4 {
        0 => Place { stream: choices.number() as u32, seq: choices.number() },
        _ => next,
    };
    let epoch = 1 + u16::from(choices.byte() % 8 == 0);
    let length = length as u16;
    let mut bytes = Header { kind, length, sensor: SENSOR, epoch, count, place }.encode().to_vec();
    bytes.extend_from_slice(choices.bytes(24));
    bytes.resize(usize::from(length) - 16, 0);
    bytes
}

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let mut now = Micros(choices.number() as i64);
    let mut ingress = Ingress::new(now);
    if choices.byte() % 4 == 0 {
        while !choices.is_empty() {
            let length = usize::from(choices.byte());
            let chunk = choices.bytes(length);
            if ingress.receive(chunk, now).is_err() {
                return;
            }
            while let Some(event) = ingress.poll_event() {
                match event {
                    Event::Claim { sensor, epoch } => {
                        if ingress.key(Some(key().link(sensor, epoch))).is_err() {
                            return;
                        }
                    }
                    Event::Authentic { .. } => return,
                    event => panic!("{event:?} before a greeting"),
                }
            }
        }
        return;
    }
    let oldest = Place { stream: choices.number() as u32, seq: choices.number() };
    let link = key().link(SENSOR, 1);
    let mut hello =
        Hello { sensor: SENSOR, epoch: 1, oldest, nonce: [1; 16], lowest: 1, highest: 1 }.encode();
    hello.extend_from_slice(&link.hello_tag(&hello));
    ingress.receive(&hello, now).expect("a good greeting");
    ingress.poll_event().expect("a claim");
    ingress.key(Some(link.clone())).expect("a good key");
    let stands = Place { stream: choices.number() as u32, seq: choices.number() };
    let journal = Grant { next: stands, last_nonce: [3; 24], stored: choices.number() };
    let grant = journal.for_sensor_holding(oldest);
    if ingress.welcome(grant, [2; 16], now).is_err() {
        return;
    }
    let welcome = ingress.poll_transmit().expect("a welcome");
    let session: SessionKey = link.session(&hello, &welcome);
    let (mut sent, mut next) = (0u64, grant.next);
    assert!(matches!(ingress.poll_event(), Some(Event::Authentic { .. })));
    while !choices.is_empty() {
        match choices.byte() % 8 {
            0 => ingress.journaled(
                Place { stream: next.stream, seq: choices.number() },
                Place { stream: next.stream, seq: choices.number() },
                now,
            ),
            1 => {
                let back = Place { stream: grant.next.stream, seq: choices.number() };
                ingress.turned_away(back, (choices.byte() % 2 == 0).then_some(choices.number() as u32));
                next = back;
            }
            2 => {
                now = Micros(choices.number() as i64);
                if ingress.check_time(now).is_err() {
                    return;
                }
            }
            tag => {
                let mut bytes = frame(&mut choices, next);
                let header = Frame::parse(&[&bytes[..], &[0; 16]].concat()).expect("fits together").header;
                let mut tag_bytes = session.tag(Direction::Up, sent, &bytes);
                let good = tag != 3;
                tag_bytes[0] ^= u8::from(!good);
                bytes.extend_from_slice(&tag_bytes);
                sent += 1;
                let outcome = ingress.receive(&bytes, now);
                while let Some(event) = ingress.poll_event() {
                    if let Event::Accepted(frame) = event {
                        assert!(good && frame.bytes == bytes && header.place == next);
                        let _ = journal.judge(header.place, &ingress.comes_after(&frame));
                        next.seq += u64::from(header.count);
                    }
                }
                if outcome.is_err() {
                    return;
                }
                assert!(good, "a bad tag goes on");
            }
        }
        assert!(ingress.under_way() <= usize::from(WINDOW_FRAMES));
        let _ = (ingress.deadline(), ingress.poll_transmit());
        let _: usize = std::iter::from_fn(|| ingress.poll_event()).count();
    }
});
