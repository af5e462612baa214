//! Profiles: what a sensor measures, as data. Nothing after the wire knows three fixed names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::header::READING_HEAD_BYTES;
use crate::limits::{MAX_NAME_BYTES, MAX_QUANTITIES};

/// How a value travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Number {
    /// IEEE 754 single.
    F32,
    /// IEEE 754 double, where a counter needs it.
    F64,
}

/// One measured quantity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantity {
    /// Lower-case letters, digits and `_`.
    pub name: String,
    /// As people write it: `°C`, `hPa`, `%`.
    #[serde(default)]
    pub unit: String,
    /// How it travels.
    #[serde(default = "single", rename = "type")]
    pub number: Number,
    /// The physically plausible range; outside of it a value is `uncertain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
}

fn single() -> Number {
    Number::F32
}

/// An ordered list of quantities with a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    name: String,
    quantities: Vec<Quantity>,
}

/// What is wrong with a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("profile {profile:?}: {problem}")]
pub struct BadProfile {
    profile: String,
    problem: String,
}

impl Profile {
    /// The built-in default: temperature, pressure, relative humidity.
    pub fn climate() -> Self {
        let quantity = |name: &str, unit: &str, range| Quantity {
            name: name.to_owned(),
            unit: unit.to_owned(),
            number: Number::F32,
            range: Some(range),
        };
        Self {
            name: "climate".to_owned(),
            quantities: vec![
                quantity("temperature", "°C", [-90.0, 150.0]),
                quantity("pressure", "hPa", [300.0, 1200.0]),
                quantity("humidity", "%", [0.0, 100.0]),
            ],
        }
    }

    /// A profile of the site's own.
    ///
    /// # Errors
    /// Names that are not names, no or too many quantities, a name twice, a range the wrong way.
    pub fn new(name: &str, quantities: Vec<Quantity>) -> Result<Self, BadProfile> {
        let bad = |problem: String| BadProfile { profile: name.to_owned(), problem };
        if !is_name(name) {
            return Err(bad(format!("a name is 1 to {MAX_NAME_BYTES} of a-z, 0-9 and _")));
        }
        if !(1..=MAX_QUANTITIES).contains(&quantities.len()) {
            return Err(bad(format!(
                "has {} quantities, expected 1 to {MAX_QUANTITIES}",
                quantities.len()
            )));
        }
        for (index, quantity) in quantities.iter().enumerate() {
            if !is_name(&quantity.name) {
                return Err(bad(format!(
                    "quantity {:?}: a name is 1 to {MAX_NAME_BYTES} of a-z, 0-9 and _",
                    quantity.name
                )));
            }
            if quantity.unit.len() > MAX_NAME_BYTES || quantity.unit.chars().any(char::is_control) {
                return Err(bad(format!("unit {:?} is too long", quantity.unit)));
            }
            if quantities[..index].iter().any(|other| other.name == quantity.name) {
                return Err(bad(format!("quantity {:?} stands there twice", quantity.name)));
            }
            if let Some([low, high]) = quantity.range
                && !(low.is_finite() && high.is_finite() && low < high)
            {
                // JSON has no infinity: the profile must be able to travel in a text's first line.
                return Err(bad(format!("range of {:?} is not [low, high]", quantity.name)));
            }
        }
        Ok(Self { name: name.to_owned(), quantities })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its quantities, in the order of the wire.
    pub fn quantities(&self) -> &[Quantity] {
        &self.quantities
    }

    /// Bytes of one reading on the wire.
    pub fn reading_bytes(&self) -> usize {
        let values: usize = self
            .quantities
            .iter()
            .map(|quantity| match quantity.number {
                Number::F32 => 4,
                Number::F64 => 8,
            })
            .sum();
        READING_HEAD_BYTES + values
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// Profiles by name; `climate` is always there.
#[derive(Debug, Clone, PartialEq)]
pub struct Profiles(BTreeMap<String, Profile>);

impl Default for Profiles {
    fn default() -> Self {
        let climate = Profile::climate();
        Self(BTreeMap::from([(climate.name.clone(), climate)]))
    }
}

impl Profiles {
    /// Adds a profile; one with the same name is replaced.
    pub fn insert(&mut self, profile: Profile) {
        self.0.insert(profile.name.clone(), profile);
    }

    /// The profile with this name.
    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.0.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.0.values()
    }
}
