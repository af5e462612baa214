//! An application message on its way from a publisher to subscribers.
//!
//! rumqttd is shown a topic and bytes, nothing else: what else MQTT attaches to a message travels in
//! an envelope in front of its payload, made and opened here. So no property, flag or quality of
//! service of a client ever reaches rumqttd's code.
//!
//! ```text
//! flags u8 · publisher u64 · [expires at, ms since the epoch, u64] · [properties' length u32 · properties] · payload
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use mqtt_protocol_core::mqtt::packet::Qos;

const AT_LEAST_ONCE: u8 = 1;
const RETAIN: u8 = 1 << 1;
const EXPIRES: u8 = 1 << 2;
const PROPERTIES: u8 = 1 << 3;

/// A message. Cloning it copies no bytes of its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was published: a valid topic name.
    pub topic: Bytes,
    /// [`Qos::AtMostOnce`] or [`Qos::AtLeastOnce`]; 2 is not offered.
    pub qos: Qos,
    /// Whether it was published to be retained.
    pub retain: bool,
    /// The connection that published it, for the subscription option *No Local*.
    pub publisher: u64,
    /// When it is no longer delivered, in milliseconds since the epoch (MQTT 5.0, 3.3.2.3.3).
    pub expires_ms: Option<u64>,
    /// The MQTT 5.0 properties that are passed on, as on the wire without their length.
    pub properties: Bytes,
    /// What it says.
    pub payload: Bytes,
}

impl Message {
    /// The topic as text.
    pub fn topic(&self) -> &str {
        // Checked when it was published.
        std::str::from_utf8(&self.topic).unwrap_or_default()
    }

    /// Bytes that keeping it costs.
    pub fn size(&self) -> usize {
        self.topic.len() + self.properties.len() + self.payload.len()
    }

    /// Whether its time is over.
    pub fn expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|end| end <= now_ms)
    }

    /// Envelope and payload.
    pub fn seal(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(32 + self.properties.len() + self.payload.len());
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        bytes.put_u8(
            flag(self.qos != Qos::AtMostOnce, AT_LEAST_ONCE)
                | flag(self.retain, RETAIN)
                | flag(self.expires_ms.is_some(), EXPIRES)
                | flag(!self.properties.is_empty(), PROPERTIES),
        );
        bytes.put_u64_le(self.publisher);
        if let Some(end) = self.expires_ms {
            bytes.put_u64_le(end);
        }
        if !self.properties.is_empty() {
            bytes.put_u32_le(self.properties.len() as u32);
            bytes.put_slice(&self.properties);
        }
        bytes.put_slice(&self.payload);
        bytes.freeze()
    }

    /// What [`Message::seal`] made. `None` for anything else.
    pub fn open(topic: Bytes, sealed: &Bytes) -> Option<Self> {
        let mut rest = Reader(sealed.clone());
        let flags = rest.take(1)?[0];
        let publisher = rest.u64()?;
        let expires_ms = if flags & EXPIRES != 0 { Some(rest.u64()?) } else { None };
        let properties = if flags & PROPERTIES != 0 {
            let length = u32::from_le_bytes(rest.take(4)?[..].try_into().ok()?);
            rest.take(length as usize)?
        } else {
            Bytes::new()
        };
        Some(Self {
            topic,
            qos: if flags & AT_LEAST_ONCE != 0 { Qos::AtLeastOnce } else { Qos::AtMostOnce },
            retain: flags & RETAIN != 0,
            publisher,
            expires_ms,
            properties,
            payload: rest.0,
        })
    }
}

struct Reader(Bytes);

impl Reader {
    fn take(&mut self, count: usize) -> Option<Bytes> {
        (count <= self.0.len()).then(|| self.0.split_to(count))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?[..].try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
    }

    fn message() -> impl Strategy<Value = Message> {
        (any::<bool>(), any::<bool>(), any::<u64>(), any::<Option<u64>>(), bytes(), bytes())
            .prop_map(|(once, retain, publisher, expires_ms, properties, payload)| Message {
                topic: Bytes::from_static(b"a/b"),
                qos: if once { Qos::AtLeastOnce } else { Qos::AtMostOnce },
                retain,
                publisher,
                expires_ms,
                properties,
                payload,
            })
    }

    proptest! {
        #[test]
        fn what_was_sealed_is_opened(message in message()) {
            let topic = message.topic.clone();
            prop_assert_eq!(Message::open(topic, &message.seal()), Some(message));
        }

        #[test]
        fn any_bytes_are_opened_or_refused(sealed in bytes()) {
            if let Some(message) = Message::open(Bytes::new(), &sealed) {
                prop_assert!(message.payload.len() <= sealed.len());
            }
        }
    }
}
