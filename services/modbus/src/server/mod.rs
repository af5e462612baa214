//! The server: SCADA and HMIs read the newest values, their quality, age and alarms as Modbus registers.
//!
//! `layout` says where everything stands, `image` keeps it, `feed` fills it from the bus, `serve` answers. Nobody writes
//! here: no function does, and only those on a list of addresses are heard at all.

pub mod feed;
pub mod frame;
pub mod image;
pub mod layout;
mod pace;
pub mod serve;

pub use serve::serve;
