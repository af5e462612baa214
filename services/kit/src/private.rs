//! Files that only their owner may read, and files that appear whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::config::ConfigError;

/// Reads a secret file.
///
/// # Errors
/// If it is not there, or if others can read it.
pub fn read_private(path: &Path) -> Result<String, ConfigError> {
    let said = |problem: String| ConfigError(format!("{}: {problem}", path.display()));
    let metadata = fs::metadata(path).map_err(|error| said(error.to_string()))?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(said(format!(
            "others can read this secret (mode {mode:04o}), expected 0600; 'chmod 600' it, and replace \
             the secret if it may have been read"
        )));
    }
    fs::read_to_string(path).map_err(|error| said(error.to_string()))
}

/// Writes a file with mode 0600 that appears whole or not at all, synced.
///
/// # Errors
/// What the file system says.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    replace(path, text, 0o600)
}

/// Writes a file that appears whole or not at all, synced.
///
/// # Errors
/// What the file system says.
pub fn write_public(path: &Path, text: &str) -> io::Result<()> {
    replace(path, text, 0o644)
}

fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.{}", std::process::id()));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

/// Makes a directory that only its owner may enter.
///
/// # Errors
/// What the file system says.
pub fn make_private_dir(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}
