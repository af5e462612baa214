//! What is looked at before the library sees it: the first packet's length, and a CONNECT that it cannot bear.

use mqtt_protocol_core::mqtt::packet::{
    DecodeResult, FixedHeader, Property, PropertyId, VariableByteInteger,
};
use mqtt_protocol_core::mqtt::result_code::MqttError;

use super::Violation;
use crate::limits::CONNECT_BYTES;

/// How long the first packet is, when its header is whole. It is CONNECT, and not long, or nothing.
pub fn first_length(bytes: &[u8]) -> Result<Option<usize>, Violation> {
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
pub fn without_zero_alias_maximum(packet: &mut [u8]) {
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
