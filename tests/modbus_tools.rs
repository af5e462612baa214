//! `vigia modbus`: maps tried out, devices simulated, probed, and where SCADA finds what.

#[allow(dead_code)]
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use serde_json::Value;
use support::{Ended, TestSite, command, eventually, vigia};

const MAP: &str = r#"
[[device]]
name = "boiler"
transport = { tcp = "10.0.0.5:502" }
unit = 3
interval_ms = 1000
sensor = 12
profile = "climate"
point = [
  { quantity = "temperature", reference = "40017", type = "f32", order = "CDAB", valid = [20, 22] },
  { quantity = "pressure", reference = "40019", type = "u16", scale = 0.1, unit = "hPa" },
  { quantity = "humidity", kind = "input", address = 100, type = "i16", offset = -5 },
]
"#;

fn site_with_map(text: &str) -> (TestSite, String) {
    let site = TestSite::new();
    let map = site.path("plant.toml");
    fs::write(&map, text).unwrap();
    let map = map.to_str().unwrap().to_owned();
    (site, map)
}

/// A simulator that runs; killed when dropped.
struct Simulator {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    address: String,
    free_map: String,
}

impl Simulator {
    fn start(site: &TestSite, map: &str, more: &[&str]) -> Self {
        let free_map = site.path("free.toml").to_str().unwrap().to_owned();
        let fixed = ["modbus", "simulate", map, "--free-ports", &free_map, "--site", site.arg()];
        let mut command = command(&[&fixed, more].concat());
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let heading = lines.next().unwrap().unwrap();
        assert!(heading.starts_with("DEVICE"), "{heading}");
        let device = lines.next().unwrap().unwrap();
        let address = device.split_whitespace().nth(1).unwrap().to_owned();
        Self { process, lines, address, free_map }
    }

    /// A line on its standard input; what it says to that.
    fn told(&mut self, line: &str) -> String {
        writeln!(self.process.stdin.as_mut().unwrap(), "{line}").unwrap();
        self.lines.next().unwrap().unwrap()
    }

    fn probe(&self, more: &[&str]) -> Ended {
        vigia(&[&["modbus", "probe", &self.address, "--unit", "3"], more].concat())
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_map_with_an_error_is_refused_with_file_line_key_and_what_is_allowed() {
    let (site, map) = site_with_map(&MAP.replace("CDAB", "CBAD"));
    let refused = site.vigia(&["modbus", "check", &map]);
    assert_eq!(
        refused.refused_with(64),
        format!(
            "{map}, line 10: device.point.order = \"CBAD\", expected one of ABCD, CDAB, BADC, DCBA"
        )
    );
}

#[test]
fn a_map_that_can_be_used_is_shown_with_what_is_read_together() {
    let (site, map) = site_with_map(MAP);
    let checked = site.vigia(&["modbus", "check", &map]);
    assert_eq!(checked.code, 1, "sensor 12 is not registered: {checked:?}");
    assert!(checked.out.contains("vigia sensor add 12 --name boiler --profile climate"));
    site.vigia(&["sensor", "add", "12"]).succeeded();
    let checked = site.vigia(&["modbus", "check", &map]);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<Vec<String>> = checked.succeeded().lines().map(words).collect();
    let device = "boiler tcp 10.0.0.5:502 3 1000 ms 1000 ms 12 climate 2";
    assert!(lines.contains(&words(device)), "{lines:?}");
    for point in [
        "boiler temperature holding 16 40017 f32 CDAB 20 to 22 °C holding 16..18",
        "boiler pressure holding 18 40019 u16 ABCD × 0.1 hPa holding 16..18",
        "boiler humidity input 100 30101 i16 ABCD - 5 % input 100..100",
    ] {
        assert!(lines.contains(&words(point)), "{point}: {lines:?}");
    }
}

#[test]
fn probe_shows_a_swapped_word_float_first() {
    let (site, map) = site_with_map(MAP);
    let simulator = Simulator::start(&site, &map, &[]);
    // As somebody looks for it: at its address, one beside it as in the manual, and in a wide range.
    for registers in ["16..17", "10..19", "16", "17..18"] {
        let probed = simulator.probe(&["--registers", registers, "--json"]);
        let probed: Value = serde_json::from_str(probed.succeeded()).unwrap();
        let guesses = probed["guesses"].as_array().unwrap();
        let is_right = |guess: &Value| {
            (&guess["address"], &guess["type"], &guess["order"])
                == (&Value::from(16), &Value::from("f32"), &Value::from("CDAB"))
        };
        let place = guesses.iter().position(is_right).unwrap_or_else(|| panic!("{probed:#}"));
        // Who asks beside it may see something else first.
        let most = if registers == "17..18" { 12 } else { 0 };
        assert!(place <= most, "{registers}: {place}, {probed:#}");
        assert!((20.0..=22.0).contains(&guesses[place]["value"].as_f64().unwrap()));
    }
    let table = simulator.probe(&["--registers", "16..18"]);
    let first = table.succeeded().lines().nth(4).unwrap();
    let words: Vec<&str> = first.split_whitespace().collect();
    assert_eq!(words[..4], ["16", "40017", "f32", "CDAB"], "{table:?}");
}

#[test]
fn probe_says_in_words_what_is_wrong_and_what_to_try() {
    let (site, map) = site_with_map(MAP);
    let mut simulator = Simulator::start(&site, &map, &["--fault", "boiler=exception:1"]);
    let at_once = ["--registers", "16..18", "--timeout", "300ms"];
    let says = |simulator: &Simulator, arguments: &[&str]| {
        simulator.probe(arguments).refused_with(69).to_owned()
    };
    assert!(says(&simulator, &at_once).contains("illegal function; it cannot read"));
    for (fault, says_so) in [
        ("silence", "no answer within 300 ms; try another --unit"),
        ("wrong-unit", "an answer to something else"),
        ("exception:11", "try another --unit"),
        ("exception:6", "server device busy; the device cannot answer now"),
        ("short", "2 elements where 3 were asked for; try fewer"),
    ] {
        let line = format!("boiler {fault}");
        assert_eq!(simulator.told(&line), line);
        let sentence = says(&simulator, &at_once);
        assert!(sentence.contains(says_so), "{fault}: {sentence}");
    }
    assert!(simulator.told("pump silence").contains("expected one of boiler"));
    assert!(simulator.told("boiler asleep").contains("expected none, silence"));
    assert_eq!(simulator.told("boiler none"), "boiler none");
    assert!(says(&simulator, &["--registers", "30..40"]).contains("illegal data address"));
    simulator.probe(&at_once).succeeded();
    let nobody = vigia(&["modbus", "probe", "127.0.0.1:1"]);
    assert!(nobody.refused_with(69).contains("cannot connect"));
    assert_eq!(vigia(&["modbus", "probe", "127.0.0.1:1", "--registers", "40001..3"]).code, 64);
}

#[test]
fn simulate_writes_a_map_with_its_addresses_and_ends_at_a_signal() {
    let (site, map) = site_with_map(MAP);
    let mut simulator = Simulator::start(&site, &map, &[]);
    let text = fs::read_to_string(&simulator.free_map).unwrap();
    assert_eq!(text, MAP.replace("10.0.0.5:502", &simulator.address));
    let again = site.vigia(&["modbus", "simulate", &simulator.free_map]);
    assert!(again.refused_with(69).contains(&simulator.address), "{again:?}");
    let unknown = site.vigia(&["modbus", "simulate", &map, "--fault", "pump=silence"]);
    assert_ne!(unknown.code, 0);
    let pid = rustix::process::Pid::from_child(&simulator.process);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = eventually("its end", || simulator.process.try_wait().unwrap());
    assert!(status.success());
}

#[test]
fn the_servers_map_has_every_sensor_at_its_own_place() {
    let site = TestSite::new();
    site.vigia(&["sensor", "add", "7", "--name", "hall, \"north\""]).succeeded();
    let before = site.vigia(&["modbus", "map", "--csv"]).succeeded().to_owned();
    let rows: Vec<&str> = before.lines().collect();
    assert_eq!(rows[0], "sensor,name,unit,address,reference,type,field,measured_in");
    assert_eq!(rows.len(), 1 + 12 + 2 * 3);
    for rest in [
        "700,30701,u16,quality,",
        "706,30707,u32,age,s",
        "720,30721,u16,temperature_status,",
        "736,30737,f32,temperature,°C",
        "744,30745,f32,humidity,%",
    ] {
        let row = format!("7,\"hall, \"\"north\"\"\",1,{rest}");
        assert!(rows.contains(&row.as_str()), "{row}: {rows:?}");
    }
    for id in ["6", "-1", "500"] {
        site.vigia(&["sensor", "add", id]).succeeded();
    }
    let after = site.vigia(&["modbus", "map", "--csv"]).succeeded().to_owned();
    assert!(rows.iter().all(|row| after.lines().any(|line| line == *row)), "no address moves");
    assert!(after.contains("\r\n500,,2,0,30001,u16,quality,\r\n"));
    assert!(after.contains("\r\n-1,,101,0,30001,u16,quality,\r\n"));
    assert!(site.vigia(&["modbus", "map"]).succeeded().starts_with("SENSOR"));
}
