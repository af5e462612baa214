//! Who can read what must stay secret, and whether each role has what it needs to start.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use vigia_kit::config::ConfigError;
use vigia_kit::site::{Role, Site};
use vigia_kit::tokens::{BearerToken, Tokens};
use vigia_kit::users::Users;

use super::check::Check;

/// Files that are named; the rest is counted.
const NAMED: usize = 3;

/// Everything about secrets.
pub fn checks(site: &Site) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut open = Vec::new();
    let mut foreign = Vec::new();
    let owner = fs::metadata(site.dir().join("vigia.toml")).map(|file| file.uid()).unwrap_or(0);
    let listed = ["keys", "devices"].iter().try_for_each(|part| {
        for (path, metadata) in files_below(&site.dir().join(part))? {
            if metadata.mode() & 0o077 != 0 && !is_public(&path) {
                open.push(path.clone());
            }
            if metadata.uid() != owner {
                foreign.push(path);
            }
        }
        Ok::<(), io::Error>(())
    });
    checks.push(match listed {
        Err(error) => Check::fail(
            "secrets",
            format!("cannot look through keys/ and devices/: {error}"),
            "run this as the user who owns the site",
        ),
        Ok(()) if !open.is_empty() => Check::fail(
            "secrets",
            format!("others can read {}", some(&open)),
            format!("'chmod 600 {}', and replace what may have been read", open[0].display()),
        ),
        Ok(()) if !foreign.is_empty() => Check::warn(
            "secrets",
            format!("not owned by uid {owner}, as vigia.toml is: {}", some(&foreign)),
            format!("'chown {owner}' them, unless each role has a user of its own"),
        ),
        Ok(()) => Check::ok("secrets", "for their owner only"),
    });
    for role in Role::ALL {
        let name = format!("secrets of {}", role.name());
        let directory = site.keys_dir(role);
        if !directory.exists() {
            checks.push(Check::warn(
                name,
                format!("{} is not there", directory.display()),
                "fine if that role runs elsewhere; else put it back from a copy",
            ));
        } else if !open.iter().any(|path| path.starts_with(&directory)) {
            checks.push(match load(site, role) {
                Ok(()) => Check::ok(name, "can be used"),
                Err(error) => Check::fail(
                    name,
                    error.to_string(),
                    "put it back from a copy: the role does not start without it",
                ),
            });
        }
    }
    checks
}

/// What the role reads when it starts.
fn load(site: &Site, role: Role) -> Result<(), ConfigError> {
    site.secrets(role)?;
    match role {
        Role::Broker => Users::load(&site.users_path()).map(drop),
        Role::Store => Tokens::load(&site.tokens_path()).map(drop),
        Role::Alert => BearerToken::load(&site.api_token_path()).map(drop),
        Role::Verify | Role::Transform | Role::Modbus => Ok(()),
    }
}

/// Certificates are for everybody.
fn is_public(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "pem")
}

/// All files below a directory, nothing if it is not there.
fn files_below(directory: &Path) -> io::Result<Vec<(PathBuf, fs::Metadata)>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push((path, metadata));
        }
    }
    Ok(files)
}

fn some(paths: &[PathBuf]) -> String {
    let named: Vec<String> =
        paths.iter().take(NAMED).map(|path| path.display().to_string()).collect();
    match paths.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
