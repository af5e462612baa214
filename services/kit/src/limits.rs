//! Bounds of what every role does on the bus, of the accounts there, and of the API's tokens.

use std::time::Duration;

/// Unacknowledged messages on one connection; rumqttd allows 100 each way.
pub const IN_FLIGHT_MESSAGES: u16 = 90;
/// Received messages waiting for their stage.
pub const RECEIVED_MESSAGES: usize = 16;
/// Requests waiting for rumqttc's loop.
pub const BUS_REQUESTS: usize = 128;
/// MQTT keep-alive.
pub const KEEP_ALIVE: Duration = Duration::from_secs(7);
/// Time to connect, log in and subscribe.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// First and longest pause between attempts to reach the bus.
pub const RECONNECT_PAUSE: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_millis(500));

/// How long a role waits for the lock of one that was killed, and how often it tries.
pub const LOCK_WITHIN: Duration = Duration::from_secs(3);
/// See [`LOCK_WITHIN`].
pub const LOCK_AGAIN: Duration = Duration::from_millis(50);

/// Characters of a sensor's name.
pub const SENSOR_NAME_CHARACTERS: usize = 64;
/// Bytes that a sensor's connection takes from the network at a time.
pub const SENSOR_READ_BYTES: usize = 16 * 1024;

/// Deaths of a process at one message, after which it is not read again.
pub const DEATHS_OF_POISON: usize = 3;
/// Deaths that are remembered: so many poisonous messages, each with its deaths, may stand in one another's way.
pub const DEATHS_REMEMBERED: usize = 64 * DEATHS_OF_POISON;

/// Bytes of an MQTT user's name.
pub const MAX_USER_BYTES: usize = 64;
/// The most memory, in KiB, and passes over it that an argon2 hash may ask for: it is computed while
/// others wait.
pub const ARGON2_COST: (u32, u32) = (64 << 10, 16);
/// Tokens of the API: all are compared at every request that shows one.
pub const MAX_TOKENS: usize = 1024;

/// Least time between two looks for renewed certificates; also the age at which new files are taken up.
pub const CERTIFICATE_CHECK: Duration = Duration::from_secs(1);

/// Bytes of one file of an audit log, but for its last line.
pub const AUDIT_FILE_BYTES: u64 = 4 << 20;
/// Files of an audit log; beyond, the oldest is let go of.
pub const AUDIT_FILES: usize = 4;
/// Characters of one field in an audit log: some are what strangers sent.
pub const AUDIT_TEXT_CHARACTERS: usize = 256;
/// Least time between two lines about the same kind of failure.
pub const AUDIT_FAILURE_SPACING: Duration = Duration::from_secs(1);

/// Ranges of addresses in an allow-list: each is compared at every connection.
pub const MAX_ALLOWED_NETWORKS: usize = 64;

/// Open connections to one HTTP port, and those of one address: a whole plant may stand behind one.
pub const HTTP_CONNECTIONS: usize = 256;
/// See [`HTTP_CONNECTIONS`].
pub const HTTP_CONNECTIONS_PER_ADDRESS: usize = 128;
/// Pause after a connection could not be accepted.
pub const HTTP_ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time for the TLS handshake.
pub const HTTP_HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Time from the first byte of a request, or the beginning of a connection, to that of the answer.
pub const HTTP_ANSWERED_WITHIN: Duration = Duration::from_secs(20);
/// Time in which a client must take some of what is written to it.
pub const HTTP_TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// Silence after which a connection is closed.
pub const HTTP_IDLE: Duration = Duration::from_secs(60);
/// Time that requests under way have at the end.
pub const HTTP_DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// Series of one kind on a page of metrics: with more sensors or alarms, the first ones are there.
pub const METRIC_SERIES: usize = 1_000;

const _: () = assert!(HTTP_CONNECTIONS_PER_ADDRESS < HTTP_CONNECTIONS);
