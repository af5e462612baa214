//! `vigia modbus`: the role; maps of the plant's devices, tried out; and the map of what SCADA reads here.

mod check;
mod map;
mod probe;
mod simulate;

use std::path::Path;

use clap::{Args, Subcommand};
use vigia_kit::config::ConfigError;
use vigia_kit::site::{Role, Site};
use vigia_modbus::map::Map;
use vigia_modbus::register::Kind;

use crate::exit::Outcome;
use crate::role;

/// `vigia modbus`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vigia modbus --site /srv/vigia                   run the role
  vigia modbus probe 10.0.0.5 --registers 0..9     what stands there, in every plausible way to read it
  vigia modbus check plant.toml                    whether a map can be used, and what is read together
  vigia modbus simulate plant.toml                 the map's devices, without the plant
  vigia modbus map --csv                           where SCADA finds each sensor")]
pub struct Options {
    #[command(flatten)]
    role: role::Options,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Read a device and show every plausible way to understand it, the best first
    Probe(probe::Options),
    /// Check a map of devices, and show which registers are read together
    Check(check::Options),
    /// Be the devices of a map, with faults on demand
    Simulate(simulate::Options),
    /// Show where the server has each sensor
    Map(map::Options),
}

/// Does what was asked.
pub fn run(options: &Options) -> Outcome {
    let site = &options.role.site;
    match &options.action {
        None => role::run(Role::Modbus, &options.role),
        Some(Action::Probe(probe)) => probe::run(probe),
        Some(Action::Check(check)) => check::run(site, check),
        Some(Action::Simulate(simulate)) => simulate::run(site, simulate),
        Some(Action::Map(map)) => map::run(site, map),
    }
}

/// A map, checked against the site's profiles.
fn load(site: &Site, path: &Path) -> anyhow::Result<Map> {
    let profiles = site.config.profiles()?;
    Ok(Map::load(path, &profiles).map_err(|error| ConfigError(error.to_string()))?)
}

/// The 1-based notation of an address, with its kind in front: five digits, or six where five do not do.
fn reference(kind: Kind, address: u16) -> String {
    let digit = match kind {
        Kind::Coil => 0,
        Kind::Discrete => 1,
        Kind::Input => 3,
        Kind::Holding => 4,
    };
    let number = u32::from(address) + 1;
    let digits = if number > 9_999 { 5 } else { 4 };
    format!("{digit}{number:0digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_what_a_map_reads_as_the_same() {
        for (kind, address, text) in [
            (Kind::Coil, 0, "00001"),
            (Kind::Discrete, 9, "10010"),
            (Kind::Input, 9_998, "39999"),
            (Kind::Input, 9_999, "310000"),
            (Kind::Holding, 65_535, "465536"),
        ] {
            assert_eq!(reference(kind, address), text);
            assert_eq!(vigia_modbus::register::reference(text), Some((kind, address)));
        }
    }
}
