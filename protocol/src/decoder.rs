//! Cuts a stream of bytes into frames, however the network cut it before.

use crate::header::{Header, TAG_BYTES, WireError};
use crate::limits::HEADER_BYTES;

/// A whole frame, its header decoded. What its tag or box says is not yet known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The decoded header.
    pub header: Header,
    /// All bytes, header and tag included.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// Takes exactly one whole frame.
    ///
    /// # Errors
    /// A header error, or `bad-length` if `bytes` is not one frame.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let head = bytes.first_chunk::<HEADER_BYTES>().ok_or(WireError::BadLength)?;
        let header = Header::decode(head)?;
        if usize::from(header.length) != bytes.len() {
            return Err(WireError::BadLength);
        }
        Ok(Self { header, bytes: bytes.to_vec() })
    }

    /// Everything but the tag.
    pub fn untagged(&self) -> &[u8] {
        &self.bytes[..self.bytes.len() - TAG_BYTES]
    }

    /// The last 16 bytes.
    pub fn tag(&self) -> &[u8] {
        &self.bytes[self.bytes.len() - TAG_BYTES..]
    }

    /// What stands between header and tag.
    pub fn body(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..self.bytes.len() - TAG_BYTES]
    }
}

/// Collects bytes and gives whole frames. It never holds more than one incomplete frame and what
/// one call to [`Decoder::push`] brought.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    consumed: usize,
}

impl Decoder {
    /// Adds what the network brought.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// A header error, as soon as the header is there. The stream has no meaning after it.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, WireError> {
        let rest = &self.buffer[self.consumed..];
        let Some(head) = rest.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = Header::decode(head)?;
        let length = usize::from(header.length);
        let Some(bytes) = rest.get(..length) else {
            return Ok(None);
        };
        let frame = Frame { header, bytes: bytes.to_vec() };
        self.consumed += length;
        Ok(Some(frame))
    }

    /// Bytes of a frame that has begun and is not complete.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.consumed
    }
}
