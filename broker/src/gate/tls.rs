//! TLS of MQTT clients.

use std::io;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use vigia_kit::config::ConfigError;
use vigia_kit::site::{Role, Site};
use vigia_kit::tls::Files;
use vigia_kit::tls_server::{Clients, TlsServer};
use webpki::EndEntityCert;

/// Takes clients by TLS 1.3.
///
/// A client need not show a certificate; one that does must have it from the site's authority, else
/// the handshake fails. There are no revocation lists: a certificate only says who a client is, and
/// is worth nothing once that user is removed from the broker's users.
pub struct Tls(TlsServer);

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
        TlsServer::load(files, Clients::OfTheSite).map(Self).map(Some)
    }

    /// Shakes hands with a client. It may take its time: the deadline is the caller's, and so is that
    /// others do not wait.
    ///
    /// # Errors
    /// A client that does not speak TLS 1.3, has a stranger's certificate, or goes away.
    pub async fn accept(&self, client: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.0.newest()).accept(client).await
    }
}

/// Who the client showed to be: the first DNS name of its certificate. None without a certificate.
pub fn peer_name(stream: &TlsStream<TcpStream>) -> Option<String> {
    let (_, connection) = stream.get_ref();
    let certificate = EndEntityCert::try_from(connection.peer_certificates()?.first()?).ok()?;
    certificate.valid_dns_names().next().map(str::to_owned)
}
