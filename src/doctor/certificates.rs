//! Certificates: how long they last, and whether those who connect will believe them.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;
use vigia_kit::clock;
use vigia_kit::site::{Role, Site};
use vigia_kit::tls::{self, Files, provider};

use super::check::Check;
use crate::cert::authority::identities;
use crate::cert::certificate::Certificate;

const MICROS_PER_DAY: i64 = 24 * 60 * 60 * 1_000_000;
/// A certificate that ends within this time should be renewed.
const RENEW_DAYS: i64 = 30;

/// The authority's certificate, and that of each role whose keys are here; nothing on a site without TLS.
pub fn checks(site: &Site) -> Vec<Check> {
    let config = &site.config;
    let wanted = config.mqtt.tls || config.store.tls || config.broker.mqtt_tls.is_some();
    let authority = tls::authority(site.dir());
    if !authority.exists() {
        let found = || format!("vigia.toml asks for TLS, but {} is not there", authority.display());
        let todo = "copy it from where 'vigia init --tls' was run, or turn TLS off";
        return wanted.then(|| Check::fail("certificates", found(), todo)).into_iter().collect();
    }
    let mut checks = vec![lasts(
        "certificate of ca",
        &authority,
        "make a new site, or an authority of the same key by other means; then renew all",
    )];
    // The one for people may have been carried away.
    let here = |name: &&str| {
        Role::ALL.iter().any(|role| role.name() == *name)
            && site.dir().join("keys").join(name).exists()
    };
    checks.extend(identities().filter(here).map(|name| identity(site, name)));
    checks
}

fn identity(site: &Site, name: &str) -> Check {
    let check = format!("certificate of {name}");
    let renew = format!("'vigia cert renew --role {name} --site {}'", site.dir().display());
    let files = Files::of(site.dir(), name);
    let lasts = lasts(&check, &files.certificate, &renew);
    if lasts.todo.is_some() {
        return lasts;
    }
    match believed(&files) {
        Ok(()) => lasts,
        Err(error) => Check::fail(check, format!("{error:#}"), renew),
    }
}

/// Whether the site's authority has signed it, and its key is the right one.
fn believed(files: &Files) -> anyhow::Result<()> {
    files.client()?;
    let identity = files.read()?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&identity.roots), provider())
            .build()?;
    let (own, rest) = identity.chain.split_first().expect("Files::read finds one at least");
    verifier.verify_client_cert(own, rest, UnixTime::now()).map_err(|error| {
        anyhow::anyhow!(
            "{}: tls/ca.pem does not vouch for it: {error}",
            files.certificate.display()
        )
    })?;
    Ok(())
}

fn lasts(check: &str, path: &Path, todo: &str) -> Check {
    let not_after = match Certificate::read(path) {
        Ok(certificate) => certificate.not_after,
        Err(error) => return Check::fail(check, error.to_string(), todo),
    };
    let days = (not_after.0 - clock::now().0).div_euclid(MICROS_PER_DAY);
    match days {
        ..0 => Check::fail(check, format!("ended at {not_after}"), todo),
        0..RENEW_DAYS => Check::warn(check, format!("ends in {days} days, at {not_after}"), todo),
        _ => Check::ok(check, format!("good for {days} days")),
    }
}
