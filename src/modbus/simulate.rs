//! `vigia modbus simulate`: the devices of a map, without the plant.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use tokio::runtime::Builder;
use vigia_kit::config::ConfigError;
use vigia_kit::shutdown::Shutdown;
use vigia_kit::site::Site;
use vigia_modbus::map::{Map, Transport};
use vigia_modbus::simulator::fault::{Fault, Faults};
use vigia_modbus::simulator::serve::{CannotSimulate, Listen};
use vigia_modbus::simulator::{Simulator, fault};

use crate::exit::{Answer, Outcome, Unavailable};
use crate::table::{columns, print};

#[derive(Debug, Args)]
#[command(after_help = "\
Each device listens at the address that the map has. Its values move slowly within `valid`, or what the profile
holds for plausible. What stands in no point of the map does not exist.

Faults: none, silence, dead, delay:500ms, exception:4, wrong-unit, short, garbage. While it runs, a line
`DEVICE FAULT` on standard input switches one: `boiler silence`, `boiler none`.

Examples:
  vigia modbus simulate plant.toml
  vigia modbus simulate plant.toml --fault boiler=silence --fault pump=delay:500ms
  vigia modbus simulate plant.toml --free-ports here.toml    on free ports; here.toml is the map with those")]
pub(super) struct Options {
    /// The map
    map: PathBuf,
    /// How a device misbehaves from the beginning
    #[arg(long = "fault", value_name = "DEVICE=FAULT", value_parser = device_and_fault)]
    faults: Vec<(String, Fault)>,
    /// Listen on free ports of this machine, and write the map with those to this file
    #[arg(long, value_name = "FILE")]
    free_ports: Option<PathBuf>,
}

fn device_and_fault(text: &str) -> Result<(String, Fault), String> {
    let (device, fault) =
        text.split_once('=').ok_or_else(|| format!("expected DEVICE=FAULT, {}", fault::ALLOWED))?;
    Ok((device.to_owned(), fault.parse().map_err(|error: fault::BadFault| error.to_string())?))
}

pub(super) fn run(site: &Path, options: &Options) -> Outcome {
    let site = Site::open(site)?;
    let map = super::load(&site, &options.map)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().context("cannot watch signals")?;
        let listen =
            if options.free_ports.is_some() { Listen::FreePorts } else { Listen::AsMapped };
        let simulator = Simulator::bind(&map, listen).await.map_err(refused)?;
        for (device, fault) in &options.faults {
            let set = simulator.faults().set(device, *fault);
            set.map_err(|error| ConfigError(error.to_string()))?;
        }
        if let Some(file) = &options.free_ports {
            let text = std::fs::read_to_string(&options.map)?;
            let text = with_addresses(&text, &map, &simulator, &site)?;
            std::fs::write(file, text).with_context(|| file.display().to_string())?;
        }
        print(&table(&map, &simulator))?;
        let faults = simulator.faults();
        // It ends with the process: reading a terminal cannot be cancelled.
        std::thread::spawn(move || follow(std::io::stdin().lock(), &faults));
        simulator.serve(shutdown).await;
        Ok(Answer::Yes)
    })
}

fn refused(error: CannotSimulate) -> anyhow::Error {
    match error {
        CannotSimulate::Listen { .. } => Unavailable(error.to_string()).into(),
        _ => ConfigError(error.to_string()).into(),
    }
}

fn table(map: &Map, simulator: &Simulator) -> String {
    let heading = ["DEVICE", "ADDRESS", "TRANSPORT", "UNIT", "SENSOR", "POINTS"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(map.devices().iter().zip(simulator.addresses()).map(|(device, address)| {
        let is_tcp = matches!(device.transport, Transport::Tcp(_));
        vec![
            device.name.clone(),
            address.to_string(),
            if is_tcp { "tcp" } else { "rtu_over_tcp" }.to_owned(),
            device.unit.to_string(),
            device.sensor.to_string(),
            device.points.len().to_string(),
        ]
    }));
    columns(&rows)
}

/// The text of a map, with the addresses at which its devices listen now.
fn with_addresses(
    text: &str,
    map: &Map,
    simulator: &Simulator,
    site: &Site,
) -> anyhow::Result<String> {
    let mut text = text.to_owned();
    for (device, new) in map.devices().iter().zip(simulator.addresses()) {
        if let Transport::Tcp(old) | Transport::RtuOverTcp(old) = &device.transport {
            for quote in ['"', '\''] {
                text = text.replace(&format!("{quote}{old}{quote}"), &format!("\"{new}\""));
            }
        }
    }
    let profiles = site.config.profiles()?;
    let written = Map::parse("the map with free ports", &text, &profiles)
        .map_err(|error| ConfigError(error.to_string()))?;
    for (device, new) in written.devices().iter().zip(simulator.addresses()) {
        let (Transport::Tcp(address) | Transport::RtuOverTcp(address)) = &device.transport else {
            continue;
        };
        if *address != new.to_string() {
            let name = &device.name;
            return Err(ConfigError(format!(
                "the transport of device {name:?} cannot be replaced in the map's text, \
                 expected its address as a plain string"
            ))
            .into());
        }
    }
    Ok(text)
}

/// Switches faults as the lines say. A line that cannot be followed is told and changes nothing.
fn follow(lines: impl BufRead, faults: &Faults) {
    for line in lines.lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let switched = match words[..] {
            [] => continue,
            [device, fault] => fault
                .parse()
                .map_err(|error: fault::BadFault| error.to_string())
                .and_then(|fault| faults.set(device, fault).map_err(|error| error.to_string())),
            _ => Err(format!("{line:?}, expected DEVICE FAULT")),
        };
        // Who waits for it reads that it is so.
        let said = switched.map_or_else(|error| format!("refused: {error}"), |()| line);
        if print(&format!("{said}\n")).is_err() {
            return;
        }
    }
}
