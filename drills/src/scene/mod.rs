//! The vocabulary of drills: a running system under load, the faults it is subjected to, and what is
//! expected of it. A drill is a few of these sentences.

mod alarms;
mod backup;
mod bits;
mod clocks;
mod crowds;
mod disk;
mod ending;
pub(crate) mod faults;
mod insiders;
mod ledger;
pub mod network;
mod plant;
pub(crate) mod recovery;
mod sensors;
mod strangers;

use std::net::ToSocketAddrs;
use std::time::{Duration, Instant};

use anyhow::Context;

pub use clocks::Clock;

use crate::alarms::{Alarms, Limit};
use crate::api::Api;
use crate::catalog::Drill;
use crate::load::{Load, find_program};
use crate::plant::Plant;
use crate::proxy::{Proxy, client_name, sensor_name};
use crate::random::Random;
use crate::site::Site;
use crate::strace;
use crate::system::System;
use crate::{NotHere, Options};

/// Faults come this long after the system has recovered from the last one.
const MOMENTS: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(2));
/// A system that has not recovered by then is not waited for.
const RECOVERED_WITHIN: Duration = Duration::from_secs(60);
/// Where the broker lives through the fault, nobody waits longer for an acknowledgement.
const LONGEST_SILENCE: Duration = Duration::from_secs(2);

/// See the module. Its parts end in this order.
#[derive(Debug)]
pub struct Scene {
    load: Load,
    system: System,
    /// The Modbus devices, where there are any.
    plant: Option<Plant>,
    site: Site,
    api: Api,
    drill: &'static Drill,
    options: Options,
    random: Random,
    begun: Instant,
    /// When the fault that is not yet recovered from came.
    fault: Instant,
    /// When what it had hit was there again: its supervisor pauses before it starts what dies often.
    repair: Instant,
    silence: Silence,
    evidence: Vec<String>,
    recovery: Option<Duration>,
    account: Vec<String>,
    limits: Vec<Limit>,
    alarms: Option<Alarms>,
    /// What the store had when a backup of it was taken.
    held: backup::Held,
    wires: Option<Wires>,
    /// How often the broker's watchdog has bitten.
    watchdog: usize,
}

/// The network, where it can be bad.
#[derive(Debug)]
struct Wires {
    /// Between sensors and the broker.
    sensors: Proxy,
    /// Between roles and the broker.
    bus: Proxy,
}

impl Wires {
    async fn lay(site: &Site) -> anyhow::Result<Self> {
        let config = site.config()?;
        let bus = config.bus_address();
        let bus = bus.to_socket_addrs()?.next().context("the bus has no address")?;
        let wires = Self {
            sensors: Proxy::start(config.broker.sensors, sensor_name).await?,
            bus: Proxy::start(bus, client_name).await?,
        };
        site.set("[mqtt]", &format!("address = \"{}\"\n", wires.bus.address()))?;
        Ok(wires)
    }
}

/// How long acknowledgements have kept sensors waiting.
#[derive(Debug, Clone, Copy)]
struct Silence {
    acknowledgements: u64,
    since: Instant,
    longest: Duration,
}

impl Silence {
    fn begin(acknowledgements: u64) -> Self {
        Self { acknowledgements, since: Instant::now(), longest: Duration::ZERO }
    }

    fn listen(&mut self, acknowledgements: u64) {
        self.longest = self.longest.max(self.since.elapsed());
        if acknowledgements > self.acknowledgements {
            *self = Self { longest: self.longest, ..Self::begin(acknowledgements) };
        }
    }
}

impl Scene {
    /// Makes the site, starts the system and the load.
    ///
    /// # Errors
    /// What cannot be had here: that is no verdict about the system.
    pub async fn open(drill: &'static Drill, options: &Options) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let program = find_program()?;
        if !drill.is_built() {
            return Err(NotHere("this needs a build with the feature sabotage").into());
        }
        if drill.site.traced {
            strace::check()?;
        }
        let site = Site::make(drill.name, drill.site, drill.load.sensors).await?;
        let wires = if drill.site.proxied { Some(Wires::lay(&site).await?) } else { None };
        let plant = if drill.site.plant { Some(Plant::start(&site).await?) } else { None };
        let mut system = System::new(&site);
        system.start(&site).await?;
        let ingress = site.addresses().context("the site has no addresses")?.sensor;
        let ingress = wires.as_ref().map_or(ingress, |wires| wires.sensors.address());
        let load = Load::new(&site, ingress, program, drill.load, options.seed)?;
        let api = Api::new(&site)?;
        let mut scene = Self {
            load,
            system,
            plant,
            site,
            api,
            drill,
            options: options.clone(),
            random: Random::new(options.seed),
            begun,
            fault: Instant::now(),
            repair: Instant::now(),
            silence: Silence::begin(0),
            evidence: Vec::new(),
            recovery: None,
            account: Vec::new(),
            limits: Vec::new(),
            alarms: None,
            held: backup::Held::default(),
            wires,
            watchdog: 0,
        };
        if options.keep {
            scene.site.keep();
        }
        scene.load.start().await?;
        scene.say(&format!(
            "{} sensors send {} readings a second each; site {}",
            drill.load.sensors,
            drill.load.hertz,
            scene.site.path().display()
        ));
        Ok(scene)
    }

    /// How often the fault is to come: as often as asked for, or `usually`.
    pub fn times(&self, usually: u32) -> u32 {
        self.options.times.unwrap_or(usually)
    }

    /// How long something is to be down: as long as asked for, or `usually`.
    pub fn down_time(&self, usually: Duration) -> Duration {
        self.options.down.unwrap_or(usually)
    }

    /// How long faults go on: as long as asked for, or `usually`.
    pub fn time(&self, usually: Duration) -> Duration {
        self.options.time.unwrap_or(usually)
    }

    /// What decides about everything random.
    pub fn seed(&self) -> u64 {
        self.options.seed
    }

    /// What the seed decides.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Tells people what is done.
    pub fn say(&mut self, words: &str) {
        let line = format!("{:6.1} s  {words}", self.begun.elapsed().as_secs_f64());
        if self.options.account {
            crate::print(&format!("  {line}"));
        }
        self.account.push(line.trim_start().to_owned());
    }

    /// The fault was seen like this.
    pub fn saw(&mut self, evidence: String) {
        self.say(&evidence);
        self.evidence.push(evidence);
    }

    /// Lets the load run for a time that only the seed knows.
    pub async fn random_moment(&mut self) {
        let (least, most) = MOMENTS;
        tokio::time::sleep(self.random.between(least, most)).await;
    }

    /// What happened so far was no fault of the system's: recovery counts from now.
    ///
    /// # Errors
    /// What the file system says.
    pub fn fault_ends(&mut self) -> anyhow::Result<()> {
        self.fault_comes()?;
        self.repaired();
        Ok(())
    }

    /// What the fault had hit is there again: recovery is judged from now.
    fn repaired(&mut self) {
        self.repair = Instant::now();
    }

    fn fault_comes(&mut self) -> anyhow::Result<()> {
        self.load.catch_up()?;
        self.silence = Silence::begin(self.load.acknowledgements());
        self.fault = Instant::now();
        Ok(())
    }

    fn listen(&mut self) -> anyhow::Result<()> {
        self.load.catch_up()?;
        self.silence.listen(self.load.acknowledgements());
        Ok(())
    }
}
