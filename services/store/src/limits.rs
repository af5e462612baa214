//! Every bound of the store.

use std::time::Duration;

use vigia_kit::limits::HTTP_ANSWERED_WITHIN;
use vigia_protocol::limits::{MAX_PAYLOAD_BYTES, MAX_QUANTITIES};

/// Least time between two commits: each writes some 40 KB whatever it holds, and flash wears.
pub const COMMIT_SPACING: Duration = Duration::from_millis(25);
/// Messages in one commit: what rumqttd sends without an acknowledgement, and a little less.
pub const COMMIT_MESSAGES: usize = 90;
/// Payload bytes in one commit; the last message may be over it.
pub const COMMIT_BYTES: usize = 2 * 1024 * 1024;
/// Least time between log lines about messages that are dropped.
pub const COMPLAINT_SPACING_MICROS: i64 = 10_000_000;

/// redb's cache.
pub const CACHE_BYTES: usize = 4 * 1024 * 1024;
/// Readings in a full block.
pub const BLOCK_READINGS: usize = 1024;
/// Time after which an ingest transaction is also a checkpoint.
pub const CHECKPOINT_MICROS: i64 = 60_000_000;
/// Bytes of log rows after which it is: a restart replays at most these.
pub const CHECKPOINT_LOG_BYTES: u64 = 32 * 1024 * 1024;
/// Bytes of tails after which it is.
pub const TAIL_BYTES: usize = 12 * 1024 * 1024;
/// Bytes of tails that a checkpoint lets stay open to grow on.
pub const TAIL_BYTES_KEPT: usize = TAIL_BYTES / 2;
/// What a tail costs besides its readings.
pub const RUN_OVERHEAD_BYTES: usize = 512;
/// Bytes of packed log rows kept for consumers that catch up.
pub const LOG_BYTES_KEPT: u64 = 256 * 1024 * 1024;
/// Log rows one checkpoint may remove.
pub const LOG_ROWS_REMOVED: usize = 50_000;
/// Who listens to the stream of readings at one time.
pub const LISTENERS: usize = 64;
/// Sensors that one of them names.
pub const LISTENER_SENSORS: usize = 1_000;
/// Readings in one event; what came in the same message may be over it.
pub const EVENT_READINGS: usize = 5_000;
/// Least time between two events.
pub const EVENT_SPACING: Duration = Duration::from_millis(100);
/// A stream without events says that it lives so often.
pub const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(5);
/// Alarms and roles that are shown.
pub const PRESENT_TOPICS: usize = 10_000;
/// Bytes of what is said about one of them.
pub const PRESENT_BYTES: usize = 4_096;
/// Gaps in one page, at most and by default.
pub const PAGE_GAPS: (u64, u64) = (1_000, 100);
/// Different profiles in one store.
pub const PROFILES: usize = 1024;
/// Least time between two writes of what journals say.
pub const JOURNALS_SPACING_MICROS: i64 = 1_000_000;
/// From the last report of a journal to the beginning of the one in its place: with more, it may have acknowledged what
/// nobody heard of.
pub const JOURNAL_UNHEARD_MICROS: i64 = 30_000_000;
/// A journal whose last report is older has gone.
pub const JOURNAL_FRESH_MICROS: i64 = 5_000_000;
/// A pipeline whose last marker is older is not ready.
pub const MARKER_FRESH_MICROS: i64 = 10_000_000;

/// Bytes of rows that one transaction of a backup holds.
pub const BACKUP_COMMIT_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of a request for a backup: a path.
pub const BACKUP_REQUEST_BYTES: u64 = 16 * 1024;
/// Time in which it must come.
pub const BACKUP_ASKED_WITHIN: Duration = Duration::from_secs(5);
/// Time in which who asked must take what is told about it.
pub const BACKUP_TOLD_WITHIN: Duration = Duration::from_secs(10);

/// Clocks that differ by more are flagged, unless the reading is from a backlog.
pub const SKEW_MICROS: i64 = 5 * 60 * 1_000_000;

/// Time one request may take.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// Requests a second of one token, or of all callers on this machine; as many may come at once.
pub const REQUESTS_PER_SECOND: u32 = 1_000;
/// Requests a second of everybody else at one address, and at once: pages, health, and refusals.
pub const REQUESTS_OF_STRANGERS: (u32, u32) = (5, 60);
/// Callers whose allowance is remembered; beyond, the one that was silent for longest is forgotten.
pub const CALLERS: usize = 4096;
/// Bytes of a request's body.
pub const BODY_BYTES: u64 = 1 << 20;
/// Queries that read the disk at one time.
pub const QUERIES: usize = 2;
/// Readings in one page, at most and by default.
pub const PAGE_READINGS: (u64, u64) = (10_000, 1_000);
/// Sensors in one page, at most and by default.
pub const PAGE_SENSORS: (u64, u64) = (1_000, 100);
/// Quarantined entries in one page, at most and by default.
pub const PAGE_QUARANTINE: (u64, u64) = (100, 20);
/// Bytes of one quarantined entry shown in a page.
pub const QUARANTINE_SHOWN_BYTES: usize = 8 * 1024;
/// Batches in one page of a log, at most and by default.
pub const PAGE_BATCHES: (u64, u64) = (1_000, 100);
/// Buckets in one series.
pub const SERIES_BUCKETS: i64 = 11_000;
/// Requests of Prometheus that are answered at one time: each answer is made in memory, as one block.
pub const PROMETHEUS_READS: usize = 2;
/// Bytes of such a request once it is decompressed.
pub const PROMETHEUS_REQUEST_BYTES: usize = 256 << 10;
/// Queries in one of them, and matchers in one query.
pub const PROMETHEUS_QUERIES: (usize, usize) = (16, 32);
/// Bytes of a compiled regular expression.
pub const PROMETHEUS_REGEX_BYTES: usize = 256 << 10;
/// Samples in the answer to one of them, at some 20 bytes.
pub const PROMETHEUS_SAMPLES: usize = 1_000_000;
/// Series in it.
pub const PROMETHEUS_SERIES: usize = 10_000;
/// Time after which it is given up.
pub const PROMETHEUS_WITHIN: Duration = Duration::from_secs(9);
/// Streams with gaps that the ledger names.
pub const GAPS_NAMED: usize = 100;

const _: () = assert!(MAX_PAYLOAD_BYTES <= COMMIT_BYTES);
const _: () = assert!(PROFILES <= u16::MAX as usize);
const _: () = assert!(MAX_QUANTITIES <= u8::MAX as usize);
// A full block of the widest profile stays far below redb's and the tails' bounds.
const _: () = assert!(BLOCK_READINGS * (20 + MAX_QUANTITIES * 10) < TAIL_BYTES_KEPT);
// A series is one frame, and Prometheus reads frames of up to 50 MB. A sample has at most 145 bits.
const _: () = assert!(PROMETHEUS_SAMPLES * 145 / 8 < 50_000_000);
const _: () = assert!(PROMETHEUS_WITHIN.as_secs() < REQUEST_WITHIN.as_secs());
const _: () = assert!(REQUEST_WITHIN.as_secs() < HTTP_ANSWERED_WITHIN.as_secs());
