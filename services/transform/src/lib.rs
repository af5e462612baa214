//! The transform role: turns verified readings into UTF-8 text, and shows people each sensor's newest.
//! Stateless: what it remembers serves only what it shows.

mod newest;
mod profiles;

use std::sync::Arc;
use std::time::Instant;

use vigia_kit::bus::BusLogin;
use vigia_kit::config::Sabotage;
use vigia_kit::names::Names;
use vigia_kit::sabotage::dies_of;
use vigia_kit::shutdown::Shutdown;
use vigia_kit::site::{Role, Site};
use vigia_kit::stage::{self, Stage};
use vigia_protocol::batch::{
    BatchHead, Content, Message, QuarantineReason, VerifiedFrame, VerifiedFrames, decode_borrowed,
};
use vigia_protocol::header::Place;
use vigia_protocol::reading::Reading;
use vigia_protocol::stage::StageKey;
use vigia_protocol::text::TextWriter;
use vigia_protocol::topic::{self, Arrow, NodeName};

use crate::newest::{Newest, Seen};
use crate::profiles::SensorProfiles;

/// Runs the role until the end.
///
/// # Errors
/// Secrets, profiles or an address that cannot be used.
pub async fn run(site: Site, shutdown: Shutdown) -> anyhow::Result<()> {
    let _lock = site.lock_role(Role::Transform)?;
    let secrets = site.secrets(Role::Transform)?;
    let login = BusLogin::of(&site, Role::Transform, &secrets)?;
    let mut transform = Transform {
        verified: secrets.arrow(Arrow::Verified).clone(),
        text: secrets.arrow(Arrow::Text).clone(),
        sabotage: site.config.drills.sabotage,
        profiles: SensorProfiles::new(site.clone())?,
        newest: Newest::new(Names::new(site.sensors_dir())),
        aside: Vec::new(),
    };
    let arrows = (Arrow::Verified, Arrow::Text);
    stage::run(&site, Role::Transform, login, arrows, &mut transform, shutdown).await?;
    Ok(())
}

struct Transform {
    verified: StageKey,
    text: StageKey,
    profiles: SensorProfiles,
    newest: Newest,
    aside: Vec<(String, Vec<u8>)>,
    sabotage: Option<Sabotage>,
}

impl Stage for Transform {
    fn process(&mut self, node: &NodeName, topic: &str, payload: &[u8]) -> Option<Vec<u8>> {
        self.make(node, topic, payload, Self::batch)
    }

    fn quarantine(&mut self, node: &NodeName, topic: &str, payload: &[u8]) -> Option<Vec<u8>> {
        self.make(node, topic, payload, Self::poison)
    }

    fn aside(&mut self) -> Vec<(String, Vec<u8>)> {
        std::mem::take(&mut self.aside)
    }
}

impl Transform {
    /// What becomes of a message if `each` makes that of its batch.
    fn make(
        &mut self,
        node: &NodeName,
        topic: &str,
        payload: &[u8],
        each: impl Fn(&mut Self, &NodeName, &BatchHead, &[VerifiedFrame<'_>]) -> TextWriter,
    ) -> Option<Vec<u8>> {
        let unsealed = self
            .verified
            .open(topic, payload)
            .inspect_err(|error| tracing::warn!(%error, topic, "not verify's message; dropped"))
            .ok()?;
        let message: Message<VerifiedFrames<'_>> = decode_borrowed(unsealed)
            .inspect_err(|error| tracing::error!(%error, topic, "sealed, but not understood"))
            .ok()?;
        let text = match message {
            Message::Marker(marker) => {
                // Markers come all the time, also when no sensor has anything to say.
                let due = self.newest.due(Instant::now()).into_iter();
                self.aside.extend(due.map(|(sensor, json)| (topic::sensor(sensor), json)));
                TextWriter::marker(&marker)
            }
            Message::Batch(head, frames) => each(self, node, &head, &frames),
        };
        Some(text.seal(&self.text, &Arrow::Text.topic(node)))
    }

    /// Every frame's bytes, with nothing looked at.
    fn poison(
        &mut self,
        node: &NodeName,
        head: &BatchHead,
        frames: &[VerifiedFrame<'_>],
    ) -> TextWriter {
        let mut text = TextWriter::batch(head, []);
        for frame in frames {
            let (reason, bytes) = match &frame.content {
                Content::Gap(reason) => {
                    text.gap(frame.sensor, frame.place, frame.count, frame.received, *reason);
                    continue;
                }
                Content::Refused(reason, bytes) => (*reason, *bytes),
                Content::Readings(bytes) => (QuarantineReason::Poison, &*bytes.0),
            };
            let whose = (frame.sensor, frame.place);
            text.quarantine(whose, frame.count, frame.received, reason, bytes);
            self.tell_quarantine(node, frame, reason);
        }
        text
    }

    fn batch(
        &mut self,
        node: &NodeName,
        head: &BatchHead,
        frames: &[VerifiedFrame<'_>],
    ) -> TextWriter {
        let profiles = self.profiles.of(frames.iter().map(|frame| frame.sensor));
        let mut text = TextWriter::batch(head, profiles.values().map(AsRef::as_ref));
        for frame in frames {
            let whose = (frame.sensor, frame.place);
            dies_of(self.sabotage, Role::Transform, frame.sensor, frame.place, frame.count);
            match &frame.content {
                Content::Gap(reason) => {
                    text.gap(frame.sensor, frame.place, frame.count, frame.received, *reason);
                }
                Content::Refused(reason, bytes) => {
                    text.quarantine(whose, frame.count, frame.received, *reason, bytes);
                    self.tell_quarantine(node, frame, *reason);
                }
                Content::Readings(bytes) => {
                    let profile = profiles.get(&frame.sensor);
                    let readings = profile.and_then(|profile| {
                        let each = bytes.0.len() / usize::from(frame.count.max(1));
                        bytes
                            .0
                            .chunks(each.max(1))
                            .map(|bytes| Reading::decode(profile, bytes))
                            .collect::<Option<Vec<Reading>>>()
                    });
                    let (Some(profile), Some(mut readings)) = (profile, readings) else {
                        // Verify knew the profile; it was changed in between.
                        let reason = QuarantineReason::UnknownProfile;
                        text.quarantine(whose, frame.count, frame.received, reason, &bytes.0);
                        self.tell_quarantine(node, frame, reason);
                        continue;
                    };
                    for (index, reading) in readings.iter().enumerate() {
                        let seq = frame.place.seq + index as u64;
                        let place = Place { stream: frame.place.stream, seq };
                        let count = (index == 0).then_some(frame.count);
                        text.reading(
                            (frame.sensor, place),
                            frame.received,
                            count,
                            profile,
                            reading,
                        );
                    }
                    if let Some(reading) = readings.pop() {
                        let seq = frame.place.seq + readings.len() as u64;
                        let place = Place { stream: frame.place.stream, seq };
                        let profile = Arc::clone(profile);
                        let seen = Seen { place, received: frame.received, profile, reading };
                        let shown = self.newest.see(frame.sensor, seen, Instant::now());
                        self.aside.extend(shown.map(|json| (topic::sensor(frame.sensor), json)));
                    }
                }
            }
        }
        text
    }

    fn tell_quarantine(
        &mut self,
        node: &NodeName,
        frame: &VerifiedFrame<'_>,
        reason: QuarantineReason,
    ) {
        let json = format!(
            r#"{{"reason":"{}","sensor":{},"stream":{},"seq":{},"count":{},"received":"{}"}}"#,
            reason.word(),
            frame.sensor,
            frame.place.stream,
            frame.place.seq,
            frame.count,
            frame.received
        );
        self.aside.push((topic::quarantine(node), json.into_bytes()));
    }
}
