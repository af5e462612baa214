//! Alarms through the deaths of alert and of the broker, and through a change of the limits.
//!
//! The C++ sensor must have been built.

#[allow(dead_code)]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;
use support::{TestSite, command, eventually};
use vigia_kit::clock;

const SENSOR: &str = "build/sensor-release/vigia-sensor";
/// What `vigia init` writes: a temperature above 80, over at 78.
const RULE: &str = "too-hot";

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A site with one sensor, whose roles run without anyone who would start them again.
struct Plant {
    site: TestSite,
    roles: BTreeMap<&'static str, Running>,
    _sensor: Running,
    values: ChildStdin,
}

impl Plant {
    fn start() -> Self {
        let site = TestSite::new();
        site.vigia(&["sensor", "add", "1"]).succeeded();
        let roles = ["broker", "verify", "transform", "store", "alert"];
        let roles = roles.map(|role| (role, run(&site, role))).into();
        let address = eventually("everything listens", || {
            address(&site, "api").and(address(&site, "sensor"))
        });
        let mut sensor = Command::new(SENSOR);
        sensor.args(["--connect", &address, "--stdin", "--key"]).arg(site.path("devices/1.key"));
        sensor.arg("--spool").arg(site.path("spool")).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut sensor = sensor.spawn().expect("'make build' builds it");
        let mut values = sensor.stdin.take().unwrap();
        writeln!(values, "time,temperature,pressure,humidity").unwrap();
        Self { site, roles, _sensor: Running(sensor), values }
    }

    /// Takes a reading; returns when it is stored.
    fn measure(&mut self, temperature: f64) {
        let time = clock::now();
        writeln!(self.values, "{time},{temperature},1000,50").unwrap();
        self.values.flush().unwrap();
        eventually(&format!("{temperature} is stored"), || {
            let latest = self.get("/api/v1/sensors/1/latest")?;
            (latest["values"]["temperature"] == temperature).then_some(())
        });
    }

    fn kill(&mut self, role: &str) {
        drop(self.roles.remove(role));
    }

    fn start_again(&mut self, role: &'static str) {
        self.roles.insert(role, run(&self.site, role));
    }

    /// Waits until the API says this of the alarm.
    #[track_caller]
    fn says(&self, active: bool, value: f64) {
        eventually(&format!("the alarm is {active} by {value}"), || {
            let known = self.get("/api/v1/alarms")?;
            let mut alarms = known["alarms"].as_array()?.iter();
            let alarm = alarms.find(|alarm| alarm["rule"] == RULE)?;
            (alarm["active"] == active && alarm["value"] == value).then_some(())
        });
    }

    fn get(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(address(&self.site, "api")?).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.lines().next()?.contains(" 200 ").then(|| serde_json::from_str(body).ok())?
    }
}

fn run(site: &TestSite, role: &str) -> Running {
    let mut command = command(&[role, "--site", site.arg()]);
    Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn address(site: &TestSite, listener: &str) -> Option<String> {
    let addresses: Value =
        serde_json::from_slice(&fs::read(site.path("run/addresses.json")).ok()?).ok()?;
    addresses[listener].as_str().map(str::to_owned)
}

#[test]
fn what_was_stored_of_a_log_that_has_ended_is_looked_at() {
    let mut plant = Plant::start();
    plant.measure(120.0);
    plant.measure(20.0);
    plant.says(false, 20.0);
    plant.kill("alert");
    plant.measure(130.0);
    plant.measure(21.0);
    plant.kill("broker");
    plant.start_again("broker");
    plant.start_again("alert");
    plant.says(false, 21.0);

    // The new log goes on before alert is back.
    plant.kill("alert");
    plant.measure(140.0);
    plant.measure(22.0);
    plant.kill("broker");
    plant.start_again("broker");
    plant.measure(23.0);
    plant.start_again("alert");
    plant.measure(24.0);
    plant.says(false, 22.0);
}

#[test]
fn a_broker_that_has_forgotten_an_alarm_is_told_again() {
    let mut plant = Plant::start();
    plant.measure(120.0);
    plant.says(true, 120.0);
    // It writes retained messages every 10 s only.
    plant.kill("broker");
    plant.start_again("broker");
    plant.says(true, 120.0);
    plant.measure(20.0);
    plant.says(false, 20.0);
    plant.kill("broker");
    plant.start_again("broker");
    plant.says(false, 20.0);
}

#[test]
fn an_alarm_whose_limit_is_gone_ends() {
    let mut plant = Plant::start();
    plant.measure(120.0);
    plant.says(true, 120.0);
    plant.kill("alert");
    let file = plant.site.path("vigia.toml");
    let text = fs::read_to_string(&file).unwrap();
    let renamed = text.replace(&format!("\nname = \"{RULE}\"\n"), "\nname = \"hot\"\n");
    assert_ne!(text, renamed);
    fs::write(&file, renamed).unwrap();
    plant.start_again("alert");
    plant.says(false, 120.0);
    // Under its old name it is another alarm than the first.
    plant.kill("alert");
    fs::write(&file, text).unwrap();
    plant.start_again("alert");
    plant.measure(121.0);
    plant.says(true, 121.0);
}
