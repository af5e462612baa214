//! What is said on the bus about the present: which alarms are active, which roles are there.
//!
//! Both are retained messages, so each connection begins with all of them. Nothing of it is stored and
//! nothing depends on it: while the bus is away, nothing is known.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use poem_openapi::Object;
use serde::Deserialize;
use vigia_kit::bus::{BusError, BusLogin, Consumer};
use vigia_kit::limits::RECONNECT_PAUSE;
use vigia_kit::shutdown::Shutdown;
use vigia_protocol::topic;

use crate::limits::{PRESENT_BYTES, PRESENT_TOPICS};

/// What a limit says of a sensor.
#[derive(Debug, Clone, PartialEq, Deserialize, Object)]
#[oai(read_only_all)]
pub struct Alarm {
    /// Whose.
    pub sensor: i16,
    /// The limit's name.
    pub rule: String,
    /// Raised, or ended.
    pub active: bool,
    /// Above `high`, or below `low`.
    pub side: String,
    /// What was measured.
    pub quantity: String,
    /// The value that raised or ended it.
    pub value: f64,
    /// The limit it crossed.
    pub limit: f64,
    /// When that was measured, by the sensor's clock.
    pub time: String,
}

/// What a role says about itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Presence {
    /// `online`, or `offline`, which is its will.
    pub state: String,
    /// Since when it is online, RFC 3339.
    pub since: Option<String>,
    /// Its version.
    pub version: Option<String>,
}

/// What is known now.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// By their topics: sensor and rule.
    pub alarms: BTreeMap<String, Alarm>,
    /// By role and node.
    pub roles: BTreeMap<(String, String), Presence>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Present(Mutex<Option<Known>>);

impl Present {
    /// What is known, unless the bus is away.
    pub fn known(&self) -> Option<Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, known: Option<Known>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// A message came; one that cannot be read, or an empty one, ends what was said before.
    fn hear(&self, topic: &str, payload: &[u8]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = known.as_mut() else { return };
        if let Some(alarm) = topic::parse_alarm(topic) {
            put(&mut known.alarms, alarm.to_owned(), payload);
        } else if let Some((role, node)) = topic::parse_status(topic) {
            put(&mut known.roles, (role.to_owned(), node.to_owned()), payload);
        }
    }

    /// Listens until the end, through every loss of the bus.
    pub async fn listen(&self, login: BusLogin, mut shutdown: Shutdown) {
        let mut pause = RECONNECT_PAUSE.0;
        loop {
            let result = tokio::select! {
                () = shutdown.ended() => return,
                result = self.session(&login, &mut pause) => result,
            };
            self.set(None);
            if let Err(error) = result {
                tracing::debug!(%error, "alarms and roles are not known");
            }
            tokio::select! {
                () = shutdown.ended() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(RECONNECT_PAUSE.1);
        }
    }

    async fn session(
        &self,
        login: &BusLogin,
        pause: &mut std::time::Duration,
    ) -> Result<(), BusError> {
        let filters = [topic::alarm_filter(), topic::status_filter()];
        let mut consumer = Consumer::look(login, "look", &filters).await?;
        *pause = RECONNECT_PAUSE.0;
        self.set(Some(Known::default()));
        loop {
            let delivery = consumer.receive().await?;
            self.hear(delivery.topic(), delivery.payload());
            consumer.acknowledge(&delivery).await?;
        }
    }
}

fn put<K: Ord, V: for<'de> Deserialize<'de>>(into: &mut BTreeMap<K, V>, key: K, payload: &[u8]) {
    let said = serde_json::from_slice(payload).ok().filter(|_| payload.len() <= PRESENT_BYTES);
    match said {
        Some(said) if into.len() < PRESENT_TOPICS || into.contains_key(&key) => {
            into.insert(key, said);
        }
        Some(_) => {}
        None => {
            into.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_a_topic_holds_and_a_word_that_is_none_ends_it() {
        let present = Present::default();
        present.hear("vigia/v1/status/alert/node1", br#"{"state":"online"}"#);
        assert!(present.known().is_none());
        present.set(Some(Known::default()));
        let state = |present: &Present| {
            let known = present.known().unwrap();
            known
                .roles
                .get(&("alert".to_owned(), "node1".to_owned()))
                .map(|role| role.state.clone())
        };
        present.hear("vigia/v1/status/alert/node1", br#"{"state":"online","since":"x","pid":1}"#);
        assert_eq!(state(&present).as_deref(), Some("online"));
        present.hear("vigia/v1/status/alert/node1", br#"{"state":"offline"}"#);
        assert_eq!(state(&present).as_deref(), Some("offline"));
        present.hear("vigia/v1/status/alert/node1", b"");
        assert_eq!(state(&present), None);
        let alarm = br#"{"id":"3/hot/1/raised","sensor":3,"rule":"hot","active":true,"side":"high",
            "quantity":"temperature","value":50.5,"limit":40.0,"time":"x","place":{"stream":1,"seq":9}}"#;
        present.hear("vigia/v1/alarm/3/hot", alarm);
        present.hear("vigia/v1/sensor/3", alarm);
        let known = present.known().unwrap();
        assert_eq!((known.alarms.len(), known.alarms["3/hot"].value), (1, 50.5));
    }
}
