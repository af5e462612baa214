//! What a file keeps of a secret, so that who reads the file cannot log in with it.

use std::fmt;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroize;

use crate::clock;
use crate::limits::ARGON2_COST;
use crate::site::Password;

const CONTEXT: &str = "vigia v1 user secret";
const FAST: &str = "blake3:";

/// The hash of a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretHash {
    /// Of 32 random bytes, which nobody guesses: a fast one is enough. Compared in constant time.
    Fast(blake3::Hash),
    /// Of what a person made up: argon2id, slow and hungry for memory on purpose.
    Argon2(Box<PasswordHash>),
}

impl SecretHash {
    /// The fast hash of a password that was made by [`Password::random`].
    pub fn of_random(password: &Password) -> Self {
        Self::Fast(fast(password.0.as_bytes()))
    }

    /// The slow hash of a password that a person chose; takes tens of milliseconds.
    ///
    /// # Panics
    /// If the password has 4 GiB or more.
    pub fn of_password(password: &[u8]) -> Self {
        let salt = clock::random::<16>();
        let hash = Argon2::default().hash_password_with_salt(password, &salt);
        Self::Argon2(Box::new(hash.expect("argon2 takes its own parameters")))
    }

    /// Whether this is the secret. What differs between secrets is compared in constant time.
    pub fn matches(&self, secret: &[u8]) -> bool {
        match self {
            Self::Fast(hash) => *hash == fast(secret),
            Self::Argon2(hash) => Argon2::default().verify_password(secret, &**hash).is_ok(),
        }
    }

    /// `None` if the text is neither `blake3:` and 64 hexadecimal digits nor an argon2id hash (PHC
    /// string) that can be computed at a bearable cost.
    fn parse(text: &str) -> Option<Self> {
        if let Some(digits) = text.strip_prefix(FAST) {
            return blake3::Hash::from_hex(digits).ok().map(Self::Fast);
        }
        let hash = PasswordHash::new(text).ok()?;
        let params = Params::try_from(&hash).ok()?;
        let (memory, passes) = ARGON2_COST;
        let usable = hash.algorithm == Algorithm::Argon2id.ident()
            && hash.version.is_none_or(|version| version == 0x13)
            && hash.salt.is_some()
            && hash.hash.is_some()
            && params.m_cost() <= memory
            && params.t_cost() <= passes;
        usable.then(|| Self::Argon2(Box::new(hash)))
    }
}

fn fast(secret: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    let hash = hasher.update(secret).finalize();
    hasher.zeroize();
    hash
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

impl Serialize for SecretHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fast(hash) => serializer.collect_str(&format_args!("{FAST}{hash}")),
            Self::Argon2(hash) => serializer.collect_str(hash),
        }
    }
}

impl<'de> Deserialize<'de> for SecretHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The value is not shown: somebody may have written the secret itself.
        Self::parse(&String::deserialize(deserializer)?).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "a secret is not a hash that can be used, expected \"{FAST}\" and 64 hexadecimal \
                 digits, or \"$argon2id$v=19$…\"; 'vigia user' writes them"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(hash: &SecretHash) -> String {
        serde_json::to_value(hash).unwrap().as_str().unwrap().to_owned()
    }

    #[test]
    fn a_hash_knows_its_secret_also_after_it_was_written() {
        let random = Password::random();
        let hashes = [
            (SecretHash::of_random(&random), random.0.clone(), FAST),
            (
                SecretHash::of_password(b"correct horse"),
                "correct horse".to_owned(),
                "$argon2id$v=19$",
            ),
        ];
        for (hash, secret, begins) in hashes {
            let text = shown(&hash);
            assert!(text.starts_with(begins), "{text}");
            let read = SecretHash::parse(&text).unwrap();
            assert_eq!(read, hash);
            assert!(read.matches(secret.as_bytes()));
            assert!(!read.matches(b"") && !read.matches(format!("{secret}x").as_bytes()));
        }
    }

    #[test]
    fn the_same_password_twice_has_two_hashes() {
        assert_ne!(SecretHash::of_password(b"one"), SecretHash::of_password(b"one"));
    }

    #[test]
    fn what_is_no_usable_hash_is_refused() {
        let good = shown(&SecretHash::of_password(b"a"));
        assert!(SecretHash::parse(&good).is_some());
        for bad in [
            String::new(),
            "blake3:".to_owned(),
            format!("blake3:{}", "0".repeat(63)),
            format!("blake2:{}", "0".repeat(64)),
            "plain password".to_owned(),
            good.replace("argon2id", "argon2i"),
            good.replace("argon2id", "scrypt"),
            good.replace("v=19", "v=16"),
            good.replace("m=19456", "m=4194304"),
            good.replace("t=2", "t=4000000000"),
            good.rsplit_once('$').unwrap().0.to_owned(),
        ] {
            assert!(SecretHash::parse(&bad).is_none(), "{bad}");
        }
    }
}
