//! The MQTT server as client libraries of others meet it: each library in both versions of the protocol.
//!
//! `make build-clients` makes the libraries' drivers ready. `MQTT_SERVER=mosquitto` asks the same of mosquitto,
//! which shows that what is asked is what an MQTT server does.

#[allow(dead_code)]
mod mqtt;
#[allow(dead_code)]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use mqtt::client::Level::{V4, V5};
use mqtt::client::Library::{Mosquitto, MqttJs, PahoCpp, PahoPython};
use mqtt::client::{Driver, Level, Library, numbers};
use mqtt::server::{Kind, Login, Server, User};

const PLANT: &[User] =
    &[User::new("plant", &["plant/#"], &["plant/#"]), User::new("visitor", &[], &["plant/hall/#"])];
const AT_ONCE: Duration = Duration::ZERO;
const PACED: Duration = Duration::from_millis(2);
/// MQTT's own word for what an access list forbids.
const NOT_AUTHORIZED: u8 = 0x87;

type Client = (Library, Level);

/// Each scenario with every library and version.
macro_rules! with_every_client {
    ($($scenario:ident)*) => {$(
        mod $scenario {
            use super::*;

            #[test]
            fn paho_python_v4() { super::$scenario((PahoPython, V4)); }
            #[test]
            fn paho_python_v5() { super::$scenario((PahoPython, V5)); }
            #[test]
            fn mqttjs_v4() { super::$scenario((MqttJs, V4)); }
            #[test]
            fn mqttjs_v5() { super::$scenario((MqttJs, V5)); }
            #[test]
            fn paho_cpp_v4() { super::$scenario((PahoCpp, V4)); }
            #[test]
            fn paho_cpp_v5() { super::$scenario((PahoCpp, V5)); }
            #[test]
            fn mosquitto_v4() { super::$scenario((Mosquitto, V4)); }
            #[test]
            fn mosquitto_v5() { super::$scenario((Mosquitto, V5)); }
        }
    )*};
}

with_every_client! {
    what_is_published_arrives_in_order
    a_killed_subscriber_gets_everything_that_came_meanwhile
    both_come_back_by_themselves_after_the_server_was_killed
    permissions_hold
}

fn server() -> Server {
    Server::start(Kind::chosen(), PLANT)
}

fn what_is_published_arrives_in_order(client: Client) {
    let server = server();
    let login = server.first();
    let subscriber = Driver::subscribe(client, &login, "subscriber", &["plant/#"], &[]);
    assert_eq!(subscriber.says("subscribed"), "subscribed 1");
    let mut publisher =
        Driver::publish(client, &login, "publisher", "plant/hall/1", 1..=500, AT_ONCE);
    assert!(publisher.ends().success());
    let acked = publisher.lines().iter().filter(|line| line.starts_with("acked")).count();
    assert_eq!(acked, 500);
    subscriber.until("the last number", |lines| (numbers(lines).len() == 500).then_some(()));
    assert!(numbers(&subscriber.lines()).into_iter().eq(1..=500));
    let messages = subscriber.messages();
    assert!(messages.iter().all(|message| message.topic == "plant/hall/1" && !message.retained));
}

fn a_killed_subscriber_gets_everything_that_came_meanwhile(client: Client) {
    let server = server();
    let login = server.first();
    let subscribe = || Driver::subscribe(client, &login, "subscriber", &["plant/#"], &[]);
    let publish =
        |numbers| Driver::publish(client, &login, "publisher", "plant/x", numbers, AT_ONCE);

    let subscriber = subscribe();
    subscriber.says("subscribed");
    assert!(publish(1..=50).ends().success());
    subscriber.until("50", |lines| (numbers(lines).last() == Some(&50)).then_some(()));
    subscriber.kill();
    assert!(publish(51..=1_050).ends().success());

    let subscriber = subscribe();
    let connected = subscriber.says("connected");
    assert!(client.0 == Mosquitto || connected.ends_with('1'), "{connected}");
    subscriber.until("1,050", |lines| (numbers(lines).last() == Some(&1_050)).then_some(()));
    // An acknowledgement of the first 50 may have died with the client.
    let mut got = numbers(&subscriber.lines());
    got.retain(|&number| number > 50);
    assert!(got.iter().copied().eq(51..=1_050), "{got:?}");
}

fn both_come_back_by_themselves_after_the_server_was_killed(client: Client) {
    const LAST: u64 = 3_000;
    let mut server = server();
    let login = server.first();
    let subscriber = Driver::subscribe(client, &login, "subscriber", &["plant/#"], &[]);
    subscriber.says("subscribed");
    let mut publisher = Driver::publish(client, &login, "publisher", "plant/x", 1..=LAST, PACED);
    subscriber.until("100", |lines| numbers(lines).contains(&100).then_some(()));
    server.kill_and_start_again();

    let connected = subscriber.says_times(2, "connected");
    // Sessions end with the server, and it says so. Some libraries do not tell.
    assert!(connected.ends_with('0') || connected.ends_with('?'), "{connected}");
    assert_eq!(subscriber.says_times(2, "subscribed"), "subscribed 1");
    let connected = publisher.says_times(2, "connected");
    assert!(connected.ends_with('0') || connected.ends_with('?'), "{connected}");
    assert!(publisher.ends().success());
    subscriber.until("the last", |lines| numbers(lines).contains(&LAST).then_some(()));
    let lines = subscriber.lines();
    let subscribed = lines.iter().rposition(|line| line.starts_with("subscribed")).expect("seen");
    let mut after = numbers(&lines[subscribed..]);
    let first = after[0];
    // What had no PUBACK is sent again, with numbers from before.
    after.sort_unstable();
    after.dedup();
    assert!(first < LAST / 2, "{first}");
    assert!(after.into_iter().filter(|&number| number >= first).eq(first..=LAST));
}

/// What a publisher is told who may not.
fn refusal(client: Client) -> String {
    match client.1 {
        // MQTT 3.1.1 has no word for no.
        V4 => "acked 1".to_owned(),
        V5 => format!("acked 1 reason={NOT_AUTHORIZED}"),
    }
}

fn permissions_hold(client: Client) {
    let server = server();
    let visitor = server.login("visitor");
    let inside = Driver::subscribe(client, &visitor, "inside", &["plant/hall/#"], &[]);
    assert_eq!(inside.says("subscribed"), "subscribed 1");

    let mut forbidden = Driver::publish(client, &visitor, "pub", "plant/hall/1", 1..=1, AT_ONCE);
    forbidden.ends();
    assert_eq!(forbidden.says("acked 1"), refusal(client));
    let plant = server.login("plant");
    assert!(
        Driver::publish(client, &plant, "pub2", "plant/hall/1", 2..=2, AT_ONCE).ends().success()
    );
    inside.until("a number", |lines| (!numbers(lines).is_empty()).then_some(()));
    assert_eq!(numbers(&inside.lines()), [2]);

    let wrong = server.new_password_file("wrong", "not the password at all");
    let mut refused =
        Driver::subscribe(client, &plant.with_password_file(wrong), "wrong", &["plant/#"], &[]);
    refused.ends();
    assert!(matches!(
        refused.says("refused").as_str(),
        "refused 4" | "refused 5" | "refused 134" | "refused 135"
    ));
}

#[test]
fn mqtt_explorer_shows_every_sensor_within_a_second_v4() {
    mqtt_explorer_shows_every_sensor_within_a_second((MqttJs, V4));
}

#[test]
fn mqtt_explorer_shows_every_sensor_within_a_second_v5() {
    mqtt_explorer_shows_every_sensor_within_a_second((MqttJs, V5));
}

/// MQTT Explorer is built on mqtt.js, and this is what it does first.
fn mqtt_explorer_shows_every_sensor_within_a_second(client: Client) {
    let server = Server::start(Kind::Site, &[]);
    let site = server.site();
    let inspector = Login {
        password_file: site.path("keys/inspector/password"),
        user: "inspector".to_owned(),
        ..server.login("inspector")
    };
    let look = |id| {
        let more = ["--qos", "0", "--clean"];
        let explorer = Driver::subscribe(client, &inspector, id, &["#", "$SYS/#"], &more);
        assert_eq!(explorer.says("subscribed"), "subscribed 0 0");
        let begun = Instant::now();
        explorer.until("both sensors and $SYS", |lines| {
            let topics: BTreeSet<String> =
                mqtt::client::messages(lines).into_iter().map(|message| message.topic).collect();
            let sensors =
                topics.iter().filter(|topic| topic.starts_with("vigia/v1/sensor/")).count();
            let sys = topics.iter().any(|topic| topic.starts_with("$SYS/"));
            (sensors == 2 && sys).then_some(())
        });
        begun.elapsed()
    };
    look("first");
    // Now that every sensor has sent something, whoever looks sees it.
    let took = look("second");
    assert!(took < Duration::from_secs(1), "{took:?}");

    // People look; they do not speak.
    let explorer = Driver::subscribe(client, &inspector, "third", &["vigia/v1/sensor/#"], &[]);
    explorer.says("subscribed");
    let topic = "vigia/v1/sensor/999";
    let mut forbidden = Driver::publish(client, &inspector, "forbidden", topic, 1..=1, AT_ONCE);
    forbidden.ends();
    assert_eq!(forbidden.says("acked 1"), refusal(client));
    // The same for a role, where it has no business.
    let alert = fs::read_to_string(site.path("keys/alert/secrets.toml")).expect("secrets");
    let alert: toml::Table = alert.parse().expect("TOML");
    let file = server.new_password_file("alert", alert["password"].as_str().expect("a password"));
    let alert = Login { password_file: file, ..server.login("alert") };
    for topic in ["vigia/v1/raw/node1", "vigia/v1/sensor/999"] {
        let mut forbidden = Driver::publish(client, &alert, "other", topic, 1..=1, AT_ONCE);
        forbidden.ends();
        assert_eq!(forbidden.says("acked 1"), refusal(client));
    }
    // What the demo's sensors publish comes after what was forbidden.
    let seen = explorer.messages().len();
    explorer.until("more", |lines| (mqtt::client::messages(lines).len() > seen + 2).then_some(()));
    assert!(explorer.messages().iter().all(|message| message.topic != "vigia/v1/sensor/999"));
}
