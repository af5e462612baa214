//! MQTT from the outside: real clients of others, packets by hand, and the servers they talk to.

pub mod client;
pub mod server;
pub mod wire;
