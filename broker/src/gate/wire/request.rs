//! What a client asks for, whichever version it speaks.

use bytes::{Bytes, BytesMut};
use mqtt_protocol_core::mqtt::packet::{
    Packet, Properties, Property, Qos, RetainHandling, SubEntry, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{DisconnectReasonCode, MqttError};

use super::answer::Goodbye;
use super::{Violation, Wire};
use crate::gate::message::Message;
use crate::limits::DELIVERY_WINDOW;

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

impl Wire {
    pub(super) fn understand(&mut self, packet: Packet, now_ms: u64) -> Result<Request, Violation> {
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
