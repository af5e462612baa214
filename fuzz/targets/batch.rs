//! Raw and verified batches and markers: what decodes encodes to what decodes to the same, heads agree.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigia_protocol::batch::{
    Marker, Message, RawFrames, VerifiedFrames, decode, decode_borrowed, decode_head, encode,
};
use vigia_protocol::decoder::Frame;
use vigia_protocol::limits::text_bound;

fuzz_target!(|data: &[u8]| {
    let head = decode_head(data);
    if let Ok(message) = decode_borrowed::<Message<RawFrames<'_>>>(data) {
        assert_eq!(decode_borrowed::<Message<RawFrames<'_>>>(&encode(&message)).as_ref(), Ok(&message));
        match &message {
            Message::Batch(whole, frames) => {
                assert_eq!(head, Ok(Some(*whole)));
                for frame in frames {
                    let count = Frame::parse(frame.bytes).map_or(1, |frame| frame.header.count);
                    let _ = text_bound(frame.bytes.len(), count);
                }
            }
            Message::Marker(_) => assert_eq!(head, Ok(None)),
        }
    }
    if let Ok(message) = decode_borrowed::<Message<VerifiedFrames<'_>>>(data) {
        assert_eq!(decode_borrowed::<Message<VerifiedFrames<'_>>>(&encode(&message)).as_ref(), Ok(&message));
        if let Message::Batch(whole, _) = message {
            assert_eq!(head, Ok(Some(whole)));
        }
    }
    let _ = decode::<Marker>(data);
});
