//! The modbus role in a whole site: what its devices say is stored once, whoever dies meanwhile.

#[allow(dead_code)]
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{TestSite, command, eventually, mode};
use tokio::runtime::Runtime;
use tokio_modbus::server::{Service, tcp};
use tokio_modbus::{ExceptionCode, Request, Response};
use vigia_kit::users::Users;

const SENSOR: &str = "21";
const PROFILE: &str = r#"
[[profiles.counted.quantities]]
name = "count"
unit = ""
type = "f64"
[[profiles.counted.quantities]]
name = "absent"
unit = ""
type = "f32"
"#;

fn map(address: SocketAddr) -> String {
    format!(
        "[[device]]\nname = \"counter\"\ntransport = {{ tcp = \"{address}\" }}\nunit = 1\ninterval_ms = 50\n\
         sensor = {SENSOR}\nprofile = \"counted\"\n\
         [[device.point]]\nquantity = \"count\"\nreference = \"40001\"\ntype = \"u32\"\n\
         [[device.point]]\nquantity = \"absent\"\nreference = \"30001\"\ntype = \"u16\"\n"
    )
}

/// Says how often it was asked for its holding registers, and has no others.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicU32>);

impl Service for Counter {
    type Request = Request<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = std::future::Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        std::future::ready(match request {
            Request::ReadHoldingRegisters(0, 2) => {
                let count = self.0.fetch_add(1, Ordering::SeqCst) + 1;
                Ok(Response::ReadHoldingRegisters(vec![(count >> 16) as u16, count as u16]))
            }
            _ => Err(ExceptionCode::IllegalDataAddress),
        })
    }
}

/// A device on a socket, until it is dropped.
struct Device {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Device {
    fn at(address: SocketAddr, counter: Counter) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let socket = runtime.block_on(tokio::net::TcpListener::bind(address)).unwrap();
        let address = socket.local_addr().unwrap();
        runtime.spawn(async move {
            let accept = |stream, _| std::future::ready(Ok(Some((counter.clone(), stream))));
            tcp::Server::new(socket).serve(&accept, |_| ()).await.unwrap();
        });
        Self { address, _runtime: runtime }
    }
}

/// A running site that polls the device.
struct Running {
    site: TestSite,
    process: Child,
}

impl Running {
    fn polling(address: SocketAddr) -> Self {
        let site = TestSite::new();
        enrol(&site);
        fs::write(site.path("modbus.toml"), map(address)).unwrap();
        let mut command = command(&["up", "--site", site.arg()]);
        let log = fs::File::create(site.path("up.log")).unwrap();
        let process = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { site, process }
    }

    fn kill(&self, role: &str) {
        let state = || -> Option<Value> {
            serde_json::from_slice(&fs::read(self.site.path("run/up.json")).ok()?).ok()
        };
        let restarts = |state: &Value| state["roles"][role]["restarts"].as_u64();
        let (pid, before) = eventually(role, || {
            let state = state()?;
            let pid = i32::try_from(state["roles"][role]["pid"].as_i64()?).ok()?;
            Some((pid, restarts(&state)?))
        });
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        eventually("it is started again", || {
            restarts(&state()?).filter(|now| *now > before).map(drop)
        });
    }

    fn get(&self, listener: &str, path: &str) -> Option<String> {
        let addresses = fs::read(self.site.path("run/addresses.json")).ok()?;
        let addresses: Value = serde_json::from_slice(&addresses).ok()?;
        let mut stream = TcpStream::connect(addresses[listener].as_str()?).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.lines().next()?.contains(" 200 ").then(|| body.to_owned())
    }

    /// Everything that is stored of the device, in its order.
    fn stored(&self) -> Vec<Value> {
        let path = format!("/api/v1/sensors/{SENSOR}/readings?limit=10000");
        let page =
            self.get("api", &path).and_then(|text| serde_json::from_str::<Value>(&text).ok());
        page.map_or_else(Vec::new, |page| page["readings"].as_array().unwrap().clone())
    }

    /// How many readings the running process has made durable.
    fn spooled(&self) -> u64 {
        eventually("the role counts", || {
            let page = self.get("modbus-metrics", "/metrics")?;
            let line = page.lines().find(|line| line.starts_with("vigia_modbus_spooled_total{"))?;
            line.rsplit_once(' ')?.1.parse().ok()
        })
    }

    /// What the device had counted in each of the stored readings, once there are so many.
    fn counts(&self, at_least: usize) -> Vec<u64> {
        let stored = eventually(&format!("{at_least} readings"), || {
            Some(self.stored()).filter(|stored| stored.len() >= at_least)
        });
        stored.iter().map(|reading| reading["values"]["count"].as_f64().unwrap() as u64).collect()
    }

    fn is_balanced(&self) {
        eventually("the books balance", || (self.site.vigia(&["ledger"]).code == 0).then_some(()));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        self.process.wait().unwrap();
    }
}

fn enrol(site: &TestSite) {
    let file = site.path("vigia.toml");
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replace("\n[modbus]\n", "\n[modbus]\nmap = \"modbus.toml\"\n");
    fs::write(&file, text + PROFILE).unwrap();
    site.vigia(&["sensor", "add", SENSOR, "--modbus", "--profile", "counted"]).succeeded();
}

fn nowhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[test]
fn what_a_device_says_is_stored_once_and_a_dead_one_is_bad_until_it_is_back() {
    let counter = Counter::default();
    let device = Device::at(nowhere(), counter.clone());
    let address = device.address;
    let running = Running::polling(address);
    let counts = running.counts(20);
    assert_eq!(counts, (1..=counts.len() as u64).collect::<Vec<_>>());
    for reading in running.stored() {
        // A reading is as good as its worst value; what that is, stands with each.
        assert!(reading["status"].get("count").is_none(), "{reading}");
        assert!(reading["values"]["absent"].is_null(), "{reading}");
        assert!(!reading["skewed"].as_bool().unwrap_or(false), "{reading}");
    }
    drop(device);
    let counts = || running.stored().last().is_some_and(|last| last["values"]["count"].is_number());
    eventually("readings without a count", || (!counts()).then_some(()));
    let _again = Device::at(address, counter);
    eventually("a count again", || counts().then_some(()));
    running.is_balanced();
    let log = fs::read_to_string(running.site.path("up.log")).unwrap();
    let lines = log.lines().filter(|line| line.contains("values are not good")).count();
    assert!((1..=3).contains(&lines), "a line when it begins and one when it changes:\n{log}");
}

#[test]
fn while_the_broker_dies_polling_goes_on_and_all_of_it_arrives() {
    let device = Device::at(nowhere(), Counter::default());
    let running = Running::polling(device.address);
    running.counts(5);
    for _ in 0..3 {
        running.kill("broker");
        let more = running.counts(1).len() + 10;
        running.counts(more);
    }
    let spooled = running.spooled();
    let counts = running.counts(spooled as usize);
    assert_eq!(counts, (1..=counts.len() as u64).collect::<Vec<_>>());
    running.is_balanced();
}

#[test]
fn killed_the_role_loses_nothing_that_it_had_written_down() {
    let device = Device::at(nowhere(), Counter::default());
    let running = Running::polling(device.address);
    running.counts(5);
    let mut written = Vec::new();
    for _ in 0..3 {
        let from = running.counts(1).len() as u64;
        let spooled = running.spooled();
        running.kill("modbus");
        written.push((from, spooled));
        let more = running.counts(1).len() + 10;
        running.counts(more);
    }
    let counts = running.counts(1);
    assert!(counts.is_sorted_by(|one, next| one < next), "nothing twice: {counts:?}");
    // The first process had asked once for each reading.
    let first = written[0].1;
    assert!((1..=first).all(|count| counts.contains(&count)), "{first} were written down");
    // What was asked for and not written down when it died: little.
    let missing = counts.last().unwrap() - counts.len() as u64;
    assert!(missing <= 3 * 20, "{missing} of {}", counts.last().unwrap());
    running.is_balanced();
}

#[test]
fn a_map_that_does_not_fit_the_site_is_refused_with_the_command_that_mends_it() {
    let site = TestSite::new();
    enrol(&site);
    let file = site.path("modbus.toml");
    let missing = site.vigia(&["modbus"]);
    assert!(missing.refused_with(64).contains("modbus.toml"), "{missing:?}");

    let good = map(SocketAddr::from(([127, 0, 0, 1], 502)));
    let unknown = good.replace("sensor = 21", "sensor = 22");
    fs::write(&file, format!("\n{unknown}")).unwrap();
    let refused = site.vigia(&["modbus"]);
    let sentence = refused.refused_with(64);
    for part in ["line 2", "\"counter\"", "sensor add 22 --modbus --profile counted"] {
        assert!(sentence.contains(part), "{sentence}");
    }

    site.vigia(&["sensor", "add", "23", "--profile", "counted"]).succeeded();
    fs::write(&file, good.replace("sensor = 21", "sensor = 23")).unwrap();
    let refused = site.vigia(&["modbus"]);
    assert!(refused.refused_with(64).contains("sensor rotate 23 --modbus"), "{refused:?}");
    site.vigia(&["sensor", "rotate", "23", "--modbus"]).succeeded();
    let key = site.path("keys/modbus/devices/23.key");
    assert_eq!(mode(&key), 0o600);
    let before = fs::read(&key).unwrap();
    site.vigia(&["sensor", "rotate", "23"]).succeeded();
    assert_ne!(fs::read(&key).unwrap(), before, "it stays where the role reads it");

    site.vigia(&["sensor", "add", "24", "--modbus"]).succeeded();
    fs::write(&file, good.replace("sensor = 21", "sensor = 24")).unwrap();
    let refused = site.vigia(&["modbus"]);
    assert!(refused.refused_with(64).contains("climate"), "{refused:?}");
}

#[test]
fn a_site_made_before_the_role_runs_without_it_until_it_is_completed() {
    let site = TestSite::with(&["--tls"]);
    fs::remove_dir_all(site.path("keys/modbus")).unwrap();
    let accounts = site.path("keys/broker/users.toml");
    let mut users = Users::load(&accounts).unwrap();
    users.remove("modbus");
    users.save(&accounts).unwrap();
    let refused = site.vigia(&["modbus"]);
    assert!(refused.refused_with(64).contains("--complete"), "{refused:?}");

    let mut up = command(&["up", "--site", site.arg()]);
    let mut up = up.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let roles = eventually("it runs", || {
        fs::read(site.path("run/addresses.json")).ok()?;
        let state: Value =
            serde_json::from_slice(&fs::read(site.path("run/up.json")).ok()?).ok()?;
        Some(state["roles"].as_object()?.keys().cloned().collect::<Vec<_>>())
    });
    kill_process(Pid::from_child(&up), Signal::TERM).unwrap();
    let mut said = String::new();
    up.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    up.wait().unwrap();
    assert!(!roles.contains(&"modbus".to_owned()) && said.contains("--complete"), "{said}");

    let complete = || support::vigia(&["init", site.arg(), "--complete"]);
    assert!(complete().succeeded().contains("role modbus"));
    assert!(complete().succeeded().contains("has every role"));
    let secrets = |role: &str| -> toml::Table {
        let text = fs::read_to_string(site.path(&format!("keys/{role}/secrets.toml"))).unwrap();
        toml::from_str(&text).unwrap()
    };
    assert_eq!(secrets("modbus")["arrows"]["text"], secrets("alert")["arrows"]["text"]);
    let users = Users::load(&accounts).unwrap();
    let password = secrets("modbus")["password"].as_str().unwrap().to_owned();
    let account = users.get("modbus").unwrap();
    assert!(account.secret.as_ref().unwrap().matches(password.as_bytes()));
    assert_eq!(mode(&site.path("keys/modbus/tls.key")), 0o600);
}
