//! The modbus role: polls the plant's own devices, each of which is a sensor of the site.
//!
//! `map` says which registers of which device become which quantity, `plan` which of them are read together,
//! `decode` what they mean. These three touch no socket and no clock; `map` alone can read its file. `link` asks a
//! device, `poll` does so at every interval. `serial` is a serial line.
//!
//! Each device is a sensor with a key of its own, and its readings enter where all sensors' do: `spool` keeps them on
//! disk, `delivery` brings them to the broker. `run` puts it together.
//!
//! `server` is the other direction: SCADA reads what the site knows, which `scada` has from the bus. `simulator` is devices that are none, `probe` finds
//! out what stands in one.
//!
//! Names and numbers are those of the MODBUS Application Protocol Specification V1.1b3, cited here as MAP, and of
//! MODBUS over Serial Line V1.02, cited as MSL.

pub mod decode;
mod delivery;
pub mod encoding;
mod enrolment;
pub mod limits;
pub mod link;
pub mod map;
mod numbers;
pub mod plan;
pub mod poll;
pub mod probe;
pub mod register;
mod run;
mod scada;
mod serial;
pub mod server;
pub mod simulator;
mod source;
pub mod spool;

pub use run::run;
