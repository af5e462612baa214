//! Whether the store is well: for whoever watches over it, so without a token.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use vigia_kit::clock::{now, steady};

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

/// The pipeline moves.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct Ready {
    /// `ok`.
    pub status: String,
    /// Time since a marker came through the pipeline, in milliseconds.
    pub marker_age_ms: f64,
    /// Time the slowest journal's last marker took to the store and back, in milliseconds; absent before the
    /// first.
    #[oai(skip_serializing_if_is_none)]
    pub marker_round_trip_ms: Option<f64>,
}

const OK: &str = "ok";

fn well() -> Json<Well> {
    Json(Well { status: OK.to_owned() })
}

fn millis(micros: i64) -> f64 {
    micros as f64 / 1e3
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
    async fn ready(&self, shared: Data<&Arc<Shared>>) -> Result<Json<Ready>, Problem> {
        let steady = steady();
        if let Some(obstacle) = shared.health.obstacle(steady) {
            return Err(Problem::busy(obstacle.to_owned()));
        }
        let now = now();
        let round_trip = shared.look(move |state| state.journals.round_trip(now)).await?;
        Ok(Json(Ready {
            status: OK.to_owned(),
            marker_age_ms: shared.health.marker_age(steady).map_or(0.0, millis),
            marker_round_trip_ms: round_trip.map(millis),
        }))
    }
}
