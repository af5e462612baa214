//! The ingress's side of a session: bytes and times in, frames for the journal and bytes out.
//!
//! It keeps no custody: [`Ingress::journaled`] is told what the journal has synced, and only that is
//! acknowledged.

use std::collections::VecDeque;

use crate::decoder::{Decoder, Frame};
use crate::header::{FrameType, NONCE_BYTES, Place, SensorId, VERSION, WireError};
use crate::keys::{Direction, LinkKey, SessionKey, same_tag};
use crate::limits::{
    FRAME_WITHIN_MICROS, HELLO_WITHIN_MICROS, INGRESS_SILENCE_MICROS, MAX_UNAUTHENTICATED_BYTES,
    WINDOW_FRAMES,
};
use crate::message::{Ack, Hello, RefuseReason, Welcome, encode_busy, encode_empty, encode_refuse};
use crate::sealed::nonce_of;
use crate::time::Micros;

/// What the session wants from its surroundings.
#[derive(Debug)]
pub enum Event {
    /// Somebody claims to be this sensor: answer with [`Ingress::key`].
    Claim {
        /// Who.
        sensor: SensorId,
        /// The generation of its key.
        epoch: u16,
    },
    /// It is this sensor: ask the journal, and answer with [`Ingress::welcome`].
    Authentic {
        /// Who.
        sensor: SensorId,
        /// The oldest reading it holds.
        oldest: Place,
    },
    /// Its first frame of this session has come: an older session of the sensor ends now.
    Established,
    /// A DATA or GAP frame, next in order, for the journal.
    Accepted(Frame),
    /// A frame that the session itself refused.
    Refused(RefuseReason),
}

/// Why a session ends. The peer is told nothing but the closed connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// What came is no frame, or its tag does not fit.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// The first frame is not HELLO, or too much came before WELCOME.
    #[error("no greeting")]
    NoGreeting,
    /// No such sensor, or not its key.
    #[error("unknown sensor or wrong key")]
    NotAuthentic,
    /// It speaks no version that this ingress speaks.
    #[error("no common version")]
    NoCommonVersion,
    /// A frame that only an ingress sends.
    #[error("a frame in the wrong direction")]
    WrongDirection,
    /// Another session of the sensor wrote to the journal meanwhile. Whether it was the same sensor
    /// only the next greeting can tell.
    #[error("the journal stands at another position")]
    Moved,
    /// Another sensor's number inside this session.
    #[error("another sensor's frame")]
    ForeignFrame,
    /// HELLO, the rest of a frame, or any sign of life did not come in time.
    #[error("too slow: {0}")]
    TooSlow(&'static str),
}

/// What the journal knows of a sensor when it is greeted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grant {
    /// The next reading the journal takes.
    pub next: Place,
    /// Nonce of the last accepted frame; zeros if the journal cannot vouch.
    pub last_nonce: [u8; NONCE_BYTES],
    /// Everything of the stream below is accounted for; 0 says nothing.
    pub stored: u64,
}

impl Grant {
    /// What to answer a sensor that holds readings from `oldest` on: the larger position wins, and
    /// the journal vouches only for its own.
    pub fn for_sensor_holding(self, oldest: Place) -> Self {
        let oldest = Place { stream: oldest.stream.max(1), seq: oldest.seq.max(1) };
        if oldest > self.next { Self { next: oldest, ..Self::default() } } else { self }
    }

    /// What the journal that stands here does with a frame of which its session knows that it comes
    /// `after` another ([`Ingress::comes_after`]). The position alone would not do: of two sensors
    /// with one memory's clone each, one would be told that the other's readings were its own.
    pub fn judge(&self, place: Place, after: &[u8; NONCE_BYTES]) -> Offer {
        let fits = if *after == [0; NONCE_BYTES] {
            place >= self.next
        } else {
            place == self.next && *after == self.last_nonce
        };
        match fits {
            true => Offer::Next,
            false if place > self.next => Offer::Behind,
            false => Offer::Elsewhere,
        }
    }
}

/// How a frame stands to the journal's position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It is the next: take it, or be busy.
    Next,
    /// It was under way behind a frame that was turned away: nothing is to be said, it comes again.
    Behind,
    /// Another session wrote meanwhile: this one is over ([`Ingress::turned_away`] without `retry_ms`).
    Elsewhere,
}

enum State {
    AwaitHello,
    AwaitKey(Frame),
    AwaitGrant(Frame, LinkKey),
    Open { session: SessionKey, received: u64, sent: u64, established: bool },
    Over,
}

/// One session.
pub struct Ingress {
    state: State,
    decoder: Decoder,
    out: Vec<u8>,
    events: VecDeque<Event>,
    sensor: SensorId,
    epoch: u16,
    /// The next frame that will be accepted, if the journal takes those under way.
    next: Place,
    /// Ends and nonces of frames under way.
    under_way: VecDeque<(Place, [u8; NONCE_BYTES])>,
    /// What stands before them: granted, or journaled since.
    base: (Place, [u8; NONCE_BYTES]),
    acknowledged: Ack,
    unauthenticated_bytes: usize,
    opened: Micros,
    frame_began: Option<Micros>,
    heard: Micros,
}

impl Ingress {
    /// A connection that has just been accepted.
    pub fn new(now: Micros) -> Self {
        Self {
            state: State::AwaitHello,
            decoder: Decoder::default(),
            out: Vec::new(),
            events: VecDeque::new(),
            sensor: SensorId(0),
            epoch: 0,
            next: Place::default(),
            under_way: VecDeque::new(),
            base: (Place::default(), [0; NONCE_BYTES]),
            acknowledged: Ack { custody: Place::default(), stored: 0, time: 0 },
            unauthenticated_bytes: 0,
            opened: now,
            frame_began: None,
            heard: now,
        }
    }

    /// Takes what the network brought.
    ///
    /// # Errors
    /// The session has ended. Events and bytes from before still count.
    pub fn receive(&mut self, bytes: &[u8], now: Micros) -> Result<(), SessionError> {
        if matches!(self.state, State::Over) {
            return Err(SessionError::Moved);
        }
        if !matches!(self.state, State::Open { .. }) {
            self.unauthenticated_bytes += bytes.len();
            if self.unauthenticated_bytes > MAX_UNAUTHENTICATED_BYTES {
                return Err(SessionError::NoGreeting);
            }
        }
        self.heard = now;
        self.decoder.push(bytes);
        self.advance(now)
    }

    fn advance(&mut self, now: Micros) -> Result<(), SessionError> {
        // While the key or the journal is asked, frames wait in the decoder.
        while matches!(self.state, State::AwaitHello | State::Open { .. }) {
            let Some(frame) = self.decoder.next_frame()? else { break };
            self.frame_began = None;
            match self.state {
                State::AwaitHello => self.greeted(frame)?,
                _ => self.take(frame)?,
            }
        }
        if self.decoder.pending() == 0 {
            self.frame_began = None;
        } else {
            self.frame_began.get_or_insert(now);
        }
        Ok(())
    }

    fn greeted(&mut self, frame: Frame) -> Result<(), SessionError> {
        if frame.header.kind != FrameType::Hello {
            return Err(SessionError::NoGreeting);
        }
        self.sensor = frame.header.sensor;
        self.epoch = frame.header.epoch;
        self.events.push_back(Event::Claim { sensor: self.sensor, epoch: self.epoch });
        self.state = State::AwaitKey(frame);
        Ok(())
    }

    /// Answers [`Event::Claim`]; `None` if there is no such sensor, or it may not speak.
    ///
    /// # Errors
    /// The session has ended.
    pub fn key(&mut self, key: Option<LinkKey>) -> Result<(), SessionError> {
        let State::AwaitKey(frame) = std::mem::replace(&mut self.state, State::AwaitHello) else {
            return Err(SessionError::NoGreeting);
        };
        // The same work for an unknown sensor as for a wrong key.
        let nobody = LinkKey(crate::keys::Secret::new([0; 32]));
        let fits =
            same_tag(&key.as_ref().unwrap_or(&nobody).hello_tag(frame.untagged()), frame.tag());
        let (Some(key), true) = (key, fits) else {
            return Err(SessionError::NotAuthentic);
        };
        let hello = Hello::decode(&frame).ok_or(WireError::BadLength)?;
        if !(hello.lowest..=hello.highest).contains(&VERSION) {
            return Err(SessionError::NoCommonVersion);
        }
        self.events.push_back(Event::Authentic { sensor: hello.sensor, oldest: hello.oldest });
        self.state = State::AwaitGrant(frame, key);
        Ok(())
    }

    /// Answers [`Event::Authentic`] with what the journal knows.
    ///
    /// # Errors
    /// The session has ended.
    pub fn welcome(
        &mut self,
        grant: Grant,
        nonce: [u8; 16],
        now: Micros,
    ) -> Result<(), SessionError> {
        let State::AwaitGrant(hello, key) = std::mem::replace(&mut self.state, State::AwaitHello)
        else {
            return Err(SessionError::NoGreeting);
        };
        let mut frame = Welcome {
            sensor: self.sensor,
            epoch: self.epoch,
            next: grant.next,
            nonce,
            version: VERSION,
            window: WINDOW_FRAMES,
            stored: grant.stored,
            last_nonce: grant.last_nonce,
            time: now.0,
        }
        .encode();
        let tag = key.welcome_tag(&hello.bytes, &frame);
        frame.extend_from_slice(&tag);
        let session = key.session(&hello.bytes, &frame);
        self.out.extend_from_slice(&frame);
        self.next = grant.next;
        self.base = (grant.next, grant.last_nonce);
        self.acknowledged = Ack { custody: grant.next, stored: grant.stored, time: 0 };
        self.state = State::Open { session, received: 0, sent: 0, established: false };
        self.advance(now)
    }

    fn take(&mut self, frame: Frame) -> Result<(), SessionError> {
        let State::Open { session, received, established, .. } = &mut self.state else {
            return Err(SessionError::NoGreeting);
        };
        let tag = session.tag(Direction::Up, *received, frame.untagged());
        if !same_tag(&tag, frame.tag()) {
            return Err(WireError::BadTag.into());
        }
        *received += 1;
        if !*established {
            *established = true;
            self.events.push_back(Event::Established);
        }
        if frame.header.sensor != self.sensor {
            return Err(SessionError::ForeignFrame);
        }
        match frame.header.kind {
            FrameType::Data | FrameType::Gap => self.consider(frame),
            FrameType::Ping => {
                let pong = encode_empty(FrameType::Pong, self.sensor, self.epoch);
                self.transmit(pong);
            }
            _ => return Err(SessionError::WrongDirection),
        }
        Ok(())
    }

    fn consider(&mut self, frame: Frame) {
        let end = frame.header.place.seq.checked_add(u64::from(frame.header.count));
        let refusal = match end {
            _ if frame.header.epoch > self.epoch => Some(RefuseReason::Epoch),
            _ if frame.header.place != self.next => Some(RefuseReason::Position),
            None => Some(RefuseReason::Position),
            _ if self.under_way.len() >= usize::from(WINDOW_FRAMES) => Some(RefuseReason::Window),
            Some(_) => None,
        };
        match (refusal, end) {
            (None, Some(end)) => {
                self.next.seq = end;
                self.under_way.push_back((self.next, nonce_of(&frame.bytes)));
                self.events.push_back(Event::Accepted(frame));
            }
            (reason, _) => self.refuse(reason.unwrap_or(RefuseReason::Position)),
        }
    }

    fn refuse(&mut self, reason: RefuseReason) {
        let frame = encode_refuse(self.sensor, self.epoch, self.next, reason);
        self.events.push_back(Event::Refused(reason));
        self.transmit(frame);
    }

    /// Nonce of the frame that this session accepted right before `frame`, or that WELCOME named; zeros
    /// if the journal could not vouch. For [`Grant::judge`].
    pub fn comes_after(&self, frame: &Frame) -> [u8; NONCE_BYTES] {
        let place = frame.header.place;
        let before = self.under_way.iter().rev().find(|(end, _)| *end == place);
        before.map_or(self.base.1, |(_, nonce)| *nonce)
    }

    /// The journal has synced this session's frames below `custody`, and the store has accounted for
    /// everything of its stream below `stored`. Says so if it is news. What the journal has from another
    /// session is no custody of this one's, and what is stored of another stream says nothing of this one.
    pub fn journaled(&mut self, custody: Place, stored: Place, now: Micros) {
        let stored = stored.within(self.next.stream);
        while let Some(&taken) = self.under_way.front()
            && taken.0 <= custody
        {
            self.base = taken;
            self.under_way.pop_front();
        }
        let custody = custody.min(self.base.0);
        let known = &mut self.acknowledged;
        if custody <= known.custody && stored <= known.stored {
            return;
        }
        known.custody = known.custody.max(custody);
        known.stored = known.stored.max(stored);
        let ack = Ack { time: now.0, ..*known };
        self.transmit(ack.encode(self.sensor, self.epoch));
    }

    /// The journal did not take a frame: what is under way behind it cannot be taken either. With
    /// `retry_ms` it is busy. Without, it stands at another position, and the session is over once its
    /// refusal is sent: in it, frames that fit again by chance would be taken for what they are not.
    pub fn turned_away(&mut self, next: Place, retry_ms: Option<u32>) {
        while self.under_way.back().is_some_and(|(end, _)| *end > next) {
            self.under_way.pop_back();
        }
        self.next = next;
        let stands_here = self.under_way.back().map_or(self.base.0, |(end, _)| *end) == next;
        match retry_ms {
            Some(retry_ms) if stands_here => {
                let frame = encode_busy(self.sensor, self.epoch, next, retry_ms);
                self.transmit(frame);
            }
            _ => {
                self.refuse(RefuseReason::Position);
                self.state = State::Over;
            }
        }
    }

    fn transmit(&mut self, mut frame: Vec<u8>) {
        if let State::Open { session, sent, .. } = &mut self.state {
            let tag = session.tag(Direction::Down, *sent, &frame);
            *sent += 1;
            frame.extend_from_slice(&tag);
            self.out.extend_from_slice(&frame);
        }
    }

    /// What the session wants.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Bytes for the network.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        (!self.out.is_empty()).then(|| std::mem::take(&mut self.out))
    }

    /// Who speaks, once that is known.
    pub fn sensor(&self) -> Option<SensorId> {
        matches!(self.state, State::Open { .. } | State::AwaitGrant(..) | State::Over)
            .then_some(self.sensor)
    }

    /// Frames accepted and not yet answered for.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// When [`Ingress::check_time`] must be called at the latest.
    pub fn deadline(&self) -> Micros {
        let greeting = match self.state {
            State::Open { .. } => i64::MAX,
            State::Over => i64::MIN,
            _ => self.opened.0.saturating_add(HELLO_WITHIN_MICROS),
        };
        let frame =
            self.frame_began.map_or(i64::MAX, |began| began.0.saturating_add(FRAME_WITHIN_MICROS));
        Micros(greeting.min(frame).min(self.heard.0.saturating_add(INGRESS_SILENCE_MICROS)))
    }

    /// Ends a session whose time is over.
    ///
    /// # Errors
    /// The session has ended.
    pub fn check_time(&self, now: Micros) -> Result<(), SessionError> {
        if now < self.deadline() {
            return Ok(());
        }
        if matches!(self.state, State::Over) {
            return Err(SessionError::Moved);
        }
        Err(SessionError::TooSlow(match self.state {
            State::Open { .. } if self.frame_began.is_some() => "the rest of a frame",
            State::Open { .. } => "any sign of life",
            _ => "a greeting",
        }))
    }
}
