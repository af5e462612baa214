//! TLS within a site: one certificate authority, and a certificate per role and user.

use std::path::{Path, PathBuf};

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

impl Files {
    /// Of a role, or of the user for people, in this site directory.
    pub fn of(site: &Path, name: &str) -> Self {
        let keys = site.join("keys").join(name);
        Self { ca: authority(site), certificate: keys.join("tls.pem"), key: keys.join("tls.key") }
    }
}
