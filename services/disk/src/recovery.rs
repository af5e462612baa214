//! After an I/O error: a mark beside the file, and a copy of the file before it is served again.
//!
//! After a failed sync the page cache may hold rows that the disk does not have and never will: the kernel
//! counts those pages as clean. Copying writes what the cache shows to new blocks, and syncs them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

/// Leaves the mark, as well as a broken disk permits.
pub(crate) fn mark(path: &Path) {
    let mark = beside(path, ".ioerror");
    let left = File::create(&mark).and_then(|file| file.sync_all());
    if let Err(error) = left.and_then(|()| sync_directory(path)) {
        tracing::error!(mark = %mark.display(), %error, "cannot leave the mark of an I/O error");
    }
}

/// Copies the file if there is a mark.
pub(crate) fn copy_after_error(path: &Path) -> io::Result<()> {
    let mark = beside(path, ".ioerror");
    if !mark.try_exists()? {
        return Ok(());
    }
    if path.try_exists()? {
        tracing::warn!(file = %path.display(), "copying the file: its disk had an I/O error");
        let fresh = beside(path, ".copy");
        if let Err(error) = copy(path, &fresh) {
            // It would take the room that the next try needs.
            let _ = fs::remove_file(&fresh);
            let bytes = fs::metadata(path).map_or(0, |file| file.len());
            let words =
                format!("after an I/O error it is copied, which needs {bytes} bytes: {error}");
            return Err(io::Error::new(error.kind(), words));
        }
        fs::rename(&fresh, path)?;
        sync_directory(path)?;
    }
    fs::remove_file(&mark)?;
    sync_directory(path)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut to = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    io::copy(&mut File::open(from)?, &mut to)?;
    to.sync_all()
}

/// Makes names in the file's directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}
