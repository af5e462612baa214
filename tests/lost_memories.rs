//! Memories that are lost, damaged or put back: the ledger says what is missing, and what need not be lost is not.

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
/// How a frame with readings begins (FORMAT.md).
const DATA_FRAME: &[u8] = b"VG\x01\x03";

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

#[test]
fn a_bit_in_what_is_not_stored_yet_costs_the_frame_it_is_in() {
    costs_its_frame(80);
}

#[test]
fn a_bit_in_what_tells_where_a_frame_is_costs_no_other() {
    costs_its_frame(0);
}

/// A bit turns over so many bytes behind the beginning of a frame, in a row that is not stored.
fn costs_its_frame(offset: usize) {
    let site = TestSite::new();
    site.vigia(&["sensor", "add", "1"]).succeeded();
    let mut roles = Roles::start(&site);
    roles.kill("verify");
    measure(&site, "spool", "300");
    roles.kill("broker");
    let journal = site.path("data/broker/journal.redb");
    let mut bytes = fs::read(&journal).unwrap();
    // Each copy of the frame that begins with reading 1: redb writes beside what it replaces.
    let first_frame: Vec<usize> = bytes
        .windows(24)
        .enumerate()
        .filter(|(_, head)| head.starts_with(DATA_FRAME) && head[16..] == 1_u64.to_le_bytes())
        .map(|(at, _)| at)
        .collect();
    let count = first_frame.first().map(|at| u16::from_le_bytes([bytes[at + 10], bytes[at + 11]]));
    for at in first_frame {
        bytes[at + offset] ^= 1;
    }
    fs::write(&journal, &bytes).unwrap();
    for role in ["broker", "verify"] {
        roles.start_again(role);
    }
    let (code, sheet) = ledger(&site, "the books balance", |ledger| {
        let readings = &ledger["readings"];
        ledger["verdict"] == "balanced" && readings["accepted"] == 300 && readings["in_flight"] == 0
    });
    assert_eq!(code, 1, "what is in quarantine is missing to its sensor's readers");
    let quarantined = sheet["readings"]["quarantined"].as_u64().unwrap();
    assert_eq!(Some(quarantined), count.map(u64::from), "{sheet}");
    assert_eq!(stored(&sheet) + quarantined, 300, "{sheet}");
    measure(&site, "spool", "200");
    ledger(&site, "and what comes after is stored", |ledger| {
        ledger["verdict"] == "balanced" && stored(ledger) + quarantined == 500
    });
}

#[test]
fn a_store_that_is_put_back_to_an_older_state_is_filled_again() {
    let site = TestSite::new();
    site.vigia(&["sensor", "add", "1"]).succeeded();
    let mut roles = Roles::start(&site);
    let (store, snapshot) = (site.path("data/store/store.redb"), site.path("snapshot"));
    let all_stored = |count: u64| {
        let what = format!("{count} are stored");
        ledger(&site, &what, |ledger| ledger["verdict"] == "balanced" && stored(ledger) == count)
    };
    measure(&site, "spool", "500");
    all_stored(500);
    roles.kill("store");
    fs::copy(&store, &snapshot).unwrap();
    roles.start_again("store");
    measure(&site, "spool", "300");
    all_stored(800);
    roles.kill("store");
    fs::copy(&snapshot, &store).unwrap();
    roles.start_again("store");
    all_stored(800);
    // Nothing new comes, and nobody has a reason to ask about the log in which it was.
    roles.kill("broker");
    roles.start_again("broker");
    ledger(&site, "the journal is heard of again", |ledger| {
        ledger["verdict"] == "balanced" && ledger["logs"].as_array().unwrap().len() == 2
    });
    roles.kill("store");
    fs::copy(&snapshot, &store).unwrap();
    roles.start_again("store");
    let (code, sheet) = all_stored(800);
    assert_eq!((code, &sheet["readings"]["duplicate"]), (0, &0.into()), "{sheet}");
}
