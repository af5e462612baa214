//! MQTT 3.1.1 and 5.0 of one connection: bytes in, requests out; answers in, bytes out.
//!
//! Sans-I/O. `mqtt-protocol-core` knows the packets and the rules of the protocol; here the two
//! versions become one vocabulary, so that nothing else of the gate asks which one is spoken.

use bytes::{Bytes, BytesMut};
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, GenericEvent, TimerKind};
use mqtt_protocol_core::mqtt::packet::prelude::*;
use mqtt_protocol_core::mqtt::packet::{
    self, DecodeResult, FixedHeader, MessageExpiryInterval, Packet, Properties, PropertiesParse,
    Property, PropertyId, Qos, RetainHandling, SubEntry, SubscriptionIdentifier,
    VariableByteInteger, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, MqttError, PubackReasonCode,
    SubackReasonCode, SubackReturnCode, UnsubackReasonCode,
};
use mqtt_protocol_core::mqtt::{Connection, Version, role};
use std::time::Duration;

use super::message::Message;
use crate::limits::{CONNECT_BYTES, DELIVERY_WINDOW, MQTT_PACKET_BYTES, RECEIVE_MAXIMUM};

/// What a client asks for.
#[derive(Debug)]
pub enum Request {
    /// The first packet.
    Connect(Box<Connect>),
    /// A message, and the packet id under which it is to be acknowledged.
    Publish(Message, Option<u16>),
    /// A message under this id was received.
    Received(u16),
    /// Subscriptions, with an identifier (MQTT 5.0).
    Subscribe(u16, Vec<Wish>, Option<u32>),
    /// Filters that are no longer wanted.
    Unsubscribe(u16, Vec<String>),
    /// PINGREQ.
    Ping,
    /// The end, in order.
    Disconnect {
        /// Whether the will is to be published all the same.
        with_will: bool,
        /// A new session expiry, in seconds.
        expiry: Option<u32>,
    },
}

/// CONNECT.
#[derive(Debug)]
pub struct Connect {
    /// Empty if the server is to choose one.
    pub client_id: String,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<zeroize::Zeroizing<Vec<u8>>>,
    /// Whether a session that may be there is to be forgotten.
    pub clean_start: bool,
    /// How long the session is kept after the connection, in seconds; `u32::MAX` is for ever.
    pub expiry: u32,
    /// Published when the connection ends without DISCONNECT.
    pub will: Option<Will>,
    /// Messages the client takes before it acknowledges.
    pub window: u16,
}

/// A will.
#[derive(Debug, Clone)]
pub struct Will {
    /// The message, without a publisher.
    pub message: Message,
    /// Seconds between the end of the connection and the publication.
    pub delay: u32,
    /// Seconds after which the published message expires.
    pub expiry: Option<u32>,
}

/// One subscription that is asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The filter, as the client wrote it.
    pub filter: String,
    /// At most this quality of service.
    pub qos: Qos,
    /// Not what this connection publishes itself.
    pub no_local: bool,
    /// Deliver the retain flag as it was published.
    pub retain_as_published: bool,
    /// Which retained messages are sent.
    pub retained: Retained,
}

/// MQTT 5.0, 3.8.3.1, Retain Handling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retained {
    /// At every SUBSCRIBE.
    Always,
    /// If the subscription is new.
    IfNew,
    /// Never.
    Never,
}

/// Why a request is refused. Each version has its own code for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum No {
    /// User name and password do not fit, or may not be tried now.
    BadCredentials,
    /// The client id cannot be used.
    BadClientId,
    /// Not within this account's topics.
    NotAuthorized,
    /// More than the broker gives.
    Quota,
    /// The broker cannot do it now.
    Unavailable,
    /// A topic or filter that MQTT does not allow.
    BadTopic,
    /// `$share`.
    Shared,
}

impl No {
    /// Its name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadCredentials => "bad_credentials",
            Self::BadClientId => "bad_client_id",
            Self::NotAuthorized => "not_authorized",
            Self::Quota => "quota",
            Self::Unavailable => "unavailable",
            Self::BadTopic => "bad_topic",
            Self::Shared => "shared_subscription",
        }
    }
}

/// Why the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goodbye {
    /// Another connection has taken the session.
    TakenOver,
    /// The server stops.
    ShuttingDown,
    /// Nothing came within 1.5 times the keep-alive.
    KeepAlive,
    /// The account is gone, or may no longer do what it did.
    NotAuthorized,
    /// QoS 2 is not offered.
    Qos,
}

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

    fn understand(&mut self, packet: Packet, now_ms: u64) -> Result<Request, Violation> {
        Ok(match packet {
            Packet::V3_1_1Connect(connect) => Request::Connect(Box::new(Connect {
                client_id: connect.client_id().to_owned(),
                user: connect.user_name().map(str::to_owned),
                password: connect.password().map(|secret| secret.to_vec().into()),
                clean_start: connect.clean_session(),
                expiry: if connect.clean_session() { 0 } else { u32::MAX },
                will: connect.will_topic().map(|topic| Will {
                    message: Message {
                        topic: Bytes::copy_from_slice(topic.as_bytes()),
                        qos: at_most_one(connect.will_qos()),
                        retain: connect.will_retain(),
                        publisher: 0,
                        expires_ms: None,
                        properties: Bytes::new(),
                        payload: Bytes::copy_from_slice(connect.will_payload().unwrap_or_default()),
                    },
                    delay: 0,
                    expiry: None,
                }),
                window: DELIVERY_WINDOW,
            })),
            Packet::V5_0Connect(connect) => Request::Connect(Box::new(v5_connect(&connect))),
            Packet::V3_1_1Publish(publish) => {
                if publish.qos() == Qos::ExactlyOnce {
                    return Err(Violation(MqttError::QosNotSupported));
                }
                let message = Message {
                    topic: Bytes::copy_from_slice(publish.topic_name().as_bytes()),
                    qos: publish.qos(),
                    retain: publish.retain(),
                    publisher: 0,
                    expires_ms: None,
                    properties: Bytes::new(),
                    payload: Bytes::copy_from_slice(publish.payload().as_slice()),
                };
                Request::Publish(message, some_id(publish.packet_id())?)
            }
            Packet::V5_0Publish(publish) => {
                if publish.qos() == Qos::ExactlyOnce {
                    self.goodbye(Goodbye::Qos);
                    return Err(Violation(MqttError::QosNotSupported));
                }
                let (properties, expiry) = passed_on(publish.props());
                let message = Message {
                    topic: Bytes::copy_from_slice(publish.topic_name().as_bytes()),
                    qos: publish.qos(),
                    retain: publish.retain(),
                    publisher: 0,
                    expires_ms: expiry.map(|seconds| now_ms + u64::from(seconds) * 1000),
                    properties,
                    payload: Bytes::copy_from_slice(publish.payload().as_slice()),
                };
                Request::Publish(message, some_id(publish.packet_id())?)
            }
            Packet::V3_1_1Puback(ack) => Request::Received(ack.packet_id()),
            Packet::V5_0Puback(ack) => Request::Received(ack.packet_id()),
            Packet::V3_1_1Subscribe(subscribe) => {
                let wishes = subscribe.entries().iter().map(wish).collect();
                Request::Subscribe(subscribe.packet_id(), wishes, None)
            }
            Packet::V5_0Subscribe(subscribe) => {
                let wishes = subscribe.entries().iter().map(wish).collect();
                let identifier = subscribe.props().iter().find_map(|property| match property {
                    Property::SubscriptionIdentifier(identifier) => Some(identifier.val()),
                    _ => None,
                });
                Request::Subscribe(subscribe.packet_id(), wishes, identifier)
            }
            Packet::V3_1_1Unsubscribe(unsubscribe) => {
                let filters = unsubscribe.entries().iter().map(|filter| filter.as_str().to_owned());
                Request::Unsubscribe(unsubscribe.packet_id(), filters.collect())
            }
            Packet::V5_0Unsubscribe(unsubscribe) => {
                let filters = unsubscribe.entries().iter().map(|filter| filter.as_str().to_owned());
                Request::Unsubscribe(unsubscribe.packet_id(), filters.collect())
            }
            Packet::V3_1_1Pingreq(_) | Packet::V5_0Pingreq(_) => Request::Ping,
            Packet::V3_1_1Disconnect(_) => Request::Disconnect { with_will: false, expiry: None },
            Packet::V5_0Disconnect(disconnect) => {
                let expiry =
                    disconnect.props().iter().flatten().find_map(|property| match property {
                        Property::SessionExpiryInterval(expiry) => Some(expiry.val()),
                        _ => None,
                    });
                let code = disconnect.reason_code();
                let with_will =
                    code.is_some_and(|code| code != DisconnectReasonCode::NormalDisconnection);
                Request::Disconnect { with_will, expiry }
            }
            // QoS 2 and extended authentication are not offered.
            _ => return Err(Violation(MqttError::ProtocolError)),
        })
    }

    /// CONNACK: welcome.
    ///
    /// # Errors
    /// If it is larger than the client takes.
    pub fn accept(&mut self, welcome: &Welcome<'_>) -> Result<(), Violation> {
        let packet = if self.is_v5() {
            let mut properties: Properties = vec![
                packet::MaximumQos::new(1).expect("0 and 1 are allowed").into(),
                packet::SharedSubscriptionAvailable::new(0).expect("0 and 1 are allowed").into(),
                packet::SessionExpiryInterval::new(welcome.expiry).expect("all are allowed").into(),
            ];
            if let Some(id) = welcome.assigned_id {
                properties
                    .push(packet::AssignedClientIdentifier::new(id).expect("short ASCII").into());
            }
            let connack = v5_0::Connack::builder()
                .session_present(welcome.session_present)
                .reason_code(ConnectReasonCode::Success)
                .props(properties)
                .build();
            Packet::V5_0Connack(connack.map_err(Violation)?)
        } else {
            let connack = v3_1_1::Connack::builder()
                .session_present(welcome.session_present)
                .return_code(ConnectReturnCode::Accepted)
                .build();
            Packet::V3_1_1Connack(connack.map_err(Violation)?)
        };
        self.send(packet)
    }

    /// CONNACK: no.
    pub fn refuse(&mut self, no: No) {
        let packet = if self.is_v5() {
            let code = match no {
                No::BadCredentials => ConnectReasonCode::BadUserNameOrPassword,
                No::BadClientId => ConnectReasonCode::ClientIdentifierNotValid,
                No::NotAuthorized | No::Shared => ConnectReasonCode::NotAuthorized,
                No::Quota => ConnectReasonCode::QuotaExceeded,
                No::Unavailable => ConnectReasonCode::ServerUnavailable,
                No::BadTopic => ConnectReasonCode::TopicNameInvalid,
            };
            let connack = v5_0::Connack::builder().session_present(false).reason_code(code).build();
            connack.map(Packet::V5_0Connack)
        } else {
            let code = match no {
                No::BadCredentials => ConnectReturnCode::BadUserNameOrPassword,
                No::BadClientId => ConnectReturnCode::IdentifierRejected,
                No::NotAuthorized | No::Shared | No::BadTopic => ConnectReturnCode::NotAuthorized,
                No::Quota | No::Unavailable => ConnectReturnCode::ServerUnavailable,
            };
            let connack =
                v3_1_1::Connack::builder().session_present(false).return_code(code).build();
            connack.map(Packet::V3_1_1Connack)
        };
        if let Ok(packet) = packet {
            let _ = self.send(packet);
        }
    }

    /// PUBACK. MQTT 3.1.1 cannot say no: there the answer is yes, and nothing else happens.
    ///
    /// # Errors
    /// As [`Wire::accept`].
    pub fn acknowledge(&mut self, id: u16, answer: Result<(), No>) -> Result<(), Violation> {
        let packet = if self.is_v5() {
            let mut builder = v5_0::Puback::builder().packet_id(id);
            if let Err(no) = answer {
                builder = builder.reason_code(match no {
                    No::BadTopic => PubackReasonCode::TopicNameInvalid,
                    No::Quota => PubackReasonCode::QuotaExceeded,
                    No::NotAuthorized => PubackReasonCode::NotAuthorized,
                    _ => PubackReasonCode::UnspecifiedError,
                });
            }
            builder.build().map(Packet::V5_0Puback)
        } else {
            v3_1_1::Puback::builder().packet_id(id).build().map(Packet::V3_1_1Puback)
        };
        self.send(packet.map_err(Violation)?)
    }

    /// SUBACK.
    ///
    /// # Errors
    /// As [`Wire::accept`].
    pub fn subscribed(&mut self, id: u16, answers: &[Result<Qos, No>]) -> Result<(), Violation> {
        let packet = if self.is_v5() {
            let code = |answer: &Result<Qos, No>| match answer {
                Ok(Qos::AtMostOnce) => SubackReasonCode::GrantedQos0,
                Ok(_) => SubackReasonCode::GrantedQos1,
                Err(No::Shared) => SubackReasonCode::SharedSubscriptionsNotSupported,
                Err(No::BadTopic) => SubackReasonCode::TopicFilterInvalid,
                Err(No::Quota) => SubackReasonCode::QuotaExceeded,
                Err(No::NotAuthorized) => SubackReasonCode::NotAuthorized,
                Err(_) => SubackReasonCode::UnspecifiedError,
            };
            let codes = answers.iter().map(code).collect();
            v5_0::Suback::builder()
                .packet_id(id)
                .reason_codes(codes)
                .build()
                .map(Packet::V5_0Suback)
        } else {
            let code = |answer: &Result<Qos, No>| match answer {
                Ok(Qos::AtMostOnce) => SubackReturnCode::SuccessMaximumQos0,
                Ok(_) => SubackReturnCode::SuccessMaximumQos1,
                Err(_) => SubackReturnCode::Failure,
            };
            let codes = answers.iter().map(code).collect();
            let suback = v3_1_1::Suback::builder().packet_id(id).return_codes(codes).build();
            suback.map(Packet::V3_1_1Suback)
        };
        self.send(packet.map_err(Violation)?)
    }

    /// UNSUBACK; for each filter, whether there was such a subscription.
    ///
    /// # Errors
    /// As [`Wire::accept`].
    pub fn unsubscribed(&mut self, id: u16, existed: &[bool]) -> Result<(), Violation> {
        let packet = if self.is_v5() {
            let code = |existed: &bool| match existed {
                true => UnsubackReasonCode::Success,
                false => UnsubackReasonCode::NoSubscriptionExisted,
            };
            let codes = existed.iter().map(code).collect();
            let unsuback = v5_0::Unsuback::builder().packet_id(id).reason_codes(codes).build();
            unsuback.map(Packet::V5_0Unsuback)
        } else {
            v3_1_1::Unsuback::builder().packet_id(id).build().map(Packet::V3_1_1Unsuback)
        };
        self.send(packet.map_err(Violation)?)
    }

    /// PINGRESP.
    ///
    /// # Errors
    /// As [`Wire::accept`].
    pub fn pong(&mut self) -> Result<(), Violation> {
        let packet = if self.is_v5() {
            v5_0::Pingresp::builder().build().map(Packet::V5_0Pingresp)
        } else {
            v3_1_1::Pingresp::builder().build().map(Packet::V3_1_1Pingresp)
        };
        self.send(packet.map_err(Violation)?)
    }

    /// DISCONNECT, where the version has one.
    pub fn goodbye(&mut self, why: Goodbye) {
        if self.is_v5() {
            let code = match why {
                Goodbye::TakenOver => DisconnectReasonCode::SessionTakenOver,
                Goodbye::ShuttingDown => DisconnectReasonCode::ServerShuttingDown,
                Goodbye::KeepAlive => DisconnectReasonCode::KeepAliveTimeout,
                Goodbye::NotAuthorized => DisconnectReasonCode::NotAuthorized,
                Goodbye::Qos => DisconnectReasonCode::QosNotSupported,
            };
            if let Ok(disconnect) = v5_0::Disconnect::builder().reason_code(code).build() {
                let _ = self.send(Packet::V5_0Disconnect(disconnect));
            }
        }
    }

    /// A packet id that is free; for [`Wire::deliver`].
    pub fn free_id(&mut self) -> Option<u16> {
        self.connection.acquire_packet_id().ok()
    }

    /// Takes an id that an earlier connection of the session gave out.
    pub fn take_id(&mut self, id: u16) {
        let _ = self.connection.register_packet_id(id);
    }

    /// PUBLISH to the client. `id` is for QoS 1. A message the client has no room for (its maximum
    /// packet size) is dropped, as MQTT wants it (5.0, 3.1.2.11.4); then the answer is `false`.
    pub fn deliver(&mut self, delivery: &Delivery<'_>) -> bool {
        let Delivery { message, id, again, retain, identifiers, now_ms } = delivery;
        let qos = if id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let packet = if self.is_v5() {
            let mut properties = Properties::new();
            if !message.properties.is_empty() {
                let length = VariableByteInteger::from_u32(message.properties.len() as u32);
                let mut whole =
                    length.map(|length| length.to_continuous_buffer()).unwrap_or_default();
                whole.extend_from_slice(&message.properties);
                properties = Properties::parse(&whole).map(|parsed| parsed.0).unwrap_or_default();
            }
            if let Some(end) = message.expires_ms {
                let seconds = end.saturating_sub(*now_ms).div_ceil(1000) as u32;
                properties.extend(MessageExpiryInterval::new(seconds).map(Property::from));
            }
            for identifier in *identifiers {
                properties.extend(SubscriptionIdentifier::new(*identifier).map(Property::from));
            }
            let builder = v5_0::Publish::builder().topic_name(message.topic());
            builder
                .map(|builder| {
                    let builder = builder.qos(qos).retain(*retain).dup(*again).props(properties);
                    let builder = match id {
                        Some(id) => builder.packet_id(*id),
                        None => builder,
                    };
                    builder.payload(&message.payload[..])
                })
                .and_then(|builder| builder.build())
                .map(Packet::V5_0Publish)
        } else {
            let builder = v3_1_1::Publish::builder().topic_name(message.topic());
            builder
                .map(|builder| {
                    let builder = builder.qos(qos).retain(*retain).dup(*again);
                    let builder = match id {
                        Some(id) => builder.packet_id(*id),
                        None => builder,
                    };
                    builder.payload(&message.payload[..])
                })
                .and_then(|builder| builder.build())
                .map(Packet::V3_1_1Publish)
        };
        let sent = packet.map_err(Violation).and_then(|packet| self.send(packet)).is_ok();
        if let (false, Some(id)) = (sent, id) {
            self.connection.release_packet_id(*id);
        }
        sent
    }
}

/// What a CONNACK says.
pub struct Welcome<'a> {
    /// Whether there is a session from before.
    pub session_present: bool,
    /// Seconds the session is kept.
    pub expiry: u32,
    /// The client id, if the server chose it.
    pub assigned_id: Option<&'a str>,
}

/// A message for a client.
pub struct Delivery<'a> {
    /// The message.
    pub message: &'a Message,
    /// The packet id, for QoS 1.
    pub id: Option<u16>,
    /// Whether it was sent before.
    pub again: bool,
    /// The retain flag.
    pub retain: bool,
    /// Identifiers of the subscriptions it comes from.
    pub identifiers: &'a [u32],
    /// Now.
    pub now_ms: u64,
}

/// How long the first packet is, when its header is whole. It is CONNECT, and not long, or nothing.
fn first_length(bytes: &[u8]) -> Result<Option<usize>, Violation> {
    let Some((kind, rest)) = bytes.split_first() else { return Ok(None) };
    if *kind != FixedHeader::Connect as u8 {
        return Err(Violation(MqttError::ProtocolError));
    }
    match VariableByteInteger::decode_stream(rest) {
        DecodeResult::Ok(length, taken) => {
            let whole = 1 + taken + length.to_u32() as usize;
            if whole > CONNECT_BYTES {
                return Err(Violation(MqttError::PacketTooLarge));
            }
            Ok(Some(whole))
        }
        DecodeResult::Incomplete => Ok(None),
        DecodeResult::Err(_) => Err(Violation(MqttError::MalformedPacket)),
    }
}

/// A CONNECT of MQTT 5.0 may say that its client takes no topic aliases: Topic Alias Maximum 0. The
/// library panics at that. Told 1 instead it behaves the same, since this side uses no aliases.
fn without_zero_alias_maximum(packet: &mut [u8]) {
    const VERSION: usize = 6;
    const PROPERTIES: usize = 10;
    const ALIAS_MAXIMUM_ZERO: &[u8] = &[PropertyId::TopicAliasMaximum as u8, 0, 0];
    let DecodeResult::Ok(_, taken) = VariableByteInteger::decode_stream(&packet[1..]) else {
        return;
    };
    let body = 1 + taken;
    let Some(section) = packet.get(body + PROPERTIES..) else { return };
    if packet[body + VERSION] != 5 {
        return;
    }
    let DecodeResult::Ok(length, taken) = VariableByteInteger::decode_stream(section) else {
        return;
    };
    let mut at = body + PROPERTIES + taken;
    let end = (at + length.to_u32() as usize).min(packet.len());
    while at < end {
        if packet[at..end].starts_with(ALIAS_MAXIMUM_ZERO) {
            packet[at + 2] = 1;
        }
        match Property::parse(&packet[at..end]) {
            Ok((_, taken)) if taken > 0 => at += taken,
            _ => return,
        }
    }
}

/// 0 is no packet id.
fn some_id(id: Option<u16>) -> Result<Option<u16>, Violation> {
    if id == Some(0) { Err(Violation(MqttError::MalformedPacket)) } else { Ok(id) }
}

fn at_most_one(qos: Qos) -> Qos {
    if qos == Qos::AtMostOnce { Qos::AtMostOnce } else { Qos::AtLeastOnce }
}

fn wish(entry: &SubEntry) -> Wish {
    let options = entry.sub_opts();
    Wish {
        filter: entry.topic_filter().to_owned(),
        qos: at_most_one(options.qos()),
        no_local: options.nl(),
        retain_as_published: options.rap(),
        retained: match options.rh() {
            RetainHandling::SendRetained => Retained::Always,
            RetainHandling::SendRetainedIfNotExists => Retained::IfNew,
            RetainHandling::DoNotSendRetained => Retained::Never,
        },
    }
}

fn v5_connect(connect: &v5_0::Connect) -> Connect {
    let mut expiry = 0;
    let mut window = DELIVERY_WINDOW;
    for property in connect.props() {
        match property {
            Property::SessionExpiryInterval(value) => expiry = value.val(),
            Property::ReceiveMaximum(value) => window = window.min(value.val()),
            _ => {}
        }
    }
    let will = connect.will_topic().map(|topic| {
        let (properties, expiry) = passed_on(connect.will_props());
        let delay = connect.will_props().iter().find_map(|property| match property {
            Property::WillDelayInterval(delay) => Some(delay.val()),
            _ => None,
        });
        Will {
            message: Message {
                topic: Bytes::copy_from_slice(topic.as_bytes()),
                qos: at_most_one(connect.will_qos()),
                retain: connect.will_retain(),
                publisher: 0,
                expires_ms: None,
                properties,
                payload: Bytes::copy_from_slice(connect.will_payload().unwrap_or_default()),
            },
            delay: delay.unwrap_or(0),
            expiry,
        }
    });
    Connect {
        client_id: connect.client_id().to_owned(),
        user: connect.user_name().map(str::to_owned),
        password: connect.password().map(|secret| secret.to_vec().into()),
        clean_start: connect.clean_start(),
        expiry,
        will,
        window,
    }
}

/// The properties of a message that its receivers get, and its expiry in seconds.
fn passed_on(properties: &Properties) -> (Bytes, Option<u32>) {
    let mut kept = BytesMut::new();
    let mut expiry = None;
    for property in properties {
        match property {
            Property::MessageExpiryInterval(seconds) => expiry = Some(seconds.val()),
            Property::PayloadFormatIndicator(_)
            | Property::ContentType(_)
            | Property::ResponseTopic(_)
            | Property::CorrelationData(_)
            | Property::UserProperty(_) => {
                for slice in property.to_buffers() {
                    kept.extend_from_slice(&slice);
                }
            }
            _ => {}
        }
    }
    (kept.freeze(), expiry)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V311: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c";
    const V5: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01c";

    /// Packets as a client sends them, of both versions: CONNECT, PUBLISH, PUBACK, SUBSCRIBE,
    /// UNSUBSCRIBE, PINGREQ, DISCONNECT, PUBREL, AUTH.
    const PACKETS: [&[u8]; 14] = [
        V311,
        V5,
        b"\x30\x05\x00\x01ahi",
        b"\x32\x07\x00\x01a\x00\x01hi",
        b"\x32\x08\x00\x01a\x00\x01\x00hi",
        b"\x34\x08\x00\x01a\x00\x02\x00hi",
        b"\x32\x0d\x00\x01a\x00\x01\x05\x02\x00\x00\x00\x0ahi",
        b"\x40\x02\x00\x01",
        b"\x82\x06\x00\x01\x00\x01#\x01",
        b"\x82\x09\x00\x01\x02\x0b\x07\x00\x01#\x2d",
        b"\xa2\x05\x00\x02\x00\x01#",
        b"\xc0\x00",
        b"\xe0\x00",
        b"\x62\x02\x00\x01",
    ];

    /// Answers requests as the gate does.
    fn serve(wire: &mut Wire, mut bytes: &[u8]) -> Result<(), Violation> {
        while !bytes.is_empty() {
            let (taken, request) = wire.receive(bytes, 1_000)?;
            bytes = &bytes[taken..];
            match request {
                None => break,
                Some(Request::Connect(_)) => {
                    wire.accept(&Welcome {
                        session_present: true,
                        expiry: 7,
                        assigned_id: Some("x"),
                    })?;
                    let message = Message {
                        topic: Bytes::from_static(b"a/b"),
                        qos: Qos::AtLeastOnce,
                        retain: true,
                        publisher: 1,
                        expires_ms: Some(9_000),
                        properties: Bytes::new(),
                        payload: Bytes::from_static(b"payload"),
                    };
                    let id = wire.free_id();
                    assert_eq!(id, Some(1));
                    let delivery = Delivery {
                        message: &message,
                        id,
                        again: false,
                        retain: true,
                        identifiers: &[3],
                        now_ms: 1_000,
                    };
                    wire.deliver(&delivery);
                }
                Some(Request::Publish(_, Some(id))) => wire.acknowledge(id, Err(No::Quota))?,
                Some(Request::Publish(_, None) | Request::Received(_)) => {}
                Some(Request::Subscribe(id, wishes, _)) => {
                    wire.subscribed(id, &vec![Ok(Qos::AtLeastOnce); wishes.len()])?;
                }
                Some(Request::Unsubscribe(id, filters)) => {
                    wire.unsubscribed(id, &vec![true; filters.len()])?;
                }
                Some(Request::Ping) => wire.pong()?,
                Some(Request::Disconnect { .. }) => return Ok(()),
            }
        }
        Ok(())
    }

    /// A stream of packets with some bytes changed, as it may come from anybody.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let connect = prop::sample::select(vec![V311, V5]);
        let packets = prop::collection::vec(prop::sample::select(PACKETS.to_vec()), 0..8);
        let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
        (connect, packets, changes).prop_map(|(connect, packets, changes)| {
            let mut bytes = [&[connect], &packets[..]].concat().concat();
            for (place, value) in changes {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn whatever_comes_is_understood_or_refused(bytes in stream()) {
            let mut wire = Wire::new();
            let _ = serve(&mut wire, &bytes);
        }

        #[test]
        fn any_split_of_the_bytes_means_the_same(bytes in stream(), cut in any::<prop::sample::Index>()) {
            let (mut whole, mut parts) = (Wire::new(), Wire::new());
            let cut = cut.index(bytes.len());
            let at_once = serve(&mut whole, &bytes);
            let in_parts = serve(&mut parts, &bytes[..cut]).and_then(|()| serve(&mut parts, &bytes[cut..]));
            if at_once.is_ok() && !bytes.windows(2).any(|pair| pair[0] & 0xf0 == 0xe0) {
                prop_assert_eq!(in_parts, Ok(()));
                prop_assert_eq!(whole.out, parts.out);
            }
        }

        #[test]
        fn any_bytes_are_understood_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = serve(&mut Wire::new(), &bytes);
        }
    }

    /// Every property of CONNECT and of a will, at its smallest and its largest.
    #[test]
    fn every_property_of_connect_is_taken_at_its_bounds() {
        let numbers: [(u8, usize); 7] =
            [(0x11, 4), (0x21, 2), (0x27, 4), (0x22, 2), (0x19, 1), (0x17, 1), (0x26, 0)];
        for (id, size) in numbers {
            for value in [0x00, 0x01, 0xff] {
                let mut property = vec![id];
                property.extend(vec![value; size]);
                if size == 0 {
                    property.extend([0, 1, b'k', 0, 1, b'v']);
                }
                let mut body = b"\x00\x04MQTT\x05\x02\x00\x3c".to_vec();
                body.push(property.len() as u8);
                body.extend(&property);
                body.extend(b"\x00\x01c");
                let mut packet = vec![0x10, body.len() as u8];
                packet.extend(body);
                // Some of these values are errors; none is a panic.
                let _ = serve(&mut Wire::new(), &packet);
            }
        }
        let zero = b"\x10\x11\x00\x04MQTT\x05\x02\x00\x3c\x03\x22\x00\x00\x00\x01x";
        let mut wire = Wire::new();
        serve(&mut wire, zero).unwrap();
        assert_eq!(wire.out[0], 0x20, "a CONNACK");
    }

    #[test]
    fn what_is_not_a_short_connect_is_refused_before_it_is_whole() {
        for bytes in [&b"\x30\x05"[..], b"\x10\xff\xff\x7f", b"\x10\xff\xff\xff\xff", b"GET / HTTP"]
        {
            serve(&mut Wire::new(), bytes).unwrap_err();
        }
    }

    #[test]
    fn qos_2_is_refused_in_the_words_of_the_version() {
        let publish: [&[u8]; 2] =
            [b"\x34\x07\x00\x01a\x00\x02hi", b"\x34\x08\x00\x01a\x00\x02\x00hi"];
        for (connect, publish, farewell) in [(V311, publish[0], 0), (V5, publish[1], 0x9b)] {
            let mut wire = Wire::new();
            serve(&mut wire, connect).unwrap();
            wire.out.clear();
            serve(&mut wire, publish).unwrap_err();
            assert_eq!(wire.out.last().copied().unwrap_or(0), farewell);
        }
    }
}
