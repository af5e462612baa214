//! Who may ask the API, over a bound port.

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use vigia_kit::audit::Audit;
use vigia_kit::clock::now;
use vigia_kit::names::Names;
use vigia_kit::shutdown::{Shutdown, Switch};
use vigia_kit::tokens::{BearerToken, Moment, Scope, Token, Tokens};
use vigia_kit::users::UserName;
use vigia_protocol::time::Micros;
use vigia_store::Present;
use vigia_store::api::Shared;
use vigia_store::api::access::Access;
use vigia_store::health::Health;
use vigia_store::store::Store;

/// More than a stranger may send at once, and not so many that its allowance grows by much meanwhile.
const FLOOD: usize = 200;

struct Served {
    base: String,
    client: reqwest::Client,
    tokens: PathBuf,
    _directory: tempfile::TempDir,
    _switch: Switch,
}

/// On all addresses, or on this machine's own only.
async fn served(address: Ipv4Addr, clock: fn() -> Micros) -> Served {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = Store::open(&path, vigia_disk::Unsynced::Kernel, None, now()).unwrap();
    let listener = TcpListener::bind(SocketAddr::from((address, 0))).await.unwrap();
    let bound = listener.local_addr().unwrap();
    let tokens = directory.path().join("tokens.toml");
    let audit = Arc::new(Audit::open(directory.path()).unwrap());
    let access = Access::open(&tokens, bound, clock, audit).unwrap();
    let (switch, shutdown) = Shutdown::new();
    let health = Arc::new(Health::default());
    let names = Arc::new(Names::new(directory.path().to_owned()));
    let shared =
        Shared::new(Arc::new(store), health, Arc::new(Present::default()), names, shutdown);
    tokio::spawn(vigia_store::api::serve(listener, None, access, shared));
    let client = vigia_kit::api::client(None, None, Duration::from_secs(10)).unwrap();
    let base = format!("http://127.0.0.1:{}", bound.port());
    Served { base, client, tokens, _directory: directory, _switch: switch }
}

impl Served {
    /// Adds a token to the file, which the store reads again by itself.
    fn add(&self, name: &str, scope: Scope, expires: Option<Micros>) -> BearerToken {
        let mut tokens = Tokens::load(&self.tokens).unwrap_or_default();
        let bearer = BearerToken::random();
        let expires = expires.map(Moment);
        let token = Token { secret: bearer.hash(), scope, created: Moment(Micros(0)), expires };
        tokens.insert(UserName::new(name).unwrap(), token).unwrap();
        tokens.save(&self.tokens).unwrap();
        bearer
    }

    fn revoke(&self, name: &str) {
        let mut tokens = Tokens::load(&self.tokens).unwrap();
        assert!(tokens.remove(name));
        tokens.save(&self.tokens).unwrap();
    }

    async fn ask(&self, path: &str, shown: Option<&str>) -> reqwest::Response {
        let request = self.client.get(format!("{}{path}", self.base));
        let request = match shown {
            Some(shown) => request.bearer_auth(shown),
            None => request,
        };
        request.send().await.unwrap()
    }

    async fn status(&self, shown: Option<&str>) -> u16 {
        self.ask("/api/v1/sensors", shown).await.status().as_u16()
    }
}

#[tokio::test]
async fn on_this_machine_reading_needs_no_token_and_elsewhere_everything_does() {
    let local = served(Ipv4Addr::LOCALHOST, now).await;
    assert_eq!(local.status(None).await, 200);
    assert_eq!(local.status(Some("vgt_wrong")).await, 401);
    let open = served(Ipv4Addr::UNSPECIFIED, now).await;
    assert_eq!(open.status(None).await, 401);
    let bearer = open.add("one", Scope::Read, None);
    assert_eq!(open.status(Some(bearer.expose())).await, 200);
    for page in ["/", "/docs", "/openapi.json", "/openapi.yaml", "/api/v1/health/live"] {
        assert_eq!(open.ask(page, None).await.status(), 200, "{page}");
    }
    for (path, operations) in document(&open).await["paths"].as_object().unwrap() {
        let path = path.replace("{id}", "7");
        let (method, operation) = operations.as_object().unwrap().iter().next().unwrap();
        let url = format!("{}/api/v1{path}", open.base);
        let method = method.to_uppercase().parse().unwrap();
        let status = open.client.request(method, url).send().await.unwrap().status();
        let demands = operation["security"].is_array();
        assert_eq!(status == 401, demands, "{path}: {status}");
        assert_eq!(!demands, path.starts_with("/health/"), "{path}");
        let declared = operation["responses"].as_object().unwrap();
        for status in ["401", "403", "429"] {
            assert!(declared.contains_key(status), "{path}: {status}");
        }
    }
}

async fn document(served: &Served) -> serde_json::Value {
    served.ask("/openapi.json", None).await.json().await.unwrap()
}

#[tokio::test]
async fn unknown_wrong_expired_and_revoked_tokens_get_one_answer() {
    let served = served(Ipv4Addr::UNSPECIFIED, || Micros(1_000)).await;
    let valid = served.add("valid", Scope::Read, Some(Micros(1_001)));
    let expired = served.add("expired", Scope::Admin, Some(Micros(1_000)));
    let revoked = served.add("revoked", Scope::Admin, None);
    assert_eq!(served.status(Some(valid.expose())).await, 200);
    assert_eq!(served.status(Some(revoked.expose())).await, 200);
    served.revoke("revoked");
    let unknown = BearerToken::random();
    let mut answers = Vec::new();
    let shown = [None, Some("vgt_wrong"), Some(unknown.expose()), Some(expired.expose())];
    for shown in shown.into_iter().chain([Some(revoked.expose())]) {
        let answer = served.ask("/api/v1/sensors", shown).await;
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"vigia\"");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        answers.push(answer.text().await.unwrap());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn a_file_that_is_wrong_changes_nothing_and_one_that_is_gone_revokes_all() {
    let served = served(Ipv4Addr::UNSPECIFIED, now).await;
    let bearer = served.add("one", Scope::Read, None);
    assert_eq!(served.status(Some(bearer.expose())).await, 200);
    std::fs::write(&served.tokens, "nonsense").unwrap();
    assert_eq!(served.status(Some(bearer.expose())).await, 200);
    std::fs::remove_file(&served.tokens).unwrap();
    assert_eq!(served.status(Some(bearer.expose())).await, 401);
}

#[tokio::test]
async fn a_stranger_who_asks_too_often_waits_and_a_holder_at_its_address_does_not() {
    let served = served(Ipv4Addr::UNSPECIFIED, now).await;
    let bearer = served.add("one", Scope::Read, None);
    let mut refused = None;
    for _ in 0..FLOOD {
        let answer = served.ask("/api/v1/sensors", Some("vgt_wrong")).await;
        if answer.status() == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status(), 401);
    }
    let refused = refused.expect("an allowance that is used up");
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    assert_eq!(served.status(Some(bearer.expose())).await, 200);
}

#[tokio::test]
async fn a_page_of_another_name_reads_nothing_here() {
    let served = served(Ipv4Addr::LOCALHOST, now).await;
    let request = served.client.get(format!("{}/api/v1/sensors", served.base));
    let answer = request.header("host", "evil.example").send().await.unwrap();
    assert_eq!(answer.status(), 401);
}

#[tokio::test]
async fn every_answer_has_the_headers_and_no_name_of_the_server() {
    let served = served(Ipv4Addr::LOCALHOST, now).await;
    let wrong = Some("vgt_wrong");
    for (path, shown) in [
        ("/", None),
        ("/docs", None),
        ("/openapi.json", None),
        ("/nowhere", None),
        ("/api/v1/sensors", None),
        ("/api/v1/sensors", wrong),
        ("/api/v1/health/ready", None),
        ("/api/v1/sensors?limit=0", None),
    ] {
        let answer = served.ask(path, shown).await;
        let headers = answer.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.ends_with("frame-ancestors 'none'"), "{path}: {policy}");
        // The live page may run nothing but what is its own.
        assert_eq!(policy.starts_with("default-src 'none'; script-src 'self';"), path == "/");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert!(headers.get("server").is_none(), "{path}");
        assert!(!headers.keys().any(|name| name.as_str().starts_with("access-control")), "{path}");
        if path.starts_with("/api/") {
            assert_eq!(headers["cache-control"], "no-store", "{path}");
        }
    }
}

#[tokio::test]
async fn only_a_body_has_a_bound() {
    let served = served(Ipv4Addr::LOCALHOST, now).await;
    let post = |bytes: usize| {
        let request = served.client.post(format!("{}/api/v1/sensors", served.base));
        request.body(vec![b' '; bytes]).send()
    };
    assert_eq!(post(10).await.unwrap().status(), 405);
    assert_eq!(post((1 << 20) + 1).await.unwrap().status(), 413);
    assert_eq!(served.status(None).await, 200);
}
