//! One sensor's readings on their way: from its device's polling into the spool, and from there to the broker.
//!
//! The same state machine as every sensor's, with the same promise: nothing leaves before what it follows from is
//! durable, and nothing is forgotten before it is stored. Whether the broker is there makes no difference to polling.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use vigia_kit::clock;
use vigia_kit::config::ConfigError;
use vigia_kit::device_key::KeyFile;
use vigia_kit::sensor_link::{LinkEnd, SensorLink};
use vigia_kit::shutdown::Shutdown;
use vigia_protocol::device::Device;
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::held::{Change, Held};
use vigia_protocol::profile::Profile;
use vigia_protocol::reading::{Flags, Reading};

use crate::limits::{MAX_UNSYNCED, RECONNECT_PAUSE, SPARE_ROWS, SPOOL_BYTES_PER_DEVICE};
use crate::numbers::Numbers;
use crate::spool::{Gone, Keeper, Kept};

/// Which sensor, and where everything is.
#[derive(Debug, Clone)]
pub struct Around {
    /// The sensor.
    pub sensor: SensorId,
    /// Its key file. Read again at every connection: a rotated key is taken up.
    pub key: PathBuf,
    /// `host:port` of the sensors' port.
    pub address: String,
    /// The disk.
    pub keeper: Keeper,
    /// What is counted.
    pub numbers: Arc<Numbers>,
}

/// What the device's polling brings.
#[derive(Debug)]
pub struct Feed {
    /// Its readings.
    pub readings: mpsc::Receiver<Reading>,
    /// As what they travel.
    pub profile: Profile,
}

/// The connection.
enum Line {
    Down { until: Instant },
    Connecting(Pin<Box<dyn Future<Output = io::Result<SensorLink>> + Send>>),
    Up(SensorLink),
}

/// What has become of it.
enum Turn {
    Connect,
    Connected(SensorLink),
    Went,
}

/// Changes on their way to the disk, and what may leave when they are there.
struct Pending {
    done: oneshot::Receiver<()>,
    bytes: Vec<u8>,
    readings: usize,
}

/// See the module.
pub struct Delivery {
    around: Around,
    device: Device,
    epoch: u16,
    line: Line,
    pause: Duration,
    is_troubled: bool,
    pending: Option<Pending>,
    /// They may follow with the next change: forgotten readings, and the beginning of a memory.
    idle: Vec<Change>,
    /// Readings taken and not yet handed over.
    unsynced: usize,
    rows: usize,
    most_rows: usize,
    delivered: Option<Place>,
}

impl Delivery {
    /// Of a sensor with what it had in the spool.
    ///
    /// # Errors
    /// A key that cannot be used.
    pub fn new(around: Around, kept: Option<Kept>) -> Result<Self, ConfigError> {
        let mut idle = Vec::new();
        let Kept { held, rows } = kept.unwrap_or_else(|| {
            let held = Held::begun(SPOOL_BYTES_PER_DEVICE, clock::now(), &mut idle);
            Kept { held, rows: 0 }
        });
        let file = KeyFile::read(&around.key)?;
        Ok(Self {
            device: Device::new(&file.key, around.sensor, file.epoch, held),
            epoch: file.epoch,
            around,
            line: Line::Down { until: Instant::now() },
            pause: RECONNECT_PAUSE.0,
            is_troubled: false,
            pending: None,
            idle,
            unsynced: 0,
            rows,
            most_rows: SPARE_ROWS,
            delivered: None,
        })
    }

    /// Takes readings and delivers them, until the end. What is taken by then is durable when it returns.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn run(mut self, mut feed: Option<Feed>, mut shutdown: Shutdown) -> Result<(), Gone> {
        loop {
            self.go_on().await?;
            let waits = self.pending.is_some();
            tokio::select! {
                () = shutdown.ended() => break,
                reading = fed(&mut feed), if self.unsynced < MAX_UNSYNCED => self.take(reading),
                done = synced(&mut self.pending), if waits => self.has_synced(done?),
                turn = turn(&mut self.line, &mut self.device) => self.has_turned(turn),
            }
            self.count();
        }
        self.give_up_line();
        loop {
            if let Some(pending) = self.pending.take() {
                let readings = pending.readings;
                pending.done.await.map_err(|_| Gone)?;
                self.around.numbers.spooled.fetch_add(readings as u64, Ordering::Relaxed);
            }
            let rows = self.changes();
            if rows.is_empty() {
                return Ok(());
            }
            self.hand_over(rows, Vec::new()).await?;
        }
    }

    fn take(&mut self, (mut reading, profile): (Reading, &Profile)) {
        if !self.device.is_open() {
            reading.flags = Flags(reading.flags.0 | Flags::BACKLOG.0);
        }
        let mut bytes = Vec::with_capacity(profile.reading_bytes());
        reading.encode(profile, &mut bytes);
        self.device.take(&bytes);
        self.unsynced += 1;
    }

    fn changes(&mut self) -> Vec<Change> {
        let mut rows = std::mem::take(&mut self.idle);
        rows.append(&mut self.device.poll_changes());
        rows
    }

    /// Cuts what can be cut, and hands over what has changed. Bytes that follow from it wait.
    async fn go_on(&mut self) -> Result<(), Gone> {
        self.device.send(clock::now(), clock::random);
        if self.pending.is_some() {
            return Ok(());
        }
        let rows = self.changes();
        let bytes = self.device.poll_transmit().unwrap_or_default();
        let is_idle = rows.iter().all(|row| matches!(row, Change::Forgotten(_)));
        // A HELLO says what is held: it waits for everything.
        if rows.is_empty() || (is_idle && self.device.is_open() && rows.len() < SPARE_ROWS) {
            self.idle = rows;
            if let Line::Up(link) = &mut self.line {
                link.push(&bytes);
            }
            return Ok(());
        }
        self.hand_over(rows, bytes).await
    }

    async fn hand_over(&mut self, rows: Vec<Change>, bytes: Vec<u8>) -> Result<(), Gone> {
        self.rows += rows.len();
        let whole = self.rows > self.most_rows;
        let rows = if whole { self.device.held().history() } else { rows };
        if whole {
            self.rows = rows.len();
            self.most_rows = 2 * self.rows + SPARE_ROWS;
        }
        let done = self.around.keeper.keep(self.around.sensor, rows, whole).await?;
        let readings = std::mem::take(&mut self.unsynced);
        self.pending = Some(Pending { done, bytes, readings });
        Ok(())
    }

    fn has_synced(&mut self, pending: Pending) {
        self.around.numbers.spooled.fetch_add(pending.readings as u64, Ordering::Relaxed);
        if let Line::Up(link) = &mut self.line {
            link.push(&pending.bytes);
        }
    }

    fn has_turned(&mut self, turn: Result<Turn, LinkEnd>) {
        match turn {
            Ok(Turn::Connect) => {
                let address = self.around.address.clone();
                self.line =
                    Line::Connecting(Box::pin(async move { SensorLink::connect(&address).await }));
            }
            Ok(Turn::Connected(link)) => match self.renew_key() {
                Ok(()) => {
                    self.line = Line::Up(link);
                    self.device.connected(clock::random(), clock::now());
                }
                Err(error) => self.ends(&error),
            },
            Ok(Turn::Went) if self.device.is_open() => {
                if self.is_troubled {
                    tracing::info!(sensor = %self.around.sensor, "delivering again");
                }
                self.is_troubled = false;
                // Not for WELCOME alone: who refuses what follows is not to be asked for ever without a pause.
                if self.delivered.is_some_and(|place| self.device.held().custody() > place.seq) {
                    self.pause = RECONNECT_PAUSE.0;
                }
            }
            Ok(Turn::Went) => {}
            Err(error) => self.ends(&error),
        }
    }

    /// Tries again after a pause.
    fn ends(&mut self, error: &dyn std::fmt::Display) {
        if !self.is_troubled {
            let (sensor, address) = (self.around.sensor, &self.around.address);
            tracing::warn!(%sensor, address, %error, "cannot deliver; readings wait in the spool");
        }
        self.is_troubled = true;
        self.give_up_line();
        let jitter = f64::from(u16::from_le_bytes(clock::random())) / f64::from(u16::MAX) / 2.0;
        self.line = Line::Down { until: Instant::now() + self.pause.mul_f64(1.0 + jitter) };
        self.pause = (self.pause * 2).min(RECONNECT_PAUSE.1);
    }

    fn give_up_line(&mut self) {
        self.device.disconnected();
        self.line = Line::Down { until: Instant::now() };
        // They belong to the connection that is gone.
        if let Some(pending) = &mut self.pending {
            pending.bytes.clear();
        }
    }

    fn renew_key(&mut self) -> Result<(), ConfigError> {
        let file = KeyFile::read(&self.around.key)?;
        if file.epoch != self.epoch {
            // What has changed until here goes with the device that is replaced.
            self.idle.append(&mut self.device.poll_changes());
            let held = self.device.held().clone();
            self.device = Device::new(&file.key, self.around.sensor, file.epoch, held);
            self.epoch = file.epoch;
        }
        Ok(())
    }

    fn count(&mut self) {
        let held = self.device.held();
        let numbers = &self.around.numbers;
        numbers.held.store(held.len(), Ordering::Relaxed);
        if !self.device.is_open() {
            return;
        }
        let now = Place { stream: held.oldest().stream, seq: held.custody() };
        if let Some(then) = self.delivered.filter(|then| then.stream == now.stream) {
            let more = now.seq.saturating_sub(then.seq);
            numbers.delivered.fetch_add(more, Ordering::Relaxed);
            self.delivered = Some(Place { seq: now.seq.max(then.seq), ..now });
        } else {
            self.delivered = Some(now);
        }
    }
}

/// Waits for a reading; for ever, if there is nobody to bring one. Cancelling the wait loses nothing.
async fn fed(feed: &mut Option<Feed>) -> (Reading, &Profile) {
    if let Some(Feed { readings, profile }) = feed
        && let Some(reading) = readings.recv().await
    {
        return (reading, profile);
    }
    std::future::pending().await
}

/// Waits for the disk. Cancelling the wait loses nothing.
async fn synced(pending: &mut Option<Pending>) -> Result<Pending, Gone> {
    match pending {
        Some(Pending { done, .. }) => done.await.map_err(|_| Gone)?,
        None => std::future::pending().await,
    }
    pending.take().ok_or(Gone)
}

/// Waits until the connection has done something. Cancelling the wait loses nothing.
async fn turn(line: &mut Line, device: &mut Device) -> Result<Turn, LinkEnd> {
    Ok(match line {
        Line::Down { until } => {
            sleep_until(*until).await;
            Turn::Connect
        }
        Line::Connecting(connecting) => Turn::Connected(connecting.as_mut().await?),
        Line::Up(link) => {
            link.turn(device).await?;
            Turn::Went
        }
    })
}
