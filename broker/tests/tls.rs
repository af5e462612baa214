//! TLS of MQTT clients, over real sockets, with certificates made here.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use vigia_broker::gate::identity::Identity;
use vigia_broker::gate::tls::{Tls, peer_name};
use vigia_broker::gate::{self, Entrance};
use vigia_kit::audit::Audit;
use vigia_kit::bus::{BusLogin, Consumer, Producer};
use vigia_kit::private::{write_private, write_public};
use vigia_kit::secret_hash::SecretHash;
use vigia_kit::shutdown::Shutdown;
use vigia_kit::site::{Password, Site};
use vigia_kit::tls::{Files, authority};
use vigia_kit::users::{User, UserName, Users};
use vigia_protocol::filter::Filter;

const PATIENCE: Duration = Duration::from_secs(20);
/// Far less than a peer that waits for more bytes would take.
const QUICKLY: Duration = Duration::from_secs(2);

/// A certificate authority, and a site directory with its certificates.
struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "a test's authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        fs::create_dir(dir.path().join("tls")).unwrap();
        write_public(&authority(dir.path()), &params.self_signed(&key).unwrap().pem()).unwrap();
        let new = Self { dir, issuer: Issuer::new(params, key) };
        new.certify("broker", &[ExtendedKeyUsagePurpose::ServerAuth]);
        new.certify("verify", &[ExtendedKeyUsagePurpose::ClientAuth]);
        new
    }

    fn certify(&self, name: &str, usages: &[ExtendedKeyUsagePurpose]) -> Files {
        let names = [name, "localhost", "127.0.0.1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = usages.to_vec();
        let key = KeyPair::generate().unwrap();
        let files = self.files(name);
        fs::create_dir_all(files.key.parent().unwrap()).unwrap();
        write_private(&files.key, &key.serialize_pem()).unwrap();
        write_public(&files.certificate, &params.signed_by(&key, &self.issuer).unwrap().pem())
            .unwrap();
        files
    }

    fn files(&self, name: &str) -> Files {
        Files::of(self.dir.path(), name)
    }

    fn tls(&self) -> Tls {
        let text = "node = \"n\"\n[broker]\nmqtt_tls = \"127.0.0.1:8883\"";
        write_public(&self.dir.path().join("vigia.toml"), text).unwrap();
        Tls::load(&Site::open(self.dir.path()).unwrap()).unwrap().unwrap()
    }
}

/// What a handshake came to, from the server's side: the name of who connected.
type Outcome = io::Result<Option<String>>;

/// Accepts each connection in its own task, and echoes what a client sends.
async fn serve(tls: Tls) -> (SocketAddr, mpsc::UnboundedReceiver<Outcome>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (outcomes, seen) = mpsc::unbounded_channel();
    let tls = Arc::new(tls);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (tls, outcomes) = (tls.clone(), outcomes.clone());
            tokio::spawn(async move {
                let mut stream = match tls.accept(client).await {
                    Ok(stream) => stream,
                    Err(error) => return outcomes.send(Err(error)).unwrap_or_default(),
                };
                let _ = outcomes.send(Ok(peer_name(&stream)));
                let mut buffer = [0; 64];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, seen)
}

async fn outcome(seen: &mut mpsc::UnboundedReceiver<Outcome>) -> Outcome {
    timeout(PATIENCE, seen.recv()).await.expect("a handshake ends").expect("the server lives")
}

/// Connects as this identity, to the end of an echo; returns the server's certificate.
async fn connect(
    files: &Files,
    address: SocketAddr,
) -> Result<CertificateDer<'static>, Box<dyn std::error::Error>> {
    let client = TcpStream::connect(address).await?;
    let connector = TlsConnector::from(files.client()?);
    let server = ServerName::try_from("localhost")?;
    // In TLS 1.3 the client is done before the server has looked at its certificate.
    let mut stream = connector.connect(server, client).await?;
    stream.write_all(b"ping").await?;
    let mut buffer = [0; 4];
    stream.read_exact(&mut buffer).await?;
    assert_eq!(&buffer, b"ping");
    Ok(stream.get_ref().1.peer_certificates().expect("a server")[0].clone())
}

/// OpenSSL's client, whose input is empty.
async fn openssl(ca: &Path, address: SocketAddr, further: &[&str]) -> std::process::Output {
    let connect = address.to_string();
    let child = Command::new("openssl")
        .args(["s_client", "-brief", "-verify_return_error", "-connect", &connect, "-CAfile"])
        .arg(ca)
        .args(further)
        .stdin(Stdio::null())
        .output();
    timeout(PATIENCE, child).await.expect("openssl ends").expect("openssl is installed")
}

#[tokio::test]
async fn a_site_that_does_not_listen_for_tls_needs_no_certificates() {
    let site = tempfile::tempdir().unwrap();
    let file = site.path().join("vigia.toml");
    write_public(&file, "node = \"n\"").unwrap();
    assert!(Tls::load(&Site::open(site.path()).unwrap()).unwrap().is_none());

    write_public(&file, "node = \"n\"\n[broker]\nmqtt_tls = \"127.0.0.1:8883\"").unwrap();
    let error = Tls::load(&Site::open(site.path()).unwrap()).err().unwrap().to_string();
    assert!(error.contains("tls/ca.pem") && !error.contains('\n'), "{error}");
}

#[tokio::test]
async fn version_1_3_is_spoken_and_nothing_older() {
    let site = Authority::new();
    let ca = authority(site.dir.path());
    let (address, mut seen) = serve(site.tls()).await;
    let told = openssl(&ca, address, &["-verify_ip", "127.0.0.1"]).await;
    let text = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success() && text.contains("TLSv1.3"), "{text}");
    assert!(text.contains("Verification: OK"), "{text}");
    assert_eq!(outcome(&mut seen).await.unwrap(), None);

    assert!(!openssl(&ca, address, &["-tls1_2"]).await.status.success());
    assert!(outcome(&mut seen).await.is_err());
    assert!(!openssl(&ca, address, &["-verify_hostname", "elsewhere"]).await.status.success());
}

#[tokio::test]
async fn a_role_is_known_by_its_certificate() {
    let site = Authority::new();
    let (address, mut seen) = serve(site.tls()).await;
    connect(&site.files("verify"), address).await.unwrap();
    assert_eq!(outcome(&mut seen).await.unwrap().as_deref(), Some("verify"));
}

#[tokio::test]
async fn a_certificate_of_a_stranger_or_for_another_use_is_refused() {
    let (site, stranger) = (Authority::new(), Authority::new());
    let (address, mut seen) = serve(site.tls()).await;
    let forged = Files { ca: authority(site.dir.path()), ..stranger.files("verify") };
    connect(&forged, address).await.unwrap_err();
    assert_eq!(outcome(&mut seen).await.unwrap_err().kind(), io::ErrorKind::InvalidData);

    let server_only = site.certify("sensor-1", &[ExtendedKeyUsagePurpose::ServerAuth]);
    connect(&server_only, address).await.unwrap_err();
    assert_eq!(outcome(&mut seen).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn a_server_of_a_stranger_is_not_believed() {
    let (site, stranger) = (Authority::new(), Authority::new());
    let (address, mut seen) = serve(stranger.tls()).await;
    connect(&site.files("verify"), address).await.unwrap_err();
    assert!(outcome(&mut seen).await.is_err());
}

#[tokio::test]
async fn plain_bytes_fail_at_once_and_silence_holds_nobody_up() {
    let site = Authority::new();
    let (address, mut seen) = serve(site.tls()).await;
    let _silent = TcpStream::connect(address).await.unwrap();
    let mut plain = TcpStream::connect(address).await.unwrap();
    // CONNECT of MQTT 3.1.1.
    plain.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x0a\x00\x01a").await.unwrap();
    let refused = timeout(QUICKLY, outcome(&mut seen)).await.expect("at once");
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidData);
    connect(&site.files("verify"), address).await.unwrap();
    assert!(outcome(&mut seen).await.is_ok());
}

/// As if written an hour ago: done, and not half done.
fn settle(files: &Files) {
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    for path in [&files.certificate, &files.key] {
        File::options().write(true).open(path).unwrap().set_modified(hour_ago).unwrap();
    }
}

#[tokio::test]
async fn renewed_certificates_are_taken_up_and_broken_ones_are_not() {
    let site = Authority::new();
    let (address, _seen) = serve(site.tls()).await;
    let verify = site.files("verify");
    let first = connect(&verify, address).await.unwrap();

    let renewed = site.certify("broker", &[ExtendedKeyUsagePurpose::ServerAuth]);
    settle(&renewed);
    let changed = async {
        while connect(&verify, address).await.unwrap() == first {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        connect(&verify, address).await.unwrap()
    };
    let second = timeout(PATIENCE, changed).await.expect("taken up");

    write_private(&renewed.key, &KeyPair::generate().unwrap().serialize_pem()).unwrap();
    settle(&renewed);
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        assert_eq!(connect(&verify, address).await.unwrap(), second);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_publish_and_consume_through_tls() {
    let site = Authority::new();
    let password = Password("secret".to_owned());
    let test = vec![Filter::parse("vigia/v1/test").unwrap()];
    let mut users = Users::default();
    let user = User {
        secret: Some(SecretHash::of_random(&password)),
        publish: test.clone(),
        subscribe: test,
        messages_per_second: None,
    };
    users.insert(UserName::new("verify").unwrap(), user);
    let path = site.dir.path().join("users.toml");
    users.save(&path).unwrap();
    let audit = Arc::new(Audit::open(site.dir.path()).unwrap());
    let shared =
        gate::Shared::open(Identity::open(&path).unwrap(), site.dir.path(), audit).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let entrances = vec![Entrance { listener, tls: Some(Arc::new(site.tls())) }];
    let (_switch, shutdown) = Shutdown::new();
    tokio::spawn(gate::serve(Arc::new(shared), entrances, shutdown));

    let login = BusLogin {
        address,
        user: "verify".to_owned(),
        password,
        tls: Some(site.files("verify")),
        status: None,
    };
    let exchange = async {
        let filter = ["vigia/v1/test".to_owned()];
        let mut consumer = Consumer::connect(&login, "in", &filter).await.unwrap();
        let mut producer = Producer::connect(&login, "out").await.unwrap();
        let payload = vec![7; 100_000];
        producer.publish(&filter[0], payload.clone()).await.unwrap();
        assert_eq!(producer.settling().await.unwrap(), 1);
        let delivery = consumer.receive().await.unwrap();
        assert_eq!(delivery.payload(), &payload);
    };
    timeout(PATIENCE, exchange).await.expect("a message through TLS");

    let stranger = Authority::new();
    let elsewhere = BusLogin { tls: Some(stranger.files("verify")), ..login };
    let error = Producer::connect(&elsewhere, "out").await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
}
