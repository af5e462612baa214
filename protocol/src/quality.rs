//! Quality in OPC UA's words (Part 8, 5.3; status codes of Part 4, 7.39).

use serde::{Deserialize, Serialize};

/// How far a value may be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// As it should be.
    Good,
    /// There is a value, and a reason to doubt it.
    Uncertain,
    /// There is no usable value.
    Bad,
}

impl Quality {
    /// The word for it in texts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Uncertain => "uncertain",
            Self::Bad => "bad",
        }
    }
}

/// The upper 16 bits of an OPC UA StatusCode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Status(pub u16);

impl Status {
    /// Nothing to say.
    pub const GOOD: Self = Self(0x0000);
    /// UncertainSensorNotAccurate.
    pub const SENSOR_NOT_ACCURATE: Self = Self(0x4093);
    /// UncertainEngineeringUnitsExceeded: outside the plausible range.
    pub const RANGE_EXCEEDED: Self = Self(0x4094);
    /// Uncertain, for want of a synchronised clock.
    pub const UNCERTAIN: Self = Self(0x4000);
    /// BadSensorFailure.
    pub const SENSOR_FAILURE: Self = Self(0x808C);
    /// BadNoCommunication.
    pub const NO_COMMUNICATION: Self = Self(0x8031);
    /// BadDeviceFailure.
    pub const DEVICE_FAILURE: Self = Self(0x808B);

    /// The severity in the top two bits.
    pub fn quality(self) -> Quality {
        match self.0 >> 14 {
            0 => Quality::Good,
            1 => Quality::Uncertain,
            _ => Quality::Bad,
        }
    }

    /// The standard's name, where it is one that is used here.
    pub fn name(self) -> &'static str {
        match self {
            Self::GOOD => "Good",
            Self::SENSOR_NOT_ACCURATE => "UncertainSensorNotAccurate",
            Self::RANGE_EXCEEDED => "UncertainEngineeringUnitsExceeded",
            Self::SENSOR_FAILURE => "BadSensorFailure",
            Self::NO_COMMUNICATION => "BadNoCommunication",
            Self::DEVICE_FAILURE => "BadDeviceFailure",
            other => match other.quality() {
                Quality::Good => "Good",
                Quality::Uncertain => "Uncertain",
                Quality::Bad => "Bad",
            },
        }
    }
}
