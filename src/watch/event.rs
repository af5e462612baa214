//! What is told: a condition begins, or ends.

use serde::Serialize;
use vigia_protocol::header::SensorId;

use crate::colour::{Colour, Colours};

/// Whether a condition is there from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is.
    Begins,
    /// It is no more.
    Ends,
}

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The API does not answer.
    Api,
    /// Nobody can say whether the books balance.
    LedgerUnknown,
    /// They do not, or readings are lost or missing.
    LedgerUnbalanced,
    /// A value is outside of a limit.
    Limit,
    /// A sensor's newest reading is bad.
    Quality,
    /// A sensor has no new reading.
    Silence,
}

/// One line, one call of the command, one message to the webhook.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// When it was noticed; RFC 3339.
    pub time: String,
    /// Begins or ends.
    pub change: Change,
    /// What.
    pub condition: Kind,
    /// At which sensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensor: Option<SensorId>,
    /// Which limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crossing: Option<Crossing>,
    /// All of it, for people.
    pub message: String,
}

/// A limit and the value that crossed it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Crossing {
    /// The limit's name.
    pub rule: String,
    /// What was measured.
    pub quantity: String,
    /// The value.
    pub value: f64,
    /// The limit.
    pub limit: f64,
}

impl Change {
    const fn word(self) -> &'static str {
        match self {
            Self::Begins => "begins",
            Self::Ends => "ends",
        }
    }
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::LedgerUnknown => "ledger-unknown",
            Self::LedgerUnbalanced => "ledger-unbalanced",
            Self::Limit => "limit",
            Self::Quality => "quality",
            Self::Silence => "silence",
        }
    }
}

impl Event {
    /// One line of JSON, without its end.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("plain data has an encoding")
    }

    /// One line for people, without its end.
    pub fn text(&self, colours: Colours) -> String {
        let colour = if self.change == Change::Begins { Colour::Red } else { Colour::Green };
        let change = colours.paint(colour, &format!("{:<6}", self.change.word()));
        format!("{}  {change}  {}", self.time, self.message)
    }

    /// What a command is told.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("VIGIA_TIME", self.time.clone()),
            ("VIGIA_CHANGE", self.change.word().to_owned()),
            ("VIGIA_CONDITION", self.condition.word().to_owned()),
            ("VIGIA_MESSAGE", self.message.clone()),
        ];
        if let Some(sensor) = self.sensor {
            all.push(("VIGIA_SENSOR", sensor.to_string()));
        }
        if let Some(Crossing { rule, quantity, value, limit }) = &self.crossing {
            all.push(("VIGIA_RULE", rule.clone()));
            all.push(("VIGIA_QUANTITY", quantity.clone()));
            all.push(("VIGIA_VALUE", value.to_string()));
            all.push(("VIGIA_LIMIT", limit.to_string()));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_environment_use_the_same_words() {
        for condition in [
            Kind::Api,
            Kind::LedgerUnknown,
            Kind::LedgerUnbalanced,
            Kind::Limit,
            Kind::Quality,
            Kind::Silence,
        ] {
            for change in [Change::Begins, Change::Ends] {
                let event = Event {
                    time: "2026-01-01T00:00:00Z".to_owned(),
                    change,
                    condition,
                    sensor: None,
                    crossing: None,
                    message: "so".to_owned(),
                };
                let json: serde_json::Value = serde_json::from_str(&event.json()).unwrap();
                assert_eq!(json["change"], change.word());
                assert_eq!(json["condition"], condition.word());
            }
        }
    }
}
