//! Compares the RPC endpoints periodically, where there are several.

use std::time::Duration;

use chain::{BlockHash, EndpointStatus};
use runtime::Stop;
use storage::executor::blocks;

use crate::context::{Context, WorkError};

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(5);

pub async fn run(ctx: Context, stop: Stop) {
    if ctx.chain.has_one_endpoint() {
        return stop.requested().await;
    }
    let every = Duration::from_millis(ctx.policy.chain.block_time_ms).clamp(SHORTEST, LONGEST);
    while stop.sleep(every).await {
        if let Err(error) = compare(&ctx).await {
            tracing::debug!(error = %domain::error_chain(&error), "the endpoints were not compared");
        }
    }
}

/// Compares the endpoints once, at the last block that is final by depth.
pub async fn compare(ctx: &Context) -> Result<Vec<EndpointStatus>, WorkError> {
    let depth = u32::try_from(ctx.policy.chain.confirmations).unwrap_or(u32::MAX);
    let recent = blocks::recent(&ctx.pool.get().await?, depth.saturating_add(1)).await?;
    let known = recent
        .last()
        .map(|block| (block.number, BlockHash::from_bytes(block.hash)));
    Ok(ctx
        .chain
        .compare_endpoints(ctx.policy.chain.chain_id, known)
        .await)
}
