//! The drills themselves, one file per kind of fault.

pub mod clocks;
pub mod crowds;
pub mod disk;
pub mod insider;
pub mod journal;
pub mod kill;
pub mod network;
pub mod plant;
pub mod poison;
pub mod power;
pub mod restore;
pub mod router;
pub mod sensor;
pub mod stop;
pub mod strangers;
