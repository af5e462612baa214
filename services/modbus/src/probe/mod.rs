//! Finding out what stands in a device's registers, where manual and device do not agree.
//!
//! `look` reads a range twice, `guess` weighs every way to understand it. Neither knows a map.

pub mod guess;
pub mod look;
