//! Whether the store is well: for whoever watches over it, so without a token.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use vigia_kit::clock::now;

use crate::api::problem::Problem;
use crate::api::{Part, Shared};

/// Operations on health.
#[derive(Debug)]
pub struct Wellbeing;

/// All is well.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct Well {
    /// `ok`.
    pub status: String,
}

fn well() -> Json<Well> {
    Json(Well { status: "ok".to_owned() })
}

#[OpenApi(tag = "Part::Health")]
impl Wellbeing {
    /// The process answers.
    #[oai(path = "/health/live", method = "get", operation_id = "getLive")]
    async fn live(&self) -> Result<Json<Well>, Problem> {
        Ok(well())
    }

    /// The bus is connected and the pipeline moves: a marker came within 10 s.
    #[oai(path = "/health/ready", method = "get", operation_id = "getReady")]
    async fn ready(&self, shared: Data<&Arc<Shared>>) -> Result<Json<Well>, Problem> {
        match shared.health.obstacle(now()) {
            None => Ok(well()),
            Some(obstacle) => Err(Problem::busy(obstacle.to_owned())),
        }
    }
}
