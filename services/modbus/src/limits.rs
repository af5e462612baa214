//! Every bound of the role, those of the standard and those of a map.

use std::time::Duration;

use vigia_protocol::limits::MAX_QUANTITIES;

/// Registers that one request may ask for (MAP 6.3 and 6.4).
pub const MAX_REGISTERS_PER_REQUEST: u16 = 125;
/// Coils or discrete inputs that one request may ask for (MAP 6.1 and 6.2).
pub const MAX_BITS_PER_REQUEST: u16 = 2000;
/// Elements of each kind; a PDU addresses them from 0 (MAP 4.4).
pub const ADDRESSES: u32 = 65_536;

/// Bytes of a map file.
pub const MAX_MAP_BYTES: u64 = 4 * 1024 * 1024;
/// Devices in a map.
pub const MAX_DEVICES: usize = 256;
/// Points of a device: one for each quantity of its profile.
pub const MAX_POINTS: usize = MAX_QUANTITIES;
/// Values of a point that the device uses to say that it has none.
pub const MAX_BAD_VALUES: usize = 16;
/// The shortest time between two polls of a device.
pub const MIN_INTERVAL_MS: i64 = 50;
/// The longest: a day.
pub const MAX_INTERVAL_MS: i64 = 86_400_000;
/// The shortest time a device has for an answer.
pub const MIN_TIMEOUT_MS: i64 = 10;
/// The longest.
pub const MAX_TIMEOUT_MS: i64 = 60_000;
/// The time a device has where the map says nothing, if its interval is not shorter.
pub const DEFAULT_TIMEOUT_MS: i64 = 1_000;
/// The longest time that a device which cannot be reached is left alone.
pub const MAX_RETRY_MS: u128 = 30_000;
/// The slowest serial line.
pub const MIN_BAUD: i64 = 1_200;
/// The fastest.
pub const MAX_BAUD: i64 = 1_000_000;
/// Characters of what stands in the file that an error repeats.
pub const MAX_SHOWN_CHARS: usize = 60;

/// Bytes of readings that the spool holds of one device: a day and a half of climate's at one a second, and eight hours
/// of the widest. Beyond, the oldest are evicted.
pub const SPOOL_BYTES_PER_DEVICE: usize = 4 << 20;
/// redb's cache.
pub const SPOOL_CACHE_BYTES: usize = 4 << 20;
/// From one commit of the spool to the next: what all devices took meanwhile is one.
pub const COMMIT_SPACING: Duration = Duration::from_millis(100);
/// Rows of a device in the spool, beyond twice what is needed, after which they are written anew.
pub const SPARE_ROWS: usize = 256;
/// Readings of a device that wait for the disk; beyond, its samples are left out.
pub const MAX_UNSYNCED: usize = 64;
/// Samples on their way from a device's polling to its delivery.
pub const WAITING_SAMPLES: usize = 16;
/// First and longest pause before the broker is tried again; up to half as much is added at random.
pub const RECONNECT_PAUSE: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(10));
/// Least time between two lines in the log about one device.
pub const TROUBLE_SPACING: Duration = Duration::from_secs(10);
/// Time that the spool's last commit has at the end.
pub const LAST_COMMIT_WITHIN: Duration = Duration::from_secs(5);

/// Integers up to here, of either sign, are exact in an f64.
pub const EXACT_IN_F64: i128 = 1 << 53;
/// Integers up to here, of either sign, are exact in an f32.
pub const EXACT_IN_F32: i128 = 1 << 24;

// The longest value fits in a request, with all its neighbours that a profile has room for.
const _: () = assert!(4 * MAX_POINTS <= MAX_REGISTERS_PER_REQUEST as usize);
const _: () = assert!(MIN_TIMEOUT_MS <= MIN_INTERVAL_MS);

// The server.

/// Connections at once to the server.
pub const SERVER_CONNECTIONS: usize = 64;
/// Connections at once from one address: a SCADA and its spare, each with several.
pub const SERVER_CONNECTIONS_PER_ADDRESS: usize = 16;
/// Requests a second that one connection is served; who asks faster waits. Also how many may come at once.
pub const SERVER_REQUESTS_PER_SECOND: u32 = 2_000;
/// Silence after which a connection is closed.
pub const SERVER_IDLE: Duration = Duration::from_secs(300);
/// Time from the first byte of a request to its last, and for an answer to be taken.
pub const SERVER_FRAME_WITHIN: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted.
pub const SERVER_ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Alarms of one sensor that are held at once.
pub const MAX_ALARMS_OF_A_SENSOR: usize = 256;

// The simulator.

/// Connections at once to one simulated address.
pub const SIMULATOR_CONNECTIONS: usize = 64;
/// The longest that a fault delays answers.
pub const MAX_FAULT_DELAY: Duration = Duration::from_secs(3600);

// The probe.

/// Registers that one probe looks at.
pub const MAX_PROBE_REGISTERS: u16 = 500;
/// Time between its two looks.
pub const PROBE_PAUSE: Duration = Duration::from_millis(500);
