//! `vigia sensor`: who may send readings, and with which key.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use vigia_kit::config::ConfigError;
use vigia_kit::sensors::{Holder, SensorEntry, Sensors, check_name};
use vigia_kit::site::Site;
use vigia_protocol::header::SensorId;
use vigia_protocol::profile::Profile;

use crate::audit;
use crate::exit::{Answer, Outcome};
use crate::table::{columns, print};

/// `vigia sensor`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vigia sensor add 7 --name boiler
  vigia sensor add 8 --name pump --profile pump --modbus    a device that the modbus role polls
  vigia sensor rename 7 'boiler, hall 2'
  vigia sensor list --site /srv/vigia
  vigia sensor rotate 7             a new key; the old one opens no session any more
  vigia sensor revoke 7             no session any more; what was sent before is still understood")]
pub struct Options {
    /// The site directory, made by `vigia init`
    #[arg(long, value_name = "DIR", default_value = "site", global = true)]
    site: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Register a sensor and make its key
    #[command(after_help = "\
Examples:
  vigia sensor add 7 --name boiler --site /srv/vigia
  vigia sensor add 8 --profile pump")]
    Add {
        /// Its number, -32768 to 32767
        #[arg(allow_negative_numbers = true)]
        id: i16,
        /// Its name, for people: the live page and every answer about it show it
        #[arg(long, default_value = "", value_parser = check_name)]
        name: String,
        /// What it measures: climate, or a profile of vigia.toml
        #[arg(long, default_value = "climate")]
        profile: String,
        /// A device of the Modbus map: its key is put where the modbus role finds it
        #[arg(long)]
        modbus: bool,
    },
    /// Give a sensor another name; at once everywhere
    #[command(after_help = "\
Examples:
  vigia sensor rename 7 'boiler, hall 2' --site /srv/vigia")]
    Rename {
        /// Its number
        #[arg(allow_negative_numbers = true)]
        id: i16,
        /// Its name, for people
        #[arg(value_parser = check_name)]
        name: String,
    },
    /// Show all sensors
    #[command(after_help = "\
Examples:
  vigia sensor list --site /srv/vigia
  vigia sensor list --json")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Refuse a sensor's sessions from now on; `rotate` readmits it
    #[command(after_help = "\
Examples:
  vigia sensor revoke 7 --site /srv/vigia")]
    Revoke {
        /// Its number
        #[arg(allow_negative_numbers = true)]
        id: i16,
    },
    /// Give a sensor a new key
    #[command(after_help = "\
Examples:
  vigia sensor rotate 7 --site /srv/vigia")]
    Rotate {
        /// Its number
        #[arg(allow_negative_numbers = true)]
        id: i16,
        /// From now on it is a device of the Modbus map
        #[arg(long)]
        modbus: bool,
    },
}

/// Does what was asked.
pub fn run(options: &Options) -> Outcome {
    let site = Site::open(&options.site)?;
    let sensors = Sensors::of(&site);
    // Two commands at the same time must not hand out the same epoch twice.
    let _one_at_a_time = site.lock("sensor")?;
    match &options.action {
        Action::Add { id, name, profile, modbus } => {
            let holder = if *modbus { Holder::Modbus } else { Holder::Device };
            add(&site, SensorId(*id), name, profile, holder)?;
        }
        Action::Rename { id, name } => {
            sensors.rename(SensorId(*id), name)?;
            audit::note(&site, "sensor-renamed", &[("sensor", id), ("name", name)])?;
            print(&format!("Sensor {id} is called {name:?} now.\n"))?;
        }
        Action::List { json } => list(sensors, *json)?,
        Action::Revoke { id } => {
            sensors.revoke(SensorId(*id))?;
            audit::note(&site, "sensor-revoked", &[("sensor", id)])?;
            print(&format!(
                "Sensor {id} is revoked: it opens no session any more. What it sent before is still taken.\n"
            ))?;
        }
        Action::Rotate { id, modbus } => rotate(&site, SensorId(*id), *modbus)?,
    }
    Ok(Answer::Yes)
}

fn add(site: &Site, id: SensorId, name: &str, profile: &str, holder: Holder) -> anyhow::Result<()> {
    let sensors = Sensors::of(site);
    if sensors.get(id)?.is_some() {
        return Err(ConfigError(format!(
            "sensor {id} is there already; 'vigia sensor rotate {id}' gives it a new key"
        ))
        .into());
    }
    let path = sensors.issue_key(id, name, &profile_of(site, profile)?, holder)?;
    audit::note(site, "sensor-added", &[("sensor", &id)])?;
    print(&format!("Sensor {id} is registered.\n{}", what_now(&path, holder)))?;
    Ok(())
}

fn rotate(site: &Site, id: SensorId, modbus: bool) -> anyhow::Result<()> {
    let sensors = Sensors::of(site);
    let is_modbus = modbus || sensors.device_path(id, Holder::Modbus).exists();
    let holder = if is_modbus { Holder::Modbus } else { Holder::Device };
    let entry = sensors.get(id)?.ok_or_else(|| {
        ConfigError(format!("there is no sensor {id}; 'vigia sensor add {id}' registers it"))
    })?;
    let path = sensors.issue_key(id, &entry.name, &profile_of(site, &entry.profile)?, holder)?;
    audit::note(site, "sensor-key-rotated", &[("sensor", &id), ("epoch", &(entry.epoch + 1))])?;
    print(&format!(
        "Sensor {id} has a new key (epoch {}); the old one opens no session any more.\n{}",
        entry.epoch + 1,
        what_now(&path, holder)
    ))?;
    Ok(())
}

fn what_now(path: &Path, holder: Holder) -> String {
    let next = match holder {
        Holder::Device => {
            "Carry this file to the sensor and delete it here: who has it can speak as the sensor."
        }
        Holder::Modbus => {
            "There the modbus role reads it: now name the sensor in the site's Modbus map, and start the role again."
        }
    };
    format!("Its key: {}\n{next}\n", path.display())
}

fn profile_of(site: &Site, name: &str) -> anyhow::Result<Profile> {
    let profiles = site.config.profiles()?;
    let unknown = || {
        let known: Vec<&str> = profiles.iter().map(Profile::name).collect();
        ConfigError(format!("profile {name:?} is unknown, expected one of: {}", known.join(", ")))
    };
    Ok(profiles.get(name).ok_or_else(unknown)?.clone())
}

/// A sensor, as `list --json` shows it.
#[derive(Serialize)]
struct Shown {
    id: SensorId,
    #[serde(flatten)]
    entry: SensorEntry,
    /// The sensor's own key file, as long as it is here.
    key_file: Option<PathBuf>,
}

fn list(sensors: Sensors<'_>, json: bool) -> anyhow::Result<()> {
    let shown: Vec<Shown> = sensors
        .all()?
        .into_iter()
        .map(|(id, entry)| Shown {
            id,
            entry,
            key_file: Some(sensors.device_path(id, Holder::Device)).filter(|path| path.exists()),
        })
        .collect();
    if json {
        print(&format!("{}\n", serde_json::to_string(&shown)?))?;
        return Ok(());
    }
    let heading = ["ID", "NAME", "PROFILE", "EPOCH", "STATE", "ADDED", "KEY STILL HERE"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(shown.into_iter().map(|Shown { id, entry, key_file }| {
        vec![
            id.to_string(),
            entry.name,
            entry.profile,
            entry.epoch.to_string(),
            if entry.revoked { "revoked" } else { "active" }.to_owned(),
            entry.added,
            key_file.map(|path| path.display().to_string()).unwrap_or_default(),
        ]
    }));
    print(&columns(&rows))?;
    Ok(())
}
