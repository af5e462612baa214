//! `vigia init`, and what the roles say about a site that is not as it should be.

#[allow(dead_code)]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::{TestSite, mode, vigia};
use vigia_kit::users::Users;

const ROLES: [&str; 6] = ["broker", "verify", "transform", "store", "alert", "modbus"];

fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn secrets_are_for_their_owner_only() {
    let site = TestSite::new();
    site.vigia(&["sensor", "add", "1"]).succeeded();
    let secrets = [files_below(&site.path("keys")), files_below(&site.path("devices"))].concat();
    // A file per role, the accounts, the inspector's password, the tokens, those of alert and Prometheus, Grafana's
    // password, two parts of the sensor's key, the key.
    assert_eq!(secrets.len(), ROLES.len() + 1 + 1 + 1 + 2 + 1 + 2 + 1);
    for file in secrets {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        assert_eq!(mode(file.parent().unwrap()), 0o700, "{}", file.display());
    }
    for dir in ["", "keys", "data", "devices"] {
        assert_eq!(mode(&site.path(dir)), 0o700, "{dir:?}");
    }
}

#[test]
fn every_secret_is_different_and_the_broker_knows_no_password_but_its_own() {
    let site = TestSite::new();
    let text =
        |role: &str| fs::read_to_string(site.path(&format!("keys/{role}/secrets.toml"))).unwrap();
    let password =
        |role: &str| text(role).lines().next().unwrap().split('"').nth(1).unwrap().to_owned();
    let mut passwords = ROLES.map(password).to_vec();
    passwords.sort();
    passwords.dedup();
    assert_eq!(passwords.len(), ROLES.len());
    let known = |file: &str| passwords.iter().filter(|password| file.contains(*password)).count();
    for role in ROLES {
        assert_eq!(known(&text(role)), 1, "{role}");
    }
    let accounts = fs::read_to_string(site.path("keys/broker/users.toml")).unwrap();
    assert_eq!(known(&accounts), 0);
}

#[test]
fn every_account_has_the_hash_of_its_password_and_its_topics() {
    let site = TestSite::new();
    let users = Users::load(&site.path("keys/broker/users.toml")).unwrap();
    let names: Vec<&str> = users.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["alert", "broker", "inspector", "modbus", "store", "transform", "verify"]);
    for role in ROLES {
        let text = fs::read_to_string(site.path(&format!("keys/{role}/secrets.toml"))).unwrap();
        let secrets: toml::Table = toml::from_str(&text).unwrap();
        let password = secrets["password"].as_str().unwrap();
        let user = users.get(role).unwrap();
        assert!(user.secret.as_ref().unwrap().matches(password.as_bytes()), "{role}");
        let status = format!("vigia/v1/status/{role}/node1");
        assert!(user.publish.iter().any(|filter| filter.matches(&status)), "{role}");
        assert!(user.subscribe.iter().any(|filter| filter.matches(&status)), "{role}");
    }
    let inspector = users.get("inspector").unwrap();
    let password = fs::read_to_string(site.path("keys/inspector/password")).unwrap();
    assert!(inspector.secret.as_ref().unwrap().matches(password.trim().as_bytes()));
    assert!(inspector.publish.is_empty());
    for (topic, shown) in [
        ("vigia/v1/sensor/7", true),
        ("vigia/v1/status/store/node1", true),
        ("$SYS/broker/clients", true),
        ("vigia/v1/raw/node1", false),
        ("vigia/v1/watchdog/node1", false),
    ] {
        let found = inspector.subscribe.iter().any(|filter| filter.matches(topic));
        assert_eq!(found, shown, "{topic}");
    }
}

#[test]
fn a_site_is_not_made_twice() {
    let site = TestSite::new();
    let before = fs::read(site.path("keys/broker/secrets.toml")).unwrap();
    let sentence = vigia(&["init", site.arg()]).refused_with(64).to_owned();
    assert!(sentence.contains("vigia.toml is there already"), "{sentence}");
    assert_eq!(fs::read(site.path("keys/broker/secrets.toml")).unwrap(), before);
}

#[test]
fn a_configuration_that_is_given_is_checked_and_taken_as_it_is() {
    let temporary = tempfile::tempdir().unwrap();
    let (given, dir) = (temporary.path().join("given.toml"), temporary.path().join("site"));
    let arguments = ["init", dir.to_str().unwrap(), "--config", given.to_str().unwrap()];
    assert!(vigia(&arguments).refused_with(64).contains("given.toml"));

    fs::write(&given, "# Hall 3\nnode = \"hall-3\"\n[store]\napi = 8080\n").unwrap();
    let ended = vigia(&arguments);
    let sentence = ended.refused_with(64);
    let parts = ["given.toml", "line 4", "api"];
    assert!(parts.iter().all(|part| sentence.contains(part)), "{sentence}");
    assert!(!dir.exists());

    let text = "# Hall 3\nnode = \"hall-3\"\n";
    fs::write(&given, text).unwrap();
    for other in [["--node", "a"], ["--ports", "auto"]] {
        assert_eq!(vigia(&[&arguments[..], &other].concat()).code, 64, "{other:?}");
    }
    vigia(&arguments).succeeded();
    assert_eq!(fs::read_to_string(dir.join("vigia.toml")).unwrap(), text);
}

#[test]
fn a_directory_with_other_things_in_it_keeps_its_mode() {
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("notes"), "").unwrap();
    fs::set_permissions(other.path(), fs::Permissions::from_mode(0o755)).unwrap();
    vigia(&["init", other.path().to_str().unwrap()]).succeeded();
    assert_eq!(mode(other.path()), 0o755);
    assert_eq!(mode(&other.path().join("keys")), 0o700);
}

#[test]
fn a_role_whose_secrets_others_can_read_does_not_start() {
    let site = TestSite::new();
    for role in ROLES {
        let file = site.path(&format!("keys/{role}/secrets.toml"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        for command in [role, "up"] {
            let ended = site.vigia(&[command]);
            let sentence = ended.refused_with(64);
            let parts = [file.to_str().unwrap(), "0640", "expected 0600"];
            assert!(parts.iter().all(|part| sentence.contains(part)), "{command}: {sentence}");
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn a_wrong_value_is_refused_naming_key_value_and_what_is_allowed() {
    let cases: [(&str, [&str; 3]); 13] = [
        ("node = \"Halle 3\"", ["node", "Halle 3", "a-z, 0-9 and -"]),
        ("node = \"a\"\n[broker]\nkeep_hours = 99999", ["keep_hours", "99999", "0 to 8760"]),
        ("node = \"a\"\n[broker]\njournal_mib = 1", ["journal_mib", "1", "16 to"]),
        ("node = \"a\"\n[broker]\nsensors = \"here\"", ["sensors", "here", "IP:PORT"]),
        ("node = \"a\"\n[store]\napi = 8080", ["api", "8080", "string"]),
        ("node = \"a\"\n[broker]\nspeed = 1", ["unknown", "speed", "expected one of"]),
        ("node = \"a\"\n[drills]\nunsynced = \"magic\"", ["unsynced", "magic", "kernel"]),
        (
            "node = \"a\"\n[[alert.limits]]\nname = \"hot\"\nquantity = \"temperature\"\nhigh = 1\nhysteresis = -1",
            ["hysteresis", "-1", "not below 0"],
        ),
        ("[broker]", ["node", "missing", "field"]),
        (
            "node = \"a\"\n[broker]\nmqtt = \"0.0.0.0:1883\"",
            ["broker.mqtt", "0.0.0.0:1883", "insecure = true in [broker]"],
        ),
        (
            "node = \"a\"\n[store]\napi = \"[::]:8080\"",
            ["store.api", "[::]:8080", "insecure = true in [store]"],
        ),
        ("node = \"a\"\n[mqtt]\ntls = true", ["mqtt.tls", "true", "broker.mqtt_tls"]),
        ("node = \"a\"\n[broker]\nmqtt_tls = \"here\"", ["mqtt_tls", "here", "IP:PORT"]),
    ];
    let site = TestSite::new();
    for (text, parts) in cases {
        fs::write(site.path("vigia.toml"), text).unwrap();
        for command in ["store", "up"] {
            let ended = site.vigia(&[command]);
            let sentence = ended.refused_with(64);
            let missing: Vec<_> = parts.iter().filter(|part| !sentence.contains(**part)).collect();
            assert!(missing.is_empty(), "{text:?}: {missing:?} is not in {sentence:?}");
        }
    }
}

#[test]
fn a_directory_that_is_no_site_and_wrong_arguments_are_usage_errors() {
    let empty = tempfile::tempdir().unwrap();
    let ended = vigia(&["store", "--site", empty.path().to_str().unwrap()]);
    assert!(ended.refused_with(64).contains("vigia init"), "{ended:?}");
    for arguments in
        [&["fly"][..], &["up", "--for", "soon"], &["up", "--rate", "0"], &["init"], &[]]
    {
        assert_eq!(vigia(arguments).code, 64, "{arguments:?}");
    }
    vigia(&["--help"]).succeeded();
    vigia(&["--version"]).succeeded();
}

#[test]
fn a_role_that_does_not_run_is_not_well() {
    let site = TestSite::new();
    for role in ROLES {
        let ended = site.vigia(&["health", role]);
        ended.refused_with(69);
    }
    assert_eq!(site.vigia(&["health", "inspector"]).code, 64);
}

#[test]
fn a_ledger_that_cannot_be_reached_is_no_answer() {
    let site = TestSite::new();
    let ended = site.vigia(&["ledger"]);
    assert!(ended.refused_with(69).contains("/api/v1/ledger"), "{ended:?}");
}
