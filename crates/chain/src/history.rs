//! The escrow's events over a range of blocks, for reconciliation. Decisions about money read block by block
//! instead ([`crate::query`]).

use ethers::providers::Middleware;
use ethers::types as eth;

use crate::client::ChainClient;
use crate::convert::to_h160;
use crate::error::ChainError;
use crate::events::{self, EscrowLog};

/// An event and the number of its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogWithBlock {
    pub block_number: u64,
    pub log: EscrowLog,
}

impl ChainClient {
    /// All logs of the escrow from block `from` to block `to`, both included, in chain order. The caller bounds
    /// the range: a node may refuse a long one.
    pub async fn escrow_logs_between(&self, from: u64, to: u64) -> Result<Vec<LogWithBlock>, ChainError> {
        let method = "eth_getLogs";
        let filter = eth::Filter::new()
            .address(to_h160(&self.escrow()))
            .from_block(from)
            .to_block(to);
        let logs = self
            .provider()
            .get_logs(&filter)
            .await
            .map_err(|e| ChainError::from_provider(method, &e))?;
        let wanted = to_h160(&self.escrow());
        let place = |log: eth::Log| {
            let block_number = log.block_number.map(|number| number.as_u64());
            let block_number =
                block_number.filter(|number| (from..=to).contains(number) && log.address == wanted)?;
            Some(LogWithBlock {
                block_number,
                log: events::decode_log(log)?,
            })
        };
        let mut placed = logs
            .into_iter()
            .map(|log| {
                place(log).ok_or_else(|| ChainError::bad_answer(method, "a log of another block or contract"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        placed.sort_by_key(|placed| (placed.block_number, placed.log.log_index));
        Ok(placed)
    }
}
