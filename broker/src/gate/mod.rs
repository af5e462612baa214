//! The gate: MQTT clients in front of the embedded broker.

pub mod tls;
