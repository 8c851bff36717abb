//! Every refusal that a client can get (docs/PROTOCOL.md): its code, HTTP status, title, and whether a retry helps. The only
//! place where an error becomes an HTTP status.

use std::borrow::Cow;

use actix_web::http::StatusCode;
use domain::payment::FieldError;
use serde::Serialize;
use storage::StorageError;
use strum::{IntoStaticStr, VariantArray};

/// The documented codes. Codes may be added but not renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, VariantArray, IntoStaticStr)]
#[strum(const_into_str, serialize_all = "kebab-case")]
pub enum Code {
    InvalidJson,
    ValidationFailed,
    IdempotencyKeyMissing,
    IdempotencyKeyInvalid,
    SignatureMissing,
    SignatureMalformed,
    SignatureInvalid,
    TimestampInvalid,
    TimestampStale,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    RequestInProgress,
    TxRefExists,
    BodyTooLarge,
    UnsupportedMediaType,
    IdempotencyKeyReused,
    TxRefNotYours,
    AmountBelowMinimum,
    AmountAboveMaximum,
    AmountNotWhole,
    DailyLimitExceeded,
    CountryNotSupported,
    RateLimited,
    TooManyUnpaid,
    Internal,
    StoredResponseTampered,
    Unavailable,
}

/// The properties of one code.
pub struct CodeProperties {
    pub status: u16,
    pub title: &'static str,
    /// Whether the same request, unchanged, may succeed later.
    pub retryable: bool,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u32>,
}

const fn permanent(status: u16, title: &'static str) -> CodeProperties {
    CodeProperties {
        status,
        title,
        retryable: false,
        retry_after: None,
    }
}

const fn retryable(status: u16, title: &'static str, seconds: Option<u32>) -> CodeProperties {
    CodeProperties {
        status,
        title,
        retryable: true,
        retry_after: seconds,
    }
}

impl Code {
    pub const ALL: [Self; Self::VARIANTS.len()] = domain::variants();

    /// The properties of this code.
    pub const fn properties(self) -> CodeProperties {
        match self {
            Self::InvalidJson => permanent(400, "The body is not JSON"),
            Self::ValidationFailed => permanent(400, "Some fields are wrong"),
            Self::IdempotencyKeyMissing => permanent(400, "X-Idempotency-Key is missing"),
            Self::IdempotencyKeyInvalid => permanent(400, "X-Idempotency-Key is malformed"),
            Self::SignatureMissing => permanent(401, "The signature header is missing"),
            Self::SignatureMalformed => permanent(401, "The signature header is malformed"),
            Self::SignatureInvalid => permanent(401, "The signature is not valid"),
            Self::TimestampInvalid => permanent(401, "X-Request-Timestamp is malformed"),
            Self::TimestampStale => permanent(401, "X-Request-Timestamp is not fresh"),
            Self::NotFound => permanent(404, "There is nothing here"),
            Self::MethodNotAllowed => permanent(405, "This method is not allowed here"),
            Self::RequestTimeout => retryable(408, "The request came too slowly", None),
            Self::RequestInProgress => retryable(409, "The same request is being worked on", Some(1)),
            Self::TxRefExists => permanent(409, "This txRef has an intent already"),
            Self::BodyTooLarge => permanent(413, "The body is too large"),
            Self::UnsupportedMediaType => permanent(415, "The body must be JSON"),
            Self::IdempotencyKeyReused => permanent(422, "This idempotency key belongs to another request"),
            Self::TxRefNotYours => permanent(422, "This txRef belongs to someone else"),
            Self::AmountBelowMinimum => permanent(422, "The amount is too small"),
            Self::AmountAboveMaximum => permanent(422, "The amount is too large"),
            Self::AmountNotWhole => permanent(422, "The amount is not a whole number of shillings"),
            Self::DailyLimitExceeded => permanent(422, "The user's limit of today is exceeded"),
            Self::CountryNotSupported => permanent(422, "This country is not supported"),
            Self::RateLimited => retryable(429, "Too many requests", Some(1)),
            Self::TooManyUnpaid => retryable(429, "Too many intents await payment", Some(60)),
            Self::Internal => retryable(500, "Something went wrong on our side", None),
            Self::StoredResponseTampered => permanent(500, "What we stored cannot be trusted"),
            Self::Unavailable => retryable(503, "Temporarily unavailable", Some(1)),
        }
    }

    /// The name in answers and metrics.
    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.properties().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// A refusal to be sent to the client.
#[derive(Clone, Debug)]
pub struct Problem {
    pub code: Code,
    /// Tells the client what to do instead; contains nothing internal.
    pub detail: Cow<'static, str>,
    pub errors: Vec<FieldError>,
    /// Our time, for a client whose clock is wrong.
    pub server_time: Option<i64>,
    /// Overrides the code's `Retry-After`.
    pub retry_after: Option<u32>,
    pub location: Option<String>,
    /// The `Allow` header of a 405.
    pub allow: Option<&'static str>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            server_time: None,
            retry_after: None,
            location: None,
            allow: None,
        }
    }

    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = "See errors: each names a field by JSON pointer.";
        Self {
            errors,
            ..Self::new(Code::ValidationFailed, detail)
        }
    }

    pub fn retry_after(&self) -> Option<u32> {
        self.retry_after.or(self.code.properties().retry_after)
    }

    /// The body, `application/problem+json` (RFC 9457).
    pub fn body(&self, request_id: &str) -> Vec<u8> {
        let facts = self.code.properties();
        let body = ProblemBody {
            kind: &format!("urn:fiatrails:problem:{}", self.code.name()),
            title: facts.title,
            status: facts.status,
            detail: &self.detail,
            code: self.code.name(),
            request_id,
            retryable: facts.retryable,
            errors: &self.errors,
            server_time: self.server_time,
        };
        // Serializing plain strings and numbers to memory cannot fail.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProblemBody<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
    retryable: bool,
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    server_time: Option<i64>,
}

impl From<&StorageError> for Problem {
    fn from(error: &StorageError) -> Self {
        match error {
            StorageError::Conflict(_) => Self::new(Code::RequestInProgress, "Send the same request again."),
            StorageError::Unavailable { .. } | StorageError::CommitUnknown { .. } => Self::unavailable(),
            StorageError::Corrupt { .. } | StorageError::Bug { .. } => Self::internal(),
        }
    }
}

impl Problem {
    pub fn unavailable() -> Self {
        Self::new(
            Code::Unavailable,
            "Nothing is claimed; send the same request again.",
        )
    }

    pub fn internal() -> Self {
        Self::new(
            Code::Internal,
            "Send the same request again; if it persists, send us the requestId.",
        )
    }

    pub fn not_found() -> Self {
        Self::new(
            Code::NotFound,
            "Check the address; an intent is shown only to the integrator who made it.",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_documented_one() {
        let mut lines: Vec<_> = Code::ALL
            .into_iter()
            .map(|code| format!("{} {}", code.properties().status, code.name()))
            .collect();
        lines.dedup();
        assert_eq!(lines.len(), 28);
        assert_eq!(
            lines.join("\n"),
            "400 invalid-json\n400 validation-failed\n400 idempotency-key-missing\n\
             400 idempotency-key-invalid\n401 signature-missing\n401 signature-malformed\n\
             401 signature-invalid\n401 timestamp-invalid\n401 timestamp-stale\n404 not-found\n\
             405 method-not-allowed\n408 request-timeout\n409 request-in-progress\n409 tx-ref-exists\n\
             413 body-too-large\n415 unsupported-media-type\n422 idempotency-key-reused\n\
             422 tx-ref-not-yours\n422 amount-below-minimum\n422 amount-above-maximum\n\
             422 amount-not-whole\n422 daily-limit-exceeded\n422 country-not-supported\n429 rate-limited\n\
             429 too-many-unpaid\n500 internal\n500 stored-response-tampered\n503 unavailable"
        );
    }

    #[test]
    fn every_code_has_its_row_on_the_page() {
        const PAGE: &str = include_str!("../../../docs/PROTOCOL.md");
        let row = |code: Code| {
            let facts = code.properties();
            let retryable = if facts.retryable { "yes" } else { "no" };
            let seconds = facts
                .retry_after
                .map_or_else(String::new, |seconds| format!("{seconds} "));
            format!(
                "| {} | `{}` | {retryable} | {seconds}| ",
                facts.status,
                code.name()
            )
        };
        let expected: Vec<_> = Code::ALL.into_iter().map(row).collect();
        let documented: Vec<_> = PAGE
            .lines()
            .filter(|line| line.starts_with("| 4") || line.starts_with("| 5"))
            .collect();
        assert_eq!(documented.len(), expected.len(), "docs/PROTOCOL.md");
        for (documented, expected) in documented.into_iter().zip(expected) {
            assert!(
                documented.starts_with(&expected),
                "docs/PROTOCOL.md: {documented} is not {expected}"
            );
        }
    }

    #[test]
    fn what_can_be_tried_again_later_says_when() {
        for code in Code::ALL {
            let facts = code.properties();
            if matches!(facts.status, 429 | 503) {
                assert!(facts.retry_after.is_some() && facts.retryable, "{}", code.name());
            }
        }
    }

    #[test]
    fn internals_do_not_leak() {
        let error = StorageError::bug("relation mint_intents does not exist");
        let body = String::from_utf8(Problem::from(&error).body("req_1")).unwrap();
        assert!(!body.contains("mint_intents"), "{body}");
        assert!(
            body.contains("\"code\":\"internal\"") && body.contains("\"requestId\":\"req_1\""),
            "{body}"
        );
    }
}
