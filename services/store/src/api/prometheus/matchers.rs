//! Conditions on labels. A label that is not there has the empty value, as everywhere in Prometheus.

use regex::{Regex, RegexBuilder};

use super::wire::LabelMatcher;
use crate::limits::PROMETHEUS_REGEX_BYTES;

/// A condition on one label.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// Which label.
    pub label: String,
    condition: Condition,
    /// Whether the condition must be false.
    negated: bool,
}

#[derive(Debug, Clone)]
enum Condition {
    Equal(String),
    Matches(Regex),
}

impl Matcher {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it, in one sentence.
    pub fn new(asked: &LabelMatcher) -> Result<Self, String> {
        let condition = match asked.kind {
            0 | 1 => Condition::Equal(asked.value.clone()),
            2 | 3 => Condition::Matches(anchored(&asked.value)?),
            kind => return Err(format!("a matcher of type {kind}, expected 0 to 3")),
        };
        Ok(Self { label: asked.name.clone(), condition, negated: asked.kind % 2 == 1 })
    }

    /// Whether a value of the label fulfils it.
    pub fn holds(&self, value: &str) -> bool {
        let fulfilled = match &self.condition {
            Condition::Equal(expected) => value == expected,
            Condition::Matches(regex) => regex.is_match(value),
        };
        fulfilled != self.negated
    }
}

/// Matches whole values only.
fn anchored(pattern: &str) -> Result<Regex, String> {
    let whole = format!("^(?s:{pattern})$");
    RegexBuilder::new(&whole).size_limit(PROMETHEUS_REGEX_BYTES).build().map_err(|error| {
        let last = error.to_string();
        let last = last.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("the regular expression {pattern:?} cannot be used: {last}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(kind: i32, value: &str) -> Result<Matcher, String> {
        Matcher::new(&LabelMatcher { kind, name: "sensor".to_owned(), value: value.to_owned() })
    }

    #[test]
    fn a_matcher_means_whole_values() {
        for (kind, value, held, not_held) in [
            (0, "12", "12", "1"),
            (1, "12", "1", "12"),
            (2, "1|2.", "29", "11"),
            (2, "", "", "1"),
            (3, "1.*", "21", "12"),
        ] {
            let matcher = matcher(kind, value).unwrap();
            assert!(matcher.holds(held), "{kind} {value:?} {held:?}");
            assert!(!matcher.holds(not_held), "{kind} {value:?} {not_held:?}");
        }
    }

    #[test]
    fn what_cannot_be_matched_is_named() {
        assert!(matcher(2, "(").unwrap_err().contains("\"(\""));
        assert!(matcher(2, r"\w{1000}{1000}").unwrap_err().contains("cannot be used"));
        assert!(matcher(4, "").unwrap_err().contains("type 4"));
    }
}
