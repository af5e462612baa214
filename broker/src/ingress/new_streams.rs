//! How often a sensor may open a stream. It does when it has lost its memory; two devices with one key and one memory
//! would do so at every connection, in turn, and with each stream send again what they hold.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;
use vigia_protocol::header::SensorId;

use crate::limits::{NEW_STREAM_EVERY, NEW_STREAMS};

/// When each sensor's allowance is whole again, of those that have used some of it.
#[derive(Debug, Default)]
pub struct NewStreams(Mutex<HashMap<SensorId, Instant>>);

impl NewStreams {
    /// Whether the sensor may open one now. If so, it has.
    pub fn allows(&self, sensor: SensorId, now: Instant) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, whole| *whole > now);
        let whole = all.get(&sensor).copied().unwrap_or(now) + NEW_STREAM_EVERY;
        if whole > now + NEW_STREAM_EVERY * NEW_STREAMS {
            return false;
        }
        all.insert(sensor, whole);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_at_once_and_then_one_in_a_while() {
        let streams = NewStreams::default();
        let begun = Instant::now();
        let allowed =
            |sensor, after| streams.allows(SensorId(sensor), begun + NEW_STREAM_EVERY * after);
        assert_eq!((0..NEW_STREAMS + 9).filter(|_| allowed(1, 0)).count(), NEW_STREAMS as usize);
        assert!(allowed(2, 0), "another one's are its own");
        assert!(allowed(1, 1) && !allowed(1, 1));
        assert!(allowed(1, NEW_STREAMS * 2));
    }
}
