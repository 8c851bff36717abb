//! The strings to sign and their MACs (docs/SIGNING.md). The secret never prints.

mod header;
mod secret;

pub use header::{MAX_HEADER_BYTES, MAX_MACS, SignatureHeader, SignatureHeaderError};
pub use secret::{HmacSecret, KeyId, KeyIdError, MIN_SECRET_BYTES, Mac, SecretError, sha256};

/// The scheme of a signed request. The first line of the signed string differs, so neither scheme passes as the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningScheme {
    Request,
    Mpesa,
}

/// The eight lines of a signed request (docs/SIGNING.md).
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'a> {
    pub scheme: SigningScheme,
    pub key_id: &'a KeyId,
    /// The header's text as received, unix seconds.
    pub timestamp: &'a str,
    pub method: &'a str,
    /// Raw path as received.
    pub path: &'a str,
    /// Raw query without `?`, or empty.
    pub query: &'a str,
    /// Empty for reads and for M-Pesa.
    pub idempotency_key: &'a str,
    pub body: &'a [u8],
}

impl SignedRequest<'_> {
    pub fn string_to_sign(&self) -> String {
        let scheme = match self.scheme {
            SigningScheme::Request => "FR1-REQUEST",
            SigningScheme::Mpesa => "FR1-MPESA",
        };
        let body = hex::encode(sha256(self.body));
        [
            scheme,
            self.key_id.as_str(),
            self.timestamp,
            self.method,
            self.path,
            self.query,
            self.idempotency_key,
            &body,
        ]
        .join("\n")
    }

    pub fn sign(&self, secret: &HmacSecret) -> SignatureHeader {
        SignatureHeader {
            key_id: self.key_id.clone(),
            macs: vec![secret.mac(self.string_to_sign().as_bytes())],
        }
    }

    /// True if any of the header's tags is right. Every tag is tried, so that the time does not reveal which one.
    pub fn verify(&self, secret: &HmacSecret, macs: &[Mac]) -> bool {
        let message = self.string_to_sign();
        macs.iter()
            .fold(false, |ok, mac| secret.verify(message.as_bytes(), mac) | ok)
    }
}

/// The seven lines of a signed answer (docs/SIGNING.md).
#[derive(Clone, Copy, Debug)]
pub struct SignedResponse<'a> {
    pub key_id: &'a KeyId,
    /// Unix seconds, also sent as `X-Response-Timestamp`.
    pub timestamp: i64,
    pub status: u16,
    pub request_id: &'a str,
    pub idempotency_key: &'a str,
    pub body: &'a [u8],
}

impl SignedResponse<'_> {
    pub fn string_to_sign(&self) -> String {
        format!(
            "FR1-RESPONSE\n{}\n{}\n{}\n{}\n{}\n{}",
            self.key_id,
            self.timestamp,
            self.status,
            self.request_id,
            self.idempotency_key,
            hex::encode(sha256(self.body))
        )
    }

    pub fn sign(&self, secret: &HmacSecret) -> SignatureHeader {
        SignatureHeader {
            key_id: self.key_id.clone(),
            macs: vec![secret.mac(self.string_to_sign().as_bytes())],
        }
    }
}

/// Unix seconds of an `X-Request-Timestamp` header: 1..12 digits.
pub fn parse_timestamp(text: &str) -> Option<i64> {
    let ok = (1..=12).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if ok { text.parse().ok() } else { None }
}

/// Fresh means |now - timestamp| <= window, all in seconds.
pub fn is_fresh(now: i64, timestamp: i64, window_seconds: u64) -> bool {
    now.abs_diff(timestamp) <= window_seconds
}

#[cfg(test)]
mod tests;
