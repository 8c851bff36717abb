//! Compares the RPC endpoints periodically, where there are several.

use std::time::Duration;

use chain::{BlockHash, ChainClient, EndpointStatus};
use runtime::Stop;
use storage::Pool;
use storage::executor::blocks;

use crate::error::WorkError;

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(5);

pub struct EndpointComparison {
    pub pool: Pool,
    pub chain: ChainClient,
    pub chain_id: u64,
    /// Blocks after which one is final by depth.
    pub confirmations: u64,
    pub block_time: Duration,
}

impl EndpointComparison {
    pub async fn run(self, stop: Stop) {
        if self.chain.has_one_endpoint() {
            return stop.requested().await;
        }
        let every = self.block_time.clamp(SHORTEST, LONGEST);
        while stop.sleep(every).await {
            if let Err(error) = self.compare().await {
                tracing::debug!(error = %domain::error_chain(&error), "the endpoints were not compared");
            }
        }
    }

    /// Compares the endpoints once, at the last block that is final by depth.
    pub async fn compare(&self) -> Result<Vec<EndpointStatus>, WorkError> {
        let depth = u32::try_from(self.confirmations).unwrap_or(u32::MAX);
        let recent = blocks::recent(&self.pool.get().await?, depth.saturating_add(1)).await?;
        let known = recent
            .last()
            .map(|block| (block.number, BlockHash::from_bytes(block.hash)));
        Ok(self.chain.compare_endpoints(self.chain_id, known).await)
    }
}
