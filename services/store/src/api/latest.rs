//! The newest reading of every sensor.

use std::collections::BTreeMap;
use std::sync::Arc;

use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use vigia_protocol::header::SensorId;

use crate::api::allowed::{Allowed, ToRead};
use crate::api::problem::Problem;
use crate::api::reading::Reading;
use crate::api::sensors::{QuantityInfo, bad_cursor, name, quantities};
use crate::api::{Part, Shared};
use crate::limits::PAGE_SENSORS;
use crate::query::StoredReading;

/// Operations on the newest readings.
#[derive(Debug)]
pub struct Latest;

/// The newest reading of a sensor.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct LatestReading {
    /// Whose.
    pub sensor: i16,
    /// What people call it.
    #[oai(skip_serializing_if_is_none)]
    pub name: Option<String>,
    /// What its numbers mean: one of the page's profiles.
    pub profile: String,
    /// The reading.
    #[oai(flatten)]
    pub reading: Reading,
}

/// A page of newest readings.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct LatestPage {
    /// By sensor; those of which no reading is stored are left out.
    pub readings: Vec<LatestReading>,
    /// The quantities of the profiles that these readings have.
    pub profiles: BTreeMap<String, Vec<QuantityInfo>>,
    /// Where the next page begins; absent at the end.
    #[oai(skip_serializing_if_is_none)]
    pub next_cursor: Option<String>,
}

fn default_page() -> u64 {
    PAGE_SENSORS.1
}

#[OpenApi(tag = "Part::Sensors")]
impl Latest {
    /// The newest reading of every sensor: the last of its last stream.
    #[oai(path = "/readings/latest", method = "get", operation_id = "listLatest")]
    async fn list(
        &self,
        _allowed: Allowed<ToRead>,
        shared: Data<&Arc<Shared>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Sensors in a page.
        #[oai(default = "default_page", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u64>,
    ) -> Result<Json<LatestPage>, Problem> {
        let after = match &cursor.0 {
            None => None,
            Some(text) => Some(SensorId(text.parse().map_err(|_| bad_cursor(text))?)),
        };
        let limit = limit.0 as usize;
        let look = move |state: &crate::state::State| -> Vec<_> {
            let sensors = state.streams.sensors(after, limit + 1);
            sensors.into_iter().map(|sensor| (sensor, state.newest(sensor))).collect()
        };
        let mut found = shared.look(look).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = found.last().filter(|_| more).map(|(sensor, _)| sensor.to_string());
        let names = shared.names.clone();
        let query = shared.query(None, move |snapshot| {
            let known = |(sensor, newest)| match newest {
                Some(newest) => Ok(Some(newest)),
                None => snapshot.latest(sensor),
            };
            let mut page =
                LatestPage { readings: Vec::new(), profiles: BTreeMap::new(), next_cursor };
            for found in found {
                let Some(reading) = known(found)? else { continue };
                let StoredReading { id, profile, .. } = &reading;
                page.profiles
                    .entry(profile.name().to_owned())
                    .or_insert_with(|| quantities(profile));
                page.readings.push(LatestReading {
                    sensor: id.sensor.0,
                    name: name(&names, id.sensor),
                    profile: profile.name().to_owned(),
                    reading: Reading::from(&reading),
                });
            }
            Ok(page)
        });
        Ok(Json(query.await?))
    }
}
