//! The shapes of requests, headers and refusals, as the description of the API shows them. Each route shows its answers
//! itself.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

/// RFC 9457 problem details.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemDocument {
    /// `urn:fiatrails:problem:<code>`
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// Stable; decide by this.
    pub code: String,
    pub request_id: String,
    /// The same request may succeed later.
    pub retryable: bool,
    pub errors: Vec<FieldProblem>,
    /// Our time in unix seconds, with `timestamp-stale`.
    pub server_time: Option<i64>,
}

/// One wrong field.
#[derive(Serialize, ToSchema)]
pub struct FieldProblem {
    /// JSON pointer (RFC 6901) into the body.
    pub pointer: String,
    pub code: String,
    pub detail: String,
}

/// What to mint, for whom, against which payment.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewMintIntentBody {
    /// Address; in mixed case its EIP-55 checksum must be right.
    #[schema(
        pattern = "^0x[0-9a-fA-F]{40}$",
        example = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    )]
    pub user: String,
    /// Base units (18 decimals) as a string; whole shillings.
    #[schema(pattern = "^(0|[1-9][0-9]*)$", example = "150000000000000000000")]
    pub amount: String,
    #[schema(pattern = "^[A-Z]{3}$", example = "KES")]
    pub country_code: String,
    /// Payment reference, unique for ever.
    #[schema(pattern = "^[A-Za-z0-9._:/-]{1,31}$", example = "TX0000000001")]
    pub tx_ref: String,
}

/// M-Pesa's word about a payment.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReportBody {
    #[schema(pattern = "^[A-Za-z0-9._:/-]{1,31}$", example = "TX0000000001")]
    pub tx_ref: String,
    /// Whole shillings as a string; `.00` is allowed.
    #[schema(pattern = "^(0|[1-9][0-9]*)(\\.00?)?$", example = "150")]
    pub amount: String,
    /// 7 to 15 digits.
    #[schema(pattern = "^[1-9][0-9]{6,14}$", example = "254708374149")]
    pub phone: String,
    /// Unix seconds.
    pub timestamp: i64,
    /// Required when paid.
    #[schema(pattern = "^[A-Za-z0-9]{1,32}$", example = "NLJ7RT61SV")]
    pub receipt: Option<String>,
    /// Integer or string; absent or 0 means paid.
    #[schema(value_type = Option<ResultCode>, example = 0)]
    pub result_code: Option<serde_json::Value>,
    pub result_desc: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<serde_json::Value>,
}

/// How M-Pesa writes a result code.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum ResultCode {
    Number(i64),
    Text(String),
}

/// Headers of every request of an integrator.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes headers; nothing reads it")]
pub struct SignedHeaders {
    /// Unix seconds, at most 300 s off our clock.
    #[param(rename = "X-Request-Timestamp", example = "1767225600")]
    timestamp: String,
    /// `kid=<key id>,v1=<64 lower-case hexadecimal digits>`
    #[param(rename = "X-Request-Signature")]
    signature: String,
    /// Echoed; minted when absent.
    #[param(rename = "X-Request-Id")]
    request_id: Option<String>,
}

/// The header that makes a retry safe.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes a header; nothing reads it")]
pub struct IdempotencyHeader {
    /// 16 to 128 of `A-Z a-z 0-9 _ -`; the same for every retry of one request.
    #[param(
        rename = "X-Idempotency-Key",
        example = "8e03978e-40d5-43e8-bc93-6894a57f9324"
    )]
    key: String,
}

/// Headers of a callback.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes headers; nothing reads it")]
pub struct MpesaHeaders {
    /// Unix seconds, at most 300 s off our clock.
    #[param(rename = "X-Request-Timestamp", example = "1767225600")]
    timestamp: String,
    /// `kid=<key id>,v1=<64 lower-case hexadecimal digits>`
    #[param(rename = "X-Mpesa-Signature")]
    signature: String,
}
