//! `vigia sensor`: who may send readings, and with which key.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use vigia_kit::config::ConfigError;
use vigia_kit::sensors::{SensorEntry, Sensors};
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
        /// Its name, for people
        #[arg(long, default_value = "")]
        name: String,
        /// What it measures: climate, or a profile of vigia.toml
        #[arg(long, default_value = "climate")]
        profile: String,
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
    },
}

/// Does what was asked.
pub fn run(options: &Options) -> Outcome {
    let site = Site::open(&options.site)?;
    let sensors = Sensors::of(&site);
    // Two commands at the same time must not hand out the same epoch twice.
    let _one_at_a_time = site.lock("sensor")?;
    match &options.action {
        Action::Add { id, name, profile } => add(&site, SensorId(*id), name, profile)?,
        Action::List { json } => list(sensors, *json)?,
        Action::Revoke { id } => {
            sensors.revoke(SensorId(*id))?;
            audit::note(&site, "sensor-revoked", &[("sensor", id)])?;
            print(&format!(
                "Sensor {id} is revoked: it opens no session any more. What it sent before is still taken.\n"
            ))?;
        }
        Action::Rotate { id } => rotate(&site, SensorId(*id))?,
    }
    Ok(Answer::Yes)
}

fn add(site: &Site, id: SensorId, name: &str, profile: &str) -> anyhow::Result<()> {
    let sensors = Sensors::of(site);
    if sensors.get(id)?.is_some() {
        return Err(ConfigError(format!(
            "sensor {id} is there already; 'vigia sensor rotate {id}' gives it a new key"
        ))
        .into());
    }
    let path = sensors.issue_key(id, name, &profile_of(site, profile)?)?;
    audit::note(site, "sensor-added", &[("sensor", &id)])?;
    print(&format!("Sensor {id} is registered.\n{}", carry(&path)))?;
    Ok(())
}

fn rotate(site: &Site, id: SensorId) -> anyhow::Result<()> {
    let sensors = Sensors::of(site);
    let entry = sensors.get(id)?.ok_or_else(|| {
        ConfigError(format!("there is no sensor {id}; 'vigia sensor add {id}' registers it"))
    })?;
    let path = sensors.issue_key(id, &entry.name, &profile_of(site, &entry.profile)?)?;
    audit::note(site, "sensor-key-rotated", &[("sensor", &id), ("epoch", &(entry.epoch + 1))])?;
    print(&format!(
        "Sensor {id} has a new key (epoch {}); the old one opens no session any more.\n{}",
        entry.epoch + 1,
        carry(&path)
    ))?;
    Ok(())
}

fn carry(path: &Path) -> String {
    format!(
        "Its key: {}\nCarry this file to the sensor and delete it here: who has it can speak as the sensor.\n",
        path.display()
    )
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
            key_file: Some(sensors.device_path(id)).filter(|path| path.exists()),
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
