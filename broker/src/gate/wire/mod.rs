//! MQTT 3.1.1 and 5.0 of one connection: bytes in, requests out; answers in, bytes out.
//!
//! Sans-I/O. `mqtt-protocol-core` knows the packets and the rules of the protocol; here the two
//! versions become one vocabulary, so that nothing else of the gate asks which one is spoken.

mod answer;
mod connect_guard;
mod request;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::BytesMut;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, GenericEvent, TimerKind};
use mqtt_protocol_core::mqtt::packet::Packet;
use mqtt_protocol_core::mqtt::packet::prelude::*;
use mqtt_protocol_core::mqtt::result_code::MqttError;
use mqtt_protocol_core::mqtt::{Connection, Version, role};

pub use answer::{Delivery, Goodbye, No, Welcome};
pub use request::{Connect, Request, Retained, Will, Wish};

use crate::limits::{CONNECT_BYTES, MQTT_PACKET_BYTES, RECEIVE_MAXIMUM};
use connect_guard::{first_length, without_zero_alias_maximum};

/// The bytes are not MQTT, or not what the state of the connection allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("protocol violation: {0:?}")]
pub struct Violation(MqttError);

/// Both directions of one connection.
pub struct Wire {
    connection: Connection<role::Server>,
    /// Written, in order, to the client.
    pub out: BytesMut,
    /// Silence after which the connection is over, by the client's keep-alive.
    pub patience: Option<Duration>,
    /// The first packet, as long as it is not whole.
    first: Vec<u8>,
}

impl Wire {
    /// Before the first byte.
    pub fn new() -> Self {
        let options = ConnectionOptions::new()
            .maximum_packet_size_recv(MQTT_PACKET_BYTES)
            .receive_maximum(RECEIVE_MAXIMUM);
        Self {
            connection: Connection::with_options(Version::Undetermined, options),
            out: BytesMut::new(),
            patience: None,
            first: Vec::new(),
        }
    }

    /// Whether MQTT 5.0 is spoken.
    pub fn is_v5(&self) -> bool {
        self.connection.get_protocol_version() == Version::V5_0
    }

    /// The version, for people.
    pub fn version(&self) -> &'static str {
        if self.is_v5() { "5.0" } else { "3.1.1" }
    }

    /// Takes bytes; returns how many it took and what they ask for. All were taken when it asks
    /// for nothing.
    ///
    /// # Errors
    /// [`Violation`]; an answer to it, where the protocol has one, is in `out`.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        now_ms: u64,
    ) -> Result<(usize, Option<Request>), Violation> {
        if self.connection.get_protocol_version() != Version::Undetermined {
            return self.feed(bytes, now_ms);
        }
        let before = self.first.len();
        self.first.extend_from_slice(&bytes[..bytes.len().min(CONNECT_BYTES)]);
        let length = first_length(&self.first)?;
        if length.is_none_or(|length| self.first.len() < length) {
            return Ok((bytes.len(), None));
        }
        let mut first = std::mem::take(&mut self.first);
        first.truncate(length.unwrap_or_default());
        without_zero_alias_maximum(&mut first);
        let (_, request) = self.feed(&first, now_ms)?;
        Ok((first.len() - before, request))
    }

    fn feed(&mut self, bytes: &[u8], now_ms: u64) -> Result<(usize, Option<Request>), Violation> {
        let mut cursor = Cursor::new(bytes);
        while (cursor.position() as usize) < bytes.len() {
            let events = self.connection.recv(&mut cursor);
            if let Some(packet) = self.act(events)? {
                let taken = cursor.position() as usize;
                return Ok((taken, Some(self.understand(packet, now_ms)?)));
            }
        }
        Ok((bytes.len(), None))
    }

    /// Does what the protocol's state machine wants done; returns a received packet.
    fn act(&mut self, events: Vec<GenericEvent<u16>>) -> Result<Option<Packet>, Violation> {
        let mut received = None;
        let mut violation = None;
        for event in events {
            match event {
                GenericEvent::NotifyPacketReceived(packet) => received = Some(packet),
                GenericEvent::RequestSendPacket { packet, .. } => self.write(&packet),
                GenericEvent::RequestTimerReset { kind: TimerKind::PingreqRecv, duration_ms } => {
                    self.patience = Some(Duration::from_millis(duration_ms));
                }
                GenericEvent::NotifyError(error) => violation = Some(Violation(error)),
                _ => {}
            }
        }
        violation.map_or(Ok(received), Err)
    }

    fn write(&mut self, packet: &Packet) {
        for slice in packet.to_buffers() {
            self.out.extend_from_slice(&slice);
        }
    }

    /// Sends what this side decided to send. An error means that the client does not take it.
    fn send(&mut self, packet: Packet) -> Result<(), Violation> {
        let events = self.connection.send(packet);
        self.act(events).map(|_| ())
    }

    /// A packet id that is free; for [`Wire::deliver`].
    pub fn free_id(&mut self) -> Option<u16> {
        self.connection.acquire_packet_id().ok()
    }

    /// Takes an id that an earlier connection of the session gave out.
    pub fn take_id(&mut self, id: u16) {
        let _ = self.connection.register_packet_id(id);
    }
}
