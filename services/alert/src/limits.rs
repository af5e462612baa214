//! Every bound of the alert role.

use std::time::Duration;

/// Looking without an event is written down this often: until then, it can be repeated.
pub const COMMIT_EVERY: Duration = Duration::from_millis(250);
/// redb's cache: the tables are small.
pub const CACHE_BYTES: usize = 1 << 20;

/// Time for one answer of the API.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Pause before the store is asked again for what it does not have yet.
pub const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Who waits for the store says so in the log this often.
pub const COMPLAINT_SPACING: Duration = Duration::from_secs(10);
/// The store is asked this often whether it has anything that was not looked at.
pub const ASK_EVERY: Duration = Duration::from_secs(10);

/// Alarms of which the broker is told again at each connection; beyond, ended ones are not.
pub const ALARMS_SAID_AGAIN: usize = 10_000;
