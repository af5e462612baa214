//! What people call the sensors. A name may change while a role runs, and is looked for each time.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use vigia_protocol::header::SensorId;

use crate::config::ConfigError;
use crate::sensors::{check_name, entry_path, read_entry};
use crate::stamp::Stamp;

/// The names known so far; there are at most 65,536 sensors.
#[derive(Debug)]
pub struct Names {
    sensors: PathBuf,
    known: Mutex<HashMap<SensorId, Known>>,
}

/// What the registry said, and when its file was like that.
type Known = (Stamp, Option<Arc<str>>);

impl Names {
    /// Of the registry in this directory ([`Site::sensors_dir`](crate::site::Site::sensors_dir)).
    pub fn new(sensors: PathBuf) -> Self {
        Self { sensors, known: Mutex::default() }
    }

    /// The sensor's name, if it has one. Looks at a file's metadata, and reads it if it has changed.
    pub fn of(&self, sensor: SensorId) -> Option<Arc<str>> {
        let path = entry_path(&self.sensors, sensor);
        let stamp = Stamp::of(&path);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, name)) = known.get(&sensor)
            && *seen == stamp
        {
            return name.clone();
        }
        let name = read_entry(&path).and_then(|entry| match entry {
            Some(entry) if !entry.name.is_empty() => Ok(Some(check_name(&entry.name)?.into())),
            _ => Ok(None),
        });
        let name = name.unwrap_or_else(|ConfigError(error)| {
            tracing::warn!(%sensor, error, "the sensor's name cannot be used");
            None
        });
        known.insert(sensor, (stamp, name.clone()));
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::private::write_public;
    use crate::sensors::SensorEntry;

    #[test]
    fn a_name_is_the_one_that_the_registry_has_now() {
        let directory = tempfile::tempdir().unwrap();
        let names = Names::new(directory.path().to_owned());
        assert_eq!(names.of(SensorId(7)), None);
        for name in ["boiler", "kettle", "", "bad\n", "Kessel 2 – Süd"] {
            let entry = SensorEntry {
                name: name.to_owned(),
                profile: "climate".to_owned(),
                epoch: 1,
                revoked: false,
                added: "2026-01-01T00:00:00Z".to_owned(),
            };
            let text = toml::to_string(&entry).unwrap();
            write_public(&entry_path(directory.path(), SensorId(7)), &text).unwrap();
            let usable = !name.is_empty() && !name.contains('\n');
            for _ in 0..2 {
                assert_eq!(names.of(SensorId(7)).as_deref(), usable.then_some(name));
            }
        }
    }
}
