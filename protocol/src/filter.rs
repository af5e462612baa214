//! Topic names and topic filters of MQTT, after section 4.7 of MQTT 5.0 (3.1.1 says the same).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{MAX_TOPIC_BYTES, MAX_TOPIC_LEVELS};

/// What is wrong with a topic name or a topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// It is empty or too long.
    #[error("it has {0} bytes, expected 1 to {MAX_TOPIC_BYTES}")]
    Length(usize),
    /// It has too many levels.
    #[error("it has {0} levels, expected at most {MAX_TOPIC_LEVELS}")]
    Levels(usize),
    /// It has a NUL.
    #[error("it has a NUL character, which MQTT does not allow")]
    Nul,
    /// A topic name has a wildcard.
    #[error("it has a wildcard, + or #, expected the name of one topic")]
    Wildcard,
    /// A filter's wildcard is not a level of its own, or a `#` is not the last one.
    #[error("expected every + to be a level of its own, and a # to be the last level")]
    MisplacedWildcard,
}

/// Checks the topic name of a PUBLISH or of a will.
///
/// # Errors
/// What is wrong with it.
pub fn check_topic(topic: &str) -> Result<(), TopicError> {
    check_shape(topic)?;
    if topic.contains(['+', '#']) { Err(TopicError::Wildcard) } else { Ok(()) }
}

fn check_shape(text: &str) -> Result<(), TopicError> {
    if !(1..=MAX_TOPIC_BYTES).contains(&text.len()) {
        return Err(TopicError::Length(text.len()));
    }
    if text.contains('\0') {
        return Err(TopicError::Nul);
    }
    let levels = text.split('/').count();
    if levels > MAX_TOPIC_LEVELS { Err(TopicError::Levels(levels)) } else { Ok(()) }
}

/// A topic filter: which topics a subscription or a permission is about. Cheap to clone.
///
/// The `$share/GROUP/` of a shared subscription is not part of a filter; here it would be a level like
/// any other.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Filter(Arc<str>);

impl Filter {
    /// Checks a filter.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_shape(text)?;
        let last = text.split('/').count() - 1;
        let misplaced = text.split('/').enumerate().any(|(index, level)| match level {
            "+" => false,
            "#" => index != last,
            _ => level.contains(['+', '#']),
        });
        if misplaced { Err(TopicError::MisplacedWildcard) } else { Ok(Self(text.into())) }
    }

    /// The filter, as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it matches a topic name.
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.begins_with_wildcard() {
            return false;
        }
        let mut levels = topic.split('/');
        for wanted in self.0.split('/') {
            // What is before `/#` matches too: it does not ask for a level more.
            if wanted == "#" {
                return true;
            }
            match levels.next() {
                Some(level) if wanted == "+" || wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    /// The filter that matches exactly the topics that both match; `None` if there are none. It may be
    /// longer than a filter that is parsed: up to what both have together.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        if self.is_kept_from(other) || other.is_kept_from(self) {
            return None;
        }
        let (mut ours, mut theirs) = (self.0.split('/'), other.0.split('/'));
        let mut common = Vec::new();
        loop {
            match (ours.next(), theirs.next()) {
                (Some("#"), level) => {
                    common.extend(level.into_iter().chain(theirs));
                    break;
                }
                (level, Some("#")) => {
                    common.extend(level.into_iter().chain(ours));
                    break;
                }
                (Some("+"), Some(level)) | (Some(level), Some("+")) => common.push(level),
                (Some(level), Some(same)) if level == same => common.push(level),
                (None, None) => break,
                _ => return None,
            }
        }
        // One empty level: no topic has that name.
        (common != [""]).then(|| Self(common.join("/").into()))
    }

    /// Whether it matches every topic that `other` matches.
    pub fn covers(&self, other: &Self) -> bool {
        if self.is_kept_from(other) {
            return false;
        }
        // No topic is empty, so that these say the same as what they are replaced with.
        let mut theirs = match other.as_str() {
            "#" => "+/#",
            "/#" => "/+/#",
            text => text,
        }
        .split('/');
        for ours in self.0.split('/') {
            if ours == "#" {
                return true;
            }
            match theirs.next() {
                Some(level) if ours == level || (ours == "+" && level != "#") => {}
                _ => return false,
            }
        }
        theirs.next().is_none()
    }

    fn begins_with_wildcard(&self) -> bool {
        self.0.starts_with(['+', '#'])
    }

    /// Wildcards in the first level do not reach the topics that begin with `$`.
    fn is_kept_from(&self, other: &Self) -> bool {
        self.begins_with_wildcard() && other.0.starts_with('$')
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|error| {
            serde::de::Error::custom(format!("{text:?} is not a topic filter: {error}"))
        })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    #[test]
    fn the_examples_of_the_standard() {
        for (text, topic, matches) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/uptime", false),
            ("+/monitor/clients", "$SYS/monitor/clients", false),
            ("$SYS/#", "$SYS/uptime", true),
            ("$SYS/monitor/+", "$SYS/monitor/clients", true),
            ("a/$b", "a/$b", true),
            ("+/$b", "a/$b", true),
            ("ACCOUNTS", "Accounts", false),
        ] {
            assert_eq!(filter(text).matches(topic), matches, "{text} {topic}");
        }
    }

    #[test]
    fn what_is_no_filter_or_no_topic_says_why() {
        for text in ["sport/tennis#", "sport/tennis/#/ranking", "sport+", "+#", "##", "a/+b/c"] {
            assert_eq!(Filter::parse(text), Err(TopicError::MisplacedWildcard), "{text}");
            assert_eq!(check_topic(text), Err(TopicError::Wildcard), "{text}");
        }
        let levels = |count: usize| vec!["a"; count].join("/");
        for check in [check_topic, |text: &str| Filter::parse(text).map(|_| ())] {
            assert_eq!(check(""), Err(TopicError::Length(0)));
            let long = MAX_TOPIC_BYTES + 1;
            assert_eq!(check(&"a".repeat(long)), Err(TopicError::Length(long)));
            assert_eq!(check(&"a".repeat(MAX_TOPIC_BYTES)), Ok(()));
            assert_eq!(check("a\0"), Err(TopicError::Nul));
            let many = MAX_TOPIC_LEVELS + 1;
            assert_eq!(check(&levels(many)), Err(TopicError::Levels(many)));
            assert_eq!(check(&levels(MAX_TOPIC_LEVELS)), Ok(()));
            assert_eq!(check("/"), Ok(()));
        }
    }

    #[test]
    fn intersections_are_what_one_would_write() {
        for (one, other, both) in [
            ("#", "a/+", Some("a/+")),
            ("a/#", "+/b/#", Some("a/b/#")),
            ("a/#", "a", Some("a")),
            ("a/+", "+/b", Some("a/b")),
            ("a/+/c", "a/#", Some("a/+/c")),
            ("a/b", "a/c", None),
            ("a/+", "a", None),
            ("a/b/#", "a", None),
            ("/#", "+", None),
            ("#", "$SYS/#", None),
            ("+/x", "$SYS/x", None),
            ("$SYS/#", "$SYS/+/x", Some("$SYS/+/x")),
        ] {
            let (one, other) = (filter(one), filter(other));
            for found in [one.intersection(&other), other.intersection(&one)] {
                assert_eq!(found.as_ref().map(Filter::as_str), both, "{one} {other}");
            }
        }
    }
}
