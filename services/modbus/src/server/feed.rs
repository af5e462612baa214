//! From the bus into the image: readings out of `text`, and the alarms' retained events.
//!
//! The role subscribes to [`filters`] and hands over what comes. Whatever is not understood changes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::profile::Profile;
use vigia_protocol::quality::Status;
use vigia_protocol::reading::Flags;
use vigia_protocol::stage::StageKey;
use vigia_protocol::text::{self, BadText, Entry, ReadingLine, Text};
use vigia_protocol::topic::{self, Arrow};

use crate::server::image::{Alarm, Image, Newest, Side};

/// What to subscribe to.
pub fn filters() -> [String; 2] {
    [Arrow::Text.filter(), topic::alarm_filter()]
}

/// Fills an image.
#[derive(Debug)]
pub struct Feed {
    key: StageKey,
    image: Arc<Image>,
}

/// A message that is not what its topic says.
#[derive(Debug, thiserror::Error)]
pub enum BadMessage {
    /// Not transform's text.
    #[error("not transform's text: {0}")]
    Text(#[from] BadText),
    /// Not an alarm's event.
    #[error("not an alarm's event: {0}")]
    Alarm(#[from] serde_json::Error),
    /// Nothing that was subscribed to.
    #[error("a topic that is neither text nor an alarm")]
    Topic,
}

/// What is needed of an alarm's event; alert adds more.
#[derive(Deserialize)]
struct Event {
    sensor: SensorId,
    rule: String,
    active: bool,
    side: Side,
    quantity: String,
}

impl Feed {
    /// `key` is the one of the arrow `text`.
    pub fn new(key: StageKey, image: Arc<Image>) -> Self {
        Self { key, image }
    }

    /// A message came.
    ///
    /// # Errors
    /// If it is not what its topic says. What could be used before that was.
    pub fn message(&self, topic: &str, payload: &[u8]) -> Result<(), BadMessage> {
        if Arrow::Text.parse(topic).is_some() {
            return self.text(topic, payload);
        }
        let event: Event = serde_json::from_slice(payload)?;
        if topic != topic::alarm(event.sensor, &event.rule) {
            return Err(BadMessage::Topic);
        }
        let alarm = Alarm { quantity: event.quantity, side: event.side };
        self.image.alarm(event.sensor, &event.rule, event.active.then_some(alarm));
        Ok(())
    }

    fn text(&self, topic: &str, payload: &[u8]) -> Result<(), BadMessage> {
        let Text::Batch { profiles, lines, .. } = text::open(&self.key, topic, payload)? else {
            return Ok(());
        };
        let profiles: HashMap<String, Arc<Profile>> = profiles
            .into_iter()
            .map(|profile| (profile.name().to_owned(), Arc::new(profile)))
            .collect();
        for line in lines {
            let Entry::Reading(line) = line? else { continue };
            if let Some(profile) = profiles.get(line.profile) {
                self.image.update(line.sensor, profile, newest(&line));
            }
        }
        Ok(())
    }
}

fn newest(line: &ReadingLine<'_>) -> Newest {
    let values: Vec<f64> =
        line.values.0.iter().map(|(_, value)| value.unwrap_or(f64::NAN)).collect();
    let status = match line.status.is_empty() {
        true => vec![Status::GOOD; values.len()],
        false => line.status.iter().map(|code| Status(*code)).collect(),
    };
    Newest {
        place: Place { stream: line.stream, seq: line.seq },
        time: line.time,
        received: line.received,
        is_clock_synced: Flags(line.flags).has(Flags::CLOCK_SYNCED),
        status,
        values,
    }
}

#[cfg(test)]
mod tests {
    use vigia_protocol::batch::{BatchHead, Count};
    use vigia_protocol::keys::Secret;
    use vigia_protocol::position::{LogId, Position};
    use vigia_protocol::reading::Reading;
    use vigia_protocol::text::TextWriter;
    use vigia_protocol::time::Micros;
    use vigia_protocol::topic::NodeName;

    use super::*;
    use crate::register::{Kind, Span};
    use crate::server::layout::{ALARMS, EACH_STATUS, VALUE, VALUES};

    const SENSOR: SensorId = SensorId(-3);

    fn key() -> StageKey {
        StageKey::new(Secret::new([5; 32]))
    }

    fn topic() -> String {
        Arrow::Text.topic(&NodeName::new("here").unwrap())
    }

    /// As transform writes it.
    fn text(values: [f64; 3]) -> Vec<u8> {
        let position = Position { log: LogId(1), n: 0 };
        let count = Count { readings: 1, frames: 1 };
        let climate = Profile::climate();
        let mut text =
            TextWriter::batch(&BatchHead { position, before: count, has: count }, [&climate]);
        let reading = Reading {
            time: Micros(1_000_000),
            flags: Flags::CLOCK_SYNCED,
            status: Status::GOOD,
            values: values.to_vec(),
        };
        let whose = (SENSOR, Place { stream: 1, seq: 1 });
        text.reading(whose, Micros(2_000_000), Some(1), &climate, &reading);
        text.seal(&key(), &topic())
    }

    fn read(image: &Image, offset: u16, count: u16) -> Result<Vec<u16>, u8> {
        image.read(101, Span::new(Kind::Input, 200 + offset, count).unwrap(), Micros(0))
    }

    #[test]
    fn what_transform_writes_is_shown() {
        let image = Arc::new(Image::default());
        let feed = Feed::new(key(), Arc::clone(&image));
        feed.message(&topic(), &text([21.5, 1_000.0, f64::NAN])).unwrap();
        assert_eq!(read(&image, VALUES, 2).unwrap(), [0x41AC, 0]);
        assert_eq!(read(&image, VALUES + VALUE, 2).unwrap(), [0x447A, 0]);
        assert_eq!(read(&image, EACH_STATUS, 3).unwrap(), [0, 0, Status::SENSOR_FAILURE.0]);
    }

    #[test]
    fn text_that_is_not_transforms_changes_nothing() {
        let image = Arc::new(Image::default());
        let feed = Feed::new(key(), Arc::clone(&image));
        let mut forged = text([21.5; 3]);
        forged[200] ^= 1;
        assert!(matches!(feed.message(&topic(), &forged), Err(BadMessage::Text(_))));
        assert!(read(&image, VALUES, 2).is_err(), "the sensor is not there");
    }

    #[test]
    fn what_alert_publishes_is_shown() {
        let image = Arc::new(Image::new([(SENSOR, Arc::new(Profile::climate()))]));
        let feed = Feed::new(key(), Arc::clone(&image));
        let event = |active: bool| {
            serde_json::json!({
                "id": "-3/damp/1/raised", "sensor": -3, "rule": "damp", "active": active,
                "side": "high", "quantity": "humidity", "value": 99.0, "limit": 90.0,
                "time": "2026-01-31T08:30:00Z", "place": {"stream": 1, "seq": 1},
            })
            .to_string()
        };
        let topic = topic::alarm(SENSOR, "damp");
        feed.message(&topic, event(true).as_bytes()).unwrap();
        assert_eq!(read(&image, ALARMS, 3).unwrap(), [1, 0b100, 0]);
        feed.message(&topic, event(false).as_bytes()).unwrap();
        assert_eq!(read(&image, ALARMS, 3).unwrap(), [0, 0, 0]);
        assert!(feed.message(&topic::alarm(SENSOR, "hot"), event(true).as_bytes()).is_err());
        assert!(feed.message(&topic, b"").is_err());
    }
}
