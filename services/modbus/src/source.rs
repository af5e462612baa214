//! The text of a map, read key by key, so that whatever is wrong is named with its file, line and key.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::limits::MAX_SHOWN_CHARS;

/// A map that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {found}, expected {allowed}")]
pub struct MapError {
    /// The file, as it was named.
    pub file: String,
    /// The line in it, from 1.
    pub line: usize,
    /// The key and what was found there.
    pub found: String,
    /// What is allowed there.
    pub allowed: String,
}

/// A file's name and text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
}

impl<'a> Source<'a> {
    /// Reads the text as TOML.
    pub(crate) fn parse(self) -> Result<Section<'a>, MapError> {
        let table = DeTable::parse(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            self.error(at, error.message().replace('\n', "; "), "TOML".to_owned())
        })?;
        Ok(Section { source: self, path: String::new(), start: 0, table: table.into_inner() })
    }

    fn error(self, at: usize, found: String, allowed: String) -> MapError {
        MapError { file: self.file.to_owned(), line: self.line(at), found, allowed }
    }

    fn line(self, at: usize) -> usize {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

/// A table, of which each key is taken once; what is left over at the end is unknown.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    source: Source<'a>,
    path: String,
    start: usize,
    table: DeTable<'a>,
}

impl<'a> Section<'a> {
    /// The value of a key, if it is there.
    pub(crate) fn take(&mut self, key: &str) -> Option<Entry<'a>> {
        let value = self.table.remove(key)?;
        Some(Entry {
            source: self.source,
            path: self.path_of(key),
            span: value.span(),
            value: value.into_inner(),
        })
    }

    /// The value of a key that must be there.
    pub(crate) fn require(&mut self, key: &str, allowed: &str) -> Result<Entry<'a>, MapError> {
        self.take(key).ok_or_else(|| self.missing(key, allowed))
    }

    /// That a key is missing which must be there.
    pub(crate) fn missing(&self, key: &str, allowed: &str) -> MapError {
        self.error(format!("{} is missing", self.path_of(key)), allowed)
    }

    /// Something that is wrong with the table as a whole.
    pub(crate) fn error(&self, found: String, allowed: impl Into<String>) -> MapError {
        self.source.error(self.start, found, allowed.into())
    }

    /// The line where it begins.
    pub(crate) fn line(&self) -> usize {
        self.source.line(self.start)
    }

    /// Refuses the first key that nobody took. `known` are those that somebody would.
    pub(crate) fn finish(self, known: &[&str]) -> Result<(), MapError> {
        let first = self.table.keys().min_by_key(|key| key.span().start);
        first.map_or(Ok(()), |key| {
            let found = format!("{} is unknown", self.path_of(key.get_ref()));
            Err(self.source.error(key.span().start, found, one_of(known)))
        })
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// The value of a key.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'a> {
    source: Source<'a>,
    path: String,
    span: Range<usize>,
    value: DeValue<'a>,
}

impl<'a> Entry<'a> {
    /// That the value is not what is allowed here.
    pub(crate) fn error(&self, allowed: impl Into<String>) -> MapError {
        let text = self.source.text.get(self.span.clone()).unwrap_or_default();
        let mut shown: String = text.chars().take(MAX_SHOWN_CHARS).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        let found = format!("{} = {}", self.path, shown.replace('\n', " "));
        self.source.error(self.span.start, found, allowed.into())
    }

    /// A text.
    pub(crate) fn text(&self, allowed: &str) -> Result<&str, MapError> {
        self.value.as_str().ok_or_else(|| self.error(allowed))
    }

    /// An integer, within bounds.
    pub(crate) fn integer(&self, bounds: RangeInclusive<i64>, unit: &str) -> Result<i64, MapError> {
        let value = self.any_integer().filter(|value| bounds.contains(value));
        value.ok_or_else(|| {
            let space = if unit.is_empty() { "" } else { " " };
            self.error(format!("{} to {}{space}{unit}", bounds.start(), bounds.end()))
        })
    }

    /// An integer, if it is one.
    pub(crate) fn any_integer(&self) -> Option<i64> {
        let integer = self.value.as_integer()?;
        i64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    /// A number that is finite, written as an integer or not.
    pub(crate) fn number(&self, allowed: &str) -> Result<f64, MapError> {
        let float = || self.value.as_float()?.as_str().parse::<f64>().ok();
        let value = self.any_integer().map(|value| value as f64).or_else(float);
        value.filter(|value| value.is_finite()).ok_or_else(|| self.error(allowed))
    }

    /// Two numbers, the first below the second.
    pub(crate) fn range(&self) -> Result<[f64; 2], MapError> {
        let allowed = "[low, high], two numbers, low below high";
        let ends: Vec<f64> = self
            .list(2, allowed)?
            .iter()
            .map(|end| end.number(allowed))
            .collect::<Result<_, _>>()?;
        match ends[..] {
            [low, high] if low < high => Ok([low, high]),
            _ => Err(self.error(allowed)),
        }
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, MapError> {
        let found = self.value.as_str();
        let found = words.iter().find(|(word, _)| Some(*word) == found);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.error(one_of(&words))
        })
    }

    /// A list of at most `most`.
    pub(crate) fn list(&self, most: usize, allowed: &str) -> Result<Vec<Entry<'a>>, MapError> {
        let list = self.value.as_array().filter(|list| list.len() <= most);
        let list = list.ok_or_else(|| self.error(allowed))?;
        let entry = |value: &Spanned<DeValue<'a>>| Entry {
            source: self.source,
            path: self.path.clone(),
            span: value.span(),
            value: value.get_ref().clone(),
        };
        Ok(list.iter().map(entry).collect())
    }

    /// A table.
    pub(crate) fn section(&self, allowed: &str) -> Result<Section<'a>, MapError> {
        let table = self.value.as_table().ok_or_else(|| self.error(allowed))?;
        Ok(Section {
            source: self.source,
            path: self.path.clone(),
            start: self.span.start,
            table: table.clone(),
        })
    }
}

/// What is allowed, of a few words.
pub(crate) fn one_of(words: &[&str]) -> String {
    format!("one of {}", words.join(", "))
}
