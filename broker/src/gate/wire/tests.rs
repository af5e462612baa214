use bytes::Bytes;
use mqtt_protocol_core::mqtt::packet::Qos;
use proptest::prelude::*;

use super::*;
use crate::gate::message::Message;

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
                wire.accept(&Welcome { session_present: true, expiry: 7, assigned_id: Some("x") })?;
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
    for bytes in [&b"\x30\x05"[..], b"\x10\xff\xff\x7f", b"\x10\xff\xff\xff\xff", b"GET / HTTP"] {
        serve(&mut Wire::new(), bytes).unwrap_err();
    }
}

#[test]
fn qos_2_is_refused_in_the_words_of_the_version() {
    let publish: [&[u8]; 2] = [b"\x34\x07\x00\x01a\x00\x02hi", b"\x34\x08\x00\x01a\x00\x02\x00hi"];
    for (connect, publish, farewell) in [(V311, publish[0], 0), (V5, publish[1], 0x9b)] {
        let mut wire = Wire::new();
        serve(&mut wire, connect).unwrap();
        wire.out.clear();
        serve(&mut wire, publish).unwrap_err();
        assert_eq!(wire.out.last().copied().unwrap_or(0), farewell);
    }
}
