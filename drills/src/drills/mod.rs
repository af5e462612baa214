//! The drills themselves, one file per kind of fault.

pub mod journal;
pub mod kill;
pub mod power;
pub mod sensor;
pub mod stop;
