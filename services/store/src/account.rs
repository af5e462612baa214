//! What became of the readings of one log.

use serde::{Deserialize, Serialize};
use vigia_protocol::limits::MAX_REPORTED_RANGES;
use vigia_protocol::position::LogId;
use vigia_protocol::report::{StoredLog, Totals};
use vigia_protocol::time::Micros;

use crate::extents::Extents;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogAccount {
    /// The node it came from.
    pub node: String,
    /// When the first of it came.
    pub since: Micros,
    /// The accounted positions.
    pub extents: Extents,
    /// What became of what stands there.
    pub totals: Totals,
}

impl LogAccount {
    /// Nothing yet.
    pub fn new(node: &str, since: Micros) -> Self {
        Self {
            node: node.to_owned(),
            since,
            extents: Extents::default(),
            totals: Totals::default(),
        }
    }

    /// As the arrow back says it. The totals belong to all positions, so they are left out when not
    /// all are named.
    pub fn report(&self, log: LogId) -> StoredLog {
        let accounted = self.extents.positions();
        let all = accounted.ranges().len() <= MAX_REPORTED_RANGES;
        StoredLog {
            log,
            accounted: accounted.truncated(MAX_REPORTED_RANGES),
            totals: all.then_some(self.totals),
        }
    }
}
