//! `vigia doctor`: what it says about a site that is well, and about each fault.

#[allow(dead_code)]
mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use rcgen::{CertificateParams, Issuer, KeyPair, date_time_ymd};
use serde_json::Value;
use support::{TestSite, command, eventually, vigia};

/// The whole site, supervised.
struct Up(Child);

impl Up {
    fn start(site: &TestSite) -> Self {
        let mut command = command(&["up", "--site", site.arg()]);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What was found, with the exit code that goes with it.
#[track_caller]
fn look(site: &TestSite) -> Value {
    let ended = site.vigia(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&ended.out).expect("one JSON object");
    assert_eq!(ended.code == 0, report["verdict"] != "fail", "{ended:?}");
    assert!(ended.code <= 1 && ended.err.is_empty(), "{ended:?}");
    for check in report["checks"].as_array().unwrap() {
        assert_eq!(check["verdict"] == "ok", check["todo"].is_null(), "{check}");
    }
    report
}

/// The checks with this verdict, as "name: what was found; what to do".
fn with(report: &Value, verdict: &str) -> Vec<String> {
    let checks = report["checks"].as_array().unwrap().iter();
    let text = |check: &Value| {
        let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
        format!("{}: {}; {}", text("check"), text("found"), text("todo"))
    };
    checks.filter(|check| check["verdict"] == verdict).map(text).collect()
}

/// Exactly one thing fails: this one, with these words.
#[track_caller]
fn fails_with(site: &TestSite, check: &str, words: &[&str]) {
    let report = look(site);
    let [failed] = &with(&report, "fail")[..] else { panic!("{check}: {report:#}") };
    assert!(failed.starts_with(&format!("{check}: ")), "{failed}");
    let missing: Vec<_> = words.iter().filter(|word| !failed.contains(**word)).collect();
    assert!(missing.is_empty(), "{missing:?} is not in {failed}");
}

#[test]
fn a_new_site_is_well_and_told_how_to_run() {
    for options in [&[][..], &["--tls"]] {
        let site = TestSite::with(options);
        let report = look(&site);
        assert!(with(&report, "fail").is_empty(), "{report:#}");
        let warned = with(&report, "warn");
        assert!(warned.iter().any(|line| line.contains("vigia up")), "{warned:?}");
        let free = with(&report, "ok").into_iter().filter(|line| line.contains("is free"));
        assert_eq!(free.count(), if options.is_empty() { 4 } else { 5 });
    }
}

#[test]
fn a_running_site_is_well_by_round_trips() {
    let site = TestSite::with(&["--tls"]);
    let _up = Up::start(&site);
    let report = eventually("all is well", || {
        let report = look(&site);
        let well = with(&report, "ok");
        let has = |word: &str| well.iter().any(|line| line.starts_with(word));
        let roles = ["broker", "verify", "transform", "store", "alert"];
        let roles = roles.iter().all(|role| has(&format!("role {role}: well (process ")));
        (roles && has("ledger: balanced") && has("journal of node1")).then_some(report)
    });
    assert!(with(&report, "fail").is_empty(), "{report:#}");
    let well = with(&report, "ok");
    let held = well.iter().filter(|line| line.contains(", held by ")).count();
    assert_eq!(held, 5, "{well:#?}");
    for part in ["sensors' port", "clocks", "audit logs", "certificate of store"] {
        assert!(well.iter().any(|line| line.starts_with(part)), "{part}: {well:#?}");
    }
}

#[test]
fn a_configuration_that_cannot_be_used_is_all_that_is_said() {
    let site = TestSite::new();
    fs::write(site.path("vigia.toml"), "node = \"Halle 3\"\n").unwrap();
    fails_with(&site, "configuration", &["Halle 3", "vigia.toml", "mend it"]);
    let empty = tempfile::tempdir().unwrap();
    let ended = vigia(&["doctor", "--site", empty.path().to_str().unwrap()]);
    assert_eq!(ended.code, 1);
    assert!(ended.out.starts_with("fail  configuration"), "{ended:?}");
}

#[test]
fn secrets_that_others_can_read_or_that_are_gone_are_named() {
    let site = TestSite::new();
    let file = site.path("keys/verify/secrets.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    fails_with(&site, "secrets", &[file.to_str().unwrap(), "chmod 600"]);
    fs::remove_file(&file).unwrap();
    fails_with(&site, "secrets of verify", &["secrets.toml", "does not start"]);
    // A role that is elsewhere is no fault.
    fs::remove_dir_all(site.path("keys/verify")).unwrap();
    let report = look(&site);
    assert!(with(&report, "fail").is_empty(), "{report:#}");
    assert!(with(&report, "warn").iter().any(|line| line.starts_with("secrets of verify")));
    fs::write(site.path("keys/alert/api.token"), "no token").unwrap();
    fails_with(&site, "secrets of alert", &["holds no token"]);
}

#[test]
fn a_port_that_somebody_else_has_is_named() {
    let site = TestSite::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = fs::read_to_string(site.path("vigia.toml")).unwrap();
    let lines = text.lines().map(|line| match line.starts_with("sensors = ") {
        true => format!("sensors = \"{address}\"\n"),
        false => format!("{line}\n"),
    });
    fs::write(site.path("vigia.toml"), lines.collect::<String>()).unwrap();
    let port = format!("sport = :{}", address.port());
    fails_with(&site, "port sensors", &[&address.to_string(), "taken", &port]);
    drop(taken);
    assert!(with(&look(&site), "fail").is_empty());
    // 192.0.2.0/24 is for documents: no machine has it.
    let foreign = text.replace("[broker]", "[broker]\nsensors = \"192.0.2.7:7700\"");
    let foreign: String = foreign
        .lines()
        .filter(|line| !line.starts_with("sensors = \"127"))
        .fold(String::new(), |text, line| text + line + "\n");
    fs::write(site.path("vigia.toml"), foreign).unwrap();
    fails_with(&site, "port sensors", &["192.0.2.7", "no address of this machine"]);
}

/// Puts a certificate of the site's authority in the place of this role's, good until that year.
fn certify(site: &TestSite, authority: &TestSite, role: &str, until: i32) {
    let read = |file: &str| fs::read_to_string(authority.path(file)).unwrap();
    let key = KeyPair::from_pem(&read("keys/ca/ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("tls/ca.pem"), key).unwrap();
    let mut params = CertificateParams::new([role.to_owned()]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let own = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&own, &issuer).unwrap();
    fs::write(site.path(&format!("keys/{role}/tls.pem")), certificate.pem()).unwrap();
    fs::write(site.path(&format!("keys/{role}/tls.key")), own.serialize_pem()).unwrap();
}

#[test]
fn a_certificate_that_has_ended_or_that_nobody_believes_is_named_with_its_cure() {
    let site = TestSite::with(&["--tls"]);
    certify(&site, &site, "store", 2099);
    assert!(with(&look(&site), "fail").is_empty());
    certify(&site, &site, "store", 2021);
    fails_with(
        &site,
        "certificate of store",
        &["ended at 2021-01-01", "vigia cert renew --role store"],
    );
    certify(&site, &TestSite::with(&["--tls"]), "store", 2099);
    fails_with(&site, "certificate of store", &["does not vouch", "vigia cert renew --role store"]);
    // A key that is another certificate's.
    fs::copy(site.path("keys/verify/tls.pem"), site.path("keys/store/tls.pem")).unwrap();
    fails_with(&site, "certificate of store", &["tls.pem"]);
    site.vigia(&["cert", "renew", "--role", "store", "--host", "localhost"]).succeeded();
    assert!(with(&look(&site), "fail").is_empty());
}

#[test]
fn a_full_disk_and_an_audit_log_that_was_changed_are_named() {
    let site = TestSite::new();
    let text = fs::read_to_string(site.path("vigia.toml")).unwrap();
    // More than any disk has.
    let full = text.replace("#disk_reserve_mib = 256", "disk_reserve_mib = 999999999999");
    fs::write(site.path("vigia.toml"), &full).unwrap();
    let report = look(&site);
    let failed = with(&report, "fail");
    assert_eq!(failed.len(), 2, "{report:#}");
    assert!(failed.iter().all(|line| line.starts_with("disk of ") && line.contains("make room")));
    fs::write(site.path("vigia.toml"), &text).unwrap();

    site.vigia(&["sensor", "add", "1"]).succeeded();
    site.vigia(&["sensor", "revoke", "1"]).succeeded();
    assert!(with(&look(&site), "fail").is_empty());
    let log = eventually("an audit log", || {
        let data = fs::read_dir(site.path("data")).ok()?.flatten();
        data.map(|entry| entry.path().join("audit.jsonl")).find(|path| path.exists())
    });
    let lines = fs::read_to_string(&log).unwrap();
    fs::write(&log, lines.replacen("sensor", "cancer", 1)).unwrap();
    fails_with(&site, "audit logs", &["line 1", "vigia audit show"]);
}

/// The command at a terminal, where `script` plays one.
fn at_a_terminal(site: &TestSite, colours: &[(&str, &str)]) -> String {
    let vigia = format!("{} doctor --site {}", env!("CARGO_BIN_EXE_vigia"), site.arg());
    let mut script = Command::new("script");
    script.args(["--quiet", "--command", &vigia, "/dev/null"]).stdin(Stdio::null());
    script.env_remove("NO_COLOR").env("TERM", "xterm").envs(colours.iter().copied());
    String::from_utf8(script.output().expect("script is installed").stdout).unwrap()
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let site = TestSite::new();
    let green = "\x1b[32mok  \x1b[0m  configuration";
    assert!(at_a_terminal(&site, &[]).contains(green));
    assert!(at_a_terminal(&site, &[("NO_COLOR", "")]).contains(green));
    for unwanted in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let said = at_a_terminal(&site, &[unwanted]);
        assert!(said.contains("ok    configuration") && !said.contains("\x1b[3"), "{said:?}");
    }
    let piped = site.vigia(&["doctor"]);
    assert!(!piped.succeeded().contains('\x1b'), "{piped:?}");
}
