//! Types of parameters and fields that have a text form of their own.

use std::borrow::Cow;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{
    ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type,
};
use serde_json::Value;
use vigia_protocol::position::LogId;
use vigia_protocol::time::Micros;

/// A time as RFC 3339 text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Time(pub Micros);

/// A step of a series: `10s`, `1m`, `2h`, `1d`; in µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step(pub i64);

/// A log's id: 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogName(pub LogId);

/// What a schema says about a text, and how it is parsed.
trait Worded: Sized {
    const NAME: &'static str;
    fn schema() -> MetaSchema;
    fn read(text: &str) -> Result<Self, String>;
}

impl Worded for Time {
    const NAME: &'static str = "date-time";
    fn schema() -> MetaSchema {
        MetaSchema::new_with_format("string", "date-time")
    }
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: vigia_protocol::time::NotATime| error.to_string())
    }
}

impl Worded for Step {
    const NAME: &'static str = "step";
    fn schema() -> MetaSchema {
        MetaSchema { pattern: Some("^[1-9][0-9]*[smhd]$".to_owned()), ..MetaSchema::new("string") }
    }
    fn read(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (at, unit) = text.char_indices().next_back()?;
            let seconds = match unit {
                's' => 1,
                'm' => 60,
                'h' => 3_600,
                'd' => 86_400,
                _ => return None,
            };
            let digits = &text[..at];
            if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let micros = digits.parse::<i64>().ok()?.checked_mul(seconds * 1_000_000)?;
            (micros > 0).then_some(Self(micros))
        };
        parsed().ok_or_else(|| {
            format!("{text:?} is not a step: expected a number and s, m, h or d, such as 10s or 1h")
        })
    }
}

impl Worded for LogName {
    const NAME: &'static str = "log";
    fn schema() -> MetaSchema {
        MetaSchema { pattern: Some("^[0-9a-f]{16}$".to_owned()), ..MetaSchema::new("string") }
    }
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: vigia_protocol::position::NotALog| error.to_string())
    }
}

macro_rules! as_parameter {
    ($($kind:ty),*) => {$(
        impl Type for $kind {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                <Self as Worded>::NAME.into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new(<Self as Worded>::schema()))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }

        impl ParseFromParameter for $kind {
            fn parse_from_parameter(text: &str) -> ParseResult<Self> {
                <Self as Worded>::read(text).map_err(ParseError::custom)
            }
        }
    )*};
}

as_parameter!(Time, Step, LogName);

impl ToJSON for Time {
    fn to_json(&self) -> Option<Value> {
        Some(Value::String(self.0.to_string()))
    }
}

impl ParseFromJSON for Time {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value {
            Some(Value::String(text)) => Self::read(&text).map_err(ParseError::custom),
            value => Err(ParseError::expected_type(value.unwrap_or_default())),
        }
    }
}
