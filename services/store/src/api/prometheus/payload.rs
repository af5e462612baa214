//! Protocol buffers: a request in one block of snappy; an answer likewise, or in frames.

use std::io;

use crc::{CRC_32_ISCSI, Crc};
use futures_util::stream;
use poem::Body;
use poem_openapi::payload::Binary;
use poem_openapi::{ApiRequest, ApiResponse, ResponseContent};
use prost::Message;

use super::wire::{ChunkedReadResponse, ReadRequest};
use crate::api::problem::Problem;
use crate::limits::PROMETHEUS_REQUEST_BYTES;

const CASTAGNOLI: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// A ReadRequest, as one block of snappy.
#[derive(Debug, ApiRequest)]
pub enum Asked {
    /// As said.
    #[oai(content_type = "application/x-protobuf")]
    Snappy(Binary<Vec<u8>>),
}

/// What was asked for.
#[derive(Debug, ApiResponse)]
pub enum Answer {
    /// Series; with samples it is encoded as `snappy`.
    #[oai(status = 200)]
    Ok(Series, #[oai(header = "Content-Encoding")] Option<String>),
}

/// Series in one of two forms.
#[derive(Debug, ResponseContent)]
pub enum Series {
    /// A ReadResponse with samples, as one block of snappy.
    #[oai(content_type = "application/x-protobuf", actual_type = "Binary<Vec<u8>>")]
    Samples(Binary<Vec<u8>>),
    /// ChunkedReadResponses, each with its length as a varint and its CRC-32C in four bytes before it.
    #[oai(
        content_type = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
        actual_type = "Binary<Vec<u8>>"
    )]
    Chunks(Binary<Body>),
}

impl Asked {
    /// The request in it.
    pub fn request(&self) -> Result<ReadRequest, Problem> {
        let Self::Snappy(Binary(block)) = self;
        let bad = |what: &str| Problem::bad_request(format!("the body is {what}"));
        let not_snappy = || bad("no block of snappy, expected a ReadRequest in one");
        let length = snap::raw::decompress_len(block).map_err(|_| not_snappy())?;
        if length > PROMETHEUS_REQUEST_BYTES {
            return Err(bad(&format!(
                "a request of {length} bytes, expected at most {PROMETHEUS_REQUEST_BYTES}"
            )));
        }
        let message = snap::raw::Decoder::new().decompress_vec(block).map_err(|_| not_snappy())?;
        ReadRequest::decode(message.as_slice())
            .map_err(|_| bad("no ReadRequest of Prometheus's remote read protocol"))
    }
}

impl Answer {
    /// Compresses a message.
    pub fn compress(message: &[u8]) -> Result<Self, Problem> {
        let block = snap::raw::Encoder::new().compress_vec(message);
        let block = block.map_err(|_| Problem::internal())?;
        Ok(Self::Ok(Series::Samples(Binary(block)), Some("snappy".to_owned())))
    }

    /// A frame for each.
    pub fn frames(responses: Vec<ChunkedReadResponse>) -> Self {
        let frames = responses.into_iter().map(|response| Ok::<_, io::Error>(frame(&response)));
        Self::Ok(Series::Chunks(Binary(Body::from_bytes_stream(stream::iter(frames)))), None)
    }
}

fn frame(response: &ChunkedReadResponse) -> Vec<u8> {
    let message = response.encode_to_vec();
    let mut frame = Vec::with_capacity(message.len() + 9);
    prost::encoding::encode_varint(message.len() as u64, &mut frame);
    frame.extend_from_slice(&CASTAGNOLI.checksum(&message).to_be_bytes());
    frame.extend_from_slice(&message);
    frame
}
