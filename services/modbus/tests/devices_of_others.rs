//! Devices and clients that nobody here wrote: pymodbus and libmodbus, both directions.
//!
//! `make build-clients` and `.ci/setup test` make them ready; `clients/README.md` says what they have and say.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use vigia_kit::network::Network;
use vigia_kit::shutdown::Shutdown;
use vigia_modbus::link::Trouble;
use vigia_modbus::map::{Device, Map};
use vigia_modbus::poll::Poller;
use vigia_modbus::register::{Kind, Span};
use vigia_modbus::server::image::{Image, Newest};
use vigia_modbus::server::layout::{SEQ, VALUES, block_of};
use vigia_modbus::server::serve::{Counts, serve};
use vigia_modbus::simulator::Simulator;
use vigia_modbus::simulator::fault::Fault;
use vigia_modbus::simulator::serve::Listen;
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::profile::{Number, Profile, Profiles, Quantity};
use vigia_protocol::quality::Status;
use vigia_protocol::time::Micros;

const UNIT: u8 = 17;

#[derive(Debug, Clone, Copy)]
enum Library {
    Pymodbus,
    Libmodbus,
}
use Library::{Libmodbus, Pymodbus};

impl Library {
    fn command(self) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let (program, script): (PathBuf, _) = match self {
            Pymodbus => (root.join("build/venv/bin/python"), Some("clients/pymodbus/modbus.py")),
            Libmodbus => (root.join("build/clients/libmodbus/modbus"), None),
        };
        // What a test leaves behind when it dies would serve for ever.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command.args(script.map(|script| root.join(script)));
        command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    /// A device of this library, and its address.
    async fn serve(self) -> (Child, String) {
        let mut command = self.command();
        let mut device = command.args(["serve", "--unit", &UNIT.to_string()]).spawn().unwrap();
        let mut lines = BufReader::new(device.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().expect("a line");
        let port = line.strip_prefix("listening ").unwrap_or_else(|| panic!("{line}"));
        (device, format!("127.0.0.1:{port}"))
    }

    /// What a client of this library says to each request.
    async fn read(self, port: u16, unit: u8, requests: &[&str]) -> Vec<String> {
        let mut command = self.command();
        command.args(["read", "--port", &port.to_string(), "--unit", &unit.to_string()]);
        let output = command.args(requests).stderr(Stdio::piped()).output().await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said.lines().map(str::to_owned).collect()
    }
}

/// What the devices have at 0, 100, 200 and 300, in this order of types.
const TYPES: [&str; 8] = ["i16", "u16", "i32", "u32", "i64", "u64", "f32", "f64"];
const PLACES: [u16; 8] = [0, 1, 2, 4, 6, 10, 14, 16];
const NUMBERS: [f64; 8] = [
    -1234.0,
    54321.0,
    -123456789.0,
    3123456789.0,
    -1234567890123.0,
    1234567890123456.0,
    1013.25,
    std::f64::consts::E,
];

fn profile(count: usize) -> Profile {
    let quantity = |index| Quantity {
        name: format!("q{index}"),
        unit: String::new(),
        number: Number::F64,
        range: None,
    };
    Profile::new("all", (0..count).map(quantity).collect()).unwrap()
}

/// A map of one device, with points at these places: kind, address, and the rest.
fn map(address: &str, points: &[(&str, u16, String)]) -> Map {
    let mut text = format!(
        "[[device]]\nname = \"other\"\ntransport = {{ tcp = {address:?} }}\nunit = {UNIT}\n\
         interval_ms = 30000\ntimeout_ms = 30000\nsensor = 1\nprofile = \"all\"\n"
    );
    for (index, (kind, address, rest)) in points.iter().enumerate() {
        text.push_str(&format!(
            "[[device.point]]\nquantity = \"q{index}\"\nkind = {kind:?}\naddress = {address}\n{rest}\n"
        ));
    }
    let mut profiles = Profiles::default();
    profiles.insert(profile(points.len()));
    Map::parse("other.toml", &text, &profiles).unwrap()
}

fn device(address: &str, points: &[(&str, u16, String)]) -> Device {
    map(address, points).devices()[0].clone()
}

async fn numbers(device: Device) -> Vec<Result<f64, Trouble>> {
    let values = Poller::new(device).poll().await;
    values.into_iter().map(|value| value.map(|decoded| decoded.value)).collect()
}

async fn every_type_and_order_is_read_from_a_device_of(library: Library) {
    let (_process, address) = library.serve().await;
    for kind in ["holding", "input"] {
        for (index, order) in ["ABCD", "CDAB", "BADC", "DCBA"].into_iter().enumerate() {
            let base = 100 * index as u16;
            let points: Vec<_> = TYPES
                .iter()
                .zip(PLACES)
                .map(|(what, place)| {
                    (kind, base + place, format!("type = {what:?}\norder = {order:?}"))
                })
                .collect();
            let read = numbers(device(&address, &points)).await;
            assert_eq!(read, NUMBERS.map(Ok), "{library:?}, {kind}, {order}");
        }
    }
}

async fn bits_and_exceptions_are_read_from_a_device_of(library: Library) {
    let (_process, address) = library.serve().await;
    let bit = "type = \"bool\"".to_owned();
    let bits = |kind| (0..8).map(move |at| (kind, at)).collect::<Vec<_>>();
    let mut points: Vec<_> = bits("coil")
        .into_iter()
        .chain(bits("discrete"))
        .map(|(kind, at)| (kind, at, bit.clone()))
        .collect();
    let read = numbers(device(&address, &points)).await;
    let expected = |rest| (0..8).map(move |at| Ok(if at % 3 == rest { 1.0 } else { 0.0 }));
    assert_eq!(read, expected(0).chain(expected(1)).collect::<Vec<_>>(), "{library:?}");

    // One that is not there spoils itself alone.
    points.truncate(2);
    points.push(("holding", 400, "type = \"u16\"".to_owned()));
    points.push(("input", 399, "type = \"u32\"".to_owned()));
    points.push(("coil", 100, bit));
    let read = numbers(device(&address, &points)).await;
    let missing = || Err(Trouble::Exception(2));
    assert_eq!(read, [Ok(1.0), Ok(0.0), missing(), missing(), missing()], "{library:?}");
}

async fn the_server_is_read_by_a_client_of(library: Library) {
    let sensor = SensorId(-1234);
    let (unit, block) = block_of(sensor);
    let image = Arc::new(Image::default());
    let values = vec![1013.25, std::f64::consts::E];
    let newest = Newest {
        place: Place { stream: 1, seq: 1_234_567_890_123_456 },
        time: Micros(0),
        received: Micros(0),
        is_clock_synced: true,
        status: vec![Status::GOOD; values.len()],
        values,
    };
    let single = Quantity { number: Number::F32, ..profile(1).quantities()[0].clone() };
    let double = profile(2).quantities()[1].clone();
    let both = Arc::new(Profile::new("both", vec![single, double]).unwrap());
    image.update(sensor, &both, newest);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (_switch, shutdown) = Shutdown::new();
    let allow = vec![Network::of(Ipv4Addr::LOCALHOST.into())];
    let counts = Arc::new(Counts::default());
    tokio::spawn(serve(listener, Arc::clone(&image), allow, counts, shutdown));

    let requests = [
        format!("input:{}:64", block + VALUES),
        format!("holding:{}:64", block + VALUES),
        format!("f32:{}", block + VALUES),
        format!("u64:{}", block + SEQ),
        format!("input:{}:101", block),
        format!("input:{}:1", 0),
        format!("write:{block}:1"),
        format!("coil:{block}:1"),
        format!("u16:{}", block + 5),
    ];
    let said = library.read(port, unit, &requests.each_ref().map(String::as_str)).await;
    let words = image.read(unit, Span::new(Kind::Input, block + VALUES, 64).unwrap(), Micros(0));
    let words: Vec<String> = words.unwrap().iter().map(u16::to_string).collect();
    let words = format!("words {}", words.join(" "));
    assert_eq!(
        said,
        [
            words.as_str(),
            words.as_str(),
            "value 1013.25",
            "value 1234567890123456",
            "exception 2",
            "exception 2",
            "exception 1",
            "exception 1",
            "value 2",
        ],
        "{library:?}"
    );
}

async fn the_simulator_is_read_by_a_client_of(library: Library) {
    // What moves is bounded to what does not change: one value.
    let steady = |what| format!("type = {what:?}\nscale = 0.1\nvalid = [21.4999, 21.5001]");
    let points = [
        ("input", 10, steady("f32")),
        ("holding", 20, steady("u32")),
        ("coil", 3, "type = \"bool\"".to_owned()),
        ("discrete", 4, "type = \"bool\"".to_owned()),
    ];
    let map = map("device:502", &points);
    let simulator = Simulator::bind(&map, Listen::FreePorts).await.unwrap();
    let port = simulator.addresses()[0].port();
    let faults = simulator.faults();
    let (_switch, shutdown) = Shutdown::new();
    tokio::spawn(simulator.serve(shutdown));
    let requests =
        ["f32:10", "holding:20:2", "coil:3:1", "discrete:4:1", "input:11:2", "write:20:1"];
    let said = library.read(port, UNIT, &requests).await;
    let value: f64 = said[0].strip_prefix("value ").unwrap().parse().unwrap();
    assert!((214.999..=215.001).contains(&value), "{said:?}");
    assert_eq!(said[1], "words 0 215");
    assert!(["bits 0", "bits 1"].contains(&said[2].as_str()), "{said:?}");
    assert!(["bits 0", "bits 1"].contains(&said[3].as_str()), "{said:?}");
    assert_eq!(said[4..], ["exception 2", "exception 1"]);
    faults.set("other", Fault::Exception(6)).unwrap();
    assert_eq!(library.read(port, UNIT, &requests[..1]).await, ["exception 6"]);
}

/// Each scenario with both libraries.
macro_rules! with_both {
    ($($scenario:ident)*) => {$(
        mod $scenario {
            use super::*;

            #[tokio::test]
            async fn pymodbus() { super::$scenario(Pymodbus).await; }
            #[tokio::test]
            async fn libmodbus() { super::$scenario(Libmodbus).await; }
        }
    )*};
}

with_both! {
    every_type_and_order_is_read_from_a_device_of
    bits_and_exceptions_are_read_from_a_device_of
    the_server_is_read_by_a_client_of
    the_simulator_is_read_by_a_client_of
}
