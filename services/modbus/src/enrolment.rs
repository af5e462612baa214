//! Whether every device of the map is a sensor of the site, with its key and its profile.

use std::path::{Path, PathBuf};

use vigia_kit::config::ConfigError;
use vigia_kit::device_key::KeyFile;
use vigia_kit::sensors::{Holder, Sensors};
use vigia_kit::site::Site;
use vigia_protocol::header::SensorId;

use crate::map::{Device, Map};

/// Reads the site's map, if it names one, and checks that its devices are enrolled.
///
/// # Errors
/// One sentence: file, line, device, and what to do.
pub fn devices(site: &Site) -> anyhow::Result<Vec<Device>> {
    let Some(path) = &site.config.modbus.map else { return Ok(Vec::new()) };
    let path = site.dir().join(path);
    let profiles = site.config.profiles()?;
    let map = Map::load(&path, &profiles).map_err(|error| ConfigError(error.to_string()))?;
    map.devices().iter().try_for_each(|device| check(site, &path, device))?;
    Ok(map.devices().to_vec())
}

/// Where the role has the key of a sensor that it is.
pub fn key_path(site: &Site, id: SensorId) -> PathBuf {
    Sensors::of(site).device_path(id, Holder::Modbus)
}

fn check(site: &Site, map: &Path, device: &Device) -> Result<(), ConfigError> {
    let Device { line, name, sensor, profile, .. } = device;
    let profile = profile.name();
    let bad = |words: String| {
        Err(ConfigError(format!("{}, line {line}: device {name:?}: {words}", map.display())))
    };
    let Some(entry) = Sensors::of(site).get(*sensor)? else {
        return bad(format!(
            "sensor {sensor} is not registered; 'vigia sensor add {sensor} --modbus --profile {profile} \
             --name {name}' does it"
        ));
    };
    if entry.profile != profile {
        return bad(format!(
            "profile = {profile:?}, but sensor {sensor} is registered with profile {:?}: expected the same",
            entry.profile
        ));
    }
    let path = key_path(site, *sensor);
    if !path.exists() {
        return bad(format!(
            "there is no key of sensor {sensor} at {}; 'vigia sensor rotate {sensor} --modbus' makes one",
            path.display()
        ));
    }
    let key = KeyFile::read(&path)?;
    if key.sensor != *sensor {
        return bad(format!("{} is the key of sensor {}", path.display(), key.sensor));
    }
    Ok(())
}
