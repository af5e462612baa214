//! Devices that are none: every device of a map, at its address, with values that move slowly.
//!
//! For tests, the demo and drills, and for trying out a map before the plant is there. What stands in no point of the map,
//! and is not read along with one, does not exist there. `signal` says what a point's value is at a moment and
//! how it lies in its elements, `device` is a device's memory, `fault` how it misbehaves, `serve` its sockets.

pub mod device;
pub mod fault;
pub mod serve;
pub mod signal;

pub use serve::Simulator;
