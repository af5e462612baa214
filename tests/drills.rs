//! A short subset of the drills, and all negative controls, as users run them.
//!
//! They load the machine, so that they run one after the other, also under a runner that starts a process
//! per test. The C++ sensor must have been built.

#[allow(dead_code)]
mod support;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::up::Up;
use support::{TestSite, eventually};

/// Held while a drill runs.
struct Turn(#[expect(dead_code, reason = "held, not read")] File);

impl Turn {
    fn wait() -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("drills.lock");
        let file = File::create(path).expect("a lock file");
        flock(&file, FlockOperation::LockExclusive).expect("a lock");
        Self(file)
    }
}

fn drill(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vigia"));
    command.arg("drill").args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    let _turn = Turn::wait();
    drill(arguments).output().expect("the command starts")
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[track_caller]
fn passes(arguments: &[&str]) {
    let output = run(&[arguments, &["--json"]].concat());
    let lines = lines(&output);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let [line] = lines.as_slice() else { panic!("{output:?}") };
    assert_eq!(line["verdict"], "pass", "{line}");
    assert!(line["acknowledged"].as_u64() >= Some(1_000), "{line}");
    for count in ["lost", "duplicated", "unexpected"] {
        assert_eq!(line[count], 0, "{line}");
    }
}

/// One sentence on standard error.
#[track_caller]
fn is_refused(output: &Output, code: i32, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(words), "{text}");
}

#[test]
fn a_killed_broker_loses_nothing() {
    passes(&["kill-broker", "--times", "2"]);
}

#[test]
fn a_killed_store_loses_nothing() {
    passes(&["kill-store", "--times", "2"]);
}

#[test]
fn a_restored_store_is_filled_again() {
    passes(&["restore-store", "--times", "1"]);
}

#[test]
fn a_consumer_that_comes_back_to_a_long_backlog_catches_up() {
    // The supervisor's pause before the fifth start lets more than rumqttd's 100 messages pile up.
    passes(&["kill-transform", "--times", "5"]);
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    passes(&["power-off", "--times", "2"]);
}

#[test]
fn sensors_that_die_while_nobody_answers_deliver_everything_afterwards() {
    passes(&["sensor-restart", "--down", "4s"]);
}

#[test]
fn every_alarm_is_raised_once_though_alert_dies() {
    passes(&["kill-alert", "--times", "3"]);
}

#[test]
fn a_backlog_is_delivered_fast_and_in_order_after_a_cut() {
    passes(&["cut-sensors", "--down", "4s"]);
}

#[test]
fn altered_bytes_are_not_believed() {
    passes(&["corrupt-link", "--times", "4"]);
}

#[test]
fn what_kills_its_reader_is_quarantined_and_all_else_flows() {
    passes(&["poison"]);
}

#[test]
fn what_is_nearly_right_at_every_port_breaks_nothing() {
    passes(&["fuzz", "--for", "2s"]);
}

#[test]
fn faults_of_every_kind_one_after_the_other_lose_nothing() {
    passes(&["chaos", "--for", "15s"]);
}

#[test]
fn modbus_devices_that_fail_while_the_broker_dies_disturb_no_other() {
    passes(&["modbus-faults", "--times", "1"]);
}

#[test]
fn a_report_says_what_was_done() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report.md");
    let name = file.to_str().expect("a path in UTF-8");
    passes(&["stop-in-order", "--times", "1", "--report", name]);
    let text = fs::read_to_string(&file).expect("the report");
    for words in ["| [stop-in-order](#stop-in-order) | pass |", "\n## stop-in-order\n", "SIGTERM"] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn the_oracle_sees_every_deliberate_defect() {
    let output = run(&["controls", "--times", "3", "--json"]);
    let lines = lines(&output);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(lines.len(), 5, "{output:?}");
    assert!(lines.iter().all(|line| line["verdict"] == "fail"), "{output:?}");
}

#[test]
fn a_defect_makes_the_command_fail() {
    let output = run(&["drop-one", "--times", "1", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(lines(&output)[0]["lost"].as_u64() > Some(0), "{output:?}");
}

#[test]
fn what_cannot_be_run_is_refused_in_a_sentence() {
    is_refused(&run(&["kill-nobody"]), 64, "vigia drill list");
    let mut without = drill(&["kill-store", "--json"]);
    without.env("VIGIA_SENSOR", "/nowhere/vigia-sensor");
    is_refused(&without.output().expect("the command starts"), 69, "make build");
    // The sensor's program is looked for below the directory of the sources.
    let sensor =
        fs::canonicalize("build/sensor-release/vigia-sensor").expect("'make build' builds it");
    let mut in_memory = drill(&["kill-store", "--json"]);
    in_memory.current_dir("/dev/shm").env("TMPDIR", "/dev/shm").env("VIGIA_SENSOR", sensor);
    is_refused(&in_memory.output().expect("the command starts"), 64, "tmpfs");
}

#[test]
fn an_interrupted_drill_leaves_nothing_behind() {
    let _turn = Turn::wait();
    let mut child = drill(&["kill-store"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command starts");
    let mut said = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let site = said
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| line.rsplit_once("; site ").map(|(_, site)| site.to_owned()))
        .expect("it says where the site is");
    assert!(processes_of(&site) >= 5 + 8, "roles and sensors run");
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a process");
    kill_process(pid, Signal::INT).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(69));
    assert_eq!(processes_of(&site), 0);
    assert!(!Path::new(&site).exists());
}

fn allow_drills(site: &TestSite) {
    let file = site.path("vigia.toml");
    let text = fs::read_to_string(&file).expect("a configuration");
    let allowing = text.replace("\n[drills]\n", "\n[drills]\nallowed = true\n");
    assert_ne!(text, allowing, "it has the section");
    fs::write(&file, allowing).expect("a configuration");
}

/// The sensors of a site that drills have added, and whether all are revoked and their keys gone.
fn guests(site: &TestSite) -> (Vec<i64>, bool) {
    let list = site.vigia(&["sensor", "list", "--json"]);
    let list: Vec<Value> = serde_json::from_str(list.succeeded()).expect("JSON");
    let ids = list.iter().filter_map(|sensor| sensor["id"].as_i64()).collect();
    (ids, list.iter().all(|one| one["revoked"] == true && one["key_file"].is_null()))
}

#[test]
fn a_running_site_is_drilled_with_sensors_of_the_drills_own() {
    let _turn = Turn::wait();
    let site = TestSite::with(&["--tls"]);
    let drill = |name| drill(&[name, "--site", site.arg(), "--json"]);
    let ended = |name| drill(name).output().expect("the command starts");
    is_refused(&ended("kill-store"), 64, "'allowed = true' under [drills]");
    allow_drills(&site);
    is_refused(&ended("kill-store"), 69, "vigia up");
    is_refused(&ended("lose-journal"), 64, "expected all or one of kill-broker");
    let up = Up::start(&site);
    let before = up.all_pids();
    eventually("all listen", || site.vigia(&["ledger"]).out.contains("balanced").then_some(()));

    let output = ended("kill-store");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(lines(&output)[0]["verdict"], "pass", "{output:?}");
    assert_eq!(guests(&site), (vec![32_766, 32_767], true));
    let changed = up.all_pids().iter().zip(&before).filter(|(new, old)| new != old).count();
    assert_eq!(changed, 1, "only the store was killed");

    // Interrupted while a role is frozen.
    let store = up.pid("store", None);
    let state = || fs::read_to_string(format!("/proc/{store}/stat")).expect("the store runs");
    let mut child =
        drill("pause-store").args(["--down", "1h"]).spawn().expect("the command starts");
    eventually("the store is frozen", || state().contains(") T ").then_some(()));
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(69));
    assert!(!state().contains(") T "), "{}", state());
    assert_eq!(guests(&site), (vec![32_764, 32_765, 32_766, 32_767], true));
}

/// Processes with a path of the site in their command line.
fn processes_of(site: &str) -> usize {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(site)).count()
}
