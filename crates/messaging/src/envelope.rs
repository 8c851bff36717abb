//! The JSON envelope around every body: sealed fields, the seal, and unsealed hints.
//!
//! Parsing is bounded and never panics. `attempt`, `firstSeen` and `traceparent` are hints: anyone who can write to the
//! broker can change them, so they may delay or park a message but never authorize anything.

use domain::ids::{IntentId, MessageId};
use domain::signature::{KeyId, Mac};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Version of the envelope format. It is sealed.
pub const VERSION: u8 = 1;
/// Maximum size of a message, in bytes. A 16 KiB report fits twice, encoded as base64 inside nested JSON.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// The envelope as it is transmitted. Nothing in it is trustworthy until [`crate::seal::Opener`] has verified the seal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Envelope {
    pub v: u8,
    pub queue: String,
    pub kid: String,
    pub message_id: MessageId,
    #[serde(default)]
    pub causation_id: Option<MessageId>,
    #[serde(default)]
    pub intent_id: Option<IntentId>,
    /// The exact JSON text that is sealed.
    pub body: String,
    /// 64 lower-case hexadecimal digits.
    pub seal: String,
    pub attempt: u32,
    #[serde(with = "time::serde::rfc3339")]
    pub first_seen: OffsetDateTime,
    #[serde(default)]
    pub traceparent: Option<String>,
}

/// The unsealed part of an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hints {
    /// Which attempt this is, counted from 1.
    pub attempt: u32,
    pub first_seen: OffsetDateTime,
    /// W3C trace context; `None` if malformed.
    pub traceparent: Option<String>,
}

/// Why bytes are not an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    #[error("the message has more than {MAX_MESSAGE_BYTES} bytes")]
    TooLarge,
    #[error("the message is not an envelope of version {VERSION}")]
    NotAnEnvelope,
    #[error("the envelope's key id or seal is malformed")]
    BadSealForm,
}

impl Envelope {
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(EnvelopeError::TooLarge);
        }
        let mut envelope: Self = serde_json::from_slice(bytes).map_err(|_| EnvelopeError::NotAnEnvelope)?;
        if envelope.v != VERSION {
            return Err(EnvelopeError::NotAnEnvelope);
        }
        envelope.attempt = envelope.attempt.max(1);
        envelope.traceparent = envelope.traceparent.filter(|text| is_traceparent(text));
        Ok(envelope)
    }

    pub fn key_id(&self) -> Result<KeyId, EnvelopeError> {
        self.kid.parse().map_err(|_| EnvelopeError::BadSealForm)
    }

    pub fn mac(&self) -> Result<Mac, EnvelopeError> {
        Mac::from_hex(&self.seal).ok_or(EnvelopeError::BadSealForm)
    }

    pub fn hints(&self) -> Hints {
        Hints {
            attempt: self.attempt,
            first_seen: self.first_seen,
            traceparent: self.traceparent.clone(),
        }
    }

    /// The input of the seal: every field is prefixed with its length, so that no two messages have the same input.
    pub fn sealed_string(&self) -> Vec<u8> {
        let causation = self.causation_id.map(|id| id.to_string()).unwrap_or_default();
        let intent = self.intent_id.map(|id| id.to_string()).unwrap_or_default();
        let (version, message) = (self.v.to_string(), self.message_id.to_string());
        let fields = [
            "FR1-SEAL",
            &version,
            &self.kid,
            &self.queue,
            &message,
            &causation,
            &intent,
            &self.body,
        ];
        let mut out = Vec::with_capacity(fields.iter().map(|f| f.len() + 4).sum());
        for field in fields {
            let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(field.as_bytes());
        }
        out
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, lower case.
pub(crate) fn is_traceparent(text: &str) -> bool {
    let lengths = [2, 32, 16, 2];
    let mut parts = text.split('-');
    let well_formed = lengths.iter().all(|length| {
        parts.next().is_some_and(|part| {
            part.len() == *length
                && part
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        })
    });
    well_formed && parts.next().is_none() && text.starts_with("00-")
}

/// Reads the trace context of a message in an outbox, without verifying the seal.
pub fn traceparent(bytes: &[u8]) -> Option<String> {
    Envelope::parse(bytes).ok()?.traceparent
}

/// The trace id inside a well-formed `traceparent`.
pub(crate) fn trace_id(traceparent: &str) -> Option<&str> {
    if is_traceparent(traceparent) {
        traceparent.get(3..35)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(attempt: &str, extra: &str) -> String {
        format!(
            r#"{{"v":1,"queue":"mint.submit.v1","kid":"k1","messageId":"018f0000-0000-7000-8000-000000000001","causationId":null,"intentId":null,"body":"{{}}","seal":"{}","attempt":{attempt},"firstSeen":"2026-01-01T00:00:00Z","traceparent":null{extra}}}"#,
            "ab".repeat(32)
        )
    }

    #[test]
    fn unknown_fields_other_versions_and_wrong_types_are_refused() {
        assert!(Envelope::parse(text("1", "").as_bytes()).is_ok());
        for bad in [
            text("1", r#","x":1"#),
            text("1", r#","v":1"#),
            text("-1", ""),
            text("1.5", ""),
            text("1", "").replace(r#""v":1"#, r#""v":2"#),
            text("1", "").replace("2026-01-01T00:00:00Z", "yesterday"),
            String::new(),
        ] {
            assert!(Envelope::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_oversized_message_is_refused_before_it_is_parsed() {
        let mut bytes = text("1", "").into_bytes();
        bytes.resize(65_536, b' ');
        assert!(Envelope::parse(&bytes).is_ok(), "64 KiB are not too large");
        bytes.push(b' ');
        assert_eq!(Envelope::parse(&bytes).unwrap_err(), EnvelopeError::TooLarge);
    }

    #[test]
    fn a_bad_hint_is_replaced_by_a_default() {
        assert_eq!(Envelope::parse(text("0", "").as_bytes()).unwrap().attempt, 1);
        let odd = text("1", "").replace(r#""traceparent":null"#, r#""traceparent":"<script>""#);
        assert_eq!(Envelope::parse(odd.as_bytes()).unwrap().traceparent, None);
    }

    #[test]
    fn traceparent_form() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(trace_id(good), Some("0af7651916cd43dd8448eb211c80319c"));
        let traced = text("1", "").replace(r#""traceparent":null"#, &format!(r#""traceparent":"{good}""#));
        assert_eq!(traceparent(traced.as_bytes()).as_deref(), Some(good));
        assert_eq!(traceparent(text("1", "").as_bytes()), None);
        assert_eq!(traceparent(b"no envelope"), None);
        for bad in [
            "",
            "00",
            &good[1..],
            &good.to_uppercase(),
            &format!("{good}-00"),
            &good.replace("00-", "ff-"),
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Envelope::parse(&bytes);
        }

        #[test]
        fn no_mutated_envelope_panics(at in 0_usize..300, with in any::<u8>(), cut in 0_usize..400) {
            let mut bytes = text("1", "").into_bytes();
            let at = at % bytes.len();
            bytes[at] = with;
            bytes.truncate(cut.max(1));
            if let Ok(envelope) = Envelope::parse(&bytes) {
                let _ = (envelope.key_id(), envelope.mac(), envelope.sealed_string());
            }
        }

        #[test]
        fn deep_nesting_is_refused_not_followed(depth in 1_usize..20_000) {
            prop_assert!(Envelope::parse("[".repeat(depth).as_bytes()).is_err());
        }

        #[test]
        fn two_different_field_splits_never_share_a_sealed_string(a in ".{0,8}", b in ".{0,8}", c in ".{0,8}", d in ".{0,8}") {
            let base = Envelope::parse(text("1", "").as_bytes()).unwrap();
            let one = Envelope { queue: a.clone(), body: b.clone(), ..base.clone() };
            let two = Envelope { queue: c.clone(), body: d.clone(), ..base };
            prop_assert_eq!(one.sealed_string() == two.sealed_string(), (a, b) == (c, d));
        }
    }
}
