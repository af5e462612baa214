//! Seals the messages between stages: who can merely publish cannot inject.
//!
//! A sealed message is its payload followed by 32 bytes: keyed blake3 over the topic's length, the
//! topic and the payload. The text stage writes the same code as its last line instead.

use blake3::Hasher;

use crate::keys::{Secret, same_tag};

/// Bytes of a seal.
pub const SEAL_BYTES: usize = 32;

/// The key of one arrow.
#[derive(Debug, Clone)]
pub struct StageKey(Secret);

/// The seal does not fit: the message is not from the arrow's writer, or not for this topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message's seal does not fit")]
pub struct BadSeal;

impl StageKey {
    /// Takes the arrow's key over.
    pub fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// The seal of `payload` on `topic`.
    pub fn code(&self, topic: &str, payload: &[u8]) -> [u8; SEAL_BYTES] {
        let mut hasher = Hasher::new_keyed(self.0.expose());
        hasher.update(&(topic.len() as u64).to_le_bytes());
        hasher.update(topic.as_bytes());
        hasher.update(payload);
        *hasher.finalize().as_bytes()
    }

    /// Appends the seal.
    pub fn seal(&self, topic: &str, mut payload: Vec<u8>) -> Vec<u8> {
        let code = self.code(topic, &payload);
        payload.extend_from_slice(&code);
        payload
    }

    /// The payload without its seal.
    ///
    /// # Errors
    /// [`BadSeal`].
    pub fn open<'a>(&self, topic: &str, sealed: &'a [u8]) -> Result<&'a [u8], BadSeal> {
        let at = sealed.len().checked_sub(SEAL_BYTES).ok_or(BadSeal)?;
        let (payload, code) = sealed.split_at(at);
        if same_tag(&self.code(topic, payload), code) { Ok(payload) } else { Err(BadSeal) }
    }
}
