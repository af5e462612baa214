//! The API from which the ledger is fetched.

use std::path::Path;
use std::time::Duration;

use vigia_kit::api;
use vigia_kit::config::ConfigError;
use vigia_kit::site::Site;
use vigia_kit::tls;
use vigia_kit::tokens::BearerToken;

use crate::addresses::api_url;
use crate::exit::Unavailable;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A page of the API is far smaller.
const ANSWER_BYTES: usize = 8 << 20;

/// See the module.
pub struct Api {
    client: reqwest::Client,
    url: String,
}

impl Api {
    /// At this base URL, with the certificates of the authority in `ca` and the token in a file.
    ///
    /// # Errors
    /// A URL that is none, or a file that cannot be used.
    pub fn at(url: &str, ca: Option<&Path>, token: Option<&Path>) -> Result<Self, ConfigError> {
        if !reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            return Err(ConfigError(format!(
                "{url:?} is not an API's URL, expected http://HOST:PORT or https://HOST:PORT"
            )));
        }
        let token = token.map(BearerToken::load).transpose()?;
        let client = api::client(ca, token.as_ref(), ANSWER_WITHIN)?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned() })
    }

    /// Of a site of this machine, with the token in a file.
    ///
    /// # Errors
    /// As [`Api::at`].
    pub fn of(site: &Site, token: Option<&Path>) -> Result<Self, ConfigError> {
        let url = api_url(site);
        let ca = url.starts_with("https:").then(|| tls::authority(site.dir()));
        Self::at(&url, ca.as_deref(), token)
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The ledger as it answers it.
    ///
    /// # Errors
    /// If there is no answer, or a refusal.
    pub async fn ledger(&self) -> anyhow::Result<String> {
        self.get("/api/v1/ledger").await
    }

    /// What it has at this path.
    ///
    /// # Errors
    /// If there is no answer, one that is too long, or a refusal.
    pub async fn get(&self, path: &str) -> anyhow::Result<String> {
        let url = format!("{}{path}", self.url);
        let answer = self.client.get(&url).send().await;
        let mut answer = answer.map_err(|error| unreachable(&url, &error))?;
        let status = answer.status();
        if matches!(status.as_u16(), 401 | 403) {
            return Err(ConfigError(format!(
                "{url} answers {status}, expected --token-file with a token that 'vigia token add' made"
            ))
            .into());
        }
        if !status.is_success() {
            return Err(Unavailable(format!("{url} answers {status}")).into());
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| unreachable(&url, &error))? {
            if bytes.len() + chunk.len() > ANSWER_BYTES {
                let most = ANSWER_BYTES;
                return Err(Unavailable(format!("{url} answers more than {most} bytes")).into());
            }
            bytes.extend_from_slice(&chunk);
        }
        String::from_utf8(bytes)
            .map_err(|_| Unavailable(format!("{url} answers something that is no text")).into())
    }
}

/// The innermost cause says it all; those around it repeat the address.
fn unreachable(url: &str, error: &reqwest::Error) -> Unavailable {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Unavailable(format!("cannot reach {url}: {cause}"))
}
