//! Shared secrets and their MACs. A secret never prints, and only a secret compares MACs.

use std::fmt;

use ring::{digest, hmac};
use secrecy::{ExposeSecret, SecretSlice};

use crate::text_type::text_type;

/// Minimum length of a secret, bytes.
pub const MIN_SECRET_BYTES: usize = 32;

text_type!(
    /// Names one key. 1..64 of `[A-Za-z0-9_-]`.
    KeyId,
    KeyIdError,
    1..=64,
    |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-',
    "a key id is 1 to 64 characters of A-Z a-z 0-9 _ -"
);

/// A shared HMAC-SHA256 secret of at least 32 bytes; wiped when dropped.
#[derive(Clone)]
pub struct HmacSecret(SecretSlice<u8>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("a secret is written in lower-case hexadecimal")]
    NotHex,
    #[error("a secret has at least {MIN_SECRET_BYTES} bytes")]
    TooShort,
}

impl HmacSecret {
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SecretError> {
        if bytes.len() < MIN_SECRET_BYTES {
            return Err(SecretError::TooShort);
        }
        Ok(Self(SecretSlice::from(bytes.to_vec())))
    }

    /// Reads the content of a key file: hexadecimal, white space around it ignored.
    pub fn from_hex(text: &str) -> Result<Self, SecretError> {
        let bytes = zeroize::Zeroizing::new(hex::decode(text.trim()).map_err(|_| SecretError::NotHex)?);
        Self::from_bytes(&bytes)
    }

    pub fn mac(&self, message: &[u8]) -> Mac {
        let mut mac = [0; 32];
        mac.copy_from_slice(hmac::sign(&self.key(), message).as_ref());
        Mac(mac)
    }

    /// Constant-time comparison by `ring`.
    pub fn verify(&self, message: &[u8], mac: &Mac) -> bool {
        hmac::verify(&self.key(), message, &mac.0).is_ok()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.expose_secret())
    }
}

impl fmt::Debug for HmacSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacSecret([redacted])")
    }
}

/// One HMAC-SHA256 tag. No `PartialEq`: only `HmacSecret::verify` may compare tags, in constant time.
#[derive(Clone, Copy, Debug)]
pub struct Mac([u8; 32]);

impl Mac {
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lower-case hexadecimal digits, nothing else.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 || text.bytes().any(|b| b.is_ascii_uppercase()) {
            return None;
        }
        let mut mac = [0; 32];
        hex::decode_to_slice(text, &mut mac).ok()?;
        Some(Self(mac))
    }

    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

/// SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}
