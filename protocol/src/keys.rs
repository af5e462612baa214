//! What a sensor's key is made into, and what each holder can do with its part.

use blake3::Hasher;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::header::{NONCE_BYTES, SensorId, TAG_BYTES};

const LINK_CONTEXT: &str = "vigia v1 sensor link";
const PAYLOAD_CONTEXT: &str = "vigia v1 sensor payload";
const SIGNATURE_CONTEXT: &str = "vigia v1 sensor signature";
const NONCE_CONTEXT: &str = "vigia v1 sensor nonce";

/// A 32-byte secret that is wiped when dropped and never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a key file or a cipher.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// K_dev: what a sensor is given, and nobody keeps a copy of.
#[derive(Debug, Clone)]
pub struct DeviceKey(pub Secret);

impl DeviceKey {
    fn derive(&self, context: &str, sensor: SensorId, epoch: u16) -> Secret {
        let mut hasher = Hasher::new_derive_key(context);
        hasher.update(self.0.expose());
        hasher.update(&sensor.0.to_le_bytes());
        hasher.update(&epoch.to_le_bytes());
        Secret(*hasher.finalize().as_bytes())
    }

    /// The part that opens sessions.
    pub fn link(&self, sensor: SensorId, epoch: u16) -> LinkKey {
        LinkKey(self.derive(LINK_CONTEXT, sensor, epoch))
    }

    /// The part that opens and checks readings.
    pub fn reading(&self, sensor: SensorId, epoch: u16) -> ReadingKey {
        ReadingKey {
            payload: self.derive(PAYLOAD_CONTEXT, sensor, epoch),
            signature: self.derive(SIGNATURE_CONTEXT, sensor, epoch),
        }
    }

    /// The part that makes nonces.
    pub fn nonce(&self, sensor: SensorId, epoch: u16) -> NonceKey {
        NonceKey(self.derive(NONCE_CONTEXT, sensor, epoch))
    }
}

/// K_payload and K_sig: with them readings are sealed and opened.
#[derive(Debug, Clone)]
pub struct ReadingKey {
    /// Encrypts.
    pub payload: Secret,
    /// Signs, as a message authentication code.
    pub signature: Secret,
}

impl ReadingKey {
    /// The code over header, nonce and body that stands inside the box.
    pub fn mac(&self, header: &[u8], nonce: &[u8], body: &[u8]) -> [u8; 32] {
        keyed(&self.signature, &[header, nonce, body])
    }
}

/// K_nonce.
#[derive(Debug, Clone)]
pub struct NonceKey(pub Secret);

impl NonceKey {
    /// A nonce that depends on what is sealed and on `random`.
    pub fn nonce(&self, header: &[u8], body: &[u8], random: &[u8; 24]) -> [u8; NONCE_BYTES] {
        let hash = keyed(&self.0, &[header, body, random]);
        *hash.first_chunk().expect("32 bytes hold 24")
    }
}

/// K_link: with it sessions are opened.
#[derive(Debug, Clone)]
pub struct LinkKey(pub Secret);

impl LinkKey {
    /// The tag of a HELLO.
    pub fn hello_tag(&self, untagged: &[u8]) -> [u8; TAG_BYTES] {
        cut(keyed(&self.0, &[b"vigia hello", untagged]))
    }

    /// The tag of a WELCOME to this HELLO.
    pub fn welcome_tag(&self, hello: &[u8], untagged: &[u8]) -> [u8; TAG_BYTES] {
        cut(keyed(&self.0, &[b"vigia welcome", hello, untagged]))
    }

    /// The key of the session that these two opened.
    pub fn session(&self, hello: &[u8], welcome: &[u8]) -> SessionKey {
        SessionKey(Secret(keyed(&self.0, &[b"vigia session", hello, welcome])))
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// From the sensor to the ingress.
    Up = 0,
    /// From the ingress to the sensor.
    Down = 1,
}

/// K_session: ties every frame to its connection, direction and place in it.
#[derive(Debug, Clone)]
pub struct SessionKey(pub Secret);

impl SessionKey {
    /// The tag of the frame number `counter` in this direction.
    pub fn tag(&self, direction: Direction, counter: u64, untagged: &[u8]) -> [u8; TAG_BYTES] {
        cut(keyed(&self.0, &[&[direction as u8], &counter.to_le_bytes(), untagged]))
    }
}

/// Compares two tags in constant time.
pub fn same_tag(ours: &[u8], theirs: &[u8]) -> bool {
    ours.ct_eq(theirs).into()
}

fn keyed(key: &Secret, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Hasher::new_keyed(key.expose());
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

fn cut(hash: [u8; 32]) -> [u8; TAG_BYTES] {
    *hash.first_chunk().expect("32 bytes hold 16")
}
