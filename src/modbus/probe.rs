//! `vigia modbus probe`: what stands in a device's registers, in every plausible way to read it.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use tokio::runtime::Builder;
use vigia_kit::config::ConfigError;
use vigia_modbus::encoding::{Order, Raw, Type};
use vigia_modbus::limits::MAX_PROBE_REGISTERS;
use vigia_modbus::map::Transport;
use vigia_modbus::probe::guess::{Guess, guesses, ways};
use vigia_modbus::probe::look::{Seen, Target, advice, look};
use vigia_modbus::register::Kind;

use super::check::word;
use super::reference;
use crate::duration;
use crate::exit::{Answer, Outcome, Unavailable};
use crate::table::{columns, print};

/// Rows of the best.
const SHOWN: usize = 12;
/// The port that is Modbus's own.
const PORT: u16 = 502;

#[derive(Debug, Args)]
#[command(after_help = "\
It reads twice, half a second apart, and writes nothing. Also one register before is read, and some behind: a
manual that counts from 1 is one address off.

Examples:
  vigia modbus probe 10.0.0.5 --registers 0..9
  vigia modbus probe 10.0.0.5 --registers 16 --expect 15..30       something there is between 15 and 30
  vigia modbus probe 10.0.0.6:4001 --rtu --unit 7 --kind input --registers 100..101")]
pub(super) struct Options {
    /// HOST or HOST:PORT; the port is 502 if none is given
    device: String,
    /// Which unit behind the address
    #[arg(long, default_value_t = 1)]
    unit: u8,
    /// Addresses, counted from 0: the first and the last, or one
    #[arg(long, value_name = "A..B", default_value = "0..9", value_parser = addresses)]
    registers: RangeInclusive<u16>,
    /// Which registers
    #[arg(long, default_value = "holding", value_parser = ["holding", "input"])]
    kind: String,
    /// What the value should be near: LOW..HIGH
    #[arg(long, value_name = "LOW..HIGH", value_parser = range, allow_hyphen_values = true)]
    expect: Option<[f64; 2]>,
    /// A converter for a serial line stands there: its frames within a TCP connection
    #[arg(long)]
    rtu: bool,
    /// How long to wait for each answer
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::parse)]
    timeout: Duration,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn addresses(text: &str) -> Result<RangeInclusive<u16>, String> {
    let expected = || {
        format!(
            "expected A..B or A, from 0 to 65535, the first not above the last, at most {MAX_PROBE_REGISTERS}"
        )
    };
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let address = |text: &str| text.parse::<u16>().map_err(|_| expected());
    let (first, last) = (address(first)?, address(last)?);
    let count = last.checked_sub(first).ok_or_else(expected)?;
    if count < MAX_PROBE_REGISTERS { Ok(first..=last) } else { Err(expected()) }
}

fn range(text: &str) -> Result<[f64; 2], String> {
    let bounds = text
        .split_once("..")
        .and_then(|(low, high)| Some([low.parse::<f64>().ok()?, high.parse::<f64>().ok()?]));
    bounds
        .filter(|[low, high]| low <= high && low.is_finite() && high.is_finite())
        .ok_or_else(|| "expected LOW..HIGH, such as 15..30 or -40..85".to_owned())
}

/// `host:port` of what was given. An IPv6 address with a port stands in brackets.
fn with_port(device: &str) -> Result<String, ConfigError> {
    let bad = || ConfigError(format!("device {device:?}, expected HOST or HOST:PORT"));
    if let Ok(address) = device.parse::<std::net::IpAddr>() {
        return Ok(std::net::SocketAddr::new(address, PORT).to_string());
    }
    match device.rsplit_once(':') {
        _ if device.is_empty() || device.ends_with(']') && device.len() == 2 => Err(bad()),
        Some((host, port)) if !host.is_empty() && !device.ends_with(']') => {
            port.parse::<u16>().map_err(|_| bad())?;
            Ok(device.to_owned())
        }
        Some(("", _)) => Err(bad()),
        _ => Ok(format!("{device}:{PORT}")),
    }
}

pub(super) fn run(options: &Options) -> Outcome {
    let address = with_port(&options.device)?;
    let kind = if options.kind == "input" { Kind::Input } else { Kind::Holding };
    let transport = match options.rtu {
        true => Transport::RtuOverTcp(address.clone()),
        false => Transport::Tcp(address.clone()),
    };
    let target = Target {
        transport,
        unit: options.unit,
        kind,
        asked: options.registers.clone(),
        within: options.timeout,
    };
    let runtime = Builder::new_current_thread().enable_all().build();
    let seen = runtime.context("cannot start the runtime")?.block_on(look(&target)).map_err(
        |trouble| {
            Unavailable(format!(
                "{address}, unit {}: {trouble}; {}",
                options.unit,
                advice(&trouble, kind)
            ))
        },
    )?;
    let best = guesses(&seen, &options.registers, options.expect);
    if options.json {
        print(&format!("{}\n", serde_json::to_string(&json(&seen, kind, &best))?))?;
        return Ok(Answer::Yes);
    }
    let (first, last) = (options.registers.start(), options.registers.end());
    let mut text =
        format!("{} registers {first}..{last} of {address}, unit {}\n", kind.word(), options.unit);
    let missing: Vec<String> = options
        .registers
        .clone()
        .filter(|address| !seen.first.contains_key(address))
        .map(|address| address.to_string())
        .collect();
    if !missing.is_empty() {
        text.push_str(&format!("not there: {}\n", missing.join(", ")));
    }
    text.push_str("\nThe most plausible, best first\n");
    text.push_str(&columns(&shortlist(kind, &best)));
    text.push_str("\nSide by side; · is not plausible\n");
    text.push_str(&columns(&side_by_side(&seen, kind, &best)));
    print(&text)?;
    Ok(Answer::Yes)
}

fn shortlist(kind: Kind, best: &[Guess]) -> Vec<Vec<String>> {
    let heading = ["ADDRESS", "REFERENCE", "TYPE", "ORDER", "VALUE", "THEN", "WHY"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(best.iter().take(SHOWN).map(|guess| {
        let scale = guess.scale.map_or(String::new(), |scale| format!(" × {scale}"));
        vec![
            guess.address.to_string(),
            reference(kind, guess.address),
            word(&Type::WORDS, guess.what).to_owned(),
            word(&Order::WORDS, guess.order).to_owned(),
            number(guess.what, guess.value) + &scale,
            number(guess.what, guess.then),
            guess.hints.join(", "),
        ]
    }));
    rows
}

fn side_by_side(seen: &Seen, kind: Kind, best: &[Guess]) -> Vec<Vec<String>> {
    let heading = ["ADDRESS", "REFERENCE", "WORD", "TYPE", "ABCD", "CDAB", "BADC", "DCBA"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let mut shown = None;
    for (address, register) in &seen.first {
        for (_, what) in Type::WORDS.into_iter().skip(1) {
            let cells = Order::WORDS.map(|(_, order)| {
                if !ways().any(|way| way == (what, order)) {
                    return String::new();
                }
                let is = |guess: &&Guess| {
                    (guess.address, guess.what, guess.order) == (*address, what, order)
                };
                best.iter().find(is).map_or("·".to_owned(), |guess| number(what, guess.value))
            });
            if cells.iter().all(|cell| matches!(cell.as_str(), "" | "·")) {
                continue;
            }
            let place = match shown == Some(*address) {
                true => [const { String::new() }; 3],
                false => {
                    [address.to_string(), reference(kind, *address), format!("{register:04X}")]
                }
            };
            shown = Some(*address);
            let what = word(&Type::WORDS, what).to_owned();
            rows.push(place.into_iter().chain([what]).chain(cells).collect());
        }
    }
    rows
}

fn number(what: Type, value: Raw) -> String {
    match value {
        Raw::Integer(value) => value.to_string(),
        Raw::Float(value) if value != 0.0 && !(1e-3..1e7).contains(&value.abs()) => match what {
            Type::F32 => format!("{:e}", value as f32),
            _ => format!("{value:e}"),
        },
        Raw::Float(value) if what == Type::F32 => (value as f32).to_string(),
        Raw::Float(value) => value.to_string(),
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json {
    kind: &'static str,
    /// Address and the word there, at the first look.
    registers: Vec<(u16, u16)>,
    /// All that is plausible, the best first.
    guesses: Vec<JsonGuess>,
}

#[derive(Serialize)]
struct JsonGuess {
    address: u16,
    reference: String,
    r#type: &'static str,
    order: &'static str,
    value: f64,
    then: f64,
    scale: Option<f64>,
    weight: i32,
    why: Vec<&'static str>,
}

fn json(seen: &Seen, kind: Kind, best: &[Guess]) -> Json {
    let float = |raw| match raw {
        Raw::Integer(value) => value as f64,
        Raw::Float(value) => value,
    };
    let guesses = best.iter().map(|guess| JsonGuess {
        address: guess.address,
        reference: reference(kind, guess.address),
        r#type: word(&Type::WORDS, guess.what),
        order: word(&Order::WORDS, guess.order),
        value: float(guess.value),
        then: float(guess.then),
        scale: guess.scale,
        weight: guess.weight,
        why: guess.hints.clone(),
    });
    Json {
        kind: kind.word(),
        registers: seen.first.iter().map(|(address, word)| (*address, *word)).collect(),
        guesses: guesses.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_a_host_with_or_without_port() {
        for (given, expected) in [
            ("10.0.0.5", "10.0.0.5:502"),
            ("10.0.0.5:4001", "10.0.0.5:4001"),
            ("boiler.plant", "boiler.plant:502"),
            ("boiler:503", "boiler:503"),
            ("2001:db8::1", "[2001:db8::1]:502"),
            ("[2001:db8::1]", "[2001:db8::1]:502"),
            ("[2001:db8::1]:503", "[2001:db8::1]:503"),
        ] {
            assert_eq!(with_port(given).unwrap(), expected, "{given}");
        }
        for bad in ["", ":502", "boiler:", "boiler:modbus", "boiler:65536", "[]"] {
            assert!(with_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_of_addresses_and_of_values() {
        assert_eq!(addresses("3..9"), Ok(3..=9));
        assert_eq!(addresses("65535"), Ok(65_535..=65_535));
        for bad in ["", "9..3", "0..500", "-1", "40001..40010x", "1...2", "65536"] {
            assert!(addresses(bad).is_err(), "{bad}");
        }
        assert_eq!(range("-40..85.5"), Ok([-40.0, 85.5]));
        for bad in ["", "5", "5..1", "a..b", "0..inf"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }
}
