//! Device and ingress on one healthy connection, and what an attacker on the network can do to it: cut it.

use std::collections::HashMap;

use proptest::prelude::*;
use vigia_protocol::decoder::{Decoder, Frame};
use vigia_protocol::device::{Device, LinkError};
use vigia_protocol::header::{FrameType, Place, SensorId};
use vigia_protocol::held::Held;
use vigia_protocol::ingress::{Event, Grant, Ingress, SessionError};
use vigia_protocol::keys::{DeviceKey, Secret};
use vigia_protocol::limits::{
    ANSWER_WITHIN_MICROS, FRAME_WITHIN_MICROS, HELLO_WITHIN_MICROS, INGRESS_SILENCE_MICROS,
    MAX_UNAUTHENTICATED_BYTES, PING_AFTER_MICROS, WINDOW_FRAMES,
};
use vigia_protocol::time::Micros;

const SENSOR: SensorId = SensorId(7);

fn key() -> DeviceKey {
    DeviceKey(Secret::new([7; 32]))
}

fn device(readings: u64) -> Device {
    let mut device = Device::new(&key(), SENSOR, 1, Held::new(1 << 20));
    for number in 0..readings {
        let mut reading = [0; 24];
        reading[..8].copy_from_slice(&number.to_le_bytes());
        device.take(&reading);
    }
    device
}

/// Feeds a fresh ingress, whose journal is empty, and gives what it accepted.
fn serve(ingress: &mut Ingress, bytes: &[u8], nonce: u8) -> (Vec<Frame>, Result<(), SessionError>) {
    let mut accepted = Vec::new();
    let mut outcome = Ok(());
    // HELLO first: what comes with it must not be more than a stranger may send.
    let (hello, rest) = bytes.split_at(bytes.len().min(58));
    for part in [hello, rest] {
        if part.is_empty() || outcome.is_err() {
            continue;
        }
        outcome = ingress.receive(part, Micros(0));
        while let Some(event) = ingress.poll_event() {
            let answer = match event {
                Event::Claim { epoch, .. } => ingress.key(Some(key().link(SENSOR, epoch))),
                Event::Authentic { oldest, .. } => {
                    let grant = Grant::default().for_sensor_holding(oldest);
                    ingress.welcome(grant, [nonce; 16], Micros(0))
                }
                Event::Accepted(frame) => {
                    accepted.push(frame);
                    Ok(())
                }
                _ => Ok(()),
            };
            outcome = outcome.and(answer);
        }
    }
    (accepted, outcome)
}

/// A device with readings, sent and acknowledged: the bytes of both directions.
fn conversation(readings: u64) -> (Vec<u8>, Vec<u8>) {
    let mut device = device(readings);
    let mut ingress = Ingress::new(Micros(0));
    device.connected([1; 16], Micros(0));
    let mut up = device.poll_transmit().unwrap();
    serve(&mut ingress, &up, 1).1.unwrap();
    let mut down = ingress.poll_transmit().unwrap();
    device.receive(&down, Micros(0)).unwrap();
    for round in 0..3u8 {
        device.send(Micros(0), || [round; 24]);
        let Some(bytes) = device.poll_transmit() else { break };
        up.extend_from_slice(&bytes);
        ingress.receive(&bytes, Micros(0)).unwrap();
        let mut end = Place::default();
        while let Some(event) = ingress.poll_event() {
            if let Event::Accepted(frame) = event {
                let place = frame.header.place;
                end = Place { seq: place.seq + u64::from(frame.header.count), ..place };
            }
        }
        ingress.journaled(end, end, Micros(0));
        let bytes = ingress.poll_transmit().unwrap();
        device.receive(&bytes, Micros(0)).unwrap();
        down.extend_from_slice(&bytes);
        device.take(&[round; 24]);
    }
    (up, down)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn a_flipped_bit_ends_the_session_and_nothing_wrong_is_accepted(bit in any::<prop::sample::Index>()) {
        // The session's key depends on WELCOME, so the attacked stream is sent to the very same answers.
        let (up, down) = conversation(200);
        let (good, outcome) = serve(&mut Ingress::new(Micros(0)), &up, 1);
        prop_assert_eq!(outcome, Ok(()));
        prop_assert!(good.len() > 4);
        let at = bit.index(up.len() * 8);
        let mut flipped = up.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        let mut ingress = Ingress::new(Micros(0));
        let (accepted, outcome) = serve(&mut ingress, &flipped, 1);
        prop_assert!(accepted.len() < good.len() && accepted == good[..accepted.len()]);
        // A length that grew makes it wait for bytes that never come, but not for long.
        let late = ingress.check_time(Micros(FRAME_WITHIN_MICROS));
        prop_assert!(outcome.is_err() || late.is_err());

        let at = bit.index(down.len() * 8);
        let mut flipped = down;
        flipped[at / 8] ^= 1 << (at % 8);
        let mut device = device(200);
        device.connected([1; 16], Micros(0));
        let untouched = device.held().clone();
        let welcomed = at / 8 >= 100;
        let outcome = device.receive(&flipped, Micros(0));
        prop_assert!(welcomed || device.held() == &untouched, "WELCOME was changed and believed");
        prop_assert!(outcome.is_err() || device.check_time(Micros(ANSWER_WITHIN_MICROS)).is_err() || welcomed);
    }
}

#[test]
fn a_recorded_conversation_opens_nothing_at_either_end() {
    let (up, down) = conversation(200);
    // The ingress answers with another nonce this time.
    let (accepted, outcome) = serve(&mut Ingress::new(Micros(0)), &up, 2);
    assert!(accepted.is_empty());
    assert!(matches!(outcome, Err(SessionError::Wire(_))));
    // And the device greets with another.
    let mut device = device(200);
    let before = device.held().clone();
    device.connected([9; 16], Micros(0));
    assert!(device.receive(&down, Micros(0)).is_err());
    assert_eq!(device.held(), &before);
    assert!(device.poll_changes().iter().all(|change| format!("{change:?}").starts_with("Taken")));
}

#[test]
fn the_window_holds_at_both_ends_through_acks_and_busy() {
    let window = usize::from(WINDOW_FRAMES);
    let mut device = Device::new(&key(), SENSOR, 1, Held::new(1 << 20));
    let mut ingress = Ingress::new(Micros(0));
    device.connected([1; 16], Micros(0));
    let hello = device.poll_transmit().unwrap();
    serve(&mut ingress, &hello, 1).1.unwrap();
    device.receive(&ingress.poll_transmit().unwrap(), Micros(0)).unwrap();
    // One frame for each reading.
    for _ in 0..4 * window {
        device.take(&[0; 24]);
        device.send(Micros(0), || [0; 24]);
    }
    let mut frames = Decoder::default();
    let mut seen = HashMap::new();
    let mut random = 0;
    let mut fresh = || {
        random += 1;
        [random as u8; 24]
    };
    let mut pass = |device: &mut Device, ingress: &mut Ingress| {
        let bytes = device.poll_transmit().unwrap_or_default();
        frames.push(&bytes);
        let mut sent = 0;
        while let Some(frame) = frames.next_frame().unwrap() {
            let seq = frame.header.place.seq;
            let first = seen.entry(seq).or_insert_with(|| frame.untagged().to_vec());
            assert!(first == frame.untagged(), "frame {seq} was sent again, but not as it was");
            sent += 1;
        }
        ingress.receive(&bytes, Micros(0)).unwrap();
        let refused = std::iter::from_fn(|| ingress.poll_event())
            .filter(|event| matches!(event, Event::Refused(_)))
            .count();
        assert!(ingress.under_way() <= window);
        (sent, refused)
    };
    let place = |seq| Place { stream: 1, seq };
    assert_eq!(pass(&mut device, &mut ingress), (window, 0));
    // Ten are journaled, the hundredth finds the journal busy: those between are still under way.
    ingress.journaled(place(11), Place::default(), Micros(0));
    ingress.turned_away(place(100), Some(10));
    assert_eq!(ingress.under_way(), 89);
    device.receive(&ingress.poll_transmit().unwrap(), Micros(0)).unwrap();
    assert_eq!(device.held().custody(), 11);
    device.send(Micros(0), &mut fresh);
    assert!(device.poll_transmit().is_none(), "it was told to pause");
    device.send(Micros(10_000), &mut fresh);
    assert_eq!(pass(&mut device, &mut ingress), (window - 89, 0));
    ingress.journaled(place(100), Place::default(), Micros(0));
    device.receive(&ingress.poll_transmit().unwrap(), Micros(0)).unwrap();
    device.send(Micros(10_000), &mut fresh);
    let (sent, refused) = pass(&mut device, &mut ingress);
    assert!(sent > 0 && refused == 0);
}

#[test]
fn a_session_whose_journal_moved_takes_nothing_more() {
    let mut device = device(10);
    let mut ingress = Ingress::new(Micros(0));
    device.connected([1; 16], Micros(0));
    let hello = device.poll_transmit().unwrap();
    serve(&mut ingress, &hello, 1).1.unwrap();
    device.receive(&ingress.poll_transmit().unwrap(), Micros(0)).unwrap();
    device.send(Micros(0), || [0; 24]);
    ingress.receive(&device.poll_transmit().unwrap(), Micros(0)).unwrap();
    ingress.turned_away(Place { stream: 1, seq: 5 }, None);
    assert_eq!(
        device.receive(&ingress.poll_transmit().unwrap(), Micros(0)),
        Err(LinkError::Refused)
    );
    assert_eq!(ingress.check_time(Micros(0)), Err(SessionError::Moved));
    assert_eq!(ingress.receive(&[], Micros(0)), Err(SessionError::Moved));
    assert!(ingress.deadline() < Micros(0));
}

#[test]
fn readings_of_two_profiles_never_share_a_frame() {
    let mut device = device(3);
    for _ in 0..3 {
        device.take(&[0; 40]);
    }
    device.connected([1; 16], Micros(0));
    let mut ingress = Ingress::new(Micros(0));
    let hello = device.poll_transmit().unwrap();
    serve(&mut ingress, &hello, 1).1.unwrap();
    device.receive(&ingress.poll_transmit().unwrap(), Micros(0)).unwrap();
    device.send(Micros(0), || [0; 24]);
    let mut decoder = Decoder::default();
    decoder.push(&device.poll_transmit().unwrap());
    let shapes: Vec<_> = std::iter::from_fn(|| decoder.next_frame().unwrap())
        .map(|frame| (frame.header.kind, frame.header.count, frame.header.reading_bytes()))
        .collect();
    assert_eq!(shapes, [(FrameType::Data, 3, Some(24)), (FrameType::Data, 3, Some(40))]);
}

#[test]
fn strangers_and_the_slow_are_shown_out() {
    let fresh = || Ingress::new(Micros(0));
    let hello = {
        let mut device = device(0);
        device.connected([1; 16], Micros(0));
        device.poll_transmit().unwrap()
    };
    let with_key = |ingress: &mut Ingress, key| {
        ingress.receive(&hello, Micros(0)).unwrap();
        assert!(matches!(ingress.poll_event(), Some(Event::Claim { .. })));
        ingress.key(key)
    };
    let wrong = DeviceKey(Secret::new([8; 32])).link(SENSOR, 1);
    assert_eq!(with_key(&mut fresh(), None), Err(SessionError::NotAuthentic));
    assert_eq!(with_key(&mut fresh(), Some(wrong)), Err(SessionError::NotAuthentic));
    assert_eq!(with_key(&mut fresh(), Some(key().link(SENSOR, 1))), Ok(()));

    let mut ingress = fresh();
    let flood = vec![b'V'; MAX_UNAUTHENTICATED_BYTES + 1];
    assert_eq!(ingress.receive(&flood, Micros(0)), Err(SessionError::NoGreeting));
    assert!(fresh().check_time(Micros(HELLO_WITHIN_MICROS - 1)).is_ok());
    assert!(fresh().check_time(Micros(HELLO_WITHIN_MICROS)).is_err());

    let mut open = fresh();
    serve(&mut open, &hello, 1).1.unwrap();
    assert_eq!(open.deadline(), Micros(INGRESS_SILENCE_MICROS));
    assert!(open.check_time(Micros(INGRESS_SILENCE_MICROS)).is_err());
    open.receive(b"V", Micros(7)).unwrap();
    assert_eq!(open.deadline(), Micros(7 + FRAME_WITHIN_MICROS));
}

#[test]
fn a_quiet_device_pings_and_a_silent_ingress_is_given_up() {
    let mut device = device(0);
    let mut ingress = Ingress::new(Micros(0));
    device.connected([1; 16], Micros(0));
    assert_eq!(device.deadline(), Micros(ANSWER_WITHIN_MICROS));
    let hello = device.poll_transmit().unwrap();
    serve(&mut ingress, &hello, 1).1.unwrap();
    device.receive(&ingress.poll_transmit().unwrap(), Micros(0)).unwrap();
    for minute in 0..5 {
        let now = Micros(minute * 60_000_000 + PING_AFTER_MICROS);
        device.check_time(now).unwrap();
        ingress.receive(&device.poll_transmit().unwrap(), now).unwrap();
        device.receive(&ingress.poll_transmit().unwrap(), now).unwrap();
        assert_eq!(device.deadline(), Micros(now.0 + PING_AFTER_MICROS));
    }
    let now = device.deadline();
    device.check_time(now).unwrap();
    assert_eq!(device.deadline(), Micros(now.0 + PING_AFTER_MICROS));
    assert_eq!(device.check_time(Micros(now.0 + ANSWER_WITHIN_MICROS)), Err(LinkError::Silence));
}
