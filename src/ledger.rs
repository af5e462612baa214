//! `vigia ledger`: what became of every accepted reading.

mod books;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use vigia_kit::site::Site;

use crate::addresses::api_url;
use crate::exit::{Answer, Outcome, Unavailable};
use crate::table::print;

pub use books::Books;

/// `vigia ledger`
#[derive(Debug, Args)]
#[command(after_help = "\
accepted = stored + quarantined + duplicate + lost + in flight

Exits 0 only if that balances, nothing is lost and no gap is unexplained; else 1.

Examples:
  vigia ledger --site /srv/vigia
  vigia ledger --api http://plant:8080 --json")]
pub struct Options {
    /// The site directory
    #[arg(long, value_name = "DIR", default_value = "site")]
    site: PathBuf,
    /// Ask this API instead
    #[arg(long, value_name = "URL", conflicts_with = "site")]
    api: Option<String>,
    /// The API's answer as it is
    #[arg(long)]
    json: bool,
}

/// Shows the ledger.
pub fn run(options: &Options) -> Outcome {
    let url = match &options.api {
        Some(url) => url.clone(),
        None => api_url(&Site::open(&options.site)?),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let text = runtime.block_on(fetch(&url))?;
    let books = Books::parse(&text)?;
    print(&if options.json { format!("{}\n", text.trim_end()) } else { books.table(&url) })?;
    Ok(if books.are_clean() { Answer::Yes } else { Answer::No })
}

/// The ledger, as the API at this base URL has it.
///
/// # Errors
/// If there is no answer.
pub async fn fetch(url: &str) -> anyhow::Result<String> {
    get(url, "/api/v1/ledger").await
}

/// What the API at this base URL has at this path.
///
/// # Errors
/// If there is no answer, or no good one.
pub async fn get(url: &str, path: &str) -> anyhow::Result<String> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()
        .context("cannot start the HTTP client")?;
    let url = format!("{}{path}", url.trim_end_matches('/'));
    let answer = client.get(&url).send().await.map_err(|error| unreachable(&url, &error))?;
    let status = answer.status();
    if !status.is_success() {
        return Err(Unavailable(format!("{url} answers {status}")).into());
    }
    Ok(answer.text().await.map_err(|error| unreachable(&url, &error))?)
}

/// The innermost cause says it all; those around it repeat the address.
fn unreachable(url: &str, error: &reqwest::Error) -> Unavailable {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Unavailable(format!("cannot reach {url}: {cause}"))
}
