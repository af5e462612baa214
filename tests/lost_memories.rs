//! A journal and a sensor's memory, lost together: the ledger says what is missing, and what is measured from then on
//! is not taken for it.

#[allow(dead_code)]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{TestSite, command, eventually};

const SENSOR: &str = "build/sensor-release/vigia-sensor";

/// The roles of a site, without anyone who would start them again. Ended when the test ends.
struct Roles<'a> {
    site: &'a TestSite,
    running: BTreeMap<&'static str, Child>,
}

impl<'a> Roles<'a> {
    fn start(site: &'a TestSite) -> Self {
        let mut roles = Self { site, running: BTreeMap::new() };
        for role in ["broker", "verify", "transform", "store"] {
            roles.start_again(role);
        }
        roles
    }

    fn start_again(&mut self, role: &'static str) {
        let mut command = command(&[role, "--site", self.site.arg()]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.running.insert(role, child);
    }

    fn kill(&mut self, role: &str) {
        let mut child = self.running.remove(role).expect("it runs");
        kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Roles<'_> {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            let _ = kill_process(Pid::from_child(child), Signal::KILL);
            let _ = child.wait();
        }
    }
}

/// The sensor takes so many readings, and all are acknowledged.
fn measure(site: &TestSite, spool: &str, count: &str) {
    let address = eventually("the broker listens", || {
        let text = fs::read(site.path("run/addresses.json")).ok()?;
        let addresses: Value = serde_json::from_slice(&text).ok()?;
        addresses["sensor"].as_str().map(str::to_owned)
    });
    let mut sensor = Command::new(SENSOR);
    sensor.args(["--connect", &address, "--rate", "2000", "--count", count, "--key"]);
    sensor.arg(site.path("devices/1.key")).arg("--spool").arg(site.path(spool));
    let ended = sensor.stderr(Stdio::null()).status().expect("'make build-cpp' builds the sensor");
    assert!(ended.success(), "{ended}");
}

/// The time a new memory takes for its stream.
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Waits until the ledger is as `wanted`, and gives its exit code and what it says.
fn ledger(site: &TestSite, what: &str, wanted: impl Fn(&Value) -> bool) -> (i32, Value) {
    eventually(what, || {
        let ended = site.vigia(&["ledger", "--json"]);
        let ledger: Value = serde_json::from_str(&ended.out).ok()?;
        wanted(&ledger).then_some((ended.code, ledger))
    })
}

fn stored(ledger: &Value) -> u64 {
    ledger["readings"]["stored"].as_u64().unwrap()
}

#[test]
fn what_was_lost_with_two_memories_is_told_and_what_comes_after_is_stored() {
    let site = TestSite::new();
    site.vigia(&["sensor", "add", "1"]).succeeded();
    let mut roles = Roles::start(&site);
    measure(&site, "spool", "500");
    let (code, first) = ledger(&site, "all is stored", |ledger| {
        ledger["verdict"] == "balanced" && stored(ledger) == 500
    });
    assert_eq!(code, 0);
    let journal = first["journals"][0]["journal"].as_str().unwrap().to_owned();

    // Acknowledged and on its way, and the store has heard of it.
    roles.kill("verify");
    measure(&site, "spool", "300");
    ledger(&site, "300 are in flight", |ledger| ledger["readings"]["in_flight"] == 300);
    roles.kill("broker");
    fs::remove_file(site.path("data/broker/journal.redb")).unwrap();
    fs::remove_dir_all(site.path("spool")).unwrap();
    // A memory is told from the one before by the second in which it began.
    let forgotten = unix_seconds();
    eventually("another second", || (unix_seconds() > forgotten).then_some(()));
    roles.start_again("broker");
    roles.start_again("verify");
    measure(&site, "another", "200");
    let (code, sheet) = ledger(&site, "the new ones are stored", |ledger| {
        stored(ledger) == 700 && !ledger["orphaned_logs"].as_array().unwrap().is_empty()
    });
    assert_eq!((code, &sheet["verdict"]), (1, &"unknown".into()));
    let reasons = sheet["reasons"].to_string();
    let expected =
        format!("the journal {journal} of node1 is gone, and 300 readings that it acknowledged");
    assert!(reasons.contains(&expected), "{reasons}");
    let nothing = ["duplicate", "quarantined", "lost", "in_flight"];
    assert!(nothing.iter().all(|kind| sheet["readings"][*kind] == 0), "{sheet}");
    assert_eq!(sheet["conflicts"], 0);

    // Somebody accepts that they are gone.
    assert!(site.vigia(&["store", "write-off", &journal]).refused_with(64).contains("runs"));
    roles.kill("store");
    assert!(
        site.vigia(&["store", "write-off", "0000000000000001"]).refused_with(64).contains("never")
    );
    site.vigia(&["store", "write-off", &journal]).succeeded();
    roles.start_again("store");
    let (code, _) = ledger(&site, "the books balance", |ledger| ledger["verdict"] == "balanced");
    assert_eq!(code, 0);
}
