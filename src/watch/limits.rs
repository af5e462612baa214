//! Bounds of `vigia watch`.

use std::time::Duration;

/// Least time from one poll's beginning to the next's.
pub const EVERY_AT_LEAST: Duration = Duration::from_millis(100);
/// Pauses before a question that got no answer is asked again; after the last, the API counts as silent.
pub const ASK_AGAIN: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(500)];
/// What was asked longer ago is not asked again: who waited for an answer in vain has waited enough.
pub const ASK_AGAIN_WITHIN: Duration = Duration::from_secs(2);
/// Questions under way at one time.
pub const IN_FLIGHT: usize = 8;
/// Sensors that are watched: those with the lowest ids.
pub const SENSORS: usize = 4096;
/// Sensors asked for in one page.
pub const PAGE_SENSORS: usize = 1_000;
/// Readings from which a sensor's usual interval is learnt.
pub const INTERVAL_READINGS: usize = 11;

/// A sensor is silent after so many of its usual intervals,
pub const SILENT_INTERVALS: u32 = 10;
/// but not before this.
pub const SILENT_AT_LEAST: Duration = Duration::from_secs(30);

/// Events that wait for the command and the webhook; one more is told there no more.
pub const WAITING_EVENTS: usize = 256;
/// Time the command has for one event.
pub const COMMAND_WITHIN: Duration = Duration::from_secs(30);
/// Time the webhook has for one answer.
pub const WEBHOOK_WITHIN: Duration = Duration::from_secs(5);
/// Pauses before the webhook is asked again.
pub const WEBHOOK_AGAIN: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];
/// Time in which the last events are told at the end.
pub const LAST_EVENTS_WITHIN: Duration = Duration::from_secs(60);

const _: () = assert!(SENSORS >= PAGE_SENSORS && INTERVAL_READINGS >= 2);
