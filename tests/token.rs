//! `vigia token`, and a store that listens for others: by HTTPS, to holders of tokens.

#[allow(dead_code)]
mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{TestSite, command, eventually, mode};
use vigia_kit::api;
use vigia_kit::clock::now;
use vigia_kit::config::Config;
use vigia_kit::private::write_private;
use vigia_kit::tls;
use vigia_kit::tokens::{BearerToken, Scope, Tokens};

const SECOND: Duration = Duration::from_secs(1);

fn tokens(site: &TestSite) -> Tokens {
    Tokens::load(&site.path("keys/store/tokens.toml")).unwrap()
}

/// The token that a command made and showed.
fn shown(out: &str) -> &str {
    out.lines().find_map(|line| line.strip_prefix("The token, shown this once: ")).unwrap()
}

#[test]
fn a_token_is_added_once_shown_once_and_revoked() {
    let site = TestSite::new();
    let add = ["token", "add", "dashboard", "--scope", "operate", "--expires", "90d"];
    let added = site.vigia(&add);
    let bearer = shown(added.succeeded());
    assert!(bearer.starts_with("vgt_") && bearer.len() == 68, "{bearer}");
    let holder = |at| {
        let tokens = tokens(&site);
        tokens.holder(bearer, at).map(|(name, scope)| (name.to_string(), scope))
    };
    let day = 86_400_000_000;
    let after = |days: i64| vigia_protocol::time::Micros(now().0 + days * day);
    assert_eq!(holder(after(89)), Some(("dashboard".to_owned(), Scope::Operate)));
    assert_eq!(holder(after(91)), None);
    assert_eq!(mode(&site.path("keys/store/tokens.toml")), 0o600);
    assert!(site.vigia(&add).refused_with(64).contains("dashboard is there already"));

    let listed = site.vigia(&["token", "list", "--json"]);
    assert!(!listed.succeeded().contains(&bearer[4..]));
    let listed: Vec<Value> = serde_json::from_str(&listed.out).unwrap();
    let names: Vec<&str> = listed.iter().map(|token| token["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["alert", "dashboard", "prometheus"]);
    assert_eq!(listed[1]["scope"], "operate");
    assert_eq!(listed[1]["expired"], false);
    assert!(listed[1]["expires"].as_str().unwrap().ends_with('Z'));
    assert!(site.vigia(&["token", "list"]).succeeded().contains("dashboard   operate  valid"));

    site.vigia(&["token", "revoke", "dashboard"]).succeeded();
    assert_eq!(holder(now()), None);
    assert!(site.vigia(&["token", "revoke", "dashboard"]).refused_with(64).contains("dashboard"));
}

#[test]
fn wrong_arguments_are_refused() {
    let site = TestSite::new();
    for arguments in [
        &["token", "add", "a"][..],
        &["token", "add", "a", "--scope", "root"],
        &["token", "add", "A", "--scope", "read"],
        &["token", "add", "a", "--scope", "read", "--expires", "soon"],
    ] {
        assert_eq!(site.vigia(arguments).code, 64, "{arguments:?}");
    }
    assert_eq!(tokens(&site).iter().count(), 2);
}

#[test]
fn alert_has_a_token_of_its_own() {
    let site = TestSite::new();
    let path = site.path("keys/alert/api.token");
    assert_eq!(mode(&path), 0o600);
    let bearer = BearerToken::load(&path).unwrap();
    let tokens = tokens(&site);
    let (name, scope) = tokens.holder(bearer.expose(), now()).unwrap();
    assert_eq!((name.as_str(), scope), ("alert", Scope::Read));
    fs::remove_file(&path).unwrap();
    assert!(site.vigia(&["alert"]).refused_with(64).contains("api.token"));
}

/// A role in the foreground, and what it logs.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn start(site: &TestSite, role: &str) -> Self {
        let log = site.path(&format!("{role}.log"));
        let child = command(&[role, "--site", site.arg()])
            .env("VIGIA_LOG", "trace")
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// Ends it as its supervisor would; returns its log.
    fn stop(mut self) -> String {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn api(site: &TestSite) -> SocketAddr {
    eventually("the API listens", || {
        let text = fs::read_to_string(site.path("run/addresses.json")).ok()?;
        serde_json::from_str::<Value>(&text).ok()?["api"].as_str()?.parse().ok()
    })
}

/// Every hexadecimal secret below `keys/`.
fn secrets(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.path().is_dir() {
            found.extend(secrets(&entry.path()));
            continue;
        }
        let text = fs::read_to_string(entry.path()).unwrap();
        let words = text.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() == 64);
        found.extend(words.map(str::to_owned));
    }
    found
}

#[test]
fn others_come_by_https_and_with_a_token_and_no_secret_is_logged() {
    let site = TestSite::with(&["--tls"]);
    let file = site.path("vigia.toml");
    let config = Config::load(&file).unwrap();
    assert!(config.store.tls);
    let (local, open) =
        (config.store.api.to_string(), format!("0.0.0.0:{}", config.store.api.port()));
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(&format!("api = \"{local}\""), &format!("api = \"{open}\"")))
        .unwrap();
    let added = site.vigia(&["token", "add", "me", "--scope", "read"]);
    let token = site.path("me.token");
    write_private(&token, shown(added.succeeded())).unwrap();

    let store = Running::start(&site, "store");
    let port = api(&site).port();
    assert!(site.vigia(&["ledger"]).refused_with(64).contains("--token-file"));
    let with = ["--token-file", token.to_str().unwrap()];
    let told = site.vigia(&[&["ledger"][..], &with].concat());
    // No journal reports here: the books are unknown, but they are shown.
    assert!(told.code == 1 && told.out.contains("Verdict: unknown"), "{told:?}");
    let ca = tls::authority(&site.path(""));
    let base = format!("https://localhost:{port}");
    let arguments = ["ledger", "--api", &base, "--ca", ca.to_str().unwrap()];
    assert_eq!(support::vigia(&[&arguments[..], &with].concat()).code, 1);
    let distrustful = ["ledger", "--api", &base];
    assert_eq!(support::vigia(&[&distrustful[..], &with].concat()).code, 69);

    let openssl = Command::new("openssl")
        .args(["s_client", "-brief", "-connect", &format!("127.0.0.1:{port}")])
        .args(["-CAfile", ca.to_str().unwrap(), "-verify_return_error"])
        .args(["-verify_hostname", "localhost"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&openssl.stderr).contains("TLSv1.3"), "{openssl:?}");

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let wrong = BearerToken::random();
    runtime.block_on(async {
        let status = async |bearer: Option<&BearerToken>| {
            let client = api::client(Some(&ca), bearer, 10 * SECOND).unwrap();
            client.get(format!("{base}/api/v1/sensors")).send().await.unwrap().status().as_u16()
        };
        assert_eq!(status(None).await, 401);
        assert_eq!(status(Some(&wrong)).await, 401);
        let me = BearerToken::load(&token).unwrap();
        assert_eq!(status(Some(&me)).await, 200);
        site.vigia(&["token", "revoke", "me"]).succeeded();
        assert_eq!(status(Some(&me)).await, 401);
    });

    let log = store.stop();
    let audit = fs::read_to_string(site.path("data/store/audit.jsonl")).unwrap();
    assert!(audit.contains("configuration-loaded") && audit.contains("api-refused"), "{audit}");
    let me = fs::read_to_string(&token).unwrap();
    let mut secrets = secrets(&site.path("keys"));
    assert!(secrets.len() > 10);
    secrets.extend([wrong.expose()[4..].to_owned(), me.trim()[4..].to_owned()]);
    let commands = fs::read_to_string(site.path("data/site/audit.jsonl")).unwrap();
    for secret in &secrets {
        for text in [&log, &audit, &commands] {
            assert!(!text.contains(secret.as_str()), "a secret stands in\n{text}");
        }
    }
    assert_eq!(site.vigia(&["audit", "verify"]).code, 0);
}
