//! `vigia user`: the life of an MQTT account.

#[allow(dead_code)]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use support::{TestSite, mode};
use vigia_kit::users::Users;

const PASSWORD: &str = "a longer passphrase";

fn listed(site: &TestSite) -> Vec<Value> {
    let ended = site.vigia(&["user", "list", "--json"]);
    serde_json::from_str(ended.succeeded()).unwrap()
}

fn users(site: &TestSite) -> Users {
    Users::load(&site.path("keys/broker/users.toml")).unwrap()
}

fn opens(site: &TestSite, name: &str, password: &str) -> bool {
    let users = users(site);
    let hash = users.get(name).and_then(|user| user.secret.as_ref());
    hash.is_some_and(|hash| hash.matches(password.as_bytes()))
}

/// A password file with this text and mode.
fn password_file(site: &TestSite, text: &str, mode: u32) -> String {
    let path = site.path("secret");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The password that a command made and showed.
fn shown(out: &str) -> &str {
    out.lines().find_map(|line| line.strip_prefix("Its password, shown this once: ")).unwrap()
}

#[test]
fn a_user_is_added_once_with_what_it_may_do() {
    let site = TestSite::new();
    let arguments = [
        "user",
        "add",
        "line-3",
        "--publish",
        "plant/line3/#",
        "--subscribe",
        "vigia/v1/sensor/+",
        "--subscribe",
        "$SYS/#",
        "--messages-per-second",
        "50",
    ];
    let added = site.vigia(&arguments);
    let password = shown(added.succeeded());
    assert_eq!(password.len(), 64);
    assert!(opens(&site, "line-3", password) && !opens(&site, "line-3", PASSWORD));
    assert_eq!(mode(&site.path("keys/broker/users.toml")), 0o600);
    let all = listed(&site);
    let user = all.iter().find(|user| user["name"] == "line-3").unwrap();
    let expected = json!({
        "name": "line-3",
        "password": "generated",
        "publish": ["plant/line3/#"],
        "subscribe": ["vigia/v1/sensor/+", "$SYS/#"],
        "messages_per_second": 50,
    });
    assert_eq!(*user, expected);
    assert_eq!(all.len(), 8, "the roles and the inspector are still there");
    assert!(site.vigia(&arguments).refused_with(64).contains("line-3 is there already"));
    assert!(opens(&site, "line-3", password));
}

#[test]
fn a_password_comes_from_a_private_file_and_is_long_enough() {
    let site = TestSite::new();
    let add = ["user", "add", "maria", "--password-file"];
    let with = |file: &str| site.vigia(&[&add[..], &[file]].concat());
    let long = "x".repeat(1025);
    for (text, mode, says) in [
        (PASSWORD, 0o644, "0644"),
        ("elevenchars\n", 0o600, "11 characters"),
        ("", 0o600, "0 characters"),
        (&long, 0o600, "1025 characters"),
        ("a longer passphrase\nand more", 0o600, "more than one line"),
    ] {
        let file = password_file(&site, text, mode);
        let ended = with(&file);
        let sentence = ended.refused_with(64);
        assert!(sentence.contains(&file) && sentence.contains(says), "{sentence}");
        assert!(users(&site).get("maria").is_none());
    }
    with("/nowhere/at/all").refused_with(64);
    let ended = with(&password_file(&site, &format!("{PASSWORD}\r\n"), 0o600));
    assert!(!ended.succeeded().contains(PASSWORD));
    assert!(opens(&site, "maria", PASSWORD));
    let text = fs::read_to_string(site.path("keys/broker/users.toml")).unwrap();
    assert!(text.contains("$argon2id$v=19$") && !text.contains(PASSWORD));
}

#[test]
fn an_account_can_be_for_a_certificate_only() {
    let site = TestSite::new();
    site.vigia(&["user", "add", "robot", "--certificate-only"]).succeeded();
    assert_eq!(users(&site).get("robot").unwrap().secret, None);
    let robot = listed(&site).into_iter().find(|user| user["name"] == "robot").unwrap();
    assert_eq!(robot["password"], "none");
    let file = password_file(&site, PASSWORD, 0o600);
    let both = ["user", "add", "b", "--certificate-only", "--password-file", &file];
    assert_eq!(site.vigia(&both).code, 64);
}

#[test]
fn a_new_password_replaces_the_old_one() {
    let site = TestSite::new();
    let added = site.vigia(&["user", "add", "maria", "--subscribe", "a/#"]);
    let first = shown(added.succeeded()).to_owned();
    let file = password_file(&site, PASSWORD, 0o600);
    site.vigia(&["user", "passwd", "maria", "--password-file", &file]).succeeded();
    assert!(opens(&site, "maria", PASSWORD) && !opens(&site, "maria", &first));
    let changed = site.vigia(&["user", "passwd", "maria"]);
    let third = shown(changed.succeeded());
    assert!(opens(&site, "maria", third) && third != first && !opens(&site, "maria", PASSWORD));
    assert_eq!(users(&site).get("maria").unwrap().subscribe.len(), 1);
}

#[test]
fn roles_stay_and_the_inspector_can_go() {
    let site = TestSite::new();
    let before = users(&site);
    for role in ["broker", "verify", "transform", "store", "alert", "modbus"] {
        for action in ["passwd", "remove"] {
            let ended = site.vigia(&["user", action, role]);
            assert!(ended.refused_with(64).contains(role), "{ended:?}");
        }
    }
    assert_eq!(users(&site), before);
    let written = site.path("keys/inspector/password");
    assert!(written.exists());
    site.vigia(&["user", "passwd", "inspector"]).succeeded();
    assert!(!written.exists(), "the old password is no password any more");
    site.vigia(&["user", "remove", "inspector"]).succeeded();
    assert!(users(&site).get("inspector").is_none());
}

#[test]
fn what_is_not_there_or_not_right_is_refused() {
    let site = TestSite::new();
    let before = users(&site);
    for action in ["passwd", "remove"] {
        assert!(site.vigia(&["user", action, "ghost"]).refused_with(64).contains("no user ghost"));
    }
    for (arguments, says) in [
        (&["add", "Maria"][..], "a-z"),
        (&["add", ""], "a-z"),
        (&["add", "m", "--publish", "a/#/b"], "last level"),
        (&["add", "m", "--subscribe", ""], "0 bytes"),
        (&["add", "m", "--messages-per-second", "0"], "zero"),
        (&["add", "m", "--messages-per-second", "-1"], "-1"),
        (&["add"], "NAME"),
        (&["passwd", "a/b"], "a-z"),
    ] {
        let ended = site.vigia(&[&["user"][..], arguments].concat());
        assert!(ended.code == 64 && ended.err.contains(says), "{arguments:?}: {ended:?}");
    }
    assert_eq!(users(&site), before);
    fs::write(site.path("keys/broker/users.toml"), "[maria]\nsecret = \"hunter2\"\n").unwrap();
    let ended = site.vigia(&["user", "list"]);
    let sentence = ended.refused_with(64);
    assert!(sentence.contains("users.toml, line 2, user \"maria\""), "{sentence}");
    assert!(!sentence.contains("hunter2"), "{sentence}");
}

#[test]
fn the_list_is_a_table_for_people_without_secrets() {
    let site = TestSite::new();
    let ended = site.vigia(&["user", "list"]);
    let lines: Vec<&str> = ended.succeeded().lines().collect();
    assert_eq!(lines.len(), 1 + 7);
    assert!(lines[0].starts_with("NAME"));
    let verify = lines.iter().find(|line| line.starts_with("verify ")).unwrap();
    for part in ["generated", "vigia/v1/verified/+", "vigia/v1/raw/+"] {
        assert!(verify.contains(part), "{verify}");
    }
    assert!(!ended.out.contains("blake3"));
}
