//! How a file that was made under another name gets its own: whole, durable, and never over another.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::recovery::sync_directory;

/// Gives `from` the name `to` in the same directory.
///
/// # Errors
/// If something has that name already, or what the file system says.
pub fn place_new(from: &Path, to: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?;
    sync_directory(to)
}

/// Gives `from` the name `to` in the same directory. What had it is kept as `aside`, where nothing may be
/// yet. At no moment is there nothing called `to`, out of which a new file would be made.
///
/// # Errors
/// What the file system says.
pub fn replace_keeping(from: &Path, to: &Path, aside: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    match fs::hard_link(to, aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(from, to)?;
    sync_directory(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_takes_no_name_that_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| dir.path().join(name));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        assert_eq!(place_new(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&to).unwrap(), "old");
        fs::remove_file(&to).unwrap();
        place_new(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "new");
        assert!(!from.exists());
    }

    #[test]
    fn what_is_replaced_is_kept_and_keeps_what_was_kept_before() {
        let dir = tempfile::tempdir().unwrap();
        let [from, to, aside] = ["from", "to", "aside"].map(|name| dir.path().join(name));
        fs::write(&from, "first").unwrap();
        replace_keeping(&from, &to, &aside).unwrap();
        assert!(!aside.exists(), "there was nothing to keep");
        fs::write(&from, "second").unwrap();
        replace_keeping(&from, &to, &aside).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "second");
        assert_eq!(fs::read_to_string(&aside).unwrap(), "first");
        fs::write(&from, "third").unwrap();
        replace_keeping(&from, &to, &aside).unwrap_err();
        assert_eq!(fs::read_to_string(&to).unwrap(), "second");
    }
}
