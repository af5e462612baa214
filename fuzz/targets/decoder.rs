//! Any bytes, cut anyhow: the same frames or the same error as in one piece, and frames as they came.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigia_protocol::decoder::{Decoder, Frame};
use vigia_protocol::header::WireError;

fn decode<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<WireError>) {
    let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
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

fuzz_target!(|data: &[u8]| {
    let Some((size, bytes)) = data.split_first() else { return };
    let whole = decode(std::iter::once(bytes));
    assert_eq!(decode(bytes.chunks(usize::from(*size) + 1)), whole);
    let mut at = 0;
    for frame in &whole.0 {
        assert_eq!(frame.header.encode(), frame.bytes[..24]);
        assert_eq!(frame.bytes, bytes[at..at + frame.bytes.len()]);
        assert_eq!(Frame::parse(&frame.bytes).as_ref(), Ok(frame));
        at += frame.bytes.len();
    }
});
