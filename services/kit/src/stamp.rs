//! Whether a file has changed, without reading it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What changes when a file does, or its mode: inode, size and time of change. `None`: it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(Option<(u64, u64, i64, i64)>);

impl Stamp {
    /// Of the file as it is now. Taken before reading it, so that a change in between is seen as one.
    pub fn of(path: &Path) -> Self {
        let metadata = std::fs::metadata(path).ok();
        Self(metadata.map(|file| (file.ino(), file.size(), file.ctime(), file.ctime_nsec())))
    }
}
