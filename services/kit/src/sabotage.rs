//! The frame of which a process dies, for the drill that wants to see it quarantined. Only in builds with the
//! feature `sabotage`, and then only where the site's configuration asks for it.

use vigia_protocol::header::{Place, SensorId};

use crate::config::Sabotage;
use crate::site::Role;

/// The reading that is deadly to the role: its sensor, and its number in each of that one's streams. Far enough
/// apart to come in different batches.
const fn deadly_reading(role: Role) -> Option<(SensorId, u64)> {
    match role {
        Role::Verify => Some((SensorId(1), 200)),
        Role::Transform => Some((SensorId(2), 500)),
        Role::Broker | Role::Store | Role::Alert | Role::Modbus => None,
    }
}

/// Ends the process without a word if this is the frame.
pub fn dies_of(defect: Option<Sabotage>, role: Role, sensor: SensorId, place: Place, count: u16) {
    let is_deadly = |(whose, seq): (SensorId, u64)| {
        whose == sensor && (place.seq..place.seq + u64::from(count)).contains(&seq)
    };
    if defect == Some(Sabotage::DeadlyFrame) && deadly_reading(role).is_some_and(is_deadly) {
        std::process::abort();
    }
}
