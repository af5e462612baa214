//! The map: which registers of which device become which quantity of which sensor.
//!
//! `example.toml`, beside this crate's sources, shows every key. A float that is no number is bad without saying so.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use vigia_protocol::header::SensorId;
use vigia_protocol::profile::{Number, Profile, Profiles};
use vigia_protocol::topic::NodeName;

use crate::encoding::{Encoding, Order, Raw, Type};
use crate::limits::{
    ADDRESSES, DEFAULT_TIMEOUT_MS, MAX_BAD_VALUES, MAX_BAUD, MAX_DEVICES, MAX_INTERVAL_MS,
    MAX_MAP_BYTES, MAX_POINTS, MAX_TIMEOUT_MS, MIN_BAUD, MIN_INTERVAL_MS, MIN_TIMEOUT_MS,
};
use crate::register::{Kind, REFERENCE_ALLOWED, Span, reference};
pub use crate::source::MapError;
use crate::source::{Entry, Section, Source};

/// All devices.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    devices: Vec<Device>,
}

/// A device, which is one sensor of the site.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// The line of the file where it begins, from 1.
    pub line: usize,
    /// Its name, for people.
    pub name: String,
    /// How it is reached.
    pub transport: Transport,
    /// Which unit it is there.
    pub unit: u8,
    /// How often it is polled.
    pub interval: Duration,
    /// How long it has for an answer.
    pub timeout: Duration,
    /// How many elements between two points may be read along.
    pub gap: u16,
    /// As which sensor its readings enter.
    pub sensor: SensorId,
    /// What it measures.
    pub profile: Profile,
    /// One for each quantity, in the profile's order.
    pub points: Vec<Point>,
}

/// The way to a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// Modbus TCP, at `host:port`.
    Tcp(String),
    /// The frames of a serial line within a TCP connection, at `host:port`.
    RtuOverTcp(String),
    /// A serial line.
    Serial(Serial),
}

/// A serial line; a character always has 8 bits (MSL 2.5.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Serial {
    /// The device file.
    pub path: String,
    /// Bits per second.
    pub baud: u32,
    /// The parity bit.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
}

/// The parity bit of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Parity {
    /// As the standard prescribes for every device (MSL 2.5.1).
    Even,
    /// An odd number of ones.
    Odd,
    /// No such bit.
    None,
}

/// A quantity's place in a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The quantity of the profile.
    pub quantity: String,
    /// Where it stands.
    pub span: Span,
    /// How.
    pub encoding: Encoding,
    /// The value is raw × scale + offset.
    pub scale: f64,
    /// The value is raw × scale + offset.
    pub offset: f64,
    /// What the device says if it has no value, before scale and offset.
    pub bad: Vec<Raw>,
    /// Low and high of the value; outside of it there is none.
    pub valid: Option<[f64; 2]>,
    /// How the quantity travels.
    pub number: Number,
}

impl Map {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The file, the line, the key with what was found, and what is allowed.
    pub fn load(path: &Path, profiles: &Profiles) -> Result<Self, MapError> {
        let file = path.display().to_string();
        let cannot = |found: String, allowed: &str| MapError {
            file: file.clone(),
            line: 1,
            found,
            allowed: allowed.to_owned(),
        };
        let unreadable = |error| cannot(format!("cannot be read: {error}"), "a file with TOML");
        let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
        if bytes > MAX_MAP_BYTES {
            return Err(cannot(
                format!("has {bytes} bytes"),
                &format!("at most {MAX_MAP_BYTES} bytes"),
            ));
        }
        Self::parse(&file, &std::fs::read_to_string(path).map_err(unreadable)?, profiles)
    }

    /// Reads and checks the text of a file.
    ///
    /// # Errors
    /// As [`Map::load`].
    pub fn parse(file: &str, text: &str, profiles: &Profiles) -> Result<Self, MapError> {
        let mut top = Source { file, text }.parse()?;
        let allowed = format!("1 to {MAX_DEVICES} tables [[device]]");
        let entries = top.require("device", &allowed)?.list(MAX_DEVICES, &allowed)?;
        if entries.is_empty() {
            return Err(top.missing("device", &allowed));
        }
        top.finish(&["device"])?;
        let mut names = BTreeSet::new();
        let mut sensors = BTreeSet::new();
        let mut devices = Vec::new();
        for entry in entries {
            let mut section = entry.section(&allowed)?;
            let name = device_name(&mut section, &mut names)?;
            let sensor = sensor(&mut section, &mut sensors)?;
            devices.push(device(section, name, sensor, profiles)?);
        }
        Ok(Self { devices })
    }

    /// The devices, in the file's order.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }
}

fn device_name(
    section: &mut Section<'_>,
    names: &mut BTreeSet<String>,
) -> Result<String, MapError> {
    let allowed = "1 to 32 of a-z, 0-9 and -";
    let entry = section.require("name", allowed)?;
    let name = entry.text(allowed)?;
    if NodeName::new(name).is_none() {
        return Err(entry.error(allowed));
    }
    if !names.insert(name.to_owned()) {
        return Err(entry.error("a name that no other device has"));
    }
    Ok(name.to_owned())
}

fn sensor(section: &mut Section<'_>, sensors: &mut BTreeSet<i16>) -> Result<SensorId, MapError> {
    let bounds = i64::from(i16::MIN)..=i64::from(i16::MAX);
    let entry = section.require("sensor", "the id of a sensor of the site")?;
    let id = entry.integer(bounds, "")? as i16;
    if !sensors.insert(id) {
        return Err(entry.error("the id of a sensor that no other device feeds"));
    }
    Ok(SensorId(id))
}

fn device(
    mut section: Section<'_>,
    name: String,
    sensor: SensorId,
    profiles: &Profiles,
) -> Result<Device, MapError> {
    let line = section.line();
    let transport = transport(&mut section)?;
    // 0 is everyone, to whom nobody answers, and above 247 is reserved (MSL 2.2). Behind TCP devices are not as strict.
    let units = if matches!(transport, Transport::Tcp(_)) { 0..=255 } else { 1..=247 };
    let allowed = format!("{} to {}", units.start(), units.end());
    let unit = section.require("unit", &allowed)?.integer(units, "")? as u8;
    let intervals = MIN_INTERVAL_MS..=MAX_INTERVAL_MS;
    let allowed = format!("{MIN_INTERVAL_MS} to {MAX_INTERVAL_MS} ms");
    let interval = section.require("interval_ms", &allowed)?.integer(intervals, "ms")?;
    // A request that takes longer than the interval would always cost the next poll.
    let timeouts = MIN_TIMEOUT_MS..=MAX_TIMEOUT_MS.min(interval);
    let timeout = match section.take("timeout_ms") {
        Some(entry) => entry.integer(timeouts, "ms, not above interval_ms")?,
        None => DEFAULT_TIMEOUT_MS.min(interval),
    };
    let gap = match section.take("gap") {
        Some(entry) => entry.integer(0..=i64::from(u16::MAX), "")? as u16,
        None => 0,
    };
    let profile = profile(&mut section, profiles)?;
    let points = points(&mut section, &profile)?;
    section.finish(&[
        "name",
        "transport",
        "unit",
        "interval_ms",
        "timeout_ms",
        "gap",
        "sensor",
        "profile",
        "point",
    ])?;
    let milliseconds = |ms: i64| Duration::from_millis(ms as u64);
    Ok(Device {
        line,
        name,
        transport,
        unit,
        interval: milliseconds(interval),
        timeout: milliseconds(timeout),
        gap,
        sensor,
        profile,
        points,
    })
}

fn profile(section: &mut Section<'_>, profiles: &Profiles) -> Result<Profile, MapError> {
    let names: Vec<&str> = profiles.iter().map(Profile::name).collect();
    let allowed = format!("a profile of the site: {}", names.join(", "));
    let entry = section.require("profile", &allowed)?;
    let profile = profiles.get(entry.text(&allowed)?);
    profile.cloned().ok_or_else(|| entry.error(&allowed))
}

fn transport(section: &mut Section<'_>) -> Result<Transport, MapError> {
    let allowed = "one of { tcp = \"HOST:PORT\" }, { rtu_over_tcp = \"HOST:PORT\" }, { serial = \"PATH\", … }";
    let entry = section.require("transport", allowed)?;
    let mut inner = entry.section(allowed)?;
    let ways = (inner.take("tcp"), inner.take("rtu_over_tcp"), inner.take("serial"));
    let (transport, known) = match ways {
        (Some(address), None, None) => (Transport::Tcp(host_and_port(&address)?), &["tcp"][..]),
        (None, Some(address), None) => {
            (Transport::RtuOverTcp(host_and_port(&address)?), &["rtu_over_tcp"][..])
        }
        (None, None, Some(path)) => (
            Transport::Serial(serial(&path, &mut inner)?),
            &["serial", "baud", "parity", "stop_bits"][..],
        ),
        _ => return Err(entry.error(allowed)),
    };
    inner.finish(known)?;
    Ok(transport)
}

fn host_and_port(entry: &Entry<'_>) -> Result<String, MapError> {
    let allowed = "HOST:PORT, such as 10.0.0.5:502 or [2001:db8::1]:502";
    let text = entry.text(allowed)?;
    let is_host = |host: &str| {
        // A colon within the host is an IPv6 address, and that stands in brackets.
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        !host.is_empty()
            && (is_bracketed || !host.contains(':'))
            && !host.contains(|letter: char| letter.is_whitespace() || letter.is_control())
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    match text.rsplit_once(':') {
        Some((host, port)) if is_host(host) && is_port(port) => Ok(text.to_owned()),
        _ => Err(entry.error(allowed)),
    }
}

fn serial(path: &Entry<'_>, section: &mut Section<'_>) -> Result<Serial, MapError> {
    let allowed = "the absolute path of a serial line's device file";
    let text = path.text(allowed)?;
    if !Path::new(text).is_absolute() {
        return Err(path.error(allowed));
    }
    // 19,200 and even parity are what every device must have (MSL 2.5.1).
    let baud = match section.take("baud") {
        Some(entry) => entry.integer(MIN_BAUD..=MAX_BAUD, "bits per second")? as u32,
        None => 19_200,
    };
    let parity = match section.take("parity") {
        Some(entry) => {
            entry.word(&[("even", Parity::Even), ("odd", Parity::Odd), ("none", Parity::None)])?
        }
        None => Parity::Even,
    };
    // A character has 11 bits: without parity there is a second stop bit (MSL 2.5.1).
    let stop_bits = match section.take("stop_bits") {
        Some(entry) => entry.integer(1..=2, "")? as u8,
        None if parity == Parity::None => 2,
        None => 1,
    };
    Ok(Serial { path: text.to_owned(), baud, parity, stop_bits })
}

fn points(section: &mut Section<'_>, profile: &Profile) -> Result<Vec<Point>, MapError> {
    let allowed = format!("1 to {MAX_POINTS} tables [[device.point]], one for each quantity");
    let mut points: Vec<Point> = Vec::new();
    for entry in section.require("point", &allowed)?.list(MAX_POINTS, &allowed)? {
        points.push(point(entry.section(&allowed)?, profile, &points)?);
    }
    let place = |name: &str| points.iter().position(|point| point.quantity == name);
    for quantity in profile.quantities() {
        if place(&quantity.name).is_none() {
            let found = format!("no device.point has quantity = {:?}", quantity.name);
            let allowed = format!("a point for each quantity of profile {:?}", profile.name());
            return Err(section.error(found, allowed));
        }
    }
    let names = profile.quantities().iter().map(|quantity| quantity.name.as_str());
    let places: Vec<&str> = names.collect();
    points.sort_by_key(|point| places.iter().position(|name| *name == point.quantity));
    Ok(points)
}

fn point(mut section: Section<'_>, profile: &Profile, others: &[Point]) -> Result<Point, MapError> {
    let names: Vec<&str> =
        profile.quantities().iter().map(|quantity| quantity.name.as_str()).collect();
    let allowed = format!("a quantity of profile {:?}: {}", profile.name(), names.join(", "));
    let entry = section.require("quantity", &allowed)?;
    let name = entry.text(&allowed)?;
    let quantity = profile.quantities().iter().find(|quantity| quantity.name == name);
    let quantity = quantity.ok_or_else(|| entry.error(&allowed))?;
    if others.iter().any(|other| other.quantity == name) {
        return Err(entry.error("a quantity that no other point of the device has"));
    }
    let (kind, start, place) = place(&mut section)?;
    let (what, encoding) = encoding(&mut section, kind)?;
    let count = what.count();
    let span = Span::new(kind, start, count).ok_or_else(|| {
        place.error(format!("an address whose {count} registers are within {ADDRESSES}"))
    })?;
    if matches!(what, Type::I64 | Type::U64) && quantity.number == Number::F32 {
        return Err(section.error(
            format!("device.point {name:?} has 64-bit integers, but the profile makes it f32"),
            format!("type = \"f64\" for {name:?} in the profile {:?}", profile.name()),
        ));
    }
    let (scale, offset) = scale_and_offset(&mut section, what)?;
    if let Some(unit) = section.take("unit") {
        let allowed = format!("the unit that the profile has: {:?}", quantity.unit);
        if unit.text(&allowed)? != quantity.unit {
            return Err(unit.error(allowed));
        }
    }
    let bad = match section.take("bad") {
        Some(entry) => bad_values(&entry, what)?,
        None => Vec::new(),
    };
    let valid = section.take("valid").map(|entry| entry.range()).transpose()?;
    section.finish(&[
        "quantity",
        "reference",
        "kind",
        "address",
        "type",
        "bit",
        "order",
        "scale",
        "offset",
        "unit",
        "bad",
        "valid",
    ])?;
    Ok(Point {
        quantity: name.to_owned(),
        span,
        encoding,
        scale,
        offset,
        bad,
        valid,
        number: quantity.number,
    })
}

/// Kind and 0-based address, and the key that says the address.
fn place<'a>(section: &mut Section<'a>) -> Result<(Kind, u16, Entry<'a>), MapError> {
    let kind = section.take("kind");
    let said = kind.as_ref().map(|entry| entry.word(&Kind::WORDS)).transpose()?;
    match (section.take("reference"), section.take("address")) {
        (Some(entry), None) => {
            let (carried, start) = reference(entry.text(REFERENCE_ALLOWED)?)
                .ok_or_else(|| entry.error(REFERENCE_ALLOWED))?;
            match kind {
                Some(kind) if said != Some(carried) => {
                    Err(kind.error(format!("{}, which reference says, or no kind", carried.word())))
                }
                _ => Ok((carried, start, entry)),
            }
        }
        (None, Some(entry)) => {
            let start = entry.integer(0..=i64::from(ADDRESSES) - 1, "(counted from 0)")? as u16;
            let said = said.ok_or_else(|| {
                section.missing("kind", "coil, discrete, input or holding beside an address")
            })?;
            Ok((said, start, entry))
        }
        (Some(_), Some(entry)) => {
            Err(entry.error("either address, with kind, or reference, not both"))
        }
        (None, None) => Err(section
            .missing("reference", &format!("{REFERENCE_ALLOWED}; or kind with address, from 0"))),
    }
}

fn encoding(section: &mut Section<'_>, kind: Kind) -> Result<(Type, Encoding), MapError> {
    let words: Vec<&str> = Type::WORDS.iter().map(|(word, _)| *word).collect();
    let entry = section.require("type", &crate::source::one_of(&words))?;
    let what = entry.word(&Type::WORDS)?;
    if kind.is_bit() && what != Type::Bool {
        return Err(entry.error(format!("bool, since it is in a {}", kind.word())));
    }
    let bit = section.take("bit");
    let order = section.take("order");
    if let (Some(order), Type::Bool) = (&order, what) {
        return Err(order.error("no order for a bool"));
    }
    match (what, kind.is_bit(), bit) {
        (Type::Bool, false, Some(bit)) => Ok((
            what,
            Encoding::RegisterBit(bit.integer(0..=15, "(least significant first)")? as u8),
        )),
        (Type::Bool, false, None) => {
            Err(section.missing("bit", "0 to 15, which bit of the register the bool is"))
        }
        (_, _, Some(bit)) => Err(bit.error("no bit but for a bool in a register")),
        (_, true, None) => Ok((what, Encoding::Bit)),
        (_, false, None) => {
            let order = order.map(|entry| entry.word(&Order::WORDS)).transpose()?;
            Ok((what, Encoding::Number(what, order.unwrap_or_default())))
        }
    }
}

fn scale_and_offset(section: &mut Section<'_>, what: Type) -> Result<(f64, f64), MapError> {
    let (scale, offset) = (section.take("scale"), section.take("offset"));
    if let (Type::Bool, Some(entry)) = (what, scale.as_ref().or(offset.as_ref())) {
        return Err(entry.error("neither scale nor offset for a bool"));
    }
    let allowed = "a finite number other than 0";
    let factor = scale.as_ref().map_or(Ok(1.0), |entry| entry.number(allowed))?;
    if let (Some(entry), true) = (&scale, factor == 0.0) {
        return Err(entry.error(allowed));
    }
    Ok((factor, offset.map_or(Ok(0.0), |entry| entry.number("a finite number"))?))
}

fn bad_values(entry: &Entry<'_>, what: Type) -> Result<Vec<Raw>, MapError> {
    let allowed = match (what.integers(), what) {
        (Some((least, most)), _) => {
            format!("integers from {least} to {most}, as the device says them")
        }
        (None, Type::Bool) => return Err(entry.error("no bad values of a bool")),
        (None, _) => {
            "finite numbers as the device says them; what is no number is always bad".to_owned()
        }
    };
    let list = entry.list(MAX_BAD_VALUES, &format!("at most {MAX_BAD_VALUES} {allowed}"))?;
    list.iter()
        .map(|value| match what.integers() {
            Some((least, most)) => value
                .any_integer()
                .map(i128::from)
                .filter(|integer| (least..=most).contains(integer))
                .map(Raw::Integer)
                .ok_or_else(|| value.error(&allowed)),
            // As the device can say it: the single nearest to what is written.
            None if what == Type::F32 => {
                let single = f64::from(value.number(&allowed)? as f32);
                let single = Some(single).filter(|single| single.is_finite());
                single.map(Raw::Float).ok_or_else(|| value.error(&allowed))
            }
            None => Ok(Raw::Float(value.number(&allowed)?)),
        })
        .collect()
}
