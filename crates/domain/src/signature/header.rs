//! A signature as it stands in a header.

use std::fmt;
use std::str::FromStr;

use super::secret::{KeyId, Mac};

/// Maximum length of an `X-*-Signature` header, bytes.
pub const MAX_HEADER_BYTES: usize = 1024;
/// Maximum number of `v1=` items in one header: enough for several secrets during a rotation.
pub const MAX_MACS: usize = 4;
/// A parsed `X-Request-Signature` or `X-Mpesa-Signature` header.
#[derive(Clone, Debug)]
pub struct SignatureHeader {
    pub key_id: KeyId,
    pub macs: Vec<Mac>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a signature header is kid=<key id>,v1=<64 lower-case hex>, at most 1 KiB with at most four v1 items"
)]
pub struct SignatureHeaderError;

impl FromStr for SignatureHeader {
    type Err = SignatureHeaderError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_HEADER_BYTES {
            return Err(SignatureHeaderError);
        }
        let mut key_id = None;
        let mut macs = Vec::new();
        for item in text.split(',') {
            let (name, value) = item.split_once('=').ok_or(SignatureHeaderError)?;
            match name {
                "kid" if key_id.is_none() => key_id = Some(value.parse().map_err(|_| SignatureHeaderError)?),
                "v1" if macs.len() < MAX_MACS => macs.push(Mac::from_hex(value).ok_or(SignatureHeaderError)?),
                "kid" | "v1" => return Err(SignatureHeaderError),
                _ => {}
            }
        }
        match key_id {
            Some(key_id) if !macs.is_empty() => Ok(Self { key_id, macs }),
            _ => Err(SignatureHeaderError),
        }
    }
}

impl fmt::Display for SignatureHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kid={}", self.key_id)?;
        self.macs
            .iter()
            .try_for_each(|mac| write!(f, ",v1={}", mac.to_hex()))
    }
}
