//! The folders are the architecture: which crate may use which, from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Direct dependencies of every workspace crate, without those of tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--locked", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let used = package["dependencies"].as_array().unwrap().iter();
            let used = used.filter(|dependency| dependency["kind"].as_str() != Some("dev"));
            (name(package), used.map(name).collect())
        })
        .collect()
}

/// The workspace crates that use `library` directly.
fn users_of(library: &str) -> BTreeSet<String> {
    let uses = dependencies().into_iter().filter(|(_, used)| used.contains(library));
    uses.map(|(user, _)| user).collect()
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

const SERVICES: [&str; 5] =
    ["vigia-verify", "vigia-transform", "vigia-store", "vigia-alert", "vigia-modbus"];

#[test]
fn no_service_depends_on_another_or_on_the_broker() {
    let all = dependencies();
    for service in SERVICES.iter().chain(&["vigia-broker"]) {
        let used = &all[*service];
        for other in SERVICES.iter().chain(&["vigia-broker"]) {
            assert!(!used.contains(*other), "{service} depends on {other}");
        }
    }
}

#[test]
fn the_protocol_touches_no_network_file_or_clock() {
    let used = &dependencies()["vigia-protocol"];
    for library in ["tokio", "rumqttc", "rumqttd", "redb", "rustix", "getrandom", "vigia-kit"] {
        assert!(!used.contains(library), "vigia-protocol uses {library}");
    }
}

#[test]
fn each_engine_has_its_one_place() {
    assert_eq!(users_of("rumqttd"), names(&["vigia-broker"]));
    assert_eq!(users_of("rumqttc"), names(&["vigia-kit"]));
    assert_eq!(users_of("tokio-rustls"), names(&["vigia-broker", "vigia-kit"]));
    assert_eq!(users_of("rcgen"), names(&["vigia"]));
    assert_eq!(users_of("redb"), names(&["vigia-disk"]));
    assert_eq!(
        users_of("vigia-disk"),
        names(&["vigia-alert", "vigia-broker", "vigia-modbus", "vigia-store"])
    );
    assert_eq!(users_of("poem-openapi"), names(&["vigia-store"]));
    assert_eq!(users_of("tokio-modbus"), names(&["vigia-modbus"]));
    assert_eq!(users_of("argon2"), names(&["vigia-kit"]));
}
