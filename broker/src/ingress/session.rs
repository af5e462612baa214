//! One sensor's connection: moves bytes between the socket, the session and the journal.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use vigia_kit::audit::Fields;
use vigia_kit::clock;
use vigia_kit::sensors::Sensors;
use vigia_kit::shutdown::Shutdown;
use vigia_kit::stamp::Stamp;
use vigia_protocol::decoder::Frame;
use vigia_protocol::header::{NONCE_BYTES, Place, SensorId};
use vigia_protocol::ingress::{Event, Ingress, SessionError};
use vigia_protocol::time::Micros;

use super::door::Around;
use crate::journal::{FromSensor, Request, Verdict, VerdictSender};
use crate::limits::{BUSY_RETRY_MS, FRAMES_PER_SECOND, READ_BYTES, REGISTRY_CHECK, WRITE_WITHIN};
use crate::waiting::Waiting;

/// What a session stands among.
pub struct Surroundings {
    /// This connection's number.
    pub number: u64,
    /// Who connected.
    pub peer: SocketAddr,
    /// What all sessions share.
    pub shared: Around,
    /// All that are not.
    pub waiting: Waiting,
    /// The end.
    pub shutdown: Shutdown,
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum Ending {
    #[error("{0}")]
    Session(#[from] SessionError),
    #[error("the connection: {0}")]
    Socket(#[from] std::io::Error),
    #[error("closed by the sensor")]
    Closed,
    #[error("does not take what is written to it")]
    SlowReader,
    #[error("replaced by a newer session")]
    Replaced,
    #[error("the sensor was revoked, or has a new key")]
    Unwelcome,
    #[error("too many new streams: are there two devices with its key?")]
    TooManyStreams,
    #[error("this node is stopping")]
    Stopping,
}

/// Serves one connection to its end.
pub async fn run(stream: TcpStream, surroundings: Surroundings) {
    let peer = surroundings.peer;
    let mut connection = Connection::new(stream, surroundings);
    let ending = connection.serve().await;
    let sensor = connection.ingress.sensor();
    if let Some(sensor) = sensor {
        connection.around.shared.online.end(sensor, &connection.replaced);
    }
    match (ending, sensor) {
        (Err(Ending::Closed | Ending::Stopping), _) => {
            tracing::debug!(%peer, ?sensor, "sensor connection closed");
        }
        (Err(ending), Some(sensor)) => {
            if let Ending::Unwelcome = ending {
                let fields: &Fields<'_> = &[("sensor", &sensor), ("peer", &peer)];
                connection.around.shared.audit.note("session-ended", fields);
            }
            if let Ending::TooManyStreams = ending {
                let fields: &Fields<'_> =
                    &[("sensor", &sensor), ("peer", &peer), ("reason", &ending)];
                connection.around.shared.audit.note_failure("sensor-refused", fields);
            }
            tracing::info!(%peer, %sensor, reason = %ending, "sensor session ended");
        }
        (Err(ending), None) => {
            if let Ending::Session(SessionError::NotAuthentic) = ending {
                let fields: &Fields<'_> = &[("peer", &peer), ("reason", &ending)];
                connection.around.shared.audit.note_failure("sensor-refused", fields);
            }
            tracing::warn!(%peer, reason = %ending, "connection refused at the sensor port");
        }
        (Ok(never), _) => match never {},
    }
}

struct Connection {
    stream: TcpStream,
    ingress: Ingress,
    around: Surroundings,
    verdicts: watch::Receiver<Verdict>,
    verdict_sender: VerdictSender,
    replaced: Arc<Notify>,
    turned_away: u64,
    rate: Rate,
    /// Whose key this session has, and when the registry last said that it is welcome.
    welcome: Option<(SensorId, u16, Stamp)>,
}

impl Connection {
    fn new(stream: TcpStream, around: Surroundings) -> Self {
        let (sender, verdicts) = watch::channel(Verdict::default());
        Self {
            stream,
            ingress: Ingress::new(clock::now()),
            around,
            verdicts,
            verdict_sender: Arc::new(sender),
            replaced: Arc::new(Notify::new()),
            turned_away: 0,
            rate: Rate::new(Instant::now()),
            welcome: None,
        }
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, Ending> {
        self.stream.set_nodelay(true)?;
        let mut buffer = vec![0; READ_BYTES];
        let mut shutdown = self.around.shutdown.clone();
        let replaced = Arc::clone(&self.replaced);
        let mut registry = interval(REGISTRY_CHECK);
        registry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let left = self.ingress.deadline().0.saturating_sub(clock::now().0).max(0);
            let deadline = Duration::from_micros(left as u64);
            tokio::select! {
                () = shutdown.ended() => return Err(Ending::Stopping),
                () = replaced.notified() => return Err(Ending::Replaced),
                read = self.stream.read(&mut buffer) => {
                    let count = read?;
                    if count == 0 {
                        return Err(Ending::Closed);
                    }
                    let now = clock::now();
                    let outcome = self.ingress.receive(&buffer[..count], now);
                    // What came before an error still counts.
                    self.attend(now).await?;
                    outcome?;
                }
                _ = self.verdicts.changed() => self.hear(),
                _ = registry.tick() => self.look_whether_welcome()?,
                () = tokio::time::sleep(deadline) => self.ingress.check_time(clock::now())?,
            }
            self.transmit().await?;
        }
    }

    /// Does what the session wants.
    async fn attend(&mut self, now: Micros) -> Result<(), Ending> {
        let mut frames = Vec::new();
        while let Some(event) = self.ingress.poll_event() {
            match event {
                Event::Claim { sensor, epoch } => {
                    let registry = Sensors::of(&self.around.shared.site);
                    // The stamp first: a change in between is seen as one.
                    self.welcome = Some((sensor, epoch, registry.stamp(sensor)));
                    let key = registry.link_key(sensor, epoch);
                    let key = key.unwrap_or_else(|error| {
                        tracing::error!(%sensor, %error, "the sensor's key cannot be used");
                        None
                    });
                    self.ingress.key(key)?;
                }
                Event::Authentic { sensor, oldest } => self.greet(sensor, oldest).await?,
                Event::Established => {
                    // Not at the greeting, which anybody can repeat who has recorded it.
                    self.around.waiting.leave(self.around.number);
                    if let Some(sensor) = self.ingress.sensor() {
                        self.around.shared.online.establish(sensor, &self.replaced);
                        tracing::info!(%sensor, peer = %self.around.peer, "sensor session open");
                    }
                }
                Event::Accepted(frame) if self.rate.allows(Instant::now()) => {
                    let after = self.ingress.comes_after(&frame);
                    frames.push((frame, after));
                }
                Event::Accepted(frame) => {
                    self.hand_over(std::mem::take(&mut frames), now).await?;
                    self.ingress.turned_away(frame.header.place, Some(BUSY_RETRY_MS));
                }
                Event::Refused(reason) => {
                    tracing::debug!(sensor = ?self.ingress.sensor(), ?reason, "frame refused");
                }
            }
        }
        self.hand_over(frames, now).await
    }

    async fn greet(&mut self, sensor: SensorId, oldest: Place) -> Result<(), Ending> {
        let (reply, answer) = oneshot::channel();
        let verdict = Arc::clone(&self.verdict_sender);
        self.ask(Request::Greet { sensor, verdict, reply }).await?;
        let journal = answer.await.map_err(|_| Ending::Stopping)?;
        let is_new = journal.next != Place::default() && oldest.stream > journal.next.stream;
        if is_new && !self.around.shared.new_streams.allows(sensor, Instant::now()) {
            return Err(Ending::TooManyStreams);
        }
        let grant = journal.for_sensor_holding(oldest);
        self.ingress.welcome(grant, clock::random(), clock::now())?;
        Ok(())
    }

    /// A key that was revoked or replaced meanwhile ends the session.
    fn look_whether_welcome(&mut self) -> Result<(), Ending> {
        let Some((sensor, epoch, seen)) = &mut self.welcome else { return Ok(()) };
        let registry = Sensors::of(&self.around.shared.site);
        let stamp = registry.stamp(*sensor);
        if stamp == *seen {
            return Ok(());
        }
        match registry.admits(*sensor, *epoch) {
            Ok(false) => return Err(Ending::Unwelcome),
            Ok(true) => *seen = stamp,
            // It may be mended; the session has proved itself.
            Err(error) => tracing::error!(%sensor, %error, "the sensor's entry cannot be read"),
        }
        Ok(())
    }

    async fn hand_over(
        &mut self,
        frames: Vec<(Frame, [u8; NONCE_BYTES])>,
        received: Micros,
    ) -> Result<(), Ending> {
        let Some((first, _)) = frames.first() else { return Ok(()) };
        let sensor = first.header.sensor;
        let verdict = Arc::clone(&self.verdict_sender);
        self.ask(Request::Frames(FromSensor { sensor, frames, received, verdict })).await
    }

    async fn ask(&self, request: Request) -> Result<(), Ending> {
        self.around.shared.journal.requests.send(request).await.map_err(|_| Ending::Stopping)
    }

    /// Passes on what the journal has decided.
    fn hear(&mut self) {
        let verdict = *self.verdicts.borrow_and_update();
        self.ingress.journaled(verdict.custody, verdict.stored, clock::now());
        if verdict.turned_away != self.turned_away {
            self.turned_away = verdict.turned_away;
            self.ingress.turned_away(verdict.next, verdict.retry_ms);
        }
    }

    async fn transmit(&mut self) -> Result<(), Ending> {
        if let Some(bytes) = self.ingress.poll_transmit() {
            timeout(WRITE_WITHIN, self.stream.write_all(&bytes))
                .await
                .map_err(|_| Ending::SlowReader)??;
        }
        Ok(())
    }
}

/// A token bucket: so many frames a second, as many at once.
struct Rate {
    tokens: f64,
    filled: Instant,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self { tokens: f64::from(FRAMES_PER_SECOND), filled: now }
    }

    fn allows(&mut self, now: Instant) -> bool {
        let rate = f64::from(FRAMES_PER_SECOND);
        self.tokens += now.duration_since(self.filled).as_secs_f64() * rate;
        self.tokens = self.tokens.min(rate);
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}
