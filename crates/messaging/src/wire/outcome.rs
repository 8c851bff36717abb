//! What the chain says about an intent (mint-executor -> callback).

use domain::ids::Preimage;
use serde::{Deserialize, Serialize};

/// A chain fact. `escrowed` and `refused` come when mined, the others when final (docs/STATES.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MintOutcome {
    pub intent: Preimage,
    pub outcome: Outcome,
    pub r#final: bool,
    /// Grows with every change of the leg, whatever a reorganisation does to block numbers: what is older is told
    /// by this alone.
    pub sequence: u64,
    #[serde(
        default,
        with = "super::serde_hex::hash",
        skip_serializing_if = "Option::is_none"
    )]
    pub tx_hash: Option<[u8; 32]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_number: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Escrowed,
    Executed,
    Refunded,
    /// Not compliant on execute (mined): a refund follows.
    Refused,
    /// A deposit that can never succeed.
    Rejected,
    /// Never sent.
    Dropped,
}

impl Outcome {
    pub const ALL: [Self; 6] = [
        Self::Escrowed,
        Self::Executed,
        Self::Refunded,
        Self::Refused,
        Self::Rejected,
        Self::Dropped,
    ];

    /// In metrics and logs; the same word as on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Escrowed => "escrowed",
            Self::Executed => "executed",
            Self::Refunded => "refunded",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::Dropped => "dropped",
        }
    }
}
