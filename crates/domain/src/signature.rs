//! The strings to sign and their MACs (docs/SIGNING.md). The secret never prints.

use std::fmt;
use std::str::FromStr;

use ring::{digest, hmac};
use secrecy::{ExposeSecret, SecretSlice};

use crate::text_type::text_type;

/// Maximum length of an `X-*-Signature` header, bytes.
pub const MAX_HEADER_BYTES: usize = 1024;
/// Maximum number of `v1=` items in one header: enough for several secrets during a rotation.
pub const MAX_MACS: usize = 4;
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BODY: &str = r#"{"user":"0x70997970C51812dc3A010C7d01b50e0d17dc79C8","amount":"150000000000000000000","countryCode":"KES","txRef":"TX0000000001"}"#;
    const CALLBACK: &str = r#"{"txRef":"TX0000000001","amount":"150","phone":"254708374149","timestamp":1767225600,"receipt":"NLJ7RT61SV","resultCode":0}"#;
    const IDEMPOTENCY_KEY: &str = "8e03978e-40d5-43e8-bc93-6894a57f9324";

    fn secret() -> HmacSecret {
        HmacSecret::from_bytes(&(0..32).collect::<Vec<u8>>()).unwrap()
    }

    fn mac_of(request: &SignedRequest<'_>) -> String {
        request.sign(&secret()).macs[0].to_hex()
    }

    #[test]
    fn known_answer_request() {
        let key_id: KeyId = "ik_test_0001".parse().unwrap();
        let request = SignedRequest {
            scheme: SigningScheme::Request,
            key_id: &key_id,
            timestamp: "1767225600",
            method: "POST",
            path: "/mint-intents",
            query: "",
            idempotency_key: IDEMPOTENCY_KEY,
            body: BODY.as_bytes(),
        };
        assert_eq!(
            hex::encode(sha256(BODY.as_bytes())),
            "688832e5ec4a9df822d066d6ea43aae0fbae1327dd1fef8efe331fceb9cfee0b"
        );
        assert_eq!(
            mac_of(&request),
            "61508ad17ce6e1c7dd90e8177f72676f71d749cc9d7bd51c22ac3c431db6e66c"
        );
    }

    #[test]
    fn known_answer_callback() {
        let key_id: KeyId = "mk_test_0001".parse().unwrap();
        let request = SignedRequest {
            scheme: SigningScheme::Mpesa,
            key_id: &key_id,
            timestamp: "1767225600",
            method: "POST",
            path: "/callbacks/mpesa",
            query: "",
            idempotency_key: "",
            body: CALLBACK.as_bytes(),
        };
        assert_eq!(
            hex::encode(sha256(CALLBACK.as_bytes())),
            "4602b4efbaf1981540fc21fb7db9a729ddc6fe729d4323bbb99173fd13ffb516"
        );
        assert_eq!(
            mac_of(&request),
            "a650c67e5bead0d44ffab8938b089b805960553c6195894436fae49c49aace61"
        );
    }

    #[test]
    fn known_answer_read() {
        let key_id: KeyId = "ik_test_0001".parse().unwrap();
        let path = format!("/api/v1/mint-intents/0x{}", "ab".repeat(32));
        let request = SignedRequest {
            scheme: SigningScheme::Request,
            key_id: &key_id,
            timestamp: "1767225600",
            method: "GET",
            path: &path,
            query: "",
            idempotency_key: "",
            body: b"",
        };
        assert_eq!(
            mac_of(&request),
            "3b1927a99d02313f465040b2fe98249093a45143a214a517e71ffec129b17b40"
        );
    }

    #[test]
    fn known_answer_response() {
        let key_id: KeyId = "ik_test_0001".parse().unwrap();
        let response = SignedResponse {
            key_id: &key_id,
            timestamp: 1_767_225_601,
            status: 201,
            request_id: "req_0001",
            idempotency_key: IDEMPOTENCY_KEY,
            body: br#"{"intentId":"0x00","status":"pending"}"#,
        };
        assert_eq!(
            response.sign(&secret()).macs[0].to_hex(),
            "0d5b039e593d9878fc4ee0c580ef7f7d3feeb96547e3521b1b618b67d54f8a70"
        );
    }

    #[test]
    fn signature_header_format() {
        let mac = "ab".repeat(32);
        let ok = |text: &str| text.parse::<SignatureHeader>().is_ok();
        assert!(ok(&format!("kid=a,v1={mac}")));
        assert!(ok(&format!("v1={mac},kid=a,v2=unknown,v1={mac}")));
        assert!(ok(&format!("kid=a{}", format!(",v1={mac}").repeat(4))));
        for bad in [
            String::new(),
            "kid=a".into(),
            format!("v1={mac}"),
            format!("kid=a,kid=b,v1={mac}"),
            format!("kid=,v1={mac}"),
            format!("kid=a,v1={}", mac.to_uppercase()),
            format!("kid=a,v1={}", &mac[1..]),
            format!("kid=a{}", format!(",v1={mac}").repeat(5)),
            format!("kid=a,v1={mac},{}=x", "y".repeat(1024)),
        ] {
            assert!(!ok(&bad), "{bad}");
        }
    }

    #[test]
    fn a_header_of_one_kibibyte_is_read_and_of_one_byte_more_is_refused() {
        let items = format!("kid=a,v1={},x=", "ab".repeat(32));
        for (length, is_read) in [(1024, true), (1025, false)] {
            let header = format!("{items}{}", "y".repeat(length - items.len()));
            assert_eq!(header.parse::<SignatureHeader>().is_ok(), is_read, "{length}");
        }
    }

    #[test]
    fn any_right_tag_of_a_header_verifies() {
        let key_id: KeyId = "ik".parse().unwrap();
        let request = SignedRequest {
            scheme: SigningScheme::Request,
            key_id: &key_id,
            timestamp: "1",
            method: "GET",
            path: "/p",
            query: "",
            idempotency_key: "",
            body: b"",
        };
        let (right, wrong) = (request.sign(&secret()).macs[0], Mac::from_bytes([0; 32]));
        let verify = |macs: &[Mac]| request.verify(&secret(), macs);
        assert!(verify(&[right]) && verify(&[right, wrong]) && verify(&[wrong, right]));
        assert!(verify(&[right, right]), "the same tag twice");
        assert!(!verify(&[wrong]) && !verify(&[]));
    }

    #[test]
    fn timestamps_and_freshness() {
        assert_eq!(parse_timestamp("1767225600"), Some(1_767_225_600));
        for bad in ["", "-1", "+1", "1.5", "1e9", "1234567890123", " 1"] {
            assert_eq!(parse_timestamp(bad), None, "{bad}");
        }
        assert!(is_fresh(1000, 700, 300) && is_fresh(700, 1000, 300));
        assert!(!is_fresh(1001, 700, 300) && !is_fresh(700, 1001, 300));
    }

    #[test]
    fn secrets_do_not_print() {
        assert!(!format!("{:?}", secret()).contains("1, 2"));
        assert_eq!(HmacSecret::from_hex("00").unwrap_err(), SecretError::TooShort);
    }

    proptest! {
        #[test]
        fn any_changed_line_breaks_the_signature(index in 0_usize..7, extra in "[a-z0-9]{1,8}") {
            let key_id: KeyId = "ik".parse().unwrap();
            let other_key: KeyId = format!("ik{extra}").parse().unwrap();
            let base = SignedRequest {
                scheme: SigningScheme::Request, key_id: &key_id, timestamp: "1", method: "POST", path: "/p",
                query: "q", idempotency_key: "k", body: b"b",
            };
            let header = base.sign(&secret());
            let (timestamp, method, path) = (format!("1{extra}"), format!("POST{extra}"), format!("/p{extra}"));
            let (query, key, body) = (format!("q{extra}"), format!("k{extra}"), format!("b{extra}"));
            let changed = match index {
                0 => SignedRequest { scheme: SigningScheme::Mpesa, ..base },
                1 => SignedRequest { key_id: &other_key, ..base },
                2 => SignedRequest { timestamp: &timestamp, ..base },
                3 => SignedRequest { method: &method, ..base },
                4 => SignedRequest { path: &path, query: &query, ..base },
                5 => SignedRequest { idempotency_key: &key, ..base },
                _ => SignedRequest { body: body.as_bytes(), ..base },
            };
            prop_assert!(base.verify(&secret(), &header.macs));
            prop_assert!(!changed.verify(&secret(), &header.macs));
        }

        #[test]
        fn no_header_panics(text in ".{0,200}") {
            let _ = text.parse::<SignatureHeader>();
        }

        #[test]
        fn a_printed_header_reads_back(kid in "[A-Za-z0-9_-]{1,64}", bytes in any::<[u8; 32]>()) {
            let header = SignatureHeader { key_id: kid.parse().unwrap(), macs: vec![Mac::from_bytes(bytes)] };
            let again: SignatureHeader = header.to_string().parse().unwrap();
            prop_assert_eq!(again.to_string(), header.to_string());
        }
    }
}
