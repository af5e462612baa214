//! What a client is told, in the words of its version.

use mqtt_protocol_core::mqtt::packet::{
    self, MessageExpiryInterval, Packet, Properties, PropertiesParse, Property, Qos,
    SubscriptionIdentifier, VariableByteInteger, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, PubackReasonCode, SubackReasonCode,
    SubackReturnCode, UnsubackReasonCode,
};

use super::{Violation, Wire};
use crate::gate::message::Message;

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

impl Wire {
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
