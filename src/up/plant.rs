//! What `--demo` simulates besides sensors: two Modbus devices, which the modbus role of a site made for it polls.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use vigia_kit::sensors::{Holder, Sensors};
use vigia_kit::site::Site;
use vigia_modbus::map::Map;
use vigia_protocol::topic::NodeName;

use super::supervisor::Supervisor;
use crate::init::{self, ports};

/// The map's name within the site.
const MAP: &str = "modbus.toml";

/// What the devices measure, for the site's configuration.
const PROFILES: &str = r#"
# What the two simulated Modbus devices of modbus.toml measure.
[profiles.boiler]
quantities = [
  { name = "flow_temperature", unit = "°C", type = "f32", range = [40.0, 80.0] },
  { name = "pressure", unit = "bar", type = "f32", range = [1.0, 2.5] },
  { name = "burning", unit = "1", type = "f32", range = [0.0, 1.0] },
]
[profiles.pump]
quantities = [
  { name = "flow", unit = "l/min", type = "f32", range = [0.0, 500.0] },
  { name = "energy", unit = "kWh", type = "f64" },
]
"#;

/// Each device as the map has it, behind its address.
const DEVICES: [&str; 2] = [
    r#"name = "boiler"
unit = 1
interval_ms = 1000
gap = 8
sensor = 2001
profile = "boiler"

[[device.point]]
quantity = "flow_temperature"
reference = "40001"
type = "i16"
scale = 0.1
unit = "°C"

[[device.point]]
quantity = "pressure"
reference = "40003"
type = "f32"
order = "CDAB"
unit = "bar"

[[device.point]]
quantity = "burning"
reference = "10001"
type = "bool"
"#,
    r#"name = "pump"
unit = 7
interval_ms = 500
sensor = 2002
profile = "pump"

[[device.point]]
quantity = "flow"
reference = "30001"
type = "f32"
unit = "l/min"

[[device.point]]
quantity = "energy"
kind = "input"
address = 2
type = "u32"
scale = 0.1
unit = "kWh"
"#,
];

/// Makes a site on free ports whose modbus role has the two devices to poll.
///
/// # Errors
/// What the file system says; no free port.
pub fn make_site(dir: &std::path::Path, node: &NodeName) -> anyhow::Result<Site> {
    let site = init::make_for_demo(dir, node, MAP, PROFILES)?;
    fs::write(dir.join(MAP), map().context("cannot find free ports")?)?;
    let map = Map::load(&dir.join(MAP), &site.config.profiles()?)?;
    for device in map.devices() {
        let sensors = Sensors::of(&site);
        sensors.issue_key(device.sensor, &device.name, &device.profile, Holder::Modbus)?;
    }
    Ok(site)
}

/// Whether the site is one of these.
pub fn is_there(site: &Site) -> bool {
    let map = fs::read_to_string(site.dir().join(MAP));
    site.config.modbus.map.as_deref() == Some(MAP.as_ref())
        && map.is_ok_and(|text| DEVICES.iter().all(|device| text.contains(device)))
}

/// Starts the devices.
pub fn start(site: &Site, supervisor: &mut Supervisor) {
    let map = site.dir().join(MAP);
    let arguments: [OsString; 5] =
        ["modbus".into(), "simulate".into(), map.into(), "--site".into(), site.dir().into()];
    supervisor.start_devices(arguments.into());
}

fn map() -> io::Result<String> {
    let mut text =
        "# Two simulated devices: `vigia up --demo` runs them, as `vigia modbus simulate` does.\n"
            .to_owned();
    let ports: [u16; DEVICES.len()] = ports::find()?;
    for (port, device) in ports.into_iter().zip(DEVICES) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // Writing into a String cannot fail.
        let _ = write!(text, "\n[[device]]\ntransport = {{ tcp = \"{address}\" }}\n{device}");
    }
    Ok(text)
}
