//! Which sensor has which session: one each, the newest that proved itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use vigia_protocol::header::SensorId;

/// The established sessions.
#[derive(Debug, Clone, Default)]
pub struct Online(Arc<Mutex<HashMap<SensorId, Arc<Notify>>>>);

impl Online {
    /// A session has proved itself: an older one of the sensor is told to end.
    pub fn establish(&self, sensor: SensorId, session: &Arc<Notify>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(older) = all.insert(sensor, Arc::clone(session)) {
            older.notify_one();
        }
    }

    /// A session has ended.
    pub fn end(&self, sensor: SensorId, session: &Arc<Notify>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(&sensor).is_some_and(|current| Arc::ptr_eq(current, session)) {
            all.remove(&sensor);
        }
    }

    /// The sensors with a session, by number.
    pub fn sensors(&self) -> Vec<SensorId> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sensors: Vec<SensorId> = all.keys().copied().collect();
        sensors.sort_unstable();
        sensors
    }
}
