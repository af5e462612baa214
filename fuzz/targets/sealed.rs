//! `sealed::open`: raw frames, and boxes that open with chosen contents.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigia_fuzz::{Choices, SENSOR, key};
use vigia_protocol::decoder::Frame;
use vigia_protocol::header::{FrameType, Place};
use vigia_protocol::sealed::{Opened, SealingKeys, open, seal};

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices(data);
    let reading = key().reading(SENSOR, 1);
    if choices.byte() % 2 == 0 {
        if let Ok(frame) = Frame::parse(choices.0) {
            let _ = open(&reading, &frame);
        }
        return;
    }
    let kind = if choices.byte() % 2 == 0 { FrameType::Data } else { FrameType::Gap };
    let place = Place { stream: choices.number() as u32, seq: choices.number() };
    let count = choices.number() as u16;
    let flip = choices.number() as usize;
    let body = choices.bytes(3900);
    let keys = SealingKeys { reading: reading.clone(), nonce: key().nonce(SENSOR, 1) };
    let (mut bytes, _) = seal(&keys, kind, SENSOR, (place, count, 1), &[8; 24], body);
    bytes.extend_from_slice(&[0; 16]);
    let Ok(frame) = Frame::parse(&bytes) else { return };
    match open(&reading, &frame) {
        Ok(Opened::Readings { bytes, each }) => {
            assert_eq!(bytes, body);
            assert_eq!(bytes.len(), each * usize::from(count));
        }
        Ok(Opened::Gap(reason)) => assert_eq!((reason as u16).to_le_bytes(), body),
        Err(error) => assert_eq!(error.to_string(), "bad-body"),
    }
    // Any flipped bit shows, but in the link tag, which is not this key's.
    let at = flip % ((bytes.len() - 16) * 8);
    bytes[at / 8] ^= 1 << (at % 8);
    if let Ok(frame) = Frame::parse(&bytes) {
        assert!(open(&reading, &frame).is_err());
    }
});
