//! The journal: what was accepted, on disk, before anybody is told so.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | u64: `version`, `journal`, `created`, `store` |
//! | `logs` | order of opening | [`LogRecord`], postcard |
//! | `rows` | (order, n) | a sealed raw batch: the MQTT payload as it is |
//! | `sensors` | sensor | stream u32 · next seq u64 · nonce of the last accepted frame 24, little-endian |
//! | `left` | (sensor, stream) | u64: end of a stream that the sensor has left before everything of it was stored |
//! | `hours` | hours since the epoch | (order, n) of the first row of that hour, to know what is old |
//!
//! A log begins at every opening, so that no position ever repeats. The rows are the only copy of an
//! acknowledged reading until the store has it: a row leaves only below the store's watermark.
//!
//! Format version 1. A journal of a newer version is refused by name.

mod record;
mod rows;
mod state;
mod writer;

pub use record::{LogRecord, SensorRecord};
pub use rows::Rows;
pub use state::{Bounds, CannotUse, HeldLog, NewRow, Opened, read_row};
pub use writer::{FromSensor, Journal, News, Request, Terms, Verdict, VerdictSender, spawn};
