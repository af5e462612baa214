//! `vigia init --tls` and `vigia cert`: the life of a site's certificates.

#[allow(dead_code)]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use support::{TestSite, mode, vigia};
use tokio::net::TcpListener;
use vigia_broker::gate::tls::{Tls, peer_name};
use vigia_kit::config::Config;
use vigia_kit::site::Site;
use vigia_kit::tls::Files;

const IDENTITIES: [&str; 7] =
    ["broker", "verify", "transform", "store", "alert", "modbus", "inspector"];
const SERVERS: [&str; 2] = ["broker", "store"];
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

fn openssl(arguments: &[&str]) -> Output {
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::null()).output().expect("openssl is installed")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// OpenSSL's opinion of a certificate that is to be used in this way.
fn is_good_for(site: &TestSite, certificate: &Path, purpose: &str) -> bool {
    let ca = site.path("tls/ca.pem");
    let arguments = ["verify", "-x509_strict", "-purpose", purpose, "-CAfile", text(&ca)];
    openssl(&[&arguments[..], &[text(certificate)]].concat()).status.success()
}

/// All certificates by name, as `list` shows them.
fn listed(site: &TestSite) -> BTreeMap<String, Value> {
    let ended = site.vigia(&["cert", "list", "--json"]);
    let all: Vec<Value> = serde_json::from_str(ended.succeeded()).unwrap();
    all.into_iter().map(|shown| (shown["name"].as_str().unwrap().to_owned(), shown)).collect()
}

/// The certificates and keys of all identities as they are.
fn files(site: &TestSite) -> BTreeMap<&'static str, [String; 2]> {
    let read = |name: &str, file: &str| {
        fs::read_to_string(site.path(&format!("keys/{name}/{file}"))).unwrap()
    };
    IDENTITIES.map(|name| (name, ["tls.pem", "tls.key"].map(|file| read(name, file)))).into()
}

#[test]
fn a_site_with_tls_has_certificates_for_all_and_uses_them() {
    let site = TestSite::with(&["--tls", "--host", "plant.example", "--host", "192.0.2.7"]);
    for secret in IDENTITIES
        .map(|name| format!("keys/{name}/tls.key"))
        .iter()
        .chain(&["keys/ca/ca.key".to_owned()])
    {
        let path = site.path(secret);
        assert_eq!(mode(&path), 0o600, "{secret}");
        assert_eq!(mode(path.parent().unwrap()), 0o700, "{secret}");
    }
    assert_eq!(mode(&site.path("tls/ca.pem")), 0o644);
    for name in IDENTITIES {
        let path = site.path(&format!("keys/{name}/tls.pem"));
        assert!(is_good_for(&site, &path, "sslclient"), "{name}");
        assert_eq!(is_good_for(&site, &path, "sslserver"), SERVERS.contains(&name), "{name}");
        Files::of(&site.path(""), name).client().expect("a key that is the certificate's");
    }
    let config = Config::load(&site.path("vigia.toml")).unwrap();
    assert!(config.mqtt.tls);
    assert_eq!(config.bus_address(), config.broker.mqtt_tls.unwrap().to_string());
}

#[test]
fn list_shows_whose_until_when_and_for_which_names() {
    let site = TestSite::with(&["--tls", "--host", "plant.example"]);
    let listed = listed(&site);
    assert_eq!(listed.len(), IDENTITIES.len() + 1);
    assert_eq!(listed["ca"]["days_left"], 3651);
    assert_eq!(listed["ca"]["sans"], json!([]));
    for name in IDENTITIES {
        let shown = &listed[name];
        assert_eq!(shown["days_left"], 397, "{shown}");
        assert!(shown["not_after"].as_str().unwrap().ends_with('Z'), "{shown}");
        let hosts = [&LOCAL[..], &["plant.example"]].concat();
        let more = if SERVERS.contains(&name) { hosts } else { vec![] };
        assert_eq!(shown["sans"], json!([&[name], &more[..]].concat()));
    }
    let ended = site.vigia(&["cert", "list"]);
    let lines: Vec<&str> = ended.succeeded().lines().collect();
    assert_eq!(lines.len(), IDENTITIES.len() + 2);
    assert!(lines[2].starts_with("broker") && lines[2].ends_with("::1, plant.example"));
}

#[test]
fn renewing_keeps_the_hosts_unless_others_are_given() {
    let site = TestSite::with(&["--tls", "--host", "plant.example"]);
    let (before, names_before) = (files(&site), listed(&site));
    let ended = site.vigia(&["cert", "renew"]);
    assert!(ended.succeeded().contains("broker, verify"), "{ended:?}");
    let after = files(&site);
    for name in IDENTITIES {
        assert!((0..2).all(|file| before[name][file] != after[name][file]), "{name}");
        assert_eq!(mode(&site.path(&format!("keys/{name}/tls.key"))), 0o600, "{name}");
        assert!(is_good_for(&site, &site.path(&format!("keys/{name}/tls.pem")), "sslclient"));
        assert_eq!(listed(&site)[name]["sans"], names_before[name]["sans"]);
    }

    // A server's own name and local names are in it once, whether given or not.
    let hosts = ["--host", "192.0.2.9", "--host", "localhost", "--host", "store"];
    site.vigia(&[&["cert", "renew", "--role", "store"], &hosts[..]].concat()).succeeded();
    let last = files(&site);
    assert_ne!(last["store"], after["store"]);
    assert!(IDENTITIES.iter().all(|name| *name == "store" || last[name] == after[name]));
    let expected = json!(["store", "localhost", "127.0.0.1", "::1", "192.0.2.9"]);
    assert_eq!(listed(&site)["store"]["sans"], expected);
}

#[test]
fn a_lost_certificate_is_renewed_with_hosts_only() {
    let site = TestSite::with(&["--tls"]);
    fs::remove_file(site.path("keys/broker/tls.pem")).unwrap();
    let ended = site.vigia(&["cert", "renew"]);
    assert!(ended.refused_with(64).contains("--host"), "{ended:?}");
    site.vigia(&["cert", "renew", "--host", "localhost"]).succeeded();
    assert!(is_good_for(&site, &site.path("keys/broker/tls.pem"), "sslserver"));
}

#[test]
fn a_user_gets_a_certificate_once() {
    let site = TestSite::with(&["--tls"]);
    let out = site.path("usb");
    let issue = |name: &str| site.vigia(&["cert", "issue", name, "--out", text(&out)]);
    let ended = issue("ana");
    assert!(ended.succeeded().contains(text(&out.join("ana.key"))), "{ended:?}");
    assert_eq!(mode(&out.join("ana.key")), 0o600);
    assert_eq!(mode(&out), 0o700);
    assert_eq!(fs::read(out.join("ca.pem")).unwrap(), fs::read(site.path("tls/ca.pem")).unwrap());
    assert!(is_good_for(&site, &out.join("ana.pem"), "sslclient"));
    assert!(!is_good_for(&site, &out.join("ana.pem"), "sslserver"));

    let key = fs::read(out.join("ana.key")).unwrap();
    assert!(issue("ana").refused_with(64).contains("ana.key is there already"));
    assert_eq!(fs::read(out.join("ana.key")).unwrap(), key);
    for name in ["broker", "inspector", "ca"] {
        assert!(issue(name).refused_with(64).contains("name of the site itself"), "{name}");
    }
    for name in ["Ana", "../ana", "", "a b", "ana.example"] {
        assert!(issue(name).refused_with(64).contains("expected 1 to 32 of a-z"), "{name}");
    }
    assert_eq!(fs::read_dir(&out).unwrap().count(), 3);
}

#[test]
fn a_site_without_certificates_says_so() {
    let site = TestSite::new();
    let out = site.path("usb");
    for arguments in [&["list"][..], &["renew"], &["issue", "ana", "--out", text(&out)]] {
        let ended = site.vigia(&[&["cert"], arguments].concat());
        assert!(ended.refused_with(64).contains("vigia init DIR --tls"), "{ended:?}");
    }
    assert!(!site.path("keys/ca").exists() && !out.exists());
}

#[test]
fn wrong_arguments_and_files_are_refused() {
    let site = TestSite::with(&["--tls"]);
    let other = site.path("other");
    for host in ["a b", "", "*.example", "https://plant", "plant:8883", "plant.", "1.2.3.4/8"] {
        assert_eq!(site.vigia(&["cert", "renew", "--host", host]).code, 64, "{host:?}");
        assert_eq!(vigia(&["init", text(&other), "--tls", "--host", host]).code, 64, "{host:?}");
    }
    assert_eq!(vigia(&["init", text(&other), "--host", "plant"]).code, 64);
    assert!(!other.exists());
    assert_eq!(site.vigia(&["cert", "renew", "--role", "ana"]).code, 64);
    let ended = site.vigia(&["cert", "renew", "--role", "verify", "--host", "plant"]);
    assert!(ended.refused_with(64).contains("expected broker or store"), "{ended:?}");

    let key = site.path("keys/ca/ca.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let ended = site.vigia(&["cert", "renew"]);
    let sentence = ended.refused_with(64);
    assert!(sentence.contains("ca.key") && sentence.contains("expected 0600"), "{sentence}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, "no key").unwrap();
    assert!(site.vigia(&["cert", "renew"]).refused_with(64).contains("ca.key"));
    fs::write(site.path("tls/ca.pem"), "no certificate").unwrap();
    assert!(site.vigia(&["cert", "list"]).refused_with(64).contains("ca.pem"));
}

#[test]
fn a_role_whose_certificate_cannot_be_used_does_not_start() {
    let site = TestSite::with(&["--tls"]);
    let from = |name: &str| site.path(&format!("keys/{name}/tls.pem"));
    for role in ["broker", "verify", "transform", "store", "alert", "modbus"] {
        // A key that is not the certificate's.
        fs::copy(from("inspector"), from(role)).unwrap();
        let ended = site.vigia(&[role]);
        assert!(ended.refused_with(64).contains(text(&from(role))), "{ended:?}");
        fs::remove_file(from(role)).unwrap();
        let ended = site.vigia(&[role]);
        assert!(ended.refused_with(64).contains(text(&from(role))), "{ended:?}");
    }
}

#[tokio::test]
async fn openssl_connects_to_the_gate_as_a_user() {
    let site = TestSite::with(&["--tls", "--host", "plant.example"]);
    let out = site.path("usb");
    site.vigia(&["cert", "issue", "ana", "--out", text(&out)]).succeeded();
    let tls = Tls::load(&Site::open(&site.path("")).unwrap()).unwrap().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = tokio::task::spawn_blocking(move || {
        let [certificate, key, ca] = ["ana.pem", "ana.key", "ca.pem"].map(|file| out.join(file));
        let files = ["-cert", text(&certificate), "-key", text(&key), "-CAfile", text(&ca)];
        let name = ["-verify_return_error", "-verify_hostname", "plant.example"];
        openssl(&[&["s_client", "-brief", "-connect", &address], &files[..], &name].concat())
    });
    let (accepted, _) = listener.accept().await.unwrap();
    let stream = tls.accept(accepted).await.unwrap();
    assert_eq!(peer_name(&stream).as_deref(), Some("ana"));
    drop(stream);
    let told = client.await.unwrap();
    assert!(String::from_utf8_lossy(&told.stderr).contains("TLSv1.3"), "{told:?}");
}
