//! `vigia audit`: commands are noted, and who tampers with a log is seen.

#[allow(dead_code)]
mod support;

use std::fs;

use serde_json::Value;
use support::{TestSite, mode};

/// A site whose commands have left five lines.
fn site() -> TestSite {
    let site = TestSite::new();
    for arguments in [
        &["sensor", "add", "7"][..],
        &["sensor", "rotate", "7"],
        &["user", "add", "ana"],
        &["token", "add", "ana", "--scope", "read"],
        &["token", "revoke", "ana"],
    ] {
        site.vigia(arguments).succeeded();
    }
    site
}

/// What `verify` says after somebody has changed the lines of the log.
fn after(change: impl FnOnce(&mut Vec<String>)) -> (i32, String) {
    let site = site();
    let path = site.path("data/site/audit.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let ended = site.vigia(&["audit", "verify"]);
    (ended.code, ended.out)
}

#[test]
fn what_commands_change_is_noted() {
    let site = site();
    assert_eq!(mode(&site.path("data/site/audit.jsonl")), 0o600);
    let ended = site.vigia(&["audit", "show", "--json"]);
    let lines: Vec<Value> =
        ended.succeeded().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    let expected =
        ["sensor-added", "sensor-key-rotated", "user-added", "token-added", "token-revoked"];
    assert_eq!(events, expected);
    assert_eq!(lines[0]["log"], "site");
    assert_eq!(lines[1]["fields"]["epoch"], "2");
    assert_eq!(lines[3]["fields"]["scope"], "read");
    assert!(lines[3]["fields"]["uid"].is_string());
    assert!(site.vigia(&["audit", "show"]).succeeded().contains("token-added"));
    let verified = site.vigia(&["audit", "verify"]);
    assert!(verified.succeeded().contains("site: as it was written, 5 lines"), "{verified:?}");
}

#[test]
fn a_refused_command_is_not_noted_as_a_change() {
    let site = TestSite::new();
    site.vigia(&["token", "revoke", "nobody"]).refused_with(64);
    assert!(site.vigia(&["audit", "verify"]).succeeded().contains("No audit log"));
}

#[test]
fn tampering_is_named_with_file_and_line() {
    let changed = after(|lines| lines[2] = lines[2].replace("ana", "bob"));
    let removed = after(|lines| drop(lines.remove(2)));
    let reordered = after(|lines| lines.swap(2, 3));
    for ((code, out), what) in
        [(changed, "changed"), (removed, "removed"), (reordered, "reordered")]
    {
        assert_eq!(code, 1, "{out}");
        assert!(out.contains("audit.jsonl, line 3: ") && out.contains(what), "{out}");
    }
}
