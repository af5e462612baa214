//! What stands in a certificate.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use vigia_kit::config::ConfigError;
use vigia_protocol::time::Micros;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

/// What people ask a certificate.
pub struct Certificate {
    /// When it ends.
    pub not_after: Micros,
    /// Its DNS names and IP addresses, in their order: the first is who it is for.
    pub names: Vec<String>,
}

impl Certificate {
    /// Reads the first certificate of a PEM file.
    ///
    /// # Errors
    /// A file that cannot be read, or that begins with something else.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let bad = |problem: &str| ConfigError(format!("{}: {problem}", path.display()));
        let bytes = fs::read(path).map_err(|error| bad(&error.to_string()))?;
        let understand = || {
            let (_, pem) = parse_x509_pem(&bytes).ok()?;
            let certificate = pem.parse_x509().ok()?;
            Some(Self {
                not_after: Micros(certificate.validity().not_after.timestamp() * 1_000_000),
                names: names(&certificate)?,
            })
        };
        understand().ok_or_else(|| bad("this is no certificate, expected PEM"))
    }
}

/// None if the extension cannot be understood; no names if there is none.
fn names(certificate: &X509Certificate<'_>) -> Option<Vec<String>> {
    let Some(extension) = certificate.subject_alternative_name().ok()? else {
        return Some(Vec::new());
    };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => ip(bytes).map(|ip| ip.to_string()),
        _ => None,
    });
    Some(names.collect())
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}
