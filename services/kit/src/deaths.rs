//! What a process died of: which message it was reading when it ended without a word, remembered in two
//! small files. A message at which it has died too often is poison, and is not read again.
//!
//! Nothing is synced: the files must survive the process, not the machine. A message is known by its seal.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use vigia_protocol::stage::SEAL_BYTES;

use crate::limits::{DEATHS_OF_POISON, DEATHS_REMEMBERED};
use crate::private::write_private;
use crate::site::{Role, Site};

/// What stands where a message's seal does while none is read.
const NOTHING: Seal = [0; SEAL_BYTES];

type Seal = [u8; SEAL_BYTES];

/// See the module.
#[derive(Debug)]
pub struct Deaths {
    /// Where a message's seal stands while it is read; nowhere if the disk does not allow it.
    under_way: Option<File>,
    /// The messages at which a process ended, oldest first.
    at: Vec<Seal>,
}

impl Deaths {
    /// What the role of this site remembers, with the death of its last process, if it died reading. A disk
    /// that remembers nothing is no reason not to work.
    pub fn of_role(site: &Site, role: Role) -> Self {
        let recalled = site.data_dir(role).and_then(|directory| Self::recall(&directory));
        recalled.unwrap_or_else(|error| {
            tracing::warn!(%error, "what ends this process cannot be remembered");
            Self { under_way: None, at: Vec::new() }
        })
    }

    fn recall(directory: &Path) -> io::Result<Self> {
        let remembered = directory.join("deaths");
        let mut at: Vec<Seal> = match fs::read_to_string(&remembered) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            text => text?.lines().filter_map(seal_from_hex).collect(),
        };
        let path = directory.join("under-way");
        let under_way =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut last = NOTHING;
        // A file that was just made is shorter, and says nothing.
        if under_way.read_exact_at(&mut last, 0).is_ok() && last != NOTHING {
            at.push(last);
            at.drain(..at.len().saturating_sub(DEATHS_REMEMBERED));
            let lines: Vec<String> = at.iter().map(hex::encode).collect();
            write_private(&remembered, &format!("{}\n", lines.join("\n")))?;
        }
        under_way.write_all_at(&NOTHING, 0)?;
        Ok(Self { under_way: Some(under_way), at })
    }

    /// Whether reading this message has ended a process too often.
    pub fn is_poison(&self, message: &[u8]) -> bool {
        let seal = seal(message);
        self.at.iter().filter(|other| **other == seal).count() >= DEATHS_OF_POISON
    }

    /// From now on this message is read: if the process ends, that was its death.
    pub fn note(&self, message: &[u8]) {
        self.write(&seal(message));
    }

    /// It has been read.
    pub fn forget(&self) {
        self.write(&NOTHING);
    }

    fn write(&self, seal: &Seal) {
        // What is not noted is read all the same: then its deaths do not count.
        let written = self.under_way.as_ref().map(|file| file.write_all_at(seal, 0));
        if let Some(Err(error)) = written {
            tracing::warn!(%error, "what is read cannot be noted");
        }
    }
}

/// The end of a message; of one too short to have a seal, which nobody reads, all there is.
fn seal(message: &[u8]) -> Seal {
    let mut seal = NOTHING;
    let end = &message[message.len().saturating_sub(SEAL_BYTES)..];
    seal[..end.len()].copy_from_slice(end);
    seal
}

fn seal_from_hex(line: &str) -> Option<Seal> {
    let mut seal = NOTHING;
    hex::decode_to_slice(line, &mut seal).ok()?;
    Some(seal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLY: &[u8] = b"a message whose seal is its end: 0123456789abcdef0123456789abcdef";
    const OTHER: &[u8] = b"a message whose seal is its end: fedcba9876543210fedcba9876543210";

    /// A process that dies reading it.
    fn dies_of(directory: &Path, message: &[u8]) {
        Deaths::recall(directory).unwrap().note(message);
    }

    #[test]
    fn a_message_is_poison_at_the_third_death_whatever_was_read_in_between() {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..DEATHS_OF_POISON {
            let deaths = Deaths::recall(directory.path()).unwrap();
            assert!(!deaths.is_poison(DEADLY));
            deaths.note(OTHER);
            deaths.forget();
            dies_of(directory.path(), DEADLY);
        }
        // Also after a start that follows no death.
        for _ in 0..2 {
            let deaths = Deaths::recall(directory.path()).unwrap();
            assert!(deaths.is_poison(DEADLY) && !deaths.is_poison(OTHER));
        }
    }

    #[test]
    fn who_ends_while_nothing_is_read_died_of_nothing() {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..2 * DEATHS_OF_POISON {
            let deaths = Deaths::recall(directory.path()).unwrap();
            deaths.note(OTHER);
            deaths.forget();
            assert!(!deaths.is_poison(OTHER));
        }
    }

    #[test]
    fn only_so_many_deaths_are_remembered() {
        let directory = tempfile::tempdir().unwrap();
        dies_of(directory.path(), DEADLY);
        (0..DEATHS_REMEMBERED).for_each(|_| dies_of(directory.path(), OTHER));
        let deaths = Deaths::recall(directory.path()).unwrap();
        assert_eq!(deaths.at.len(), DEATHS_REMEMBERED);
        assert!(deaths.at.iter().all(|other| *other == seal(OTHER)));
    }
}
