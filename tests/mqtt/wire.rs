//! MQTT 3.1.1 by hand: what no library would send, and as little between the clock and the socket as can be.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::server::Login;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);

pub const CONNECT: u8 = 0x10;
pub const CONNACK: u8 = 0x20;
pub const PUBLISH: u8 = 0x30;
pub const PUBACK: u8 = 0x40;
pub const SUBSCRIBE: u8 = 0x82;
pub const SUBACK: u8 = 0x90;
pub const PINGREQ: u8 = 0xc0;
pub const DISCONNECT: u8 = 0xe0;

/// A connection to the port, without a word yet.
pub fn dial(port: u16) -> io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Type and flags, length, body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    loop {
        let digit = (left % 128) as u8;
        left /= 128;
        bytes.push(if left > 0 { digit | 0x80 } else { digit });
        if left == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&u16::try_from(text.len()).expect("a short text").to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

/// CONNECT with a clean session.
pub fn connect(login: &Login, id: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.extend_from_slice(&[4, 0b1100_0010, 0, 60]);
    text(&mut body, id);
    text(&mut body, &login.user);
    text(&mut body, &login.password());
    packet(CONNECT, &body)
}

pub fn subscribe(id: u16, filter: &str, qos: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    text(&mut body, filter);
    body.push(qos);
    packet(SUBSCRIBE, &body)
}

/// PUBLISH with QoS 1, or 0 without an id.
pub fn publish(topic: &str, id: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(payload.len() + 64);
    text(&mut body, topic);
    body.extend(id.into_iter().flat_map(u16::to_be_bytes));
    body.extend_from_slice(payload);
    packet(if id.is_some() { PUBLISH | 2 } else { PUBLISH }, &body)
}

/// A connection with the login done.
pub struct Wire {
    stream: TcpStream,
}

impl Wire {
    /// Connects and is accepted.
    pub fn open(login: &Login, id: &str) -> io::Result<Self> {
        Self::over(dial(login.port)?, login, id)
    }

    /// The same over this connection.
    pub fn over(stream: TcpStream, login: &Login, id: &str) -> io::Result<Self> {
        let mut wire = Self { stream };
        wire.send(&connect(login, id))?;
        match wire.receive()? {
            (CONNACK, body) if body.get(1) == Some(&0) => Ok(wire),
            other => Err(io::Error::other(format!("no CONNACK that says yes: {other:?}"))),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next packet: type with flags, body.
    pub fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let [first] = self.bytes()?;
        let mut length = 0;
        for digit in 0.. {
            let [byte] = self.bytes()?;
            length |= usize::from(byte & 0x7f) << (7 * digit);
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((first, body))
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Subscribes and is granted it.
    pub fn subscribes(&mut self, filter: &str, qos: u8) -> io::Result<()> {
        self.send(&subscribe(1, filter, qos))?;
        match self.receive()? {
            (SUBACK, body) if body.last() == Some(&qos) => Ok(()),
            other => Err(io::Error::other(format!("no SUBACK that says yes: {other:?}"))),
        }
    }

    /// The next message's payload; it is acknowledged if it wants to be.
    pub fn message(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let (first, body) = self.receive()?;
            if first & 0xf0 != PUBLISH {
                continue;
            }
            let after = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
            let payload = match first & 0b110 {
                0 => after,
                _ => {
                    self.send(&packet(PUBACK, &body[after..after + 2]))?;
                    after + 2
                }
            };
            return Ok(body[payload..].to_vec());
        }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

/// Whether somebody who comes now is served: connect, subscribe, publish, receive.
pub fn is_served(login: &Login, id: &str, topic: &str) -> io::Result<()> {
    let mut wire = Wire::open(login, id)?;
    wire.subscribes(topic, 1)?;
    wire.send(&publish(topic, Some(7), b"are you there?"))?;
    wire.message().map(drop)
}
