//! The keys of the sensors whose frames come by, read from their files when first needed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use vigia_kit::config::ConfigError;
use vigia_kit::sensors::Sensors;
use vigia_kit::site::Site;
use vigia_protocol::header::SensorId;
use vigia_protocol::keys::ReadingKey;
use vigia_protocol::profile::Profiles;

/// Keys in memory at most; beyond, the memory starts over.
const MOST_KEYS: usize = 65_536;
/// How long a key that was not there is not looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What is needed to open one sensor's frames.
#[derive(Debug, Clone)]
pub struct SensorKey {
    /// K_payload and K_sig.
    pub key: ReadingKey,
    /// Bytes of one reading by its profile.
    pub reading_bytes: usize,
}

/// The keys known so far.
pub struct Keys {
    site: Site,
    profiles: Profiles,
    known: HashMap<(SensorId, u16), Result<SensorKey, Instant>>,
}

impl Keys {
    /// Of this site.
    ///
    /// # Errors
    /// Profiles that cannot be used.
    pub fn new(site: Site) -> Result<Self, ConfigError> {
        Ok(Self { profiles: site.config.profiles()?, site, known: HashMap::new() })
    }

    /// What opens the frames of this sensor and epoch, if there is a key file and a profile.
    pub fn get(&mut self, sensor: SensorId, epoch: u16) -> Option<&SensorKey> {
        let stale = match self.known.get(&(sensor, epoch)) {
            None => true,
            Some(Err(looked)) => looked.elapsed() >= LOOK_AGAIN,
            Some(Ok(_)) => false,
        };
        if stale {
            if self.known.len() >= MOST_KEYS {
                self.known.clear();
            }
            let found = self.read(sensor, epoch).unwrap_or_else(|error| {
                tracing::error!(%sensor, epoch, %error, "the sensor's key cannot be used");
                None
            });
            self.known.insert((sensor, epoch), found.ok_or_else(Instant::now));
        }
        self.known.get(&(sensor, epoch))?.as_ref().ok()
    }

    fn read(&mut self, sensor: SensorId, epoch: u16) -> Result<Option<SensorKey>, ConfigError> {
        let sensors = Sensors::of(&self.site);
        let Some(key) = sensors.reading_key(sensor, epoch)? else { return Ok(None) };
        let Some(entry) = sensors.get(sensor)? else { return Ok(None) };
        let profile =
            vigia_kit::profiles::declared(&self.site, &mut self.profiles, &entry.profile)?;
        Ok(Some(SensorKey { key, reading_bytes: profile.reading_bytes() }))
    }
}
