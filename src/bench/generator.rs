//! The load: sensors that are the real device state machine behind real sockets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use vigia_kit::clock;
use vigia_kit::sensor_link::SensorLink;
use vigia_protocol::device::Device;
use vigia_protocol::header::SensorId;
use vigia_protocol::held::Held;
use vigia_protocol::keys::DeviceKey;
use vigia_protocol::profile::Profile;
use vigia_protocol::quality::Status;
use vigia_protocol::reading::{Flags, Reading};

const HELD_BYTES: usize = 64 << 20;
/// Readings that a sensor lets wait for the store before it takes more. Without it the fastest load
/// would measure how fast the journal fills, and not what the system can sustain.
const MOST_UNSTORED: u64 = 4096;
const STEP: Duration = Duration::from_millis(5);

/// How one sensor loads the system.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Readings in each frame.
    pub per_frame: u16,
    /// Readings a second; without it, as fast as the window allows.
    pub per_second: Option<f64>,
    /// When it stops taking readings.
    pub until: Instant,
    /// How long it may then take until all is acknowledged.
    pub linger: Duration,
}

/// What one sensor saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Readings acknowledged.
    pub acknowledged: u64,
    /// From the sealing of a frame to its acknowledgement.
    pub latencies: Vec<Duration>,
    /// When the last acknowledgement came.
    pub last_ack: Option<Instant>,
}

/// Runs one sensor to its end.
///
/// # Errors
/// A connection that is refused or breaks; this load tolerates no reconnects.
pub async fn run(
    address: SocketAddr,
    id: SensorId,
    key: DeviceKey,
    pace: Pace,
) -> anyhow::Result<Seen> {
    let mut link = SensorLink::connect(&address.to_string()).await.context("the sensor port")?;
    let mut device = Device::new(&key, id, 1, Held::new(HELD_BYTES));
    device.connected(clock::random(), clock::now());
    let mut taker = Taker::new(id, pace);
    let mut seen = Seen::default();
    let mut under_way: VecDeque<(u64, Instant)> = VecDeque::new();
    let mut tick = tokio::time::interval(STEP);
    loop {
        taker.take_and_send(&mut device, &mut under_way);
        device.poll_changes();
        if let Some(bytes) = device.poll_transmit() {
            link.push(&bytes);
        }
        tokio::select! {
            turned = link.turn(&mut device) => {
                turned.with_context(|| format!("the connection of sensor {id}"))?;
            }
            _ = tick.tick() => {}
        }
        let custody = device.held().custody();
        let now = Instant::now();
        while let Some((_, began)) = under_way.pop_front_if(|(end, _)| *end <= custody) {
            seen.latencies.push(now - began);
            seen.last_ack = Some(now);
        }
        seen.acknowledged = custody - 1;
        let done = under_way.is_empty() && device.is_open();
        if now >= pace.until && (done || now >= pace.until + pace.linger) {
            return Ok(seen);
        }
    }
}

struct Taker {
    pace: Pace,
    began: Instant,
    taken: u64,
    phase: f64,
    bytes: Vec<u8>,
    profile: Profile,
}

impl Taker {
    fn new(id: SensorId, pace: Pace) -> Self {
        Self {
            pace,
            began: Instant::now(),
            taken: 0,
            phase: f64::from(id.0),
            bytes: Vec::new(),
            profile: Profile::climate(),
        }
    }

    /// Takes what is due, frame by frame, each sealed as it is taken.
    fn take_and_send(&mut self, device: &mut Device, under_way: &mut VecDeque<(u64, Instant)>) {
        while device.window_left() > 0
            && device.held().len() < MOST_UNSTORED
            && Instant::now() < self.pace.until
            && self.is_due()
        {
            for _ in 0..self.pace.per_frame {
                self.bytes.clear();
                self.reading().encode(&self.profile, &mut self.bytes);
                device.take(&self.bytes);
                self.taken += 1;
            }
            let began = Instant::now();
            device.send(clock::now(), clock::random);
            under_way.push_back((self.taken + 1, began));
        }
    }

    fn is_due(&self) -> bool {
        self.pace.per_second.is_none_or(|rate| {
            // Sensors do not tick together.
            let offset = self.phase.fract() + (self.phase * 0.618).fract();
            self.began.elapsed().as_secs_f64() * rate >= self.taken as f64 + offset
        })
    }

    fn reading(&self) -> Reading {
        let x = self.taken as f64 * 0.001 + self.phase;
        Reading {
            time: clock::now(),
            flags: Flags::CLOCK_SYNCED,
            status: Status::GOOD,
            values: vec![
                20.0 + 5.0 * x.sin(),
                1013.0 + 3.0 * (x * 0.3).cos(),
                45.0 + 9.0 * (x * 0.7).sin(),
            ],
        }
    }
}
