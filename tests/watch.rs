//! `vigia watch` beside a real site: a sensor that fails, a store that is killed, and who is told.
//!
//! The C++ sensor must have been built.

#[allow(dead_code)]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use support::{Ended, TestSite, command, eventually, vigia};
use vigia_kit::clock;

const SENSOR: &str = "build/sensor-release/vigia-sensor";

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A site whose roles run without anyone who would start them again.
struct Plant {
    site: TestSite,
    roles: BTreeMap<&'static str, Running>,
    sensor: Running,
    values: ChildStdin,
}

impl Plant {
    /// With one sensor, of which one good reading is stored.
    fn start() -> Self {
        let site = TestSite::new();
        site.vigia(&["sensor", "add", "1"]).succeeded();
        let roles = ["broker", "verify", "transform", "store"];
        let roles = roles.map(|role| (role, run(&site, role))).into();
        let addresses = eventually("everything listens", || {
            let text = fs::read(site.path("run/addresses.json")).ok()?;
            let addresses: Value = serde_json::from_slice(&text).ok()?;
            addresses["api"].as_str().and(addresses["sensor"].as_str()).map(str::to_owned)
        });
        let mut sensor = Command::new(SENSOR);
        sensor.args(["--connect", &addresses, "--stdin", "--key"]).arg(site.path("devices/1.key"));
        sensor.arg("--spool").arg(site.path("spool")).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut sensor = sensor.spawn().expect("'make build' builds it");
        let values = sensor.stdin.take().unwrap();
        let mut plant = Self { site, roles, sensor: Running(sensor), values };
        writeln!(plant.values, "time,temperature,pressure,humidity").unwrap();
        plant.measure("20");
        eventually("a reading is stored", || plant.is_well().then_some(()));
        plant
    }

    fn measure(&mut self, temperature: &str) {
        let time = clock::now();
        writeln!(self.values, "{time},{temperature},1000,50").unwrap();
        self.values.flush().unwrap();
        assert!(self.sensor.0.try_wait().unwrap().is_none(), "the sensor runs");
    }

    fn is_well(&self) -> bool {
        let ended = self.site.vigia(&["ledger", "--json"]);
        let ledger: Value = serde_json::from_str(&ended.out).unwrap_or_default();
        ended.code == 0 && ledger["readings"]["stored"].as_u64() > Some(0)
    }

    fn kill(&mut self, role: &str) {
        drop(self.roles.remove(role));
    }

    fn start_again(&mut self, role: &'static str) {
        self.roles.insert(role, run(&self.site, role));
    }

    fn api(&self) -> String {
        let text = fs::read(self.site.path("run/addresses.json")).unwrap();
        let addresses: Value = serde_json::from_slice(&text).unwrap();
        format!("http://{}", addresses["api"].as_str().unwrap())
    }

    fn once(&self, further: &[&str]) -> Ended {
        vigia(&[&["watch", "--once", "--api", &self.api()], further].concat())
    }
}

fn run(site: &TestSite, role: &str) -> Running {
    let mut command = command(&[role, "--site", site.arg()]);
    Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// What one side has been told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Value>>>);

impl Told {
    fn add(&self, line: &[u8]) {
        self.0.lock().unwrap().push(serde_json::from_slice(line).expect("JSON"));
    }

    fn all(&self) -> Vec<Value> {
        self.0.lock().unwrap().clone()
    }

    fn count(&self, condition: &str, change: &str) -> usize {
        let is = |event: &&Value| event["condition"] == condition && event["change"] == change;
        self.all().iter().filter(is).count()
    }

    #[track_caller]
    fn hears(&self, condition: &str, change: &str, times: usize) {
        eventually(&format!("{condition} {change} for the {times}th time"), || {
            (self.count(condition, change) >= times).then_some(())
        });
        assert_eq!(self.count(condition, change), times, "{:?}", self.all());
    }
}

/// A server that takes JSON by POST. The first one it refuses, as a server that is busy would.
fn webhook() -> (String, Told) {
    let (listener, told) = (TcpListener::bind("127.0.0.1:0").unwrap(), Told::default());
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let taken = told.clone();
    std::thread::spawn(move || {
        let mut refused = false;
        for stream in listener.incoming().flatten() {
            let Some(body) = posted(&stream) else { continue };
            let answer = if refused { "204 No Content" } else { "503 Service Unavailable" };
            if refused {
                taken.add(&body);
            }
            refused = true;
            let _ = write!(
                &stream,
                "HTTP/1.1 {answer}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            );
        }
    });
    (url, told)
}

/// The body of a POST of JSON.
fn posted(stream: &TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_ascii_lowercase());
    }
    assert_eq!(head[0], "post /hook http/1.1");
    assert!(head.contains(&"content-type: application/json".to_owned()), "{head:?}");
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

/// A program that writes down what it is told.
fn bell(site: &TestSite) -> String {
    let (path, log) = (site.path("bell"), site.path("rung"));
    let text = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$VIGIA_CHANGE $VIGIA_CONDITION $VIGIA_SENSOR $VIGIA_VALUE\" >> '{}'\n",
        log.display()
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn each_condition_is_told_once_when_it_begins_and_once_when_it_ends() {
    let mut plant = Plant::start();
    let (url, hooked) = webhook();
    let arguments = ["watch", "--api", &plant.api(), "--every", "100ms", "--json"];
    let hooks = ["--webhook", &url, "--run", &bell(&plant.site)];
    let mut watch = command(&[&arguments[..], &hooks].concat());
    let mut watch = Running(watch.stdout(Stdio::piped()).spawn().unwrap());
    let told = Told::default();
    let (lines, said) = (BufReader::new(watch.0.stdout.take().unwrap()).lines(), told.clone());
    let reader =
        std::thread::spawn(move || lines.for_each(|line| said.add(line.unwrap().as_bytes())));

    plant.measure("200");
    told.hears("limit", "begins", 1);
    plant.measure("nan");
    told.hears("quality", "begins", 1);
    plant.measure("20");
    told.hears("limit", "ends", 1);
    told.hears("quality", "ends", 1);
    plant.kill("store");
    told.hears("api", "begins", 1);
    plant.measure("-200");
    plant.start_again("store");
    told.hears("api", "ends", 1);
    // What happened meanwhile is seen now, so that no other event of before is still to come.
    told.hears("limit", "begins", 2);
    for condition in ["limit", "quality", "api"] {
        assert_eq!(told.count(condition, "ends"), 1, "{:?}", told.all());
    }

    let first = told.all().into_iter().find(|event| event["condition"] == "limit").unwrap();
    assert_eq!(first["sensor"], 1);
    assert_eq!(first["crossing"]["quantity"], "temperature");
    assert_eq!(first["crossing"]["value"], 200.0);
    assert_eq!(first["crossing"]["limit"], 150.0);

    // Asked to stop, it tells what is under way, and says it is done.
    let pid = rustix::process::Pid::from_child(&watch.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(watch.0.wait().unwrap().success());
    reader.join().unwrap();
    assert_eq!(hooked.all(), told.all());
    let rung = fs::read_to_string(plant.site.path("rung")).unwrap();
    assert_eq!(rung.lines().count(), told.all().len(), "{rung}");
    assert!(rung.contains("begins limit 1 200\n") && rung.contains("begins api  \n"), "{rung}");
}

#[test]
fn a_single_look_says_by_its_exit_code_whether_anything_is_wrong() {
    let mut plant = Plant::start();
    let well = plant.once(&[]);
    assert!(well.succeeded().contains("1 sensor, ledger balanced; nothing is wrong"), "{well:?}");
    assert_eq!(plant.once(&["--json"]).succeeded(), "");

    // The rules of the site itself, as the alert role has them.
    let rules = plant.site.path("vigia.toml").to_str().unwrap().to_owned();
    plant.measure("90");
    let hot = eventually("the reading is seen", || {
        Some(plant.once(&["--rules", &rules])).filter(|ended| ended.code != 0)
    });
    assert_eq!(hot.code, 1, "{hot:?}");
    assert!(hot.out.contains("temperature is 90 °C, above 80 (too-hot)"), "{hot:?}");
    assert!(!hot.out.contains('\x1b'), "no colours in a pipe: {hot:?}");
    plant.once(&[]).succeeded();

    let api = plant.api();
    plant.kill("store");
    let silent = vigia(&["watch", "--once", "--json", "--api", &api]);
    assert!(silent.refused_with(69).contains(&api), "{silent:?}");
    let event: Value = serde_json::from_str(&silent.out).unwrap();
    assert_eq!(event["condition"], "api");
}

#[test]
fn a_command_that_cannot_be_run_is_named_and_holds_nothing_up() {
    let ended =
        vigia(&["watch", "--once", "--api", "http://127.0.0.1:1", "--run", "/nowhere/bell"]);
    assert_eq!(ended.code, 69, "{ended:?}");
    assert!(ended.err.contains("/nowhere/bell: cannot be started"), "{ended:?}");
}

#[test]
fn wrong_arguments_are_refused_with_what_is_expected() {
    let site = TestSite::new();
    let rules = |text: &str| {
        let path = site.path("rules.toml");
        fs::write(&path, text).unwrap();
        vigia(&[
            "watch",
            "--once",
            "--api",
            "http://127.0.0.1:1",
            "--rules",
            path.to_str().unwrap(),
        ])
    };
    let limit = "[[alert.limits]]\nname = \"hot\"\nquantity = \"temperature\"\n";
    assert!(rules("").refused_with(64).contains("[[alert.limits]]"));
    assert!(rules("[alert]\n").refused_with(64).contains("no limit"));
    assert!(rules(limit).refused_with(64).contains("expected high, low or both"));
    assert!(rules(&format!("{limit}hihg = 1")).refused_with(64).contains("hihg"));
    // The rules are good; what is wrong is that nobody answers.
    rules(&format!("{limit}high = 1")).refused_with(69);

    let watch = |arguments: &[&str]| vigia(&[&["watch", "--once"], arguments].concat());
    assert!(watch(&["--api", "plant:8080"]).refused_with(64).contains("http://HOST:PORT"));
    let api = ["--api", "http://127.0.0.1:1"];
    for (webhook, expected) in [("bell", "an http or https URL"), ("https://bell", "--ca")] {
        let ended = watch(&[&api[..], &["--webhook", webhook]].concat());
        assert!(ended.refused_with(64).contains(expected), "{ended:?}");
    }
    assert_eq!(watch(&[&api[..], &["--every", "1ms"]].concat()).code, 64);
    assert_eq!(watch(&[]).code, 64);
}
