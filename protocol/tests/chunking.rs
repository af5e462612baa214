//! However the network cuts the stream, the same frames come out of it, or the same error.

use proptest::prelude::*;
use vigia_protocol::decoder::{Decoder, Frame};
use vigia_protocol::header::{FrameType, Header, Place, SEALED_OVERHEAD, SensorId, WireError};
use vigia_protocol::limits::HEADER_BYTES;

/// Everything a decoder makes of these chunks.
fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<WireError>) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// `bytes`, cut wherever `cuts` has a bit.
fn chunks(bytes: &[u8], cuts: u64) -> Vec<&[u8]> {
    let mut chunks = Vec::new();
    let mut from = 0;
    for at in 1..bytes.len() {
        if cuts >> (at - 1) & 1 == 1 {
            chunks.push(&bytes[from..at]);
            from = at;
        }
    }
    chunks.push(&bytes[from..]);
    chunks
}

/// Feeds one cut at every place, two at every pair of places, and every byte alone.
fn every_chunking(bytes: &[u8], expected: &(Vec<Frame>, Option<WireError>)) {
    assert_eq!(decode([bytes]), *expected);
    assert_eq!(decode(bytes.chunks(1)), *expected, "byte by byte");
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            let parts = [&bytes[..first], &bytes[first..second], &bytes[second..]];
            assert_eq!(decode(parts), *expected, "cut at {first} and {second}");
        }
    }
}

fn frame(kind: FrameType, count: u16, each: usize, seq: u64) -> Vec<u8> {
    let length = kind.fixed_length().unwrap_or(SEALED_OVERHEAD + each * usize::from(count));
    let count = if matches!(kind, FrameType::Data | FrameType::Gap) { count } else { 0 };
    let place = Place { stream: 1, seq };
    let length = u16::try_from(length).unwrap();
    let mut bytes =
        Header { kind, length, sensor: SensorId(-3), epoch: 1, count, place }.encode().to_vec();
    bytes.resize(usize::from(length), seq as u8);
    bytes
}

#[test]
fn every_chunking_of_short_streams_gives_the_same_frames() {
    let streams = [
        [frame(FrameType::Ping, 0, 0, 0), frame(FrameType::Ack, 0, 0, 9)].concat(),
        [frame(FrameType::Data, 1, 16, 5), frame(FrameType::Pong, 0, 0, 0)].concat(),
        [frame(FrameType::Hello, 0, 0, 1), frame(FrameType::Gap, 65535, 0, 77)].concat(),
    ];
    for stream in streams {
        let expected = decode([&stream[..]]);
        assert_eq!((expected.0.len(), expected.1), (2, None));
        assert_eq!(
            expected.0.iter().flat_map(|frame| frame.bytes.clone()).collect::<Vec<_>>(),
            stream
        );
        every_chunking(&stream, &expected);
    }
}

#[test]
fn all_the_cuts_of_a_bad_header_name_the_same_error() {
    let good = frame(FrameType::Ping, 0, 0, 0);
    for (at, byte, error) in [
        (0, b'X', WireError::BadMagic),
        (2, 9, WireError::BadVersion),
        (3, 77, WireError::BadType),
        (4, 41, WireError::BadLength),
        (10, 1, WireError::BadCount),
    ] {
        let mut bytes = good.clone();
        bytes[at] = byte;
        every_chunking(&bytes, &(Vec::new(), Some(error)));
    }
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop_oneof![
        Just(FrameType::Ping),
        Just(FrameType::Ack),
        Just(FrameType::Gap),
        Just(FrameType::Welcome),
        Just(FrameType::Data),
        Just(FrameType::Data),
    ];
    (kinds, 1..=28u16, 16..=140usize, any::<u64>())
        .prop_map(|(kind, count, each, seq)| frame(kind, count, each, seq))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn any_chunking_of_long_streams_gives_the_same_frames(
        frames in prop::collection::vec(any_frame(), 1..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let bytes = frames.concat();
        let mut at: Vec<usize> = cuts.iter().map(|index| index.index(bytes.len())).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let parts: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let (decoded, error) = decode(parts);
        prop_assert_eq!(error, None);
        let decoded: Vec<Vec<u8>> = decoded.into_iter().map(|frame| frame.bytes).collect();
        prop_assert_eq!(decoded, frames);
    }

    #[test]
    fn garbage_gives_the_same_error_however_it_is_cut(
        before in prop::collection::vec(any_frame(), 0..3),
        mut garbage in prop::collection::vec(any::<u8>(), 0..60),
        likely in 0..4usize,
        cuts in any::<u64>(),
    ) {
        // The more of a good header it begins with, the later it is found out.
        let good = b"VG\x01\x03";
        let known = likely.min(garbage.len());
        garbage[..known].copy_from_slice(&good[..known]);
        let bytes = [before.concat(), garbage.clone()].concat();
        let whole = decode([&bytes[..]]);
        let start = bytes.len() - garbage.len();
        let parts = [vec![&bytes[..start]], chunks(&bytes[start..], cuts)].concat();
        prop_assert_eq!(&decode(parts), &whole);
        prop_assert_eq!(&decode(bytes.chunks(1)), &whole);
        // It is named as soon as the header is there.
        if let Some(error) = whole.1 {
            let good: usize = whole.0.iter().map(|frame| frame.bytes.len()).sum();
            prop_assert_eq!(decode([&bytes[..good + HEADER_BYTES]]).1, Some(error));
            prop_assert_eq!(decode([&bytes[..good + HEADER_BYTES - 1]]).1, None);
        }
    }

    #[test]
    fn what_is_decoded_encodes_to_the_same_header(bytes in any::<[u8; HEADER_BYTES]>(), magic in any::<bool>()) {
        let mut bytes = bytes;
        if magic {
            bytes[..3].copy_from_slice(b"VG\x01");
            bytes[3] %= 10;
        }
        if let Ok(header) = Header::decode(&bytes) {
            prop_assert_eq!(header.encode(), bytes);
        }
    }
}
