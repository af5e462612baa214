//! A plant: Modbus devices that `vigia modbus simulate` plays, polled by the site's modbus role, and what was done to them.
//!
//! Each is a sensor of the site with the profile that drills use. They misbehave one by one, as told on the simulator's
//! standard input, which answers each line when it is so: the moments between which a fault lasted are known.

use std::fmt::Write;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::api::Api;
use crate::polled::{Account, Counted, Lasted, judge};
use crate::report::Report;
use crate::site::Site;
use crate::system::append;

/// Devices to which nothing is done.
pub const HEALTHY: [&str; 4] = ["boiler", "pump", "meter", "tank"];
/// Devices to which something is done.
pub const TROUBLED: [&str; 4] = ["dead", "slow", "lying", "restarted"];
/// From one poll of a device to the next: a machine that stands still for less keeps every tick.
pub const INTERVAL: Duration = Duration::from_millis(500);
/// The first device's sensor; the others follow.
const FIRST_SENSOR: i16 = 2001;
/// The map within the site, and the line of its configuration that names it.
const MAP: &str = "modbus.toml";
const MAP_LINE: &str = "map = \"modbus.toml\"\n";
/// The map before the devices have their addresses.
const DRAFT: &str = "modbus-draft.toml";
/// The simulator does what it is told so soon.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Plant {
    /// Killed when it is dropped.
    _simulator: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    devices: Vec<Account>,
    /// What the role said of itself before it was told to stop polling.
    counted: Option<Counted>,
}

impl Plant {
    /// Starts the devices, and makes them sensors of a site that does not run yet.
    ///
    /// # Errors
    /// What a command says.
    pub async fn start(site: &Site) -> anyhow::Result<Self> {
        let names = HEALTHY.into_iter().chain(TROUBLED);
        let devices: Vec<Account> =
            (FIRST_SENSOR..).zip(names).map(|(sensor, name)| Account::new(sensor, name)).collect();
        for device in &devices {
            site.modbus_sensor(device.sensor, device.name).await?;
        }
        let (draft, map) = (site.file(DRAFT), site.file(MAP));
        fs::write(&draft, text(&devices)).with_context(|| draft.display().to_string())?;
        let mut simulator = Command::new(&site.executable)
            .args(["leash", "--to", &std::process::id().to_string(), "--"])
            .arg(&site.executable)
            .args(["modbus", "simulate"])
            .arg(&draft)
            .arg("--free-ports")
            .arg(&map)
            .arg("--site")
            .arg(site.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(append(&site.file("plant.log"))?)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the Modbus devices")?;
        let orders = simulator.stdin.take().context("the simulator has no standard input")?;
        let said = simulator.stdout.take().context("the simulator has no standard output")?;
        let answers = BufReader::new(said).lines();
        let mut plant = Self { _simulator: simulator, orders, answers, devices, counted: None };
        // It tells of itself when it listens and the map is written: a heading, and a line for each.
        for _ in 0..=plant.devices.len() {
            plant.answer().await?;
        }
        site.set("[modbus]", MAP_LINE)?;
        Ok(plant)
    }

    async fn answer(&mut self) -> anyhow::Result<String> {
        let line = timeout(TOLD_WITHIN, self.answers.next_line()).await;
        let line = line.context("the simulated Modbus devices do not answer")??;
        line.context("the simulated Modbus devices have ended, see plant.log")
    }

    /// From now on the device misbehaves like this, as `vigia modbus simulate` names it; `none` is not at all.
    ///
    /// # Errors
    /// If it does not.
    pub async fn order(&mut self, name: &str, fault: &str) -> anyhow::Result<()> {
        let order = format!("{name} {fault}");
        let told = now();
        self.orders.write_all(format!("{order}\n").as_bytes()).await?;
        let answer = self.answer().await?;
        ensure!(answer == order, "the simulated Modbus devices were told {order:?}: {answer}");
        let faults = &mut self.device(name)?.faults;
        // Of a fault only the time counts in which it was certainly there.
        if let Some(last) = faults.last_mut() {
            last.until = last.until.min(told);
        }
        if fault != "none" {
            faults.push(Lasted { fault: fault.to_owned(), from: now(), until: i64::MAX });
        }
        Ok(())
    }

    /// The device's sensor, and when its last fault was ended.
    ///
    /// # Errors
    /// If there is no such device, or it had none.
    pub fn last_fault(&mut self, name: &str) -> anyhow::Result<(i16, i64)> {
        let device = self.device(name)?;
        let last = device.faults.last().with_context(|| format!("{name} had no fault"))?;
        Ok((device.sensor, last.until))
    }

    fn device(&mut self, name: &str) -> anyhow::Result<&mut Account> {
        let found = self.devices.iter_mut().find(|device| device.name == name);
        found.with_context(|| format!("there is no device {name}"))
    }

    /// The role polls nothing from its next start on, and is told so by its configuration.
    ///
    /// # Errors
    /// What the file system says.
    pub fn leaves(&mut self, site: &Site, counted: Counted) -> anyhow::Result<()> {
        self.counted = Some(counted);
        site.unset("[modbus]", MAP_LINE)
    }

    /// Writes into the report what is stored of the devices, and what of it is wrong. Returns how many readings it is.
    ///
    /// # Errors
    /// If something cannot be exported, or it was not told to leave.
    pub async fn judge(&self, api: &Api, report: &mut Report) -> anyhow::Result<u64> {
        let counted = self.counted.as_ref().context("the Modbus devices are still polled")?;
        let mut exports = Vec::new();
        for device in &self.devices {
            exports.push((device, api.polled(device.sensor).await?));
        }
        let findings = judge(&exports, counted, INTERVAL);
        report.evidence.extend(findings.evidence);
        report.reasons.extend(findings.defects);
        Ok(findings.stored)
    }
}

/// This machine's time, as readings have it.
pub fn now() -> i64 {
    Timestamp::now().as_microsecond()
}

fn text(devices: &[Account]) -> String {
    let mut text = String::new();
    for (port, Account { sensor, name, .. }) in (1..).zip(devices) {
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "[[device]]\nname = \"{name}\"\ntransport = {{ tcp = \"127.0.0.1:{port}\" }}\nunit = 1\n\
             interval_ms = {}\nsensor = {sensor}\nprofile = \"climate\"",
            INTERVAL.as_millis()
        );
        for (quantity, reference) in
            [("temperature", 40_001), ("pressure", 40_003), ("humidity", 40_005)]
        {
            let _ = writeln!(
                text,
                "[[device.point]]\nquantity = \"{quantity}\"\nreference = \"{reference}\"\ntype = \"f32\""
            );
        }
    }
    text
}
