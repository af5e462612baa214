//! `keys/store/tokens.toml`: who may use the API, a table per token.
//!
//! ```toml
//! [dashboard]
//! secret = "blake3:…"                 # what the token must match
//! scope = "read"                      # or "operate", or "admin"; each allows what those before it do
//! created = "2026-01-31T08:30:00.000000Z"
//! expires = "2026-05-01T08:30:00.000000Z"   # never if absent
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vigia_protocol::time::Micros;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::config::ConfigError;
use crate::limits::MAX_TOKENS;
use crate::private::{read_private, write_private};
use crate::secret_hash::SecretHash;
use crate::site::Password;
use crate::users::UserName;

/// What a bearer token begins with, so that scanners for leaked secrets know it.
const PREFIX: &str = "vgt_";

/// What its bearer shows: the prefix and 32 random bytes as hexadecimal. Never printed by accident.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct BearerToken(String);

impl BearerToken {
    /// A new one.
    pub fn random() -> Self {
        Self(format!("{PREFIX}{}", Password::random().0))
    }

    /// Reads a file that holds nothing else.
    ///
    /// # Errors
    /// A file that is missing, readable by others, or holds no token.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = zeroize::Zeroizing::new(read_private(path)?);
        text.trim_end().parse().map_err(|NotAToken| {
            ConfigError(format!("{}: holds no token, expected {NotAToken}", path.display()))
        })
    }

    /// Writes it into a file of its own, for its owner only.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        write_private(path, &format!("{}\n", self.0))
    }

    /// The text, to show it once or to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What a file may keep of it.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of_random(&Password(self.0.clone()))
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(…)")
    }
}

/// The text is no token. It is not shown: it may be another secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{PREFIX} and 64 hexadecimal digits")]
pub struct NotAToken;

impl FromStr for BearerToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let digits = text.strip_prefix(PREFIX).ok_or(NotAToken)?;
        let fits = digits.len() == 64
            && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if fits { Ok(Self(text.to_owned())) } else { Err(NotAToken) }
    }
}

/// What a token allows: each scope also what those before it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// To read everything.
    Read,
    /// To do what operators do.
    Operate,
    /// To change who may do what.
    Admin,
}

impl Scope {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Admin];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A time as RFC 3339 text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Micros);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// What is known of one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// What the bearer's token must match.
    pub secret: SecretHash,
    /// What it allows.
    pub scope: Scope,
    /// When it was made.
    pub created: Moment,
    /// From when on it opens nothing; never if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Moment>,
}

impl Token {
    /// Whether it opens nothing any more.
    pub fn has_expired(&self, now: Micros) -> bool {
        self.expires.is_some_and(|expires| expires.0 <= now)
    }
}

/// All tokens of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tokens(BTreeMap<UserName, Token>);

impl Tokens {
    /// Reads the file.
    ///
    /// # Errors
    /// A file that is missing or readable by others, or one sentence that names line and token.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read_private(path)?)
            .map_err(|error| ConfigError(format!("{}, {error}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, ConfigError> {
        let tokens: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let number = text[..at].matches('\n').count() + 1;
            // The line is not shown: somebody may have written the token itself.
            ConfigError(format!("line {number}: {}", error.message().replace('\n', "; ")))
        })?;
        if tokens.0.len() > MAX_TOKENS {
            return Err(ConfigError(format!(
                "{} tokens, expected at most {MAX_TOKENS}",
                tokens.0.len()
            )));
        }
        Ok(tokens)
    }

    /// Writes the file, for its owner only.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let tables = toml::to_string(self).expect("plain data has an encoding");
        let head = "# The API's tokens. 'vigia token' writes this file; the store reads it again when it changes.\n\n";
        write_private(path, &format!("{head}{tables}"))
    }

    /// One token.
    pub fn get(&self, name: &str) -> Option<&Token> {
        self.0.get(name)
    }

    /// Adds a token; one with the same name is replaced.
    ///
    /// # Errors
    /// If there are too many already.
    pub fn insert(&mut self, name: UserName, token: Token) -> Result<(), ConfigError> {
        if self.0.len() >= MAX_TOKENS && !self.0.contains_key(&name) {
            return Err(ConfigError(format!(
                "there are {MAX_TOKENS} tokens already, expected fewer"
            )));
        }
        self.0.insert(name, token);
        Ok(())
    }

    /// Removes a token; says whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// All tokens, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&UserName, &Token)> {
        self.0.iter()
    }

    /// Whose token this is, and what it allows now. All are compared, each in constant time.
    pub fn holder(&self, shown: &str, now: Micros) -> Option<(&UserName, Scope)> {
        let shown = shown.parse::<BearerToken>().ok()?.hash();
        let mut holder = None;
        for (name, token) in &self.0 {
            if token.secret == shown && !token.has_expired(now) {
                holder = Some((name, token.scope));
            }
        }
        holder
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn token(bearer: &BearerToken, scope: Scope, expires: Option<i64>) -> Token {
        Token {
            secret: bearer.hash(),
            scope,
            created: Moment(Micros(0)),
            expires: expires.map(|at| Moment(Micros(at))),
        }
    }

    fn name(text: &str) -> UserName {
        UserName::new(text).unwrap()
    }

    #[test]
    fn a_holder_is_found_until_the_token_expires() {
        let (forever, soon) = (BearerToken::random(), BearerToken::random());
        let mut tokens = Tokens::default();
        tokens.insert(name("a"), token(&forever, Scope::Read, None)).unwrap();
        tokens.insert(name("b"), token(&soon, Scope::Admin, Some(100))).unwrap();
        let holder = |shown: &str, now| {
            tokens.holder(shown, Micros(now)).map(|(name, scope)| (name.as_str(), scope))
        };
        assert_eq!(holder(forever.expose(), i64::MAX), Some(("a", Scope::Read)));
        assert_eq!(holder(soon.expose(), 99), Some(("b", Scope::Admin)));
        assert_eq!(holder(soon.expose(), 100), None);
        assert_eq!(holder(BearerToken::random().expose(), 0), None);
        for wrong in ["", "vgt_", &forever.expose()[4..], &forever.expose().to_uppercase()] {
            assert_eq!(holder(wrong, 0), None, "{wrong}");
        }
    }

    #[test]
    fn scopes_have_an_order() {
        assert!(Scope::Read < Scope::Operate && Scope::Operate < Scope::Admin);
    }

    #[test]
    fn what_is_saved_is_loaded_and_holds_no_token() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        let bearer = BearerToken::random();
        let mut tokens = Tokens::default();
        tokens.insert(name("a"), token(&bearer, Scope::Operate, Some(5))).unwrap();
        tokens.save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Tokens::load(&path).unwrap(), tokens);
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&bearer.expose()[4..]) && text.contains("1970-01-01T00:00:00"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Tokens::load(&path).unwrap_err().to_string().contains("0640"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_without_the_secret() {
        for (text, part) in [
            ("[a]\nsecret = \"hunter2\"", "line 2"),
            ("[A]", "a-z"),
            ("[a]\nscope = \"root\"", "root"),
            ("[a]\nexpires = \"hunter\"", "RFC 3339"),
        ] {
            let sentence = Tokens::parse(text).unwrap_err().to_string();
            assert!(sentence.contains(part), "{text:?}: {sentence}");
            assert!(!sentence.contains("hunter2"), "{sentence}");
        }
    }

    #[test]
    fn a_token_file_holds_one_token_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.token");
        let bearer = BearerToken::random();
        bearer.save(&path).unwrap();
        assert_eq!(BearerToken::load(&path).unwrap().expose(), bearer.expose());
        fs::write(&path, "hunter2").unwrap();
        let sentence = BearerToken::load(&path).unwrap_err().to_string();
        assert!(sentence.contains("vgt_") && !sentence.contains("hunter2"), "{sentence}");
        assert_eq!(format!("{bearer:?}"), "BearerToken(…)");
    }
}
