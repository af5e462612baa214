//! The sensor's side of a session: readings in, frames out, and nothing forgotten before it is stored.
//!
//! The C++ sensor has its own; this one serves everything that is a sensor in Rust.

use crate::decoder::{Decoder, Frame};
use crate::header::{FrameType, Place, SensorId, VERSION, WireError};
use crate::held::{Body, Change, Held};
use crate::keys::{DeviceKey, Direction, LinkKey, SessionKey, same_tag};
use crate::limits::{ANSWER_WITHIN_MICROS, PING_AFTER_MICROS};
use crate::message::{Ack, Hello, Welcome, decode_busy, encode_empty};
use crate::sealed::{Cut, SealingKeys, seal};
use crate::time::Micros;

/// Why a connection is given up; the device connects again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// What came is no frame, or its tag does not fit.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// A frame that does not belong here.
    #[error("an unexpected frame")]
    Unexpected,
    /// The ingress stands where this session cannot have brought it. The next WELCOME tells whether
    /// it speaks of this memory.
    #[error("the ingress stands at another position")]
    Refused,
    /// The ingress speaks of another memory: a new stream was opened, and is announced anew.
    #[error("the ingress knows another memory of this sensor; a new stream was opened")]
    NewStream,
    /// Nothing came for too long.
    #[error("no answer")]
    Silence,
}

enum Link {
    Down,
    Greeting { hello: Frame },
    Open { session: SessionKey, received: u64, sent: u64, window: u16 },
}

/// A sensor without a socket, a disk or a clock.
pub struct Device {
    sensor: SensorId,
    epoch: u16,
    link_key: LinkKey,
    sealing: SealingKeys,
    held: Held,
    link: Link,
    decoder: Decoder,
    out: Vec<u8>,
    changes: Vec<Change>,
    /// The next reading to send on this connection.
    cursor: u64,
    /// Ends of frames under way.
    under_way: std::collections::VecDeque<u64>,
    /// Where BUSY named, until something from there on is in custody.
    rewound_to: Option<u64>,
    paused_until: Option<Micros>,
    spoke: Micros,
    waiting_since: Option<Micros>,
}

impl Device {
    /// A sensor with this key and memory.
    pub fn new(key: &DeviceKey, sensor: SensorId, epoch: u16, held: Held) -> Self {
        Self {
            sensor,
            epoch,
            link_key: key.link(sensor, epoch),
            sealing: SealingKeys {
                reading: key.reading(sensor, epoch),
                nonce: key.nonce(sensor, epoch),
            },
            held,
            link: Link::Down,
            decoder: Decoder::default(),
            out: Vec::new(),
            changes: Vec::new(),
            cursor: 1,
            under_way: std::collections::VecDeque::new(),
            rewound_to: None,
            paused_until: None,
            spoke: Micros(0),
            waiting_since: None,
        }
    }

    /// Takes a reading, whether or not anybody listens.
    pub fn take(&mut self, reading: &[u8]) -> Place {
        self.held.take(reading, &mut self.changes)
    }

    /// Its memory.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Whether a session is open.
    pub fn is_open(&self) -> bool {
        matches!(self.link, Link::Open { .. })
    }

    /// A connection was made.
    pub fn connected(&mut self, nonce: [u8; 16], now: Micros) {
        self.disconnected();
        // Which journal answers is not known before WELCOME. Until then nothing is let go that HELLO
        // speaks of: what is evicted leaves a declaration in its place.
        self.held.reset_custody(self.held.oldest().seq);
        let mut bytes = Hello {
            sensor: self.sensor,
            epoch: self.epoch,
            oldest: self.held.oldest(),
            nonce,
            lowest: VERSION,
            highest: VERSION,
        }
        .encode();
        let tag = self.link_key.hello_tag(&bytes);
        bytes.extend_from_slice(&tag);
        self.out.extend_from_slice(&bytes);
        if let Ok(hello) = Frame::parse(&bytes) {
            self.link = Link::Greeting { hello };
        }
        self.waiting_since = Some(now);
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.link = Link::Down;
        self.decoder = Decoder::default();
        self.out.clear();
        self.under_way.clear();
        self.rewound_to = None;
        self.paused_until = None;
        self.waiting_since = None;
    }

    /// Takes what the network brought.
    ///
    /// # Errors
    /// The connection is to be given up.
    pub fn receive(&mut self, bytes: &[u8], now: Micros) -> Result<(), LinkError> {
        self.decoder.push(bytes);
        while let Some(frame) = self.decoder.next_frame()? {
            self.waiting_since = None;
            match &mut self.link {
                Link::Down => return Err(LinkError::Unexpected),
                Link::Greeting { .. } => self.welcomed(&frame)?,
                Link::Open { session, received, .. } => {
                    let tag = session.tag(Direction::Down, *received, frame.untagged());
                    if !same_tag(&tag, frame.tag()) {
                        return Err(WireError::BadTag.into());
                    }
                    *received += 1;
                    self.answered(&frame, now)?;
                }
            }
            if !self.under_way.is_empty() {
                self.waiting_since = Some(now);
            }
        }
        Ok(())
    }

    fn welcomed(&mut self, frame: &Frame) -> Result<(), LinkError> {
        let Link::Greeting { hello } = &self.link else { return Err(LinkError::Unexpected) };
        let tag = self.link_key.welcome_tag(&hello.bytes, frame.untagged());
        let welcome = Welcome::decode(frame).ok_or(LinkError::Unexpected)?;
        if !same_tag(&tag, frame.tag()) || welcome.version != VERSION {
            return Err(WireError::BadTag.into());
        }
        if !self.held.knows(welcome.next, &welcome.last_nonce) {
            self.held.renumber(welcome.next.stream, &mut self.changes);
            return Err(LinkError::NewStream);
        }
        self.link = Link::Open {
            session: self.link_key.session(&hello.bytes, &frame.bytes),
            received: 0,
            sent: 0,
            window: welcome.window,
        };
        self.cursor = welcome.next.seq;
        self.held.reset_custody(welcome.next.seq);
        self.held.forget(welcome.stored, &mut self.changes);
        Ok(())
    }

    fn answered(&mut self, frame: &Frame, now: Micros) -> Result<(), LinkError> {
        let place = frame.header.place;
        match frame.header.kind {
            FrameType::Ack => {
                let ack = Ack::decode(frame).ok_or(LinkError::Unexpected)?;
                // What this session has not sent, it cannot have brought into custody.
                if ack.custody.stream != self.held.oldest().stream || ack.custody.seq > self.cursor
                {
                    return Err(LinkError::Unexpected);
                }
                // Not earlier: refusals of frames that were under way may still follow, and must not
                // be taken for news.
                if self.rewound_to.is_some_and(|seq| seq < ack.custody.seq) {
                    self.rewound_to = None;
                }
                while self.under_way.front().is_some_and(|end| *end <= ack.custody.seq) {
                    self.under_way.pop_front();
                }
                self.held.in_custody(ack.custody.seq);
                self.held.forget(ack.stored, &mut self.changes);
            }
            FrameType::Busy => {
                let retry_ms = decode_busy(frame).ok_or(LinkError::Unexpected)?;
                self.paused_until = Some(Micros(now.0.saturating_add(i64::from(retry_ms) * 1000)));
                self.go_back_to(place)?;
            }
            // After BUSY the frames that were under way behind it are refused: only an echo.
            FrameType::Refuse if self.rewound_to == Some(place.seq) => {}
            FrameType::Refuse => return Err(LinkError::Refused),
            FrameType::Pong => {}
            _ => return Err(LinkError::Unexpected),
        }
        Ok(())
    }

    fn go_back_to(&mut self, place: Place) -> Result<(), LinkError> {
        if place.stream != self.held.oldest().stream || place.seq > self.cursor {
            return Err(LinkError::Refused);
        }
        self.cursor = place.seq;
        self.rewound_to = Some(place.seq);
        // Those before it were taken and are still to be acknowledged.
        while self.under_way.back().is_some_and(|end| *end > place.seq) {
            self.under_way.pop_back();
        }
        Ok(())
    }

    /// Cuts, seals and tags as much as the window allows. `random` gives 24 random bytes.
    pub fn send(&mut self, now: Micros, mut random: impl FnMut() -> [u8; 24]) {
        if self.paused_until.is_some_and(|until| now < until) {
            return;
        }
        self.paused_until = None;
        while let Link::Open { window, .. } = self.link
            && self.under_way.len() < usize::from(window)
            && let Some(frame) = self.next_frame(&mut random)
        {
            self.transmit(frame, now);
            self.under_way.push_back(self.cursor);
        }
    }

    fn next_frame(&mut self, random: &mut impl FnMut() -> [u8; 24]) -> Option<Vec<u8>> {
        // What was evicted meanwhile cannot be sent; HELLO will say so at the next connection.
        self.cursor = self.cursor.max(self.held.oldest().seq);
        let planned = self.held.frame_at(self.cursor)?;
        let place = Place { stream: self.held.oldest().stream, seq: self.cursor };
        let (kind, body) = match planned.body {
            Body::Readings(bytes) => (FrameType::Data, bytes),
            Body::Gap(reason) => (FrameType::Gap, (reason as u16).to_le_bytes().to_vec()),
        };
        // What was cut under an older key is sealed anew.
        let known = planned.cut.filter(|cut| cut.epoch == self.epoch);
        let random = known.map_or_else(random, |cut| cut.random);
        let (frame, nonce) = seal(
            &self.sealing,
            kind,
            self.sensor,
            (place, planned.count, self.epoch),
            &random,
            &body,
        );
        if known.is_none_or(|cut| cut.nonce != nonce) {
            let gap = kind == FrameType::Gap;
            let cut = Cut { place, count: planned.count, gap, epoch: self.epoch, random, nonce };
            self.held.remember(cut, &mut self.changes);
        }
        self.cursor += u64::from(planned.count);
        Some(frame)
    }

    fn transmit(&mut self, mut frame: Vec<u8>, now: Micros) {
        if let Link::Open { session, sent, .. } = &mut self.link {
            let tag = session.tag(Direction::Up, *sent, &frame);
            *sent += 1;
            frame.extend_from_slice(&tag);
            self.out.extend_from_slice(&frame);
            self.spoke = now;
            self.waiting_since.get_or_insert(now);
        }
    }

    /// How many more frames may be under way.
    pub fn window_left(&self) -> usize {
        match self.link {
            Link::Open { window, .. } => usize::from(window).saturating_sub(self.under_way.len()),
            _ => 0,
        }
    }

    /// What must be durable before [`Device::poll_transmit`]'s bytes leave.
    pub fn poll_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Bytes for the network.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        (!self.out.is_empty()).then(|| std::mem::take(&mut self.out))
    }

    /// When [`Device::check_time`] and [`Device::send`] must be called at the latest.
    pub fn deadline(&self) -> Micros {
        let after = |since: Micros, micros| since.0.saturating_add(micros);
        let answer =
            self.waiting_since.map_or(i64::MAX, |since| after(since, ANSWER_WITHIN_MICROS));
        let ping = if self.is_open() { after(self.spoke, PING_AFTER_MICROS) } else { i64::MAX };
        let pause = self.paused_until.map_or(i64::MAX, |until| until.0);
        Micros(answer.min(ping).min(pause))
    }

    /// Pings, and gives up a connection that does not answer.
    ///
    /// # Errors
    /// The connection is to be given up.
    pub fn check_time(&mut self, now: Micros) -> Result<(), LinkError> {
        let since_then = |then: Micros| now.0.saturating_sub(then.0);
        if self.waiting_since.is_some_and(|since| since_then(since) >= ANSWER_WITHIN_MICROS) {
            return Err(LinkError::Silence);
        }
        if self.is_open() && since_then(self.spoke) >= PING_AFTER_MICROS {
            let ping = encode_empty(FrameType::Ping, self.sensor, self.epoch);
            self.transmit(ping, now);
        }
        Ok(())
    }
}
