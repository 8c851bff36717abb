//! Compares the RPC endpoints periodically, where there are several.

use chain::{BlockHash, ChainClient, EndpointStatus};
use runtime::Periodic;
use storage::Pool;
use storage::executor::blocks;

use crate::error::WorkError;

pub struct EndpointComparison {
    pub pool: Pool,
    pub chain: ChainClient,
    pub chain_id: u64,
    /// Blocks after which one is final by depth.
    pub confirmations: u64,
}

impl Periodic for EndpointComparison {
    type Error = WorkError;

    async fn run(&mut self) -> Result<(), WorkError> {
        self.compare().await.map(drop)
    }
}

impl EndpointComparison {
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
