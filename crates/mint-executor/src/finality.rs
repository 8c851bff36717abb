//! Which block is final, seen from a head: by depth, or by the chain's `finalized` tag.

use chain::query::BlockHeader;
use domain::policy::FinalityRule;
use storage::executor::blocks;

use crate::context::{Context, WorkError};

/// The highest final block; `None` while there is none.
pub async fn final_block(ctx: &Context, head: &BlockHeader) -> Result<Option<u64>, WorkError> {
    match ctx.policy.chain.finality {
        FinalityRule::Confirmations => Ok(head.number.checked_sub(ctx.policy.chain.confirmations)),
        FinalityRule::FinalizedTag => finalized_by_tag(ctx, head).await,
    }
}

/// The tag counts only for a block that we ingested: any other block is on another chain.
async fn finalized_by_tag(ctx: &Context, head: &BlockHeader) -> Result<Option<u64>, WorkError> {
    let Some(finalized) = ctx.chain.finalized_header().await? else {
        return Ok(None);
    };
    let ours = blocks::hash(&ctx.pool.get().await?, finalized.number).await?;
    let same = ours == Some(*finalized.hash.as_bytes()) && finalized.number < head.number;
    Ok(same.then_some(finalized.number))
}
