//! How this site's programs ask its API: with a token, and by TLS, believing only the site's authority.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use rustls::{ClientConfig, RootCertStore};

use crate::config::ConfigError;
use crate::tls::{self, VERSIONS, provider};
use crate::tokens::BearerToken;

/// A client that waits no longer than `within` for an answer. It believes the certificates of the
/// authority in the file `ca`, without one none, and shows the token if there is one. It follows no
/// redirection, which could carry the token away.
///
/// # Errors
/// A file that holds no certificate.
pub fn client(
    ca: Option<&Path>,
    token: Option<&BearerToken>,
    within: Duration,
) -> Result<reqwest::Client, ConfigError> {
    let roots = ca.map_or_else(|| Ok(RootCertStore::empty()), tls::roots)?;
    let tls = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map(|builder| builder.with_root_certificates(roots).with_no_client_auth())
        .map_err(|error| ConfigError(error.to_string()))?;
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|error| ConfigError(error.to_string()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    reqwest::Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .tls_backend_preconfigured(tls)
        .default_headers(headers)
        .timeout(within)
        .build()
        .map_err(|error| ConfigError(format!("cannot start the HTTP client: {error}")))
}
