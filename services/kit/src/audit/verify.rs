//! Whether a log is as it was written.

use std::fs;
use std::path::{Path, PathBuf};

use crate::audit::chain::{End, Line};
use crate::audit::path;
use crate::limits::AUDIT_FILES;

/// What is wrong with a log, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}, line {line}: {problem}", file.display())]
pub struct Fault {
    /// In which file.
    pub file: PathBuf,
    /// In which line, from 1; 0 if it is the whole file.
    pub line: usize,
    /// What.
    pub problem: String,
}

/// The files of the log in this directory, oldest first.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let all = (0..AUDIT_FILES).rev().map(|number| path(directory, number));
    all.filter(|file| file.exists()).collect()
}

/// Reads a log from its oldest line to its newest, and shows each. Returns the newest's number and hash.
/// What the oldest line follows, if it is not the first of all, has been let go of and is believed.
///
/// # Errors
/// The first line that is not as it was written, or does not follow the one before.
pub fn verify(directory: &Path, mut show: impl FnMut(&Line)) -> Result<(u64, String), Fault> {
    let mut end: Option<End> = None;
    let files = files(directory);
    // Only then can there have been older ones.
    let lets_go = files.len() == AUDIT_FILES;
    for file in files {
        let fault = |line, problem: String| Fault { file: file.clone(), line, problem };
        let text = fs::read(&file).map_err(|error| fault(0, error.to_string()))?;
        let text = String::from_utf8(text).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
            fault(line, "was changed: it is no UTF-8 text".to_owned())
        })?;
        for (number, line) in (1..).zip(text.split_inclusive('\n')) {
            let fault = |problem: String| fault(number, problem);
            let line = line.strip_suffix('\n').ok_or_else(|| fault("is not whole".to_owned()))?;
            let line = Line::parse(line).map_err(fault)?;
            let before = end.clone().unwrap_or_else(|| match lets_go && line.seq > 1 {
                true => End { seq: line.seq - 1, hash: line.previous.clone() },
                false => End::default(),
            });
            if before.seq.checked_add(1) != Some(line.seq) || line.previous != before.hash {
                return Err(fault(format!(
                    "is number {} and follows another line than number {}, which stands before it: \
                     lines were removed, added or reordered",
                    line.seq, before.seq
                )));
            }
            show(&line);
            end = Some(End { seq: line.seq, hash: line.hash });
        }
    }
    let End { seq, hash } = end.unwrap_or_default();
    Ok((seq, hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Audit;

    /// A log of five lines, as somebody left it.
    fn tampered(with: impl FnOnce(&mut Vec<String>)) -> Result<(u64, String), Fault> {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(dir.path()).unwrap();
        for number in 1..=5 {
            audit.note("event", &[("number", &number)]);
        }
        drop(audit);
        let file = dir.path().join("audit.jsonl");
        let text = fs::read_to_string(&file).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        with(&mut lines);
        fs::write(&file, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        verify(dir.path(), |_| ())
    }

    #[test]
    fn what_was_not_touched_is_good() {
        assert_eq!(tampered(|_| ()).unwrap().0, 5);
    }

    #[test]
    fn every_byte_that_is_changed_is_noticed_in_its_line() {
        let length = {
            let mut length = 0;
            tampered(|lines| length = lines[2].len()).unwrap();
            length
        };
        for at in 0..length {
            let fault = tampered(|lines| {
                let mut bytes = lines[2].clone().into_bytes();
                bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
                lines[2] = String::from_utf8(bytes).unwrap();
            });
            assert_eq!(fault.unwrap_err().line, 3, "byte {at}");
        }
    }

    #[test]
    fn removed_reordered_and_repeated_lines_are_noticed() {
        assert_eq!(tampered(|lines| drop(lines.remove(2))).unwrap_err().line, 3);
        assert_eq!(tampered(|lines| drop(lines.remove(0))).unwrap_err().line, 1);
        assert_eq!(tampered(|lines| lines[3].push(' ')).unwrap_err().line, 4);
        assert_eq!(tampered(|lines| lines.swap(1, 2)).unwrap_err().line, 2);
        assert_eq!(tampered(|lines| lines.insert(3, lines[2].clone())).unwrap_err().line, 4);
        assert_eq!(tampered(|lines| lines.push("more".to_owned())).unwrap_err().line, 6);
    }
}
