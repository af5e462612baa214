//! The frame of which a process dies, for the drill that wants to see it quarantined. Only in builds with the
//! feature `sabotage`, and then only where the site's configuration asks for it.

use vigia_protocol::header::{Place, SensorId};

use crate::config::Sabotage;
use crate::site::Role;

/// The number of the deadly reading in each stream of the sensor.
const DEADLY_SEQ: u64 = 600;

/// The sensor of which a frame is deadly to the role.
const fn deadly_sensor(role: Role) -> Option<SensorId> {
    match role {
        Role::Verify => Some(SensorId(1)),
        Role::Transform => Some(SensorId(2)),
        Role::Broker | Role::Store | Role::Alert => None,
    }
}

/// Ends the process without a word if this is the frame.
pub fn dies_of(defect: Option<Sabotage>, role: Role, sensor: SensorId, place: Place, count: u16) {
    let readings = place.seq..place.seq + u64::from(count);
    if defect == Some(Sabotage::DeadlyFrame)
        && deadly_sensor(role) == Some(sensor)
        && readings.contains(&DEADLY_SEQ)
    {
        std::process::abort();
    }
}
