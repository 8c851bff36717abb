//! The raw M-Pesa report as the gateway received it, with everything needed to verify its MAC again.

use domain::ids::ReportId;
use serde::{Deserialize, Serialize};

/// A signed callback, byte for byte. Nothing in it is believed before its MAC verified.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedReport {
    pub report_id: ReportId,
    /// Raw request body.
    #[serde(with = "super::serde_hex::base64")]
    pub body: Vec<u8>,
    /// `X-Request-Timestamp` as received.
    pub timestamp: String,
    /// `X-Mpesa-Signature` as received.
    pub signature: String,
    /// Raw path that was signed.
    pub path: String,
    /// Raw query that was signed, without `?`, or empty.
    pub query: String,
    /// Unix milliseconds of receipt.
    pub received_at: i64,
}

impl std::fmt::Debug for SignedReport {
    // The body names a payer's phone; it does not belong into a log by accident.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedReport")
            .field("report_id", &self.report_id)
            .field("body_bytes", &self.body.len())
            .field("timestamp", &self.timestamp)
            .field("received_at", &self.received_at)
            .finish_non_exhaustive()
    }
}

/// A payment report was accepted and stored (gateway -> callback).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MpesaResult {
    pub report: SignedReport,
    /// The timestamp was stale when it came; it counts only once an operator accepted it.
    pub late: bool,
    /// The operator who accepted a late report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_by: Option<String>,
}
