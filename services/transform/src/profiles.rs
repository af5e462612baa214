//! Which sensor has which profile, read from the registry when first needed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vigia_kit::config::ConfigError;
use vigia_kit::profiles::declared;
use vigia_kit::sensors::Sensors;
use vigia_kit::site::Site;
use vigia_protocol::header::SensorId;
use vigia_protocol::profile::{Profile, Profiles};

/// How long a profile that was not there is not looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The profiles known so far; there are at most 65,536 sensors.
pub struct SensorProfiles {
    site: Site,
    profiles: Profiles,
    known: HashMap<SensorId, Result<Arc<Profile>, Instant>>,
}

impl SensorProfiles {
    /// Of this site.
    ///
    /// # Errors
    /// Profiles that cannot be used.
    pub fn new(site: Site) -> Result<Self, ConfigError> {
        Ok(Self { profiles: site.config.profiles()?, site, known: HashMap::new() })
    }

    /// The profiles of these sensors, as far as they are known.
    pub fn of(
        &mut self,
        sensors: impl Iterator<Item = SensorId>,
    ) -> BTreeMap<SensorId, Arc<Profile>> {
        let mut found = BTreeMap::new();
        for sensor in sensors {
            if found.contains_key(&sensor) {
                continue;
            }
            if let Some(profile) = self.get(sensor) {
                found.insert(sensor, profile);
            }
        }
        found
    }

    fn get(&mut self, sensor: SensorId) -> Option<Arc<Profile>> {
        match self.known.get(&sensor) {
            Some(Ok(profile)) => return Some(Arc::clone(profile)),
            Some(Err(looked)) if looked.elapsed() < LOOK_AGAIN => return None,
            _ => {}
        }
        let found = self.find(sensor).unwrap_or_else(|error| {
            tracing::error!(%sensor, %error, "the sensor's profile is unknown");
            None
        });
        self.known.insert(sensor, found.clone().ok_or_else(Instant::now));
        found
    }

    fn find(&mut self, sensor: SensorId) -> Result<Option<Arc<Profile>>, ConfigError> {
        let Some(entry) = Sensors::of(&self.site).get(sensor)? else { return Ok(None) };
        let profile = declared(&self.site, &mut self.profiles, &entry.profile)?;
        Ok(Some(Arc::new(profile.clone())))
    }
}
