//! The facts about one block, on which everything that follows depends.

use std::collections::HashMap;

use chain::EscrowLog;
use chain::query::BlockHeader;
use domain::ids::IntentId;
use domain::item_result::ItemResult;
use storage::executor::attempts::{AttemptItemRow, AttemptRow};

use crate::rules::record::OnChainRecord;

/// The facts about one block, read before the database transaction that applies them.
#[derive(Debug)]
pub struct BlockFacts {
    pub header: BlockHeader,
    pub logs: Vec<EscrowLog>,
    /// The highest block that is final now.
    pub final_block: Option<u64>,
    /// The count of mined transactions of each signer that was asked about.
    pub next_nonces: HashMap<[u8; 20], u64>,
    /// Attempts whose nonce is used although this block has no log of theirs, with their results.
    pub unexplained_attempts: Vec<(i64, ItemResult)>,
    /// Items that are permanently refused, or need a person, now that their block is final.
    pub ended: Vec<AttemptItemRow>,
    /// The escrow's records at this block, for the intents in question. `None` when the node dropped that state; then
    /// the legs, to which every log up to this block was applied, replace it.
    pub records: Option<HashMap<IntentId, OnChainRecord>>,
}

impl BlockFacts {
    /// Whether the block has a log of this attempt.
    pub fn has_log_of(&self, attempt: &AttemptRow) -> bool {
        self.logs
            .iter()
            .any(|log| *log.tx_hash.as_bytes() == attempt.tx_hash)
    }
}
