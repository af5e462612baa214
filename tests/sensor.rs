//! `vigia sensor`: the life of a sensor's key.

#[allow(dead_code)]
mod support;

use std::fs;

use serde_json::{Value, json};
use support::TestSite;

fn listed(site: &TestSite) -> Vec<Value> {
    let ended = site.vigia(&["sensor", "list", "--json"]);
    serde_json::from_str(ended.succeeded()).unwrap()
}

#[test]
fn a_sensor_is_added_once() {
    let site = TestSite::new();
    let ended = site.vigia(&["sensor", "add", "7", "--name", "boiler"]);
    let key = site.path("devices/7.key");
    let said = ended.succeeded();
    assert!(said.contains(key.to_str().unwrap()) && said.contains("delete it here"), "{said}");
    let before = fs::read_to_string(&key).unwrap();

    let again = site.vigia(&["sensor", "add", "7"]);
    assert!(again.refused_with(64).contains("rotate 7"), "{again:?}");
    assert_eq!(fs::read_to_string(&key).unwrap(), before);

    let [sensor] = listed(&site).try_into().unwrap();
    assert_eq!(sensor["id"], 7);
    assert_eq!(sensor["name"], "boiler");
    assert_eq!(sensor["profile"], "climate");
    assert_eq!(sensor["epoch"], 1);
    assert_eq!(sensor["revoked"], false);
    assert_eq!(sensor["key_file"], json!(key));
}

#[test]
fn a_name_can_be_changed_and_nothing_else_changes_with_it() {
    let site = TestSite::new();
    site.vigia(&["sensor", "add", "7", "--name", "boiler"]).succeeded();
    let [mut sensor] = listed(&site).try_into().unwrap();
    site.vigia(&["sensor", "rename", "7", "Kessel 2 – Süd"]).succeeded();
    sensor["name"] = "Kessel 2 – Süd".into();
    assert_eq!(listed(&site), [sensor.clone()]);

    let long = "x".repeat(65);
    for (name, expected) in [(long.as_str(), "at most 64"), ("two\nlines", "can be printed")] {
        let refused = site.vigia(&["sensor", "rename", "7", name]);
        assert!(refused.code == 64 && refused.err.contains(expected), "{refused:?}");
        assert_eq!(site.vigia(&["sensor", "add", "8", "--name", name]).code, 64);
    }
    site.vigia(&["sensor", "rename", "9", "none"]).refused_with(64);
    assert_eq!(listed(&site), [sensor]);
}

#[test]
fn rotation_makes_a_new_key_and_keeps_the_old_parts_for_frames_under_way() {
    let site = TestSite::new();
    site.vigia(&["sensor", "add", "-3", "--name", "cellar"]).succeeded();
    let key = site.path("devices/-3.key");
    let before = fs::read_to_string(&key).unwrap();
    site.vigia(&["sensor", "rotate", "-3"]).succeeded();
    assert_ne!(fs::read_to_string(&key).unwrap(), before);
    for (role, epoch) in [("broker", 1), ("broker", 2), ("verify", 1), ("verify", 2)] {
        assert!(site.path(&format!("keys/{role}/sensors/-3.{epoch}.key")).exists());
    }
    let [sensor] = listed(&site).try_into().unwrap();
    assert_eq!((&sensor["epoch"], &sensor["name"]), (&json!(2), &json!("cellar")));
}

#[test]
fn a_revoked_sensor_is_readmitted_by_a_new_key_only() {
    let site = TestSite::new();
    site.vigia(&["sensor", "add", "1"]).succeeded();
    site.vigia(&["sensor", "revoke", "1"]).succeeded();
    assert_eq!(listed(&site)[0]["revoked"], true);
    site.vigia(&["sensor", "add", "1"]).refused_with(64);
    assert_eq!(listed(&site)[0]["revoked"], true);
    site.vigia(&["sensor", "rotate", "1"]).succeeded();
    assert_eq!(listed(&site)[0]["revoked"], false);
}

#[test]
fn what_is_not_there_is_refused() {
    let site = TestSite::new();
    for arguments in [&["sensor", "rotate", "9"][..], &["sensor", "revoke", "9"]] {
        assert!(site.vigia(arguments).refused_with(64).contains("no sensor 9"));
    }
    let ended = site.vigia(&["sensor", "add", "1", "--profile", "wind"]);
    let sentence = ended.refused_with(64);
    assert!(sentence.contains("wind") && sentence.contains("climate"), "{sentence}");
    assert_eq!(site.vigia(&["sensor", "add", "40000"]).code, 64);
    assert!(listed(&site).is_empty());
}

#[test]
fn the_list_is_a_table_for_people() {
    let site = TestSite::new();
    site.vigia(&["sensor", "add", "2", "--name", "hall"]).succeeded();
    site.vigia(&["sensor", "add", "1"]).succeeded();
    site.vigia(&["sensor", "revoke", "1"]).succeeded();
    fs::remove_file(site.path("devices/2.key")).unwrap();
    let ended = site.vigia(&["sensor", "list"]);
    let lines: Vec<&str> = ended.succeeded().lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("ID"));
    assert!(
        lines[1].starts_with("1 ") && lines[1].contains("revoked") && lines[1].contains("1.key")
    );
    assert!(lines[2].starts_with("2 ") && lines[2].contains("hall") && !lines[2].contains("2.key"));
}
