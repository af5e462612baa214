//! `--demo N`: simulated sensors, as separate processes that know only what a real sensor knows.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use vigia_kit::config::ConfigError;
use vigia_kit::private::make_private_dir;
use vigia_kit::sensors::{Holder, Sensors};
use vigia_kit::site::Site;
use vigia_protocol::header::SensorId;
use vigia_protocol::profile::Profile;

use super::plant;
use super::supervisor::Supervisor;
use super::truth;
use crate::exit::Unavailable;

/// How long a stopped sensor goes on delivering; less than the supervisor's patience.
const LINGER: &str = "8s";
const PROGRAM: &str = "vigia-sensor";
/// Where `make build` leaves it, below the directory of the sources.
const BUILT: &str = "build/sensor-release/vigia-sensor";

/// Sensors that are ready to be started.
#[derive(Debug)]
pub struct Demo {
    /// How many.
    pub count: i16,
    /// Readings per second of each.
    pub rate: f64,
    /// Whether the simulated Modbus devices are there too.
    pub devices: bool,
    program: PathBuf,
    site: PathBuf,
}

impl Demo {
    /// Finds the program, registers the sensors that are not there yet, and makes their directories.
    ///
    /// # Errors
    /// If there is no program, or a sensor of these numbers is a real one.
    pub fn prepare(
        site: &Site,
        count: i16,
        rate: f64,
        program: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let program = find(program)?;
        let sensors = Sensors::of(site);
        for id in 1..=count {
            match sensors.get(SensorId(id))? {
                None => {
                    let name = format!("demo {id}");
                    let profile = Profile::climate();
                    sensors.issue_key(SensorId(id), &name, &profile, Holder::Device)?;
                }
                Some(entry)
                    if entry.revoked
                        || !sensors.device_path(SensorId(id), Holder::Device).exists() =>
                {
                    return Err(ConfigError(format!(
                        "sensor {id} is revoked, or its key has been carried away: it cannot be simulated; \
                         'vigia sensor rotate {id}' makes a new key"
                    ))
                    .into());
                }
                Some(_) => {}
            }
        }
        make_private_dir(&site.dir().join("data/sensors"))
            .and_then(|()| fs::create_dir_all(truth::dir(site.dir())))
            .context("cannot make the sensors' directories")?;
        let devices = plant::is_there(site);
        Ok(Self { count, rate, devices, program, site: site.dir().to_owned() })
    }

    /// Starts them.
    pub fn start(&self, supervisor: &mut Supervisor, ingress: SocketAddr) {
        for id in 1..=self.count {
            let path = |path: PathBuf| OsString::from(path);
            let arguments = vec![
                "--connect".into(),
                ingress.to_string().into(),
                "--key".into(),
                path(self.site.join(format!("devices/{id}.key"))),
                "--spool".into(),
                path(self.site.join(format!("data/sensors/{id}"))),
                "--truth".into(),
                path(truth::dir(&self.site).join(format!("{id}.txt"))),
                "--rate".into(),
                self.rate.to_string().into(),
                "--seed".into(),
                id.to_string().into(),
                "--linger".into(),
                LINGER.into(),
            ];
            supervisor.start_sensor(id, self.program.clone(), arguments);
        }
    }
}

fn find(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let candidates = match given {
        Some(path) => vec![path.to_owned()],
        None => {
            let beside = env::current_exe().ok().map(|own| own.with_file_name(PROGRAM));
            beside.into_iter().chain([PathBuf::from(BUILT)]).collect()
        }
    };
    // Absolute, because a bare name would be looked up in PATH.
    if let Some(found) = candidates.iter().find(|path| path.is_file()) {
        return fs::canonicalize(found).with_context(|| format!("{}", found.display()));
    }
    let places: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
    Err(Unavailable(format!(
        "there is no {PROGRAM} at {}; 'make build' builds it, --sensor-binary PATH names another",
        places.join(" or ")
    ))
    .into())
}
