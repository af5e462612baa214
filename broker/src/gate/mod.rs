//! The MQTT port: who may come in, and what they may do there.

pub mod account;
pub mod identity;
pub mod lockout;
