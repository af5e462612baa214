//! Bounds of the broker role. What the wire and the bus agree on stands in `vigia_protocol::limits`.

use std::num::NonZeroU32;
use std::time::Duration;

use vigia_protocol::limits::{BATCH_TEXT_BYTES, BUS_LOG_BYTES, MAX_PAYLOAD_BYTES, WINDOW_FRAMES};

/// Connections to the sensor port in total.
pub const SENSOR_CONNECTIONS: usize = 4096;
/// Of those, the ones that have not shown a key; one more, and the oldest of them goes.
pub const UNAUTHENTICATED_CONNECTIONS: usize = 256;
/// Bytes read from a sensor at once.
pub const READ_BYTES: usize = 8 * 1024;
/// Pause after a connection could not be accepted.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
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
/// Logs that are listed although nothing is left of them: a store restored from a backup so old that it
/// misses some of them learns from that what it has lost.
pub const OVER_LOGS: usize = 64;
/// redb's cache for the journal.
pub const JOURNAL_CACHE_BYTES: usize = 4 << 20;
/// Ends of batches remembered per sensor, to tell it what is stored. Beyond, they are told less finely.
pub const PENDING_ENDS: usize = 64;
/// Streams that sensors have left with something in them that is not stored: so many are remembered by name.
pub const LEFT_STREAMS: usize = 16 * 1024;
/// Least and most time between two journal reports to the store.
pub const REPORT_SPACING: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(1));
/// How often the disk's free space is looked at.
pub const DISK_CHECK: Duration = Duration::from_secs(1);

/// Segments of one of rumqttd's logs.
pub const BUS_SEGMENTS: usize = 8;
/// Bytes rumqttd keeps for any filter that is not the pipeline's.
pub const OTHER_LOG_BYTES: usize = 1 << 20;

/// How often the watchdog sends itself a message, and how long that may take.
pub const WATCHDOG_EVERY: Duration = Duration::from_secs(2);
/// Misses in a row after which the process ends itself.
pub const WATCHDOG_MISSES: u32 = 3;

/// Passwords of people that wait for their check, with the one that is under way.
pub const PASSWORDS_WAITING: usize = 16;
/// Of them from one address.
pub const PASSWORDS_WAITING_PER_ADDRESS: usize = 4;
/// nice(2) of the thread that checks: about a tenth of a core where others want all of it.
pub const PASSWORD_NICENESS: i32 = 10;
/// From a wrong password to the next check: one guess a second, whoever guesses.
pub const WRONG_PASSWORD_PAUSE: Duration = Duration::from_secs(1);
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

/// Links into the embedded router: one for publishing, one for each session with a subscription.
pub const BUS_LINKS: usize = 1024;
/// Bytes published and not yet taken by the router, beyond which publishers wait.
pub const BUS_PENDING_BYTES: usize = 4 << 20;
/// Distinct filters in all; the router keeps a log for each for as long as it lives.
pub const BUS_FILTERS: usize = 1024;
/// Distinct topics in all; the router remembers each.
pub const BUS_TOPICS: usize = 65_536;
/// Of the three, what one account may have that is not a role's. All such together leave a quarter.
pub const LINKS_PER_ACCOUNT: usize = 128;
/// See [`LINKS_PER_ACCOUNT`].
pub const FILTERS_PER_ACCOUNT: usize = 256;
/// See [`LINKS_PER_ACCOUNT`].
pub const TOPICS_PER_ACCOUNT: usize = 16_384;
/// Subscriptions of one session that the router has not answered.
pub const BUS_UNANSWERED: usize = 64;
/// The largest message of an account that is not a role's: a link keeps a hundred for who does not read.
pub const CLIENT_MESSAGE_BYTES: usize = 64 * 1024;

/// The largest MQTT packet a client may send.
pub const MQTT_PACKET_BYTES: u32 = (2 * MAX_PAYLOAD_BYTES) as u32;
/// Messages a client may have sent without having got their PUBACKs.
pub const RECEIVE_MAXIMUM: u16 = 100;
/// Messages sent to a client that it has not acknowledged; fewer, if the client says so. And their
/// bytes, but for the last of them.
pub const DELIVERY_WINDOW: u16 = 100;
/// See [`DELIVERY_WINDOW`].
pub const IN_FLIGHT_BYTES: usize = 4 << 20;
/// Bytes waiting to be written to a client, beyond which nothing more is made for it or read from it.
pub const OUT_BYTES: usize = 128 * 1024;
/// Subscriptions of a client.
pub const SUBSCRIPTIONS: usize = 64;
/// Packets per second of a client whose account says nothing else. Over it, it is read more slowly.
pub const MESSAGES_PER_SECOND: NonZeroU32 = NonZeroU32::new(5_000).unwrap();

/// New streams that a sensor may open at once, and the time after which it may open one more.
pub const NEW_STREAMS: u32 = 16;
/// See [`NEW_STREAMS`].
pub const NEW_STREAM_EVERY: Duration = Duration::from_secs(10);

/// How often a session looks whether its sensor is still welcome.
pub const REGISTRY_CHECK: Duration = Duration::from_secs(1);

/// MQTT connections in total.
pub const MQTT_CONNECTIONS: usize = 4096;
/// Of those, from one address: a whole plant may stand behind one.
pub const MQTT_CONNECTIONS_PER_ADDRESS: usize = 3072;
/// Of those, what one account may have that is not a role's. All such together leave a quarter.
pub const MQTT_CONNECTIONS_PER_ACCOUNT: usize = 2048;
/// Of those, the ones that have not logged in; one more, and the oldest of them goes.
pub const MQTT_UNAUTHENTICATED: usize = 256;
/// Time for the TLS handshake, and then for CONNECT and the login.
pub const TLS_HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// See [`TLS_HANDSHAKE_WITHIN`].
pub const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Bytes before CONNECT is whole.
pub const CONNECT_BYTES: usize = 16 * 1024;
/// Bytes read at once from an idle connection, and from a busy one.
pub const MQTT_READ_BYTES_IDLE: usize = 1024;
/// See [`MQTT_READ_BYTES_IDLE`].
pub const MQTT_READ_BYTES: usize = 64 * 1024;
/// Time in which a client must take some of what is written to it.
pub const MQTT_WRITE_WITHIN: Duration = Duration::from_secs(10);
/// Time for the last bytes of a connection.
pub const FAREWELL_WITHIN: Duration = Duration::from_secs(1);
/// Requests that are answered before others have their turn.
pub const REQUESTS_AT_ONCE: usize = 64;
/// Silence after which a connection is asked whether it is still there, by TCP; how often, and how
/// many times.
pub const TCP_KEEP_ALIVE: (Duration, Duration, u32) =
    (Duration::from_secs(60), Duration::from_secs(10), 3);
/// Time in which a connection hands its session to the next one.
pub const TAKEOVER_WITHIN: Duration = Duration::from_secs(5);
/// Sessions kept for clients that are away; beyond, those away for longest go.
pub const OFFLINE_SESSIONS: usize = 1024;
/// How often sessions and wills are looked through for what is due.
pub const SESSION_SWEEP: Duration = Duration::from_secs(1);
/// How often `$SYS` is told.
pub const SYSTEM_EVERY: Duration = Duration::from_secs(10);

/// Topics with a retained message, their bytes in all, and of one.
pub const RETAINED_TOPICS: usize = 16_384;
/// See [`RETAINED_TOPICS`].
pub const RETAINED_BYTES: usize = 32 << 20;
/// See [`RETAINED_TOPICS`].
pub const RETAINED_MESSAGE_BYTES: usize = 64 * 1024;
/// How often retained messages are written to their file.
pub const RETAINED_FLUSH: Duration = Duration::from_secs(10);
/// redb's cache for them.
pub const RETAINED_CACHE_BYTES: usize = 1 << 20;
const _: () = assert!(LOCKOUT.1.as_secs() < LOCKOUT_MEMORY.as_secs());
