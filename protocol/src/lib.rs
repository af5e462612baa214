//! What two processes of Vigia must agree on: the sensor's wire and the stages' messages.
//!
//! Nothing here touches a socket, a file or a clock: bytes and times come in, bytes and decisions
//! come out. `FORMAT.md` is the authority for the sensor's wire.

pub mod decoder;
pub mod header;
pub mod keys;
pub mod limits;
pub mod message;
pub mod profile;
pub mod quality;
pub mod reading;
pub mod sealed;
pub mod time;
