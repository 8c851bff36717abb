//! A payment report, as the gateway passes it to the callback service.

use domain::evidence::SignedReport;
use serde::{Deserialize, Serialize};

/// A payment report was accepted and stored (gateway -> callback).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MpesaResult {
    pub report: SignedReport,
    /// The timestamp was stale on arrival; the report counts only after an operator accepted it.
    pub late: bool,
    /// The operator who accepted a late report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_by: Option<String>,
}
