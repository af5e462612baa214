//! The live page in a real browser, beside a real site: `clients/browser/page.mjs` looks, and this does at the
//! site what it asks for.

#[allow(dead_code)]
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{TestSite, command, eventually};
use vigia_protocol::time::Micros;

const SENSOR: &str = "build/sensor-release/vigia-sensor";

/// Ended when the test ends, however it does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

fn read_json(path: &Path) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

struct Sensor {
    readings: ChildStdin,
    _running: Running,
}

impl Sensor {
    fn start(site: &TestSite, addresses: &Value, spool: u32) -> Self {
        let mut running = Command::new(SENSOR)
            .args(["--stdin", "--connect", addresses["sensor"].as_str().unwrap(), "--key"])
            .arg(site.path("devices/1.key"))
            .arg("--spool")
            .arg(site.path(&format!("spool-{spool}")))
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map(Running)
            .expect("'make build-cpp' builds the sensor");
        let mut readings = running.0.stdin.take().expect("a pipe");
        writeln!(readings, "time,temperature,pressure,humidity").unwrap();
        Self { readings, _running: running }
    }

    fn take(&mut self, temperature: &str, age_ms: i64) {
        let time = Micros(vigia_kit::clock::now().0 - age_ms * 1_000);
        writeln!(self.readings, "{time},{temperature},1013.25,40").unwrap();
    }
}

#[test]
fn the_live_page_shows_what_happens_as_it_happens() {
    let site = TestSite::new();
    site.vigia(&["sensor", "add", "1", "--name", "boiler, hall 2"]).succeeded();
    let up = command(&["up", "--site", site.arg()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("vigia starts");
    let _up = Running(up);
    let addresses = eventually("all listen", || {
        let addresses = read_json(&site.path("run/addresses.json"))?;
        (addresses["api"].is_string() && addresses["sensor"].is_string()).then_some(addresses)
    });
    let mut sensor = Sensor::start(&site, &addresses, 1);

    // In a place of its own, to be looked at.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    fs::create_dir_all(&folder).unwrap();
    let browser = Command::new("node")
        .arg("clients/browser/page.mjs")
        .arg(format!("http://{}/", addresses["api"].as_str().unwrap()))
        .arg(&folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("'.ci/setup test' installs Node.js");
    let mut browser = Running(browser);
    let asked = BufReader::new(browser.0.stdout.take().expect("a pipe"));
    let mut summary = None;
    for line in asked.lines() {
        let line = line.unwrap();
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["take", value] => sensor.take(value, 0),
            // A sensor never goes back in time, unless it has forgotten what it took before.
            ["late", value, age_ms] => {
                sensor = Sensor::start(&site, &addresses, 2);
                sensor.take(value, age_ms.parse().unwrap());
            }
            ["kill", role] => {
                let state = read_json(&site.path("run/up.json")).unwrap();
                let pid = state["roles"][role]["pid"].as_i64().unwrap();
                kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
            }
            _ => summary = Some(line),
        }
    }
    assert!(browser.0.wait().unwrap().success());
    println!("{}", summary.expect("a summary"));
}
