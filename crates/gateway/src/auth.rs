//! Authenticates requests: header syntax, freshness, key, MAC, in this order (docs/SIGNING.md).
//!
//! An unknown, revoked or foreign key id and a wrong MAC get the same answer and take the same time.

use std::sync::Arc;

use actix_web::http::header::HeaderMap;
use domain::signature::{
    HmacSecret, KeyId, Mac, SignatureHeader, SignedRequest, SigningScheme, is_fresh, parse_timestamp,
};
use time::OffsetDateTime;

use crate::error::{Code, Problem};
use crate::headers::{MPESA_SIGNATURE, REQUEST_SIGNATURE, REQUEST_TIMESTAMP, SingleHeader};
use crate::keys::{IntegratorKey, KeySnapshot, LiveKey};

/// The signed parts of a request, besides its signature headers.
#[derive(Clone, Copy, Debug)]
pub struct SignedContent<'a> {
    pub method: &'a str,
    /// The raw path as received.
    pub path: &'a str,
    pub query: &'a str,
    /// The idempotency key as received; empty if there is none.
    pub idempotency_key: &'a str,
    pub body: &'a [u8],
}

/// The signature headers of a request, syntactically valid.
#[derive(Clone, Debug)]
pub struct PresentedSignature<'a> {
    pub signature_text: &'a str,
    pub timestamp_text: &'a str,
    key_id: KeyId,
    macs: Vec<Mac>,
    timestamp: i64,
}

impl<'a> PresentedSignature<'a> {
    /// Checks the syntax only and looks nothing up.
    pub fn read(headers: &'a HeaderMap, scheme: SigningScheme) -> Result<Self, Problem> {
        let name = match scheme {
            SigningScheme::Request => REQUEST_SIGNATURE,
            SigningScheme::Mpesa => MPESA_SIGNATURE,
        };
        let signature_text = match SingleHeader::of(headers, &name) {
            SingleHeader::Absent => {
                let detail = "Sign the request; docs/SIGNING.md shows how, with known answers.";
                return Err(Problem::new(Code::SignatureMissing, detail));
            }
            SingleHeader::Malformed => return Err(malformed_signature()),
            SingleHeader::Present(text) => text,
        };
        let SignatureHeader { key_id, macs } = signature_text.parse().map_err(|_| malformed_signature())?;
        let timestamp_text = SingleHeader::of(headers, &REQUEST_TIMESTAMP)
            .value()
            .unwrap_or_default();
        let timestamp = parse_timestamp(timestamp_text).ok_or_else(|| {
            Problem::new(
                Code::TimestampInvalid,
                "Send the time once, as whole unix seconds in digits.",
            )
        })?;
        Ok(Self {
            signature_text,
            timestamp_text,
            key_id,
            macs,
            timestamp,
        })
    }

    pub fn is_fresh(&self, now: i64, window_seconds: u64) -> bool {
        is_fresh(now, self.timestamp, window_seconds)
    }

    fn verify(&self, scheme: SigningScheme, signed: &SignedContent<'_>, secret: &HmacSecret) -> bool {
        let request = SignedRequest {
            scheme,
            key_id: &self.key_id,
            timestamp: self.timestamp_text,
            method: signed.method,
            path: signed.path,
            query: signed.query,
            idempotency_key: signed.idempotency_key,
            body: signed.body,
        };
        request.verify(secret, &self.macs)
    }
}

fn malformed_signature() -> Problem {
    let detail = "Send it once: kid=<key id>,v1=<64 lower-case hex digits>, at most 1 KiB.";
    Problem::new(Code::SignatureMalformed, detail)
}

fn invalid_signature() -> Problem {
    let detail = "The key is not valid here, or the signature is not that of this request.";
    Problem::new(Code::SignatureInvalid, detail)
}

/// The refusal of a stale request, which contains our time.
pub fn stale_timestamp(now: i64) -> Problem {
    let detail = "Compare your clock with serverTime, and sign the request anew.";
    Problem {
        server_time: Some(now),
        ..Problem::new(Code::TimestampStale, detail)
    }
}

/// Verifies signatures. Holds the secret that replaces those of unknown keys.
#[derive(Debug)]
pub struct SignatureVerifier {
    decoy: HmacSecret,
    freshness_seconds: u64,
}

impl SignatureVerifier {
    pub fn new(decoy: HmacSecret, freshness_seconds: u64) -> Self {
        Self {
            decoy,
            freshness_seconds,
        }
    }

    /// Returns the integrator key that signed this request.
    pub fn verify_integrator(
        &self,
        keys: &KeySnapshot,
        presented: &PresentedSignature<'_>,
        signed: &SignedContent<'_>,
        now: OffsetDateTime,
    ) -> Result<Arc<IntegratorKey>, Problem> {
        let seconds = now.unix_timestamp();
        if !presented.is_fresh(seconds, self.freshness_seconds) {
            return Err(stale_timestamp(seconds));
        }
        let key = keys
            .integrator(&presented.key_id)
            .filter(|key| key.key.is_live(now));
        let secret = key.map_or(&self.decoy, |key| key.key.secret());
        let right = presented.verify(SigningScheme::Request, signed, secret);
        match key {
            Some(key) if right => {
                key.key.record_use(seconds);
                Ok(key.clone())
            }
            _ => Err(invalid_signature()),
        }
    }

    /// Returns the M-Pesa key that signed this callback, and whether the timestamp is stale.
    pub fn verify_mpesa(
        &self,
        keys: &KeySnapshot,
        presented: &PresentedSignature<'_>,
        signed: &SignedContent<'_>,
        now: OffsetDateTime,
    ) -> Result<(Arc<LiveKey>, bool), Problem> {
        let seconds = now.unix_timestamp();
        let late = !presented.is_fresh(seconds, self.freshness_seconds);
        let key = keys.mpesa(&presented.key_id).filter(|key| key.is_live(now));
        let secret = key.map_or(&self.decoy, |key| key.secret());
        let right = presented.verify(SigningScheme::Mpesa, signed, secret);
        match key {
            Some(key) if right => {
                key.record_use(seconds);
                Ok((key.clone(), late))
            }
            // A stale forgery learns only that it is stale, because freshness comes before the key.
            _ if late => Err(stale_timestamp(seconds)),
            _ => Err(invalid_signature()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::LiveKeys;
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;
    use runtime::MountedKeys as Mounted;

    const NOW: i64 = 1_767_225_600;
    const BODY: &str = r#"{"user":"0x70997970C51812dc3A010C7d01b50e0d17dc79C8","amount":"150000000000000000000","countryCode":"KES","txRef":"TX0000000001"}"#;
    const KEY: &str = "8e03978e-40d5-43e8-bc93-6894a57f9324";
    const SIGNATURE: &str =
        "kid=ik_test_0001,v1=61508ad17ce6e1c7dd90e8177f72676f71d749cc9d7bd51c22ac3c431db6e66c";

    fn snapshot() -> Arc<KeySnapshot> {
        let secret = HmacSecret::from_bytes(&(0..32).collect::<Vec<u8>>()).unwrap();
        let keys = LiveKeys::default();
        let mounted = Mounted {
            integrators: [(
                "dev".parse().unwrap(),
                [("ik_test_0001".parse().unwrap(), secret.clone())]
                    .into_iter()
                    .collect(),
            )]
            .into(),
            mpesa: [("mk_test_0001".parse().unwrap(), secret)].into_iter().collect(),
            ..Mounted::default()
        };
        keys.replace(&mounted, &[], Vec::new());
        keys.snapshot()
    }

    fn verifier() -> SignatureVerifier {
        SignatureVerifier::new(HmacSecret::from_bytes(&[9; 32]).unwrap(), 300)
    }

    fn headers(signature: &str, timestamp: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_SIGNATURE, HeaderValue::from_str(signature).unwrap());
        headers.insert(MPESA_SIGNATURE, HeaderValue::from_str(signature).unwrap());
        headers.insert(REQUEST_TIMESTAMP, HeaderValue::from_str(timestamp).unwrap());
        headers
    }

    fn signed() -> SignedContent<'static> {
        SignedContent {
            method: "POST",
            path: "/mint-intents",
            query: "",
            idempotency_key: KEY,
            body: BODY.as_bytes(),
        }
    }

    fn try_as(
        scheme: SigningScheme,
        headers: &HeaderMap,
        signed: &SignedContent<'_>,
        now: i64,
    ) -> Result<(), Code> {
        let now = OffsetDateTime::from_unix_timestamp(now).unwrap();
        let presented = PresentedSignature::read(headers, scheme).map_err(|p| p.code)?;
        match scheme {
            SigningScheme::Request => verifier()
                .verify_integrator(&snapshot(), &presented, signed, now)
                .map(|_| ()),
            SigningScheme::Mpesa => verifier()
                .verify_mpesa(&snapshot(), &presented, signed, now)
                .map(|_| ()),
        }
        .map_err(|p| p.code)
    }

    #[test]
    fn the_known_answer_passes_and_nothing_else_does() {
        let right = headers(SIGNATURE, "1767225600");
        let as_request = |signed: SignedContent<'_>| try_as(SigningScheme::Request, &right, &signed, NOW);
        assert_eq!(as_request(signed()), Ok(()));
        for other in [
            SignedContent {
                method: "PUT",
                ..signed()
            },
            SignedContent {
                path: "/api/v1/mint-intents",
                ..signed()
            },
            SignedContent {
                query: "a=b",
                ..signed()
            },
            SignedContent {
                idempotency_key: "8e03978e-40d5-43e8-bc93-6894a57f9325",
                ..signed()
            },
            SignedContent {
                body: b"{}",
                ..signed()
            },
        ] {
            assert_eq!(as_request(other), Err(Code::SignatureInvalid), "{other:?}");
        }
        let later = headers(SIGNATURE, "1767225601");
        assert_eq!(
            try_as(SigningScheme::Request, &later, &signed(), NOW),
            Err(Code::SignatureInvalid)
        );
        assert_eq!(
            try_as(SigningScheme::Mpesa, &right, &signed(), NOW),
            Err(Code::SignatureInvalid)
        );
    }

    #[test]
    fn the_timestamp_is_checked_before_the_key() {
        let unknown = headers(&SIGNATURE.replace("ik_test", "ik_none"), "1767225600");
        assert_eq!(
            try_as(SigningScheme::Request, &unknown, &signed(), NOW + 301),
            Err(Code::TimestampStale)
        );
        assert_eq!(
            try_as(SigningScheme::Request, &unknown, &signed(), NOW),
            Err(Code::SignatureInvalid)
        );
        let right = headers(SIGNATURE, "1767225600");
        assert_eq!(
            try_as(SigningScheme::Request, &right, &signed(), NOW - 301),
            Err(Code::TimestampStale)
        );
        assert_eq!(
            try_as(SigningScheme::Request, &right, &signed(), NOW - 300),
            Ok(())
        );
    }

    #[test]
    fn the_form_comes_first() {
        let none = HeaderMap::new();
        assert_eq!(
            try_as(SigningScheme::Request, &none, &signed(), NOW),
            Err(Code::SignatureMissing)
        );
        let bad = headers("kid=a", "x");
        assert_eq!(
            try_as(SigningScheme::Request, &bad, &signed(), NOW),
            Err(Code::SignatureMalformed)
        );
        let bad_time = headers(SIGNATURE, "-1");
        assert_eq!(
            try_as(SigningScheme::Request, &bad_time, &signed(), NOW),
            Err(Code::TimestampInvalid)
        );
        let mut twice = headers(SIGNATURE, "1767225600");
        twice.append(REQUEST_SIGNATURE, HeaderValue::from_static(SIGNATURE));
        assert_eq!(
            try_as(SigningScheme::Request, &twice, &signed(), NOW),
            Err(Code::SignatureMalformed)
        );
    }

    proptest! {
        #[test]
        fn random_header_text_is_refused_without_a_panic(
            signature in "[ -~]{0,120}", timestamp in "[ -~]{0,20}", body in ".{0,40}",
        ) {
            let headers = headers(&signature, &timestamp);
            let signed = SignedContent { body: body.as_bytes(), ..signed() };
            prop_assert!(try_as(SigningScheme::Request, &headers, &signed, NOW).is_err());
            prop_assert!(try_as(SigningScheme::Mpesa, &headers, &signed, NOW).is_err());
        }
    }
}
