//! Bounds of what every role does on the bus, of the accounts there, and of the API's tokens.

use std::time::Duration;

/// Unacknowledged messages on one connection; rumqttd allows 100 each way.
pub const IN_FLIGHT_MESSAGES: u16 = 90;
/// Received messages waiting for their stage.
pub const RECEIVED_MESSAGES: usize = 16;
/// Requests waiting for rumqttc's loop.
pub const BUS_REQUESTS: usize = 128;
/// MQTT keep-alive.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Time to connect, log in and subscribe.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// First and longest pause between attempts to reach the bus.
pub const RECONNECT_PAUSE: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_millis(500));

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

/// Connections to a port of numbers at once, and how long one may last: whoever reads them comes again.
pub const METRICS_CONNECTIONS: usize = 64;
/// See [`METRICS_CONNECTIONS`].
pub const METRICS_CONNECTED_FOR: Duration = Duration::from_secs(10);

/// Bytes of one file of an audit log, but for its last line.
pub const AUDIT_FILE_BYTES: u64 = 4 << 20;
/// Files of an audit log; beyond, the oldest is let go of.
pub const AUDIT_FILES: usize = 4;
/// Characters of one field in an audit log: some are what strangers sent.
pub const AUDIT_TEXT_CHARACTERS: usize = 256;
/// Least time between two lines about the same kind of failure.
pub const AUDIT_FAILURE_SPACING: Duration = Duration::from_secs(1);
