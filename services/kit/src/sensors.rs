//! The registry of sensors and the files that hold each role's part of their keys.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vigia_protocol::header::SensorId;
use vigia_protocol::keys::{DeviceKey, LinkKey, ReadingKey, Secret};
use vigia_protocol::profile::Profile;

use crate::clock;
use crate::config::ConfigError;
use crate::device_key;
use crate::limits::SENSOR_NAME_CHARACTERS;
use crate::private::{make_private_dir, read_private, write_private, write_public};
use crate::site::{Role, Site};
use crate::stamp::Stamp;

/// Public facts about a sensor: `sensors/ID.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SensorEntry {
    /// For people; see [`check_name`].
    #[serde(default)]
    pub name: String,
    /// What it measures.
    pub profile: String,
    /// The generation of its key.
    pub epoch: u16,
    /// Whether sessions are refused.
    #[serde(default)]
    pub revoked: bool,
    /// When it was added; RFC 3339.
    pub added: String,
}

/// Who has a sensor's own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A device, to which it is carried.
    Device,
    /// The modbus role, which is the sensor.
    Modbus,
}

/// The registry and key files of a site.
#[derive(Debug, Clone, Copy)]
pub struct Sensors<'a> {
    site: &'a Site,
}

impl<'a> Sensors<'a> {
    /// Of this site.
    pub fn of(site: &'a Site) -> Self {
        Self { site }
    }

    fn entry_path(&self, id: SensorId) -> PathBuf {
        entry_path(&self.site.sensors_dir(), id)
    }

    fn key_path(&self, role: Role, id: SensorId, epoch: u16) -> PathBuf {
        self.site.keys_dir(role).join("sensors").join(format!("{id}.{epoch}.key"))
    }

    /// Where the sensor's own key file is put.
    pub fn device_path(&self, id: SensorId, holder: Holder) -> PathBuf {
        let directory = match holder {
            Holder::Device => self.site.dir().join("devices"),
            Holder::Modbus => self.site.keys_dir(Role::Modbus).join("devices"),
        };
        directory.join(format!("{id}.key"))
    }

    /// One sensor.
    ///
    /// # Errors
    /// An entry that cannot be understood. A sensor that is not there is `None`.
    pub fn get(&self, id: SensorId) -> Result<Option<SensorEntry>, ConfigError> {
        read_entry(&self.entry_path(id))
    }

    /// All sensors, by number.
    ///
    /// # Errors
    /// An entry that cannot be understood.
    pub fn all(&self) -> Result<BTreeMap<SensorId, SensorEntry>, ConfigError> {
        let directory = self.site.sensors_dir();
        let files = match fs::read_dir(&directory) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(ConfigError(format!("{}: {error}", directory.display()))),
        };
        let mut all = BTreeMap::new();
        for file in files.flatten() {
            let name = file.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".toml")?.parse().ok());
            if let Some(id) = number.map(SensorId)
                && let Some(entry) = self.get(id)?
            {
                all.insert(id, entry);
            }
        }
        Ok(all)
    }

    /// Adds a sensor, or gives one that is there a new key: the next epoch. The keys of older epochs
    /// stay, for frames that are already journaled or spooled.
    ///
    /// # Errors
    /// An unknown profile, or what the file system says.
    pub fn issue_key(
        &self,
        id: SensorId,
        name: &str,
        profile: &Profile,
        holder: Holder,
    ) -> Result<PathBuf, ConfigError> {
        let said =
            |error: io::Error| ConfigError(format!("cannot write the sensor's keys: {error}"));
        let old = self.get(id)?;
        let epoch = match &old {
            Some(entry) => entry.epoch.checked_add(1).ok_or_else(|| {
                ConfigError(format!("sensor {id} has used all 65535 epochs of its keys"))
            })?,
            None => 1,
        };
        let device = DeviceKey(Secret::new(clock::random()));
        // Verify first: whoever can open a session must be understood from its first frame on.
        let reading = device.reading(id, epoch);
        let reading_text = format!(
            "payload = \"{}\"\nsignature = \"{}\"\n",
            hex::encode(reading.payload.expose()),
            hex::encode(reading.signature.expose())
        );
        let link_text = format!("link = \"{}\"\n", hex::encode(device.link(id, epoch).0.expose()));
        for (role, text) in [(Role::Verify, reading_text), (Role::Broker, link_text)] {
            let path = self.key_path(role, id, epoch);
            make_private_dir(path.parent().expect("in a directory")).map_err(said)?;
            write_private(&path, &text).map_err(said)?;
        }
        let path = self.device_path(id, holder);
        device_key::write(&path, (id, epoch), profile, &device).map_err(said)?;
        self.write_entry(
            id,
            &SensorEntry {
                name: name.to_owned(),
                profile: profile.name().to_owned(),
                epoch,
                revoked: false,
                added: old.map_or_else(|| clock::now().to_string(), |entry| entry.added),
            },
        )?;
        Ok(path)
    }

    /// Marks a sensor as revoked: no session is opened any more.
    ///
    /// # Errors
    /// If there is no such sensor.
    pub fn revoke(&self, id: SensorId) -> Result<(), ConfigError> {
        let mut entry =
            self.get(id)?.ok_or_else(|| ConfigError(format!("there is no sensor {id}")))?;
        entry.revoked = true;
        self.write_entry(id, &entry)
    }

    /// Gives a sensor another name.
    ///
    /// # Errors
    /// If there is no such sensor.
    pub fn rename(&self, id: SensorId, name: &str) -> Result<(), ConfigError> {
        let mut entry =
            self.get(id)?.ok_or_else(|| ConfigError(format!("there is no sensor {id}")))?;
        name.clone_into(&mut entry.name);
        self.write_entry(id, &entry)
    }

    fn write_entry(&self, id: SensorId, entry: &SensorEntry) -> Result<(), ConfigError> {
        let path = self.entry_path(id);
        let text = toml::to_string(entry).expect("plain data has an encoding");
        fs::create_dir_all(path.parent().expect("in a directory"))
            .and_then(|()| write_public(&path, &text))
            .map_err(|error| ConfigError(format!("{}: {error}", path.display())))
    }

    /// Whether sessions with the key of this epoch are welcome: not of a sensor that is unknown or
    /// revoked, nor with an old key.
    ///
    /// # Errors
    /// An entry that cannot be understood.
    pub fn admits(&self, id: SensorId, epoch: u16) -> Result<bool, ConfigError> {
        Ok(self.get(id)?.is_some_and(|entry| !entry.revoked && entry.epoch == epoch))
    }

    /// What changes whenever the sensor's entry does.
    pub fn stamp(&self, id: SensorId) -> Stamp {
        Stamp::of(&self.entry_path(id))
    }

    /// The broker's part: `None` for a sensor that it does not admit.
    ///
    /// # Errors
    /// A key file that is there and cannot be used.
    pub fn link_key(&self, id: SensorId, epoch: u16) -> Result<Option<LinkKey>, ConfigError> {
        if !self.admits(id, epoch)? {
            return Ok(None);
        }
        #[derive(Deserialize)]
        struct File {
            link: String,
        }
        let file: Option<File> = self.read_key(Role::Broker, id, epoch)?;
        file.map(|file| secret(&file.link).map(LinkKey)).transpose()
    }

    /// Verify's part; also for older epochs and revoked sensors, whose frames may still be under way.
    ///
    /// # Errors
    /// A key file that is there and cannot be used.
    pub fn reading_key(&self, id: SensorId, epoch: u16) -> Result<Option<ReadingKey>, ConfigError> {
        #[derive(Deserialize)]
        struct File {
            payload: String,
            signature: String,
        }
        let file: Option<File> = self.read_key(Role::Verify, id, epoch)?;
        file.map(|file| {
            Ok(ReadingKey { payload: secret(&file.payload)?, signature: secret(&file.signature)? })
        })
        .transpose()
    }

    fn read_key<T: serde::de::DeserializeOwned>(
        &self,
        role: Role,
        id: SensorId,
        epoch: u16,
    ) -> Result<Option<T>, ConfigError> {
        let path = self.key_path(role, id, epoch);
        if !path.exists() {
            return Ok(None);
        }
        toml::from_str(&read_private(&path)?)
            .map(Some)
            .map_err(|error| ConfigError(format!("{}: {}", path.display(), error.message())))
    }
}

/// Where a sensor's entry is in their directory.
pub fn entry_path(sensors: &Path, id: SensorId) -> PathBuf {
    sensors.join(format!("{id}.toml"))
}

/// A sensor's entry; none if there is no file.
///
/// # Errors
/// One that cannot be understood.
pub fn read_entry(path: &Path) -> Result<Option<SensorEntry>, ConfigError> {
    match fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text)
            .map(Some)
            .map_err(|error| ConfigError(format!("{}: {}", path.display(), error.message()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ConfigError(format!("{}: {error}", path.display()))),
    }
}

/// A sensor's name has to fit into a line: at most 64 characters, all of which can be printed.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<String, ConfigError> {
    let characters = name.chars().count();
    if characters > SENSOR_NAME_CHARACTERS {
        return Err(ConfigError(format!(
            "{characters} characters, expected at most {SENSOR_NAME_CHARACTERS}"
        )));
    }
    match name.chars().find(|character| character.is_control()) {
        Some(character) => {
            Err(ConfigError(format!("{character:?} in it, expected what can be printed")))
        }
        None => Ok(name.to_owned()),
    }
}

fn secret(text: &str) -> Result<Secret, ConfigError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| ConfigError("a sensor's key is not 64 hexadecimal digits".to_owned()))?;
    Ok(Secret::new(bytes))
}
