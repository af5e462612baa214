//! Deliberate defects, so that the drills' oracle can be seen to find them. Only in builds with the
//! feature `sabotage`, and then only where the site's configuration asks for one.

use vigia_kit::config::Sabotage;

use crate::stream::StreamId;

/// By how much the numbers of the copies of a reading that are stored differ from its own: without a
/// defect there is one copy, and it has its own number.
#[cfg(not(feature = "sabotage"))]
pub fn copies(_: Option<Sabotage>, _: StreamId, _: u64) -> &'static [u64] {
    &[0]
}

/// As above, with defects.
#[cfg(feature = "sabotage")]
pub fn copies(defect: Option<Sabotage>, id: StreamId, seq: u64) -> &'static [u64] {
    /// So far away that the copy is a reading of its own.
    const ELSEWHERE: u64 = 1_000_000_000;
    let chosen = seq.wrapping_add(id.sensor.0.unsigned_abs().into()) % 1_000 == 7;
    match defect {
        Some(Sabotage::DropOne) if chosen => &[],
        Some(Sabotage::StoreTwice) if chosen && seq < ELSEWHERE => &[0, ELSEWHERE],
        _ => &[0],
    }
}
