//! Reads request headers: each of ours may occur once, in plain ASCII, within limits.

use actix_web::http::header::{HeaderMap, HeaderName};

pub const REQUEST_SIGNATURE: HeaderName = HeaderName::from_static("x-request-signature");
pub const MPESA_SIGNATURE: HeaderName = HeaderName::from_static("x-mpesa-signature");
pub const REQUEST_TIMESTAMP: HeaderName = HeaderName::from_static("x-request-timestamp");
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("x-idempotency-key");
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const RESPONSE_SIGNATURE: HeaderName = HeaderName::from_static("x-response-signature");
pub const RESPONSE_TIMESTAMP: HeaderName = HeaderName::from_static("x-response-timestamp");
pub const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Maximum length of a request id that we echo, in bytes.
const MAX_REQUEST_ID: usize = 128;

/// A header that may occur at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SingleHeader<'a> {
    Absent,
    Present(&'a str),
    /// The header occurs twice or is not plain ASCII.
    Malformed,
}

impl<'a> SingleHeader<'a> {
    pub fn of(headers: &'a HeaderMap, name: &HeaderName) -> Self {
        let mut values = headers.get_all(name);
        match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(value), None) => value.to_str().map_or(Self::Malformed, Self::Present),
            (Some(_), Some(_)) => Self::Malformed,
        }
    }

    pub fn value(self) -> Option<&'a str> {
        match self {
            Self::Present(text) => Some(text),
            Self::Absent | Self::Malformed => None,
        }
    }
}

/// The client's request id, if it is valid: 1 to 128 of `[A-Za-z0-9._-]`.
pub fn request_id(headers: &HeaderMap) -> Option<&str> {
    SingleHeader::of(headers, &REQUEST_ID).value().filter(|text| {
        let fits = (1..=MAX_REQUEST_ID).contains(&text.len());
        fits && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    })
}

/// `application/json`, with or without parameters.
pub fn is_json(headers: &HeaderMap) -> bool {
    let content_type = actix_web::http::header::CONTENT_TYPE;
    let Some(text) = SingleHeader::of(headers, &content_type).value() else {
        return false;
    };
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    fn map(pairs: &[(HeaderName, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.clone(), HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_repeated_header_is_malformed_even_if_equal() {
        let twice = map(&[(REQUEST_TIMESTAMP, b"1"), (REQUEST_TIMESTAMP, b"1")]);
        assert_eq!(
            SingleHeader::of(&twice, &REQUEST_TIMESTAMP),
            SingleHeader::Malformed
        );
        assert_eq!(SingleHeader::of(&twice, &REQUEST_ID), SingleHeader::Absent);
        let binary = map(&[(REQUEST_TIMESTAMP, b"\xff")]);
        assert_eq!(
            SingleHeader::of(&binary, &REQUEST_TIMESTAMP),
            SingleHeader::Malformed
        );
    }

    #[test]
    fn only_bounded_plain_request_ids_are_echoed() {
        assert_eq!(request_id(&map(&[(REQUEST_ID, b"req_0001")])), Some("req_0001"));
        for bad in [&b""[..], b"a b", b"a\"b", b"<script>", &[b'a'; 129]] {
            assert_eq!(request_id(&map(&[(REQUEST_ID, bad)])), None);
        }
        assert_eq!(request_id(&map(&[(REQUEST_ID, b"a"), (REQUEST_ID, b"b")])), None);
    }

    #[test]
    fn json_is_recognised_by_its_media_type() {
        let of = |text: &str| is_json(&map(&[(actix_web::http::header::CONTENT_TYPE, text.as_bytes())]));
        assert!(of("application/json") && of("Application/JSON; charset=utf-8"));
        assert!(!of("application/jsonp") && !of("text/plain") && !of("") && !is_json(&map(&[])));
    }

    proptest! {
        #[test]
        fn no_header_bytes_panic(value in proptest::collection::vec(32_u8..=255, 0..200)) {
            prop_assume!(HeaderValue::from_bytes(&value).is_ok());
            let headers = map(&[(REQUEST_ID, &value), (actix_web::http::header::CONTENT_TYPE, &value)]);
            let _ = (request_id(&headers), is_json(&headers));
        }
    }
}
