//! The messages of Prometheus's remote read protocol, as its `prompb/remote.proto` and `types.proto` number
//! them. Fields that mean nothing here are left out: whoever decodes passes over them.

use prost::Message;

/// What Prometheus asks.
#[derive(Clone, PartialEq, Message)]
pub struct ReadRequest {
    /// Answered in this order.
    #[prost(message, repeated, tag = "1")]
    pub queries: Vec<Query>,
    /// What it understands; nothing is [`SAMPLES`].
    #[prost(int32, repeated, tag = "2")]
    pub accepted_response_types: Vec<i32>,
}

/// The response type that every Prometheus understands.
pub const SAMPLES: i32 = 0;
/// Frames, each a [`ChunkedReadResponse`]: less to hold for who reads it.
pub const STREAMED_XOR_CHUNKS: i32 = 1;

/// Series within a time.
#[derive(Clone, PartialEq, Message)]
pub struct Query {
    /// The first moment, in milliseconds since 1970.
    #[prost(int64, tag = "1")]
    pub start_timestamp_ms: i64,
    /// The last.
    #[prost(int64, tag = "2")]
    pub end_timestamp_ms: i64,
    /// All must match.
    #[prost(message, repeated, tag = "3")]
    pub matchers: Vec<LabelMatcher>,
    /// What becomes of the samples.
    #[prost(message, optional, tag = "4")]
    pub hints: Option<ReadHints>,
}

/// A condition on one label.
#[derive(Clone, PartialEq, Message)]
pub struct LabelMatcher {
    /// 0 to 3: equal, not equal, matches the regular expression, does not.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// The label.
    #[prost(string, tag = "2")]
    pub name: String,
    /// A value or an expression.
    #[prost(string, tag = "3")]
    pub value: String,
}

/// What PromQL will do with a selector.
#[derive(Clone, PartialEq, Message)]
pub struct ReadHints {
    /// Milliseconds between evaluations.
    #[prost(int64, tag = "1")]
    pub step_ms: i64,
    /// The function or aggregation around the selector.
    #[prost(string, tag = "2")]
    pub func: String,
    /// The selector's own first moment.
    #[prost(int64, tag = "3")]
    pub start_ms: i64,
    /// Its last.
    #[prost(int64, tag = "4")]
    pub end_ms: i64,
    /// Milliseconds of a range selector; 0 of an instant one.
    #[prost(int64, tag = "7")]
    pub range_ms: i64,
}

/// Of each query, a [`QueryResult`] as bytes, which on the wire is the same.
#[derive(Clone, PartialEq, Message)]
pub struct ReadResponse {
    /// In the order of the queries.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub results: Vec<Vec<u8>>,
}

/// The series of one query.
#[derive(Clone, PartialEq, Message)]
pub struct QueryResult {
    /// Each once.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

/// A series.
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// By name.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// By time.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
}

/// A series in chunks.
#[derive(Clone, PartialEq, Message)]
pub struct ChunkedReadResponse {
    /// One [`ChunkedSeries`] as bytes, which on the wire is the same.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub series: Vec<Vec<u8>>,
    /// The query of the request it belongs to, from 0.
    #[prost(int64, tag = "2")]
    pub query: i64,
}

/// A series.
#[derive(Clone, PartialEq, Message)]
pub struct ChunkedSeries {
    /// By name.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// By time.
    #[prost(message, repeated, tag = "2")]
    pub chunks: Vec<Chunk>,
}

/// Samples of a series.
#[derive(Clone, PartialEq, Message)]
pub struct Chunk {
    /// The first moment.
    #[prost(int64, tag = "1")]
    pub min_time_ms: i64,
    /// The last.
    #[prost(int64, tag = "2")]
    pub max_time_ms: i64,
    /// How they are written: [`XOR`].
    #[prost(int32, tag = "3")]
    pub encoding: i32,
    /// See [`xor`](super::xor).
    #[prost(bytes = "vec", tag = "4")]
    pub data: Vec<u8>,
}

/// The only encoding of chunks here.
pub const XOR: i32 = 1;

/// A label.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Label {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A value and its moment, in milliseconds since 1970.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    /// The value.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// The moment.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}
