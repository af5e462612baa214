//! The file with a sensor's key, as it is carried to the sensor.

use std::io;
use std::path::Path;

use serde::Deserialize;
use vigia_protocol::header::SensorId;
use vigia_protocol::keys::{DeviceKey, Secret};
use vigia_protocol::profile::{Number, Profile};
use zeroize::{Zeroize, Zeroizing};

use crate::config::ConfigError;
use crate::private::{make_private_dir, read_private, write_private};

/// Who a sensor is: its number, and the key of a generation.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// Its number.
    pub sensor: SensorId,
    /// The generation of the key.
    pub epoch: u16,
    /// What it measures.
    pub profile: String,
    /// K_dev.
    pub key: DeviceKey,
}

impl KeyFile {
    /// Reads it.
    ///
    /// # Errors
    /// A file that is missing, readable by others, or not what `vigia sensor` makes.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        #[derive(Deserialize)]
        struct Text {
            sensor: SensorId,
            epoch: u16,
            profile: String,
            key: String,
        }
        let bad = |problem: &str| ConfigError(format!("{}: {problem}", path.display()));
        let text = Zeroizing::new(read_private(path)?);
        // The message alone: the line may be the one with the key.
        let file: Text = toml::from_str(&text).map_err(|error| bad(error.message()))?;
        let digits = Zeroizing::new(file.key);
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits.as_bytes(), &mut bytes)
            .map_err(|_| bad("key is not 64 hexadecimal digits"))?;
        let key = DeviceKey(Secret::new(bytes));
        bytes.zeroize();
        Ok(Self { sensor: file.sensor, epoch: file.epoch, profile: file.profile, key })
    }
}

/// Writes the file, for its owner only.
///
/// # Errors
/// What the file system says.
pub fn write(
    path: &Path,
    (id, epoch): (SensorId, u16),
    profile: &Profile,
    key: &DeviceKey,
) -> io::Result<()> {
    let quantities: Vec<String> = profile
        .quantities()
        .iter()
        .map(|quantity| {
            let number = match quantity.number {
                Number::F32 => "f32",
                Number::F64 => "f64",
            };
            format!("\"{}:{number}\"", quantity.name)
        })
        .collect();
    let text = Zeroizing::new(format!(
        "# The key of one Vigia sensor. Who has it can speak as this sensor.\n\
         sensor = {id}\nepoch = {epoch}\nprofile = \"{}\"\nquantities = [{}]\nkey = \"{}\"\n",
        profile.name(),
        quantities.join(", "),
        hex::encode(key.0.expose())
    ));
    make_private_dir(path.parent().expect("in a directory"))?;
    write_private(path, &text)
}
