//! Every bound of the sensor's wire and of the bus, with the inequalities that tie them together.
//!
//! Limits that belong to one process only (connections, queues, caches) stand in that process's own
//! `limits.rs`.

use crate::header::{READING_HEAD_BYTES, SEALED_OVERHEAD};

/// Bytes of the header in front of every frame.
pub const HEADER_BYTES: usize = 24;
/// The shortest frame there is (PING).
pub const MIN_FRAME_BYTES: usize = 40;
/// The longest frame there is.
pub const MAX_FRAME_BYTES: usize = 4096;
/// Readings in one DATA frame.
pub const MAX_READINGS_PER_FRAME: u16 = 64;
/// Quantities in one profile.
pub const MAX_QUANTITIES: usize = 16;
/// Bytes of a quantity's or profile's name, and of a unit.
pub const MAX_NAME_BYTES: usize = 24;
/// Bytes of a node's name; it is a level of MQTT topics.
pub const MAX_NODE_BYTES: usize = 32;
/// Bytes of an MQTT topic name or filter.
pub const MAX_TOPIC_BYTES: usize = 1024;
/// Levels of an MQTT topic name or filter.
pub const MAX_TOPIC_LEVELS: usize = 32;

/// Bytes an ingress takes from a peer that has not shown a key.
pub const MAX_UNAUTHENTICATED_BYTES: usize = 512;
/// Time a peer has to show its key.
pub const HELLO_WITHIN_MICROS: i64 = 3_000_000;
/// Time a frame has from its first byte to its last.
pub const FRAME_WITHIN_MICROS: i64 = 5_000_000;
/// Silence after which the ingress gives a connection up.
pub const INGRESS_SILENCE_MICROS: i64 = 30_000_000;
/// Silence after which a sensor sends a PING.
pub const PING_AFTER_MICROS: i64 = 10_000_000;
/// Time a sensor waits for any answer before it connects again.
pub const ANSWER_WITHIN_MICROS: i64 = 15_000_000;
/// Unacknowledged frames a sensor may have under way.
pub const WINDOW_FRAMES: u16 = 256;

/// Worst-case text bytes at which a batch is closed.
pub const BATCH_TEXT_BYTES: usize = 128 * 1024;
/// Worst-case text bytes published but not yet accounted for by the store.
pub const CREDIT_TEXT_BYTES: usize = 4 * 1024 * 1024;
/// Bytes rumqttd keeps for each of the pipeline's filters. Twice the credit: what is sent again
/// after a lost connection may stand beside its first copy.
pub const BUS_LOG_BYTES: usize = 2 * CREDIT_TEXT_BYTES;
/// The largest MQTT payload; a batch may be over its bound by one frame.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;
/// First pause before an unanswered marker is sent again; it doubles from there.
pub const MARKER_RETRY_MICROS: i64 = 100_000;
/// The longest such pause.
pub const MARKER_RETRY_MAX_MICROS: i64 = 500_000;
/// Least time between a burst's markers.
pub const MARKER_SPACING_MICROS: i64 = 50_000;
/// An idle pipeline is probed this often.
pub const MARKER_IDLE_MICROS: i64 = 1_000_000;
/// Accounted ranges of one log in a store's report. What lies behind is reported later.
pub const MAX_REPORTED_RANGES: usize = 64;
/// Sensors with readings that are not stored yet, in a journal's report. Of the others nobody can say, should the
/// journal get lost, what was in it.
pub const MAX_REPORTED_UNSETTLED: usize = 4096;
/// Logs one marker may ask about.
pub const MAX_LOGS_PER_MARKER: usize = 64;
/// Of them, those of which nothing is known to be missing: asked about in turn.
pub const LOGS_IN_TURN: usize = 4;
/// Markers without an echo whose time of sending is remembered.
pub const MAX_UNECHOED_MARKERS: usize = 64;

/// Upper bound for the text lines that a frame of `frame_bytes` with `readings` readings becomes,
/// whether it is understood or goes to quarantine as hexadecimal.
pub const fn text_bound(frame_bytes: usize, readings: u16) -> usize {
    // A GAP counts readings that it does not carry.
    let most = frame_bytes.saturating_sub(SEALED_OVERHEAD) / (READING_HEAD_BYTES + 4);
    let readings = if (readings as usize) < most { readings as usize } else { most };
    // A value of four bytes: its name, quotes, colon and comma, its digits, its status.
    let per_value = MAX_NAME_BYTES + 4 + 16 + 6;
    let values = frame_bytes.saturating_sub(SEALED_OVERHEAD + READING_HEAD_BYTES * readings) / 4;
    let understood = readings * 260 + values * per_value;
    let quarantined = 192 + 2 * frame_bytes;
    if understood > quarantined { understood } else { quarantined }
}

const _: () = assert!(HEADER_BYTES + 16 == MIN_FRAME_BYTES);
const _: () = assert!(BATCH_TEXT_BYTES + text_bound(MAX_FRAME_BYTES, 64) < MAX_PAYLOAD_BYTES);
const _: () = assert!(4 * MAX_PAYLOAD_BYTES <= CREDIT_TEXT_BYTES);
const _: () = assert!(HELLO_WITHIN_MICROS < ANSWER_WITHIN_MICROS);
const _: () = assert!(PING_AFTER_MICROS + ANSWER_WITHIN_MICROS < INGRESS_SILENCE_MICROS);
