//! The site's certificate authority. Everything is ECDSA P-256: every TLS 1.3 client understands it,
//! and small sensors can compute it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::ServerName;
use vigia_kit::config::ConfigError;
use vigia_kit::private::{make_private_dir, read_private, write_private, write_public};
use vigia_kit::site::Role;
use vigia_kit::tls::{self, Files};
use vigia_protocol::topic::NodeName;
use zeroize::Zeroizing;

use crate::init::INSPECTOR;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const AUTHORITY_LASTS: Duration = DAY.saturating_mul(3652);
/// More is refused by some clients.
const CERTIFICATE_LASTS: Duration = DAY.saturating_mul(398);
/// A new certificate is good on machines whose clocks are late by this.
const CLOCK_LATE: Duration = Duration::from_secs(60 * 60);

/// Names that are in every server's certificate besides its own: how it is reached on its machine.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Everybody whose certificate is kept in the site directory.
pub fn identities() -> impl Iterator<Item = &'static str> {
    Role::ALL.into_iter().map(Role::name).chain([INSPECTOR])
}

/// Whether others connect to this identity.
pub fn is_server(name: &str) -> bool {
    [Role::Broker, Role::Store].into_iter().any(|role| role.name() == name)
}

/// What signs the site's certificates.
pub struct Authority(Issuer<'static, KeyPair>);

/// A new certificate and its private key, both PEM.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: Zeroizing<String>,
}

impl Authority {
    /// Makes the authority of a new site, in `keys/ca/ca.key` and `tls/ca.pem`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn make(site: &Path, node: &NodeName) -> anyhow::Result<Self> {
        let mut params = lasting(AUTHORITY_LASTS);
        params.distinguished_name.push(DnType::CommonName, format!("Vigia site {node}"));
        // It signs leaves, no further authorities.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        write_key(&key_path(site), &Zeroizing::new(key.serialize_pem()))?;
        let certificate_path = tls::authority(site);
        fs::create_dir_all(certificate_path.parent().expect("in a directory"))?;
        write_public(&certificate_path, &certificate)?;
        Ok(Self(Issuer::new(params, key)))
    }

    /// Whether the site has certificates.
    ///
    /// # Errors
    /// If it has none.
    pub fn check_present(site: &Path) -> Result<(), ConfigError> {
        let path = tls::authority(site);
        if path.exists() {
            return Ok(());
        }
        Err(ConfigError(format!(
            "{} is not there: this site has no certificates, expected one that 'vigia init DIR --tls' made",
            path.display()
        )))
    }

    /// Opens the authority of a site.
    ///
    /// # Errors
    /// A site without one, or files that are not what `vigia init --tls` makes.
    pub fn open(site: &Path) -> Result<Self, ConfigError> {
        Self::check_present(site)?;
        let (key_path, certificate_path) = (key_path(site), tls::authority(site));
        let bad = |path: &Path, problem: String| {
            ConfigError(format!("{}: {problem}, expected what 'vigia init' made", path.display()))
        };
        let key = KeyPair::from_pem(&Zeroizing::new(read_private(&key_path)?))
            .map_err(|error| bad(&key_path, error.to_string()))?;
        let certificate = fs::read_to_string(&certificate_path)
            .map_err(|error| bad(&certificate_path, error.to_string()))?;
        Issuer::from_ca_cert_pem(&certificate, key)
            .map(Self)
            .map_err(|error| bad(&certificate_path, error.to_string()))
    }

    /// A certificate with which `name` can connect, and that shows nothing else.
    ///
    /// # Errors
    /// A name that cannot stand in a certificate.
    pub fn client(&self, name: &str) -> anyhow::Result<Issued> {
        self.issue(name, &[], vec![ExtendedKeyUsagePurpose::ClientAuth])
    }

    /// A certificate with which `name` can connect, and be connected to by its name, on its own
    /// machine, and as each of `hosts`.
    ///
    /// # Errors
    /// A name or host that cannot stand in a certificate.
    pub fn server(&self, name: &str, hosts: &[String]) -> anyhow::Result<Issued> {
        let local = LOCAL_NAMES.map(str::to_owned);
        let hosts: Vec<String> = further_hosts(name, hosts).cloned().collect();
        let usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(name, &[&local[..], &hosts].concat(), usages)
    }

    /// Writes a new certificate and key of one of the site's [`identities`]. `hosts` is for servers.
    ///
    /// # Errors
    /// A host that cannot stand in a certificate, or what the file system says.
    pub fn write(&self, site: &Path, name: &str, hosts: &[String]) -> anyhow::Result<()> {
        let issued = if is_server(name) { self.server(name, hosts)? } else { self.client(name)? };
        let files = Files::of(site, name);
        write_key(&files.key, &issued.key)?;
        // Public, but in the role's own directory.
        write_public(&files.certificate, &issued.certificate)?;
        Ok(())
    }

    fn issue(
        &self,
        name: &str,
        hosts: &[String],
        usages: Vec<ExtendedKeyUsagePurpose>,
    ) -> anyhow::Result<Issued> {
        let mut params = lasting(CERTIFICATE_LASTS);
        // The first name is the identity; the rest is where it is reached.
        let names = [&[name.to_owned()], hosts].concat();
        params.subject_alt_names = CertificateParams::new(names)
            .with_context(|| format!("a certificate for {name:?}"))?
            .subject_alt_names;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?.pem();
        Ok(Issued { certificate, key: Zeroizing::new(key.serialize_pem()) })
    }
}

/// Those of `hosts` that are not in every certificate of this server anyway.
pub fn further_hosts<'a>(name: &str, hosts: &'a [String]) -> impl Iterator<Item = &'a String> {
    hosts.iter().filter(move |host| *host != name && !LOCAL_NAMES.contains(&host.as_str()))
}

/// A name or IP address that can stand in a server's certificate.
///
/// # Errors
/// What is expected.
pub fn host(text: &str) -> Result<String, String> {
    match ServerName::try_from(text) {
        Ok(name) if !text.ends_with('.') => Ok(name.to_str().into_owned()),
        _ => {
            Err("expected a DNS name or an IP address, such as plant.example or 192.0.2.7"
                .to_owned())
        }
    }
}

fn key_path(site: &Path) -> PathBuf {
    site.join("keys").join("ca").join("ca.key")
}

fn write_key(path: &Path, key: &str) -> io::Result<()> {
    make_private_dir(path.parent().expect("in a directory"))?;
    write_private(path, key)
}

fn lasting(time: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    let begin = SystemTime::now() - CLOCK_LATE;
    params.not_before = begin.into();
    params.not_after = (begin + time).into();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
}
