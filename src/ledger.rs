//! `vigia ledger`: what became of every accepted reading.

mod api;
mod books;

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use vigia_kit::site::Site;

use crate::exit::{Answer, Outcome};
use crate::table::print;

pub use api::Api;
pub use books::Books;

/// `vigia ledger`
#[derive(Debug, Args)]
#[command(after_help = "\
accepted = stored + quarantined + duplicate + lost + in flight

Exits 0 only if that balances, nothing is lost and no gap is unexplained; else 1.

Examples:
  vigia ledger --site /srv/vigia
  vigia ledger --api https://plant:8080 --ca ca.pem --token-file ledger.token --json")]
pub struct Options {
    /// The site directory
    #[arg(long, value_name = "DIR", default_value = "site")]
    site: PathBuf,
    /// Ask this API instead
    #[arg(long, value_name = "URL", conflicts_with = "site")]
    api: Option<String>,
    /// With --api: the authority (PEM) whose certificates are believed, tls/ca.pem of the site
    #[arg(long, value_name = "FILE", requires = "api")]
    ca: Option<PathBuf>,
    /// A file (mode 0600) with a token; none is needed for an API that listens on this machine alone
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The API's answer as it is
    #[arg(long)]
    json: bool,
}

/// Shows the ledger.
pub fn run(options: &Options) -> Outcome {
    let token = options.token_file.as_deref();
    let api = match &options.api {
        Some(url) => Api::at(url, options.ca.as_deref(), token)?,
        None => Api::of(&Site::open(&options.site)?, token)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let text = runtime.block_on(api.ledger())?;
    let books = Books::parse(&text)?;
    print(&if options.json { format!("{}\n", text.trim_end()) } else { books.table(api.url()) })?;
    Ok(if books.are_clean() { Answer::Yes } else { Answer::No })
}
