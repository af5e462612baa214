//! `vigia token`: who may use the API, what for, and until when.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use clap::{Args, Subcommand};
use serde::Serialize;
use vigia_kit::clock;
use vigia_kit::config::ConfigError;
use vigia_kit::site::{Role, Site};
use vigia_kit::tokens::{BearerToken, Moment, Scope, Token, Tokens};
use vigia_kit::users::UserName;
use vigia_protocol::time::Micros;

use crate::exit::{Answer, Outcome};
use crate::table::{columns, print};
use crate::{audit, duration};

/// `vigia token`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vigia token add dashboard --scope read --expires 90d
  vigia token list --site /srv/vigia
  vigia token revoke dashboard        it opens nothing any more

  curl --cacert tls/ca.pem -H \"Authorization: Bearer $(cat dashboard.token)\" https://HOST:8080/api/v1/ledger

A running store notices at the next request. To replace a token, add another, hand it over, and revoke the
first.")]
pub struct Options {
    /// The site directory, made by `vigia init`
    #[arg(long, value_name = "DIR", default_value = "site", global = true)]
    site: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token, and show it once
    #[command(after_help = "\
Examples:
  vigia token add dashboard --scope read --expires 90d")]
    Add {
        /// Whose it is: 1 to 64 of a-z, 0-9, -, _ and .
        #[arg(value_parser = UserName::new)]
        name: UserName,
        /// What it allows; each also what those before it do
        #[arg(long, value_parser = scopes())]
        scope: Scope,
        /// After what time it opens nothing any more (12h, 90d); never if absent
        #[arg(long, value_name = "TIME", value_parser = duration::parse)]
        expires: Option<Duration>,
    },
    /// Show all tokens; not their secrets, which nobody has
    #[command(after_help = "\
Examples:
  vigia token list --site /srv/vigia
  vigia token list --json")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a token
    #[command(after_help = "\
Examples:
  vigia token revoke dashboard")]
    Revoke {
        /// Its name
        #[arg(value_parser = UserName::new)]
        name: UserName,
    },
}

fn scopes() -> impl TypedValueParser<Value = Scope> {
    PossibleValuesParser::new(Scope::ALL.map(Scope::name)).map(|text| {
        let named = Scope::ALL.into_iter().find(|scope| scope.name() == text);
        named.expect("one of the possible values")
    })
}

/// Does what was asked.
pub fn run(options: &Options) -> Outcome {
    let site = Site::open(&options.site)?;
    match &options.action {
        Action::Add { name, scope, expires } => add(&site, name, *scope, *expires)?,
        Action::List { json } => list(&load(&site)?, *json)?,
        Action::Revoke { name } => revoke(&site, name)?,
    }
    Ok(Answer::Yes)
}

/// A site that was made before there were tokens has no file of them.
fn load(site: &Site) -> Result<Tokens, ConfigError> {
    let path = site.tokens_path();
    if path.exists() { Tokens::load(&path) } else { Ok(Tokens::default()) }
}

fn add(
    site: &Site,
    name: &UserName,
    scope: Scope,
    expires: Option<Duration>,
) -> anyhow::Result<()> {
    // Two commands at the same time must not lose each other's change.
    let _one_at_a_time = site.lock("token")?;
    let mut tokens = load(site)?;
    if tokens.get(name.as_str()).is_some() {
        return Err(ConfigError(format!(
            "token {name} is there already, expected another name; 'vigia token revoke {name}' removes it"
        ))
        .into());
    }
    let now = clock::now();
    let expires = expires.map(|after| {
        let after = i64::try_from(after.as_micros()).unwrap_or(i64::MAX);
        Moment(Micros(now.0.saturating_add(after)))
    });
    let bearer = BearerToken::random();
    tokens.insert(
        name.clone(),
        Token { secret: bearer.hash(), scope, created: Moment(now), expires },
    )?;
    tokens.save(&site.tokens_path())?;
    audit::note(site, "token-added", &[("token", name), ("scope", &scope)])?;
    let until = expires.map_or_else(String::new, |at| format!(", until {}", at.0));
    print(&format!(
        "Token {name} allows {scope}{until}.\nThe token, shown this once: {}\n",
        bearer.expose()
    ))?;
    Ok(())
}

fn revoke(site: &Site, name: &UserName) -> anyhow::Result<()> {
    let _one_at_a_time = site.lock("token")?;
    let mut tokens = load(site)?;
    if !tokens.remove(name.as_str()) {
        return Err(ConfigError(format!(
            "there is no token {name}; 'vigia token list' shows which there are"
        ))
        .into());
    }
    tokens.save(&site.tokens_path())?;
    audit::note(site, "token-revoked", &[("token", name)])?;
    let warning = if name.as_str() == Role::Alert.name() {
        format!(
            "The alert role waits for what it missed until {} holds another.\n",
            site.api_token_path().display()
        )
    } else {
        String::new()
    };
    print(&format!("Token {name} is revoked: it opens nothing any more.\n{warning}"))?;
    Ok(())
}

/// A token, as `list --json` shows it.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a UserName,
    scope: Scope,
    created: Moment,
    expires: Option<Moment>,
    expired: bool,
}

fn list(tokens: &Tokens, json: bool) -> anyhow::Result<()> {
    let now = clock::now();
    let shown: Vec<Shown> = tokens
        .iter()
        .map(|(name, token)| Shown {
            name,
            scope: token.scope,
            created: token.created,
            expires: token.expires,
            expired: token.has_expired(now),
        })
        .collect();
    if json {
        print(&format!("{}\n", serde_json::to_string(&shown)?))?;
        return Ok(());
    }
    let heading = ["NAME", "SCOPE", "STATE", "CREATED", "EXPIRES"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(shown.iter().map(|token| {
        vec![
            token.name.to_string(),
            token.scope.to_string(),
            if token.expired { "expired" } else { "valid" }.to_owned(),
            token.created.0.to_string(),
            token.expires.map_or_else(|| "never".to_owned(), |at| at.0.to_string()),
        ]
    }));
    print(&columns(&rows))?;
    Ok(())
}
