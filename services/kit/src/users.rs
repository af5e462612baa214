//! `keys/broker/users.toml`: the MQTT accounts of the site, a table per user.
//!
//! ```toml
//! [verify]
//! secret = "blake3:…"                      # of 32 random bytes; of a person's password "$argon2id$v=19$…";
//!                                          # without one, only a client certificate opens the account
//! publish = ["vigia/v1/verified/+"]        # topics it may publish to; none if absent
//! subscribe = ["vigia/v1/raw/+"]           # topics it may receive; none if absent
//! messages_per_second = 100                # 5,000 if absent; our own roles have no bound
//! ```

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};
use vigia_protocol::filter::Filter;

use crate::config::ConfigError;
use crate::limits::MAX_USER_BYTES;
use crate::private::{read_private, write_private};
use crate::secret_hash::SecretHash;

/// The name of an MQTT user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct UserName(String);

impl UserName {
    /// 1 to 64 of `a-z`, `0-9`, `-`, `_` and `.`.
    ///
    /// # Errors
    /// What was wrong, with the name.
    pub fn new(name: &str) -> Result<Self, ConfigError> {
        let fits = (1..=MAX_USER_BYTES).contains(&name.len())
            && name
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'));
        if fits {
            return Ok(Self(name.to_owned()));
        }
        Err(ConfigError(format!(
            "{name:?} is not a user name: expected 1 to {MAX_USER_BYTES} of a-z, 0-9, -, _ and ."
        )))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for UserName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for UserName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// What its password must match; without one, only a client certificate opens the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretHash>,
    /// The topics it may publish to.
    #[serde(default)]
    pub publish: Vec<Filter>,
    /// The topics it may receive.
    #[serde(default)]
    pub subscribe: Vec<Filter>,
    /// How many packets it may send a second; the gate has a default for all but our own roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_per_second: Option<NonZeroU32>,
}

/// All accounts of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Users(BTreeMap<UserName, User>);

impl Users {
    /// Reads the file.
    ///
    /// # Errors
    /// A file that is missing or readable by others, or one sentence that names line and user.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read_private(path)?)
            .map_err(|error| ConfigError(format!("{}, {error}", path.display())))
    }

    /// Reads the text of the file.
    fn parse(text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let number = text[..at].matches('\n').count() + 1;
            // The line is not shown: it may be the one with the secret.
            let table = text.lines().take(number).filter_map(|line| line.trim().strip_prefix('['));
            let user = table.last().and_then(|rest| rest.split(']').next());
            let user = user.map_or(String::new(), |user| format!(", user {user:?}"));
            ConfigError(format!("line {number}{user}: {}", error.message().replace('\n', "; ")))
        })
    }

    /// Writes the file, for its owner only.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let tables = toml::to_string(self).expect("plain data has an encoding");
        let head = "# The MQTT accounts. 'vigia user' writes this file; the broker reads it again when it changes.\n\n";
        write_private(path, &format!("{head}{tables}"))
    }

    /// One account.
    pub fn get(&self, name: &str) -> Option<&User> {
        self.0.get(name)
    }

    /// One account, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut User> {
        self.0.get_mut(name)
    }

    /// Adds an account; one with the same name is replaced.
    pub fn insert(&mut self, name: UserName, user: User) {
        self.0.insert(name, user);
    }

    /// Removes an account; says whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// All accounts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&UserName, &User)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::site::Password;

    fn filters(texts: &[&str]) -> Vec<Filter> {
        texts.iter().map(|text| Filter::parse(text).unwrap()).collect()
    }

    fn everything() -> Users {
        let mut users = Users::default();
        let user = |secret| User {
            secret,
            publish: filters(&["vigia/v1/verified/+", "a \"quoted\" level/#"]),
            subscribe: filters(&["$SYS/#"]),
            messages_per_second: NonZeroU32::new(7),
        };
        let random = SecretHash::of_random(&Password::random());
        users.insert(UserName::new("verify").unwrap(), user(Some(random)));
        let slow = SecretHash::of_password(b"correct horse");
        users.insert(UserName::new("maria.lopez").unwrap(), user(Some(slow)));
        let bare =
            User { secret: None, publish: vec![], subscribe: vec![], messages_per_second: None };
        users.insert(UserName::new("0-0_0").unwrap(), bare);
        users
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        let mut users = everything();
        users.save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Users::load(&path).unwrap(), users);
        assert!(users.remove("verify") && !users.remove("verify"));
        users.save(&path).unwrap();
        let read = Users::load(&path).unwrap();
        assert!(read.get("verify").is_none() && read.get("maria.lopez").is_some());
        assert_eq!(read.iter().count(), 2);
        Users::default().save(&path).unwrap();
        assert_eq!(Users::load(&path).unwrap(), Users::default());
    }

    #[test]
    fn a_file_that_is_not_there_or_for_all_to_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        assert!(Users::load(&path).unwrap_err().to_string().contains("users.toml"));
        everything().save(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Users::load(&path).unwrap_err().to_string().contains("0644"));
    }

    #[test]
    fn what_is_wrong_is_said_with_line_and_user_and_without_the_secret() {
        let cases: [(&str, &[&str]); 9] = [
            ("[a]\n[b]\nsecret = \"hunter2\"", &["line 3", "\"b\"", "blake3:"]),
            ("[a]\nsecret = 5", &["line 2", "\"a\"", "expected a string"]),
            ("[a]\npublish = [\"x\", \"x/#/y\"]", &["line 2", "\"a\"", "x/#/y", "last level"]),
            ("[a]\nsubscribe = \"x\"", &["line 2", "\"a\"", "sequence"]),
            ("[a]\npassword = \"x\"", &["line 2", "\"a\"", "unknown", "password"]),
            ("[a]\nmessages_per_second = 0", &["line 2", "\"a\"", "nonzero"]),
            ("[A]", &["line 1", "\"A\"", "a-z"]),
            ("[a]\n[a]", &["line 2", "duplicate"]),
            ("hunter2", &["line 1"]),
        ];
        for (text, parts) in cases {
            let sentence = Users::parse(text).unwrap_err().to_string();
            let missing: Vec<_> = parts.iter().filter(|part| !sentence.contains(**part)).collect();
            assert!(missing.is_empty(), "{text:?}: {missing:?} is not in {sentence:?}");
            assert!(!sentence.contains("hunter2"), "{sentence}");
        }
    }

    #[test]
    fn names_are_short_and_plain() {
        let longest = "a".repeat(MAX_USER_BYTES);
        for good in ["a", "maria.lopez", "line-3_b", &longest] {
            assert_eq!(UserName::new(good).unwrap().as_str(), good);
        }
        let longer = "a".repeat(MAX_USER_BYTES + 1);
        for bad in ["", "A", "a b", "ä", "a/b", "a+", "$SYS", &longer] {
            assert!(UserName::new(bad).is_err(), "{bad}");
        }
    }
}
