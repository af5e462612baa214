//! `vigia modbus check`: whether a map can be used, and what is asked of each device.

use std::path::{Path, PathBuf};

use clap::Args;
use vigia_kit::sensors::Sensors;
use vigia_kit::site::Site;
use vigia_modbus::encoding::{Encoding, Order, Type};
use vigia_modbus::map::{Device, Map, Point, Transport};
use vigia_modbus::plan::Plan;
use vigia_modbus::register::Span;

use super::reference;
use crate::exit::{Answer, Outcome};
use crate::table::{columns, print};

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 the map can be used, 1 it can, but a sensor of it is not registered so, 64 it cannot

Examples:
  vigia modbus check plant.toml --site /srv/vigia")]
pub(super) struct Options {
    /// The map
    map: PathBuf,
}

pub(super) fn run(site: &Path, options: &Options) -> Outcome {
    let site = Site::open(site)?;
    let map = super::load(&site, &options.map)?;
    let mut text = columns(&devices(&map));
    text.push('\n');
    text.push_str(&columns(&points(&map)));
    let unregistered = unregistered(&site, &map)?;
    if !unregistered.is_empty() {
        text.push('\n');
        text.push_str(&unregistered.concat());
    }
    print(&text)?;
    Ok(if unregistered.is_empty() { Answer::Yes } else { Answer::No })
}

fn devices(map: &Map) -> Vec<Vec<String>> {
    let heading =
        ["DEVICE", "TRANSPORT", "UNIT", "EVERY", "TIMEOUT", "SENSOR", "PROFILE", "REQUESTS"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(map.devices().iter().map(|device| {
        vec![
            device.name.clone(),
            match &device.transport {
                Transport::Tcp(address) => format!("tcp {address}"),
                Transport::RtuOverTcp(address) => format!("rtu_over_tcp {address}"),
                Transport::Serial(serial) => format!("serial {}", serial.path),
            },
            device.unit.to_string(),
            format!("{} ms", device.interval.as_millis()),
            format!("{} ms", device.timeout.as_millis()),
            device.sensor.to_string(),
            device.profile.name().to_owned(),
            plan(device).requests().len().to_string(),
        ]
    }));
    rows
}

fn points(map: &Map) -> Vec<Vec<String>> {
    let heading = [
        "DEVICE",
        "QUANTITY",
        "KIND",
        "ADDRESS",
        "REFERENCE",
        "TYPE",
        "ORDER",
        "VALUE",
        "UNIT",
        "READ WITH",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for device in map.devices() {
        let plan = plan(device);
        let quantities = device.profile.quantities();
        for (index, (point, quantity)) in device.points.iter().zip(quantities).enumerate() {
            let (what, order) = encoding(point.encoding);
            let request = plan.requests()[plan.request_of(index)];
            rows.push(vec![
                device.name.clone(),
                point.quantity.clone(),
                point.span.kind().word().to_owned(),
                point.span.start().to_string(),
                reference(point.span.kind(), point.span.start()),
                what,
                order.to_owned(),
                value(point),
                quantity.unit.clone(),
                format!("{} {}..{}", request.kind().word(), request.start(), request.end() - 1),
            ]);
        }
    }
    rows
}

fn plan(device: &Device) -> Plan {
    let spans: Vec<Span> = device.points.iter().map(|point| point.span).collect();
    Plan::new(&spans, device.gap)
}

fn encoding(encoding: Encoding) -> (String, &'static str) {
    match encoding {
        Encoding::Bit => ("bool".to_owned(), ""),
        Encoding::RegisterBit(bit) => (format!("bool, bit {bit}"), ""),
        Encoding::Number(what, order) => {
            (word(&Type::WORDS, what).to_owned(), word(&Order::WORDS, order))
        }
    }
}

/// The word for something in a map.
pub(super) fn word<T: PartialEq + Copy>(words: &[(&'static str, T)], of: T) -> &'static str {
    words.iter().find(|(_, each)| *each == of).map_or("", |(word, _)| word)
}

/// What becomes of what the device says: `× 0.1 - 40, -30 to 120`.
fn value(point: &Point) -> String {
    let mut text = String::new();
    if point.scale != 1.0 {
        text.push_str(&format!("× {}", point.scale));
    }
    if point.offset != 0.0 {
        let sign = if point.offset < 0.0 { '-' } else { '+' };
        text.push_str(&format!(" {sign} {}", point.offset.abs()));
    }
    if let Some([low, high]) = point.valid {
        text.push_str(&format!(", {low} to {high}"));
    }
    text.trim_start_matches([',', ' ']).to_owned()
}

/// A sentence for each sensor of the map that the site does not have so.
fn unregistered(site: &Site, map: &Map) -> anyhow::Result<Vec<String>> {
    let mut sentences = Vec::new();
    for device in map.devices() {
        let (id, profile) = (device.sensor, device.profile.name());
        match Sensors::of(site).get(id)? {
            None => sentences.push(format!(
                "Sensor {id} is not registered: vigia sensor add {id} --name {} --profile {profile}\n",
                device.name
            )),
            Some(entry) if entry.profile != profile => sentences.push(format!(
                "Sensor {id} is registered with profile {:?}, the map has {profile:?}.\n",
                entry.profile
            )),
            Some(_) => {}
        }
    }
    Ok(sentences)
}
