//! The outcome of an intent on chain (mint-executor -> callback).

use domain::ids::Preimage;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// An observed outcome. `escrowed` and `refused` are sent when mined, the others when final (docs/STATES.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MintOutcome {
    pub intent: Preimage,
    pub outcome: Outcome,
    pub r#final: bool,
    /// Increases with every change of the leg. Only this number says which outcome is older, because a reorganisation can
    /// change block numbers.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum Outcome {
    Escrowed,
    Executed,
    Refunded,
    /// The user was not compliant at execution (mined); a refund follows.
    Refused,
    /// The deposit can never succeed.
    Rejected,
    /// No deposit was ever sent.
    Dropped,
}

impl Outcome {
    pub const ALL: [Self; Self::VARIANTS.len()] = domain::variants();

    /// The name in metrics, logs and messages.
    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}
