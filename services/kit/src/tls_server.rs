//! How a server of the site shows who it is: with the certificate that is on disk now.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

use crate::config::ConfigError;
use crate::limits::CERTIFICATE_CHECK;
use crate::tls::{Files, Identity, VERSIONS, provider, unusable};

/// What clients may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// A certificate of the site's authority, or none; with any other the handshake fails.
    OfTheSite,
    /// Nothing: who they are is told later.
    Nameless,
}

/// Takes renewed files up without a restart. Sessions are not resumed, so that what a client shows is
/// checked, and its end with it, at every connection.
#[derive(Debug)]
pub struct TlsServer {
    files: Files,
    clients: Clients,
    taken: Mutex<Taken>,
}

/// What new connections are made with.
#[derive(Debug)]
struct Taken {
    config: Arc<ServerConfig>,
    /// When its files were written, or the newer ones that could not be used.
    written: Written,
    looked: Instant,
}

/// When each of the files was last written; none for one that is not there.
type Written = [Option<SystemTime>; 3];

impl TlsServer {
    /// With these files.
    ///
    /// # Errors
    /// Certificates or a key that cannot be used.
    pub fn load(files: Files, clients: Clients) -> Result<Self, ConfigError> {
        let written = written(&files);
        let config = config(&files, clients)?;
        let taken = Mutex::new(Taken { config, written, looked: Instant::now() });
        Ok(Self { files, clients, taken })
    }

    /// What the next connection is made with. Looks for renewed files, but not at every connection;
    /// ones that cannot be used change nothing.
    pub fn newest(&self) -> Arc<ServerConfig> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.looked.elapsed() >= CERTIFICATE_CHECK {
            taken.looked = Instant::now();
            let written = written(&self.files);
            if written != taken.written && is_settled(&written) {
                taken.written = written;
                match config(&self.files, self.clients) {
                    Ok(config) => {
                        taken.config = config;
                        tracing::info!("renewed certificate in use");
                    }
                    Err(error) => tracing::error!(%error, "the certificate stays the old one"),
                }
            }
        }
        Arc::clone(&taken.config)
    }
}

fn config(files: &Files, clients: Clients) -> Result<Arc<ServerConfig>, ConfigError> {
    let Identity { roots, chain, key } = files.read()?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(|error| unusable(&files.certificate, &error))?;
    let builder = match clients {
        Clients::Nameless => builder.with_no_client_auth(),
        Clients::OfTheSite => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(roots, provider())
                .allow_unauthenticated()
                .build()
                .map_err(|error| unusable(&files.ca, &error))?,
        ),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| unusable(&files.certificate, &error))?;
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
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
