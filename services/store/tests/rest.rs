//! The API over a bound port: every operation of the document answers, errors are problems, pages join.

mod common;

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{Frame, count, head, ingest, text};
use serde_json::Value;
use tokio::net::TcpListener;
use vigia_kit::audit::Audit;
use vigia_kit::clock::now;
use vigia_kit::names::Names;
use vigia_kit::shutdown::{Shutdown, Switch};
use vigia_protocol::batch::Count;
use vigia_store::Present;
use vigia_store::api::Shared;
use vigia_store::api::access::Access;
use vigia_store::health::Health;
use vigia_store::limits::LISTENERS;
use vigia_store::store::Store;

struct Served {
    base: String,
    client: reqwest::Client,
    store: Arc<Store>,
    had: Count,
    _directory: tempfile::TempDir,
    _switch: Switch,
}

/// Of sensor 7; 8 has no name.
const ENTRY: &str =
    "name = 'boiler'\nprofile = 'climate'\nepoch = 1\nadded = '2026-01-01T00:00:00Z'\n";
const LOG: u64 = 0x0123_4567_89ab_cdef;
const LOG_NAME: &str = "0123456789abcdef";

async fn served() -> Served {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = Store::open(&path, vigia_disk::Unsynced::Kernel, None, now()).unwrap();
    let mut before = Count::default();
    let batches = [
        vec![Frame::Readings { sensor: 7, stream: 1, seq: 1, count: 1_500, tint: 0 }],
        vec![
            Frame::Readings { sensor: 8, stream: 1, seq: 1, count: 3, tint: 0 },
            Frame::Gap { sensor: 8, stream: 1, seq: 4, count: 2 },
            Frame::Refused { sensor: 9, count: 2 },
        ],
        vec![
            Frame::Readings { sensor: 7, stream: 2, seq: 3, count: 4, tint: 0 },
            Frame::Refused { sensor: 9, count: 1 },
        ],
    ];
    for (n, frames) in batches.iter().enumerate() {
        let head = head(LOG, n as u64, before, count(frames));
        before = before.plus(head.has);
        ingest(&store, &[&text(&head, frames)], now());
    }
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (switch, shutdown) = Shutdown::new();
    let health = Arc::new(Health::default());
    let nobody = directory.path().join("tokens.toml");
    let audit = Arc::new(Audit::open(directory.path()).unwrap());
    let access = Access::open(&nobody, listener.local_addr().unwrap(), now, audit).unwrap();
    let store = Arc::new(store);
    fs::write(directory.path().join("7.toml"), ENTRY).unwrap();
    let names = Arc::new(Names::new(directory.path().to_owned()));
    let shared = Shared::new(store.clone(), health, Arc::new(Present::default()), names, shutdown);
    tokio::spawn(vigia_store::api::serve(listener, None, access, shared));
    Served {
        base,
        store,
        had: before,
        client: vigia_kit::api::client(None, None, Duration::from_secs(10)).unwrap(),
        _directory: directory,
        _switch: switch,
    }
}

impl Served {
    async fn get(&self, path: &str) -> (u16, String, String) {
        let response = self.client.get(format!("{}{path}", self.base)).send().await.unwrap();
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert!(response.headers().get("server").is_none());
        let status = response.status().as_u16();
        let content = response.headers().get("content-type").map(|value| value.to_str().unwrap());
        (status, content.unwrap_or_default().to_owned(), response.text().await.unwrap())
    }

    async fn json(&self, path: &str) -> Value {
        let (status, content, text) = self.get(&format!("/api/v1{path}")).await;
        assert_eq!(status, 200, "{path}: {text}");
        assert!(content.starts_with("application/json"), "{path}: {content}");
        serde_json::from_str(&text).unwrap()
    }

    async fn problem(&self, path: &str, expected: u16) -> String {
        let (status, content, text) = self.get(path).await;
        assert_eq!(
            (status, content.as_str()),
            (expected, "application/problem+json"),
            "{path}: {text}"
        );
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(problem["status"], expected);
        assert_eq!(problem["type"], "about:blank");
        assert!(problem["title"].is_string());
        problem["detail"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn sensors_and_readings_come_in_pages_that_join() {
    let served = served().await;
    let first = served.json("/sensors?limit=1").await;
    assert_eq!(first["sensors"][0]["id"], 7);
    assert_eq!(first["sensors"][0]["name"], "boiler");
    assert_eq!(first["sensors"][0]["stored"], 1_504);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = served.json(&format!("/sensors?limit=1&cursor={cursor}")).await;
    assert_eq!(second["sensors"][0]["id"], 8);
    assert!(second["sensors"][0].get("name").is_none());
    assert!(second.get("next_cursor").is_none());

    let sensor = served.json("/sensors/7").await;
    assert_eq!(sensor["name"], "boiler");
    assert_eq!(sensor["quantities"][0]["unit"], "°C");
    assert_eq!(sensor["streams"][1]["unexplained"], 2);
    let latest = served.json("/sensors/7/latest").await;
    assert_eq!((&latest["stream"], &latest["seq"]), (&2.into(), &6.into()));

    let mut places = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = served.json(&format!("/sensors/7/readings?limit=700{cursor}")).await;
        for reading in page["readings"].as_array().unwrap() {
            places.push((reading["stream"].as_u64().unwrap(), reading["seq"].as_u64().unwrap()));
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let expected: Vec<(u64, u64)> =
        (1..=1_500).map(|seq| (1, seq)).chain((3..=6).map(|seq| (2, seq))).collect();
    assert_eq!(places, expected);
    let none = served.json("/sensors/7/readings?to=2001-01-01T00:00:00Z").await;
    assert_eq!(none["readings"], serde_json::json!([]));
}

#[tokio::test]
async fn a_reading_says_what_is_not_good_about_it() {
    let served = served().await;
    let page = served.json("/sensors/7/readings?limit=200").await;
    let readings = page["readings"].as_array().unwrap();
    let bad = readings.iter().find(|reading| reading["quality"] == "bad").unwrap();
    assert_eq!(bad["values"]["pressure"], Value::Null);
    assert_eq!(bad["status"], serde_json::json!({"pressure": "BadSensorFailure"}));
    let good = &readings[0];
    let expected = common::reading(7, 1, 1, 0);
    assert_eq!(good["values"]["temperature"], expected.values[0]);
    assert_eq!(good["time"], expected.time.to_string());
    assert!(good.get("status").is_none());
    assert_eq!(good["flags"][0], "clock-synced");
    assert_eq!(good["skewed"], false);
}

#[tokio::test]
async fn series_quarantine_log_and_ledger_answer() {
    let served = served().await;
    let series = served
        .json("/sensors/7/series?from=2023-11-14T22:00:00Z&to=2023-11-15T00:00:00Z&step=1m")
        .await;
    let counts = series["series"].as_array().unwrap().iter();
    let total: u64 =
        counts.map(|bucket| bucket["values"]["humidity"]["count"].as_u64().unwrap()).sum();
    assert_eq!(total, 1_504);

    let newest = served.json("/quarantine?limit=1").await;
    assert_eq!(newest["entries"][0]["n"], 2);
    assert_eq!(newest["entries"][0]["bytes"], "01ff726177");
    assert_eq!(newest["entries"][0]["reason"], "bad-box");
    let cursor = newest["next_cursor"].as_str().unwrap();
    let number = &newest["entries"][0]["entry"];
    let one = served.json(&format!("/quarantine/{number}")).await;
    assert_eq!(one, newest["entries"][0]);
    let older = served.json(&format!("/quarantine?limit=1&cursor={cursor}")).await;
    assert_eq!(older["entries"][0]["n"], 1);
    assert!(older.get("next_cursor").is_none());

    let logs = served.json("/log").await;
    assert_eq!((&logs["logs"][0]["log"], &logs["logs"][0]["end"]), (&LOG_NAME.into(), &3.into()));
    let log = served.json(&format!("/log?log={LOG_NAME}&after=0&limit=1")).await;
    assert_eq!(log["discarded"], false);
    assert_eq!(log["batches"].as_array().unwrap().len(), 1);
    assert_eq!(log["batches"][0]["n"], 1);
    assert_eq!(log["batches"][0]["readings"][2]["seq"], 3);

    let ledger = served.json("/ledger").await;
    assert_eq!(ledger["verdict"], "unknown");
    assert_eq!(ledger["readings"]["stored"], 1_507);
    assert_eq!(ledger["readings"]["quarantined"], 3);
    assert_eq!(ledger["frames"]["stored"], 4);
    assert_eq!(ledger["gaps"]["declared"], 2);
    assert_eq!(ledger["gaps"]["unexplained"], 2);
}

#[tokio::test]
async fn the_newest_reading_of_every_sensor_comes_with_its_quantities() {
    let served = served().await;
    let page = served.json("/readings/latest?limit=1").await;
    let one = &page["readings"][0];
    assert_eq!((&one["sensor"], &one["stream"], &one["seq"]), (&7.into(), &2.into(), &6.into()));
    assert_eq!(page["profiles"]["climate"][0]["unit"], "°C");
    let mut latest = served.json("/sensors/7/latest").await;
    latest["sensor"] = 7.into();
    latest["name"] = "boiler".into();
    latest["profile"] = "climate".into();
    assert_eq!(*one, latest);
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = served.json(&format!("/readings/latest?cursor={cursor}")).await;
    assert_eq!(next["readings"].as_array().unwrap().len(), 1);
    assert_eq!(next["readings"][0]["sensor"], 8);
    assert!(next.get("next_cursor").is_none());
    // From the disk as from memory.
    served.store.checkpoint(now()).unwrap();
    assert_eq!(served.json("/readings/latest?limit=1").await, page);
}

#[tokio::test]
async fn gaps_have_a_reason_and_two_ends() {
    let served = served().await;
    let first = served.json("/gaps?limit=1").await;
    let gap = |page: &Value| {
        let gap = &page["gaps"][0];
        let number = |name: &str| gap[name].as_i64().unwrap();
        (number("sensor"), number("first_seq"), number("last_seq"), gap["kind"].clone())
    };
    assert_eq!(gap(&first), (7, 1, 2, "unexplained".into()));
    // It is at the beginning of a stream, and readings follow; of the other it is the other way round.
    assert!(first["gaps"][0].get("after").is_none() && first["gaps"][0]["before"].is_string());
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = served.json(&format!("/gaps?limit=1&cursor={cursor}")).await;
    assert_eq!(gap(&second), (8, 4, 5, "declared".into()));
    assert!(second["gaps"][0]["after"].is_string() && second["gaps"][0].get("before").is_none());
    assert!(second.get("next_cursor").is_none());
    assert_eq!(served.json("/gaps?sensor=8").await, second);
}

#[tokio::test]
async fn readings_are_csv_for_who_wants_that() {
    let served = served().await;
    let csv = |accept: &'static str, query: &'static str| {
        let url = format!("{}/api/v1/sensors/7/readings{query}", served.base);
        let request = served.client.get(url).header("accept", accept).send();
        async move {
            let answer = request.await.unwrap();
            let content = answer.headers()["content-type"].to_str().unwrap().to_owned();
            (content, answer.text().await.unwrap())
        }
    };
    let (content, text) = csv("text/csv, application/json;q=0.5", "").await;
    assert_eq!(content, "text/csv");
    let lines: Vec<&str> = text.split_terminator("\r\n").collect();
    let head = "sensor,stream,seq,time,received,quality,flags,temperature,pressure,humidity";
    assert_eq!((lines[0], lines.len()), (head, 1_505));
    let readings = served.json("/sensors/7/readings?limit=1").await;
    let (reading, values) = (&readings["readings"][0], &readings["readings"][0]["values"]);
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let expected = [
        "7,1,1".to_owned(),
        word(&reading["time"]),
        word(&reading["received"]),
        "good,clock-synced".to_owned(),
        ["temperature", "pressure", "humidity"]
            .map(|name| values[name].as_f64().unwrap().to_string())
            .join(","),
    ];
    assert_eq!(lines[1], expected.join(","));
    assert!(lines[1504].starts_with("7,2,6,"));
    // What is no number is nothing.
    assert!(lines.iter().any(|line| line.contains(",bad,") && line.contains(",,")));
    let (_, none) = csv("text/csv", "?to=2001-01-01T00:00:00Z").await;
    assert_eq!(none, format!("{head}\r\n"));
    assert_eq!(csv("*/*, text/csv", "?limit=1").await.0, "application/json; charset=utf-8");
}

#[tokio::test]
async fn a_stream_has_what_is_stored_and_goes_on_where_it_was_left() {
    let served = served().await;
    let listen = |query: &str, last: Option<&str>| {
        let url = format!("{}/api/v1/readings/stream{query}", served.base);
        let mut request = served.client.get(url);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        async move { Events { answer: request.send().await.unwrap(), text: String::new() } }
    };
    let mut all = listen("", None).await;
    let mut eighth = listen("?sensors=8,9", None).await;
    let begun = all.next().await;
    assert_eq!(begun["readings"], serde_json::json!([]));
    assert_eq!(eighth.next().await["id"], begun["id"]);
    let store = |n: u64, before: Count, sensor: i16, seq: u64| {
        let frames = vec![Frame::Readings { sensor, stream: 2, seq, count: 2, tint: 0 }];
        let head = head(LOG, n, before, count(&frames));
        ingest(&served.store, &[&text(&head, &frames)], now());
        before.plus(head.has)
    };
    let had = store(3, served.had, 7, 7);
    let event = all.next().await;
    let places = |event: &Value| -> Vec<(i64, u64)> {
        let place = |one: &Value| (one["sensor"].as_i64().unwrap(), one["seq"].as_u64().unwrap());
        event["readings"].as_array().unwrap().iter().map(place).collect()
    };
    assert_eq!((places(&event), &event["discarded"]), (vec![(7, 7), (7, 8)], &false.into()));
    drop(all);
    let had = store(4, had, 8, 7);
    store(5, had, 7, 9);
    assert_eq!(places(&eighth.next().await), [(8, 7), (8, 8)]);
    let mut again = listen("", event["id"].as_str()).await;
    assert_eq!(places(&again.next().await), [(8, 7), (8, 8), (7, 9), (7, 10)]);
    // Of another store's log nothing is known.
    let mut stranger = listen("", Some("0000000000000001-2")).await;
    assert_eq!(stranger.next().await["discarded"], true);
    let url = format!("{}/api/v1/readings/stream", served.base);
    let refused = served.client.get(url).header("last-event-id", "x").send().await.unwrap();
    assert_eq!(refused.status(), 400);
}

#[tokio::test]
async fn so_many_listen_and_who_goes_makes_room() {
    let served = served().await;
    let url = format!("{}/api/v1/readings/stream", served.base);
    let listen = async || served.client.get(&url).send().await.unwrap();
    let mut listeners = Vec::new();
    for _ in 0..LISTENERS {
        let answer = listen().await;
        assert_eq!(answer.status(), 200);
        listeners.push(answer);
    }
    let refused = listen().await;
    assert_eq!(refused.status(), 503);
    let problem: Value = refused.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains(&LISTENERS.to_string()));
    listeners.pop();
    let again = async {
        while listen().await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), again).await.expect("a place is free again");
}

struct Events {
    answer: reqwest::Response,
    text: String,
}

impl Events {
    async fn next(&mut self) -> Value {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let found = data.map(|data| serde_json::from_str(data).unwrap());
                assert!(found.is_none() || event.lines().any(|line| line == "event: readings"));
                self.text = rest.to_owned();
                if let Some(found) = found {
                    return found;
                }
                continue;
            }
            let chunk = self.answer.chunk().await.unwrap().expect("the stream has no end");
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test]
async fn every_error_is_a_problem_that_names_what_was_wrong() {
    let served = served().await;
    let detail = served.problem("/api/v1/sensors/7/readings?from=yesterday", 400).await;
    assert!(
        detail.contains("`from`") && detail.contains("yesterday") && detail.contains("RFC 3339")
    );
    for path in [
        "/api/v1/sensors/7/readings?limit=0",
        "/api/v1/sensors/7/readings?limit=10001",
        "/api/v1/sensors/7/readings?cursor=zz",
        "/api/v1/sensors/seven",
        "/api/v1/sensors/70000",
        "/api/v1/sensors?cursor=x",
        "/api/v1/sensors/7/series",
        "/api/v1/sensors/7/series?from=2023-11-14T22:00:00Z&to=2023-11-14T21:00:00Z&step=1s",
        "/api/v1/sensors/7/series?from=2023-11-14T22:00:00Z&to=2023-11-14T23:00:00Z&step=fast",
        "/api/v1/sensors/7/series?from=2003-11-14T22:00:00Z&to=2023-11-14T23:00:00Z&step=1s",
        "/api/v1/quarantine?cursor=x",
        "/api/v1/log?log=12",
        "/api/v1/gaps?cursor=7.1",
        "/api/v1/readings/stream?sensors=1,x",
    ] {
        served.problem(path, 400).await;
    }
    for path in [
        "/nowhere",
        "/api/v1/nowhere",
        "/api/v1/sensors/99",
        "/api/v1/sensors/99/latest",
        "/api/v1/sensors/99/readings",
        "/api/v1/log?log=ffffffffffffffff",
        "/api/v1/gaps?sensor=99",
        "/api/v1/quarantine/4",
    ] {
        served.problem(path, 404).await;
    }
    served.problem("/api/v1/health/ready", 503).await;
    let posted = served.client.post(format!("{}/api/v1/ledger", served.base)).send().await.unwrap();
    assert_eq!(posted.status(), 405);
    assert_eq!(posted.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn every_operation_of_the_document_answers_as_it_says() {
    let served = served().await;
    let (status, _, text) = served.get("/openapi.json").await;
    assert_eq!(status, 200);
    let document: Value = serde_json::from_str(&text).unwrap();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 10);
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().unwrap() {
            if method == "post" {
                // What Prometheus asks has a test of its own.
                assert_eq!(path, "/prometheus/read");
                continue;
            }
            assert_eq!(method, "get");
            let mut path = path.replace("{id}", "7").replace("{entry}", "0");
            if path.ends_with("/series") {
                path += "?from=2023-11-14T22:00:00Z&to=2023-11-15T00:00:00Z&step=1h";
            }
            if path.ends_with("/stream") {
                // It has no end: see the test about it.
                continue;
            }
            let (status, content, _) = served.get(&format!("/api/v1{path}")).await;
            let declared = &operation["responses"][status.to_string()]["content"];
            let declared = declared.as_object().unwrap_or_else(|| panic!("{path}: {status}"));
            assert!(declared.contains_key(&content), "{path}: {status} {content}");
        }
    }
    for page in ["/", "/docs", "/openapi.yaml"] {
        assert_eq!(served.get(page).await.0, 200);
    }
}

#[test]
fn the_document_that_is_checked_in_is_the_one_that_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../openapi/vigia.yaml");
    let document = vigia_store::openapi_yaml();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &document).unwrap();
    }
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(checked_in, document, "UPDATE=1 cargo test -p vigia-store rewrites it");
}
