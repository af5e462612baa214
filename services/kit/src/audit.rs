//! `data/ROLE/audit.jsonl`: what an assessor asks for, a line each, only ever appended to.
//!
//! ```text
//! {"seq":7,"time":"…","event":"login-refused","fields":{…},"previous":"<hash of line 6>","hash":"…"}
//! ```
//!
//! The hash is of the line before `,"hash"`, so each line vouches for all before it: who changes, removes
//! or reorders lines must write all that follow anew. Who can write the file can do that, and can cut off
//! its end; so take the newest hash elsewhere now and then (`vigia audit verify` shows it).
//!
//! A full file becomes `audit.1.jsonl`, that one `audit.2.jsonl`, and so on; the chain goes through. What
//! fails from outside is bounded to a line a second and kind, with a count, so that nobody can fill the
//! log, or push older lines out of it quickly.

mod chain;
mod verify;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rustix::fs::{FlockOperation, flock};

use crate::audit::chain::End;
use crate::clock;
use crate::limits::{AUDIT_FAILURE_SPACING, AUDIT_FILE_BYTES, AUDIT_FILES, AUDIT_TEXT_CHARACTERS};
use crate::private::make_private_dir;
use crate::site::{Role, Site};

pub use chain::Line;
pub use verify::{Fault, files, verify};

/// What is told of an event, by name.
pub type Fields<'a> = [(&'a str, &'a dyn Display)];

/// An audit log that is written to.
#[derive(Debug)]
pub struct Audit(Mutex<Writer>);

#[derive(Debug)]
struct Writer {
    directory: PathBuf,
    file: File,
    bytes: u64,
    end: End,
    failures: BTreeMap<&'static str, Failures>,
    /// Held for as long as this lives: lines of two writers would be no chain.
    _lock: File,
}

/// The failures of a kind since the last line about it.
#[derive(Debug)]
struct Failures {
    written: Instant,
    unwritten: u64,
}

impl Audit {
    /// Opens the log in this directory, and makes both if they are not there. Waits for another writer.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(directory: &Path) -> io::Result<Self> {
        make_private_dir(directory)?;
        let lock = private().truncate(false).open(directory.join("audit.lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let path = path(directory, 0);
        let mut file = private().append(true).open(&path)?;
        let end = match chain::end(&path, &mut file)? {
            Some(end) => end,
            // The file is new, or empty since it was begun: the one before has the chain's end.
            None => chain::last_of(&self::path(directory, 1))?.unwrap_or_default(),
        };
        let bytes = file.metadata()?.len();
        let (directory, failures) = (directory.to_owned(), BTreeMap::new());
        Ok(Self(Mutex::new(Writer { directory, file, bytes, end, failures, _lock: lock })))
    }

    /// Opens a role's log, and notes with which configuration the role starts.
    ///
    /// # Errors
    /// What the file system says.
    pub fn of_role(site: &Site, role: Role) -> io::Result<Self> {
        let audit = Self::open(&site.data_dir(role)?)?;
        let configuration = fs::read(site.dir().join("vigia.toml"))?;
        audit.note("configuration-loaded", &[("blake3", &blake3::hash(&configuration))]);
        Ok(audit)
    }

    /// Opens the log of what the commands change.
    ///
    /// # Errors
    /// What the file system says.
    pub fn of_site(site: &Site) -> io::Result<Self> {
        Self::open(&site.dir().join("data").join("site"))
    }

    /// Writes what happened. A disk that takes nothing more is told of in the log of the process: no role
    /// stops for that.
    pub fn note(&self, event: &str, fields: &Fields<'_>) {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_or_complain(event, fields);
    }

    /// Writes what somebody outside can make happen as often as they like.
    pub fn note_failure(&self, event: &'static str, fields: &Fields<'_>) {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let unwritten = match writer.failures.get_mut(event) {
            Some(failures) if now < failures.written + AUDIT_FAILURE_SPACING => {
                failures.unwritten += 1;
                return;
            }
            Some(failures) => failures.unwritten,
            None => 0,
        };
        writer.failures.insert(event, Failures { written: now, unwritten: 0 });
        let fields: Vec<(&str, &dyn Display)> =
            fields.iter().copied().chain([("more_before", &unwritten as &dyn Display)]).collect();
        writer.write_or_complain(event, &fields);
    }
}

impl Drop for Writer {
    /// What was only counted is told at the end.
    fn drop(&mut self) {
        for (event, Failures { unwritten, .. }) in std::mem::take(&mut self.failures) {
            if unwritten > 0 {
                self.write_or_complain(event, &[("more_before", &unwritten)]);
            }
        }
    }
}

impl Writer {
    fn write_or_complain(&mut self, event: &str, fields: &Fields<'_>) {
        if let Err(error) = self.write(event, fields) {
            tracing::error!(%error, event, "the audit log cannot be written");
        }
    }

    fn write(&mut self, event: &str, fields: &Fields<'_>) -> io::Result<()> {
        if self.bytes >= AUDIT_FILE_BYTES {
            self.rotate()?;
        }
        let fields = fields.iter().map(|(name, value)| {
            ((*name).to_owned(), value.to_string().chars().take(AUDIT_TEXT_CHARACTERS).collect())
        });
        let (line, end) = self.end.followed_by(clock::now(), event, fields.collect());
        let before = self.bytes;
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Half a line would be one that somebody tampered with.
            self.file.set_len(before)?;
            return Err(error);
        }
        self.bytes += line.len() as u64;
        self.end = end;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (0..AUDIT_FILES - 1).rev() {
            let from = path(&self.directory, number);
            if from.exists() {
                fs::rename(from, path(&self.directory, number + 1))?;
            }
        }
        self.file = private().append(true).open(path(&self.directory, 0))?;
        self.bytes = 0;
        Ok(())
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

/// The newest file is number 0.
fn path(directory: &Path, number: usize) -> PathBuf {
    directory.join(match number {
        0 => "audit.jsonl".to_owned(),
        number => format!("audit.{number}.jsonl"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(directory: &Path) -> Vec<Line> {
        let mut all = Vec::new();
        verify(directory, |line| all.push(line.clone())).unwrap();
        all
    }

    #[test]
    fn a_log_goes_on_where_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        for round in 1..=3 {
            let audit = Audit::open(dir.path()).unwrap();
            audit.note("something", &[("round", &round), ("said", &"a \"quoted\"\nline")]);
        }
        let lines = lines(dir.path());
        let seqs: Vec<u64> = lines.iter().map(|line| line.seq).collect();
        assert_eq!(seqs, [1, 2, 3]);
        assert_eq!(lines[2].fields["round"], "3");
        assert_eq!(lines[1].fields["said"], "a \"quoted\"\nline");
        assert_eq!(lines[0].previous, "0".repeat(64));
    }

    #[test]
    fn half_a_line_of_a_crash_is_removed_and_told_of() {
        let dir = tempfile::tempdir().unwrap();
        Audit::open(dir.path()).unwrap().note("one", &[]);
        let path = path(dir.path(), 0);
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("{\"seq\":2,\"ti");
        fs::write(&path, text).unwrap();
        assert!(verify(dir.path(), |_| ()).is_err());
        Audit::open(dir.path()).unwrap().note("two", &[]);
        let lines = lines(dir.path());
        let events: Vec<&str> = lines.iter().map(|line| line.event.as_str()).collect();
        assert_eq!(events, ["one", "audit-repaired", "two"]);
        assert_eq!(lines[1].fields["bytes_removed"], "12");
    }

    #[test]
    fn failures_are_counted_and_written_once_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(dir.path()).unwrap();
        for number in 0..1_000 {
            audit.note_failure("refused", &[("number", &number)]);
        }
        audit.note_failure("other", &[]);
        drop(audit);
        let lines = lines(dir.path());
        let told: u64 = lines
            .iter()
            .filter(|line| line.event == "refused")
            .map(|line| {
                let own = u64::from(line.fields.contains_key("number"));
                own + line.fields["more_before"].parse::<u64>().unwrap()
            })
            .sum();
        assert_eq!(told, 1_000);
        assert!(lines.len() < 20, "{}", lines.len());
    }

    #[test]
    fn the_log_is_bounded_and_the_chain_goes_through_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(dir.path()).unwrap();
        let text = "x".repeat(AUDIT_TEXT_CHARACTERS);
        let fields: Vec<(String, &dyn Display)> =
            (0..4_000).map(|number| (format!("f{number:04}"), &text as &dyn Display)).collect();
        let fields: Vec<(&str, &dyn Display)> =
            fields.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let per_file = AUDIT_FILE_BYTES / (4_000 * AUDIT_TEXT_CHARACTERS as u64) + 1;
        for _ in 0..per_file * (AUDIT_FILES as u64 + 2) {
            audit.note("large", &fields);
        }
        drop(audit);
        let found = files(dir.path());
        assert_eq!(found.len(), AUDIT_FILES);
        let lines = lines(dir.path());
        assert!(lines[0].seq > 1);
        assert_ne!(lines[0].previous, "0".repeat(64));
        Audit::open(dir.path()).unwrap().note("after", &[]);
        fs::remove_file(&found[1]).unwrap();
        verify(dir.path(), |_| ()).unwrap_err();
    }
}
