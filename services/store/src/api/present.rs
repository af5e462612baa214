//! Alarms and roles, as the bus tells of them.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use crate::api::allowed::{Allowed, ToRead};
use crate::api::problem::Problem;
use crate::api::{Part, Shared};
use crate::present::{Alarm, Known, Presence};

/// Operations on the present.
#[derive(Debug)]
pub struct Now;

/// What a limit says of a sensor.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct AlarmInfo {
    /// Whose.
    pub sensor: i16,
    /// The limit's name.
    pub rule: String,
    /// Raised, or ended.
    pub active: bool,
    /// Above `high`, or below `low`.
    pub side: String,
    /// What was measured.
    pub quantity: String,
    /// The value that raised or ended it.
    pub value: f64,
    /// The limit it crossed.
    pub limit: f64,
    /// When that was measured, by the sensor's clock.
    pub time: String,
}

/// All alarms.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct Alarms {
    /// By sensor and rule: those that are active, and the last that has ended.
    pub alarms: Vec<AlarmInfo>,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct RoleInfo {
    /// Which.
    pub role: String,
    /// On which node.
    pub node: String,
    /// `online` or `offline`.
    pub state: String,
    /// Since when it is online.
    #[oai(skip_serializing_if_is_none)]
    pub since: Option<String>,
    /// Its version.
    #[oai(skip_serializing_if_is_none)]
    pub version: Option<String>,
}

/// All roles.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct Roles {
    /// By role and node.
    pub roles: Vec<RoleInfo>,
}

#[OpenApi(tag = "Part::Health")]
impl Now {
    /// Alarms, as the alert role tells them on the bus.
    #[oai(path = "/alarms", method = "get", operation_id = "listAlarms")]
    async fn alarms(
        &self,
        _allowed: Allowed<ToRead>,
        shared: Data<&Arc<Shared>>,
    ) -> Result<Json<Alarms>, Problem> {
        let alarms = known(&shared)?.alarms.into_values().map(AlarmInfo::from).collect();
        Ok(Json(Alarms { alarms }))
    }

    /// Roles, as they tell of themselves on the bus.
    #[oai(path = "/roles", method = "get", operation_id = "listRoles")]
    async fn roles(
        &self,
        _allowed: Allowed<ToRead>,
        shared: Data<&Arc<Shared>>,
    ) -> Result<Json<Roles>, Problem> {
        let roles = known(&shared)?.roles.into_iter().map(RoleInfo::from).collect();
        Ok(Json(Roles { roles }))
    }
}

fn known(shared: &Shared) -> Result<Known, Problem> {
    shared.present.known().ok_or_else(|| {
        Problem::busy("the bus is not connected: what it would tell is not known".to_owned())
    })
}

impl From<Alarm> for AlarmInfo {
    fn from(alarm: Alarm) -> Self {
        let Alarm { sensor, rule, active, side, quantity, value, limit, time } = alarm;
        Self { sensor, rule, active, side, quantity, value, limit, time }
    }
}

impl From<((String, String), Presence)> for RoleInfo {
    fn from(((role, node), presence): ((String, String), Presence)) -> Self {
        let Presence { state, since, version } = presence;
        Self { role, node, state, since, version }
    }
}
