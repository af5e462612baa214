//! The drills themselves, one file per kind of fault.

pub mod disk;
pub mod journal;
pub mod kill;
pub mod network;
pub mod power;
pub mod restore;
pub mod router;
pub mod sensor;
pub mod stop;
pub mod strangers;
