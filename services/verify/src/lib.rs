//! The verify role: opens each frame's box and checks its signature. Stateless but for a cache of keys.

mod keys;

use std::borrow::Cow;

use vigia_kit::bus::BusLogin;
use vigia_kit::config::Sabotage;
use vigia_kit::sabotage::dies_of;
use vigia_kit::shutdown::Shutdown;
use vigia_kit::site::{Role, Site};
use vigia_kit::stage::{self, Stage};
use vigia_protocol::batch::{
    Bytes, Content, Message, QuarantineReason, RawFrame, RawFrames, VerifiedFrame, VerifiedFrames,
    decode_borrowed, encode,
};
use vigia_protocol::decoder::Frame;
use vigia_protocol::header::{FrameType, Header, Place, SensorId, WireError};
use vigia_protocol::sealed::{Opened, open};
use vigia_protocol::stage::StageKey;
use vigia_protocol::topic::{Arrow, NodeName};

use crate::keys::Keys;

/// Runs the role until the end.
///
/// # Errors
/// Secrets or an address that cannot be used.
pub async fn run(site: Site, shutdown: Shutdown) -> anyhow::Result<()> {
    let _lock = site.lock_role(Role::Verify)?;
    let secrets = site.secrets(Role::Verify)?;
    let login = BusLogin::of(&site, Role::Verify, &secrets)?;
    let mut verify = Verify {
        raw: secrets.arrow(Arrow::Raw).clone(),
        verified: secrets.arrow(Arrow::Verified).clone(),
        keys: Keys::new(site.clone())?,
        sabotage: site.config.drills.sabotage,
    };
    let arrows = (Arrow::Raw, Arrow::Verified);
    stage::run(&site, Role::Verify, login, arrows, &mut verify, shutdown).await?;
    Ok(())
}

struct Verify {
    raw: StageKey,
    verified: StageKey,
    keys: Keys,
    sabotage: Option<Sabotage>,
}

impl Stage for Verify {
    fn process(&mut self, node: &NodeName, topic: &str, payload: &[u8]) -> Option<Vec<u8>> {
        self.make(node, topic, payload, Self::check)
    }

    fn quarantine(&mut self, node: &NodeName, topic: &str, payload: &[u8]) -> Option<Vec<u8>> {
        self.make(node, topic, payload, |_, raw| match Frame::parse(raw.bytes) {
            Ok(frame) => {
                verified(raw, &frame.header, Content::Refused(QuarantineReason::Poison, raw.bytes))
            }
            Err(_) => malformed(raw),
        })
    }
}

impl Verify {
    /// What becomes of a message if `each` makes that of its frames.
    fn make<'a>(
        &mut self,
        node: &NodeName,
        topic: &str,
        payload: &'a [u8],
        each: impl Fn(&mut Self, &RawFrame<'a>) -> VerifiedFrame<'a>,
    ) -> Option<Vec<u8>> {
        let unsealed = self
            .raw
            .open(topic, payload)
            .inspect_err(|error| tracing::warn!(%error, topic, "not the broker's message; dropped"))
            .ok()?;
        let message: Message<RawFrames<'_>> = decode_borrowed(unsealed)
            .inspect_err(|error| tracing::error!(%error, topic, "sealed, but not understood"))
            .ok()?;
        let out: Message<VerifiedFrames<'_>> = match message {
            Message::Marker(marker) => Message::Marker(marker),
            Message::Batch(head, frames) => {
                let mut frames = frames.iter().map(|frame| each(self, frame)).collect();
                count_as_accepted(&mut frames, head.has.readings);
                Message::Batch(head, frames)
            }
        };
        Some(self.verified.seal(&Arrow::Verified.topic(node), encode(&out)))
    }

    fn check<'a>(&mut self, raw: &RawFrame<'a>) -> VerifiedFrame<'a> {
        let Ok(frame) = Frame::parse(raw.bytes) else { return malformed(raw) };
        let Header { sensor, place, count, .. } = frame.header;
        dies_of(self.sabotage, Role::Verify, sensor, place, count);
        let content = match self.open(&frame) {
            Ok(Opened::Readings { bytes, .. }) => Content::Readings(Bytes(Cow::Owned(bytes))),
            Ok(Opened::Gap(reason)) => Content::Gap(reason),
            Err(reason) => Content::Refused(reason, raw.bytes),
        };
        verified(raw, &frame.header, content)
    }

    fn open(&mut self, frame: &Frame) -> Result<Opened, QuarantineReason> {
        let header = &frame.header;
        let sensor =
            self.keys.get(header.sensor, header.epoch).ok_or(QuarantineReason::UnknownKey)?;
        let opened = open(&sensor.key, frame).map_err(|error| match error {
            WireError::BadBox => QuarantineReason::BadBox,
            WireError::BadMac => QuarantineReason::BadSignature,
            _ => QuarantineReason::BadBody,
        })?;
        match opened {
            Opened::Readings { each, .. } if each != sensor.reading_bytes => {
                Err(QuarantineReason::ProfileMismatch)
            }
            opened => Ok(opened),
        }
    }
}

fn verified<'a>(raw: &RawFrame<'a>, header: &Header, content: Content<'a>) -> VerifiedFrame<'a> {
    let Header { kind, sensor, place, count, .. } = *header;
    // As the journal counted it: what a GAP says is missing is no reading of it.
    let is_refused_gap = kind == FrameType::Gap && matches!(content, Content::Refused(..));
    let count = if is_refused_gap { 0 } else { count };
    VerifiedFrame { sensor, place, count, received: raw.received, content }
}

/// What a damaged frame says of its count may be wrong; what the journal counted is not. The refused ones take the
/// difference, so that it does not cost the others.
fn count_as_accepted(frames: &mut VerifiedFrames<'_>, accepted: u64) {
    let is_refused = |frame: &VerifiedFrame<'_>| matches!(frame.content, Content::Refused(..));
    let readings = |frame: &VerifiedFrame<'_>| match frame.content {
        Content::Gap(_) => 0,
        _ => u64::from(frame.count),
    };
    if frames.iter().map(readings).sum::<u64>() == accepted {
        return;
    }
    let sound = frames.iter().filter(|frame| !is_refused(frame)).map(readings).sum();
    let mut left = accepted.saturating_sub(sound);
    for frame in frames.iter_mut().filter(|frame| is_refused(frame)) {
        frame.count = u16::try_from(left).unwrap_or(u16::MAX);
        left -= u64::from(frame.count);
    }
}

/// The journal took it as a frame; so it was damaged since.
fn malformed<'a>(raw: &RawFrame<'a>) -> VerifiedFrame<'a> {
    VerifiedFrame {
        sensor: SensorId(0),
        place: Place::default(),
        count: 0,
        received: raw.received,
        content: Content::Refused(QuarantineReason::Malformed, raw.bytes),
    }
}
