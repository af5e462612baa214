//! Ordinary input that kills rumqttd, or that it refuses, sent by clients of others: to bare rumqttd, which
//! shows that it does, and to the gate, which must not care.
//!
//! Not here: what a silent connection does to rumqttd's own TLS, which is not compiled in.

#[allow(dead_code)]
mod mqtt;
#[allow(dead_code)]
mod support;

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mqtt::client::Level::V4;
use mqtt::client::Library::{MqttJs, PahoPython};
use mqtt::client::{Driver, numbers};
use mqtt::server::{Kind, Login, Server, User};
use mqtt::wire;
use rustix::process::Signal;
use serde_json::Value;
use support::eventually;

const USERS: &[User] = &[User::new("anyone", &["a/#", "ñandú/#"], &["#", "$SYS/#"])];
const AT_ONCE: Duration = Duration::ZERO;
const SOON: Duration = Duration::from_secs(5);
/// How long rumqttd gets to die of what takes chance; it usually takes 7 s.
const CHANCE: Duration = Duration::from_secs(60);
/// How long the gate has to stand it.
const TRIAL: Duration = Duration::from_secs(10);

/// What is done, and whether the client that did it was served.
type Fault = fn(&Login, &dyn Fn() -> bool) -> bool;

/// A publish to a topic whose first character is not ASCII, while any filter exists.
fn a_topic_beyond_ascii(login: &Login, _: &dyn Fn() -> bool) -> bool {
    let subscriber = Driver::subscribe((MqttJs, V4), login, "listener", &["ñandú/#"], &[]);
    // For rumqttd the filter is enough.
    if !is_subscribed(&subscriber) {
        return false;
    }
    let _publisher =
        Driver::publish((PahoPython, V4), login, "sender", "ñandú/plumas", 1..=3, AT_ONCE);
    let all = |lines: &[String]| (numbers(lines) == [1, 2, 3]).then_some(());
    subscriber.within(SOON, all).is_some()
}

/// QoS 0 subscribers that come and go under load, until it is `enough`.
fn subscribers_leaving_under_load(login: &Login, enough: &dyn Fn() -> bool) -> bool {
    let _load = ["load1", "load2"].map(|id| {
        let message = ["-t", "a/b", "-q", "0", "-m", "abcdefgh", "--repeat", "1000000000"];
        Program::start("mosquitto_pub", login, id, &message)
    });
    while !enough() {
        let some = ["-t", "a/#", "-q", "0", "-C", "200", "-W", "1"];
        let leavers = ["leaver1", "leaver2", "leaver3"]
            .map(|id| Program::start("mosquitto_sub", login, id, &some));
        leavers.into_iter().for_each(Program::ends);
    }
    true
}

/// The sole member of a shared subscription drops with messages it has not acknowledged.
fn the_sole_member_of_a_group_dropping(login: &Login, _: &dyn Fn() -> bool) -> bool {
    let member = Driver::subscribe((PahoPython, V4), login, "member", &["$share/group/a/b"], &[]);
    member.says("subscribed");
    member.signal(Signal::STOP);
    let publisher = Driver::publish((MqttJs, V4), login, "sender", "a/b", 1..=50, AT_ONCE);
    publisher.within(SOON, |lines| lines.contains(&"acked 50".to_owned()).then_some(()));
    member.kill();
    let publisher = Driver::publish((MqttJs, V4), login, "sender", "a/b", 51..=60, AT_ONCE);
    let acked = |lines: &[String]| lines.contains(&"acked 60".to_owned()).then_some(());
    publisher.within(SOON, acked).is_some()
}

/// An id that rumqttd refuses. Whether another server takes it is its own affair.
fn a_refused_id_tried_again(login: &Login, _: &dyn Fn() -> bool) -> bool {
    for _ in 0..3 {
        let once = ["-t", "a/b", "-W", "1", "-V", "mqttv311"];
        Program::start("mosquitto_sub", login, "bad#id", &once).ends();
    }
    true
}

/// What is published with MQTT 5 and a property reaches a subscriber with MQTT 3.1.1.
fn a_property_reaching_an_older_client(login: &Login, _: &dyn Fn() -> bool) -> bool {
    let older = Driver::subscribe((PahoPython, V4), login, "older", &["a/#"], &[]);
    older.says("subscribed");
    let newer = Login { port: login.port_v5, ..login.clone() };
    let property = ["-V", "mqttv5", "-D", "publish", "user-property", "unit", "kPa"];
    let message = ["-t", "a/b", "-q", "1", "-m", "7"];
    Program::start("mosquitto_pub", &newer, "newer", &[&property[..], &message].concat()).ends();
    older.within(SOON, |lines| (numbers(lines) == [7]).then_some(())).is_some()
}

/// What MQTT Explorer does first.
fn a_look_at_sys(login: &Login, _: &dyn Fn() -> bool) -> bool {
    let filters = ["#", "$SYS/#"];
    let more = ["--qos", "0", "--clean"];
    is_subscribed(&Driver::subscribe((MqttJs, V4), login, "mqtt-explorer-1", &filters, &more))
}

/// A keep-alive of 0 means none.
fn no_keep_alive(login: &Login, _: &dyn Fn() -> bool) -> bool {
    let more = ["--keepalive", "0"];
    is_subscribed(&Driver::subscribe((PahoPython, V4), login, "patient", &["a/#"], &more))
}

/// Whether all it asks for is granted.
fn is_subscribed(client: &Driver) -> bool {
    let answer = client.within(SOON, |lines| {
        let answer = |line: &&String| line.starts_with("subscribed") || *line == "disconnected";
        lines.iter().find(answer).cloned()
    });
    answer.is_some_and(|answer| {
        let mut words = answer.split(' ');
        words.next() == Some("subscribed") && words.all(|code| code == "0" || code == "1")
    })
}

/// `mosquitto_pub` or `mosquitto_sub` as it is.
struct Program(Child);

impl Program {
    fn start(name: &str, login: &Login, id: &str, more: &[&str]) -> Self {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", name, "-h", "127.0.0.1", "-i", id])
            .args(["-p", &login.port.to_string(), "-u", &login.user, "-P", &login.password()])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(command.spawn().expect("mosquitto-clients is installed"))
    }

    /// Waits for its end; who waits for a dead server is killed.
    fn ends(mut self) {
        let begun = Instant::now();
        eventually("the end of a program", || match self.0.try_wait().expect("a child") {
            Some(_) => Some(()),
            None if begun.elapsed() > SOON => self.0.kill().ok(),
            None => None,
        });
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn others_are_served(login: &Login) -> bool {
    wire::is_served(login, "bystander", "a/bystander").is_ok()
}

fn kills_or_is_refused_by_rumqttd(fault: Fault) {
    let server = Server::start(Kind::Rumqttd, USERS);
    let login = server.first();
    assert!(others_are_served(&login));
    let begun = Instant::now();
    let dead = || !others_are_served(&login);
    let served = fault(&login, &|| begun.elapsed() > CHANCE || dead());
    assert!(!served || dead(), "rumqttd stands it");
}

fn is_nothing_to_the_gate(fault: Fault) {
    let server = Server::start(Kind::Gate, USERS);
    let login = server.first();
    let begun = Instant::now();
    assert!(fault(&login, &|| begun.elapsed() > TRIAL), "the client is not served");
    assert!(others_are_served(&login), "others are not served");
}

/// Each fault at both.
macro_rules! each_fault {
    ($($fault:ident)*) => {
        const FAULTS: &[(&str, Fault)] = &[$((stringify!($fault), $fault)),*];
        $(mod $fault {
            #[test]
            fn kills_or_is_refused_by_rumqttd() {
                super::kills_or_is_refused_by_rumqttd(super::$fault);
            }
            #[test]
            fn is_nothing_to_the_gate() {
                super::is_nothing_to_the_gate(super::$fault);
            }
        })*
    };
}

each_fault! {
    a_topic_beyond_ascii
    subscribers_leaving_under_load
    the_sole_member_of_a_group_dropping
    a_refused_id_tried_again
    a_property_reaching_an_older_client
    a_look_at_sys
    no_keep_alive
}

/// Readings that are stored and accounted for.
fn stored(server: &Server) -> Option<u64> {
    let ended = server.site().vigia(&["ledger", "--json"]);
    let books: Value = serde_json::from_str(&ended.out).ok()?;
    let balanced = ended.code == 0 && books["verdict"] == "balanced";
    books["readings"]["stored"].as_u64().filter(|_| balanced)
}

#[test]
fn a_whole_site_loses_nothing_through_all_of_them() {
    let server = Server::start(Kind::Site, USERS);
    let login = server.first();
    let before = eventually("first readings", || stored(&server).filter(|&stored| stored > 0));
    let broker = server.broker_pid();
    for (name, fault) in FAULTS {
        let begun = Instant::now();
        assert!(fault(&login, &|| begun.elapsed() > TRIAL), "the client is not served: {name}");
        assert!(others_are_served(&login), "others are not served: {name}");
        let _ = writeln!(std::io::stderr(), "{name}: {:.1} s", begun.elapsed().as_secs_f64());
    }
    assert_eq!(server.broker_pid(), broker, "the broker was started again");
    eventually("more readings", || stored(&server).filter(|&stored| stored > before));
}
