//! TLS within a site: version 1.3, one certificate authority, a certificate per role and user.
//!
//! Who a certificate is for is its first DNS name.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use zeroize::Zeroizing;

use crate::config::ConfigError;
use crate::private::read_private;

/// The versions that are spoken.
pub const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13];

/// The cryptography of every connection.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Where the certificate of this site directory's authority is, for everybody.
pub fn authority(site: &Path) -> PathBuf {
    site.join("tls").join("ca.pem")
}

/// Where one identity of a site has its certificate; all files are PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The site's certificate authority: whom to believe.
    pub ca: PathBuf,
    /// The identity's certificate, and what leads from it to the authority.
    pub certificate: PathBuf,
    /// The certificate's private key, readable by its owner only.
    pub key: PathBuf,
}

/// Who one is, and whom one believes.
#[derive(Debug)]
pub struct Identity {
    /// The site's certificate authority.
    pub roots: Arc<RootCertStore>,
    /// The own certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

impl Files {
    /// Of a role, or of the user for people, in this site directory.
    pub fn of(site: &Path, name: &str) -> Self {
        let keys = site.join("keys").join(name);
        Self { ca: authority(site), certificate: keys.join("tls.pem"), key: keys.join("tls.key") }
    }

    /// Reads all three.
    ///
    /// # Errors
    /// A file that cannot be read or is not what it should be, or a key that others can read.
    pub fn read(&self) -> Result<Identity, ConfigError> {
        let roots = roots(&self.ca)?;
        let chain = certificates(&self.certificate)?;
        let text = Zeroizing::new(read_private(&self.key)?);
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
            .map_err(|error| unusable(&self.key, &error))?;
        Ok(Identity { roots: Arc::new(roots), chain, key })
    }

    /// How this identity connects to the servers of its site, and to no others.
    ///
    /// # Errors
    /// As [`Files::read`], or a key that is not the certificate's.
    pub fn client(&self) -> Result<Arc<ClientConfig>, ConfigError> {
        let Identity { roots, chain, key } = self.read()?;
        ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .map(|builder| builder.with_root_certificates(roots))
            .and_then(|builder| builder.with_client_auth_cert(chain, key))
            .map(Arc::new)
            .map_err(|error| unusable(&self.certificate, &error))
    }
}

/// The authority in this file, as whom to believe.
///
/// # Errors
/// A file that cannot be read or holds no certificate.
pub fn roots(ca: &Path) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| unusable(ca, &error))?;
    }
    Ok(roots)
}

/// What is wrong with a file of certificates or keys, as one sentence.
pub fn unusable(path: &Path, problem: &dyn Display) -> ConfigError {
    ConfigError(format!("{}: {problem}, expected what 'vigia cert' makes", path.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let all = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(path, &error))?;
    if all.is_empty() {
        return Err(unusable(path, &"there is no certificate in it"));
    }
    Ok(all)
}
