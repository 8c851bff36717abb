//! Idempotency keys and fingerprints (docs/IDEMPOTENCY.md).

use crate::signature::sha256;
use crate::text_type::text_type;

text_type!(
    /// 16..128 of `[A-Za-z0-9_-]`, chosen by the client.
    IdempotencyKey,
    IdempotencyKeyError,
    16..=128,
    |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-',
    "an idempotency key is 16 to 128 characters of A-Z a-z 0-9 _ -"
);

/// SHA-256 over method, path, query and body, each with its length in front.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub fn of(method: &str, path: &str, query: &str, body: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(body.len() + 128);
        for part in [method.as_bytes(), path.as_bytes(), query.as_bytes(), body] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Self(sha256(&bytes))
    }

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The result of claiming an idempotency key for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The key was not used within the window.
    Fresh,
    /// The same request was answered before: return the stored answer.
    Replay,
    /// The key was used for another request.
    Reused,
}

/// Compares the stored fingerprint, if any, with the request's.
pub fn claim(stored: Option<Fingerprint>, request: Fingerprint) -> Claim {
    match stored {
        None => Claim::Fresh,
        Some(fingerprint) if fingerprint == request => Claim::Replay,
        Some(_) => Claim::Reused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn idempotency_key_format() {
        assert!(
            "8e03978e-40d5-43e8-bc93-6894a57f9324"
                .parse::<IdempotencyKey>()
                .is_ok()
        );
        for bad in [
            "",
            "short",
            &"a".repeat(15),
            &"a".repeat(129),
            "8e03978e 40d5-43e8-bc93",
        ] {
            assert_eq!(bad.parse::<IdempotencyKey>(), Err(IdempotencyKeyError), "{bad}");
        }
    }

    #[test]
    fn bytes_cannot_move_between_parts() {
        let a = Fingerprint::of("POST", "/ab", "c", b"");
        let b = Fingerprint::of("POST", "/a", "bc", b"");
        assert_ne!(a, b);
    }

    #[test]
    fn a_claim_compares_fingerprints() {
        let (a, b) = (Fingerprint::from_bytes([1; 32]), Fingerprint::from_bytes([2; 32]));
        assert_eq!(claim(None, a), Claim::Fresh);
        assert_eq!(claim(Some(a), a), Claim::Replay);
        assert_eq!(claim(Some(b), a), Claim::Reused);
    }

    proptest! {
        #[test]
        fn no_input_panics(text in ".{0,200}") {
            let _ = text.parse::<IdempotencyKey>();
        }
    }
}
