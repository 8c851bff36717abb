//! Which block is final, seen from a head: by depth, or by the chain's `finalized` tag.

use chain::ChainClient;
use chain::query::BlockHeader;
use domain::policy::FinalityRule;
use storage::Pool;
use storage::executor::blocks;

use crate::error::WorkError;

#[derive(Clone, Debug)]
pub struct FinalBlocks {
    pub pool: Pool,
    pub chain: ChainClient,
    pub rule: FinalityRule,
    pub confirmations: u64,
}

impl FinalBlocks {
    /// The highest final block; `None` while there is none.
    pub async fn final_block(&self, head: &BlockHeader) -> Result<Option<u64>, WorkError> {
        match self.rule {
            FinalityRule::Confirmations => Ok(head.number.checked_sub(self.confirmations)),
            FinalityRule::FinalizedTag => self.finalized_by_tag(head).await,
        }
    }

    /// The tag counts only for a block that we ingested: any other block is on another chain.
    async fn finalized_by_tag(&self, head: &BlockHeader) -> Result<Option<u64>, WorkError> {
        let Some(finalized) = self.chain.finalized_header().await? else {
            return Ok(None);
        };
        let ours = blocks::hash(&self.pool.get().await?, finalized.number).await?;
        let same = ours == Some(*finalized.hash.as_bytes()) && finalized.number < head.number;
        Ok(same.then_some(finalized.number))
    }
}
