//! The sensor port: raw TCP in, sessions, frames to the journal, acknowledgements back.

mod door;
mod new_streams;
mod online;
mod session;

pub use door::{Around, serve};
pub use online::Online;
