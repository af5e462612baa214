//! The ways in which a simulated device misbehaves, and who switches them while it runs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::limits::MAX_FAULT_DELAY;

/// What a device does instead of answering as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing: it answers as it should.
    #[default]
    None,
    /// It takes connections and requests, and never answers.
    Silence,
    /// It closes the connection at every request.
    Dead,
    /// It answers late.
    Delay(Duration),
    /// It answers every request with this exception.
    Exception(u8),
    /// It answers as another unit.
    WrongUnit,
    /// Its answers have one element, or one byte of bits, too few.
    Short,
    /// It answers with bytes that are no answer.
    Garbage,
}

/// What a fault may be, in words.
pub const ALLOWED: &str =
    "none, silence, dead, delay:TIME in ms, exception:1 to 255, wrong-unit, short or garbage";

/// The text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fault {0:?}, expected {ALLOWED}")]
pub struct BadFault(String);

impl FromStr for Fault {
    type Err = BadFault;

    fn from_str(text: &str) -> Result<Self, BadFault> {
        let bad = || BadFault(text.to_owned());
        let fault = match text {
            "none" => Self::None,
            "silence" => Self::Silence,
            "dead" => Self::Dead,
            "wrong-unit" => Self::WrongUnit,
            "short" => Self::Short,
            "garbage" => Self::Garbage,
            _ => match text.split_once(':').ok_or_else(bad)? {
                ("delay", time) => {
                    let time = time.strip_suffix("ms").unwrap_or(time);
                    let time = Duration::from_millis(time.parse().map_err(|_| bad())?);
                    Self::Delay(Some(time).filter(|time| *time <= MAX_FAULT_DELAY).ok_or_else(bad)?)
                }
                ("exception", code) => {
                    let code = code.parse().ok().filter(|code| *code != 0);
                    Self::Exception(code.ok_or_else(bad)?)
                }
                _ => return Err(bad()),
            },
        };
        Ok(fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Silence => f.write_str("silence"),
            Self::Dead => f.write_str("dead"),
            Self::Delay(time) => write!(f, "delay:{}ms", time.as_millis()),
            Self::Exception(code) => write!(f, "exception:{code}"),
            Self::WrongUnit => f.write_str("wrong-unit"),
            Self::Short => f.write_str("short"),
            Self::Garbage => f.write_str("garbage"),
        }
    }
}

/// The devices' faults, by name. Cheap to clone; who holds one switches them for all.
#[derive(Debug, Clone)]
pub struct Faults(Arc<Mutex<BTreeMap<String, Fault>>>);

/// No device has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("device {name:?}, expected one of {known}")]
pub struct UnknownDevice {
    name: String,
    known: String,
}

impl Faults {
    /// Of devices that are in order.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let faults = names.into_iter().map(|name| (name.to_owned(), Fault::None)).collect();
        Self(Arc::new(Mutex::new(faults)))
    }

    /// From the device's next answer on.
    ///
    /// # Errors
    /// If there is no such device.
    pub fn set(&self, name: &str, fault: Fault) -> Result<(), UnknownDevice> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match faults.get_mut(name) {
            Some(place) => {
                *place = fault;
                Ok(())
            }
            None => {
                let known: Vec<&str> = faults.keys().map(String::as_str).collect();
                Err(UnknownDevice { name: name.to_owned(), known: known.join(", ") })
            }
        }
    }

    pub(crate) fn of(&self, name: &str) -> Fault {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.get(name).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_as_it_is_written() {
        for text in [
            "none",
            "silence",
            "dead",
            "delay:500ms",
            "exception:4",
            "wrong-unit",
            "short",
            "garbage",
        ] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        assert_eq!("delay:500".parse(), Ok(Fault::Delay(Duration::from_millis(500))));
        for bad in ["", "silent", "delay", "delay:", "delay:1s", "delay:-1", "delay:3600001"] {
            assert!(bad.parse::<Fault>().is_err(), "{bad}");
        }
        for bad in ["exception:0", "exception:256", "exception", "short:1", "None"] {
            assert!(bad.parse::<Fault>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fault_is_of_one_device() {
        let faults = Faults::new(["boiler", "pump"]);
        faults.clone().set("pump", Fault::Silence).unwrap();
        assert_eq!((faults.of("boiler"), faults.of("pump")), (Fault::None, Fault::Silence));
        let error = faults.set("pumpe", Fault::Dead).unwrap_err().to_string();
        assert_eq!(error, "device \"pumpe\", expected one of boiler, pump");
    }
}
