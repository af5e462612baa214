//! Which sensor has which profile, read from the registry when first needed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use vigia_kit::config::ConfigError;
use vigia_kit::profiles::declared;
use vigia_kit::sensors::Sensors;
use vigia_kit::site::Site;
use vigia_protocol::header::SensorId;
use vigia_protocol::profile::{Profile, Profiles};

/// The profiles known so far; there are at most 65,536 sensors.
pub struct SensorProfiles {
    site: Site,
    profiles: Profiles,
    known: HashMap<SensorId, Arc<Profile>>,
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
        if let Some(profile) = self.known.get(&sensor) {
            return Some(Arc::clone(profile));
        }
        let found = self.find(sensor);
        let profile = found
            .inspect_err(
                |error| tracing::error!(%sensor, %error, "the sensor's profile is unknown"),
            )
            .ok()??;
        self.known.insert(sensor, Arc::clone(&profile));
        Some(profile)
    }

    fn find(&mut self, sensor: SensorId) -> Result<Option<Arc<Profile>>, ConfigError> {
        let Some(entry) = Sensors::of(&self.site).get(sensor)? else { return Ok(None) };
        let profile = declared(&self.site, &mut self.profiles, &entry.profile)?;
        Ok(Some(Arc::new(profile.clone())))
    }
}
