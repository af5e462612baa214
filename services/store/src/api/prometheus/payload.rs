//! Protocol buffers in one block of snappy: body of the request and of the answer.

use poem_openapi::payload::Binary;
use poem_openapi::{ApiRequest, ApiResponse};
use prost::Message;

use super::wire::ReadRequest;
use crate::api::problem::Problem;
use crate::limits::PROMETHEUS_REQUEST_BYTES;

/// A ReadRequest, as one block of snappy.
#[derive(Debug, ApiRequest)]
pub enum Asked {
    /// As said.
    #[oai(content_type = "application/x-protobuf")]
    Snappy(Binary<Vec<u8>>),
}

/// A ReadResponse, as one block of snappy.
#[derive(Debug, ApiResponse)]
pub enum Answer {
    /// A ReadResponse with samples, as one block of snappy.
    #[oai(status = 200, content_type = "application/x-protobuf")]
    Snappy(Binary<Vec<u8>>, #[oai(header = "Content-Encoding")] String),
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
        Ok(Self::Snappy(Binary(block), "snappy".to_owned()))
    }
}
