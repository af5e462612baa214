//! What two processes of Vigia must agree on: the sensor's wire and the stages' messages.
//!
//! Nothing here touches a socket, a file or a clock: bytes and times come in, bytes and decisions
//! come out. `FORMAT.md` is the authority for the sensor's wire.

pub mod batch;
pub mod decoder;
pub mod device;
pub mod filter;
pub mod header;
pub mod held;
pub mod ingress;
pub mod keys;
pub mod limits;
pub mod message;
pub mod position;
pub mod profile;
pub mod publisher;
pub mod quality;
pub mod ranges;
pub mod reading;
pub mod report;
pub mod sealed;
pub mod stage;
pub mod text;
pub mod time;
pub mod topic;
