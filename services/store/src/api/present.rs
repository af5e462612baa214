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

/// All alarms.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct Alarms {
    /// By sensor and rule: those that are active, and the last that has ended.
    pub alarms: Vec<Alarm>,
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
        Ok(Json(Alarms { alarms: known(&shared)?.alarms.into_values().collect() }))
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

impl From<((String, String), Presence)> for RoleInfo {
    fn from(((role, node), presence): ((String, String), Presence)) -> Self {
        let Presence { state, since, version } = presence;
        Self { role, node, state, since, version }
    }
}
