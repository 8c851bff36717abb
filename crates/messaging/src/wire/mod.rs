//! The bodies of sealed messages: one type per work queue, fields in camelCase, unknown fields refused.
//!
//! A test compares the JSON schemas in `docs/schemas/` with these types. A retired type stays decodable until its queue
//! is empty, so a changed body needs a new queue version, not an edit here.

mod outcome;
mod report;
mod serde_hex;

use domain::ids::{IntegratorId, IntentId, Preimage};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

pub use domain::evidence::SignedReport;
pub use outcome::{MintOutcome, Outcome};
pub use report::MpesaResult;

use crate::names::WorkQueue;

/// A message body and the one queue it belongs to.
pub trait Body: Serialize + DeserializeOwned + Send + Sync + 'static {
    const QUEUE: WorkQueue;

    /// The intent that this message is about. It is sealed next to the body, and compared with it on opening.
    fn intent_id(&self) -> Option<IntentId>;
}

/// Command: deposit the backing of an accepted intent (gateway -> mint-executor).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MintSubmit {
    pub intent: Preimage,
    pub integrator: IntegratorId,
    /// Unix seconds at which the gateway accepted the request.
    pub accepted_at: i64,
}

/// Command: mint. Carries the raw signed payment report, which the executor verifies again (docs/SEALS.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MintExecute {
    pub intent: Preimage,
    pub report: SignedReport,
}

/// Command: refund. Drops the intent if no deposit was sent, otherwise returns the deposit once it is escrowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MintRefund {
    pub intent: Preimage,
    pub reason: RefundReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum RefundReason {
    Declined,
    Expired,
    NotCompliant,
    Operator,
}

impl RefundReason {
    /// The text in the message; also the reason that is written on chain.
    pub const fn as_str(self) -> &'static str {
        self.into_str()
    }
}

impl Body for MintSubmit {
    const QUEUE: WorkQueue = WorkQueue::MintSubmit;
    fn intent_id(&self) -> Option<IntentId> {
        Some(self.intent.intent_id())
    }
}

impl Body for MintExecute {
    const QUEUE: WorkQueue = WorkQueue::MintExecute;
    fn intent_id(&self) -> Option<IntentId> {
        Some(self.intent.intent_id())
    }
}

impl Body for MintRefund {
    const QUEUE: WorkQueue = WorkQueue::MintRefund;
    fn intent_id(&self) -> Option<IntentId> {
        Some(self.intent.intent_id())
    }
}

impl Body for MintOutcome {
    const QUEUE: WorkQueue = WorkQueue::MintOutcome;
    fn intent_id(&self) -> Option<IntentId> {
        Some(self.intent.intent_id())
    }
}

impl Body for MpesaResult {
    const QUEUE: WorkQueue = WorkQueue::MpesaResult;
    fn intent_id(&self) -> Option<IntentId> {
        None
    }
}

#[cfg(test)]
mod tests;
