//! A reading as the API shows it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use poem_openapi::Object;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type};
use serde_json::Value;
use vigia_protocol::profile::Number;
use vigia_protocol::quality::{Quality, Status};
use vigia_protocol::reading::Flags;

use crate::api::time::Time;
use crate::limits::SKEW_MICROS;
use crate::query::StoredReading;

/// A reading.
#[derive(Debug, Clone, PartialEq, Default, Object)]
#[oai(read_only_all)]
pub struct Reading {
    /// Which of the sensor's numberings.
    pub stream: u32,
    /// Its number; dense in its stream.
    pub seq: u64,
    /// When it was taken, by the sensor's clock.
    pub time: Time,
    /// When the ingress had it, by the ingress's clock.
    pub received: Time,
    /// The worst of its values': `good`, `uncertain` or `bad`.
    pub quality: String,
    /// How it was taken: `clock-synced`, `backlog`, `first-after-boot`.
    pub flags: Vec<String>,
    /// The clocks differ by more than 5 minutes, and it is not from a backlog.
    pub skewed: bool,
    /// By quantity; null where there was no number.
    pub values: Values,
    /// The OPC UA status of the values that are not good, by quantity.
    #[oai(skip_serializing_if_is_empty)]
    pub status: BTreeMap<String, String>,
}

/// Numbers by name, or null.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Values(pub Vec<(String, Option<f64>)>);

impl From<&StoredReading> for Reading {
    fn from(reading: &StoredReading) -> Self {
        let flags = Flags(reading.flags);
        let names = [
            (Flags::CLOCK_SYNCED, "clock-synced"),
            (Flags::BACKLOG, "backlog"),
            (Flags::FIRST_AFTER_BOOT, "first-after-boot"),
        ];
        let skew = reading.time.0.abs_diff(reading.received.0);
        let quantities = reading.profile.quantities();
        Self {
            stream: reading.id.stream,
            seq: reading.seq,
            time: Time(reading.time),
            received: Time(reading.received),
            quality: quality(reading).word().to_owned(),
            flags: names
                .iter()
                .filter(|(flag, _)| flags.has(*flag))
                .map(|(_, name)| (*name).to_owned())
                .collect(),
            skewed: skew > SKEW_MICROS.unsigned_abs() && !flags.has(Flags::BACKLOG),
            values: values(reading),
            status: quantities
                .iter()
                .zip(&reading.status)
                .filter(|(_, status)| Status(**status).quality() != Quality::Good)
                .map(|(quantity, status)| {
                    (quantity.name.clone(), Status(*status).name().to_owned())
                })
                .collect(),
        }
    }
}

/// The worst quality of a reading's values.
pub fn quality(reading: &StoredReading) -> Quality {
    let qualities = reading.status.iter().map(|status| Status(*status).quality());
    qualities.max().unwrap_or(Quality::Good)
}

/// A reading's values by name.
pub fn values(reading: &StoredReading) -> Values {
    let named = |(quantity, value): (&vigia_protocol::profile::Quantity, &f64)| {
        (quantity.name.clone(), shown(quantity.number, *value))
    };
    Values(reading.profile.quantities().iter().zip(&reading.values).map(named).collect())
}

/// The number whose shortest text is that of the value as it was measured.
pub fn shown(number: Number, value: f64) -> Option<f64> {
    match number {
        _ if !value.is_finite() => None,
        Number::F32 => (value as f32).to_string().parse().ok(),
        Number::F64 => Some(value),
    }
}

impl Type for Values {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "values".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        let number =
            MetaSchema { nullable: true, ..MetaSchema::new_with_format("number", "double") };
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            additional_properties: Some(Box::new(MetaSchemaRef::Inline(Box::new(number)))),
            ..MetaSchema::new("object")
        }))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ToJSON for Values {
    fn to_json(&self) -> Option<Value> {
        let value = |value: Option<f64>| value.map_or(Value::Null, Value::from);
        Some(Value::Object(self.0.iter().map(|(name, one)| (name.clone(), value(*one))).collect()))
    }
}

impl ParseFromJSON for Values {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value {
            Some(Value::Object(map)) => {
                Ok(Self(map.into_iter().map(|(name, value)| (name, value.as_f64())).collect()))
            }
            value => Err(ParseError::expected_type(value.unwrap_or_default())),
        }
    }
}
