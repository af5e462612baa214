//! TLS of MQTT clients: the broker's certificate, and whose certificates it believes.

use std::fs;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use vigia_kit::config::ConfigError;
use vigia_kit::site::{Role, Site};
use vigia_kit::tls::{Files, Identity, VERSIONS, provider, unusable};
use webpki::EndEntityCert;

use crate::limits::CERTIFICATE_CHECK;

/// Takes clients by TLS 1.3, with the certificate that is on disk now.
///
/// A client need not show a certificate; one that does must have it from the site's authority, else
/// the handshake fails. There are no revocation lists: a certificate only says who a client is, and
/// is worth nothing once that user is removed from the broker's users. Sessions are not resumed, so
/// that what a client shows is checked, and its end with it, at every connection.
pub struct Tls {
    files: Files,
    taken: Mutex<Taken>,
}

/// What new connections are made with.
struct Taken {
    acceptor: TlsAcceptor,
    /// When its files were written, or the newer ones that could not be used.
    written: Written,
    looked: Instant,
}

/// When each of the files was last written; none for one that is not there.
type Written = [Option<SystemTime>; 3];

impl Tls {
    /// Of this site; none if it does not listen for TLS.
    ///
    /// # Errors
    /// Certificates or a key that cannot be used.
    pub fn load(site: &Site) -> Result<Option<Self>, ConfigError> {
        if site.config.broker.mqtt_tls.is_none() {
            return Ok(None);
        }
        let files = Files::of(site.dir(), Role::Broker.name());
        let written = written(&files);
        let acceptor = acceptor(&files)?;
        let taken = Taken { acceptor, written, looked: Instant::now() };
        Ok(Some(Self { files, taken: Mutex::new(taken) }))
    }

    /// Shakes hands with a client. It may take its time: the deadline is the caller's, and so is that
    /// others do not wait.
    ///
    /// # Errors
    /// A client that does not speak TLS 1.3, has a stranger's certificate, or goes away.
    pub async fn accept(&self, client: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.newest().accept(client).await
    }

    /// Looks for renewed files, but not at every connection. Ones that cannot be used change nothing.
    fn newest(&self) -> TlsAcceptor {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.looked.elapsed() >= CERTIFICATE_CHECK {
            taken.looked = Instant::now();
            let written = written(&self.files);
            if written != taken.written && is_settled(&written) {
                taken.written = written;
                match acceptor(&self.files) {
                    Ok(acceptor) => {
                        taken.acceptor = acceptor;
                        tracing::info!("renewed certificate in use");
                    }
                    Err(error) => tracing::error!(%error, "the certificate stays the old one"),
                }
            }
        }
        taken.acceptor.clone()
    }
}

/// Who the client showed to be: the first DNS name of its certificate. None without a certificate.
pub fn peer_name(stream: &TlsStream<TcpStream>) -> Option<String> {
    let (_, connection) = stream.get_ref();
    let certificate = EndEntityCert::try_from(connection.peer_certificates()?.first()?).ok()?;
    certificate.valid_dns_names().next().map(str::to_owned)
}

fn acceptor(files: &Files) -> Result<TlsAcceptor, ConfigError> {
    let Identity { roots, chain, key } = files.read()?;
    let clients = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| unusable(&files.ca, &error))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map(|builder| builder.with_client_cert_verifier(clients))
        .and_then(|builder| builder.with_single_cert(chain, key))
        .map_err(|error| unusable(&files.certificate, &error))?;
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn written(files: &Files) -> Written {
    [&files.ca, &files.certificate, &files.key]
        .map(|path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok())
}

/// Between its key and its certificate a renewal is half done; what was just written is left for later.
/// A time to come is a clock that was set back.
fn is_settled(written: &Written) -> bool {
    let newest = written.iter().flatten().max();
    newest.is_none_or(|time| time.elapsed().map_or(true, |age| age >= CERTIFICATE_CHECK))
}
