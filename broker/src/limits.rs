//! Bounds of the broker role. What the wire and the bus agree on stands in `vigia_protocol::limits`.

use std::time::Duration;

use vigia_protocol::limits::{BATCH_TEXT_BYTES, BUS_LOG_BYTES, MAX_PAYLOAD_BYTES, WINDOW_FRAMES};

/// Connections to the sensor port in total.
pub const SENSOR_CONNECTIONS: usize = 4096;
/// Of those, the ones that have not shown a key; one more, and the oldest of them goes.
pub const UNAUTHENTICATED_CONNECTIONS: usize = 256;
/// Bytes read from a sensor at once.
pub const READ_BYTES: usize = 8 * 1024;
/// Time a sensor has to take what is written to it.
pub const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// Frames per second of one sensor; as many may come at once.
pub const FRAMES_PER_SECOND: u32 = 20_000;
/// What a sensor over its rate, or in front of a full journal, is told to wait.
pub const BUSY_RETRY_MS: u32 = 500;

/// Requests waiting for the journal's writer. Each carries at most [`READ_BYTES`] of frames.
pub const JOURNAL_REQUESTS: usize = 256;
/// Least time from the beginning of a commit to the next: a commit of one frame writes 40 KB, and flash wears.
pub const COMMIT_SPACING: Duration = Duration::from_millis(5);
/// Worst-case text bytes of all rows in one commit.
pub const COMMIT_TEXT_BYTES: usize = 8 * BATCH_TEXT_BYTES;
/// Stored rows let go in one commit.
pub const TRIM_ROWS: usize = 64;
/// redb's cache for the journal.
pub const JOURNAL_CACHE_BYTES: usize = 4 << 20;
/// Ends of batches remembered per sensor, to tell it what is stored. Beyond, they are told less finely.
pub const PENDING_ENDS: usize = 64;
/// Least and most time between two journal reports to the store.
pub const REPORT_SPACING: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(1));
/// How often the disk's free space is looked at.
pub const DISK_CHECK: Duration = Duration::from_secs(1);

/// MQTT connections to rumqttd.
pub const BUS_CONNECTIONS: usize = 128;
/// Segments of one of rumqttd's logs.
pub const BUS_SEGMENTS: usize = 8;
/// Bytes rumqttd keeps for any filter that is not the pipeline's.
pub const OTHER_LOG_BYTES: usize = 1 << 20;

/// Least time between two looks for renewed certificates; also the age at which new files are taken up.
pub const CERTIFICATE_CHECK: Duration = Duration::from_secs(1);

/// How often the watchdog sends itself a message, and how long that may take.
pub const WATCHDOG_EVERY: Duration = Duration::from_secs(2);
/// Misses in a row after which the process ends itself.
pub const WATCHDOG_MISSES: u32 = 3;

/// Passwords of people that wait for their check, with the one that is under way.
pub const PASSWORDS_WAITING: usize = 16;
/// Failed logins that cost nothing; after each one more, the next has to wait.
pub const FREE_FAILURES: u32 = 5;
/// The first such wait and the longest; it doubles from one to the other.
pub const LOCKOUT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5 * 60));
/// Failed logins are forgotten when no other came for so long.
pub const LOCKOUT_MEMORY: Duration = Duration::from_secs(60 * 60);
/// Pairs of user and address whose failed logins are remembered.
pub const LOCKOUTS: usize = 4096;
/// How often the file of the accounts is looked at.
pub const USERS_CHECK: Duration = Duration::from_secs(1);

const _: () = assert!(BUS_LOG_BYTES / 2 / BUS_SEGMENTS >= MAX_PAYLOAD_BYTES);
const _: () = assert!(WINDOW_FRAMES > 0 && UNAUTHENTICATED_CONNECTIONS < SENSOR_CONNECTIONS);
const _: () = assert!(LOCKOUT.1.as_secs() < LOCKOUT_MEMORY.as_secs());
